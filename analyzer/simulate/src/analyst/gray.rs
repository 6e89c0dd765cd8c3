//! Nodes that answer, badly: told from what balancers take from them and from their latency.

use crate::observe::{Facts, Step};
use crate::world::{REPLICAS, TICKS_PER_H};
use isotherm_risk::gray::{HabitRule, HabitSettings, Latency, LatencyHabit, OnNode, Rule, ShareHabit};

/// What is watched of nodes, step by step.
pub(super) struct Watch {
    rule: Rule,
    habits: HabitRule,
    shares: Vec<[ShareHabit; REPLICAS]>,
    latency: Vec<LatencyHabit>,
    /// Who held and who was drained in the step before: habits are those of a subset.
    before: Vec<([u16; REPLICAS], Option<u8>)>,
    on_node: Vec<Vec<OnNode>>,
    /// Steps in a row with the sign that the present state is wrong.
    streak: Vec<u32>,
    suspected: Vec<bool>,
}

/// Steps that a sign must last, to begin a suspicion and to end it.
const BEGINS: u32 = 1;
const ENDS: u32 = 4;

/// Latency over its habit below which a suspect is slow no more. What was drained from it tells nothing of its
/// shares, so its latency alone ends a suspicion; with less load it is lower than its habit even when all is well, so
/// the bound is below that which begins one.
const WELL: f64 = 1.2;

impl Watch {
    pub(super) fn new(facts: &Facts) -> Self {
        let (nodes, partitions) = (facts.nodes.len(), facts.sizes.len());
        let settings = HabitSettings { step_s: 3600.0 / TICKS_PER_H as f64, ..HabitSettings::default() };
        Self {
            rule: Rule::default(),
            habits: HabitRule::new(settings).expect("a quarter of an hour is a possible step"),
            shares: vec![[ShareHabit::default(); REPLICAS]; partitions],
            latency: vec![LatencyHabit::default(); nodes],
            before: vec![([u16::MAX; REPLICAS], None); partitions],
            on_node: vec![Vec::new(); nodes],
            streak: vec![0; nodes],
            suspected: vec![false; nodes],
        }
    }

    pub(super) fn suspects(&self, node: usize) -> bool {
        self.suspected[node]
    }

    pub(super) fn see(&mut self, step: &Step) {
        self.on_node.iter_mut().for_each(Vec::clear);
        for partition in 0..step.reads.len() {
            self.see_partition(step, partition);
        }
        for node in 0..self.suspected.len() {
            self.judge(step, node);
        }
    }

    fn see_partition(&mut self, step: &Step, partition: usize) {
        let (holders, reads) = (step.holders[partition], step.reads[partition]);
        let subset = (holders, step.drained[partition]);
        if self.before[partition] != subset {
            self.before[partition] = subset;
            self.shares[partition] = [ShareHabit::default(); REPLICAS];
        }
        let sum: u64 = reads.iter().map(|reads| u64::from(*reads)).sum();
        let whole = holders.iter().all(|node| step.latency_ms[usize::from(*node)].is_some());
        let usual = whole && holders.iter().all(|node| self.streak[usize::from(*node)] == 0);
        for (slot, node) in holders.iter().enumerate() {
            let share = (sum >= MIN_READS).then(|| f64::from(reads[slot]) / sum as f64);
            if let (Some(share), true, None) = (share, whole, step.drained[partition]) {
                let habitual = self.shares[partition][slot].share(&self.habits);
                self.on_node[usize::from(*node)].push(OnNode { share, habitual, reads: sum });
            }
            self.shares[partition][slot].observe(&self.habits, share, !usual);
        }
    }

    fn judge(&mut self, step: &Step, node: usize) {
        let Some(latency_ms) = step.latency_ms[node] else {
            self.suspected[node] = false;
            self.streak[node] = 0;
            return;
        };
        let median_ns = f64::from(latency_ms) * 1e6;
        let latency = Some(Latency { median_ns, p99_ns: median_ns });
        let ratio = self.latency[node].ratio(&self.habits, latency);
        let sign = if self.suspected[node] {
            ratio.is_some_and(|ratio| ratio.median < WELL)
        } else {
            self.rule.judge(self.on_node[node].iter().copied(), ratio).is_suspicion()
        };
        self.streak[node] = if sign { self.streak[node] + 1 } else { 0 };
        let needed = if self.suspected[node] { ENDS } else { BEGINS };
        if self.streak[node] >= needed {
            self.suspected[node] = !self.suspected[node];
            self.streak[node] = 0;
        }
        let frozen = self.suspected[node] || self.streak[node] > 0;
        self.latency[node].observe(&self.habits, latency, frozen);
    }
}

/// Reads of a partition in a step that say something of its shares.
const MIN_READS: u64 = 100;
