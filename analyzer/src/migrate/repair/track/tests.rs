use super::*;
use isotherm_proto::{NodeFacts, PartitionFacts};
use proptest::prelude::*;

fn system() -> SystemId {
    SystemId::new("s").unwrap()
}

fn node(name: &str) -> NodeId {
    NodeId::new(system(), name).unwrap()
}

fn partition(name: &str) -> PartitionId {
    PartitionId::new(system(), name).unwrap()
}

/// A topology of nodes with their health, and partitions with who holds them.
fn topology(nodes: &[(&str, Health)], partitions: &[(&str, &[&str])]) -> Topology {
    let mut topology = Topology::default();
    for (name, health) in nodes {
        let domains = vec!["dc".to_owned(), format!("rack of {name}")];
        let facts = NodeFacts { health: *health, domains, ..NodeFacts::default() };
        Arc::make_mut(&mut topology.nodes).insert(node(name), facts);
    }
    for (name, holders) in partitions {
        let nodes = holders.iter().map(|name| node(name)).collect();
        let facts = PartitionFacts { size_bytes: None, nodes, epoch: 0, locators: Vec::new() };
        topology.set_partition(partition(name), facts);
    }
    topology
}

const HOLD_MS: u64 = 100;

fn after(book: &Book, before: &[Arc<Topology>], topology: &Topology, now_ms: u64) -> Book {
    let (system, moving) = (system(), BTreeMap::new());
    track(
        book,
        &Look {
            system: &system,
            topology,
            before,
            moved: true,
            moving: &moving,
            lately: &moving,
            hold_ms: HOLD_MS,
            now_ms,
        },
    )
}

fn lost(book: &Book, node: &str) -> Vec<(String, u8)> {
    book.failures[node].lost.iter().map(|(name, replicas)| (name.clone(), *replicas)).collect()
}

fn lacking(book: &Book, topology: &Topology) -> Vec<(String, usize, Vec<String>, Vec<String>)> {
    let names = |nodes: &[NodeId]| nodes.iter().map(|node| node.name().to_owned()).collect();
    let lacks = lacks(book, &system(), topology);
    lacks
        .iter()
        .map(|lack| {
            (lack.partition.name().to_owned(), lack.missing, names(&lack.dead), names(&lack.survivors))
        })
        .collect()
}

fn some(
    partition: &str,
    missing: usize,
    dead: &[&str],
    survivors: &[&str],
) -> (String, usize, Vec<String>, Vec<String>) {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    (partition.to_owned(), missing, names(dead), names(survivors))
}

use Health::{Down, Unknown, Up};

#[test]
fn a_node_that_is_told_to_be_down_lacks_what_it_is_listed_with() {
    let now = topology(&[("a", Down), ("b", Up), ("c", Up)], &[("1", &["a", "b"]), ("2", &["b", "c"])]);
    let book = after(&Book::default(), &[], &now, 5);
    assert_eq!((book.failures["a"].since_ms, lost(&book, "a")), (5, vec![("1".to_owned(), 2)]));
    assert_eq!(book.failures["a"].domains, ["dc", "rack of a"]);
    assert_eq!(lacking(&book, &now), [some("1", 1, &["a"], &["b"])]);
    // Made again elsewhere, by whomever: nothing is missing, and the node is still known to be down.
    let mended = topology(&[("a", Down), ("b", Up), ("c", Up)], &[("1", &["b", "c"])]);
    let book = after(&book, &[], &mended, 6);
    assert_eq!((lacking(&book, &mended).len(), book.failures.len()), (0, 1));
}

#[test]
fn a_node_that_is_forgotten_lacks_what_it_held_before() {
    let before = Arc::new(topology(&[("a", Up), ("b", Up)], &[("1", &["a", "b"]), ("2", &["a"])]));
    let now = topology(&[("b", Up)], &[("1", &["b"])]);
    let book = after(&Book::default(), &[Arc::clone(&before)], &now, 5);
    assert_eq!(book.failures["a"].domains, ["dc", "rack of a"]);
    let none_left = some("2", 1, &["a"], &[]);
    assert_eq!(lacking(&book, &now), [some("1", 1, &["a"], &["b"]), none_left]);
    // The failure is over once all is made again, also while it is among the topologies before.
    let mended = topology(&[("b", Up), ("c", Up)], &[("1", &["b", "c"]), ("2", &["c"])]);
    assert_eq!(after(&book, &[before], &mended, 6), Book::default());
}

#[test]
fn a_node_that_was_emptied_and_taken_out_has_not_failed() {
    let before = Arc::new(topology(&[("a", Up), ("b", Up), ("c", Up)], &[("1", &["a", "b"])]));
    let emptied = topology(&[("b", Up), ("c", Up)], &[("1", &["b", "c"])]);
    assert_eq!(after(&Book::default(), &[before], &emptied, 5), Book::default());
    let unused = Arc::new(topology(&[("a", Up), ("b", Up)], &[("1", &["b"])]));
    let gone = topology(&[("b", Up)], &[("1", &["b"])]);
    assert_eq!(after(&Book::default(), &[unused], &gone, 5), Book::default());
}

#[test]
fn a_node_is_back_when_it_was_for_the_hold_down_and_nothing_is_missing() {
    let down = topology(&[("a", Down), ("b", Up)], &[("1", &["a", "b"])]);
    let up = topology(&[("a", Up), ("b", Up)], &[("1", &["a", "b"])]);
    let failed = after(&Book::default(), &[], &down, 5);
    let back = after(&failed, &[], &up, 10);
    assert_eq!(back.failures["a"].back_ms, Some(10));
    let flapped = after(&back, &[], &down, 60);
    assert_eq!((flapped.failures["a"].since_ms, flapped.failures["a"].back_ms), (5, None), "it flaps");
    assert_eq!(after(&back, &[], &up, 109), back);
    assert_eq!(after(&back, &[], &up, 110), Book::default());
    // Without its replica it is back and not whole.
    let empty = topology(&[("a", Up), ("b", Up)], &[("1", &["b"])]);
    let still = after(&back, &[], &empty, 1_000);
    assert_eq!(lacking(&still, &empty), [some("1", 1, &["a"], &["b"])]);
    assert_eq!(after(&still, &[], &topology(&[("a", Unknown)], &[]), 2_000).failures["a"].back_ms, None);
}

#[test]
fn what_was_acted_on_is_remembered_for_the_breaker() {
    let before = Arc::new(topology(&[("a", Up), ("b", Up)], &[("1", &["a", "b"])]));
    let now = topology(&[("b", Up), ("c", Up)], &[("1", &["b"])]);
    let mended = topology(&[("b", Up), ("c", Up)], &[("1", &["b", "c"])]);
    let mut book = after(&Book::default(), &[before], &now, 5);
    book.failures.get_mut("a").unwrap().begun = true;
    let over = after(&book, &[], &mended, 9);
    assert_eq!(
        (over.failures.len(), over.past.clone()),
        (0, vec![Past { node: "a".to_owned(), since_ms: 5 }])
    );
    book.failures.get_mut("a").unwrap().acknowledged = true;
    assert!(after(&book, &[], &mended, 9).past.is_empty(), "somebody has seen it");
}

#[test]
fn two_failures_of_one_partition_are_told_apart_by_what_is_listed() {
    let first = topology(&[("a", Down), ("b", Up), ("c", Up), ("d", Up)], &[("1", &["a", "b", "c"])]);
    let book = after(&Book::default(), &[], &first, 5);
    let both = topology(&[("a", Down), ("b", Down), ("c", Up), ("d", Up)], &[("1", &["b", "c", "d"])]);
    let book = after(&book, &[], &both, 9);
    assert_eq!(lacking(&book, &both), [some("1", 1, &["b", "a"], &["c", "d"])]);
}

#[test]
fn what_was_made_again_is_not_missing_when_its_new_node_fails() {
    let first = topology(&[("a", Down), ("b", Up), ("c", Up)], &[("1", &["a", "b"])]);
    let book = after(&Book::default(), &[], &first, 5);
    let mended = topology(&[("a", Down), ("b", Up), ("c", Up)], &[("1", &["b", "c"])]);
    let book = after(&book, &[], &mended, 6);
    assert_eq!((lost(&book, "a").len(), book.failures["a"].mended), (0, 1));
    let second = topology(&[("a", Down), ("b", Up), ("c", Down)], &[("1", &["b", "c"])]);
    let book = after(&book, &[], &second, 7);
    assert_eq!(lacking(&book, &second), [some("1", 1, &["c"], &["b"])]);
}

#[test]
fn a_copy_that_is_under_way_is_no_replica() {
    let now = topology(&[("a", Down), ("b", Up), ("c", Up)], &[("1", &["a", "b", "c"])]);
    let moving = BTreeMap::from([(partition("1"), (node("b"), node("c")))]);
    let system = system();
    let look = Look {
        system: &system,
        topology: &now,
        before: &[],
        moved: true,
        moving: &moving,
        lately: &moving,
        hold_ms: HOLD_MS,
        now_ms: 5,
    };
    assert_eq!(lost(&track(&Book::default(), &look), "a"), [("1".to_owned(), 2)]);
}

#[test]
fn what_was_moved_off_a_node_in_time_is_not_lost_with_it() {
    let copied = topology(&[("a", Up), ("b", Up), ("c", Up)], &[("1", &["a", "b", "c"])]);
    let now = topology(&[("b", Up), ("c", Up)], &[("1", &["b", "c"])]);
    let (system, before) = (system(), [Arc::new(copied)]);
    let (moving, lately) = (BTreeMap::new(), BTreeMap::from([(partition("1"), (node("a"), node("c")))]));
    let look = Look {
        system: &system,
        topology: &now,
        before: &before,
        moved: true,
        moving: &moving,
        lately: &lately,
        hold_ms: HOLD_MS,
        now_ms: 5,
    };
    assert_eq!(lacking(&track(&Book::default(), &look), &now), []);
    let unexplained = Look { lately: &moving, ..look };
    assert_eq!(lacking(&track(&Book::default(), &unexplained), &now).len(), 1);
}

fn health() -> impl Strategy<Value = Health> {
    prop_oneof![Just(Up), Just(Down), Just(Unknown)]
}

proptest! {
    /// Whatever happens in whatever order, a lack is what it says: some replicas are missing, no survivor is down, no dead
    /// node is a survivor, and what is missing is what there was less what is left.
    #[test]
    fn a_lack_is_what_it_says(
        seen in prop::collection::vec((prop::collection::vec(health(), 4), prop::collection::vec(1_u8..16, 3)), 1..8)
    ) {
        const NAMES: [&str; 4] = ["a", "b", "c", "d"];
        let (mut book, mut before): (Book, Vec<Arc<Topology>>) = Default::default();
        for (at, (health, held)) in seen.iter().enumerate() {
            let nodes: Vec<(&str, Health)> = NAMES.iter().copied().zip(health.iter().copied()).collect();
            let holders: Vec<Vec<&str>> = held
                .iter()
                .map(|mask| (0..4).filter(|bit| mask >> bit & 1 == 1).map(|bit| NAMES[bit]).collect())
                .collect();
            let named = ["1", "2", "3"].into_iter().zip(holders.iter().map(Vec::as_slice)).collect::<Vec<_>>();
            let now = topology(&nodes, &named);
            book = after(&book, &before, &now, at as u64 * 60);
            for lack in lacks(&book, &system(), &now) {
                prop_assert!(lack.missing > 0 && !lack.dead.is_empty());
                prop_assert!(lack.survivors.iter().all(|node| told(&now, node) != Told::Down));
                prop_assert!(lack.dead.iter().all(|node| !lack.survivors.contains(node)));
                let of_it = |failure: &Failure| failure.lost.get(lack.partition.name()).copied();
                let most = book.failures.values().filter_map(of_it).max().unwrap();
                prop_assert_eq!(lack.missing + lack.survivors.len(), usize::from(most));
            }
            let down = nodes.iter().filter(|(_, health)| *health == Down);
            prop_assert!(down.clone().all(|(name, _)| book.failures.contains_key(*name)), "no failure is missed");
            prop_assert_eq!(&after(&book, &before, &now, at as u64 * 60), &book, "a second look changes nothing");
            before = vec![Arc::new(now)];
        }
    }
}
