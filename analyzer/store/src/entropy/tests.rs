use super::*;
use crate::sample::{
    WINDOW_MS, at, batch, commit, device_reads, node, node_window, partition, reads, receiving, row, run,
    system, window, writes,
};
use crate::{Store, Submission};
use isotherm_model::entropy::{self, Measured};
use isotherm_model::{BUCKETS, Completeness, OffsetHistogram, Row, Subject};

struct Bench {
    store: Store,
    subsets: Subsets,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new(submissions: &[Submission]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        commit(&mut store, submissions);
        Self { store, subsets: Subsets::new(), _dir: dir }
    }

    fn with_subset(mut self, name: &str, nodes: &[&str]) -> Self {
        self.subsets.insert(partition(name), nodes.iter().map(|name| node(name)).collect());
        self
    }

    fn query(&self, span: Span, step: Step) -> EntropyQuery<'_> {
        let filter = PartitionFilter::All;
        EntropyQuery {
            span,
            step,
            layer: Layer::Logical,
            filter,
            top: None,
            subsets: &self.subsets,
            now: at(u64::MAX),
        }
    }

    fn whole(&self) -> Vec<PartitionEntropy> {
        self.ask(&self.query(Span::default(), Step::Whole))
    }

    fn ask(&self, query: &EntropyQuery<'_>) -> Vec<PartitionEntropy> {
        self.store.reader().entropy(query).unwrap()
    }
}

fn span(since: u64, until: u64) -> Span {
    Span { since: Some(at(since)), until: Some(at(until)) }
}

fn every(step_ms: u64) -> Step {
    Step::EachMs(NonZeroU64::new(step_ms).unwrap())
}

/// Windows of both nodes from `seconds`, in each of which `a` reads 30 and `b` reads 10 of `p`.
fn steady(seconds: Range<u64>) -> Vec<Submission> {
    let a_and_b = |second: u64| {
        let (a, b) = (reads("p", 30), reads("p", 10));
        window(second * 1_000, vec![node_window("a", vec![a]), node_window("b", vec![b])])
    };
    let run = run("agent");
    (1..).zip(seconds).map(|(seq, second)| batch(&run, seq, vec![a_and_b(second)])).collect()
}

fn known(found: &PartitionEntropy) -> Measured {
    let NodeEntropy::Known(known) = &found.node_entropy else { panic!("{:?}", found.node_entropy) };
    *known
}

#[test]
fn counts_are_merged_over_the_step_before_entropy_is_taken() {
    let found = Bench::new(&steady(10..20)).whole();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].reads, found[0].source), (Some(400), EligibleSource::Observed));
    assert_eq!((found[0].time.start(), found[0].time.end()), (at(10_000), at(20_000)));
    let NodeEntropy::Known(want) = entropy::over_nodes(&[300, 100]) else { panic!("enough reads") };
    let got = known(&found[0]);
    assert!((got.bits - want.bits).abs() < 1e-9 && (got.effective - want.effective).abs() < 1e-9);
    assert_eq!((got.places, got.accesses), (2, 400));
    assert_eq!(found[0].offset_bits, Some(0.0), "all reads are in one bucket");
}

#[test]
fn steps_are_aligned_and_only_whole_ones_are_reported() {
    let bench = Bench::new(&steady(5..65));
    let found = bench.ask(&bench.query(Span::default(), every(10_000)));
    let starts: Vec<u64> = found.iter().map(|step| step.time.start().as_ms()).collect();
    assert_eq!(starts, [10_000, 20_000, 30_000, 40_000, 50_000]);
    assert!(found.iter().all(|step| step.reads == Some(400) && known(step).accesses == 400));
    let early = EntropyQuery { now: at(29_999), ..bench.query(Span::default(), every(10_000)) };
    assert_eq!(bench.ask(&early).len(), 1, "the step from 20 s has not ended");
}

#[test]
fn a_silent_node_makes_the_value_unknown() {
    let mut submissions = steady(10..20);
    // Node b misses one window of the ten.
    if let crate::Entry::Batch { windows, .. } = &mut submissions[4].entry {
        windows[0].nodes.pop();
    }
    let bench = Bench::new(&submissions).with_subset("p", &["a", "b", "never"]);
    let found = bench.whole();
    assert_eq!(found[0].node_entropy, NodeEntropy::Unknown { silent: vec!["b".into(), "never".into()] });
    assert_eq!(found[0].source, EligibleSource::Topology);
    let after = bench.ask(&bench.query(span(15_000, 20_000), Step::Whole));
    assert_eq!(after[0].node_entropy, NodeEntropy::Unknown { silent: vec!["never".into()] });
}

#[test]
fn a_partial_window_covers_nothing() {
    let mut submissions = steady(10..20);
    if let crate::Entry::Batch { windows, .. } = &mut submissions[9].entry {
        windows[0].completeness = Completeness::Partial;
    }
    let bench = Bench::new(&submissions);
    let silent = vec!["a".to_owned(), "b".to_owned()];
    let all = bench.ask(&bench.query(span(10_000, 20_000), Step::Whole));
    assert_eq!(all[0].node_entropy, NodeEntropy::Unknown { silent });
    let before = bench.ask(&bench.query(span(10_000, 19_000), Step::Whole));
    assert_eq!(known(&before[0]).accesses, 360);
}

#[test]
fn an_agent_that_stopped_leaves_an_answer_until_its_last_complete_window() {
    let mut submissions = steady(10..20);
    if let crate::Entry::Batch { windows, .. } = &mut submissions[9].entry {
        windows[0].completeness = Completeness::Partial;
    }
    let bench = Bench::new(&submissions);
    let open = bench.whole();
    assert_eq!((open[0].time.end(), known(&open[0]).accesses), (at(19_000), 360));
    assert_eq!(bench.store.reader().nodes().unwrap()[0].last_end, at(20_000));
}

#[test]
fn steps_that_windows_reach_over_are_unknown() {
    let mut submissions = steady(10..16);
    // A late cut: the window from 12 s takes the place of two.
    submissions.truncate(2);
    let late = [(12, 2), (14, 1), (15, 1)].map(|(start, length)| {
        let nodes = vec![node_window("a", vec![reads("p", 30)]), node_window("b", vec![reads("p", 10)])];
        isotherm_model::Window { length_ms: length * 1_000, ..window(start * 1_000, nodes) }
    });
    submissions.push(batch(&run("agent"), 3, late.to_vec()));
    let bench = Bench::new(&submissions);
    let unknown = |step| -> Vec<bool> {
        let found = bench.ask(&bench.query(Span::default(), every(step)));
        found.iter().map(|step| matches!(step.node_entropy, NodeEntropy::Unknown { .. })).collect()
    };
    assert_eq!(unknown(1_000), [false, false, true, true, false, false]);
    assert_eq!(unknown(2_000), [false; 3]);
    assert!(unknown(500).into_iter().all(|unknown| unknown));
    assert_eq!(unknown(3_000), [false], "from 12 s to 15 s nothing is cut");
}

#[test]
fn a_node_without_a_process_is_silent_and_not_idle() {
    let windows = |processes| {
        let busy = node_window("busy", vec![reads("p", 100)]);
        let mut gone = node_window("gone", vec![]);
        gone.processes = processes;
        vec![window(1_000, vec![busy.clone(), gone.clone()]), window(2_000, vec![busy, gone])]
    };
    let ask = |processes| {
        let bench = Bench::new(&[batch(&run("agent"), 1, windows(processes))]);
        bench.with_subset("p", &["busy", "gone"]).whole()
    };
    assert_eq!(ask(0)[0].node_entropy, NodeEntropy::Unknown { silent: vec!["gone".into()] });
    assert_eq!(known(&ask(1)[0]).bits, 0.0);
}

#[test]
fn time_before_anybody_looked_is_unknown() {
    let bench = Bench::new(&steady(10..20));
    let found = bench.ask(&bench.query(span(9_999, 20_000), Step::Whole));
    assert!(matches!(found[0].node_entropy, NodeEntropy::Unknown { .. }));
    let inside = bench.ask(&bench.query(span(10_500, 19_500), Step::Whole));
    assert_eq!(known(&inside[0]).accesses, 360, "a window belongs to the step it starts in");
}

#[test]
fn an_eligible_node_without_reads_is_counted_as_a_place() {
    let idle = node_window("idle", vec![]);
    let busy = node_window("busy", vec![reads("p", 100)]);
    let submission = batch(&run("agent"), 1, vec![window(1_000, vec![busy, idle])]);
    let found = Bench::new(&[submission]).with_subset("p", &["busy", "idle"]).whole();
    assert_eq!((known(&found[0]).bits, known(&found[0]).places), (0.0, 2));
    assert_eq!(found[0].shares[1], Share { node: node("idle"), reads: Some(0) });
}

#[test]
fn one_node_and_few_reads_say_so() {
    let nodes = vec![
        node_window("a", vec![reads("alone", 100), reads("few", 9)]),
        node_window("b", vec![writes("few", 3)]),
    ];
    let bench = Bench::new(&[batch(&run("agent"), 1, vec![window(1_000, nodes)])]);
    let found = bench.whole();
    assert_eq!(found[0].node_entropy, NodeEntropy::NotApplicable { eligible: 1 });
    assert_eq!(found[1].node_entropy, NodeEntropy::Insufficient { have: 9, need: 30 });
    assert_eq!((found[1].reads, found[1].writes, found[1].shares.len()), (Some(9), Some(3), 2));
}

#[test]
fn a_partition_of_the_topology_is_answered_for_though_nobody_touched_it() {
    let bench = Bench::new(&steady(10..20)).with_subset("cold", &["a", "b"]);
    let found = bench.whole();
    assert_eq!(found[0].partition, partition("cold"));
    assert_eq!(found[0].node_entropy, NodeEntropy::Insufficient { have: 0, need: 30 });
    assert_eq!(found[0].offset_bits, None);
}

#[test]
fn partitions_are_found_by_name_and_by_reads() {
    let nodes = vec![node_window("a", vec![reads("p", 40), reads("q", 50), reads("r", 60)])];
    let bench = Bench::new(&[batch(&run("agent"), 1, vec![window(1_000, nodes)])]);
    let open = bench.query(Span::default(), Step::Whole);
    let names = |query: &EntropyQuery<'_>| -> Vec<String> {
        bench.ask(query).iter().map(|found| found.partition.name().to_owned()).collect()
    };
    assert_eq!(names(&EntropyQuery { top: NonZeroUsize::new(2), ..open.clone() }), ["q", "r"]);
    for name in ["p", "s/p"] {
        let named = EntropyQuery { filter: PartitionFilter::Named(name.into()), ..open.clone() };
        assert_eq!(names(&named), ["p"]);
    }
    let absent = EntropyQuery { filter: PartitionFilter::Named("x".into()), ..open };
    let error = bench.store.reader().entropy(&absent).unwrap_err();
    assert!(matches!(error, QueryError::NoSuchPartition { .. }));
}

#[test]
fn an_answer_without_a_bound_is_refused() {
    let bench = Bench::new(&steady(10..20));
    let query = bench.query(span(0, 200_000), every(1));
    let error = bench.store.reader().entropy(&query).unwrap_err();
    assert!(matches!(error, QueryError::TooMany { answers: 200_000, .. }), "{error}");
    let mut bench = Bench::new(&steady(10..20));
    for system in ["t", "u"] {
        let system = SystemId::new(system).unwrap();
        let node = NodeId::new(system.clone(), "n").unwrap();
        bench.subsets.insert(PartitionId::new(system, "p").unwrap(), BTreeSet::from([node]));
    }
    let query = bench.query(span(0, 40_000), every(1));
    let error = bench.store.reader().entropy(&query).unwrap_err();
    assert!(matches!(error, QueryError::TooMany { answers: 120_000, .. }), "three systems: {error}");
}

#[test]
fn offsets_of_different_layouts_merge_as_the_model_merges_them() {
    let mut counts = [0; BUCKETS];
    counts[62] = 40;
    counts[63] = 40;
    let fine = OffsetHistogram::new(12, counts).unwrap();
    let coarse = OffsetHistogram::new(14, counts).unwrap();
    let rows = |offsets| vec![row(Subject::Partition(partition("p")), Operation::Read, 80, offsets)];
    let submission = batch(
        &run("agent"),
        1,
        vec![
            window(1_000, vec![node_window("a", rows(fine))]),
            window(2_000, vec![node_window("a", rows(coarse))]),
        ],
    );
    let found = Bench::new(&[submission]).whole();
    assert_eq!(found[0].offset_bits, entropy::over_offsets(&fine.merge(&coarse)));
}

#[test]
fn a_question_before_the_first_window_has_no_answers() {
    let bench = Bench::new(&[]).with_subset("p", &["a"]);
    assert_eq!(bench.whole(), []);
    assert_eq!(system().as_str(), "s");
    assert_eq!(WINDOW_MS, 1_000);
}

fn in_layer(bench: &Bench, layer: Layer) -> PartitionEntropy {
    let query = EntropyQuery { layer, ..bench.query(Span::default(), Step::Whole) };
    let mut found = bench.ask(&query);
    assert_eq!(found.len(), 1);
    found.remove(0)
}

#[test]
fn layers_are_judged_by_their_own_counts_and_windows() {
    let nodes = |b_watches_devices: bool| {
        let mut b = vec![reads("p", 10)];
        b.extend(b_watches_devices.then(|| device_reads("p", 40)));
        vec![
            node_window("a", vec![reads("p", 30), device_reads("p", 40), writes("p", 2)]),
            node_window("b", b),
        ]
    };
    let windows =
        [(1, true), (2, true), (3, false)].map(|(second, watches)| window(second * 1_000, nodes(watches)));
    let bench = Bench::new(&[batch(&run("agent"), 1, windows.to_vec())]);
    assert_eq!(known(&in_layer(&bench, Layer::Logical)).accesses, 120);
    let device = in_layer(&bench, Layer::Device);
    assert_eq!(device.node_entropy, NodeEntropy::Unknown { silent: vec!["b".into()] });
    assert_eq!((device.reads, device.shares[1].reads), (Some(200), Some(80)));
    let query = EntropyQuery { layer: Layer::Device, ..bench.query(span(1_000, 3_000), Step::Whole) };
    let device = bench.ask(&query).remove(0);
    assert_eq!((known(&device).accesses, known(&device).bits), (160, 1.0));
    assert_eq!(device.offset_bits, Some(0.0));
}

#[test]
fn a_layer_that_nobody_watched_has_no_reads_to_tell() {
    let bench = Bench::new(&steady(10..20)).with_subset("p", &["a", "b"]);
    let device = in_layer(&bench, Layer::Device);
    assert_eq!((device.reads, device.writes, device.offset_bits), (None, None, None));
    assert!(device.shares.iter().all(|share| share.reads.is_none()));
    assert_eq!(device.node_entropy, NodeEntropy::Unknown { silent: vec!["a".into(), "b".into()] });
}

#[test]
fn operations_without_offsets_leave_offset_entropy_as_it_is() {
    let of = |rows: Vec<Row>| {
        let bench = Bench::new(&[batch(&run("agent"), 1, vec![window(1_000, vec![node_window("a", rows)])])]);
        bench.whole().remove(0).offset_bits
    };
    let subject = || Subject::Partition(partition("p"));
    let syncs = |ops| row(subject(), Operation::Sync, ops, OffsetHistogram::EMPTY);
    let want = of(vec![reads("p", 40)]);
    assert_eq!(want, Some(0.0));
    assert_eq!(of(vec![reads("p", 40), syncs(1_000)]), want);
    assert_eq!(of(vec![reads("p", 40), syncs(0)]), want);
    assert_eq!(of(vec![row(subject(), Operation::Read, 40, OffsetHistogram::EMPTY), syncs(50)]), None);
}

#[test]
fn peer_entropy_is_that_of_the_remotes_and_a_lower_bound_with_others() {
    let of = |peers: &[(Option<&str>, u64)]| {
        let a = receiving(node_window("a", vec![]), "p", peers);
        let bench = Bench::new(&[batch(&run("agent"), 1, vec![window(1_000, vec![a])])]);
        let found = in_layer(&bench, Layer::Network);
        assert_eq!(found.reads, Some(peers.iter().map(|(_, ops)| ops).sum()));
        assert_eq!(in_layer(&bench, Layer::Network).offset_bits, None);
        found.peer_entropy
    };
    let (x, y) = (Some("10.0.0.2:0"), Some("10.0.0.3:0"));
    let told = of(&[(x, 300), (y, 100)]).unwrap();
    assert_eq!(told.bits, entropy::grassberger(&[300, 100]).unwrap());
    assert_eq!((told.remotes, told.not_told_apart), (2, 0));
    let bound = of(&[(x, 300), (y, 100), (None, 80)]).unwrap();
    assert_eq!(bound.bits, entropy::grassberger(&[380, 100]).unwrap());
    assert_eq!((bound.remotes, bound.not_told_apart), (2, 80));
    // Whoever the others are, the truth is not below.
    for truth in [[380, 100, 0], [300, 180, 0], [340, 140, 0], [300, 100, 80]] {
        assert!(entropy::plug_in(&truth).unwrap() >= entropy::plug_in(&[380, 100]).unwrap(), "{truth:?}");
    }
    assert_eq!(of(&[(None, 500)]).map(|found| (found.bits, found.remotes)), Some((0.0, 0)));
    assert_eq!(of(&[(x, 20), (y, 9)]), None, "too few");
}

#[test]
fn peers_of_a_node_that_was_not_watched_throughout_have_no_entropy() {
    let a = |second: u64| {
        let a =
            receiving(node_window("a", vec![]), "p", &[(Some("10.0.0.2:0"), 50), (Some("10.0.0.3:0"), 50)]);
        window(second * 1_000, vec![a])
    };
    let mut blind = a(2);
    blind.nodes[0].totals.remove(&(Layer::Network, Operation::Read));
    blind.nodes[0].rows.clear();
    blind.nodes[0].peers.clear();
    let bench = Bench::new(&[batch(&run("agent"), 1, vec![a(1), blind])]);
    assert_eq!(in_layer(&bench, Layer::Network).peer_entropy, None);
    let query = EntropyQuery { layer: Layer::Network, ..bench.query(span(1_000, 2_000), Step::Whole) };
    assert_eq!(bench.ask(&query)[0].peer_entropy.unwrap().remotes, 2);
}

#[test]
fn a_host_is_watched_without_processes_and_has_no_entropy() {
    let host = NodeId::of_host(&run("agent").agent);
    let mut pseudo = node_window("-", vec![]);
    (pseudo.node, pseudo.processes) = (host.clone(), 0);
    let mut submissions = steady(10..20);
    for submission in &mut submissions {
        if let crate::Entry::Batch { windows, .. } = &mut submission.entry {
            windows[0].nodes.push(pseudo.clone());
        }
    }
    let bench = Bench::new(&submissions);
    assert_eq!(bench.whole().len(), 1);
    let reports = bench.store.reader().nodes().unwrap();
    let report = reports.iter().find(|report| report.node == host).unwrap();
    assert_eq!((report.first_watched, report.last_watched), (Some(at(10_000)), Some(at(20_000))));
}
