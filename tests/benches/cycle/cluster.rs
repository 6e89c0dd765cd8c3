//! A cluster that is made up from a number of partitions: who holds what, and who reads how much of it.

use super::support::sample::system;
use isotherm_model::{
    BUCKETS, Completeness, Counts, Layer, NodeId, NodeWindow, OffsetHistogram, Operation, PartitionId, Row,
    Subject, Timestamp, Window,
};
use isotherm_proto::adapter::v1::{Health, Node, Partition};
use std::collections::BTreeMap;

/// Replicas of a partition.
pub(crate) const REPLICAS: u32 = 3;

/// Partitions for each node, three replicas each: a node then holds as many as in a large cluster.
const PER_NODE: u32 = 5_000 / REPLICAS;

/// Fewest nodes.
const FEWEST: u32 = 60;

/// Racks, each a failure domain.
const RACKS: u32 = 12;

/// Reads of a partition in a second.
const READS_PER_S: f64 = 8.0;

/// What a node can bear over what it bears.
const HEADROOM: f64 = 1.8;

/// Nodes, and partitions on them.
pub(crate) struct Cluster {
    pub(crate) partitions: u32,
    pub(crate) nodes: u32,
    /// Partitions and places in their subsets, by node.
    held: Vec<Vec<(u32, u32)>>,
}

impl Cluster {
    pub(crate) fn new(partitions: u32) -> Self {
        let nodes = (partitions / PER_NODE).max(FEWEST);
        let mut held = vec![Vec::new(); nodes as usize];
        for partition in 0..partitions {
            for (place, node) in (0..).zip(holders(partition, nodes)) {
                held[node as usize].push((partition, place));
            }
        }
        Self { partitions, nodes, held }
    }

    pub(crate) fn replicas(&self) -> u64 {
        u64::from(self.partitions * REPLICAS)
    }

    /// As an adapter tells of it.
    pub(crate) fn topology(&self) -> (Vec<Node>, Vec<Partition>) {
        let load = f64::from(self.partitions) * READS_PER_S / f64::from(self.nodes);
        let node = |number: u32| Node {
            node: name(number),
            addresses: Vec::new(),
            domains: vec!["dc1".to_owned(), format!("rack{:02}", number % RACKS)],
            capacity_bytes: Some(16 << 40),
            load_capacity_ops_per_s: Some((load * HEADROOM) as u64),
            class: "disk".to_owned(),
            health: Health::Up.into(),
        };
        let partition = |number: u32| Partition {
            partition: number.to_string(),
            nodes: holders(number, self.nodes).map(name).to_vec(),
            size_bytes: Some(1 << 30),
            epoch: 1,
            locators: Vec::new(),
        };
        ((0..self.nodes).map(node).collect(), (0..self.partitions).map(partition).collect())
    }

    /// What a node's agent counted in a window.
    pub(crate) fn window(&self, node: u32, start_ms: u64, length_ms: u32) -> Window {
        let rows: Vec<Row> = self.held[node as usize]
            .iter()
            .map(|(partition, place)| row(*partition, *place, start_ms, length_ms))
            .collect();
        let total = rows.iter().fold(Counts::default(), |sum, row| sum.plus(row.counts));
        let totals = BTreeMap::from([
            ((Layer::Logical, Operation::Read), total),
            ((Layer::Logical, Operation::Write), Counts::default()),
        ]);
        let node = NodeWindow {
            node: NodeId::new(system(), name(node)).unwrap(),
            processes: 1,
            listening: Vec::new(),
            totals,
            rows,
            peers: Vec::new(),
            lost: BTreeMap::new(),
        };
        let completeness = Completeness::Complete;
        Window { start: Timestamp::from_ms(start_ms), length_ms, completeness, nodes: vec![node] }
    }
}

pub(crate) fn name(node: u32) -> String {
    format!("node-{node:04}")
}

/// Nodes of different racks: a step of one node is one rack on.
fn holders(partition: u32, nodes: u32) -> [u32; REPLICAS as usize] {
    let first = mixed(u64::from(partition)) as u32 % nodes;
    std::array::from_fn(|place| (first + place as u32) % nodes)
}

/// Reads of one replica: a share of its own, and from window to window a third more or less.
fn row(partition: u32, place: u32, start_ms: u64, length_ms: u32) -> Row {
    let own = u64::from(partition) << 2 | u64::from(place);
    let weight = |place: u32| 0.2 + unit(u64::from(partition) << 2 | u64::from(place));
    let share = weight(place) / (0..REPLICAS).map(weight).sum::<f64>();
    let noise = 0.67 + 0.66 * unit(own ^ mixed(start_ms));
    let ops = (READS_PER_S * f64::from(length_ms) / 1e3 * share * noise).round() as u64;
    let mut counts = [0; BUCKETS];
    let first = mixed(own) as usize;
    (0..ops).for_each(|op| counts[(first + op as usize * 5) % BUCKETS] += 1);
    Row {
        subject: Subject::Partition(PartitionId::new(system(), partition.to_string()).unwrap()),
        layer: Layer::Logical,
        operation: Operation::Read,
        counts: Counts { ops, bytes: ops * 4_096 },
        offsets: OffsetHistogram::new(24, counts).unwrap(),
        latency: None,
    }
}

/// Splitmix64 (Steele, Lea and Flood 2014).
fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

fn unit(value: u64) -> f64 {
    (mixed(value) >> 11) as f64 / (1_u64 << 53) as f64
}
