//! Predictions on a made-up cluster that nobody touches, and what came: what [`crate::evaluate`] judges.
//!
//! Two questions. Will clients of a partition feel an incident within a day? The risk answers, against what would be
//! said by its entropy alone: the last value, its level, a random walk. And will a partition that does not surge
//! begin to, within half a day? The forecast of its entropy answers, against the same three. Incidents are failures
//! that took much of a partition's reads, as the cluster had them; surges are those that are called by the rule that
//! calls them in earnest.

use crate::act::belief::Belief;
use crate::analyst::Analyst;
use crate::cluster::Cluster;
use crate::evaluate::{Predicted, Scored, Scores, Surges, cases, random_walk, surges};
use crate::observe::Step;
use crate::policy::{Limits, Parts};
use crate::world::{TICK_MIN, TICKS_PER_DAY, TICKS_PER_H, World};
use isotherm_forecast::transform::forward;
use isotherm_forecast::{Select, Side};
use isotherm_model::Timestamp;
use isotherm_risk::class::Normalised;
use isotherm_risk::habit::{self, Habit};
use isotherm_risk::surge::{self, Surge, Verdict, Window};
use isotherm_risk::{normalised_entropy, shares_of};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

/// All that was predicted on a cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictions {
    /// Of incidents within [`INCIDENT_H`] hours.
    pub incidents: Vec<Predicted>,
    /// Of surges within [`SURGE_H`] hours, of partitions that do not surge.
    pub surges: Vec<Predicted>,
    /// How surges were called.
    pub called: Surges,
}

/// Hours within which an incident is predicted.
pub const INCIDENT_H: usize = 24;

/// Hours within which a surge is predicted.
pub const SURGE_H: usize = 12;

/// Hours between predictions.
const EVERY_H: usize = 12;

/// Hours of a series that a forecast learns from.
const SERIES_H: usize = 120;

/// Paths of a forecast.
const PATHS: usize = 200;

/// Level of the high class.
const HIGH: f64 = 0.85;

/// Entropy of each partition as it is followed.
struct Followed {
    habit: Habit,
    surge: Surge,
    surging: bool,
    window: Option<Window>,
    /// By the hour, the last of them at the end; not a number where nothing was read.
    hours: Vec<f64>,
    sum: f64,
    count: u32,
    calls: Vec<u64>,
}

/// Scores of one partition at a step.
struct Said {
    incident: Scored<4>,
    /// Absent where it surges already, or too little is known.
    surge: Option<Scored<4>>,
}

/// Predicts on a cluster that is only repaired.
#[must_use]
pub fn predict(world: &World, limits: &Limits) -> Predictions {
    let mut cluster = Cluster::new(world);
    let mut analyst = Analyst::new(world.facts(), world.spec().copying.drained_left);
    let mut step = Step::default();
    let rules = Rules::new();
    let mut followed: Vec<Followed> = world.start().iter().map(|_| Followed::new()).collect();
    let (mut of_incidents, mut of_surges) = (Vec::new(), Vec::new());
    for tick in 0..world.ticks() {
        cluster.pass(tick);
        cluster.look(&mut step);
        analyst.see(&step);
        for (one, reads) in followed.iter_mut().zip(&step.reads) {
            one.see(&rules, tick, reads.map(f64::from));
        }
        let due = tick >= world.first_tick() && (tick + 1).is_multiple_of(EVERY_H * TICKS_PER_H);
        if due {
            for said in score(&analyst, &cluster, &followed, limits, tick) {
                of_incidents.push(said.incident);
                of_surges.extend(said.surge);
            }
        }
    }
    let incidents = by_partition(
        world,
        cluster.record.incidents.iter().map(|incident| (incident.partition, incident.tick as u64)),
    );
    let calls: Vec<Vec<u64>> = followed.iter().map(|one| one.calls.clone()).collect();
    let last = of_incidents.last().map_or(0, |one| one.step);
    let horizon = |hours: usize| (hours * TICKS_PER_H) as u64;
    Predictions {
        incidents: cases(&of_incidents, &incidents, horizon(INCIDENT_H), last, INCIDENT_NAMES),
        surges: cases(&of_surges, &calls, horizon(SURGE_H), last, SURGE_NAMES),
        called: called(world, &calls),
    }
}

const INCIDENT_NAMES: [(&str, Scores); 4] = [
    ("risk", Scores::Probabilities),
    ("last value of entropy", Scores::Ranks),
    ("level of entropy", Scores::Ranks),
    ("random walk", Scores::Probabilities),
];

const SURGE_NAMES: [(&str, Scores); 4] = [
    ("forecast", Scores::Probabilities),
    ("last value of entropy", Scores::Ranks),
    ("level of entropy", Scores::Ranks),
    ("random walk", Scores::Probabilities),
];

struct Rules {
    habit: habit::Rule,
    surge: surge::Rule,
}

impl Rules {
    fn new() -> Self {
        let settings = habit::Settings { step_s: TICK_MIN * 60.0, ..habit::Settings::default() };
        let habit = habit::Rule::new(settings).expect("a quarter of an hour is a possible step");
        Self { habit, surge: surge::Rule::default() }
    }
}

impl Followed {
    fn new() -> Self {
        Self {
            habit: Habit::default(),
            surge: Surge::default(),
            surging: false,
            window: None,
            hours: Vec::new(),
            sum: 0.0,
            count: 0,
            calls: Vec::new(),
        }
    }

    fn see(&mut self, rules: &Rules, tick: usize, reads: [f64; 3]) {
        let at = Timestamp::from_ms((tick as f64 * TICK_MIN * 60_000.0) as u64);
        let h = shares_of(&reads).and_then(|shares| normalised_entropy(&shares)).and_then(Normalised::new);
        let seen = self.habit.observe(&rules.habit, at, h, None);
        self.window = Window::of(h, &seen);
        let surging = matches!(self.surge.observe(&rules.surge, at, self.window), Verdict::Surging { .. });
        if surging && !self.surging {
            self.calls.push(tick as u64);
        }
        self.surging = surging;
        if let Some(h) = h {
            self.sum += h.get();
            self.count += 1;
        }
        if (tick + 1).is_multiple_of(TICKS_PER_H) {
            let mean = if self.count > 0 { self.sum / f64::from(self.count) } else { f64::NAN };
            self.hours.push(mean);
            (self.sum, self.count) = (0.0, 0);
        }
    }

    /// The forecast's and the others' scores of a surge within the horizon.
    fn score_surge(&self, seed: u64) -> Option<[f64; 4]> {
        let window = self.window.filter(|_| !self.surging)?;
        let bar = (window.baseline + 0.1).clamp(0.6, 1.0);
        let series = &self.hours[self.hours.len().saturating_sub(SERIES_H)..];
        let forecast = passage(series, bar, seed).unwrap_or(0.0);
        let last = window.h.get();
        let level = if last >= bar { 1.0 } else { 0.0 };
        Some([forecast, last - bar, level, random_walk(series, last, bar, SURGE_H)])
    }
}

/// Probability by simulated paths that an entropy reaches a bar.
fn passage(series: &[f64], bar: f64, seed: u64) -> Option<f64> {
    let fitted = Select::new().quick().select(&forward(series).ok()?).ok()?.fitted;
    let bar = forward(&[bar]).ok()?[0];
    let passed = fitted.paths(SURGE_H, PATHS, seed).ok()?.first_passage(bar, Side::Above).ok()?;
    passed.last().copied()
}

fn score(
    analyst: &Analyst,
    cluster: &Cluster<'_>,
    followed: &[Followed],
    limits: &Limits,
    tick: usize,
) -> Vec<Said> {
    let suspects: Vec<bool> = (0..cluster.nodes.up.len()).map(|node| analyst.suspects(node)).collect();
    let belief = Belief::new(analyst, cluster, Parts::FULL, suspects, limits);
    (0..followed.len())
        .into_par_iter()
        .map(|partition| {
            let one = &followed[partition];
            let per_h = belief.exposure(partition);
            let last = analyst.entropy(partition);
            let series = &one.hours[one.hours.len().saturating_sub(SERIES_H)..];
            let level = if last >= HIGH { 1.0 } else { 0.0 };
            let risk = -(-per_h * INCIDENT_H as f64).exp_m1();
            let seed = tick as u64 * followed.len() as u64 + partition as u64;
            let scored = |scores| Scored { step: tick as u64, subject: partition as u32, scores };
            Said {
                incident: scored([risk, last, level, random_walk(series, last, HIGH, INCIDENT_H)]),
                surge: one.score_surge(seed).map(scored),
            }
        })
        .collect()
}

fn by_partition(world: &World, events: impl Iterator<Item = (usize, u64)>) -> Vec<Vec<u64>> {
    let mut all = vec![Vec::new(); world.start().len()];
    events.for_each(|(partition, tick)| all[partition].push(tick));
    all
}

/// Calls against the shifts that make reads clearly more even. A partition's days around any shift of it are not
/// healthy ones.
fn called(world: &World, calls: &[Vec<u64>]) -> Surges {
    let day = TICKS_PER_DAY as u64;
    let entropy = |shares: [f64; 3]| normalised_entropy(&shares).unwrap_or(0.0);
    let mut rises = Vec::new();
    let mut changes: Vec<Vec<u64>> = vec![Vec::new(); calls.len()];
    for shift in world.shifts() {
        let at = shift.hour * TICKS_PER_H;
        let before = entropy(world.shares(at.saturating_sub(1), shift.partition));
        let after = entropy(shift.to);
        if after - before >= 0.15 && after >= 0.65 {
            rises.push((shift.partition as u32, at as u64));
        }
        changes[shift.partition].push(at as u64);
        changes[shift.partition].push((shift.until * TICKS_PER_H) as u64);
    }
    let first = world.first_tick() as u64;
    let near = |partition: usize, tick: u64| {
        changes[partition].iter().any(|change| tick >= *change && tick - change <= 2 * day)
    };
    let mut pairs = Vec::new();
    for (partition, ticks) in calls.iter().enumerate() {
        for tick in ticks.iter().filter(|tick| **tick >= first) {
            let of_rise = rises.iter().any(|rise| rise.0 as usize == partition && *tick >= rise.1);
            if of_rise || !near(partition, *tick) {
                pairs.push((partition as u32, *tick));
            }
        }
    }
    let days = (world.ticks() as u64 - first) / day;
    let unhealthy: u64 = changes.iter().map(|changes| (2 * changes.len() as u64).min(days)).sum();
    let healthy_days = calls.len() as f64 * days as f64 - unhealthy as f64;
    surges(&pairs, &rises, day, healthy_days)
}
