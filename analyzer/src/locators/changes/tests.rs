use super::*;
use crate::topology::{Freshness, Origin, Source, Topology};
use isotherm_model::SystemId;
use isotherm_proto::{Locators, PartitionFacts, locators_from_wire};

fn system() -> SystemId {
    SystemId::new("s").unwrap()
}

fn node(name: &str) -> NodeId {
    NodeId::new(system(), name).unwrap()
}

fn partition(name: &str) -> PartitionId {
    PartitionId::new(system(), name).unwrap()
}

fn at(on: Option<&str>, file: &str) -> Locator {
    Locator {
        node: on.map(node),
        files: vec![file.to_owned()],
        devices: Vec::new(),
        ports: Vec::new(),
        key_ranges: Vec::new(),
        relations: Vec::new(),
        slots: Vec::new(),
    }
}

/// Partitions with the nodes that hold them; on each, it has a file of the node's name and its own.
fn topology(revision: u64, freshness: Freshness, partitions: &[(&str, &[&str])]) -> Topology {
    let mut topology = Topology { revision, ..Topology::default() };
    let origin = Origin::Adapter { endpoint: "http://127.0.0.1:1".to_owned() };
    topology.sources.insert(system(), Source { origin, freshness, ..Source::configured() });
    for (id, on) in partitions {
        let locators = on.iter().map(|name| at(Some(name), &format!("/{name}/{id}"))).collect();
        let nodes = on.iter().map(|name| node(name)).collect();
        let facts = PartitionFacts { size_bytes: None, nodes, epoch: 0, locators };
        topology.set_partition(partition(id), facts);
    }
    topology
}

fn targets(names: &[&str]) -> BTreeSet<NodeId> {
    names.iter().map(|name| node(name)).collect()
}

/// The message's parts as one, read as an agent does.
fn read(changed: Changed) -> Option<Locators> {
    let parts = changed.message?.parts().map(|part| locators_from_wire(part).unwrap());
    parts.reduce(|mut all, part| {
        assert!(all.more && all.revision == part.revision);
        all.whole.extend(part.whole);
        all.located.extend(part.located);
        all.removed.extend(part.removed);
        all.more = part.more;
        all
    })
}

/// Node, partition and files.
fn files(message: &Locators) -> Vec<String> {
    let of = |(place, at): (&isotherm_proto::Place, &Vec<Locator>)| {
        let files: Vec<&str> = at.iter().flat_map(|at| &at.files).map(String::as_str).collect();
        format!("{} {} {}", place.node.name(), place.partition.name(), files.join(" "))
    };
    message.located.iter().map(of).collect()
}

fn removed(message: &Locators) -> Vec<String> {
    let of = |place: &isotherm_proto::Place| format!("{} {}", place.node.name(), place.partition.name());
    message.removed.iter().map(of).collect()
}

#[test]
fn a_node_is_told_as_a_whole_and_then_by_its_changes() {
    let before = topology(5, Freshness::Fresh, &[("1", &["a", "b"]), ("2", &["b", "c"])]);
    let index = Index::default().next(&before);
    let mut known = BTreeMap::new();
    let first = read(changes(&index, &mut known, &targets(&["a", "b"]))).unwrap();
    assert_eq!((first.revision, first.whole.clone()), (5, targets(&["a", "b"])));
    assert_eq!(files(&first), ["a 1 /a/1", "b 1 /b/1", "b 2 /b/2"], "each node's own, and not c's");
    assert!(read(changes(&index, &mut known, &targets(&["a", "b"]))).is_none());
    // Partition 1 moves from a to c: nothing of b is other than it was.
    let moved = topology(6, Freshness::Fresh, &[("1", &["b", "c"]), ("2", &["b", "c"])]);
    let index = index.next(&moved);
    let then = read(changes(&index, &mut known, &targets(&["a", "b"]))).unwrap();
    assert_eq!((then.revision, then.whole.len(), files(&then).len()), (6, 0, 0));
    assert_eq!(removed(&then), ["a 1"]);
    // A node that is watched anew is whole; one that is watched no more is forgotten, and would be whole again.
    let then = read(changes(&index, &mut known, &targets(&["c"]))).unwrap();
    assert_eq!(
        (then.whole.clone(), files(&then)),
        (targets(&["c"]), vec!["c 1 /c/1".into(), "c 2 /c/2".into()])
    );
    assert_eq!(read(changes(&index, &mut known, &targets(&["a", "c"]))).unwrap().whole, targets(&["a"]));
}

#[test]
fn what_changes_nothing_for_a_node_keeps_its_revision() {
    let index = Index::default().next(&topology(5, Freshness::Fresh, &[("1", &["a"])]));
    let grown = topology(9, Freshness::Fresh, &[("1", &["a"])]);
    assert!(!index.is_of(&grown));
    let same = index.next(&grown);
    assert_eq!(same.revision(), 5);
    assert!(same.is_of(&grown));
    assert!(Arc::ptr_eq(same.held(&node("a")).unwrap(), index.held(&node("a")).unwrap()), "it is shared");
    let more = same.next(&topology(10, Freshness::Fresh, &[("1", &["a"]), ("2", &["a"])]));
    assert_eq!(more.revision(), 10);
}

#[test]
fn while_nobody_was_heard_nothing_is_told_and_a_stale_source_keeps_the_last() {
    let silent = Index::default().next(&topology(5, Freshness::Never, &[]));
    let mut known = BTreeMap::new();
    assert!(read(changes(&silent, &mut known, &targets(&["a"]))).is_none());
    let heard = silent.next(&topology(6, Freshness::Fresh, &[("1", &["a"])]));
    assert_eq!(files(&read(changes(&heard, &mut known, &targets(&["a"]))).unwrap()), ["a 1 /a/1"]);
    let stale = heard.next(&topology(7, Freshness::Stale, &[("1", &["a"])]));
    assert!(read(changes(&stale, &mut known, &targets(&["a"]))).is_none());
    // Who was heard and does not name a node says that nothing lies there.
    let nothing = read(changes(&heard, &mut BTreeMap::new(), &targets(&["x"]))).unwrap();
    assert_eq!((nothing.whole.clone(), nothing.located.len()), (targets(&["x"]), 0));
}

#[test]
fn a_replica_of_which_nobody_says_where_it_lies_is_told_by_its_name() {
    let mut unsaid = topology(5, Freshness::Fresh, &[]);
    let nodes = vec![node("a"), node("b")];
    let facts = PartitionFacts { size_bytes: None, nodes, epoch: 0, locators: vec![at(Some("a"), "/a/1")] };
    unsaid.set_partition(partition("1"), facts);
    let index = Index::default().next(&unsaid);
    let message = read(changes(&index, &mut BTreeMap::new(), &targets(&["a", "b"]))).unwrap();
    assert_eq!(files(&message), ["a 1 /a/1", "b 1 "]);
}

#[test]
fn a_long_message_comes_in_parts_below_their_bound() {
    let names: Vec<String> = (0..20_000).map(|number| format!("{number:05}")).collect();
    let partitions: Vec<(&str, &[&str])> = names.iter().map(|name| (name.as_str(), &["a"][..])).collect();
    let index = Index::default().next(&topology(5, Freshness::Fresh, &partitions));
    let changed = changes(&index, &mut BTreeMap::new(), &targets(&["a"]));
    let parts: Vec<wire::Locators> = changed.message.unwrap().parts().collect();
    assert!(parts.len() > 2);
    assert!(parts.iter().all(|part| part.encoded_len() < PART_BYTES + 1_024));
    assert!(parts.iter().rev().skip(1).all(|part| part.more) && !parts.last().unwrap().more);
    assert_eq!(parts.iter().map(|part| part.locators.len()).sum::<usize>(), 20_000);
    assert_eq!(parts.iter().map(|part| part.whole.len()).sum::<usize>(), 1);
}
