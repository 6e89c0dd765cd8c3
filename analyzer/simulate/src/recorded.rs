//! Predictions on what was recorded, and what came: the pipeline itself rolls through the frames, and is judged by
//! what followed, with [`crate::evaluate`].
//!
//! The same two questions as of made-up clusters. Will clients of a partition feel an incident within the horizon? The
//! risk of the record answers. And will a partition that does not surge begin to, within the lead of its forecast? The
//! forecast of the record answers. Beside them, on the same cases: the last value of entropy, its level, a random walk.
//!
//! The truth is what the recording says: failures that took enough of a partition's reads, and surges as they were
//! called. Shifts that somebody knows of can be given; without them nobody can say which calls were false.

mod called;

use crate::evaluate::{Predicted, Scored, Scores, above, cases, random_walk};
use called::{Called, Follow};
use isotherm_cycle::Settings;
use isotherm_cycle::frame::{Frame, Incident};
use isotherm_cycle::record::{Record, Surging};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use called::Over;

/// Steps from a prediction of incidents to the next of the same partition.
const INCIDENTS_EVERY: u64 = 60;

/// Steps from a prediction of surges to the next.
const SURGES_EVERY: u64 = 15;

/// Steps from one snapshot of the shares to the next, and how many are kept: failures are told of within an hour, when
/// who failed serves nothing any more.
const SHARES_EVERY: u64 = 5;
const SHARES_KEPT: usize = 13;

/// Values of entropy that a random walk is made from.
const WALKED: usize = 120;

/// Standard normal deviations that the ends of an interval are from its middle.
const END: f64 = 0.841_621_2;

/// Shares are quotients of sums: an even share of one in five is not to miss a fifth by its last bit.
const ROUNDING: f64 = 1e-6;

/// A rise of a partition's entropy that somebody knows of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shift {
    /// `SYSTEM/NAME` or `NAME`.
    pub partition: String,
    /// When it began, milliseconds since the epoch.
    pub at_ms: u64,
}

/// All that was predicted, and what came.
#[derive(Debug)]
pub struct Found {
    /// Cycles that were judged.
    pub cycles: u64,
    /// Partitions there were.
    pub partitions: usize,
    /// Failures on record, and partitions that felt them.
    pub failures: usize,
    /// See `failures`.
    pub felt: usize,
    /// Failures of which nobody knows who felt them: they came before anything was known of shares.
    pub unclear: usize,
    /// Shifts whose partition there is.
    pub shifts: usize,
    /// Steps within which an incident was predicted.
    pub incident_horizon: u64,
    /// Steps within which a surge was predicted.
    pub surge_horizon: u64,
    /// Surges that began, over nodes.
    pub surged: usize,
    /// By who predicted.
    pub incidents: Vec<Predicted>,
    /// Of partitions that do not surge.
    pub surges: Vec<Predicted>,
    /// How surges were called, over nodes, offsets and peers.
    pub called: Vec<CalledOver>,
}

/// How surges of one kind of entropy were called.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CalledOver {
    /// Which.
    pub over: Over,
    /// Days of partitions in which it was known whether they surge.
    pub partition_days: f64,
    /// Those without a failure or a known shift on that day or the day before.
    pub healthy_days: f64,
    /// Calls.
    pub calls: usize,
    /// Those on healthy days, for each; absent without such days.
    pub per_healthy_day: Option<f64>,
    /// Share of the known shifts that were called within a day; absent without any.
    pub found: Option<f64>,
    /// Median steps from a shift to its call; absent if none was called.
    pub delay_steps: Option<u64>,
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

/// Who served what at a step: subject, node, and the node's share of the subject's reads.
type Shares = (u64, Vec<(u32, u32, f64)>);

/// Follows the frames.
pub struct Recorded {
    settings: Settings,
    shifts: Vec<Shift>,
    cycles: u64,
    last: u64,
    subjects: BTreeMap<(String, String), u32>,
    nodes: BTreeMap<(String, String), u32>,
    called: Called,
    /// The last values of entropy, by subject.
    recent: Vec<VecDeque<f64>>,
    /// Steps of incidents, by subject.
    felt: Vec<Vec<u64>>,
    failed: BTreeSet<Incident>,
    unclear: usize,
    shares: VecDeque<Shares>,
    of_incidents: Vec<Scored<4>>,
    of_surges: Vec<Scored<4>>,
}

impl Recorded {
    /// Begins. `shifts` may be of partitions that there are not.
    #[must_use]
    pub fn new(settings: &Settings, shifts: Vec<Shift>) -> Self {
        Self {
            settings: settings.clone(),
            shifts,
            cycles: 0,
            last: 0,
            subjects: BTreeMap::new(),
            nodes: BTreeMap::new(),
            called: Called::default(),
            recent: Vec::new(),
            felt: Vec::new(),
            failed: BTreeSet::new(),
            unclear: 0,
            shares: VecDeque::new(),
            of_incidents: Vec::new(),
            of_surges: Vec::new(),
        }
    }

    /// Takes in a frame and what was decided of it. Frames come in the order of time.
    pub fn follow(&mut self, frame: &Frame, records: &[Record]) {
        let step = frame.end().as_ms() / self.settings.step_ms;
        (self.cycles, self.last) = (self.cycles + 1, step);
        self.fail(frame);
        for record in records {
            let subject = self.subject(record);
            self.called.follow(&Follow { subject, step, record, rule: &self.settings.surge });
            let recent = &mut self.recent[subject as usize];
            recent.push_back(record.node.h.unwrap_or(f64::NAN));
            recent.drain(..recent.len().saturating_sub(WALKED));
            if step.is_multiple_of(SURGES_EVERY) {
                let scores = self.surge_scores(subject, record);
                self.of_surges.extend(scores.map(|scores| Scored { step, subject, scores }));
            }
            if step.is_multiple_of(INCIDENTS_EVERY) {
                let scores = self.incident_scores(subject, record);
                self.of_incidents.extend(scores.map(|scores| Scored { step, subject, scores }));
            }
        }
        if self.shares.back().is_none_or(|(last, _)| step >= last + SHARES_EVERY) {
            self.look(step, frame, records);
        }
    }

    fn subject(&mut self, record: &Record) -> u32 {
        let next = self.subjects.len() as u32;
        let name = (record.system.clone(), record.partition.clone());
        let subject = *self.subjects.entry(name).or_insert(next);
        if subject == next {
            self.recent.push(VecDeque::new());
            self.felt.push(Vec::new());
        }
        subject
    }

    /// Who feels the failures that are told for the first time.
    fn fail(&mut self, frame: &Frame) {
        let eps = self.settings.risk.exposure.incident_share;
        for incident in &frame.incidents {
            if !self.failed.insert(incident.clone()) {
                continue;
            }
            let at = incident.at_ms / self.settings.step_ms;
            let Some((_, shares)) = self.shares.iter().rev().find(|(step, _)| *step <= at) else {
                self.unclear += 1;
                continue;
            };
            let failed: Vec<u32> =
                incident.nodes.iter().filter_map(|name| self.nodes.get(name).copied()).collect();
            let mut lost: BTreeMap<u32, f64> = BTreeMap::new();
            for (subject, _, share) in shares.iter().filter(|(_, node, _)| failed.contains(node)) {
                *lost.entry(*subject).or_default() += share;
            }
            for (subject, _) in lost.into_iter().filter(|(_, share)| share + ROUNDING >= eps) {
                let felt = &mut self.felt[subject as usize];
                felt.push(at);
                felt.sort_unstable();
            }
        }
    }

    /// Remembers who served what.
    fn look(&mut self, step: u64, frame: &Frame, records: &[Record]) {
        let nodes = &mut self.nodes;
        let numbers: Vec<u32> = frame
            .cluster
            .nodes
            .iter()
            .map(|node| {
                let next = nodes.len() as u32;
                *nodes.entry((node.system.clone(), node.name.clone())).or_insert(next)
            })
            .collect();
        let mut shares = Vec::new();
        for record in records {
            let subject = self.subject(record);
            let of = record.holders.iter().filter_map(|holder| Some((holder.node, holder.share?)));
            shares.extend(of.map(|(node, share)| (subject, numbers[node as usize], share)));
        }
        self.shares.push_back((step, shares));
        self.shares.drain(..self.shares.len().saturating_sub(SHARES_KEPT));
    }

    /// Of a partition that does not surge, and of which all is known that is needed.
    fn surge_scores(&mut self, subject: u32, record: &Record) -> Option<[f64; 4]> {
        match record.surge {
            Surging::Quiet => {}
            Surging::Since(_) | Surging::Unknown => return None,
        }
        let (last, habitual, forecast) = (record.node.h?, record.node.habitual?, record.forecast?);
        let rule = self.settings.surge.settings();
        let bar = (habitual.value + rule.rise).clamp(rule.level, 1.0);
        let deviation = (forecast.upper_80 - forecast.lower_80) / (2.0 * END);
        Some([
            above(forecast.h, deviation, bar),
            last - bar,
            if last >= bar { 1.0 } else { 0.0 },
            self.walk(subject, last, bar, forecast.step),
        ])
    }

    fn incident_scores(&mut self, subject: u32, record: &Record) -> Option<[f64; 4]> {
        let (last, risk) = (record.node.h?, record.exposure?.risk);
        let high = isotherm_risk::class::Settings::from(self.settings.class).high;
        let level = if last >= high { 1.0 } else { 0.0 };
        let steps = usize::try_from(self.incident_horizon()).unwrap_or(usize::MAX);
        Some([risk, last, level, self.walk(subject, last, high, steps)])
    }

    fn walk(&mut self, subject: u32, last: f64, bar: f64, steps: usize) -> f64 {
        random_walk(self.recent[subject as usize].make_contiguous(), last, bar, steps)
    }

    fn incident_horizon(&self) -> u64 {
        (self.settings.horizon_h * 3.6e6 / self.settings.step_ms as f64).ceil() as u64
    }

    /// What came of it.
    #[must_use]
    pub fn found(self) -> Found {
        let (incident_horizon, surge_horizon) = (self.incident_horizon(), u64::from(self.settings.lead_min));
        let subject = |name: &str| {
            let called = |(system, own): &(String, String)| {
                own == name
                    || name.split_once('/').is_some_and(|(first, rest)| system == first && own == rest)
            };
            self.subjects.iter().find(|(key, _)| called(key)).map(|(_, subject)| *subject)
        };
        let rises: Vec<(u32, u64)> = self
            .shifts
            .iter()
            .filter_map(|shift| Some((subject(&shift.partition)?, shift.at_ms / self.settings.step_ms)))
            .collect();
        let over = [Over::Nodes, Over::Offsets, Over::Peers];
        let mut calls = self.called.calls(Over::Nodes, self.subjects.len());
        calls.iter_mut().for_each(|calls| calls.sort_unstable());
        Found {
            cycles: self.cycles,
            partitions: self.subjects.len(),
            failures: self.failed.len(),
            felt: self.felt.iter().map(Vec::len).sum(),
            unclear: self.unclear,
            shifts: rises.len(),
            incident_horizon,
            surge_horizon,
            surged: calls.iter().map(Vec::len).sum(),
            incidents: cases(&self.of_incidents, &self.felt, incident_horizon, self.last, INCIDENT_NAMES),
            surges: cases(&self.of_surges, &calls, surge_horizon, self.last, SURGE_NAMES),
            called: over.map(|over| self.called.judged(over, &rises, &self.felt)).into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests;
