//! The trust service: scores of migrations, and what holds isotherm back.

mod render;

use super::migrations::{refused, words};
use crate::migrate::Migrations;
use crate::writer::{now, with_causes};
use isotherm_model::SystemId;
use isotherm_proto::control::v1 as wire;
use isotherm_proto::control::v1::trust_service_server::TrustService;
use isotherm_runner::journal::score::{Scored, summaries};
use isotherm_runner::journal::trust::{Cause, Distrust, Trust};
use isotherm_runner::journal::{JournalError, Reading};
use isotherm_runner::{Kind, Line};
pub(super) use render::{comparisons, distrust, scorecard};
use tonic::{Request, Response, Status};

/// Scores that are told where nobody says how many.
const SOME: u32 = 100;

/// Migrations that are counted in what scores come to.
const COUNTED: u32 = 10_000;

/// The service.
#[derive(Clone)]
pub(crate) struct Trusted {
    migrations: Migrations,
}

impl Trusted {
    pub(crate) fn new(migrations: Migrations) -> Self {
        Self { migrations }
    }

    /// Reads the journal on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Reading) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, Status> {
        let reading = self.migrations.reading.clone();
        let read = tokio::task::spawn_blocking(move || question(&reading)).await;
        let read = read.map_err(|error| Status::internal(error.to_string()))?;
        read.map_err(|error| Status::internal(with_causes(&error)))
    }
}

#[tonic::async_trait]
impl TrustService for Trusted {
    async fn list_scores(
        &self,
        request: Request<wire::ListScoresRequest>,
    ) -> Result<Response<wire::ListScoresResponse>, Status> {
        let request = request.into_inner();
        let asked = |system: &str| request.system.is_empty() || request.system == system;
        let (scored, known) =
            self.read(|reading| Ok((reading.scored(COUNTED)?, reading.distrust()?))).await?;
        let told: Vec<&Distrust> = known.iter().filter(|one| asked(&one.system)).collect();
        let of = |scored: &Scored| asked(scored.entry.migration.spec().partition.system().as_str());
        let scored: Vec<Scored> = scored.into_iter().filter(of).collect();
        let mut counted = summaries(&scored);
        for system in told.iter().filter_map(|one| SystemId::new(one.system.clone()).ok()) {
            counted.entry(system).or_default();
        }
        let quiet = self.migrations.config.trust.other_movers_quiet;
        let systems = counted.iter().map(|(system, summary)| {
            let of_it = told.iter().filter(|one| one.system == system.as_str());
            let distrust = of_it.map(|one| distrust(one, quiet)).collect();
            render::system(system, summary, distrust)
        });
        let limit = if request.limit == 0 { SOME } else { request.limit.min(COUNTED) };
        let scores = scored.iter().take(limit as usize).map(render::score).collect();
        Ok(Response::new(wire::ListScoresResponse { scores, systems: systems.collect() }))
    }

    async fn promote(
        &self,
        request: Request<wire::PromoteRequest>,
    ) -> Result<Response<wire::PromoteResponse>, Status> {
        let request = request.into_inner();
        let (by, reason) = (words("who", request.who)?, words("reason", request.reason)?);
        let system = SystemId::new(request.system)
            .map_err(|error| Status::invalid_argument(format!("system: {error}")))?;
        if reason.is_empty() {
            return Err(Status::invalid_argument("reason: whoever promotes a system must say why"));
        }
        let known = self.read(Reading::distrust).await?;
        if !known.iter().any(|one| one.system == system.as_str() && one.cause == Cause::Demoted) {
            return Err(Status::failed_precondition(format!(
                "{system} is not demoted; `isotherm migrate scores` says what holds isotherm back"
            )));
        }
        let line = Line::own(now().as_ms(), Kind::Wanted, format!("promote {system}")).by(&by, &reason);
        let kept = self.migrations.handle.trust(system, Trust::Promoted, Some(line)).await;
        kept.map_err(refused)?;
        Ok(Response::new(wire::PromoteResponse {}))
    }
}
