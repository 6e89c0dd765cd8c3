//! The one place where commands are made.

use super::Migration;
use crate::call::Due;
use crate::end::{End, Expiry};
use crate::request::{Command, Question, Step};
use crate::spec::Path;
use crate::state::{Doing, FenceHold, Probe, State, Underway};

impl Migration {
    /// Sends what is due, and notes beforehand what that may leave in the store.
    pub(super) fn send(&mut self) -> Vec<Command> {
        let (now, policy, term) = (self.clock, self.spec.policy.clone(), self.term);
        let held = self.is_held();
        let mut commands = Vec::new();
        let number = self.questions + 1;
        let question = |about| Question { migration: self.spec.id.clone(), number, about };
        let mut asked = false;
        if let State::Underway(Underway { probe, .. }) = &mut self.state
            && matches!(probe, Some(Probe::At(at)) if *at <= now)
        {
            *probe = Some(Probe::Open { number, until: now.after_ms(policy.call_timeout_ms) });
            commands.push(Command::Ask { term, question: question(None) });
            asked = true;
        }
        let sent = self.call_mut().map(|call| (call.due(now, held), call.request.clone()));
        match sent {
            Some((Due::Perform, request)) => {
                self.note_traces(&request.step);
                if let Some(call) = self.call_mut() {
                    call.sent(&policy, now);
                }
                let watch =
                    matches!(request.step, Step::StartReplication { .. }).then(|| self.watch()).flatten();
                commands.push(Command::Perform { term, request });
                commands.extend(watch);
            }
            Some((Due::Ask, request)) => {
                if let Some(call) = self.call_mut() {
                    call.asking(number, &policy, now);
                }
                commands.push(Command::Ask {
                    term,
                    question: Question { migration: self.spec.id.clone(), number, about: Some(request.id) },
                });
                asked = true;
            }
            Some((Due::Nothing, _)) | None => {}
        }
        self.questions += u32::from(asked);
        commands
    }

    /// The clean-up record: what a call may make is noted before it is made.
    fn note_traces(&mut self, step: &Step) {
        let path = self.spec.path();
        let policy = &self.spec.policy;
        let State::Underway(underway) = &mut self.state else { return };
        match step {
            Step::PrepareTarget | Step::StartReplication { .. } => underway.traces.objects = true,
            Step::FenceSource => {
                let budget_ms = match path {
                    Path::FenceBeforeCopy => policy.copy_fence_budget_ms,
                    Path::FenceAtSwitch | Path::Engine | Path::Repair => Some(policy.fence_budget_ms),
                };
                let until = budget_ms.map(|ms| self.clock.after_ms(ms));
                underway.traces.fence.get_or_insert(FenceHold { until });
            }
            Step::ValidateMigration
            | Step::AwaitCatchup { .. }
            | Step::Verify
            | Step::CommitSwitch { .. }
            | Step::UnfenceSource
            | Step::ReverseSwitch
            | Step::RetireSource
            | Step::Abort => {}
        }
    }

    pub(super) fn replan(&self) -> Option<Command> {
        match self.end()? {
            End::Expired(Expiry::TopologyMoved(_)) => Some(Command::Replan { revision: self.spec.revision }),
            End::Expired(Expiry::Unapproved)
            | End::Completed
            | End::Cancelled
            | End::Failed(_)
            | End::Reversed => None,
        }
    }

    /// To follow the progress, where there is a copy that makes any.
    pub(super) fn watch(&self) -> Option<Command> {
        let State::Underway(underway) = &self.state else { return None };
        let resume = match &underway.doing {
            Doing::Replicating { call, .. } | Doing::CatchingUp { call, .. } | Doing::Engine { call, .. } => {
                call.resume_token()
            }
            Doing::Preparing { .. }
            | Doing::Verifying { .. }
            | Doing::Ready { .. }
            | Doing::Fencing { .. }
            | Doing::Unfencing { .. }
            | Doing::Committing { .. }
            | Doing::Switched { .. }
            | Doing::Retiring { .. }
            | Doing::Aborting { .. }
            | Doing::Reversing { .. } => return None,
        };
        Some(Command::Watch { migration: self.spec.id.clone(), resume })
    }
}
