//! Somebody with wishes: at random while there are faults, helpful after them.

use super::World;
use isotherm_migration::{Action, Cause, Decision, Event, Moment, Phase, Revision};

impl World<'_> {
    fn want(&mut self, action: Action) {
        let Some(controller) = &self.controller else { return };
        let (permitted, term) = (controller.migration.permits(&action), controller.term);
        let denied = controller.migration.handle(Event::Wanted(action.clone()), Moment(self.now_ms)).denied;
        if action == Action::Complete && permitted.is_ok() {
            self.adapter.store.grounds.completed(self.now_ms);
        }
        // Time passes in one and not in the other, so only a fresh denial can differ.
        if permitted.is_ok() {
            assert_eq!(denied, None, "{action:?} was permitted");
        }
        self.event(term, Event::Wanted(action));
    }

    pub(super) fn operator(&mut self) {
        let phase = self.journal.phase();
        if self.faulty() {
            if self.chance.below(1_000) < self.scenario.operator {
                let action = match self.chance.below(9) {
                    0 => Action::Pause,
                    1 => Action::Unpause,
                    2 | 3 => Action::Cancel,
                    4 => Action::Reverse,
                    5 => Action::Complete,
                    6 => Action::Retry,
                    7 => Action::Verify,
                    _ => Action::Switch,
                };
                self.want(action);
            }
            if self.chance.below(3_000) == 0 {
                self.event(self.newest, Event::TopologyMoved { revision: Revision(4) });
            }
        } else if self.journal.is_paused() {
            self.want(Action::Unpause);
        }
        let patient = self.chance.percent(if self.faulty() { 98 } else { 80 });
        if patient {
            return;
        }
        if phase == Phase::AwaitingApproval {
            self.want(Action::Approve { revision: Revision(3) });
        } else if phase == Phase::Ready {
            self.want(Action::Switch);
        } else if phase == Phase::NeedsOperator {
            self.help();
        }
    }

    fn help(&mut self) {
        let lost = self.journal.cause() == Some(&Cause::NoLiveCopy);
        let decision =
            Decision { by: "operator".to_owned(), reason: "the node will not come back".to_owned() };
        let accept = Action::AcceptDataLoss(decision);
        if lost
            && self.scenario.accepts_loss
            && self.adapter.store.source_lost
            && self.journal.permits(&accept).is_ok()
        {
            self.loss_accepted = true;
            self.adapter.store.grounds.loss_accepted = true;
            self.want(accept);
        } else if self.retries < 12 {
            self.retries += u32::from(!self.faulty());
            self.want(Action::Retry);
        }
    }
}
