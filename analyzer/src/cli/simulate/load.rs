//! How busy nodes were, from the reads that were counted and the capacities that they really have.

use isotherm_simulate::observe::Step;
use isotherm_simulate::world::World;
use serde::Serialize;

/// Utilisation of the nodes in the days that count: load over the capacity of a node that is well.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Loads {
    /// Load of all nodes over the capacity of all.
    pub(super) mean: f64,
    /// The node whose mean is the most.
    pub(super) busiest_node: usize,
    /// Its mean.
    pub(super) busiest_mean: f64,
    /// The most of any node in a tick.
    pub(super) peak: f64,
    /// That node.
    pub(super) peak_node: usize,
    /// Its tick, from the first that counts.
    pub(super) peak_tick: usize,
    /// Ticks of nodes with more load than capacity.
    pub(super) over_capacity_ticks: usize,
}

/// Adds up the load of nodes.
pub(super) struct Load {
    capacity: Vec<f64>,
    reads_per_tick: f64,
    first: usize,
    ticks: usize,
    sums: Vec<f64>,
    now: Vec<f64>,
    peak: (f64, usize, usize),
    over: usize,
}

impl Load {
    pub(super) fn new(world: &World) -> Self {
        let capacity: Vec<f64> = world.nodes().iter().map(|node| node.capacity).collect();
        Self {
            reads_per_tick: world.spec().sight.reads_per_tick,
            first: world.first_tick(),
            ticks: 0,
            sums: vec![0.0; capacity.len()],
            now: vec![0.0; capacity.len()],
            peak: (0.0, 0, 0),
            over: 0,
            capacity,
        }
    }

    pub(super) fn see(&mut self, step: &Step) {
        if step.step < self.first {
            return;
        }
        self.now.fill(0.0);
        for (holders, reads) in step.holders.iter().zip(&step.reads) {
            for (node, count) in holders.iter().zip(reads) {
                self.now[usize::from(*node)] += f64::from(*count) / self.reads_per_tick;
            }
        }
        for (node, load) in self.now.iter().enumerate() {
            let used = load / self.capacity[node];
            self.sums[node] += load;
            self.over += usize::from(used > 1.0);
            if used > self.peak.0 {
                self.peak = (used, node, step.step - self.first);
            }
        }
        self.ticks += 1;
    }

    pub(super) fn end(self) -> Loads {
        let ticks = self.ticks as f64;
        let of = |node: usize| self.sums[node] / ticks / self.capacity[node];
        let busiest = (0..self.sums.len())
            .max_by(|a, b| of(*a).total_cmp(&of(*b)))
            .expect("a cluster that was made has nodes");
        Loads {
            mean: self.sums.iter().sum::<f64>() / ticks / self.capacity.iter().sum::<f64>(),
            busiest_node: busiest,
            busiest_mean: of(busiest),
            peak: self.peak.0,
            peak_node: self.peak.1,
            peak_tick: self.peak.2,
            over_capacity_ticks: self.over,
        }
    }
}
