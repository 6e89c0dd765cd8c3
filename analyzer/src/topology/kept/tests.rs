use super::*;
use crate::topology::{Freshness, Origin};
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_proto::{Health, NodeFacts, PartitionFacts, ShiftReads};

const MINUTE: u64 = 60_000;

fn system() -> SystemId {
    SystemId::new("s").unwrap()
}

fn node(name: &str) -> NodeId {
    NodeId::new(system(), name).unwrap()
}

fn at(minute: u64) -> Timestamp {
    Timestamp::from_ms(1_000 * DAY_MS + minute * MINUTE)
}

/// Three nodes, and as many partitions as are asked for, on two of them each.
fn topology(revision: u64, partitions: u64) -> Topology {
    let mut topology = Topology { revision, ..Topology::default() };
    let source = Source {
        shift_reads: ShiftReads::DrainReplica,
        origin: Origin::Adapter { endpoint: "http://a".to_owned() },
        ..Source::configured()
    };
    topology.sources.insert(system(), source);
    for name in ["a", "b", "c"] {
        let facts = NodeFacts {
            domains: vec!["dc".to_owned(), name.to_owned()],
            capacity_bytes: Some(1 << 40),
            load_capacity_ops_per_s: Some(900),
            health: Health::Up,
            ..NodeFacts::default()
        };
        Arc::make_mut(&mut topology.nodes).insert(node(name), facts);
    }
    for number in 0..partitions {
        hold(&mut topology, number, &["b", "a"]);
    }
    topology
}

fn hold(topology: &mut Topology, number: u64, nodes: &[&str]) {
    let nodes = nodes.iter().map(|name| node(name)).collect();
    let facts = PartitionFacts { size_bytes: Some(number), nodes, epoch: 7, locators: Vec::new() };
    topology.set_partition(PartitionId::new(system(), number.to_string()).unwrap(), facts);
}

fn rows(dir: &Path) -> Vec<(i64, bool, i64)> {
    let database = Connection::open(dir.join(FILE)).unwrap();
    let mut rows = database.prepare("SELECT at_ms, whole, length(content) FROM topology ORDER BY 1").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn what_the_cycles_had_comes_back_at_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let first = topology(1, 2_000);
    let mut moved = Topology { revision: 2, ..first.clone() };
    hold(&mut moved, 5, &["c", "b"]);
    Arc::make_mut(&mut moved.subsets).remove(&PartitionId::new(system(), "6").unwrap());
    Arc::make_mut(&mut moved.partitions).remove(&PartitionId::new(system(), "6").unwrap());
    let mut silent = Topology { revision: 3, ..moved.clone() };
    silent.sources.get_mut(&system()).unwrap().freshness = Freshness::Stale;

    let mut log = Log::open(dir.path()).unwrap();
    for (minute, topology) in [(1, &first), (2, &first), (3, &moved), (5, &silent)] {
        log.keep(at(minute), topology, || None).unwrap();
    }
    let rows = rows(dir.path());
    assert_eq!(rows.iter().map(|row| row.1).collect::<Vec<_>>(), [true, false, false]);
    assert!(rows[1].2 < rows[0].2 / 10, "a change is small: {rows:?}");

    let mut past = Past::open(dir.path()).unwrap().unwrap();
    assert!(past.at(at(0)).unwrap().is_none());
    let mut seen = |minute| past.at(at(minute)).unwrap().unwrap();
    assert_eq!(*seen(1), row::judged(&first));
    assert_eq!(*seen(2), row::judged(&first));
    assert_eq!(*seen(4), row::judged(&moved));
    let last = seen(9);
    assert_eq!(*last, row::judged(&silent));
    assert_eq!(last.health(&node("a")), Some(Health::Unknown), "as it was judged while nothing was heard");
    let leader = &last.partitions[&PartitionId::new(system(), "5").unwrap()].leader;
    assert_eq!(*leader, node("c"));
}

#[test]
fn each_day_and_each_start_has_all_of_it_and_what_nobody_can_ask_for_goes() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path()).unwrap();
    log.keep(at(1), &topology(1, 3), || None).unwrap();
    log.keep(at(2), &topology(2, 4), || None).unwrap();
    // A cycle that failed is made again, and the topology has moved on.
    log.keep(at(2), &topology(3, 5), || None).unwrap();
    let mut log = Log::open(dir.path()).unwrap();
    log.keep(at(3), &topology(3, 5), || None).unwrap();
    log.keep(at(24 * 60), &topology(4, 6), || Some(at(3))).unwrap();
    let kept: Vec<(i64, bool)> =
        rows(dir.path()).into_iter().map(|(at_ms, whole, _)| (at_ms, whole)).collect();
    assert_eq!(kept, [3, 24 * 60].map(|minute| (at(minute).as_ms() as i64, true)));
    let mut past = Past::open(dir.path()).unwrap().unwrap();
    assert_eq!(past.at(at(4)).unwrap().unwrap().partitions.len(), 5);
}

#[test]
fn what_is_no_log_is_refused_by_its_path() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Past::open(dir.path()).unwrap().is_none());
    std::fs::write(dir.path().join(FILE), "not a database at all, but long enough").unwrap();
    let told = format!("{:#}", Past::open(dir.path()).err().unwrap());
    assert!(told.contains(FILE), "{told}");
    std::fs::remove_file(dir.path().join(FILE)).unwrap();
    Log::open(dir.path()).unwrap().database.pragma_update(None, "user_version", 99).unwrap();
    let told = format!("{:#}", Log::open(dir.path()).err().unwrap());
    assert!(told.contains("version 99"), "{told}");
}
