//! A runner, with its flaw if it has one: what it takes for an outcome, for an answer, and for the moment.

use super::{To, World};
use crate::flaw::RunnerFlaw;
use isotherm_migration::{
    Command, Done, Event, Fenced, Moment, Observation, Outcome, Phase, Question, Reason, Side, Step, Told,
    Verification,
};

impl World<'_> {
    /// What the runner makes of an unknown outcome.
    pub(super) fn taken_for(&self, step: &Step) -> Outcome {
        match self.flaw {
            RunnerFlaw::None
            | RunnerFlaw::CallsBeforeWriting
            | RunnerFlaw::RetiresEarly
            | RunnerFlaw::LooksAway
            | RunnerFlaw::EndOfWatchIsFailure => Outcome::Unknown,
            RunnerFlaw::UnknownIsVerified => match (step, self.journal.serving()) {
                (Step::Verify, Some(epoch)) => Outcome::Done(Done::Verified(Verification {
                    migration: self.scenario.spec.id.clone(),
                    epoch,
                    evidence: "nobody knows".to_owned(),
                })),
                (
                    Step::ValidateMigration
                    | Step::PrepareTarget
                    | Step::StartReplication { .. }
                    | Step::AwaitCatchup { .. }
                    | Step::Verify
                    | Step::FenceSource
                    | Step::CommitSwitch { .. }
                    | Step::UnfenceSource
                    | Step::ReverseSwitch
                    | Step::RetireSource
                    | Step::Abort,
                    _,
                ) => Outcome::Unknown,
            },
            RunnerFlaw::UnknownIsRefused => Outcome::Refused(Reason::Unsupported),
            RunnerFlaw::UnknownIsDone => match step {
                Step::PrepareTarget => Outcome::Done(Done::Prepared),
                Step::StartReplication { .. } => Outcome::Done(Done::Replicated),
                Step::CommitSwitch { .. } => Outcome::Done(Done::Committed),
                Step::UnfenceSource => Outcome::Done(Done::Unfenced),
                Step::ReverseSwitch => Outcome::Done(Done::Reversed),
                Step::RetireSource => Outcome::Done(Done::Retired),
                Step::Abort => Outcome::Done(Done::Aborted),
                Step::AwaitCatchup { .. } => Outcome::Done(Done::CaughtUp { lag_bytes: 0 }),
                Step::ValidateMigration | Step::Verify | Step::FenceSource => Outcome::Unknown,
            },
        }
    }

    /// What a runner that looks away makes of its question who serves after the switch.
    pub(super) fn looked_away(&self, to: To) -> To {
        match (to, self.journal.serving()) {
            (
                To::Adapter {
                    from,
                    command: Command::Ask { question: question @ Question { about: None, .. }, .. },
                },
                Some(serving),
            ) if self.flaw == RunnerFlaw::LooksAway && self.journal.phase() == Phase::Retiring => {
                let told = Told::State(Observation {
                    fate: None,
                    serving,
                    promised: serving,
                    serves: Side::Target,
                    fenced: Fenced::No,
                    progress: None,
                });
                To::Controller { term: from, event: Event::Observed { question, told } }
            }
            (to @ (To::Adapter { .. } | To::Controller { .. }), _) => to,
        }
    }

    /// What the runner takes for the moment.
    pub(super) fn moment(&self) -> Moment {
        let leaps = self.flaw == RunnerFlaw::RetiresEarly && self.journal.phase() == Phase::Switched;
        Moment(self.now_ms + if leaps { self.scenario.spec.policy.probation_ms } else { 0 })
    }
}
