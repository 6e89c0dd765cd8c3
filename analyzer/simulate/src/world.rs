//! A made-up cluster: what it is, what it is asked for, and what will happen to it whatever a policy does.
//!
//! Failures come from nodes' hazards, from load above the capacity, from gray nodes that die and from racks. Nothing
//! here computes an entropy, so that no policy can be right by construction.

mod chance;
mod demand;
mod layout;
mod spec;

pub use demand::{Shares, Shift};
pub use spec::{Class, Copying, Demand, Failure, Flaky, Gray, Sight, Spec, SpecError};

pub(crate) use chance::{Chance, Stream};
pub(crate) use demand::normed;

use demand::Hours;
use rand_distr::{Gamma, LogNormal, Poisson};

/// Replicas of a partition.
pub const REPLICAS: usize = 3;

/// Minutes of a tick, the step of all dynamics.
pub const TICK_MIN: f64 = 15.0;

/// Ticks of an hour.
pub const TICKS_PER_H: usize = 4;

/// Ticks of a day.
pub const TICKS_PER_DAY: usize = 24 * TICKS_PER_H;

/// A node of a made-up cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeTruth {
    /// Its rack.
    pub rack: u16,
    /// Its class, by position.
    pub class: usize,
    /// Load that it bears.
    pub capacity: f64,
    /// What its capacity was measured to be.
    pub measured: f64,
    /// Failures per day by its class's distribution.
    pub hazard_per_day: f64,
    /// Failures per day from a tick on, where it is flaky; the tick may be 0.
    pub flaky: Option<(usize, f64)>,
    /// Failures in the days before the first tick.
    pub failed_before: u32,
}

impl NodeTruth {
    /// Failures per day at a tick.
    #[must_use]
    pub fn hazard_at(&self, tick: usize) -> f64 {
        match self.flaky {
            Some((from, hazard)) if tick >= from => hazard,
            Some(_) | None => self.hazard_per_day,
        }
    }

    /// Whether it is flaky at a tick.
    #[must_use]
    pub fn flaky_at(&self, tick: usize) -> bool {
        self.flaky.is_some_and(|(from, _)| tick >= from)
    }
}

/// A made-up cluster, all of which follows from its spec and a seed.
#[derive(Debug, Clone)]
pub struct World {
    spec: Spec,
    seed: u64,
    chance: Chance,
    pub(crate) hours: Hours,
    nodes: Vec<NodeTruth>,
    /// Size of a replica, as a multiple of the mean.
    sizes: Vec<f64>,
    start: Vec<[u16; REPLICAS]>,
}

impl World {
    /// Makes a cluster.
    ///
    /// # Errors
    /// A spec that cannot be.
    pub fn new(spec: Spec, seed: u64) -> Result<Self, SpecError> {
        spec.check()?;
        let chance = Chance::new(seed);
        let hours = Hours::new(&spec, chance);
        let nodes = nodes(&spec, chance, hours.mean_load());
        let capacity: Vec<f64> = nodes.iter().map(|node| node.capacity).collect();
        let start = layout::layout(usize::from(spec.racks), &capacity, &hours, chance);
        let skew = LogNormal::new(0.0, spec.demand.size_skew).expect("the skew was checked");
        let size = |at| chance.from::<f64, _>(&skew, Stream::Partition, at, 2).min(8.0);
        let mut sizes: Vec<f64> = (0..start.len()).map(size).collect();
        let mean = sizes.iter().sum::<f64>() / sizes.len() as f64;
        sizes.iter_mut().for_each(|size| *size /= mean);
        Ok(Self { spec, seed, chance, hours, nodes, sizes, start })
    }

    /// What it was made from.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Its seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The first tick that counts; before it all is well and there is only learning.
    #[must_use]
    pub fn first_tick(&self) -> usize {
        self.spec.learning_days as usize * TICKS_PER_DAY
    }

    /// Ticks there are, those of learning included.
    #[must_use]
    pub fn ticks(&self) -> usize {
        self.first_tick() + self.spec.days as usize * TICKS_PER_DAY
    }

    /// Its nodes.
    #[must_use]
    pub fn nodes(&self) -> &[NodeTruth] {
        &self.nodes
    }

    /// Sizes of a replica of each partition, as multiples of the mean.
    #[must_use]
    pub fn sizes(&self) -> &[f64] {
        &self.sizes
    }

    /// Holders of each partition at first, leader first.
    #[must_use]
    pub fn start(&self) -> &[[u16; REPLICAS]] {
        &self.start
    }

    /// Lasting changes of who serves.
    #[must_use]
    pub fn shifts(&self) -> &[Shift] {
        &self.hours.shifts
    }

    /// Reads per minute of a partition, as a multiple of a mean partition's.
    #[must_use]
    pub fn rate(&self, tick: usize, partition: usize) -> f64 {
        self.hours.rate(tick, partition)
    }

    /// Shares of its slots when all of them serve well.
    #[must_use]
    pub fn shares(&self, tick: usize, partition: usize) -> Shares {
        self.hours.shares(tick, partition)
    }

    pub(crate) fn chance(&self) -> Chance {
        self.chance
    }
}

/// Failures follow the gamma distribution of the class (Gamma-Poisson), flaky nodes are taken from all classes.
fn nodes(spec: &Spec, chance: Chance, mean_load: f64) -> Vec<NodeTruth> {
    let count = usize::from(spec.nodes);
    let mut dice = chance.dice(Stream::Node, 0, 0);
    let order = layout::shuffled((0..count).collect(), &mut dice);
    let mut class = vec![0; count];
    let mut reached = 0.0;
    let mut given = 0;
    for (at, kind) in spec.classes.iter().enumerate() {
        reached += kind.share * count as f64;
        let to = (reached.round() as usize).min(count);
        order[given..to].iter().for_each(|node| class[*node] = at);
        given = to;
    }
    let mean_capacity = spec.classes.iter().map(|class| class.share * class.capacity).sum::<f64>();
    let flaky = (spec.flaky.share * count as f64).round() as usize;
    let flaky: Vec<usize> =
        layout::shuffled((0..count).collect(), &mut dice).into_iter().take(flaky).collect();
    let error = LogNormal::new(0.0, spec.sight.capacity_error).expect("the error was checked");
    let node = |at: usize| {
        let kind = &spec.classes[class[at]];
        let gamma = Gamma::new(kind.shape, kind.failures_per_day / kind.shape).expect("classes were checked");
        let unit = |which| chance.unit(Stream::Node, at, which);
        let flaky = flaky.contains(&at).then(|| {
            let days = if unit(2) < 0.5 { 0.0 } else { unit(3) * f64::from(spec.days) * 0.5 };
            let from = if days == 0.0 { 0.0 } else { f64::from(spec.learning_days) + days };
            ((from * TICKS_PER_DAY as f64) as usize, spec.flaky.failures_per_day * (0.6 + 0.8 * unit(4)))
        });
        let capacity = mean_load / count as f64 / spec.utilisation * kind.capacity / mean_capacity;
        let mut truth = NodeTruth {
            rack: (at % usize::from(spec.racks)) as u16,
            class: class[at],
            capacity,
            measured: capacity * chance.from(&error, Stream::Node, at, 5),
            hazard_per_day: chance.from(&gamma, Stream::Node, at, 1),
            flaky,
            failed_before: 0,
        };
        let expected = truth.hazard_at(0) * f64::from(spec.failure_history_days);
        if spec.failure.independent && expected > 0.0 {
            let poisson = Poisson::new(expected).expect("it is above 0");
            truth.failed_before = chance.from::<f64, _>(&poisson, Stream::History, at, 0) as u32;
        }
        truth
    };
    (0..count).map(node).collect()
}
