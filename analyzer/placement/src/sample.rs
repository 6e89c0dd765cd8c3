//! Small clusters and plans for tests: written by hand, or drawn at random and valid by trying every node.

use crate::ids::{Domain, Level, Node, Partition};
use crate::partitions::{Assignment, Column, Partitions};
use crate::plan::{Action, Gain, Move, Plan, Pressure, Reason, Rejected, Totals};
use crate::policy::Policy;
use crate::snapshot::{Cluster, InFlight, Snapshot};
use crate::topology::{DomainFacts, Link, NodeFacts, NodeState, Topology};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};

/// The parts of a cluster, open to changes.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) domains: Vec<DomainFacts>,
    pub(crate) nodes: Vec<NodeFacts>,
    pub(crate) links: Vec<Link>,
    pub(crate) sizes: Vec<u64>,
    pub(crate) rows: Vec<Vec<u16>>,
    pub(crate) replicas: u8,
    pub(crate) in_flight: Vec<InFlight>,
    pub(crate) policy: Policy,
}

impl Sample {
    /// Two zones, racks in them by turns, nodes of 10,000 bytes and 100 bytes/s in the racks; three replicas wanted,
    /// one at most in a rack. Node n lies in rack n / each.
    pub(crate) fn racks(racks: u16, each: u16) -> Self {
        let mut domains = vec![domain("east", 0, None), domain("west", 0, None)];
        domains.extend((0..racks).map(|rack| domain(&format!("r{rack}"), 1, Some(rack % 2))));
        let nodes = (0..racks * each)
            .map(|node| NodeFacts {
                name: format!("n{node}"),
                key: u64::from(node) + 1000,
                domain: Some(Domain(2 + node / each)),
                capacity_bytes: 10_000,
                load_capacity: None,
                network_bytes_per_s: Some(100),
                cordoned: false,
                state: NodeState::Up,
                risk: None,
            })
            .collect();
        let policy = Policy {
            replicas_per_domain: [("rack".to_owned(), 1)].into(),
            fill_limit: 1.0,
            ..Policy::default()
        };
        Self {
            domains,
            nodes,
            links: Vec::new(),
            sizes: Vec::new(),
            rows: Vec::new(),
            replicas: 3,
            in_flight: Vec::new(),
            policy,
        }
    }

    /// Adds a partition.
    pub(crate) fn with(mut self, size: u64, row: &[u16]) -> Self {
        self.sizes.push(size);
        self.rows.push(row.to_vec());
        self
    }

    /// Changes the state of a node.
    pub(crate) fn state(mut self, node: usize, state: NodeState) -> Self {
        self.nodes[node].state = state;
        self
    }

    pub(crate) fn cluster(&self) -> Cluster {
        let partitions = self.sizes.len();
        let width = self.rows.iter().map(Vec::len).max().unwrap_or(1).max(usize::from(self.replicas));
        let mut assignment = Assignment::empty(partitions, width);
        for (at, row) in self.rows.iter().enumerate() {
            let row: Vec<Node> = row.iter().copied().map(Node).collect();
            assignment.set(Partition(at as u32), &row);
        }
        let key = (0..partitions as u64).collect();
        let mut facts = Partitions::new(key, self.sizes.clone(), vec![0.0; partitions], self.replicas);
        facts.epoch = Column::Same(7);
        let levels = vec!["zone".to_owned(), "rack".to_owned()];
        let (domains, nodes, links) = (self.domains.clone(), self.nodes.clone(), self.links.clone());
        Cluster {
            revision: 5,
            now_s: 1_000_000,
            topology: Topology::new(levels, domains, nodes, links).unwrap(),
            partitions: facts,
            assignment,
            in_flight: self.in_flight.clone(),
            policy: self.policy.clone(),
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.cluster()).unwrap()
    }

    /// A move of a partition, with what the snapshot has of it.
    pub(crate) fn copy(&self, partition: u32, from: Option<u16>, to: u16, reason: Reason) -> Move {
        let action = Action::Copy { from: from.map(Node), to: Node(to) };
        decided(partition, action, self.sizes[partition as usize], reason)
    }

    /// A cluster drawn at random: nodes down and draining, copies under way, links, budgets of some or all nodes.
    pub(crate) fn random(seed: u64) -> (Self, Dice) {
        let mut dice = Dice(Pcg64Mcg::seed_from_u64(seed));
        let (racks, each) = (3 + dice.below(4) as u16, 1 + dice.below(3) as u16);
        let mut sample = Self::racks(racks, each);
        sample.policy.node_copies = 1 + dice.below(4) as u16;
        for _ in 0..dice.below(4) {
            let (a, b) = (dice.below(racks.into()) as u16, dice.below(racks.into()) as u16);
            let bytes_per_s = 20 + dice.below(200);
            sample.links.push(Link { a: Domain(2 + a), b: Domain(2 + b), bytes_per_s });
        }
        if dice.below(2) == 0 {
            let bytes_per_s = 50 + dice.below(300);
            sample.links.push(Link { a: Domain(0), b: Domain(1), bytes_per_s });
        }
        let unknown = dice.below(4) == 0;
        for node in &mut sample.nodes {
            node.capacity_bytes = 2_000 + dice.below(6_000);
            node.network_bytes_per_s = (!unknown).then(|| 50 + dice.below(200));
        }
        for _ in 0..dice.below(40) {
            let row: Vec<u16> = (0..3u16).map(|rack| rack * each + dice.below(each.into()) as u16).collect();
            let turn = dice.below(u64::from(racks)) as u16;
            let row: Vec<u16> = row.iter().map(|node| (node + turn * each) % (racks * each)).collect();
            sample = sample.with(dice.below(500), &row);
        }
        for state in [NodeState::Down, NodeState::Draining, NodeState::Down] {
            if dice.below(2) == 0 {
                let node = dice.below(sample.nodes.len() as u64) as usize;
                sample.nodes[node].state = state;
            }
        }
        (sample, dice)
    }
}

/// Seeded draws.
pub(crate) struct Dice(Pcg64Mcg);

impl Dice {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0.next_u64() % n
    }
}

fn domain(name: &str, level: u8, parent: Option<u16>) -> DomainFacts {
    DomainFacts { name: name.to_owned(), level: Level(level), parent: parent.map(Domain) }
}

/// A move with the epoch of [`Sample::cluster`].
pub(crate) fn decided(partition: u32, action: Action, bytes: u64, reason: Reason) -> Move {
    Move {
        partition: Partition(partition),
        action,
        bytes,
        epoch: 7,
        reason,
        gain: Gain::Replicas { before: 2, after: 3 },
        score: 1.0,
        runner_up: None,
        rejected: Rejected::default(),
    }
}

pub(crate) fn plan(moves: Vec<Move>) -> Plan {
    let none = Pressure { size: None, load: None };
    let totals = Totals { bytes: 0, least_bytes: 0, before: none, after: none, feasible: 1.0 };
    Plan::new(5, moves, Vec::new(), totals)
}

/// A valid plan: every replica on a node that is down or draining goes to a node drawn among those that can take it,
/// then some by choice.
pub(crate) fn valid_plan(sample: &Sample, dice: &mut Dice) -> Plan {
    let mut rows = sample.rows.clone();
    let mut room: Vec<i64> = sample.nodes.iter().map(|node| node.capacity_bytes as i64).collect();
    for (row, size) in rows.iter().zip(&sample.sizes) {
        for node in row {
            room[usize::from(*node)] -= *size as i64;
        }
    }
    let mut moves = Vec::new();
    for ((partition, row), size) in rows.iter_mut().enumerate().zip(sample.sizes.iter().copied()) {
        let mut changed = false;
        if row.iter().all(|node| sample.nodes[usize::from(*node)].state == NodeState::Down) {
            continue;
        }
        for slot in 0..row.len() {
            let from = row[slot];
            let reason = match sample.nodes[usize::from(from)].state {
                NodeState::Down => Reason::Lost,
                NodeState::Draining => Reason::Draining,
                NodeState::Up if !changed && dice.below(4) == 0 => Reason::Balance,
                NodeState::Up => continue,
            };
            let can = |to: &u16| {
                let facts = &sample.nodes[usize::from(*to)];
                let apart = row.iter().all(|holder| {
                    *holder == from || sample.nodes[usize::from(*holder)].domain != facts.domain
                });
                let new = !row.contains(to) && !sample.rows[partition].contains(to);
                facts.state == NodeState::Up && apart && new && room[usize::from(*to)] >= size as i64
            };
            let able: Vec<u16> = (0..sample.nodes.len() as u16).filter(can).collect();
            if able.is_empty() {
                continue;
            }
            let to = able[dice.below(able.len() as u64) as usize];
            row[slot] = to;
            room[usize::from(to)] -= size as i64;
            changed = true;
            moves.push(sample.copy(partition as u32, Some(from), to, reason));
        }
        let lives = |node: u16| sample.nodes[usize::from(node)].state != NodeState::Down;
        if changed && lives(row[1]) && dice.below(3) == 0 {
            let [from, to] = [row[0], row[1]].map(Node);
            moves.push(decided(partition as u32, Action::Lead { from, to }, 0, Reason::Risk));
            row.swap(0, 1);
        }
    }
    plan(moves)
}
