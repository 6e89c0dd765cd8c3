//! A migration driven by hand: answers are given one by one, and what it asks for is recorded.

#![allow(dead_code, reason = "each test binary uses its part")]

use isotherm_migration::{
    Action, Capabilities, Command, Copies, Denied, Done, Epoch, Event, Fate, Fence, Fenced, Migration,
    MigrationId, Moment, Observation, Origin, Outcome, Phase, Policy, Position, Progress, Question, Reason,
    Request, Revision, Side, Spec, Step, StepKind, Switch, Term, Told, Validated, Verification,
};
use isotherm_model::{NodeId, PartitionId, SystemId};

/// The epoch that serves at the start.
pub(crate) const SERVING: Epoch = Epoch(7);

pub(crate) fn node(name: &str) -> NodeId {
    NodeId::new(SystemId::new("sim").unwrap(), name).unwrap()
}

/// A gated move with the fence at the switch, by the default policy.
pub(crate) fn spec() -> Spec {
    Spec {
        id: MigrationId::new("m1").unwrap(),
        partition: PartitionId::new(SystemId::new("sim").unwrap(), "p").unwrap(),
        origin: Origin::Move { source: node("a") },
        target: node("b"),
        revision: Revision(3),
        capabilities: Capabilities {
            switch: Switch::Gated,
            fence: Fence::AtSwitch,
            repair_from_replica: true,
            reverse: true,
        },
        policy: Policy::default(),
    }
}

pub(crate) fn before_copy() -> Spec {
    let capabilities = Capabilities { fence: Fence::BeforeCopy, ..spec().capabilities };
    Spec { capabilities, ..spec() }
}

pub(crate) fn engine() -> Spec {
    let capabilities = Capabilities { switch: Switch::EngineAtomic, ..spec().capabilities };
    Spec { capabilities, ..spec() }
}

pub(crate) fn repair() -> Spec {
    Spec { origin: Origin::Repair { dead: node("a") }, ..spec() }
}

pub(crate) struct Hand {
    pub(crate) migration: Migration,
    pub(crate) now: Moment,
    /// Calls that were made, in their order.
    pub(crate) calls: Vec<Request>,
    /// Questions that were asked.
    pub(crate) questions: Vec<Question>,
    /// All else.
    pub(crate) others: Vec<Command>,
    /// Every migration there was.
    pub(crate) past: Vec<Migration>,
    pub(crate) denied: Option<Denied>,
}

impl Hand {
    pub(crate) fn new(spec: Spec) -> Self {
        let migration = Migration::new(spec, Term(1), Moment(0)).unwrap();
        Self {
            past: vec![migration.clone()],
            migration,
            now: Moment(0),
            calls: Vec::new(),
            questions: Vec::new(),
            others: Vec::new(),
            denied: None,
        }
    }

    /// Up to a phase, on the way where all goes well.
    pub(crate) fn at(spec: Spec, phase: Phase) -> Self {
        let mut hand = Self::new(spec);
        hand.event(Event::Admitted);
        hand.succeed_until(|hand| hand.phase() == phase);
        hand
    }

    /// Up to where a step has been called, on the way where all goes well.
    pub(crate) fn calling(spec: Spec, step: StepKind) -> Self {
        let mut hand = Self::new(spec);
        hand.event(Event::Admitted);
        hand.succeed_until(|hand| hand.calls.last().is_some_and(|call| call.id.step == step));
        hand
    }

    pub(crate) fn succeed_until(&mut self, there: impl Fn(&Self) -> bool) {
        for _ in 0..60 {
            if there(self) {
                return;
            }
            self.go_on();
        }
        panic!("it is {:?}, and has called {:?}", self.phase(), self.steps());
    }

    /// Whatever it waits for succeeds.
    pub(crate) fn go_on(&mut self) {
        let calls = self.calls.len();
        let phase = self.phase();
        self.succeed();
        if self.calls.len() > calls || self.phase() != phase {
            return;
        }
        self.tell(|seen| seen);
        if self.calls.len() == calls && self.phase() == phase {
            self.wait();
        }
    }

    pub(crate) fn event(&mut self, event: Event) -> &mut Self {
        let next = self.migration.handle(event, self.now);
        self.migration = next.migration;
        self.past.push(self.migration.clone());
        self.denied = next.denied;
        for command in next.commands {
            match command {
                Command::Perform { term, request } => {
                    assert_eq!(term, self.migration.term());
                    self.calls.push(request);
                }
                Command::Ask { question, .. } => self.questions.push(question),
                other @ (Command::Watch { .. } | Command::Replan { .. }) => self.others.push(other),
            }
        }
        self
    }

    pub(crate) fn want(&mut self, action: Action) -> Option<Denied> {
        self.event(Event::Wanted(action));
        self.denied
    }

    /// Waits until the machine wants to be woken.
    pub(crate) fn wait(&mut self) -> &mut Self {
        let Some(deadline) = self.migration.deadline() else { return self };
        assert!(deadline > self.now, "it spins in {:?}", self.phase());
        self.now = deadline;
        self.event(Event::Due)
    }

    /// Lets so much time pass, with all deadlines in it.
    pub(crate) fn pass(&mut self, ms: u64) -> &mut Self {
        let until = self.now.after_ms(ms);
        while self.migration.deadline().is_some_and(|at| at <= until) {
            self.wait();
        }
        self.now = until;
        self
    }

    pub(crate) fn call(&self) -> &Request {
        self.calls.last().unwrap()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.migration.phase()
    }

    pub(crate) fn steps(&self) -> Vec<StepKind> {
        self.calls.iter().map(|call| call.id.step).collect()
    }

    pub(crate) fn answer(&mut self, outcome: Outcome) -> &mut Self {
        let request = self.call().id.clone();
        self.event(Event::Answered { request, outcome })
    }

    pub(crate) fn refuse(&mut self, reason: Reason) -> &mut Self {
        self.answer(Outcome::Refused(reason))
    }

    /// The call under way succeeds.
    pub(crate) fn succeed(&mut self) -> &mut Self {
        let done = self.success(&self.call().clone());
        self.answer(Outcome::Done(done))
    }

    pub(crate) fn success(&self, call: &Request) -> Done {
        match &call.step {
            Step::ValidateMigration => Done::Validated(Validated {
                serving: SERVING,
                promised: SERVING,
                findings: Vec::new(),
                copies: Copies::Live,
            }),
            Step::PrepareTarget => Done::Prepared,
            Step::StartReplication { .. } => Done::Replicated,
            Step::AwaitCatchup { .. } => Done::CaughtUp { lag_bytes: 0 },
            Step::Verify => Done::Verified(Verification {
                migration: call.id.migration.clone(),
                epoch: call.epochs.unwrap().expected,
                evidence: "9 rows".to_owned(),
            }),
            Step::FenceSource => Done::Fenced { position: Position("0/19".to_owned()) },
            Step::CommitSwitch { .. } => Done::Committed,
            Step::UnfenceSource => Done::Unfenced,
            Step::ReverseSwitch => Done::Reversed,
            Step::RetireSource => Done::Retired,
            Step::Abort => Done::Aborted,
        }
    }

    /// The last question is answered: the partition is as the machine believes, but for what `change` says.
    pub(crate) fn tell(&mut self, change: impl Fn(Observation) -> Observation) -> &mut Self {
        let Some(question) = self.questions.last().cloned() else { return self };
        let serving = self.migration.serving().unwrap_or(SERVING);
        let about = question.about.clone();
        let fate = about.map(|id| {
            let call = self.calls.iter().rev().find(|call| call.id == id).unwrap();
            Fate::Done(self.success(call))
        });
        let serves = if serving == SERVING { Side::Source } else { Side::Target };
        let fenced = if self.migration.traces().fence.is_some() { Fenced::Yes } else { Fenced::No };
        let seen = Observation { fate, serving, promised: serving, serves, fenced, progress: None };
        self.event(Event::Observed { question, told: Told::State(change(seen)) })
    }

    /// The last question is answered with the fate of its call.
    pub(crate) fn fate(&mut self, fate: Fate) -> &mut Self {
        self.tell(|seen| Observation { fate: Some(fate.clone()), ..seen })
    }
}

pub(crate) fn progress(done: u64, throttled: bool) -> Progress {
    Progress {
        done,
        total: None,
        lag_bytes: None,
        throttled_by: throttled.then(|| "the rate".to_owned()),
        resume: Some(format!("at {done}")),
        handing_over: false,
    }
}
