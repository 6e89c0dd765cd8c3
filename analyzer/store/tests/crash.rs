//! The writer dies at every step of a commit, an append, a merge, a compaction and a removal: what was acknowledged
//! is there once, and what was not is there once or not at all.
//!
//! A panic at a failpoint stands for the crash: nothing after it runs, and the folder is opened anew. In a process of
//! its own, as failpoints are global.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use isotherm_model::{
    AgentId, BUCKETS, BootId, Completeness, Counts, Layer, NodeId, NodeWindow, OffsetHistogram, Operation,
    PartitionId, Row, Seq, Subject, SystemId, Timestamp, Window,
};
use isotherm_store::{
    Derived, EntropyRow, EntropyStatus, Entry, Limit, Merging, Reader, Retention, Run, Span, Store,
    Submission, Table, Upkeep, Verdict,
};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

const HOUR_MS: u64 = 3_600_000;

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn partition() -> PartitionId {
    PartitionId::new(SystemId::new("s").unwrap(), "p").unwrap()
}

/// Ten reads in a window of a second.
fn submission(number: u64, ms: u64) -> Submission {
    let place = (Layer::Logical, Operation::Read);
    let counts = Counts { ops: 10, bytes: 100 };
    let row = Row {
        subject: Subject::Partition(partition()),
        layer: place.0,
        operation: place.1,
        counts,
        offsets: OffsetHistogram::new(12, [0; BUCKETS]).unwrap(),
        latency: None,
    };
    let node = NodeWindow {
        node: NodeId::new(SystemId::new("s").unwrap(), "n").unwrap(),
        processes: 1,
        listening: Vec::new(),
        totals: BTreeMap::from([(place, counts)]),
        rows: vec![row],
        peers: Vec::new(),
        lost: BTreeMap::new(),
    };
    let window =
        Window { start: at(ms), length_ms: 1_000, completeness: Completeness::Complete, nodes: vec![node] };
    Submission {
        run: Run { agent: AgentId::new("a").unwrap(), boot: BootId::new("b").unwrap() },
        entry: Entry::Batch { seq: Seq::new(number).unwrap(), windows: vec![window] },
    }
}

fn derived(ms: u64) -> Derived {
    let row = EntropyRow {
        step_start: at(ms),
        step_ms: 60_000,
        system: "s".into(),
        partition: "p".into(),
        layer: Layer::Logical,
        reads: Some(10),
        writes: None,
        eligible: 1,
        status: EntropyStatus::NotApplicable,
        node_bits: None,
        node_h: None,
        n_eff: None,
        offset_bits: None,
        peer_bits: None,
        nodes: vec!["n".into()],
        served: vec![Some(10)],
    };
    Derived { entropy: vec![row], ..Derived::default() }
}

fn open(dir: &Path, age_ms: Option<u64>) -> Store {
    let tables = [(Table::Windows, Limit { age_ms, bytes: None })].into();
    let retention = Retention { tables, bytes: None };
    Store::open(dir).unwrap().with_upkeep(Upkeep { lateness_ms: 60_000, retention })
}

fn counted(reader: &Reader) -> u64 {
    let found = reader.partition_activity(Span::default(), None).unwrap();
    let nodes = found.get(&partition()).into_iter().flat_map(BTreeMap::values);
    nodes.map(|share| share.accesses[&(Layer::Logical, Operation::Read)].ops).sum()
}

fn commit(store: &mut Store, number: u64, ms: u64) {
    let outcome = store.commit(&[submission(number, ms)], at(ms + 1_000));
    assert_eq!(outcome.verdicts, [Verdict::Committed { through: Seq::new(number).unwrap() }]);
}

fn maintain(store: &mut Store) {
    while store.maintain(at(0), Instant::now()).unwrap() == Merging::MoreToDo {}
}

/// Does `work`, and dies at the failpoint.
fn die(failpoint: &str, store: Store, work: impl FnOnce(&mut Store)) {
    fail::cfg(failpoint, "panic").unwrap();
    let mut store = store;
    let died = catch_unwind(AssertUnwindSafe(|| work(&mut store)));
    fail::remove(failpoint);
    assert!(died.is_err(), "{failpoint} was not reached");
}

/// Files below the folder of segments.
fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.map(|entry| entry.unwrap().path()).map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

fn segments(reader: &Reader) -> usize {
    let found = reader.segment_files().unwrap();
    for file in &found {
        assert_eq!(reader.verify(file).unwrap(), [], "{}", file.path().display());
    }
    found.len()
}

#[test]
fn a_crash_at_any_step_loses_nothing_and_repeats_nothing() {
    let scenario = fail::FailScenario::setup();
    merging();
    compaction();
    appends();
    late_windows();
    retention();
    scenario.teardown();
}

fn compaction() {
    for failpoint in ["store::compact_file", "store::compact_written", "store::compacted"] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path(), None);
        (1..=5).for_each(|number| commit(&mut store, number, number * 1_000));
        commit(&mut store, 6, HOUR_MS + 120_000);
        die(failpoint, store, maintain);
        let mut store = open(dir.path(), None);
        let left = segments(&store.reader());
        assert_eq!(left, if failpoint == "store::compacted" { 2 } else { 6 }, "{failpoint}");
        assert_eq!(
            (counted(&store.reader()), files(&dir.path().join("segments"))),
            (60, left),
            "{failpoint}"
        );
        maintain(&mut store);
        assert_eq!((counted(&store.reader()), segments(&store.reader())), (60, 2), "{failpoint}");
        assert_eq!(store.commit(&[submission(6, HOUR_MS + 120_000)], at(0)).late, 0);
        assert_eq!(counted(&store.reader()), 60, "{failpoint}");
    }
}

fn merging() {
    for (failpoint, left) in [("store::merge_written", 16), ("store::merged", 1)] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path(), None);
        (1..=16).for_each(|number| commit(&mut store, number, number * 1_000));
        die(failpoint, store, maintain);
        let mut store = open(dir.path(), None);
        assert_eq!((counted(&store.reader()), segments(&store.reader())), (160, left), "{failpoint}");
        assert_eq!(files(&dir.path().join("segments")), left, "{failpoint}");
        maintain(&mut store);
        assert_eq!((counted(&store.reader()), segments(&store.reader())), (160, 1), "{failpoint}");
    }
}

fn appends() {
    for (failpoint, there) in [("store::append_written", 1), ("store::appended", 2)] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path(), None);
        store.append(derived(0), at(0)).unwrap();
        die(failpoint, store, |store| store.append(derived(60_000), at(0)).unwrap());
        let mut store = open(dir.path(), None);
        let rows = store.reader().entropy_rows(Span::default()).unwrap();
        assert_eq!((rows.len(), segments(&store.reader())), (there, there), "{failpoint}");
        assert_eq!(rows[0], derived(0).entropy[0]);
        // Who was not told computes the steps again, and with them one that is longer.
        let mut again = derived(0);
        let hour = EntropyRow { step_ms: 3_600_000, ..again.entropy[0].clone() };
        again.entropy.extend([derived(60_000).entropy.remove(0), hour]);
        again.entropy.iter_mut().for_each(|row| row.reads = Some(11));
        (0..2).for_each(|_| store.append(again.clone(), at(0)).unwrap());
        let rows = store.reader().entropy_rows(Span::default()).unwrap();
        let reads: Vec<_> = rows.iter().map(|row| (row.step_start, row.step_ms, row.reads)).collect();
        let second = if there == 2 { 10 } else { 11 };
        let want = [(at(0), 60_000, 10), (at(0), 3_600_000, 11), (at(60_000), 60_000, second)];
        assert_eq!(reads, want.map(|(start, ms, reads)| (start, ms, Some(reads))), "{failpoint}");
    }
}

fn late_windows() {
    for (failpoint, late) in [("store::segment_written", 1), ("store::committed", 0)] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path(), None);
        commit(&mut store, 1, 1_000);
        commit(&mut store, 2, 200_000);
        die(failpoint, store, |store| commit(store, 3, 2_000));
        let mut store = open(dir.path(), None);
        assert_eq!(store.commit(&[submission(3, 2_000)], at(0)).late, late, "{failpoint}: sent again");
        let stats = store.reader().stats().unwrap();
        assert_eq!(stats.late.iter().map(|late| late.windows).collect::<Vec<_>>(), [1], "{failpoint}");
        assert_eq!((counted(&store.reader()), segments(&store.reader())), (20, 3), "{failpoint}");
    }
}

fn retention() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), Some(HOUR_MS));
    commit(&mut store, 1, 1_000);
    commit(&mut store, 2, HOUR_MS);
    commit(&mut store, 3, 2 * HOUR_MS + 120_000);
    die("store::retired", store, maintain);
    let mut store = open(dir.path(), Some(HOUR_MS));
    assert_eq!((counted(&store.reader()), segments(&store.reader())), (20, 2));
    maintain(&mut store);
    let stats = store.reader().stats().unwrap();
    assert_eq!(stats.tables[0].retired.hours, 1, "removed once");
    assert_eq!(store.maintain(at(0), Instant::now() + Duration::from_secs(700)).unwrap(), Merging::Done);
    assert_eq!(counted(&store.reader()), 20);
}
