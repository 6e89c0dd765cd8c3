//! Shifts of reads.

use super::desk::{Desk, guarded, within};
use super::now_ms;
use crate::contract::{AskedShift, Refusal};
use crate::ledger::LedgerError;
use crate::ledger::record::{Outcome, ShiftKind, ShiftMade, Shifted};
use crate::store::Shift;
use isotherm_model::{NodeId, PartitionId};
use isotherm_proto::ShiftReads;
use std::sync::Arc;
use std::time::Duration;

/// How long a call waits for its shift. Nothing is known then, and the same request asks again.
const WAIT: Duration = Duration::from_secs(20);

impl Desk {
    /// Moves reads, once. `None` if it takes longer than anybody should wait.
    pub(super) async fn shift(self: &Arc<Self>, asked: AskedShift) -> Result<Option<Shifted>, Refusal> {
        if !self.can_shift(&asked.shift) {
            return Err(Refusal::unsupported(
                "the system cannot move reads in this way; see its capabilities",
            ));
        }
        self.ledger.hear(asked.term)??;
        if self.ledger.find(&asked.request_id)?.is_none() {
            let seen = self.look(&asked.partition).await?;
            if self.ledger.admit_shift(&asked, &seen.look(), now_ms())??.is_none() {
                self.make(asked.request_id.clone(), ShiftMade::new(&asked, &seen.holders));
            }
        } else if let Some(first) = self.ledger.find(&asked.request_id)? {
            crate::ledger::rules::repeats_shift(&asked.request_id, &first, &ShiftMade::new(&asked, &[]))?;
        }
        let run = self.running().get(&asked.request_id).cloned();
        if let Some(run) = run
            && tokio::time::timeout(WAIT, run.ended.cancelled()).await.is_err()
        {
            return Ok(None);
        }
        match self.ledger.find(&asked.request_id)?.map(|heard| heard.outcome) {
            Some(Outcome::Shift(Shifted::Refused(refusal))) => Err(refusal),
            Some(Outcome::Shift(shifted)) => Ok(Some(shifted)),
            Some(Outcome::Step(_)) | None => Ok(None),
        }
    }

    fn can_shift(&self, shift: &Shift) -> bool {
        match (self.capabilities.shift_reads, shift) {
            (ShiftReads::LeaderSwitch, Shift::Leader(_))
            | (ShiftReads::DrainReplica, Shift::Drain(_) | Shift::Restore(_)) => true,
            (ShiftReads::None, _)
            | (ShiftReads::LeaderSwitch, Shift::Drain(_) | Shift::Restore(_))
            | (ShiftReads::DrainReplica, Shift::Leader(_)) => false,
        }
    }

    /// Makes those again that were under way when the adapter ended.
    pub(super) fn resume_shifts(self: &Arc<Self>) -> Result<(), LedgerError> {
        for (request, made) in self.ledger.shifts_under_way()? {
            self.make(request, made);
        }
        Ok(())
    }

    fn make(self: &Arc<Self>, request: String, made: ShiftMade) {
        let (run, _) = self.begin(&request, None);
        let desk = Arc::clone(self);
        self.tasks.spawn(async move {
            desk.shifted(&request, &made).await;
            desk.ended(&run);
        });
    }

    async fn shifted(self: &Arc<Self>, request: &str, made: &ShiftMade) {
        let system = &self.capabilities.system;
        let (Ok(partition), Ok(node)) =
            (PartitionId::new(system.clone(), &made.partition), NodeId::new(system.clone(), &made.node))
        else {
            return;
        };
        let shift = match made.what {
            ShiftKind::Leader => Shift::Leader(node),
            ShiftKind::Drain => Shift::Drain(node),
            ShiftKind::Restore => Shift::Restore(node),
        };
        let outcome = {
            let (desk, partition) = (Arc::clone(self), partition.clone());
            guarded(async move { desk.store.shift(&partition, &shift).await }).await
        };
        if outcome.is_err() && self.closing.is_cancelled() {
            return;
        }
        tracing::info!(request, %partition, node = made.node, "moved reads: {:?}", made.what);
        let holders = within(self.store.holders(&partition)).await.ok();
        let undo = outcome.map(|undo| {
            undo.map(|node| node.name().to_owned()).or_else(|| done_before(made, holders.as_deref()))
        });
        loop {
            match self.ledger.settle_shift(request, made, undo.clone(), holders.as_deref(), now_ms()) {
                Ok(_) => break,
                Err(error) => {
                    tracing::error!(request, "what came of it cannot be written: {}", Refusal::from(error));
                }
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(500)) => {}
                () = self.closing.cancelled() => return,
            }
        }
        self.topology.poke();
    }
}

/// What would undo a shift that was made before the adapter died, and found nothing to do when it was made again: what
/// it was made from tells.
fn done_before(made: &ShiftMade, after: Option<&[NodeId]>) -> Option<String> {
    let (leader, leads) = (made.before.first()?, after?.first()?.name());
    (made.what == ShiftKind::Leader && leader != leads && leads == made.node).then(|| leader.clone())
}
