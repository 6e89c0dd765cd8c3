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
mod send;
mod time;
mod told;

use crate::answer::{Outcome, Progress, Reason};
use crate::call::{Call, Turn};
use crate::end::{Cause, End, Expiry};
use crate::event::{Denied, Event};
use crate::ids::{Moment, Term};
use crate::policy::Approval;
use crate::request::{Command, Proposal, Request, RequestId, Step};
use crate::spec::{Spec, SpecError};
use crate::state::{Doing, Epochs, Gate, Probe, State, Underway};
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
        if let State::Underway(Underway { doing: Doing::Engine { handing_over, .. }, .. }) = &mut self.state {
            *handing_over = false;
        }
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
