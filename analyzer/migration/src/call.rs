//! One call to the adapter, from the intent to make it until its outcome is known.
//!
//! All steps share this: what is refused for the moment is made anew after a back-off, and that has a bound; what is
//! unknown is asked about and never assumed; what runs is asked now and then, and must make progress. What an outcome
//! means is the machine's business.

use crate::answer::{Done, Fate, Outcome, Progress, Reason};
use crate::ids::Moment;
use crate::policy::Policy;
use crate::request::{Request, StepKind};
use crate::watchdog::Watchdog;
use serde::{Deserialize, Serialize};

/// A call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Call {
    /// What is asked for.
    pub(crate) request: Request,
    /// Refusals for the moment, throttling not counted.
    refusals: u32,
    /// Throttlings in a row.
    throttlings: u32,
    /// Questions in a row that were not answered.
    silent: u32,
    status: Status,
    /// Of a call that is known to run.
    running: Option<Watchdog>,
    /// It was refused because of its epoch: the next observation says what to make of it.
    pub(crate) stale: bool,
}

/// Where a call is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Status {
    /// It has not been made under this number, or had no effect.
    Waiting { at: Moment },
    /// It has been made.
    Sent { until: Moment },
    /// Its outcome is to be asked for.
    AskAt { at: Moment },
    /// It has been asked for.
    Asking { number: u32, until: Moment },
}

/// What came of something that happened to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing yet.
    Wait,
    /// To be made anew, under the next number, after a back-off.
    Renew { at: Moment },
    /// It is done.
    Done(Done),
    /// It was refused for good.
    Refused(Reason),
}

/// What is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    Perform,
    Ask,
}

/// What is wrong with a call that neither succeeds nor is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The adapter does not answer.
    Unreachable,
    /// It runs, and makes no progress.
    Stalled,
}

impl Call {
    /// A call to be made at once.
    pub(crate) fn new(request: Request, now: Moment) -> Self {
        let status = Status::Waiting { at: now };
        Self { request, refusals: 0, throttlings: 0, silent: 0, status, running: None, stale: false }
    }

    /// Puts off a call that has not been made.
    pub(crate) fn wait_until(&mut self, at: Moment) {
        if self.is_waiting() {
            self.status = Status::Waiting { at };
        }
    }

    pub(crate) fn kind(&self) -> StepKind {
        self.request.step.kind()
    }

    /// Whether it had no effect so far, as far as anybody can know.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.status, Status::Waiting { .. })
    }

    /// Whether `number` is the question that is open.
    pub(crate) fn asked(&self, number: u32) -> bool {
        matches!(self.status, Status::Asking { number: open, .. } if open == number)
    }

    /// The same call under another number, with counters as they are.
    pub(crate) fn renew(&mut self, request: Request, at: Moment) {
        self.request = request;
        self.status = Status::Waiting { at };
        self.running = None;
        self.stale = false;
    }

    /// Ends what is counted: somebody wants it to be tried again.
    pub(crate) fn forgive(&mut self) {
        (self.refusals, self.throttlings, self.silent) = (0, 0, 0);
    }

    /// To be asked about at once.
    pub(crate) fn ask(&mut self, now: Moment) {
        self.status = Status::AskAt { at: now };
    }

    /// After a controller took it over: what was under way is unknown.
    pub(crate) fn resume(&mut self, now: Moment) {
        self.forgive();
        if let Some(watchdog) = &mut self.running {
            watchdog.restart(now);
        }
        match self.status {
            Status::Waiting { .. } => self.status = Status::Waiting { at: now },
            Status::Sent { .. } | Status::AskAt { .. } | Status::Asking { .. } => self.ask(now),
        }
    }

    /// Takes the outcome of the call itself.
    pub(crate) fn answered(&mut self, outcome: Outcome, policy: &Policy, now: Moment) -> Turn {
        match outcome {
            Outcome::Done(done) => Turn::Done(done),
            Outcome::Accepted => self.runs(policy, now),
            Outcome::Refused(reason) => self.refused(reason, policy, now),
            Outcome::Unknown => {
                if let Status::Sent { .. } = self.status {
                    self.ask(now);
                }
                Turn::Wait
            }
        }
    }

    /// Takes the call's fate, as the adapter told it.
    pub(crate) fn fated(&mut self, fate: Fate, policy: &Policy, now: Moment) -> Turn {
        self.silent = 0;
        match fate {
            Fate::Unheard => {
                // It may still be on its way; made again, it is the same request, and happens once.
                self.status = Status::Waiting { at: now };
                self.running = None;
                Turn::Wait
            }
            Fate::Running => self.runs(policy, now),
            Fate::Done(done) => Turn::Done(done),
            Fate::Refused(reason) => self.refused(reason, policy, now),
        }
    }

    fn runs(&mut self, policy: &Policy, now: Moment) -> Turn {
        let watchdog = self.running.get_or_insert_with(|| Watchdog::new(now));
        self.status = Status::AskAt { at: now.after_ms(watchdog.poll_ms(now, policy.poll_ms)) };
        Turn::Wait
    }

    fn refused(&mut self, reason: Reason, policy: &Policy, now: Moment) -> Turn {
        let (failures, wait) = match reason {
            Reason::Throttled { retry_after_ms } => {
                self.throttlings = self.throttlings.saturating_add(1);
                (self.throttlings, retry_after_ms)
            }
            Reason::Transient { retry_after_ms } if self.may_repeat(policy) => {
                self.refusals = self.refusals.saturating_add(1);
                (self.refusals, retry_after_ms)
            }
            Reason::Transient { .. }
            | Reason::StaleTerm { .. }
            | Reason::StaleEpoch
            | Reason::Conflict
            | Reason::Unsupported
            | Reason::Mismatch
            | Reason::NoLiveCopy
            | Reason::AlreadyExists => return Turn::Refused(reason),
        };
        let backoff_ms = policy.retry.backoff_ms(failures);
        // An adapter may ask for patience, but not for more than the policy has.
        let wait_ms = wait.unwrap_or(0).clamp(backoff_ms, policy.retry.longest_ms.max(backoff_ms));
        Turn::Renew { at: now.after_ms(wait_ms) }
    }

    /// Whether a refusal for the moment may be followed by another attempt. As long as writes are stopped, always.
    pub(crate) fn may_repeat(&self, policy: &Policy) -> bool {
        self.kind() == StepKind::UnfenceSource || self.refusals + 1 < policy.retry.most_refusals
    }

    /// Counts an attempt that was refused because of its epoch, as one that was refused for the moment.
    pub(crate) fn count_refusal(&mut self) {
        self.refusals = self.refusals.saturating_add(1);
    }

    /// The question was not answered.
    pub(crate) fn unheard(&mut self, policy: &Policy, now: Moment) {
        self.silent = self.silent.saturating_add(1);
        self.status = Status::AskAt { at: now.after_ms(policy.retry.backoff_ms(self.silent)) };
    }

    pub(crate) fn progressed(&mut self, progress: &Progress, now: Moment) {
        if let Some(watchdog) = &mut self.running {
            watchdog.look(progress, now);
        }
    }

    /// Begins to wait for progress anew, after a pause.
    pub(crate) fn restart_watchdog(&mut self, now: Moment) {
        if let Some(watchdog) = &mut self.running {
            watchdog.restart(now);
        }
    }

    /// Where the adapter said that another attempt can go on.
    pub(crate) fn resume_token(&self) -> Option<String> {
        self.running.as_ref().and_then(|watchdog| watchdog.resume.clone())
    }

    /// Lets time pass: an answer that did not come in time is unknown.
    pub(crate) fn elapse(&mut self, policy: &Policy, now: Moment) {
        match self.status {
            Status::Sent { until } if until <= now => self.ask(now),
            Status::Asking { until, .. } if until <= now => self.unheard(policy, now),
            Status::Waiting { .. } | Status::Sent { .. } | Status::AskAt { .. } | Status::Asking { .. } => {}
        }
    }

    /// What is wrong with it, if anything is. What must not be given up is asked about for ever.
    pub(crate) fn trouble(&self, policy: &Policy, now: Moment, held: bool) -> Option<Trouble> {
        if self.is_endless() {
            return None;
        }
        if self.silent >= policy.retry.most_silent {
            return Some(Trouble::Unreachable);
        }
        let stalls = self.stalls_at(policy, held)?;
        (stalls <= now).then_some(Trouble::Stalled)
    }

    /// Whether its outcome matters so much that it is asked about without end.
    fn is_endless(&self) -> bool {
        match self.kind() {
            StepKind::CommitSwitch | StepKind::UnfenceSource | StepKind::ReverseSwitch => true,
            StepKind::ValidateMigration
            | StepKind::PrepareTarget
            | StepKind::StartReplication
            | StepKind::AwaitCatchup
            | StepKind::Verify
            | StepKind::FenceSource
            | StepKind::RetireSource
            | StepKind::Abort => false,
        }
    }

    fn stalls_at(&self, policy: &Policy, held: bool) -> Option<Moment> {
        let watchdog = self.running.as_ref().filter(|_| !held && !self.is_endless())?;
        watchdog.stalls_at(policy.no_progress_ms)
    }

    /// What is to be sent; a call that is `held` is not begun, but what was begun is asked about.
    pub(crate) fn due(&self, now: Moment, held: bool) -> Due {
        match self.status {
            Status::Waiting { at } if at <= now && !held => Due::Perform,
            Status::AskAt { at } if at <= now => Due::Ask,
            Status::Waiting { .. } | Status::Sent { .. } | Status::AskAt { .. } | Status::Asking { .. } => {
                Due::Nothing
            }
        }
    }

    /// It is being made.
    pub(crate) fn sent(&mut self, policy: &Policy, now: Moment) {
        self.status = Status::Sent { until: now.after_ms(policy.call_timeout_ms) };
    }

    /// It is being asked about.
    pub(crate) fn asking(&mut self, number: u32, policy: &Policy, now: Moment) {
        self.status = Status::Asking { number, until: now.after_ms(policy.call_timeout_ms) };
    }

    /// When something is to be done, if nothing else happens.
    pub(crate) fn deadline(&self, policy: &Policy, held: bool) -> Option<Moment> {
        let next = match self.status {
            Status::Waiting { at } => (!held).then_some(at),
            Status::Sent { until: at } | Status::AskAt { at } | Status::Asking { until: at, .. } => Some(at),
        };
        next.into_iter().chain(self.stalls_at(policy, held)).min()
    }
}
