//! The lowest highest size (or load) pressure that re-creating lost replicas can reach, by maximum flow.
//!
//! A replica may be cut into parts here, so this is a bound from below: whole replicas may not reach it, and none
//! can be better. Racks stand for their nodes: a partition may go to any node of a rack that has none of it.

use isotherm_placement::{Assignment, Cluster, Level, Node, NodeState};
use std::collections::{BTreeMap, VecDeque};

/// Maximum flow by shortest augmenting phases (Dinic 1970), on numbers that are not whole.
#[derive(Default)]
pub(crate) struct Flow {
    to: Vec<usize>,
    left: Vec<f64>,
    from: Vec<Vec<usize>>,
}

impl Flow {
    pub(crate) fn of(nodes: usize) -> Self {
        Self { from: vec![Vec::new(); nodes], ..Self::default() }
    }

    pub(crate) fn edge(&mut self, a: usize, b: usize, capacity: f64) {
        self.from[a].push(self.to.len());
        self.to.push(b);
        self.left.push(capacity);
        self.from[b].push(self.to.len());
        self.to.push(a);
        self.left.push(0.0);
    }

    pub(crate) fn most(&mut self, source: usize, sink: usize, least_step: f64) -> f64 {
        let mut total = 0.0;
        loop {
            let depth = self.depths(source, least_step);
            if depth[sink] == usize::MAX {
                return total;
            }
            let mut next = vec![0; self.from.len()];
            loop {
                let pushed = self.push(source, sink, f64::INFINITY, &depth, &mut next, least_step);
                if pushed <= least_step {
                    break;
                }
                total += pushed;
            }
        }
    }

    fn depths(&self, source: usize, least_step: f64) -> Vec<usize> {
        let mut depth = vec![usize::MAX; self.from.len()];
        let mut queue = VecDeque::from([source]);
        depth[source] = 0;
        while let Some(at) = queue.pop_front() {
            for edge in &self.from[at] {
                let to = self.to[*edge];
                if self.left[*edge] > least_step && depth[to] == usize::MAX {
                    depth[to] = depth[at] + 1;
                    queue.push_back(to);
                }
            }
        }
        depth
    }

    fn push(
        &mut self,
        at: usize,
        sink: usize,
        most: f64,
        depth: &[usize],
        next: &mut [usize],
        least: f64,
    ) -> f64 {
        if at == sink {
            return most;
        }
        while next[at] < self.from[at].len() {
            let edge = self.from[at][next[at]];
            let to = self.to[edge];
            if self.left[edge] > least && depth[to] == depth[at] + 1 {
                let pushed = self.push(to, sink, most.min(self.left[edge]), depth, next, least);
                if pushed > least {
                    self.left[edge] -= pushed;
                    self.left[edge ^ 1] += pushed;
                    return pushed;
                }
            }
            next[at] += 1;
        }
        0.0
    }
}

/// The lowest highest ratio of `weight` held to `capacity`, over that of the sums of nodes that are up, when what
/// nodes that are not up hold is made again on others, one replica of a partition in a rack.
pub(crate) fn feasible(
    cluster: &Cluster,
    before: &Assignment,
    weight: &dyn Fn(usize) -> f64,
    capacity: &dyn Fn(usize) -> f64,
) -> f64 {
    let topology = &cluster.topology;
    let racks = topology.domains_at(Level(topology.levels().len() as u8 - 1));
    let up: Vec<bool> = topology.nodes().iter().map(|node| node.state == NodeState::Up).collect();
    let mut held = vec![0.0; up.len()];
    let mut lost: BTreeMap<Vec<u16>, f64> = BTreeMap::new();
    for partition in cluster.partitions.all() {
        let amount = weight(partition.at());
        let alive = |node: &Node| up[node.at()];
        before.subset(partition).filter(alive).for_each(|node| held[node.at()] += amount);
        let gone = before.subset(partition).filter(|node| !up[node.at()]).count();
        if gone > 0 {
            let mut taken: Vec<u16> =
                before.subset(partition).filter(alive).map(|node| racks[node.at()]).collect();
            taken.sort_unstable();
            *lost.entry(taken).or_default() += gone as f64 * amount;
        }
    }
    let wanted: f64 = lost.values().sum();
    let all: f64 = held.iter().sum::<f64>() + wanted;
    let can: f64 = (0..up.len()).filter(|at| up[*at]).map(capacity).sum();
    let mean = all / can;
    let fullest = (0..up.len()).filter(|at| up[*at]).map(|at| held[at] / capacity(at) / mean);
    let mut low = fullest.fold(0.0, f64::max);
    let reaches = |limit: f64| {
        let domains = topology.domains().len();
        let mut flow = Flow::of(2 + domains + lost.len());
        let mut room = vec![0.0; domains];
        for at in (0..up.len()).filter(|at| up[*at]) {
            room[usize::from(racks[at])] += (limit * mean * capacity(at) - held[at]).max(0.0);
        }
        room.iter()
            .enumerate()
            .filter(|(_, room)| **room > 0.0)
            .for_each(|(at, room)| flow.edge(2 + at, 1, *room));
        for (group, (taken, amount)) in lost.iter().enumerate() {
            flow.edge(0, 2 + domains + group, *amount);
            let free = (0..domains).filter(|at| room[*at] > 0.0 && !taken.contains(&(*at as u16)));
            free.for_each(|at| flow.edge(2 + domains + group, 2 + at, *amount));
        }
        flow.most(0, 1, wanted * 1e-12) >= wanted * (1.0 - 1e-6)
    };
    if reaches(low) {
        return low;
    }
    let mut high = low.max(1.0) * 2.0;
    while !reaches(high) {
        high *= 2.0;
        assert!(high < 1e6, "no pressure is high enough: the domains do not allow it");
    }
    for _ in 0..30 {
        let middle = f64::midpoint(low, high);
        *(if reaches(middle) { &mut high } else { &mut low }) = middle;
    }
    high
}
