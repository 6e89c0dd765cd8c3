//! One policy on one cluster, from the first tick to the last.

use crate::act::Actor;
use crate::analyst::Analyst;
use crate::cluster::{Cluster, Record, Toll};
use crate::observe::Step;
use crate::policy::{Limits, Policy};
use crate::world::World;
use serde::Serialize;

/// What became of a cluster under a policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// What clients lost.
    pub toll: Toll,
    /// What happened and what was done.
    pub record: Record,
    /// Replicas there are, as multiples of a mean one: what copied bytes are a share of.
    pub all_bytes: f64,
    /// How gray nodes were found.
    pub gray: GrayFound,
}

/// How gray nodes were found, by those who looked.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct GrayFound {
    /// Ticks of nodes that were gray and up.
    pub gray_ticks: u64,
    /// Of those, the ones under suspicion.
    pub suspected_ticks: u64,
    /// Ticks of nodes that were suspected and were not gray.
    pub false_ticks: u64,
    /// Times a node became gray and came under suspicion before that ended.
    pub found: u32,
    /// Times a node became gray.
    pub spells: u32,
    /// Times a node was suspected that was not gray.
    pub false_alarms: u32,
}

/// Lets a policy run a cluster.
#[must_use]
pub fn run(world: &World, policy: Policy, limits: &Limits) -> Outcome {
    watch(world, policy, limits, |_| {})
}

/// The same, and shows every step as it is seen, those of learning included.
pub fn watch(world: &World, policy: Policy, limits: &Limits, mut each: impl FnMut(&Step)) -> Outcome {
    let mut cluster = Cluster::new(world);
    let mut analyst = Analyst::new(world.facts(), world.spec().copying.drained_left);
    let mut actor = Actor::new(policy, limits.clone(), world.nodes().len(), world.start().len());
    let mut step = Step::default();
    let mut spells = Spells::new(world.nodes().len());
    for tick in 0..world.ticks() {
        cluster.pass(tick);
        cluster.look(&mut step);
        each(&step);
        if policy != Policy::Reactive {
            analyst.see(&step);
            if tick >= world.first_tick() {
                spells.count(&cluster, &analyst);
                actor.act(&analyst, &mut cluster);
            }
        }
    }
    let all_bytes = world.sizes().iter().sum::<f64>() * crate::world::REPLICAS as f64;
    Outcome { toll: cluster.toll, record: cluster.record, all_bytes, gray: spells.found }
}

/// Counts how gray nodes are found.
struct Spells {
    found: GrayFound,
    was: Vec<(bool, bool, bool)>,
}

impl Spells {
    fn new(nodes: usize) -> Self {
        Self { found: GrayFound::default(), was: vec![(false, false, false); nodes] }
    }

    fn count(&mut self, cluster: &Cluster<'_>, analyst: &Analyst) {
        let found = &mut self.found;
        for (node, was) in self.was.iter_mut().enumerate() {
            let gray = cluster.nodes.up[node] && cluster.nodes.is_gray(node, cluster.tick);
            let suspected = analyst.suspects(node);
            let (was_gray, was_suspected, seen) = *was;
            found.gray_ticks += u64::from(gray);
            found.suspected_ticks += u64::from(gray && suspected);
            found.false_ticks += u64::from(!gray && suspected);
            found.spells += u32::from(gray && !was_gray);
            let seen = seen && was_gray && gray;
            found.found += u32::from(gray && suspected && !seen);
            found.false_alarms += u32::from(suspected && !was_suspected && !gray && !was_gray);
            *was = (gray, suspected, seen || (gray && suspected));
        }
    }
}
