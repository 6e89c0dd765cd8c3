use super::*;
use crate::topology::{Origin as From, Source};
use isotherm_proto::PartitionFacts;

fn system() -> SystemId {
    SystemId::new("s").unwrap()
}

fn node(name: &str) -> NodeId {
    NodeId::new(system(), name).unwrap()
}

fn partition(name: &str) -> PartitionId {
    PartitionId::new(system(), name).unwrap()
}

/// Nodes by name, rack and capacity; partitions of 10 bytes.
fn topology(nodes: &[(&str, &str, u64)], partitions: &[(&str, &[&str])]) -> Topology {
    let mut topology = Topology { revision: 7, ..Topology::default() };
    for (name, rack, capacity) in nodes {
        let facts = NodeFacts {
            domains: vec!["dc".to_owned(), (*rack).to_owned()],
            capacity_bytes: Some(*capacity),
            health: Health::Up,
            ..NodeFacts::default()
        };
        Arc::make_mut(&mut topology.nodes).insert(node(name), facts);
    }
    for (name, holders) in partitions {
        let nodes = holders.iter().map(|name| node(name)).collect();
        let facts = PartitionFacts { size_bytes: Some(10), nodes, epoch: 0, locators: Vec::new() };
        topology.set_partition(partition(name), facts);
    }
    let origin = From::Adapter { endpoint: "http://a".to_owned() };
    topology.sources.insert(system(), Source { origin, ..Source::configured() });
    topology
}

fn kill(topology: &mut Topology, name: &str) {
    Arc::make_mut(&mut topology.nodes).get_mut(&node(name)).unwrap().health = Health::Down;
}

fn repair(name: &str, dead: &str, rack: &str, survivors: &[&str]) -> Repair {
    let lack = Lack {
        partition: partition(name),
        missing: 1,
        dead: vec![node(dead)],
        survivors: survivors.iter().map(|name| node(name)).collect(),
    };
    Repair { lack, dead: node(dead), domains: vec!["dc".to_owned(), rack.to_owned()] }
}

fn found(topology: &Topology, repairs: &[Repair]) -> Vec<Result<String, String>> {
    let system = system();
    let asked =
        Asked { system: &system, topology, cycled: None, repairs, migrations: &[], now_ms: 1_000_000 };
    let found = destinations(&asked);
    assert_eq!(found.len(), repairs.len(), "each has an answer");
    found.into_values().map(|target| target.map(|node| node.name().to_owned())).collect()
}

#[test]
fn a_replica_goes_where_the_lost_one_could_have_been() {
    let nodes = [("a", "r1", 100), ("b", "r2", 100), ("c", "r2", 100), ("d", "r3", 100)];
    let mut apart = topology(&nodes, &[("1", &["a", "b"])]);
    kill(&mut apart, "a");
    assert_eq!(
        found(&apart, &[repair("1", "a", "r1", &["b"])]),
        [Ok("d".to_owned())],
        "c shares the rack of b"
    );
    // Where the system keeps both in one rack, it stays there.
    let mut together = topology(&nodes, &[("1", &["b", "c"])]);
    kill(&mut together, "b");
    let domains = vec!["dc".to_owned(), "r2".to_owned()];
    let free = NodeFacts { domains, ..together.nodes[&node("d")].clone() };
    Arc::make_mut(&mut together.nodes).insert(node("e"), free);
    assert_eq!(found(&together, &[repair("1", "b", "r2", &["c"])]), [Ok("e".to_owned())]);
    // Farther is better than nowhere, nearer is not.
    let mut few = topology(&nodes[..3], &[("1", &["b", "c"])]);
    kill(&mut few, "b");
    assert_eq!(found(&few, &[repair("1", "b", "r2", &["c"])]), [Ok("a".to_owned())]);
    let mut near = topology(&nodes[..3], &[("1", &["a", "b"])]);
    kill(&mut near, "a");
    let refused = found(&near, &[repair("1", "a", "r1", &["b"])]);
    assert!(refused[0].as_ref().is_err_and(|why| why.contains("no node that is up")), "{refused:?}");
}

#[test]
fn a_node_that_was_forgotten_is_planned_for_all_the_same() {
    let forgotten = topology(&[("b", "r2", 100), ("c", "r3", 100)], &[("1", &["b"]), ("2", &["b"])]);
    let repairs = [repair("1", "a", "r1", &["b"])];
    assert_eq!(found(&forgotten, &repairs), [Ok("c".to_owned())]);
}

#[test]
fn nothing_goes_to_a_node_that_is_down_or_full() {
    let nodes = [("a", "r1", 100), ("b", "r2", 100), ("c", "r3", 100), ("d", "r4", 15)];
    let holds: [(&str, &[&str]); 2] = [("1", &["a", "b"]), ("2", &["d"])];
    let mut cluster = topology(&nodes, &holds);
    kill(&mut cluster, "a");
    let repairs = [repair("1", "a", "r1", &["b"])];
    assert_eq!(found(&cluster, &repairs), [Ok("c".to_owned())], "d has no room");
    kill(&mut cluster, "c");
    let refused = found(&cluster, &repairs);
    assert!(refused[0].as_ref().is_err_and(|why| why.contains("bytes")), "{refused:?}");
}

#[test]
fn what_is_planned_together_and_one_after_the_other_fits_together() {
    let nodes = [("a", "r1", 100), ("b", "r2", 100), ("c", "r2", 100), ("d", "r3", 12), ("e", "r1", 12)];
    let mut cluster = topology(&nodes, &[("1", &["a", "b"]), ("2", &["a", "c"]), ("3", &["a", "e"])]);
    kill(&mut cluster, "a");
    let repairs =
        [repair("1", "a", "r1", &["b"]), repair("2", "a", "r1", &["c"]), repair("3", "a", "r1", &["e"])];
    let found = found(&cluster, &repairs);
    let to_d = found.iter().filter(|target| **target == Ok("d".to_owned())).count();
    assert!(to_d <= 1, "d has room for one: {found:?}");
}
