use super::*;
use crate::entropy::Step;
use crate::sample::{
    at, batch, commit, device_reads, node, node_window, partition, reads, receiving, run, system, window,
    writes,
};
use crate::{EntropyQuery, PartitionFilter, Span, Store, Submission};
use isotherm_model::entropy::{grassberger, over_nodes};
use isotherm_model::{BUCKETS, NodeWindow, OffsetHistogram, Operation, Peer, Row, Subject, Window};
use proptest::prelude::*;

mod running;

/// The windows are of 1 s, the steps of 10 s.
const LENGTH_MS: u64 = 10_000;

struct Bench {
    store: Store,
    subsets: Subsets,
    seen: Subsets,
    excluded: Excluded,
    layers: BTreeMap<SystemId, Layer>,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new(windows: Vec<Window>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let submissions: Vec<Submission> =
            (1..).zip(windows).map(|(seq, window)| batch(&run("agent"), seq, vec![window])).collect();
        commit(&mut store, &submissions);
        Self {
            store,
            subsets: Subsets::new(),
            seen: Subsets::new(),
            excluded: Excluded::default(),
            layers: BTreeMap::new(),
            _dir: dir,
        }
    }

    fn with_subset(mut self, name: &str, nodes: &[&str]) -> Self {
        self.subsets.insert(partition(name), nodes.iter().map(|name| node(name)).collect());
        self
    }

    fn network(mut self) -> Self {
        self.layers.insert(system(), Layer::Network);
        self
    }

    fn query(&self, length_ms: u64, number: u64) -> StepQuery<'_> {
        StepQuery {
            length_ms: NonZeroU64::new(length_ms).unwrap(),
            number,
            layers: &self.layers,
            subsets: &self.subsets,
            seen: &self.seen,
            excluded: &self.excluded,
        }
    }

    fn step(&self, length_ms: u64, number: u64) -> StepCounts {
        self.store.reader().steps(&self.query(length_ms, number)).unwrap()
    }

    /// The step from 10 s to 20 s.
    fn first(&self) -> StepCounts {
        self.step(LENGTH_MS, 1)
    }
}

fn of<'a>(counts: &'a StepCounts, name: &str) -> &'a PartitionCounts {
    counts.partition(&partition(name)).unwrap()
}

fn by_name(counts: &StepCounts, name: &str) -> Vec<(String, Option<u64>)> {
    let shares = counts.shares_of(of(counts, name)).iter();
    shares.map(|share| (counts.nodes[share.node as usize].node.name().to_owned(), share.reads)).collect()
}

fn named(shares: &[(&str, Option<u64>)]) -> Vec<(String, Option<u64>)> {
    shares.iter().map(|(name, reads)| ((*name).to_owned(), *reads)).collect()
}

fn ops(counts: Option<Counts>) -> Option<u64> {
    counts.map(|counts| counts.ops)
}

/// Windows of 1 s from 10 s on, one per second, made of the nodes that `nodes` gives for the second.
fn seconds(range: Range<u64>, nodes: impl Fn(u64) -> Vec<NodeWindow>) -> Vec<Window> {
    range.map(|second| window(second * 1_000, nodes(second))).collect()
}

fn a_and_b(_: u64) -> Vec<NodeWindow> {
    vec![
        node_window("a", vec![reads("p", 30), reads("q", 1), writes("p", 2)]),
        node_window("b", vec![reads("p", 10)]),
    ]
}

#[test]
fn counts_are_summed_over_the_step_before_entropy_is_taken() {
    let counts = Bench::new(seconds(10..20, a_and_b)).with_subset("p", &["a", "b"]).first();
    assert_eq!((counts.time.start(), counts.time.end()), (at(10_000), at(20_000)));
    let p = of(&counts, "p");
    assert_eq!(p.reads, Some(Counts { ops: 400, bytes: 40_000 }));
    assert_eq!(p.writes, Some(Counts { ops: 20, bytes: 2_000 }));
    assert_eq!(by_name(&counts, "p"), named(&[("a", Some(300)), ("b", Some(100))]));
    let (ShareEntropy::Known(got), NodeEntropy::Known(want)) = (p.entropy, over_nodes(&[300, 100])) else {
        panic!("enough reads: {p:?}")
    };
    assert!((got.bits - want.bits).abs() < 1e-9 && (got.effective - want.effective).abs() < 1e-9);
    assert!((got.normalised - want.normalised).abs() < 1e-9);
    assert_eq!((got.places, got.accesses), (2, 400));
    assert_eq!(p.offset, Some(OffsetEntropy { bits: 0.0, accesses: 400 }), "all reads are in one bucket");
    let q = of(&counts, "q");
    assert_eq!((q.source, q.entropy), (EligibleSource::Observed, ShareEntropy::NotApplicable));
    assert_eq!((counts.nodes[0].watched, counts.nodes[0].processes), (Watched::Whole, Some(1)));
    assert_eq!((ops(counts.nodes[0].reads), ops(counts.nodes[0].writes)), (Some(310), Some(20)));
}

#[test]
fn a_silent_node_makes_unknown_and_zero_reads_are_known() {
    // b misses one window of the ten; c never reported.
    let windows = seconds(10..20, |second| {
        let mut nodes = a_and_b(second);
        nodes.truncate(if second == 14 { 1 } else { 2 });
        nodes
    });
    let bench = Bench::new(windows)
        .with_subset("p", &["a", "b"])
        .with_subset("cold", &["a", "b"])
        .with_subset("idle", &["a"])
        .with_subset("dark", &["a", "c"]);
    let counts = bench.first();
    assert_eq!(counts.node_entropy(of(&counts, "p")), NodeEntropy::Unknown { silent: vec!["b".into()] });
    assert_eq!(by_name(&counts, "p"), named(&[("a", Some(300)), ("b", None)]));
    assert_eq!((ops(of(&counts, "p").reads), of(&counts, "p").offset), (Some(390), None));
    assert_eq!(counts.node_entropy(of(&counts, "dark")), NodeEntropy::Unknown { silent: vec!["c".into()] });
    assert_eq!(counts.node_entropy(of(&counts, "idle")), NodeEntropy::NotApplicable { eligible: 1 });
    assert_eq!(ops(of(&counts, "idle").reads), Some(0));
    let watched: Vec<Watched> = counts.nodes.iter().map(|node| node.watched).collect();
    assert_eq!(watched, [Watched::Whole, Watched::Part, Watched::No]);
    assert_eq!((counts.nodes[2].reads, counts.nodes[2].processes), (None, None));
    assert_eq!(counts.systems[0].over_nodes, NodeEntropy::Unknown { silent: vec!["b".into(), "c".into()] });
    let all = Bench::new(seconds(10..20, a_and_b)).with_subset("cold", &["a", "b"]).first();
    assert_eq!(all.node_entropy(of(&all, "cold")), NodeEntropy::Insufficient { have: 0, need: 30 });
    assert_eq!(ops(of(&all, "cold").reads), Some(0));
}

#[test]
fn a_step_that_nobody_watched_is_unknown_and_not_zero() {
    let bench = Bench::new(seconds(10..20, a_and_b)).with_subset("p", &["a", "b"]);
    let after = bench.step(LENGTH_MS, 2);
    let p = of(&after, "p");
    assert_eq!((p.reads, p.writes, p.entropy, p.offset), (None, None, ShareEntropy::Unknown, None));
    assert!(after.shares.iter().all(|share| share.reads.is_none()));
    assert!(after.nodes.iter().all(|node| node.reads.is_none() && node.watched == Watched::No));
    let end = bench.step(u64::MAX, u64::MAX);
    assert!(end.partitions.is_empty());
}

#[test]
fn a_node_seen_before_is_missed_when_it_falls_silent() {
    let windows = seconds(10..30, |second| {
        let mut nodes = a_and_b(second);
        nodes.truncate(if second < 20 { 2 } else { 1 });
        nodes
    });
    let mut bench = Bench::new(windows);
    let known = bench.first();
    let ShareEntropy::Known(_) = of(&known, "p").entropy else { panic!("both were watched") };
    let forgotten = bench.step(LENGTH_MS, 2);
    assert_eq!(of(&forgotten, "p").entropy, ShareEntropy::NotApplicable);
    bench.seen.insert(partition("p"), [node("a"), node("b")].into());
    let missed = bench.step(LENGTH_MS, 2);
    assert_eq!(missed.node_entropy(of(&missed, "p")), NodeEntropy::Unknown { silent: vec!["b".into()] });
    assert_eq!(of(&missed, "p").source, EligibleSource::Observed);
}

#[test]
fn values_stay_comparable_when_nodes_come_and_go() {
    let nodes = |names: &'static [&'static str]| {
        move |_| -> Vec<NodeWindow> {
            names.iter().map(|name| node_window(name, vec![reads("p", 20)])).collect()
        }
    };
    // c starts in the middle of the second step and serves as much as the others from then on.
    let mut windows = seconds(10..25, nodes(&["a", "b"]));
    windows.extend(seconds(25..40, nodes(&["a", "b", "c"])));
    let mut bench = Bench::new(windows).with_subset("p", &["a", "b"]);
    let normalised = |counts: &StepCounts| {
        let ShareEntropy::Known(known) = of(counts, "p").entropy else { panic!("{counts:?}") };
        (known.places, known.normalised)
    };
    let even = |places, (found, normalised): (usize, f64)| {
        assert_eq!(found, places);
        assert!((normalised - 1.0).abs() < 1e-9, "{normalised}");
    };
    even(2, normalised(&bench.first()));
    let second = bench.step(LENGTH_MS, 2);
    even(2, normalised(&second));
    assert_eq!(ops(of(&second, "p").reads), Some(500), "its reads are reads, by nobody who is eligible");
    // Whoever says that it was eligible all the time gets no value.
    bench = bench.with_subset("p", &["a", "b", "c"]);
    assert_eq!(of(&bench.step(LENGTH_MS, 2), "p").entropy, ShareEntropy::Unknown);
    even(3, normalised(&bench.step(LENGTH_MS, 3)));
    // A node that drains, or is down, or is the target of a move.
    bench.excluded.nodes.insert(node("c"));
    even(2, normalised(&bench.step(LENGTH_MS, 3)));
    bench.excluded.nodes.clear();
    bench.excluded.of.insert(partition("p"), [node("a")].into());
    bench.excluded.moving.insert(partition("p"));
    let moving = bench.step(LENGTH_MS, 3);
    even(2, normalised(&moving));
    assert!(of(&moving, "p").moving);
    assert_eq!(by_name(&moving, "p"), named(&[("b", Some(200)), ("c", Some(200))]));
    bench.excluded.nodes.extend([node("b"), node("c")]);
    let nobody = bench.step(LENGTH_MS, 3);
    assert_eq!(nobody.node_entropy(of(&nobody, "p")), NodeEntropy::NotApplicable { eligible: 0 });
}

fn peer(remote: Option<&str>, node: Option<NodeId>, operation: Operation, ops: u64) -> Peer {
    Peer {
        subject: Subject::Partition(partition("p")),
        operation,
        local: "10.0.0.1:80".parse().unwrap(),
        remote: remote.map(|remote| remote.parse().unwrap()),
        node,
        counts: Counts { ops, bytes: ops * 100 },
    }
}

#[test]
fn what_nodes_of_the_system_exchange_is_kept_out_of_clients_reads() {
    let mut a = receiving(
        node_window("a", vec![]),
        "p",
        &[(Some("10.9.0.1:0"), 300), (Some("10.9.0.2:0"), 100), (None, 80), (Some("10.0.0.2:7000"), 40)],
    );
    // 1000 more from node b, whom the agent knows; other/x is a node of another system.
    let elsewhere = NodeId::new(SystemId::new("other").unwrap(), "x").unwrap();
    a.peers.push(peer(Some("10.0.0.9:0"), Some(node("b")), Operation::Read, 1_000));
    a.peers.push(peer(Some("10.9.0.3:0"), Some(elsewhere), Operation::Read, 50));
    let network_read = (Layer::Network, Operation::Read);
    let sum = Counts { ops: 1_570, bytes: 157_000 };
    a.totals.insert(network_read, sum);
    a.rows.iter_mut().filter(|row| row.layer == Layer::Network).for_each(|row| row.counts = sum);
    a.check_conserved().unwrap();
    let b = receiving(node_window("b", vec![]), "p", &[(Some("10.9.0.1:0"), 200)]);
    let mut called = node_window("10.0.0.2:7000", vec![]);
    called.totals.insert(network_read, Counts::default());
    let windows = vec![window(10_000, vec![a, b, called])];
    let bench = Bench::new(windows).with_subset("p", &["a", "b"]).network();
    let counts = bench.step(1_000, 10);
    let p = of(&counts, "p");
    assert_eq!(by_name(&counts, "p"), named(&[("a", Some(530)), ("b", Some(200))]));
    assert_eq!(p.reads, Some(Counts { ops: 730, bytes: 73_000 }));
    assert_eq!(p.kept_out, KeptOut { reads: 1_040, writes: 0 });
    assert_eq!(p.not_told_apart, 80);
    let told = p.peer.unwrap();
    assert_eq!((told.remotes, told.not_told_apart), (3, 80));
    // 10.9.0.1 sent to both nodes; the others may be its as well.
    let want = grassberger(&[580, 100, 50]).unwrap();
    assert!((told.bits - want).abs() < 1e-12, "{told:?}");
    let by_a = counts.nodes.iter().find(|counts| counts.node == node("a")).unwrap();
    assert_eq!((ops(by_a.reads), by_a.kept_out.reads), (Some(1_570), 1_040));
    let NodeEntropy::Known(load) = &counts.systems[0].over_nodes else { panic!("{:?}", counts.systems) };
    assert_eq!(load.accesses, 730);
}

#[test]
fn layers_are_counted_by_themselves_and_latency_is_of_reads() {
    let windows = seconds(10..20, |_| {
        vec![
            node_window("a", vec![reads("p", 30), device_reads("p", 4)]),
            node_window("b", vec![reads("p", 1)]),
        ]
    });
    let mut bench = Bench::new(windows).with_subset("p", &["a", "b"]);
    let logical = bench.first();
    assert_eq!(ops(of(&logical, "p").reads), Some(310));
    assert_eq!(logical.nodes[0].latency, None);
    assert_eq!(logical.nodes[0].device_latency.unwrap().counts()[20], 40);
    assert_eq!(logical.nodes[1].device_latency, None, "nobody measured");
    bench.layers.insert(system(), Layer::Device);
    let device = bench.first();
    assert_eq!((ops(of(&device, "p").reads), device.nodes[0].layer), (Some(40), Layer::Device));
    assert_eq!(device.nodes[0].latency, logical.nodes[0].device_latency);
    assert_eq!(device.node_entropy(of(&device, "p")), NodeEntropy::Unknown { silent: vec!["b".into()] });
}

#[test]
fn load_is_spread_over_nodes_and_partitions() {
    let windows = seconds(10..20, |_| {
        let even: Vec<Row> = ["p", "q", "r", "s"].iter().map(|name| reads(name, 50)).collect();
        vec![node_window("a", even.clone()), node_window("b", even)]
    });
    let counts = Bench::new(windows).first();
    let [
        SystemLoad {
            over_nodes: NodeEntropy::Known(nodes),
            over_partitions: NodeEntropy::Known(partitions),
            ..
        },
    ] = counts.systems.as_slice()
    else {
        panic!("{:?}", counts.systems)
    };
    assert_eq!((nodes.places, nodes.accesses), (2, 4_000));
    assert!((nodes.effective - 2.0).abs() < 1e-9);
    assert_eq!(partitions.places, 4);
    assert!((partitions.effective - 4.0).abs() < 0.01, "{partitions:?}");
}

#[test]
fn systems_stand_side_by_side() {
    let other = |name: &str, ops: u64| -> NodeWindow {
        let system = SystemId::new("t").unwrap();
        let mut window = node_window("a", vec![reads(name, ops)]);
        window.node = NodeId::new(system.clone(), "a").unwrap();
        window.rows[0].subject = Subject::Partition(PartitionId::new(system, name).unwrap());
        window
    };
    let windows = seconds(10..20, |second| {
        let mut nodes = a_and_b(second);
        nodes.push(other("p", 7));
        nodes
    });
    let bench = Bench::new(windows).with_subset("p", &["a", "b"]);
    let counts = bench.first();
    assert_eq!(counts.systems.len(), 2);
    let second = PartitionId::new(SystemId::new("t").unwrap(), "p").unwrap();
    let of_second = counts.partition(&second).unwrap();
    let share = counts.shares_of(of_second)[0];
    assert_eq!((share.reads, counts.nodes[share.node as usize].node.to_string()), (Some(70), "t/a".into()));
    assert_eq!(by_name(&counts, "p"), named(&[("a", Some(300)), ("b", Some(100))]));
    let sorted = |ids: Vec<String>| ids.is_sorted();
    assert!(sorted(counts.partitions.iter().map(|counts| counts.partition.to_string()).collect()));
    assert!(sorted(counts.nodes.iter().map(|counts| counts.node.to_string()).collect()));
}

/// Reads of one partition at a node in a window: how many in which bucket of which layout.
fn reads_at(name: &str, shift: u8, counts: &[(usize, u64)]) -> Row {
    let mut buckets = [0; BUCKETS];
    counts.iter().for_each(|(bucket, ops)| buckets[*bucket] += ops);
    let sum: u64 = buckets.iter().sum();
    Row { offsets: OffsetHistogram::new(shift, buckets).unwrap(), ..reads(name, sum) }
}

const NODES: [&str; 3] = ["a", "b", "c"];
const PARTITIONS: [&str; 4] = ["p", "q", "r", "s"];

/// For each second from 10 s on and each node: whether it was watched, and its reads per partition.
type Seconds = Vec<[(bool, [Option<(u8, usize, u64)>; 4]); 3]>;

fn some_seconds() -> impl Strategy<Value = Seconds> {
    let cell =
        prop::option::weighted(0.7, (12..15u8, 0..BUCKETS, prop_oneof![Just(0u64), 1..20u64, 1..5_000u64]));
    let node = (prop::bool::weighted(0.97), prop::array::uniform4(cell));
    prop::collection::vec(prop::array::uniform3(node), 20)
}

fn windows_of(seconds: &Seconds) -> Vec<Window> {
    (10..)
        .zip(seconds)
        .map(|(second, nodes)| {
            let watched = NODES.iter().zip(nodes).filter(|(_, (watched, _))| *watched);
            let nodes = watched.map(|(name, (_, cells))| {
                let rows = PARTITIONS.iter().zip(cells).filter_map(|(partition, cell)| {
                    let (shift, bucket, ops) = (*cell)?;
                    Some(reads_at(partition, shift, &[(bucket, ops), (63, ops / 3)]))
                });
                node_window(name, rows.collect())
            });
            window(second * 1_000, nodes.collect())
        })
        .collect()
}

/// Some by the topology, some observed.
fn random(seconds: &Seconds) -> Bench {
    Bench::new(windows_of(seconds)).with_subset("p", &["a", "b", "c"]).with_subset("q", &["a", "b"])
}

fn close(left: &NodeEntropy, right: &NodeEntropy) -> bool {
    match (left, right) {
        (NodeEntropy::Known(left), NodeEntropy::Known(right)) => {
            (left.bits - right.bits).abs() < 1e-9
                && (left.normalised - right.normalised).abs() < 1e-9
                && (left.effective - right.effective).abs() < 1e-9
                && (left.places, left.accesses) == (right.places, right.accesses)
        }
        (left, right) => left == right,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    #[test]
    fn a_step_says_what_a_question_of_entropy_says(seconds in some_seconds()) {
        let bench = random(&seconds);
        let counts = bench.first();
        let query = EntropyQuery {
            span: Span { since: Some(at(10_000)), until: Some(at(20_000)) },
            step: Step::EachMs(NonZeroU64::new(LENGTH_MS).unwrap()),
            layer: Layer::Logical,
            filter: PartitionFilter::All,
            top: None,
            subsets: &bench.subsets,
            now: at(u64::MAX),
        };
        let answers = bench.store.reader().entropy(&query).unwrap();
        prop_assert_eq!(answers.len(), counts.partitions.len());
        for (answer, found) in answers.iter().zip(&counts.partitions) {
            prop_assert_eq!(&answer.partition, &found.partition);
            prop_assert_eq!((answer.reads, answer.source), (ops(found.reads), found.source));
            prop_assert_eq!(answer.writes, ops(found.writes));
            prop_assert!(close(&answer.node_entropy, &counts.node_entropy(found)), "{answer:?} {found:?}");
            let shares = counts.shares_of(found);
            prop_assert_eq!(shares.len(), answer.shares.len());
            for (share, want) in shares.iter().zip(&answer.shares) {
                prop_assert_eq!(&counts.nodes[share.node as usize].node, &want.node);
                prop_assert!(share.reads.is_none() || share.reads == want.reads);
            }
            if found.has_silent(&counts.shares) {
                prop_assert_eq!(found.offset, None);
            } else {
                prop_assert_eq!(found.offset.map(|offset| offset.bits), answer.offset_bits);
                let reads: Vec<u64> = shares.iter().filter_map(|share| share.reads).collect();
                prop_assert!(close(&over_nodes(&reads), &counts.node_entropy(found)));
            }
        }
    }

    #[test]
    fn a_longer_step_is_the_sum_of_its_shorter_ones(seconds in some_seconds()) {
        let bench = random(&seconds);
        // 20 s from 20 s on are two steps of 10 s; the second has no windows of its own.
        let long = bench.step(20_000, 0);
        let short = [bench.step(LENGTH_MS, 0), bench.step(LENGTH_MS, 1)];
        for found in &long.partitions {
            let of_short = |counts: &StepCounts| counts.partition(&found.partition).and_then(|short| ops(short.reads));
            let sum: u64 = short.iter().filter_map(of_short).sum();
            prop_assert_eq!(ops(found.reads).unwrap_or(0), sum);
        }
        let whole = bench.step(5_000, 2);
        let halves: Vec<StepCounts> = (10..15).map(|number| bench.step(1_000, number)).collect();
        for found in whole.partitions.iter().filter(|found| found.source == EligibleSource::Topology) {
            let mut sums = vec![Some(0u64); whole.shares_of(found).len()];
            for half in &halves {
                for (sum, share) in sums.iter_mut().zip(half.shares_of(of(half, found.partition.name()))) {
                    *sum = sum.zip(share.reads).map(|(sum, reads)| sum + reads);
                }
            }
            let got: Vec<Option<u64>> = whole.shares_of(found).iter().map(|share| share.reads).collect();
            prop_assert_eq!(&got, &sums);
            if let Some(reads) = sums.into_iter().collect::<Option<Vec<u64>>>() {
                prop_assert!(close(&whole.node_entropy(found), &over_nodes(&reads)));
            }
        }
    }

    #[test]
    fn the_order_of_rows_and_nodes_changes_nothing(seconds in some_seconds()) {
        let mut windows = windows_of(&seconds);
        let straight = Bench::new(windows.clone()).with_subset("p", &["a", "b", "c"]).first();
        for window in &mut windows {
            window.nodes.reverse();
            window.nodes.iter_mut().for_each(|node| node.rows.reverse());
        }
        let reversed = Bench::new(windows).with_subset("p", &["a", "b", "c"]).first();
        prop_assert_eq!(&straight.shares, &reversed.shares);
        prop_assert_eq!(&straight.nodes, &reversed.nodes);
        prop_assert_eq!(&straight.systems, &reversed.systems);
        prop_assert_eq!(straight.partitions.len(), reversed.partitions.len());
        for (left, right) in straight.partitions.iter().zip(&reversed.partitions) {
            prop_assert!(close(&straight.node_entropy(left), &reversed.node_entropy(right)));
            prop_assert_eq!((left.reads, left.offset, &left.partition), (right.reads, right.offset, &right.partition));
        }
    }

    #[test]
    fn a_node_that_falls_silent_never_lowers_a_value(seconds in some_seconds(), silent in 0..3usize) {
        let mut missing = seconds.clone();
        missing[0][silent].0 = false;
        let (before, after) = (random(&seconds).first(), random(&missing).first());
        for found in before.partitions.iter().filter(|found| found.source == EligibleSource::Topology) {
            let is_eligible = by_name(&before, found.partition.name()).iter().any(|(name, _)| name == NODES[silent]);
            let later = after.node_entropy(of(&after, found.partition.name()));
            if is_eligible {
                prop_assert!(matches!(later, NodeEntropy::Unknown { .. }), "{later:?}");
            } else {
                prop_assert!(close(&before.node_entropy(found), &later));
            }
        }
    }
}
