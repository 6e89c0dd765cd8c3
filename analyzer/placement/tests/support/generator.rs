//! The clusters of the placement benchmark: what its generator writes for a scale, a seed and a start, in memory.
//!
//! Three replicas in three racks; capacities 1 : 2 : 4; sizes and loads lognormal, cut at the top; 65 % full.

use super::draws::{Draws, sums};
use isotherm_placement::{
    Assignment, Cluster, Domain, DomainFacts, Level, Node, NodeFacts, NodeState, Partition, Partitions,
    Policy, Topology, hash,
};

pub(crate) const REPLICAS: usize = 3;
/// Relative capacities and their shares of a rack's nodes.
const CLASSES: [(f64, f64); 3] = [(0.50, 1.0), (0.35, 2.0), (0.15, 4.0)];
const FILLED: f64 = 0.65;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// 30 nodes in 3 racks, 1,000 partitions.
    S,
    /// 300 nodes in 30 racks, 100,000 partitions.
    M,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Random,
    /// Permutations to this scatter width.
    Copysets(usize),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Machine {
    pub(crate) rack: usize,
    pub(crate) zone: usize,
    pub(crate) weight: f64,
    pub(crate) nic_mbit: u64,
    pub(crate) risk: f64,
}

/// What the generator writes.
#[derive(Debug, Clone)]
pub(crate) struct Generated {
    pub(crate) machines: Vec<Machine>,
    /// Size in MiB, and load.
    pub(crate) parts: Vec<(u64, u64)>,
    pub(crate) rows: Vec<[usize; REPLICAS]>,
    /// Capacity and load capacity of weight 1.
    pub(crate) unit_mib: u64,
    pub(crate) unit_load: u64,
    /// Chooses the events.
    pub(crate) seed: u64,
}

impl Scale {
    /// Nodes, racks, zones, partitions.
    fn counts(self) -> (usize, usize, usize, usize) {
        match self {
            Self::S => (30, 3, 3, 1_000),
            Self::M => (300, 30, 3, 100_000),
        }
    }
}

pub(crate) fn generate(scale: Scale, seed: u64, start: Start) -> Generated {
    let (machines, parts) = (machines(scale, seed), parts(scale, seed));
    let replicas = REPLICAS as u64;
    let (mib, load) = parts.iter().fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
    let weight: f64 = machines.iter().map(|machine| machine.weight).sum();
    let unit = |total: u64, share: f64| ((total * replicas) as f64 / share / weight) as u64 + 1;
    let (unit_mib, unit_load) = (unit(mib, FILLED), unit(load, 0.5));
    let rows = match start {
        Start::Random => random(&machines, &parts, seed),
        Start::Copysets(scatter) => copysets(&machines, &parts, seed, scatter),
    };
    Generated { machines, parts, rows, unit_mib, unit_load, seed }
}

fn machines(scale: Scale, seed: u64) -> Vec<Machine> {
    let (nodes, racks, zones, _) = scale.counts();
    let mut draws = Draws::new(seed, "nodes");
    let each = nodes / racks;
    let mut machines = Vec::new();
    for rack in 0..racks {
        let mut weights = Vec::new();
        for (share, weight) in CLASSES {
            weights.extend(vec![weight; (share * each as f64).round_ties_even() as usize]);
        }
        weights.resize(each, 1.0);
        draws.shuffle(&mut weights);
        machines.extend(weights.into_iter().map(|weight| Machine {
            rack,
            zone: rack * zones / racks,
            weight,
            nic_mbit: if weight < 4.0 { 10_000 } else { 25_000 },
            risk: (0.02 / (0.02 + draws.unit()) * 0.5).min(0.99),
        }));
    }
    machines
}

fn parts(scale: Scale, seed: u64) -> Vec<(u64, u64)> {
    let mut draws = Draws::new(seed, "parts");
    (0..scale.counts().3)
        .map(|_| {
            let z = draws.normal();
            let correlated = 0.3 * z + (1.0f64 - 0.09).sqrt() * draws.normal();
            let size = (512.0 * (1.2 * z).exp()) as u64;
            let load = (10.0 * (1.5 * correlated).exp()) as u64;
            (size.clamp(1, 16_384), load.clamp(1, 2_000))
        })
        .collect()
}

/// Distinct racks by weight; inside a rack the emptier of two nodes by weight.
fn random(machines: &[Machine], parts: &[(u64, u64)], seed: u64) -> Vec<[usize; REPLICAS]> {
    let mut draws = Draws::new(seed, "place");
    let racks = machines.iter().map(|machine| machine.rack).max().map_or(0, |last| last + 1);
    let inside: Vec<Vec<usize>> = (0..racks)
        .map(|rack| (0..machines.len()).filter(|at| machines[*at].rack == rack).collect())
        .collect();
    let weights = |nodes: &Vec<usize>| -> Vec<f64> { sums(nodes.iter().map(|node| machines[*node].weight)) };
    let of_node: Vec<Vec<f64>> = inside.iter().map(weights).collect();
    let of_rack = sums(of_node.iter().map(|upto| *upto.last().expect("no rack is empty")));
    let mut used = vec![0.0; machines.len()];
    parts
        .iter()
        .map(|(size, _)| {
            let mut chosen = Vec::new();
            while chosen.len() < REPLICAS {
                let rack = draws.weighted(&of_rack);
                if !chosen.contains(&rack) {
                    chosen.push(rack);
                }
            }
            let mut row = [0; REPLICAS];
            for (slot, rack) in row.iter_mut().zip(chosen) {
                let first = inside[rack][draws.weighted(&of_node[rack])];
                let second = inside[rack][draws.weighted(&of_node[rack])];
                let full = |node: usize| used[node] / machines[node].weight;
                *slot = if full(second) < full(first) { second } else { first };
                used[*slot] += *size as f64;
            }
            row
        })
        .collect()
}

/// Permutations of the nodes cut into triples of distinct racks; of four triples by weight the emptiest.
fn copysets(machines: &[Machine], parts: &[(u64, u64)], seed: u64, scatter: usize) -> Vec<[usize; REPLICAS]> {
    let mut draws = Draws::new(seed, "copyset");
    let nodes = machines.len();
    let mut sets: Vec<Vec<usize>> = Vec::new();
    for _ in 0..(scatter / (REPLICAS - 1)).max(1) {
        let mut cut = Vec::new();
        for _ in 0..1000 {
            cut = permutation(machines, &mut draws);
            if cut.len() + 2 >= nodes / REPLICAS {
                break;
            }
        }
        sets.extend(cut);
    }
    let least = |set: &Vec<usize>| set.iter().map(|node| machines[*node].weight).fold(f64::MAX, f64::min);
    let upto = sums(sets.iter().map(least));
    let mut used = vec![0.0; nodes];
    parts
        .iter()
        .map(|(size, _)| {
            let mut best: Option<(f64, usize)> = None;
            for _ in 0..4 {
                let set = draws.weighted(&upto);
                let full = sets[set].iter().map(|node| used[*node] / machines[*node].weight);
                let fullest = full.fold(f64::MIN, f64::max);
                if best.is_none_or(|(fill, _)| fullest < fill) {
                    best = Some((fullest, set));
                }
            }
            let mut row = sets[best.expect("four were drawn").1].clone();
            draws.shuffle(&mut row);
            row.iter().for_each(|node| used[*node] += *size as f64);
            [row[0], row[1], row[2]]
        })
        .collect()
}

fn permutation(machines: &[Machine], draws: &mut Draws) -> Vec<Vec<usize>> {
    let nodes = machines.len();
    let mut order: Vec<usize> = (0..nodes).collect();
    draws.shuffle(&mut order);
    let whole = nodes - nodes % REPLICAS;
    for first in (0..whole).step_by(REPLICAS) {
        for next in 1..REPLICAS {
            let mut other = first + next;
            while (first..first + next)
                .any(|at| machines[order[at]].rack == machines[order[first + next]].rack)
            {
                other += 1;
                if other >= nodes {
                    break;
                }
                order.swap(first + next, other);
            }
        }
    }
    let racks_differ = |set: &&[usize]| {
        (0..set.len())
            .all(|at| set[..at].iter().all(|before| machines[*before].rack != machines[set[at]].rack))
    };
    order[..whole].chunks(REPLICAS).filter(racks_differ).map(<[usize]>::to_vec).collect()
}

impl Generated {
    /// The files, as the generator writes them: nodes, parts, assignment.
    pub(crate) fn csv(&self) -> [String; 3] {
        let mut nodes = "node,rack,zone,weight,capacity_mib,load_cap,nic_mbit,risk\n".to_owned();
        for (at, m) in self.machines.iter().enumerate() {
            let (mib, load) =
                ((m.weight * self.unit_mib as f64) as u64, (m.weight * self.unit_load as f64) as u64);
            nodes += &format!(
                "{at},{},{},{:.1},{mib},{load},{},{:.4}\n",
                m.rack, m.zone, m.weight, m.nic_mbit, m.risk
            );
        }
        let mut parts = "pid,size_mib,load\n".to_owned();
        for (at, (size, load)) in self.parts.iter().enumerate() {
            parts += &format!("{at},{size},{load}\n");
        }
        let mut rows = "pid,n0,n1,n2\n".to_owned();
        for (at, [a, b, c]) in self.rows.iter().enumerate() {
            rows += &format!("{at},{a},{b},{c}\n");
        }
        [nodes, parts, rows]
    }

    pub(crate) fn cluster(&self) -> Cluster {
        let zones = self.machines.iter().map(|machine| machine.zone).max().map_or(0, |last| last + 1);
        let racks = self.machines.iter().map(|machine| machine.rack).max().map_or(0, |last| last + 1);
        let mut domains: Vec<DomainFacts> = (0..zones)
            .map(|zone| DomainFacts { name: format!("zone{zone}"), level: Level(0), parent: None })
            .collect();
        domains.extend((0..racks).map(|rack| {
            let inside = self.machines.iter().find(|machine| machine.rack == rack).expect("no rack is empty");
            let parent = Some(Domain(inside.zone as u16));
            DomainFacts { name: format!("rack{rack}"), level: Level(1), parent }
        }));
        let nodes = self.machines.iter().enumerate().map(|(at, machine)| NodeFacts {
            name: at.to_string(),
            key: hash::key(at.to_string().as_bytes()),
            domain: Some(Domain((zones + machine.rack) as u16)),
            capacity_bytes: ((machine.weight * self.unit_mib as f64) as u64) << 20,
            load_capacity: Some((machine.weight * self.unit_load as f64).floor()),
            network_bytes_per_s: Some(machine.nic_mbit * 1_000_000 / 8),
            cordoned: false,
            state: NodeState::Up,
            risk: Some(machine.risk),
        });
        let levels = vec!["zone".to_owned(), "rack".to_owned()];
        let topology = Topology::new(levels, domains, nodes.collect(), Vec::new()).expect("a topology");
        let mut assignment = Assignment::empty(self.rows.len(), REPLICAS);
        for (at, row) in self.rows.iter().enumerate() {
            assignment.set(Partition(at as u32), &row.map(|node| Node(node as u16)));
        }
        let partitions = Partitions::new(
            (0..self.parts.len()).map(|at| hash::key(at.to_string().as_bytes())).collect(),
            self.parts.iter().map(|(size, _)| size << 20).collect(),
            self.parts.iter().map(|(_, load)| *load as f64).collect(),
            REPLICAS as u8,
        );
        let policy = Policy::default();
        Cluster {
            revision: 1,
            now_s: 1_000_000,
            topology,
            partitions,
            assignment,
            in_flight: Vec::new(),
            policy,
        }
    }
}
