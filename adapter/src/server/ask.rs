//! Questions: what is so of a migration, and what is left of migrations.

use super::desk::{Desk, within};
use super::now_ms;
use crate::contract::{
    Answer, Malformed, Refusal, fate_to_wire, malformed, migration_to_wire, progress_to_wire,
    refusal_to_status, side_to_wire,
};
use crate::ledger::record::{Begun, Content};
use crate::ledger::rules;
use isotherm_migration::{Fenced, MigrationId, StepKind, Term};
use isotherm_model::PartitionId;
use isotherm_proto::adapter::v1 as wire;
use tonic::Status;

/// How long after its end a migration is looked after: whether something is left of it.
const LOOKED_AFTER_MS: i64 = 3_600 * 1_000;

/// The most of those.
const LOOKED_AFTER: usize = 100;

impl Desk {
    /// What is so.
    pub(super) async fn state(
        &self,
        raw: wire::GetMigrationStateRequest,
    ) -> Result<wire::GetMigrationStateResponse, Status> {
        let bad = |malformed: Malformed| Status::from(&malformed);
        let refused = |refusal: Refusal| refusal_to_status(&refusal);
        let migration =
            MigrationId::new(raw.migration_id).map_err(|error| bad(malformed("migration_id", error)))?;
        let partition = PartitionId::new(self.capabilities.system.clone(), raw.partition)
            .map_err(|error| bad(malformed("partition", error)))?;
        self.ledger.hear(Term(raw.term)).map_err(Refusal::from).and_then(|heard| heard).map_err(refused)?;
        // Before the rest, so that what it says is at least as new as the fate.
        let fate = if raw.request_id.is_empty() {
            None
        } else {
            Some(self.fate(&migration, &raw.request_id).map_err(refused)?)
        };
        let seen = self.look(&partition).await;
        let look = seen.as_ref().ok().map(super::desk::Seen::look);
        let known = self.ledger.known(&partition, &migration, look.as_ref(), now_ms());
        let known = match known.map_err(Refusal::from).map_err(refused)? {
            Some(known) => known,
            // Nothing was ever heard of the partition, and the store does not know it now.
            None => {
                let nothing = || Refusal::not_now(format!("nothing is known of {partition}"));
                return Err(refused(seen.err().unwrap_or_else(nothing)));
            }
        };
        if let Some(begun) = known.begun.as_ref().filter(|begun| begun.migration.partition != partition) {
            let what = format!("migration {migration} is that of {}", begun.migration.partition);
            return Err(bad(malformed("partition", what)));
        }
        let fenced = match &known.begun {
            Some(begun) => self.fenced(begun).await,
            None => Fenced::No,
        };
        let run = self.run_of(&migration);
        Ok(wire::GetMigrationStateResponse {
            fate: fate.as_ref().map(fate_to_wire),
            serving_epoch: known.partition.serving.0,
            highest_epoch: known.partition.highest.0,
            serves: side_to_wire(rules::side(known.begun.as_ref(), &known.partition)).into(),
            fenced: fenced == Fenced::Yes,
            progress: run.map(|run| run.progress.borrow().as_ref().map(progress_to_wire).unwrap_or_default()),
        })
    }

    fn fate(&self, migration: &MigrationId, request: &str) -> Result<Answer, Refusal> {
        if let Some(answer) = self.validations.fate(request) {
            return Ok(answer);
        }
        let heard = self.ledger.find(request)?;
        let own = heard.filter(|heard| match &heard.content {
            Content::Step(asked) => asked.migration.id == *migration,
            Content::Shift(_) => false,
        });
        Ok(own.and_then(|heard| heard.fate().cloned()).unwrap_or(Answer::Unheard))
    }

    /// Whether a fence of the migration stops writes: as the store tells, and while it cannot, as it was left.
    async fn fenced(&self, begun: &Begun) -> Fenced {
        if begun.ended_ms.is_some() {
            return Fenced::No;
        }
        match within(self.store.fenced(&self.asking(&begun.migration))).await {
            Ok(fenced) => fenced,
            Err(refusal) => {
                tracing::debug!(migration = %begun.migration.id, "whether writes are stopped is not known: {refusal}");
                let fencing = self
                    .run_of(&begun.migration.id)
                    .is_some_and(|run| run.kind == Some(StepKind::FenceSource));
                if begun.fence.is_some() || fencing { Fenced::Yes } else { Fenced::No }
            }
        }
    }

    /// What is left in the store of migrations.
    pub(super) async fn list(&self) -> Result<wire::ListMigrationsResponse, Refusal> {
        let mut migrations = Vec::new();
        let known = self.ledger.migrations(now_ms() - LOOKED_AFTER_MS)?;
        let (open, mut ended): (Vec<Begun>, Vec<Begun>) =
            known.into_iter().partition(|begun| begun.ended_ms.is_none());
        ended.sort_by_key(|begun| std::cmp::Reverse(begun.ended_ms));
        for begun in open.into_iter().chain(ended.into_iter().take(LOOKED_AFTER)) {
            let objects = within(self.store.objects(&self.asking(&begun.migration))).await?;
            if begun.ended_ms.is_none() || !objects.is_empty() {
                migrations.push(status(begun, objects));
            }
        }
        Ok(wire::ListMigrationsResponse { migrations })
    }
}

fn status(begun: Begun, objects: Vec<String>) -> wire::MigrationStatus {
    wire::MigrationStatus {
        migration: Some(migration_to_wire(&begun.migration)),
        term: begun.term.0,
        objects,
        fenced_since_ms: begun.fence.map(|fence| fence.since_ms),
        request_id: begun.last_request,
    }
}
