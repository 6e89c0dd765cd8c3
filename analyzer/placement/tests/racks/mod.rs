//! Even clusters of racks, and an outlook whose loss is the hazard of the holders times the reads they serve.

use isotherm_placement::{
    Assignment, Cluster, Domain, DomainFacts, Level, Node, NodeFacts, NodeState, Outlook, Partition,
    Partitions, Policy, Shifts, Snapshot, Topology, hash,
};

pub(crate) const GB: u64 = 1_000_000_000;

/// A cluster of which every node holds about the same: `racks` racks of `per_rack` nodes, three replicas each.
pub(crate) fn cluster(racks: u16, per_rack: u16, partitions: u32) -> Cluster {
    let domains = (0..racks)
        .map(|rack| DomainFacts { name: format!("rack {rack}"), level: Level(0), parent: None })
        .collect();
    let nodes_len = racks * per_rack;
    let each_bytes = u64::from(partitions) * 3 * GB / u64::from(nodes_len);
    let each_load = f64::from(partitions) * 3.0 / f64::from(nodes_len);
    let nodes = (0..nodes_len)
        .map(|node| NodeFacts {
            name: format!("node {node}"),
            key: hash::key(&node.to_le_bytes()),
            domain: Some(Domain(node / per_rack)),
            capacity_bytes: each_bytes * 10 / 6,
            load_capacity: Some(each_load / 0.6),
            network_bytes_per_s: None,
            cordoned: false,
            state: NodeState::Up,
            risk: Some(0.01),
        })
        .collect();
    let key = (0..partitions).map(|at| hash::key(&at.to_le_bytes())).collect();
    let size = vec![GB; partitions as usize];
    let load = vec![1.0; partitions as usize];
    let mut assignment = Assignment::empty(partitions as usize, 3);
    let (racks, per_rack) = (u32::from(racks), u32::from(per_rack));
    for at in 0..partitions {
        let block = at / racks;
        let turns =
            [block, block + block / per_rack, block + 2 * (block / per_rack) + block / per_rack.pow(2)];
        let row: Vec<Node> = (0u32..)
            .zip(turns)
            .map(|(replica, turn)| Node(((at + replica) % racks * per_rack + turn % per_rack) as u16))
            .collect();
        assignment.set(Partition(at), &row);
    }
    Cluster {
        revision: 1,
        now_s: 1_000_000,
        topology: Topology::new(vec!["rack".to_owned()], domains, nodes, Vec::new())
            .expect("the test builds what can be"),
        partitions: Partitions::new(key, size, load, 3),
        assignment,
        in_flight: Vec::new(),
        policy: Policy::default(),
    }
}

/// The cluster with other facts about its nodes.
pub(crate) fn with_nodes(mut cluster: Cluster, change: impl Fn(usize, &mut NodeFacts)) -> Cluster {
    let old = &cluster.topology;
    let mut nodes = old.nodes().to_vec();
    nodes.iter_mut().enumerate().for_each(|(at, node)| change(at, node));
    cluster.topology =
        Topology::new(old.levels().to_vec(), old.domains().to_vec(), nodes, old.links().to_vec())
            .expect("the test builds what can be");
    cluster
}

/// The cluster with one node of so many times the hazard of the others.
pub(crate) fn with_hazard(cluster: Cluster, node: usize, times: f64) -> Cluster {
    with_nodes(cluster, |at, facts| facts.risk = Some(if at == node { 0.01 * times } else { 0.01 }))
}

/// What a node's hazard is.
pub(crate) fn hazard(snapshot: &Snapshot, node: Node) -> f64 {
    snapshot.topology().node(node).risk.expect("the test builds what can be")
}

/// Calls with an outlook whose loss is the sum of the holders' hazards, times the partition's load over its
/// replicas, and some noise; a copy costs `cost_per_gb`.
pub(crate) fn with_outlook<T>(
    snapshot: &Snapshot,
    cost_per_gb: f64,
    noise: impl Fn(Partition) -> f64 + Sync,
    call: impl FnOnce(Outlook<'_>) -> T,
) -> T {
    let sum = |subset: &[Node]| subset.iter().map(|node| hazard(snapshot, *node)).sum::<f64>();
    let loss = |partition: Partition, subset: &[Node]| {
        sum(subset) * snapshot.partitions().load[partition.at()] / subset.len() as f64 * noise(partition)
    };
    let exposure = |_: Partition, subset: &[Node]| sum(subset);
    let copy = |_: Partition, bytes: u64| bytes as f64 / GB as f64 * cost_per_gb;
    let shift = |_: Partition| 1e-3;
    call(Outlook {
        loss_per_hour: &loss,
        exposure_per_hour: &exposure,
        cost_of_copy: &copy,
        cost_of_shift: &shift,
        hazard_over_class: None,
        shifts: Shifts::None,
    })
}
