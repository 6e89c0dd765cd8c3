//! The repair service.

use super::migrations::{refused, words};
use crate::migrate::repair::{Breaker, Denied, FailureStatus, Repairs, SystemStatus, Turn};
use isotherm_model::SystemId;
use isotherm_proto::control::v1 as wire;
use isotherm_proto::control::v1::repair_service_server::RepairService;
use isotherm_risk::Mode;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone)]
pub(crate) struct Mending {
    repairs: Repairs,
}

impl Mending {
    pub(crate) fn new(repairs: Repairs) -> Self {
        Self { repairs }
    }
}

/// A system by its name; none is all of them.
fn chosen(system: &str) -> Result<Option<SystemId>, Status> {
    match system {
        "" => Ok(None),
        name => SystemId::new(name)
            .map(Some)
            .map_err(|error| Status::invalid_argument(format!("system: {error}"))),
    }
}

fn told(denied: Denied) -> Status {
    match denied {
        Denied::NoSystem(_) => Status::not_found(denied.to_string()),
        Denied::NoSystems | Denied::Same(_) => Status::failed_precondition(denied.to_string()),
        Denied::Refused(error) => refused(error),
    }
}

#[tonic::async_trait]
impl RepairService for Mending {
    async fn get_repairs(
        &self,
        _: Request<wire::GetRepairsRequest>,
    ) -> Result<Response<wire::GetRepairsResponse>, Status> {
        let status = self.repairs.status();
        let mode = match status.mode {
            Mode::Observe => "observe",
            Mode::Recommend => "recommend",
            Mode::Approve => "approve",
            Mode::Auto => "auto",
        };
        Ok(Response::new(wire::GetRepairsResponse {
            mode: mode.to_owned(),
            per_hour: status.per_hour,
            systems: status.systems.iter().map(system).collect(),
        }))
    }

    async fn pause_repairs(
        &self,
        request: Request<wire::PauseRepairsRequest>,
    ) -> Result<Response<wire::PauseRepairsResponse>, Status> {
        let wire::PauseRepairsRequest { system, reason, who } = request.into_inner();
        let (system, by, reason) = (chosen(&system)?, words("who", who)?, words("reason", reason)?);
        self.repairs.turn(system, Turn::Pause, by, reason).await.map_err(told)?;
        Ok(Response::new(wire::PauseRepairsResponse {}))
    }

    async fn resume_repairs(
        &self,
        request: Request<wire::ResumeRepairsRequest>,
    ) -> Result<Response<wire::ResumeRepairsResponse>, Status> {
        let wire::ResumeRepairsRequest { system, reason, who, validate_only } = request.into_inner();
        if reason.trim().is_empty() {
            return Err(Status::invalid_argument(
                "reason: whoever lets repairs go on after the breaker must say why",
            ));
        }
        let (system, by, reason) = (chosen(&system)?, words("who", who)?, words("reason", reason)?);
        let turned = if validate_only {
            self.repairs.would_turn(system, Turn::Resume).await
        } else {
            self.repairs.turn(system, Turn::Resume, by, reason).await
        };
        let systems = turned.map_err(told)?.iter().map(ToString::to_string).collect();
        Ok(Response::new(wire::ResumeRepairsResponse { systems }))
    }
}

fn system(of: &SystemStatus) -> wire::SystemRepairs {
    let unrepaired = of
        .unrepaired
        .iter()
        .map(|one| wire::UnrepairedPartition { partition: one.partition.to_string(), why: one.why.clone() });
    wire::SystemRepairs {
        system: of.system.to_string(),
        breaker: Some(breaker(&of.breaker)),
        begun_within_hour: of.begun_within_hour.map(|begun| u32::try_from(begun).unwrap_or(u32::MAX)),
        hold: of.hold.clone().unwrap_or_default(),
        failures: of.failures.iter().map(failure).collect(),
        unrepaired: unrepaired.collect(),
    }
}

fn breaker(of: &Breaker) -> wire::RepairBreaker {
    match of {
        Breaker::Closed { since_ms } => {
            wire::RepairBreaker { since_ms: *since_ms, ..wire::RepairBreaker::default() }
        }
        Breaker::Open { since_ms, cause, by } => {
            wire::RepairBreaker { open: true, since_ms: *since_ms, cause: cause.clone(), who: by.clone() }
        }
    }
}

fn failure(of: &FailureStatus) -> wire::FailedNode {
    wire::FailedNode {
        node: of.node.to_string(),
        since_ms: of.since_ms,
        standing: of.standing.clone(),
        why: of.why.clone(),
        lost: of.lost as u64,
        missing: of.missing as u64,
        under_way: of.under_way as u64,
    }
}
