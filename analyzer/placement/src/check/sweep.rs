//! A schedule, event by event: once by its waves, and once by its times where it has any.

use super::facts::Facts;
use super::replay::Replay;
use super::{Direction, Fault, Moment, Violation};
use crate::ids::{Domain, Level, Node};
use crate::plan::{Action, Plan};
use crate::schedule::{Doing, Schedule, Span, Step};
use std::collections::BTreeMap;

/// What happens to a step at a moment. At one moment ends come first, then shifts, then starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    End,
    Shift,
    Start,
}

pub(super) fn check(facts: &Facts<'_>, plan: &Plan, schedule: &Schedule) -> Vec<Violation> {
    let mut found = Vec::new();
    if schedule.plan != plan.hash {
        found.push(Violation::whole(Fault::OtherPlan));
    }
    let steps = sound(plan, schedule, &mut found);
    check_times(plan, schedule, &steps, &mut found);
    let are = steps.iter().map(|step| step.wave + 1).max().unwrap_or(0);
    if schedule.waves != are {
        found.push(Violation::whole(Fault::Waves { said: schedule.waves, are }));
    }
    found.extend(Sweep::new(facts, plan, false).run(by_waves(&steps), &steps));
    let timed = schedule.times.is_some() && steps.iter().all(|step| timed(step));
    if timed {
        found.extend(Sweep::new(facts, plan, true).run(by_times(&steps), &steps));
    }
    found
}

/// Steps that can be judged: of a move that is there, once, and of its kind.
fn sound<'a>(plan: &Plan, schedule: &'a Schedule, found: &mut Vec<Violation>) -> Vec<&'a Step> {
    let mut seen = vec![0u32; plan.moves.len()];
    let mut add = |position: u32, fault| {
        found.push(Violation { position: Some(position), moment: Moment::Decided, fault });
    };
    let mut steps = Vec::with_capacity(schedule.steps.len());
    for step in &schedule.steps {
        let Some(decided) = plan.moves.get(step.position as usize) else {
            add(step.position, Fault::NoSuchMove);
            continue;
        };
        seen[step.position as usize] += 1;
        let right = match (decided.action, step.doing) {
            (Action::Copy { .. }, Doing::Copy { .. })
            | (Action::Lead { .. } | Action::DrainReads { .. }, Doing::Shift { .. }) => true,
            (Action::Copy { .. }, Doing::Shift { .. })
            | (Action::Lead { .. } | Action::DrainReads { .. }, Doing::Copy { .. }) => false,
        };
        if !right {
            add(step.position, Fault::OtherKind);
        } else if seen[step.position as usize] == 1 {
            steps.push(step);
        }
    }
    for stuck in &schedule.stuck {
        match seen.get_mut(stuck.position as usize) {
            None => add(stuck.position, Fault::NoSuchMove),
            Some(seen) => *seen += 1,
        }
    }
    for (position, times) in seen.iter().enumerate().filter(|(_, times)| **times != 1) {
        add(position as u32, if *times == 0 { Fault::NotDone } else { Fault::DoneTwice });
    }
    steps
}

fn timed(step: &Step) -> bool {
    match step.doing {
        Doing::Shift { at_ms } => at_ms.is_some(),
        Doing::Copy { span, .. } => span.is_some(),
    }
}

/// Each step's own times, and those of the whole.
fn check_times(plan: &Plan, schedule: &Schedule, steps: &[&Step], found: &mut Vec<Violation>) {
    let mut is_ms = 0;
    for step in steps {
        let mut add = |fault| {
            found.push(Violation { position: Some(step.position), moment: Moment::Decided, fault });
        };
        if timed(step) != schedule.times.is_some() {
            add(Fault::TimesOfSome);
        }
        match step.doing {
            Doing::Shift { at_ms } => is_ms = is_ms.max(at_ms.unwrap_or(0)),
            Doing::Copy { span: Some(Span { start_ms, end_ms, bytes_per_s }), .. } => {
                is_ms = is_ms.max(end_ms);
                let bytes = u128::from(plan.moves[step.position as usize].bytes);
                let takes_ms = (bytes * 1000).div_ceil(u128::from(bytes_per_s.max(1))).max(1);
                let ends_ms = u64::try_from(u128::from(start_ms) + takes_ms).unwrap_or(u64::MAX);
                if ends_ms != end_ms || bytes_per_s == 0 {
                    add(Fault::Span { ends_ms });
                }
            }
            Doing::Copy { span: None, .. } => {}
        }
    }
    let Some(times) = schedule.times else { return };
    if times.makespan_ms != is_ms {
        found.push(Violation::whole(Fault::Makespan { said_ms: times.makespan_ms, is_ms }));
    }
    if times.bound_ms > is_ms {
        found.push(Violation::whole(Fault::Bound { bound_ms: times.bound_ms, makespan_ms: is_ms }));
    }
}

type Events = Vec<(Moment, Event, u32, u32)>;

/// Moment, event, position of the move, position among the steps. A wave's shifts, its starts, then its ends, which
/// are at the moment before the next wave.
fn by_waves(steps: &[&Step]) -> Events {
    let each = steps.iter().enumerate().flat_map(|(at, step)| {
        let (now, next) = (Moment::Wave(step.wave), Moment::Wave(step.wave.saturating_add(1)));
        let (first, second) = match step.doing {
            Doing::Shift { .. } => ((now, Event::Shift), None),
            Doing::Copy { .. } => ((now, Event::Start), Some((next, Event::End))),
        };
        let both = std::iter::once(first).chain(second);
        both.map(move |(moment, event)| (moment, event, step.position, at as u32))
    });
    let mut events: Events = each.collect();
    events.sort_unstable();
    events
}

fn by_times(steps: &[&Step]) -> Events {
    let each = steps.iter().enumerate().flat_map(|(at, step)| {
        let (first, second) = match step.doing {
            Doing::Shift { at_ms } => (at_ms.map(|ms| (ms, Event::Shift)), None),
            Doing::Copy { span, .. } => {
                (span.map(|span| (span.start_ms, Event::Start)), span.map(|span| (span.end_ms, Event::End)))
            }
        };
        let both = first.into_iter().chain(second);
        both.map(move |(ms, event)| (Moment::Ms(ms), event, step.position, at as u32))
    });
    let mut events: Events = each.collect();
    events.sort_unstable();
    events
}

/// What runs at a moment.
struct Sweep<'a> {
    replay: Replay<'a>,
    plan: &'a Plan,
    copies: Vec<u32>,
    /// Absent in a sweep by waves.
    rates: Option<Rates>,
    /// By the place of a partition's row, the move that copies it.
    copying: Vec<Option<u32>>,
    /// Steps that started and have not ended.
    runs: Vec<bool>,
}

/// Bytes per second that are spent.
struct Rates {
    into: Vec<u128>,
    out: Vec<u128>,
    links: Vec<[u128; 2]>,
    /// Links by the domains they join, with the way: 0 from the first to the second.
    between: BTreeMap<(Domain, Domain), Vec<(usize, usize)>>,
}

impl<'a> Sweep<'a> {
    fn new(facts: &'a Facts<'a>, plan: &'a Plan, rates: bool) -> Self {
        let nodes = facts.nodes();
        let mut copies = vec![0; nodes];
        for copy in facts.snapshot.in_flight() {
            copies[copy.to.at()] += 1;
            if let Some(from) = copy.from.filter(|from| facts.live(*from)) {
                copies[from.at()] += 1;
            }
        }
        Self {
            replay: Replay::new(facts, plan),
            plan,
            copies,
            rates: rates.then(|| Rates::new(facts)),
            copying: vec![None; plan.moves.len()],
            runs: vec![false; plan.moves.len()],
        }
    }

    fn run(mut self, events: Events, steps: &[&Step]) -> Vec<Violation> {
        for (moment, event, position, at) in events {
            let decided = &self.plan.moves[position as usize];
            let place = self.replay.place(decided.partition);
            let (Some(place), None) = (place, self.replay.unknown_node(decided.action)) else {
                continue;
            };
            let step = steps[at as usize];
            match (event, step.doing) {
                (Event::Shift, _) => self.shift(place, step, moment),
                (Event::Start, Doing::Copy { source, span }) => self.start(place, step, source, span, moment),
                (Event::End, Doing::Copy { source, span }) => self.end(place, step, source, span, moment),
                (Event::Start | Event::End, Doing::Shift { .. }) => {}
            }
        }
        self.replay.found
    }

    fn shift(&mut self, place: usize, step: &Step, moment: Moment) {
        let at = (Some(step.position), moment);
        let action = self.plan.moves[step.position as usize].action;
        if let (true, Action::Lead { to, .. }) = (self.replay.fits(place, action, at), action) {
            self.replay.lead(place, to);
        }
    }

    fn start(&mut self, place: usize, step: &Step, source: Node, span: Option<Span>, moment: Moment) {
        let at = (Some(step.position), moment);
        let decided = &self.plan.moves[step.position as usize];
        let Action::Copy { to, .. } = decided.action else { return };
        if source.at() >= self.replay.facts.nodes() {
            return self.replay.add(at, Fault::NoSuchNode { node: source });
        }
        if !self.replay.facts.live(source) {
            self.replay.add(at, Fault::SourceDown { source_node: source });
        }
        if !self.replay.row(place).contains(&source) {
            self.replay.add(at, Fault::SourceDoesNotHold { source_node: source });
        }
        if let Some(other) = self.copying[place] {
            return self.replay.add(at, Fault::Overlap { other });
        }
        if !self.replay.fits(place, decided.action, at) {
            return;
        }
        self.runs[step.position as usize] = true;
        self.copying[place] = Some(step.position);
        self.replay.begin(decided, to, at);
        let limit = self.replay.facts.snapshot.policy().node_copies;
        for node in [source, to] {
            self.copies[node.at()] += 1;
            let copies = self.copies[node.at()];
            if copies > u32::from(limit) {
                self.replay.add(at, Fault::NodeCopies { node, copies, limit });
            }
        }
        if let Some(span) = span {
            self.check_rates(source, to, span.bytes_per_s, at);
        }
    }

    fn end(&mut self, place: usize, step: &Step, source: Node, span: Option<Span>, moment: Moment) {
        if !std::mem::take(&mut self.runs[step.position as usize]) {
            return;
        }
        let decided = &self.plan.moves[step.position as usize];
        let Action::Copy { to, .. } = decided.action else { return };
        self.copying[place] = None;
        for node in [source, to] {
            self.copies[node.at()] -= 1;
        }
        self.replay.end(place, decided, (Some(step.position), moment));
        let facts = self.replay.facts;
        if let (Some(rates), Some(span)) = (&mut self.rates, span) {
            let rate = u128::from(span.bytes_per_s);
            rates.out[source.at()] -= rate;
            rates.into[to.at()] -= rate;
            for (link, way) in rates.crossed(facts, source, to) {
                rates.links[link][way] -= rate;
            }
        }
    }

    fn check_rates(&mut self, source: Node, to: Node, rate: u64, at: (Option<u32>, Moment)) {
        let facts = self.replay.facts;
        let Some(rates) = &mut self.rates else { return };
        let nodes = facts.snapshot.topology().nodes();
        rates.out[source.at()] += u128::from(rate);
        rates.into[to.at()] += u128::from(rate);
        let ends =
            [(source, Direction::Out, rates.out[source.at()]), (to, Direction::In, rates.into[to.at()])];
        let mut faults = Vec::new();
        for (node, direction, bytes_per_s) in ends {
            if let Some(limit) = nodes[node.at()].network_bytes_per_s
                && bytes_per_s > u128::from(limit)
            {
                faults.push(Fault::NodeRate { node, direction, bytes_per_s, limit });
            }
        }
        for (link, way) in rates.crossed(facts, source, to) {
            rates.links[link][way] += u128::from(rate);
            let (bytes_per_s, limit) =
                (rates.links[link][way], facts.snapshot.topology().links()[link].bytes_per_s);
            if bytes_per_s > u128::from(limit) {
                faults.push(Fault::LinkRate { link: link as u32, bytes_per_s, limit });
            }
        }
        for fault in faults {
            self.replay.add(at, fault);
        }
    }
}

impl Rates {
    fn new(facts: &Facts<'_>) -> Self {
        let topology = facts.snapshot.topology();
        let mut between: BTreeMap<(Domain, Domain), Vec<(usize, usize)>> = BTreeMap::new();
        for (at, link) in topology.links().iter().enumerate() {
            between.entry((link.a, link.b)).or_default().push((at, 0));
            if link.a != link.b {
                between.entry((link.b, link.a)).or_default().push((at, 1));
            }
        }
        let nodes = facts.nodes();
        Self {
            into: vec![0; nodes],
            out: vec![0; nodes],
            links: vec![[0, 0]; topology.links().len()],
            between,
        }
    }

    /// The links that bytes from one node to another cross, and which way: every link that joins the domains around
    /// the two, at any level.
    fn crossed(&self, facts: &Facts<'_>, from: Node, to: Node) -> Vec<(usize, usize)> {
        if self.between.is_empty() {
            return Vec::new();
        }
        let levels = (0..facts.snapshot.topology().levels().len()).map(|level| Level(level as u8));
        let ends = levels.filter_map(|level| Some((facts.domain(from, level)?, facts.domain(to, level)?)));
        ends.filter_map(|ends| self.between.get(&ends)).flatten().copied().collect()
    }
}
