//! The service of shifted reads.

use super::migrations::{limit, node, partition, refused, words};
use crate::cycle::Cycles;
use crate::migrate::{Migrations, reads};
use crate::topology::Topologies;
use crate::writer::with_causes;
use isotherm_cycle::record::{Cause, Record};
use isotherm_migration::{MigrationId, Phase};
use isotherm_model::PartitionId;
use isotherm_proto::control::v1 as wire;
use isotherm_proto::control::v1::read_service_server::ReadService;
use isotherm_runner::shift::{Stage, Wanted, What, Why};
use isotherm_runner::{Board, Shift, Trigger, UndoShift};
use tonic::{Request, Response, Status};
use wire::shift_reads_request::Shift as Asked;

/// The service.
#[derive(Clone)]
pub(crate) struct Reads {
    migrations: Migrations,
    topologies: Topologies,
    cycles: Cycles,
}

impl Reads {
    pub(crate) fn new(migrations: Migrations, topologies: Topologies, cycles: Cycles) -> Self {
        Self { migrations, topologies, cycles }
    }

    fn open(&self) -> Vec<Shift> {
        self.migrations.handle.board().borrow().shifts.clone()
    }

    /// A shift that has not ended, by its id, the beginning of it, or its partition.
    fn found(&self, asked: &str) -> Result<Shift, Status> {
        if asked.is_empty() {
            return Err(Status::invalid_argument("id: is empty"));
        }
        let is_meant = |shift: &Shift| {
            let named = shift.partition.to_string() == asked || shift.partition.name() == asked;
            named || shift.id.as_str().starts_with(asked)
        };
        let mut open: Vec<Shift> = self.open().into_iter().filter(is_meant).collect();
        match (open.pop(), open.is_empty()) {
            (Some(shift), true) => Ok(shift),
            (Some(_), false) => {
                Err(Status::invalid_argument(format!("{asked} means several shifts; give more of the id")))
            }
            (None, _) => Err(Status::not_found(format!(
                "there is no shift {asked:?} that has not ended; `isotherm reads status --all` lists them"
            ))),
        }
    }

    /// What is told of a shift that was just changed; the board may be behind.
    async fn as_written(&self, id: &MigrationId) -> Result<wire::Shift, Status> {
        let found = self.read(true).await?.into_iter().find(|shift| shift.id == *id);
        let shift = found.ok_or_else(|| Status::internal(format!("shift {id} is not in the journal")))?;
        Ok(self.told(&shift))
    }

    async fn read(&self, ended: bool) -> Result<Vec<Shift>, Status> {
        let reading = self.migrations.reading.clone();
        let read = tokio::task::spawn_blocking(move || reading.shifts(ended, limit(u32::MAX))).await;
        let read = read.map_err(|error| Status::internal(error.to_string()))?;
        read.map_err(|error| Status::internal(with_causes(&error)))
    }

    /// What keeps a shift of a partition from beginning that would go on later.
    fn held_up(&self, board: &Board, partition: &PartitionId) -> Vec<String> {
        let moves = board.migrations.iter().map(|seen| &seen.entry.migration);
        let mut moves = moves.filter(|one| one.phase() != Phase::AwaitingApproval);
        let moved = moves.find(|one| one.spec().partition == *partition);
        let moved = moved.map(|one| format!("it is being moved by migration {}", one.spec().id));
        moved.into_iter().chain(self.migrations.frozen()).collect()
    }

    fn told(&self, shift: &Shift) -> wire::Shift {
        let cycled = self.cycles.borrow().clone();
        let record = cycled.as_ref().and_then(|cycled| reads::record_of(&cycled.records, &shift.partition));
        render(shift, record)
    }

    /// What is asked for, checked against the topology, and what stands in the way of it.
    fn checked(&self, request: &wire::ShiftReadsRequest) -> Result<(Wanted, Vec<String>), Status> {
        let topology = self.topologies.borrow().clone();
        let partition = partition(&topology, &request.partition)?;
        let what = match &request.shift {
            Some(Asked::Lead(name)) => What::Lead { to: node(&topology, &partition, name)? },
            Some(Asked::Drain(name)) => What::Drain { node: node(&topology, &partition, name)? },
            None => return Err(Status::invalid_argument("shift: name a node to lead, or one to drain")),
        };
        let mut findings: Vec<String> = self.migrations.untouchable(&partition).into_iter().collect();
        findings.extend(reads::in_the_way(&topology, &partition, &what));
        let board = self.migrations.handle.board().borrow().clone();
        findings.extend(self.held_up(&board, &partition));
        if let Some(other) = board.shifts.iter().find(|shift| shift.partition == partition) {
            findings.push(format!(
                "its reads are shifted already: {} ({}); `isotherm reads restore {}` undoes that",
                other.what,
                other.state(),
                other.id
            ));
        }
        let (by, reason) = (words("who", request.who.clone())?, words("reason", request.reason.clone())?);
        let trigger = Trigger::Manual;
        let wanted = Wanted { partition, what, by, reason, trigger, gray: false, approval_until_ms: None };
        Ok((wanted, findings))
    }
}

#[tonic::async_trait]
impl ReadService for Reads {
    async fn list_shifts(
        &self,
        request: Request<wire::ListShiftsRequest>,
    ) -> Result<Response<wire::ListShiftsResponse>, Status> {
        let request = request.into_inner();
        let mut shifts = self.read(request.ended).await?;
        shifts.truncate(limit(request.limit) as usize);
        let shifts = shifts.iter().map(|shift| self.told(shift)).collect();
        Ok(Response::new(wire::ListShiftsResponse { shifts }))
    }

    async fn shift_reads(
        &self,
        request: Request<wire::ShiftReadsRequest>,
    ) -> Result<Response<wire::ShiftReadsResponse>, Status> {
        let request = request.into_inner();
        let (wanted, findings) = self.checked(&request)?;
        if request.validate_only {
            return Ok(Response::new(wire::ShiftReadsResponse { shift: None, findings }));
        }
        if !findings.is_empty() {
            return Err(Status::failed_precondition(findings.join("; ")));
        }
        let id = reads::new_id().map_err(Status::internal)?;
        let id = self.migrations.handle.shift(id, wanted).await.map_err(refused)?;
        let shift = Some(self.as_written(&id).await?);
        Ok(Response::new(wire::ShiftReadsResponse { shift, findings }))
    }

    async fn undo_shift(
        &self,
        request: Request<wire::UndoShiftRequest>,
    ) -> Result<Response<wire::UndoShiftResponse>, Status> {
        let request = request.into_inner();
        let shift = self.found(&request.id)?;
        let (by, reason) = (words("who", request.who)?, words("reason", request.reason)?);
        if request.validate_only {
            if !request.forget {
                let now_ms = crate::writer::now().as_ms();
                shift.clone().undo(Why::Wanted, now_ms).map_err(|denied| refused(denied.into()))?;
            }
            return Ok(Response::new(wire::UndoShiftResponse { shift: Some(self.told(&shift)) }));
        }
        let undo =
            UndoShift { id: shift.id.to_string(), why: Why::Wanted, forget: request.forget, by, reason };
        self.migrations.handle.undo_shift(undo).await.map_err(refused)?;
        let shift = Some(self.as_written(&shift.id).await?);
        Ok(Response::new(wire::UndoShiftResponse { shift }))
    }

    async fn approve_shift(
        &self,
        request: Request<wire::ApproveShiftRequest>,
    ) -> Result<Response<wire::ApproveShiftResponse>, Status> {
        let request = request.into_inner();
        let shift = self.found(&request.id)?;
        let (by, reason) = (words("who", request.who)?, words("reason", request.reason)?);
        if let Some(forbidden) = self.migrations.forbids(&shift.partition) {
            return Err(Status::failed_precondition(forbidden));
        }
        if request.validate_only {
            shift.clone().approve().map_err(|denied| refused(denied.into()))?;
            let board = self.migrations.handle.board().borrow().clone();
            return match self.held_up(&board, &shift.partition).as_slice() {
                [] => Ok(Response::new(wire::ApproveShiftResponse { shift: Some(self.told(&shift)) })),
                held => Err(Status::failed_precondition(held.join("; "))),
            };
        }
        let id = shift.id.clone();
        self.migrations.handle.approve_shift(id.as_str(), &by, &reason).await.map_err(refused)?;
        let shift = Some(self.as_written(&id).await?);
        Ok(Response::new(wire::ApproveShiftResponse { shift }))
    }
}

fn render(shift: &Shift, record: Option<&Record>) -> wire::Shift {
    let how = match shift.stage {
        Stage::Undoing { why, .. } => why.as_str(),
        Stage::Ended(end) => end.as_str(),
        Stage::AwaitingApproval { .. } | Stage::Intent { .. } | Stage::InForce => "",
    };
    let approval_until_ms = match shift.stage {
        Stage::AwaitingApproval { until_ms } => Some(until_ms),
        Stage::Intent { .. } | Stage::InForce | Stage::Undoing { .. } | Stage::Ended(_) => None,
    };
    let cause = record.filter(|_| shift.stage == Stage::InForce).and_then(|record| record.shift);
    wire::Shift {
        id: shift.id.to_string(),
        partition: shift.partition.to_string(),
        what: shift.what.as_str().to_owned(),
        node: shift.what.node().to_string(),
        undo: shift.undo.as_ref().map(|undo| undo.0.to_string()).unwrap_or_default(),
        state: shift.state().to_owned(),
        how: how.to_owned(),
        words: shift.words.clone().unwrap_or_default(),
        who: shift.by.clone(),
        reason: shift.reason.clone(),
        trigger: shift.trigger.as_str().to_owned(),
        created_ms: shift.created_ms,
        since_ms: shift.since_ms,
        ended_ms: shift.ended_ms,
        approval_until_ms,
        cause: cause.map(|shifted| told_cause(shifted.cause).to_owned()).unwrap_or_default(),
    }
}

fn told_cause(cause: Cause) -> &'static str {
    match cause {
        Cause::There => "there",
        Cause::Gone => "gone",
        Cause::Unknown => "unknown",
    }
}
