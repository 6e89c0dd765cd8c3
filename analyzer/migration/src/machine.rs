//! The machine: what happens, and what is to be done next.
//!
//! [`Migration::handle`] is a pure function from a migration and an event to the migration that follows and the
//! commands that it asks for. A runner writes the migration that follows *before* it performs any of them: a call that
//! is written as sent is the intent, and its absence means that it was never made. Events that are lost with the
//! runner do no harm: after [`Event::Resumed`] all that is unknown is asked about.
//!
//! The order of one event: what happened is taken in, then what the time has brought, then what is due is sent. So
//! calls are made at one place, and a state can be entered from anywhere without making one.
//!
//! # Why a late message does no harm
//! Each step back (unfence, abort, reverse), each fence and the retirement propose a higher epoch than all before, and
//! adapters refuse what proposes less. A commit that comes after the unfencing is refused; an unfencing that comes
//! after the commit is refused, since another epoch serves than it expects. Whichever arrives first decides, and the
//! machine learns which by asking.

mod back;
mod forward;
mod observe;
mod operator;
mod time;

use crate::answer::{Outcome, Progress, Reason};
use crate::call::{Call, Due, Turn};
use crate::end::{Cause, End, Expiry};
use crate::event::{Action, Denied, Event};
use crate::ids::{Epoch, Moment, Term};
use crate::policy::Approval;
use crate::request::{Command, Proposal, Question, Request, RequestId, Step};
use crate::spec::{Origin, Path, Spec, SpecError};
use crate::state::{Doing, Epochs, FenceHold, Gate, Phase, Probe, State, Traces, Underway};
use serde::{Deserialize, Serialize};

/// A migration: its spec and all that is known of it. It is what a journal keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    spec: Spec,
    term: Term,
    /// The newest term, if it is another controller's.
    superseded: Option<Term>,
    paused: bool,
    /// Requests so far.
    requests: u32,
    /// Questions so far.
    questions: u32,
    /// The latest moment there was. It never falls.
    clock: Moment,
    state: State,
}

/// What follows from an event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "the migration that follows has to be written before its commands are performed"]
pub struct Transition {
    /// The migration that follows.
    pub migration: Migration,
    /// What is to be done, in any order, once the migration is written.
    pub commands: Vec<Command>,
    /// Why the wanted action is not done, if it is not. The migration is then as it was, but for the time.
    pub denied: Option<Denied>,
}

impl Migration {
    /// A migration that nothing has happened to. Fails if its spec can never be carried out.
    pub fn new(spec: Spec, term: Term, now: Moment) -> Result<Self, SpecError> {
        spec.check()?;
        let state = match spec.policy.approval {
            Approval::NotNeeded => State::Planned,
            Approval::Within { ms } => State::AwaitingApproval { until: now.after_ms(ms) },
        };
        Ok(Self { spec, term, superseded: None, paused: false, requests: 0, questions: 0, clock: now, state })
    }

    /// Takes in an event. `now` before the latest moment there was counts as that moment.
    ///
    /// Total: every event has an answer in every state. After the end, and for a controller whose term is not the
    /// newest any more, the answer is that nothing happens.
    pub fn handle(&self, event: Event, now: Moment) -> Transition {
        let mut next = self.clone();
        next.clock = self.clock.max(now);
        let resumed = matches!(event, Event::Resumed { .. });
        let denied = next.take(event);
        let mut commands = Vec::new();
        if next.superseded.is_none() {
            next.elapse();
            commands.extend(next.send());
            commands.extend(next.replan().filter(|_| self.end().is_none()));
            commands.extend(next.watch().filter(|_| resumed && next.term != self.term));
        }
        Transition { migration: next, commands, denied }
    }

    fn take(&mut self, event: Event) -> Option<Denied> {
        match event {
            Event::Resumed { term } => self.resumed(term),
            Event::Wanted(action) => return self.act(action),
            Event::Admitted => self.admitted(),
            Event::TopologyMoved { revision } => {
                let undecided = matches!(
                    self.state,
                    State::Planned | State::AwaitingApproval { .. } | State::Preflight { .. }
                );
                if undecided && revision > self.spec.revision {
                    self.state = State::Ended(End::Expired(Expiry::TopologyMoved(revision)));
                }
            }
            Event::WindowOpened => self.open_gate().unwrap_or(()),
            Event::Answered { request, outcome } => self.answered(&request, outcome),
            Event::Observed { question, told } => self.told(&question, told),
            Event::Progressed(progress) => self.progressed(&progress),
            Event::Due => {}
        }
        None
    }

    fn admitted(&mut self) {
        if let State::Planned = self.state {
            let request = self.request(None, Step::ValidateMigration);
            self.state = State::Preflight { call: Call::new(request, self.clock) };
        }
    }

    /// Takes the outcome of a call, if that call is under way; all else is late, and of no interest.
    fn answered(&mut self, id: &RequestId, outcome: Outcome) {
        let (policy, now) = (self.spec.policy.clone(), self.clock);
        let Some(call) = self.call_mut().filter(|call| call.request.id == *id && !call.is_waiting()) else {
            return;
        };
        let turn = call.answered(outcome, &policy, now);
        self.turned(turn);
    }

    /// Takes what came of a call.
    fn turned(&mut self, turn: Turn) {
        match (turn, self.state.clone()) {
            (Turn::Refused(Reason::StaleTerm { seen }), _) => self.superseded = Some(seen),
            (Turn::Wait, _) => {}
            (Turn::Renew { at }, State::Preflight { .. } | State::Underway(_)) => self.renew(at, None),
            (Turn::Done(done), State::Preflight { .. }) => self.state = self.validated(done),
            (Turn::Refused(reason), State::Preflight { call }) => {
                self.state = State::Ended(End::Failed(cause(&call, reason)));
            }
            (Turn::Refused(Reason::StaleEpoch), State::Underway(mut underway)) => {
                if let Some(call) = underway.call_mut() {
                    call.stale = true;
                    call.ask(self.clock);
                }
                self.state = State::Underway(underway);
            }
            (Turn::Refused(reason), State::Underway(underway)) => {
                let cause = underway.call().map(|call| cause(call, reason));
                self.state =
                    cause.map_or(State::Underway(underway.clone()), |cause| self.failed(underway, cause));
            }
            (Turn::Done(done), State::Underway(underway)) => self.state = self.done(underway, done),
            (
                Turn::Renew { .. } | Turn::Done(_) | Turn::Refused(_),
                State::Planned
                | State::AwaitingApproval { .. }
                | State::NeedsOperator { .. }
                | State::Ended(_),
            ) => {}
        }
    }

    /// Lets the call under way be made anew, with `proposal` if there is another.
    fn renew(&mut self, at: Moment, proposal: Option<Proposal>) {
        let Some(call) = self.call_mut() else { return };
        let mut step = call.request.step.clone();
        if let (Step::StartReplication { resume, .. }, Some(token)) = (&mut step, call.resume_token()) {
            *resume = Some(token);
        }
        let epochs = proposal.or(call.request.epochs);
        let request = self.request(epochs, step);
        if let Some(call) = self.call_mut() {
            call.renew(request, at);
        }
    }

    fn progressed(&mut self, progress: &Progress) {
        let now = self.clock;
        if let State::Underway(Underway { doing: Doing::Engine { handing_over, .. }, .. }) = &mut self.state {
            *handing_over |= progress.handing_over;
        }
        if let Some(call) = self.call_mut() {
            call.progressed(progress, now);
        }
    }

    /// A controller takes over: what was under way is unknown, and how long writes have been stopped is, too.
    fn resumed(&mut self, term: Term) {
        if term <= self.term || self.end().is_some() {
            return;
        }
        (self.term, self.superseded) = (term, None);
        let now = self.clock;
        if let State::Underway(Underway { doing: Doing::Fencing { gate: Gate::Switch(_), .. }, .. }) =
            &self.state
            && let State::Underway(underway) = self.state.clone()
        {
            self.state = self.give_up_fence(underway);
            return;
        }
        if let Some(call) = self.call_mut() {
            call.resume(now);
        } else if let State::Underway(underway) = &mut self.state {
            underway.probe = Some(Probe::At(now));
        }
    }

    fn request(&mut self, epochs: Option<Proposal>, step: Step) -> Request {
        self.requests += 1;
        let id = RequestId {
            migration: self.spec.id.clone(),
            step: step.kind(),
            epoch: epochs.map(|epochs| epochs.new),
            attempt: self.requests,
        };
        Request { id, epochs, step }
    }

    /// A call at the epoch that was proposed last.
    fn call(&mut self, epochs: Epochs, step: Step) -> Call {
        let proposal = Proposal { expected: epochs.serving, new: epochs.highest };
        Call::new(self.request(Some(proposal), step), self.clock)
    }

    /// A call at a higher epoch than all before: what is still on its way is refused from then on.
    fn raised(&mut self, epochs: &mut Epochs, step: Step) -> Call {
        epochs.highest = epochs.highest.next();
        self.call(*epochs, step)
    }

    fn call_mut(&mut self) -> Option<&mut Call> {
        match &mut self.state {
            State::Preflight { call } => Some(call),
            State::Underway(underway) => underway.call_mut(),
            State::Planned
            | State::AwaitingApproval { .. }
            | State::NeedsOperator { .. }
            | State::Ended(_) => None,
        }
    }

    /// Sends what is due, and notes beforehand what that may leave in the store.
    fn send(&mut self) -> Vec<Command> {
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

    fn replan(&self) -> Option<Command> {
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
    fn watch(&self) -> Option<Command> {
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

    /// Whether nothing new is begun.
    fn is_held(&self) -> bool {
        let urgent = match &self.state {
            State::Underway(underway) => underway.is_urgent(),
            State::Planned
            | State::AwaitingApproval { .. }
            | State::Preflight { .. }
            | State::NeedsOperator { .. }
            | State::Ended(_) => false,
        };
        self.paused && !urgent
    }
}

/// What is told of a migration.
impl Migration {
    /// What it is to do.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The term of the controller that has it.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// The newer term, if another controller has it: nothing is done here until a higher term resumes it.
    #[must_use]
    pub fn superseded(&self) -> Option<Term> {
        self.superseded
    }

    /// Whether it is paused.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// The name of its state.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Planned => Phase::Planned,
            State::AwaitingApproval { .. } => Phase::AwaitingApproval,
            State::Preflight { .. } => Phase::Preflight,
            State::Underway(underway) => self.doing_phase(&underway.doing),
            State::NeedsOperator { .. } => Phase::NeedsOperator,
            State::Ended(End::Completed) => Phase::Completed,
            State::Ended(End::Cancelled) => Phase::Cancelled,
            State::Ended(End::Failed(_)) => Phase::Failed,
            State::Ended(End::Reversed) => Phase::Reversed,
            State::Ended(End::Expired(_)) => Phase::Expired,
        }
    }

    fn doing_phase(&self, doing: &Doing) -> Phase {
        match doing {
            Doing::Preparing { .. } => Phase::Preparing,
            Doing::Replicating { .. } => match self.spec.origin {
                Origin::Move { .. } => Phase::Replicating,
                Origin::Repair { .. } => Phase::Repairing,
            },
            Doing::CatchingUp { .. } => Phase::CatchingUp,
            Doing::Verifying { .. } => Phase::Verifying,
            Doing::Ready { .. } => Phase::Ready,
            Doing::Fencing { .. } => Phase::Fencing,
            Doing::Unfencing { .. } => Phase::Unfencing,
            Doing::Committing { .. } | Doing::Engine { handing_over: true, .. } => Phase::Committing,
            Doing::Engine { handing_over: false, .. } => Phase::Replicating,
            Doing::Switched { .. } => Phase::Switched,
            Doing::Retiring { .. } => Phase::Retiring,
            Doing::Reversing { .. } | Doing::Aborting { end: End::Reversed, .. } => Phase::Reversing,
            Doing::Aborting {
                end: End::Completed | End::Cancelled | End::Failed(_) | End::Expired(_),
                ..
            } => Phase::Aborting,
        }
    }

    /// Where it stopped, while it needs an operator.
    #[must_use]
    pub fn stopped_in(&self) -> Option<Phase> {
        match &self.state {
            State::NeedsOperator { underway, .. } => Some(self.doing_phase(&underway.doing)),
            State::Planned
            | State::AwaitingApproval { .. }
            | State::Preflight { .. }
            | State::Underway(_)
            | State::Ended(_) => None,
        }
    }

    /// Why it needs an operator, or failed.
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        match &self.state {
            State::NeedsOperator { why: cause, .. } | State::Ended(End::Failed(cause)) => Some(cause),
            State::Planned
            | State::AwaitingApproval { .. }
            | State::Preflight { .. }
            | State::Underway(_)
            | State::Ended(End::Completed | End::Cancelled | End::Reversed | End::Expired(_)) => None,
        }
    }

    /// Its end, once it has one.
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        match &self.state {
            State::Ended(end) => Some(end),
            State::Planned
            | State::AwaitingApproval { .. }
            | State::Preflight { .. }
            | State::Underway(_)
            | State::NeedsOperator { .. } => None,
        }
    }

    /// What may be in the store because of it.
    #[must_use]
    pub fn traces(&self) -> Traces {
        match &self.state {
            State::Underway(underway) | State::NeedsOperator { underway, .. } => underway.traces,
            State::Planned | State::AwaitingApproval { .. } | State::Preflight { .. } | State::Ended(_) => {
                Traces { objects: false, fence: None }
            }
        }
    }

    /// The epoch that serves, as far as is known; absent before validation and after the end.
    #[must_use]
    pub fn serving(&self) -> Option<Epoch> {
        match &self.state {
            State::Underway(underway) | State::NeedsOperator { underway, .. } => {
                Some(underway.epochs.serving)
            }
            State::Planned | State::AwaitingApproval { .. } | State::Preflight { .. } | State::Ended(_) => {
                None
            }
        }
    }

    /// Whether somebody's action would be done, or why not.
    pub fn permits(&self, action: &Action) -> Result<(), Denied> {
        self.clone().act(action.clone()).map_or(Ok(()), Err)
    }
}

/// What a refusal for good means.
fn cause(call: &Call, reason: Reason) -> Cause {
    match reason {
        Reason::NoLiveCopy => Cause::NoLiveCopy,
        Reason::Transient { .. }
        | Reason::Throttled { .. }
        | Reason::StaleTerm { .. }
        | Reason::StaleEpoch
        | Reason::Conflict
        | Reason::Unsupported
        | Reason::Mismatch
        | Reason::AlreadyExists => Cause::Refused { step: call.kind(), reason },
    }
}
