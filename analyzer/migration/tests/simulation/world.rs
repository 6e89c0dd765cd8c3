//! Everything around the machine: a network that loses, doubles, delays and reorders, a controller that dies and is
//! replaced, an operator with wishes, clients, and a clock that only this has.

mod operator;
mod runner;
mod truth;
mod watchers;

use crate::adapter::Adapter;
use crate::chance::Chance;
use crate::flaw::{AdapterFlaw, RunnerFlaw};
use crate::scenario::{Scenario, Zombies};
use crate::store::{Side, Store};
use isotherm_migration::{
    Cause, Command, End, Event, Migration, Moment, Origin, Phase, Reason, Step, Term, Told,
};
use std::collections::BTreeSet;
pub(crate) use watchers::{Watchers, Watching};

/// Milliseconds of a tick.
const TICK_MS: u64 = 5;

/// Until then there are faults and wishes.
const FAULTS_MS: u64 = 4_000;

/// Until then all must be over.
const LIMIT_MS: u64 = 40_000;

/// So long it goes on after the end: what was on its way arrives.
const DRAIN_MS: u64 = 4_000;

struct Message {
    at_ms: u64,
    to: To,
}

enum To {
    Adapter { from: Term, command: Command },
    Controller { term: Term, event: Event },
}

/// A controller's memory.
struct Controller {
    term: Term,
    migration: Migration,
}

pub(crate) struct World<'a> {
    scenario: &'a Scenario,
    chance: Chance,
    flaw: RunnerFlaw,
    now_ms: u64,
    net: Vec<Message>,
    pub(crate) adapter: Adapter,
    /// What was written; it outlives controllers.
    pub(crate) journal: Migration,
    controller: Option<Controller>,
    /// A controller that was replaced and does not know it.
    zombie: Option<Controller>,
    /// Two controllers have known nothing of each other.
    blind: bool,
    newest: Term,
    pub(crate) loss_accepted: bool,
    retries: u32,
    verbose: bool,
    pub(crate) events: u64,
    /// From which phase to which it went.
    pub(crate) ways: BTreeSet<(Phase, Phase)>,
    watchers: Watchers,
    /// All calls with their moments, and the last phase.
    pub(crate) course: Vec<String>,
}

impl<'a> World<'a> {
    pub(crate) fn new(
        scenario: &'a Scenario,
        chance: Chance,
        flaws: (AdapterFlaw, RunnerFlaw),
        watchers: Watchers,
        verbose: bool,
    ) -> Self {
        let probation_ms = match scenario.spec.origin {
            Origin::Move { .. } => scenario.spec.policy.probation_ms,
            Origin::Repair { .. } => 0,
        };
        let mut store = Store::new(scenario.writes, probation_ms);
        store.corrupts = scenario.corrupts;
        let migration = Migration::new(scenario.spec.clone(), Term(1), Moment(0)).unwrap();
        Self {
            scenario,
            chance,
            flaw: flaws.1,
            now_ms: 0,
            net: Vec::new(),
            adapter: Adapter::new(store, scenario.spec.path(), flaws.0),
            journal: migration.clone(),
            controller: Some(Controller { term: Term(1), migration }),
            zombie: None,
            blind: false,
            newest: Term(1),
            loss_accepted: false,
            retries: 0,
            verbose,
            events: 0,
            ways: BTreeSet::new(),
            watchers,
            course: Vec::new(),
        }
    }

    /// Lives until the migration is over and all that was on its way has come; tells what must not have been.
    pub(crate) fn run(&mut self) -> Vec<String> {
        let mut over_ms = None;
        while self.now_ms < LIMIT_MS && over_ms.is_none_or(|over: u64| self.now_ms < over + DRAIN_MS) {
            self.now_ms += TICK_MS;
            self.adapter.store.now_ms = self.now_ms;
            self.tick();
            self.adapter.store.check();
            self.check_told();
            if !self.adapter.store.violations.is_empty() {
                break;
            }
            if over_ms.is_none() && self.is_over() && self.now_ms > FAULTS_MS {
                over_ms = Some(self.now_ms);
            }
        }
        self.course.push(format!("{:?}", self.journal.phase()));
        let mut found = std::mem::take(&mut self.adapter.store.violations);
        if found.is_empty() && over_ms.is_none() {
            found.push(format!("it neither ended nor stopped: {:?}", self.journal.phase()));
        }
        if found.is_empty()
            && let Some(end) = self.journal.end()
        {
            let serves = if *end == End::Completed { Side::Target } else { Side::Source };
            found.extend(self.adapter.store.check_end(serves, self.loss_accepted, self.blind));
        }
        found
    }

    fn faulty(&self) -> bool {
        self.now_ms < FAULTS_MS
    }

    /// Ended, or stopped where trying again does not help.
    fn is_over(&self) -> bool {
        let stopped = self.journal.phase() == Phase::NeedsOperator;
        self.journal.end().is_some() || (stopped && self.may_stay_stopped())
    }

    fn may_stay_stopped(&self) -> bool {
        match self.journal.cause() {
            Some(Cause::NoLiveCopy) => self.adapter.store.source_lost,
            Some(Cause::Refused { reason: Reason::Mismatch, .. }) => self.scenario.corrupts,
            // Two controllers may have asked for different things under one number.
            Some(_) => self.blind && self.retries > 3,
            None => false,
        }
    }

    fn tick(&mut self) {
        self.faults();
        self.adapter.tick(&mut self.chance);
        self.clients();
        self.deliver();
        self.operator();
        self.admit();
        self.wake();
        self.follow();
    }

    fn faults(&mut self) {
        let store = &mut self.adapter.store;
        if self.scenario.source_lost_ms.is_some_and(|at| at < self.now_ms) && store.serves == Side::Source {
            store.source_lost = true;
        }
        let faulty = self.now_ms < FAULTS_MS;
        let shaky = faulty && self.scenario.adapter > 0;
        let mut toggle = |alive: &mut bool, lost: bool| {
            let chance =
                if *alive { shaky && self.chance.below(400) == 0 } else { self.chance.below(40) == 0 };
            *alive = (*alive != chance || (!faulty && !*alive)) && !lost;
        };
        let lost = store.source_lost;
        toggle(&mut store.source_alive, lost);
        toggle(&mut store.target_alive, false);
        self.adapter.throttled = shaky && self.chance.percent(if self.adapter.throttled { 95 } else { 1 });
        if self.adapter.down && (!faulty || self.chance.percent(5)) {
            self.adapter.restart(&mut self.chance);
        }
        if faulty && self.chance.below(1_000) < self.scenario.controller && self.controller.is_some() {
            self.kill();
        }
        if self.controller.is_none() && (!faulty || self.chance.percent(10)) {
            self.start();
        }
        if !faulty || self.chance.below(200) == 0 {
            self.zombie = None;
        }
    }

    fn kill(&mut self) {
        let dead = self.controller.take();
        self.say("the controller dies");
        if self.scenario.zombies != Zombies::None && self.zombie.is_none() && self.chance.percent(30) {
            self.say("... but does not know it");
            self.zombie = dead;
            self.blind |= self.scenario.zombies == Zombies::Blind;
        }
    }

    fn start(&mut self) {
        self.newest = Term(self.newest.0 + 1);
        self.controller = Some(Controller { term: self.newest, migration: self.journal.clone() });
        self.event(self.newest, Event::Resumed { term: self.newest });
    }

    fn clients(&mut self) {
        if !self.chance.percent(30) {
            return;
        }
        let serves = self.adapter.store.serves;
        let other = if serves == Side::Source { Side::Target } else { Side::Source };
        // Now and then one goes where it went before.
        let to = if self.chance.percent(85) { serves } else { other };
        self.adapter.store.write(1_000_000 + self.now_ms, to);
    }

    fn deliver(&mut self) {
        let mut due = Vec::new();
        let mut at = 0;
        while at < self.net.len() {
            if self.net[at].at_ms <= self.now_ms {
                due.push(self.net.swap_remove(at));
            } else {
                at += 1;
            }
        }
        while !due.is_empty() {
            let pick = self.chance.below(due.len() as u64) as usize;
            match due.swap_remove(pick).to {
                To::Adapter { from, command } => self.call(from, command),
                To::Controller { term, event } => self.event(term, event),
            }
        }
    }

    /// A call arrives.
    fn call(&mut self, from: Term, command: Command) {
        if self.adapter.down {
            return self.unanswered(from, &command);
        }
        let faults = if self.faulty() { self.scenario.adapter } else { 0 };
        match command {
            Command::Perform { term, request } => {
                let outcome = self.adapter.perform(term, &request, faults, &mut self.chance);
                self.say(&format!("adapter: {} of {term}: {outcome:?}", request.id));
                let broken = self.faulty() && self.chance.percent(self.scenario.network / 2);
                match outcome {
                    Some(outcome) if !broken => {
                        let event = Event::Answered { request: request.id, outcome };
                        self.post(To::Controller { term: from, event });
                    }
                    // The connection breaks after the call has arrived.
                    Some(_) | None => self.unanswered(from, &Command::Perform { term, request }),
                }
            }
            Command::Ask { term, question } => {
                let told = self.adapter.ask(term, &question);
                self.post(To::Controller { term: from, event: Event::Observed { question, told } });
            }
            Command::Watch { .. } => self.watch(from),
            Command::Replan { .. } => {}
        }
    }

    /// The connection is refused, or breaks.
    fn unanswered(&mut self, from: Term, command: &Command) {
        let event = match command {
            Command::Perform { request, .. } => {
                Event::Answered { request: request.id.clone(), outcome: self.taken_for(&request.step) }
            }
            Command::Ask { question, .. } => {
                Event::Observed { question: question.clone(), told: Told::Unknown }
            }
            Command::Watch { .. } | Command::Replan { .. } => return,
        };
        let at_ms = self.now_ms + 1 + self.chance.below(20);
        self.net.push(Message { at_ms, to: To::Controller { term: from, event } });
    }

    /// Something is on its way: it may be lost, come twice, come late.
    fn post(&mut self, to: To) {
        let to = self.looked_away(to);
        let faults = if self.faulty() { self.scenario.network } else { 0 };
        if self.chance.percent(faults) {
            if let To::Adapter { from, command } = &to
                && self.chance.percent(50)
            {
                self.unanswered(*from, command);
            }
            return;
        }
        let copies = if self.chance.percent(faults) { 2 } else { 1 };
        for _ in 0..copies {
            let late = self.chance.percent(faults);
            // Late by a step, by a phase, or by all there was.
            let most_ms = [60, 400, 2_500][self.chance.below(3) as usize];
            let delay_ms = if late { self.chance.below(most_ms) } else { 1 + self.chance.below(15) };
            let to = match &to {
                To::Adapter { from, command } => To::Adapter { from: *from, command: command.clone() },
                To::Controller { term, event } => To::Controller { term: *term, event: event.clone() },
            };
            self.net.push(Message { at_ms: self.now_ms + delay_ms, to });
        }
    }

    /// An event comes to the controller of a term, if that is there.
    fn event(&mut self, term: Term, event: Event) {
        let (faulty, now) = (self.faulty() && self.scenario.controller > 0, self.moment());
        // A runner does not write what is only told, unless the phase is another one by it.
        let quiet = matches!(event, Event::Progressed(_));
        if let Some(zombie) = self.zombie.as_mut().filter(|zombie| zombie.term == term) {
            let next = zombie.migration.handle(event, now);
            if self.scenario.zombies == Zombies::Writing {
                if self.journal.term() > term {
                    // The write is refused: nothing is done.
                    self.zombie = None;
                    return;
                }
                self.journal = next.migration.clone();
            }
            zombie.migration = next.migration;
            for command in next.commands {
                self.post(To::Adapter { from: term, command });
            }
            return;
        }
        let Some(controller) = self.controller.as_mut().filter(|controller| controller.term == term) else {
            return;
        };
        let ended = controller.migration.end().is_some();
        let before = controller.migration.phase();
        let next = controller.migration.handle(event.clone(), now);
        let again = controller.migration.handle(event.clone(), now);
        assert_eq!(next, again, "the same event on the same migration");
        controller.migration = next.migration.clone();
        let after = next.migration.phase();
        if quiet && next.commands.is_empty() {
            if before != after {
                self.journal = next.migration;
            }
            return;
        }
        self.events += 1;
        self.ways.insert((before, after));
        self.note(&next.commands);
        if before != after || self.verbose {
            self.say(&format!("{before:?} -> {after:?} by {event:?}"));
        }
        if ended && !(next.commands.is_empty() && next.migration.end().is_some()) {
            self.adapter.store.violations.push(format!("something follows the end: {:?}", next.commands));
        }
        let deadline = next.migration.deadline();
        if deadline.is_some_and(|at| at <= Moment(self.now_ms)) {
            self.adapter.store.violations.push(format!("a deadline in the past in {after:?}: it spins"));
        }
        if self.flaw == RunnerFlaw::CallsBeforeWriting {
            for command in next.commands.clone() {
                self.post(To::Adapter { from: term, command });
            }
        }
        if faulty && self.chance.below(300) == 0 {
            return self.kill();
        }
        // To write it down and read it again takes longest of all; one in eight shows as much.
        self.journal = if self.events.is_multiple_of(8) { written(&next.migration) } else { next.migration };
        for command in next.commands {
            if faulty && self.chance.below(300) == 0 {
                return self.kill();
            }
            if self.flaw != RunnerFlaw::CallsBeforeWriting {
                self.post(To::Adapter { from: term, command });
            }
        }
    }

    fn admit(&mut self) {
        if self.journal.phase() == Phase::Planned && self.chance.percent(20) {
            self.event(self.newest, Event::Admitted);
        }
    }

    fn wake(&mut self) {
        let now = self.moment();
        let due = |controller: &Option<Controller>| {
            let controller = controller.as_ref()?;
            let at = controller.migration.deadline()?;
            (at <= now).then_some(controller.term)
        };
        let terms = [due(&self.controller), due(&self.zombie)];
        for term in terms.into_iter().flatten() {
            self.event(term, Event::Due);
        }
    }

    /// Notes what is done. Where a copy can go on is left out: it is told by those who watch it, too.
    fn note(&mut self, commands: &[Command]) {
        for command in commands {
            match command {
                Command::Perform { term, request } => {
                    self.course.push(format!("{} {} of {term}", self.now_ms, request.id));
                    if matches!(request.step, Step::StartReplication { .. }) {
                        self.watchers.copying = Some(request.id.clone());
                    }
                }
                Command::Ask { .. } | Command::Watch { .. } | Command::Replan { .. } => {}
            }
        }
    }

    fn say(&self, what: &str) {
        if self.verbose {
            println!("{:>6} ms  {what}", self.now_ms);
        }
    }
}

/// What a journal gives back: the migration as text, read again.
fn written(migration: &Migration) -> Migration {
    let text = serde_json::to_string(migration).unwrap();
    serde_json::from_str(&text).unwrap()
}
