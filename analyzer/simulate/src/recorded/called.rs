//! Surges as they were called, and the days in which they could have been.

use super::CalledOver;
use crate::evaluate::surges;
use isotherm_cycle::record::{Judged, Record, Surging};
use isotherm_model::Timestamp;
use isotherm_risk::class::Normalised;
use isotherm_risk::surge::{Rule, Surge, Verdict, Window};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Steps of a day, if a step is a minute.
pub(super) const DAY: u64 = 1_440;

/// What an entropy is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// The nodes that serve. The record says whether it surges.
    Nodes,
    /// The places within the partition; judged here by the rule for nodes.
    Offsets,
    /// The clients; likewise.
    Peers,
}

/// A record of a subject at a step.
pub(super) struct Follow<'a> {
    pub(super) subject: u32,
    pub(super) step: u64,
    pub(super) record: &'a Record,
    pub(super) rule: &'a Rule,
}

/// One entropy of one subject.
#[derive(Debug, Default)]
struct One {
    surge: Surge,
    /// Whether it surged when that was last known; `None` before it was: a surge that was there when the recording
    /// began has not begun in it.
    surging: Option<bool>,
    calls: Vec<u64>,
    /// Steps in which it was known whether it surges, by day.
    known: BTreeMap<u64, u32>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Called {
    of: BTreeMap<(Over, u32), One>,
}

impl Called {
    pub(super) fn follow(&mut self, follow: &Follow<'_>) {
        let record = follow.record;
        self.of.entry((Over::Nodes, follow.subject)).or_default().say(follow.step, surging(record.surge));
        for (over, judged) in [(Over::Offsets, record.offset), (Over::Peers, record.peer)] {
            let Some(judged) = judged else { continue };
            let one = self.of.entry((over, follow.subject)).or_default();
            let at = Timestamp::from_ms(record.at.0);
            let said = match one.surge.observe(follow.rule, at, window(judged)) {
                Verdict::Surging { .. } => Some(true),
                Verdict::Quiet => Some(false),
                Verdict::Unknown => None,
            };
            one.say(follow.step, said);
        }
    }

    /// When surges of each of so many subjects began.
    pub(super) fn calls(&self, over: Over, subjects: usize) -> Vec<Vec<u64>> {
        let mut calls = vec![Vec::new(); subjects];
        for ((_, subject), one) in self.of(over) {
            calls[*subject as usize].clone_from(&one.calls);
        }
        calls
    }

    /// Calls against known rises. Days of a failure or a rise, and those after them, are not healthy.
    pub(super) fn judged(&self, over: Over, rises: &[(u32, u64)], felt: &[Vec<u64>]) -> CalledOver {
        let incidents = felt.iter().enumerate();
        let incidents =
            incidents.flat_map(|(subject, steps)| steps.iter().map(move |step| (subject as u32, *step)));
        let unhealthy: BTreeSet<(u32, u64)> = incidents
            .chain(rises.iter().copied())
            .flat_map(|(subject, step)| [(subject, step / DAY), (subject, step / DAY + 1)])
            .collect();
        let of_rise = |subject: u32, call: u64| {
            rises.iter().any(|rise| rise.0 == subject && call >= rise.1 && call - rise.1 <= DAY)
        };
        let (mut known, mut healthy, mut calls) = (0, 0, Vec::new());
        let mut all = 0;
        for ((_, subject), one) in self.of(over) {
            for (day, steps) in &one.known {
                known += u64::from(*steps);
                healthy += if unhealthy.contains(&(*subject, *day)) { 0 } else { u64::from(*steps) };
            }
            all += one.calls.len();
            let counts =
                |call: &&u64| of_rise(*subject, **call) || !unhealthy.contains(&(*subject, **call / DAY));
            calls.extend(one.calls.iter().filter(counts).map(|call| (*subject, *call)));
        }
        let healthy_days = healthy as f64 / DAY as f64;
        let judged = surges(&calls, rises, DAY, healthy_days);
        CalledOver {
            over,
            partition_days: known as f64 / DAY as f64,
            healthy_days,
            calls: all,
            per_healthy_day: judged.per_healthy_day,
            found: judged.found,
            delay_steps: judged.delay_steps,
        }
    }

    fn of(&self, over: Over) -> impl Iterator<Item = (&(Over, u32), &One)> {
        self.of.range((over, 0)..=(over, u32::MAX))
    }
}

impl One {
    fn say(&mut self, step: u64, surging: Option<bool>) {
        let Some(surging) = surging else { return };
        *self.known.entry(step / DAY).or_default() += 1;
        if surging && self.surging == Some(false) {
            self.calls.push(step);
        }
        self.surging = Some(surging);
    }
}

fn surging(said: Surging) -> Option<bool> {
    match said {
        Surging::Since(_) => Some(true),
        Surging::Quiet => Some(false),
        Surging::Unknown => None,
    }
}

fn window(judged: Judged) -> Option<Window> {
    Some(Window { h: Normalised::new(judged.h?)?, baseline: judged.habitual?.value, z: judged.z? })
}
