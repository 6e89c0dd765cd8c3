//! What is told, held against the store.

use super::World;
use crate::store::Side;
use isotherm_migration::{Path, Phase};

impl World<'_> {
    /// What is told must be so, and what may be in the store must be on record. With two controllers only in the end:
    /// nobody can know what the other has just done.
    pub(super) fn check_told(&mut self) {
        if self.blind {
            return;
        }
        let (phase, traces) = (self.journal.phase(), self.journal.traces());
        let store = &mut self.adapter.store;
        let may_be_target =
            matches!(self.scenario.spec.path(), Path::Engine | Path::Repair) || self.loss_accepted;
        let fits = match phase {
            Phase::Planned
            | Phase::AwaitingApproval
            | Phase::Preflight
            | Phase::Preparing
            | Phase::CatchingUp
            | Phase::Repairing
            | Phase::Verifying
            | Phase::Ready
            | Phase::Fencing
            | Phase::Cancelled
            | Phase::Failed
            | Phase::Expired
            | Phase::Reversed => store.serves == Side::Source,
            Phase::Replicating | Phase::Aborting => may_be_target || store.serves == Side::Source,
            Phase::Unfencing | Phase::Committing | Phase::Reversing | Phase::NeedsOperator => true,
            Phase::Switched | Phase::Retiring | Phase::Completed => store.serves == Side::Target,
        };
        if !fits {
            store.violations.push(format!("{phase:?} is told, and the {:?} serves", store.serves));
        }
        let objects = (store.serves == Side::Source && store.target.is_some()) || store.slot;
        if objects && !traces.objects {
            store.violations.push(format!("{phase:?}: there are objects, and no record of them"));
        }
        if store.fence.is_some() && traces.fence.is_none() {
            store.violations.push(format!("{phase:?}: writes are stopped, and no record of it"));
        }
    }
}
