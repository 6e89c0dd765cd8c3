use super::*;
use crate::catalog::Missing;
use crate::derived::Derived;
use crate::derived::tests::{entropy_row, forecast_row, risk_row};
use crate::earlier::make_tables_of_version_3;
use crate::read::Span;
use crate::sample::{at, batch, commit, gap, node_window, partition, reads, run, seq, window, with_lost};
use crate::{Flaw, LateWindows, PartitionShare};
use isotherm_model::{Layer, Operation};
use std::fs;
use std::time::Duration;

const HOUR: &str = "segments/date=1970-01-01/hour=00";

fn one(run: &Run, number: u64) -> Submission {
    batch(run, number, vec![window(number * 1_000, vec![node_window("n", vec![reads("p", 10)])])])
}

/// Reads of the partition, which tells whether a batch was counted once.
fn counted(store: &Store) -> u64 {
    let found = store.reader().partition_activity(Span::default(), Some(Layer::Logical)).unwrap();
    let reads = |share: &PartitionShare| share.accesses[&(Layer::Logical, Operation::Read)].ops;
    found.get(&partition("p")).map_or(0, |nodes| nodes.values().map(reads).sum())
}

fn catalogued(store: &Store) -> usize {
    catalog::segments(&store.catalog).unwrap().len()
}

/// Merges all there is to merge.
fn merge(store: &mut Store, elapsed: Instant) {
    while store.merge(at(0), elapsed).unwrap() == Merging::MoreToDo {}
}

fn files(dir: &Path) -> usize {
    fs::read_dir(dir.join(HOUR)).map_or(0, Iterator::count)
}

#[test]
fn what_is_committed_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let a = run("a");
    let mut store = Store::open(dir.path()).unwrap();
    commit(&mut store, &[one(&a, 1), one(&a, 2)]);
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(counted(&store), 20);
    assert_eq!(store.reader().committed(&a).unwrap(), Some(seq(2)));
    assert_eq!(store.reader().committed(&run("b")).unwrap(), None);
}

#[test]
fn a_batch_that_comes_again_is_acknowledged_and_not_counted_again() {
    let dir = tempfile::tempdir().unwrap();
    let a = run("a");
    let mut store = Store::open(dir.path()).unwrap();
    commit(&mut store, &[one(&a, 1), one(&a, 1), one(&a, 2)]);
    commit(&mut store, &[one(&a, 2), one(&a, 1)]);
    assert_eq!((counted(&store), files(dir.path())), (20, 1));
}

#[test]
fn a_batch_whose_predecessor_is_missing_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let a = run("a");
    let mut store = Store::open(dir.path()).unwrap();
    let verdicts = store.commit(&[one(&a, 2), one(&a, 1), one(&a, 3)], at(0)).verdicts;
    assert_eq!(
        verdicts,
        [
            Verdict::OutOfOrder { expected: seq(1) },
            Verdict::Committed { through: seq(1) },
            Verdict::OutOfOrder { expected: seq(2) },
        ]
    );
    assert_eq!(counted(&store), 10);
}

#[test]
fn sequences_of_different_runs_do_not_meet() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (run("a"), Run { boot: BootId::new("next").unwrap(), ..run("a") });
    let mut store = Store::open(dir.path()).unwrap();
    commit(&mut store, &[one(&a, 1), one(&a, 2), one(&b, 1)]);
    assert_eq!(counted(&store), 30);
}

#[test]
fn a_gap_takes_the_place_of_its_batches() {
    let dir = tempfile::tempdir().unwrap();
    let a = run("a");
    let mut store = Store::open(dir.path()).unwrap();
    commit(&mut store, &[one(&a, 1), gap(&a, 2, 4), one(&a, 5)]);
    commit(&mut store, &[gap(&a, 2, 4), one(&a, 3)]);
    assert_eq!(counted(&store), 20);
    let too_far = store.commit(&[gap(&a, 7, 9)], at(0)).verdicts;
    assert_eq!(too_far, [Verdict::OutOfOrder { expected: seq(6) }]);
    // The part that is committed already is no gap.
    commit(&mut store, &[gap(&a, 4, 8), one(&a, 9)]);
    let gaps: Vec<(i64, i64)> = store
        .catalog
        .prepare("SELECT first_seq, last_seq FROM gaps ORDER BY first_seq")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(gaps, [(2, 4), (6, 8)]);
    let missing = |span| store.reader().missing(span).unwrap().get("a").copied();
    assert_eq!(missing(Span::default()), Some(Missing { batches: 6, ms: 2_000 }));
    let half = Span { since: Some(at(500)), until: None };
    assert_eq!(missing(half), Some(Missing { batches: 6, ms: 1_000 }));
    assert_eq!(missing(Span { since: Some(at(1_000)), until: None }), None);
}

#[test]
fn what_no_catalog_names_is_removed_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    commit(&mut store, &[one(&run("a"), 1)]);
    drop(store);
    for name in ["orphan.parquet", "half.tmp", "README"] {
        fs::write(dir.path().join(HOUR).join(name), "x").unwrap();
    }
    let store = Store::open(dir.path()).unwrap();
    assert_eq!((counted(&store), files(dir.path())), (10, 2), "the segment, and the file that is not ours");
}

#[test]
fn segments_that_are_missing_or_cut_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    commit(&mut store, &[one(&run("a"), 1)]);
    drop(store);
    let segment = fs::read_dir(dir.path().join(HOUR)).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&segment).unwrap();
    fs::write(&segment, &whole[..100]).unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::SegmentSize { found: 100, .. }), "{error}");
    fs::remove_file(&segment).unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::SegmentMissing { .. }), "{error}");
    fs::write(&segment, &whole).unwrap();
    assert_eq!(counted(&Store::open(dir.path()).unwrap()), 10);
}

#[test]
fn segments_outlive_a_lost_catalog() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    commit(&mut store, &[one(&run("a"), 1)]);
    drop(store);
    fs::remove_file(dir.path().join(catalog::FILE)).unwrap();
    for _ in 0..2 {
        let error = Store::open(dir.path()).unwrap_err();
        assert!(matches!(error, OpenError::CatalogMissing { .. }), "{error}");
    }
    assert_eq!(files(dir.path()), 1);
}

#[test]
fn a_catalog_of_a_newer_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path()).unwrap());
    let catalog = Connection::open(dir.path().join(catalog::FILE)).unwrap();
    catalog.pragma_update(None, "user_version", 99).unwrap();
    drop(catalog);
    let error = Store::open(dir.path()).unwrap_err().to_string();
    assert!(error.ends_with(
        "catalog.db has schema version 99, this isotherm knows versions up to 4; use a newer isotherm"
    ));
}

#[test]
fn a_database_of_something_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let other = Connection::open(dir.path().join(catalog::FILE)).unwrap();
    other.execute_batch("CREATE TABLE songs (name TEXT)").unwrap();
    drop(other);
    assert!(matches!(Store::open(dir.path()).unwrap_err(), OpenError::Foreign { .. }));
}

#[test]
fn a_folder_has_one_writer() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open(dir.path()).unwrap();
    let error = Store::open(dir.path()).unwrap_err().to_string();
    let holder = format!("is in use by another isotherm serve (process {})", std::process::id());
    assert!(error.ends_with(&holder), "{error}");
    drop(first);
    Store::open(dir.path()).unwrap();
}

#[test]
fn a_folder_is_taken_though_the_lock_cannot_say_by_whom() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/full", dir.path().join("lock")).unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    commit(&mut store, &[one(&run("a"), 1)]);
}

#[test]
fn a_group_that_cannot_be_written_leaves_nothing_and_can_be_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let a = run("a");
    let mut store = Store::open(dir.path()).unwrap();
    commit(&mut store, &[one(&a, 1)]);
    // The second hour of the group cannot have a folder, as a file has its name.
    let blocked = dir.path().join("segments/date=1970-01-01/hour=01");
    fs::write(&blocked, "").unwrap();
    let later = batch(&a, 3, vec![window(3_600_000, vec![node_window("n", vec![reads("p", 10)])])]);
    let group = [one(&a, 1), one(&a, 2), later];
    let outcome = store.commit(&group, at(0));
    assert_eq!(
        outcome.verdicts,
        [Verdict::Committed { through: seq(1) }, Verdict::Retry, Verdict::Retry],
        "only what is on the disk is acknowledged"
    );
    assert!(outcome.failure.is_some());
    assert_eq!((counted(&store), files(dir.path())), (10, 1));
    fs::remove_file(&blocked).unwrap();
    commit(&mut store, &group);
    assert_eq!(counted(&store), 30);
}

#[test]
fn a_node_that_did_nothing_was_watched() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let idle = with_lost(node_window("idle", vec![]), 7);
    commit(&mut store, &[batch(&run("a"), 1, vec![window(5_000, vec![idle])])]);
    let found = store.reader().node_activity(Span::default()).unwrap();
    let idle = &found[&crate::sample::node("idle")];
    let watched = [Operation::Read, Operation::Write].map(|operation| (Layer::Logical, operation));
    assert_eq!(idle.total, watched.map(|place| (place, Default::default())).into());
    assert_eq!((&idle.other, idle.lost), (&idle.total, 7));
    assert_eq!(store.reader().nodes().unwrap()[0].last_end, at(6_000));
}

#[test]
fn windows_in_the_future_are_kept_and_are_not_a_nodes_newest() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let a = run("a");
    let at_ms =
        |number, ms| batch(&a, number, vec![window(ms, vec![node_window("n", vec![reads("p", 10)])])]);
    let now = at(1_000_000);
    let ahead = store.commit(&[at_ms(1, 900_000), at_ms(2, 1_059_000)], now).ahead;
    assert_eq!(ahead, [], "clocks differ a little");
    let ahead = store.commit(&[at_ms(3, 9_000_000), at_ms(4, 1_059_001)], now).ahead;
    assert_eq!(ahead, [ClockAhead { run: a.clone(), ahead_ms: 8_001_000 }]);
    assert_eq!(counted(&store), 40);
    let newest = store.reader().nodes().unwrap();
    assert_eq!((newest[0].last_end, newest[0].last_watched), (at(1_060_000), Some(at(1_060_000))));
}

#[test]
fn a_catalog_of_version_1_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let a = run("a");
    let mut store = Store::open(dir.path()).unwrap();
    commit(&mut store, &[one(&a, 1)]);
    drop(store);
    let old = Connection::open(dir.path().join(catalog::FILE)).unwrap();
    make_tables_of_version_3(&old);
    old.execute_batch(
        "ALTER TABLE nodes DROP COLUMN listening;
         ALTER TABLE segments ADD COLUMN last_start_ms INTEGER NOT NULL DEFAULT 0;
         ALTER TABLE segments ADD COLUMN sha256 TEXT NOT NULL DEFAULT '';
         ALTER TABLE nodes RENAME COLUMN first_watched_ms TO first_complete_ms;
         ALTER TABLE nodes DROP COLUMN last_watched_ms;
         PRAGMA user_version = 1;",
    )
    .unwrap();
    drop(old);
    for number in 2..4 {
        let mut store = Store::open(dir.path()).unwrap();
        assert_eq!(store.reader().nodes().unwrap()[0].last_watched, Some(at(number * 1_000)));
        commit(&mut store, &[one(&a, number)]);
        assert_eq!(counted(&store), number * 10);
    }
}

#[test]
fn catalogs_of_earlier_versions_become_what_a_new_one_is() {
    let tables = |dir: &Path| -> Vec<(String, String, String, i64)> {
        let catalog = Connection::open(dir.join(catalog::FILE)).unwrap();
        let columns =
            "SELECT t.name, c.name, c.type, c.\"notnull\" FROM sqlite_schema t, pragma_table_info(t.name) c
                       ORDER BY t.name, c.name";
        let mut statement = catalog.prepare(columns).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)));
        rows.unwrap().map(Result::unwrap).collect()
    };
    let new = tempfile::tempdir().unwrap();
    drop(Store::open(new.path()).unwrap());
    let back = [
        "",
        "ALTER TABLE nodes DROP COLUMN listening; PRAGMA user_version = 2;",
        "ALTER TABLE segments ADD COLUMN last_start_ms INTEGER NOT NULL DEFAULT 0;
         ALTER TABLE segments ADD COLUMN sha256 TEXT NOT NULL DEFAULT '';
         ALTER TABLE nodes RENAME COLUMN first_watched_ms TO first_complete_ms;
         ALTER TABLE nodes DROP COLUMN last_watched_ms;
         PRAGMA user_version = 1;",
    ];
    for steps in 1..=back.len() {
        let old = tempfile::tempdir().unwrap();
        drop(Store::open(old.path()).unwrap());
        let catalog = Connection::open(old.path().join(catalog::FILE)).unwrap();
        make_tables_of_version_3(&catalog);
        back[..steps].iter().for_each(|back| catalog.execute_batch(back).unwrap());
        drop(catalog);
        assert_ne!(tables(old.path()), tables(new.path()), "it was made an old one");
        let error = Reader::open(old.path()).unwrap_err();
        assert!(matches!(error, OpenError::Older { .. }), "who only reads leaves it alone: {error}");
        drop(Store::open(old.path()).unwrap());
        assert_eq!(tables(old.path()), tables(new.path()), "from version {}", 4 - steps);
        Reader::open(old.path()).unwrap();
    }
}

#[test]
fn segments_of_version_3_are_windows_whose_checksum_nobody_knows() {
    let dir = tempfile::tempdir().unwrap();
    let a = run("a");
    let mut store = Store::open(dir.path()).unwrap();
    (1..=17).for_each(|number| commit(&mut store, &[one(&a, number)]));
    drop(store);
    make_tables_of_version_3(&Connection::open(dir.path().join(catalog::FILE)).unwrap());
    let mut store = Store::open(dir.path()).unwrap();
    let known = |store: &Store| -> Vec<bool> {
        let segments = catalog::segments(&store.catalog).unwrap();
        assert!(segments.iter().all(|segment| segment.table == Table::Windows));
        segments.iter().map(|segment| segment.written.checksum.is_some()).collect()
    };
    assert_eq!((known(&store), counted(&store)), (vec![false; 17], 170));
    merge(&mut store, Instant::now());
    let (mut known, counted) = (known(&store), counted(&store));
    known.sort_unstable();
    assert_eq!((known, counted), (vec![false, true], 170), "what is rewritten has one");
}

fn derived(at_ms: u64) -> Derived {
    Derived {
        entropy: vec![entropy_row(at_ms, "p"), entropy_row(at_ms, "q")],
        forecasts: vec![forecast_row(at_ms, 1)],
        risks: vec![risk_row(at_ms, "p")],
    }
}

#[test]
fn what_a_cycle_computed_is_there_after_a_restart_with_all_its_tables() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    commit(&mut store, &[one(&run("a"), 1)]);
    let cycles = [3_600_000, 3_660_000, 7_200_000].map(derived);
    cycles.iter().for_each(|cycle| store.append(cycle, at(0)).unwrap());
    store.append(&Derived::default(), at(0)).unwrap();
    assert_eq!(catalogued(&store), 1 + 3 * 3);
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    let reader = store.reader();
    let all = |rows: fn(&Derived) -> usize| cycles.iter().map(rows).sum::<usize>();
    assert_eq!(reader.entropy_rows(Span::default()).unwrap().len(), all(|cycle| cycle.entropy.len()));
    let second = Span { since: Some(at(3_660_000)), until: Some(at(3_660_001)) };
    let found = Derived {
        entropy: reader.entropy_rows(second).unwrap(),
        forecasts: reader.forecast_rows(second).unwrap(),
        risks: reader.risk_rows(second).unwrap(),
    };
    assert_eq!(found, cycles[1]);
    assert_eq!(counted(&store), 10, "tables do not mix");
    let none = Span { since: Some(at(9_000_000)), until: None };
    assert_eq!(reader.risk_rows(none).unwrap(), []);
}

#[test]
fn an_append_that_cannot_be_written_leaves_no_table_with_rows() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    // The table that is written last cannot have a folder, as a file has its name.
    let blocked = dir.path().join("segments/risks");
    fs::create_dir_all(blocked.parent().unwrap()).unwrap();
    fs::write(&blocked, "").unwrap();
    assert!(matches!(store.append(&derived(0), at(0)).unwrap_err(), WriteError::Io { .. }));
    assert_eq!(catalogued(&store), 0);
    assert_eq!(store.reader().entropy_rows(Span::default()).unwrap(), []);
    fs::remove_file(&blocked).unwrap();
    store.append(&derived(0), at(0)).unwrap();
    assert_eq!(store.reader().risk_rows(Span::default()).unwrap(), derived(0).risks);
}

#[test]
fn derived_rows_are_merged_as_windows_are() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    for cycle in 0..32 {
        store.append(&derived(cycle * 60_000), at(0)).unwrap();
    }
    let rows = |store: &Store| store.reader().risk_rows(Span::default()).unwrap();
    let before = rows(&store);
    merge(&mut store, Instant::now());
    assert_eq!((catalogued(&store), before.len()), (3 * 2, 32));
    assert_eq!(rows(&store), before);
}

#[test]
fn two_agents_of_one_node_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let contested = store.commit(&[one(&run("a"), 1), one(&run("b"), 1)], at(0)).contested;
    assert_eq!(contested, [NodeContest { node: "s/n".into(), agents: ["a".into(), "b".into()] }]);
    let found = store.reader().node_activity(Span::default()).unwrap();
    assert_eq!(found[&crate::sample::node("n")].agents.len(), 2);
}

#[test]
fn merging_leaves_few_segments_and_every_answer_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let a = run("a");
    let mut store = Store::open(dir.path()).unwrap();
    let start = Instant::now();
    for number in 1..=40 {
        commit(&mut store, &[one(&a, number)]);
        merge(&mut store, start);
    }
    assert_eq!(catalogued(&store), 2 + 8, "two of 16 and the rest");
    assert_eq!(files(dir.path()), 2 + 40, "replaced files stay for questions under way");
    assert_eq!(counted(&store), 400);
    let reader = store.reader();
    let before = reader.node_activity(Span::default()).unwrap();
    merge(&mut store, start + Duration::from_millis(599_999));
    assert_eq!(files(dir.path()), 2 + 40);
    merge(&mut store, start + Duration::from_millis(600_000));
    assert_eq!(files(dir.path()), 2 + 8);
    assert_eq!(reader.node_activity(Span::default()).unwrap(), before);
    drop(store);
    let mut store = Store::open(dir.path()).unwrap();
    assert_eq!(counted(&store), 400);
    commit(&mut store, &[one(&a, 40), one(&a, 41)]);
    assert_eq!(counted(&store), 410);
}

#[test]
fn replaced_files_are_removed_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let a = run("a");
    let mut store = Store::open(dir.path()).unwrap();
    (1..=16).for_each(|number| commit(&mut store, &[one(&a, number)]));
    merge(&mut store, Instant::now());
    assert_eq!(files(dir.path()), 17);
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!((files(dir.path()), counted(&store)), (1, 160));
}

#[test]
fn a_merge_that_cannot_be_written_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let a = run("a");
    let mut store = Store::open(dir.path()).unwrap();
    (1..=16).for_each(|number| commit(&mut store, &[one(&a, number)]));
    let segment = fs::read_dir(dir.path().join(HOUR)).unwrap().next().unwrap().unwrap().path();
    let away = dir.path().join("away");
    fs::rename(&segment, &away).unwrap();
    assert!(store.merge(at(0), Instant::now()).is_err());
    fs::rename(&away, &segment).unwrap();
    assert_eq!((files(dir.path()), counted(&store)), (16, 160));
    merge(&mut store, Instant::now());
    assert_eq!((catalogued(&store), counted(&store)), (1, 160), "tried again without another commit");
}

#[test]
fn an_error_in_one_hour_leaves_no_other_hour_unmerged() {
    let dir = tempfile::tempdir().unwrap();
    let a = run("a");
    let mut store = Store::open(dir.path()).unwrap();
    for number in 1..=32 {
        let start = ((number + 1) % 2) * 3_600_000 + number * 1_000;
        let window = window(start, vec![node_window("n", vec![reads("p", 10)])]);
        commit(&mut store, &[batch(&a, number, vec![window])]);
    }
    let (hour, away) = (dir.path().join(HOUR), dir.path().join("away"));
    fs::rename(&hour, &away).unwrap();
    assert!(store.merge(at(0), Instant::now()).is_err());
    assert_eq!(store.merge(at(0), Instant::now()).unwrap(), Merging::MoreToDo);
    assert_eq!(catalogued(&store), 16 + 1, "the other hour is merged meanwhile");
    fs::rename(&away, &hour).unwrap();
    merge(&mut store, Instant::now());
    assert_eq!((catalogued(&store), counted(&store)), (2, 320));
}

#[test]
fn segments_that_were_not_merged_are_merged_after_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let a = run("a");
    let mut store = Store::open(dir.path()).unwrap();
    (1..=40).for_each(|number| commit(&mut store, &[one(&a, number)]));
    drop(store);
    let mut store = Store::open(dir.path()).unwrap();
    merge(&mut store, Instant::now());
    assert_eq!((catalogued(&store), counted(&store)), (2 + 8, 400));
}

const HOUR_MS: u64 = 3_600_000;

/// A store that allows a minute of lateness, keeps everything, and writes tiny segments.
fn small_store(dir: &Path, retention: Retention) -> Store {
    let mut store = Store::open(dir).unwrap().with_upkeep(Upkeep { lateness_ms: 60_000, retention });
    store.compaction.sizes = compact::Sizes { slice_rows: 7, file_rows: 60, file_bytes: 1 << 20 };
    store
}

fn at_ms(run: &Run, number: u64, ms: u64) -> Submission {
    let rows = vec![reads("p", 10), reads("q", 1)];
    batch(run, number, vec![window(ms, vec![node_window("n", rows)])])
}

/// Commits a window, which arrives when it ends.
fn arrive(store: &mut Store, run: &Run, number: u64, ms: u64) -> Outcome {
    let outcome = store.commit(&[at_ms(run, number, ms)], at(ms + 1_000));
    assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
    outcome
}

/// All that keeps a store in order, until there is nothing left.
fn maintain(store: &mut Store) {
    while store.maintain(at(0), Instant::now()).unwrap() == Merging::MoreToDo {}
}

fn of(store: &Store, table: Table) -> Vec<Segment> {
    let segments = catalog::segments(&store.catalog).unwrap();
    segments.into_iter().filter(|segment| segment.table == table).collect()
}

#[test]
fn a_closed_hour_becomes_few_sorted_segments_and_every_answer_stays() {
    let dir = tempfile::tempdir().unwrap();
    let a = run("a");
    let mut store = small_store(dir.path(), Retention::forever());
    // Every third window comes before those of the two seconds before it; two windows have the same start.
    for number in 1..=21 {
        let second = if number % 3 == 0 { number - 2 } else { number + 1 };
        arrive(&mut store, &a, number, second * 1_000);
    }
    arrive(&mut store, &a, 22, HOUR_MS - 1_000);
    let (span, reader) = (Span { since: None, until: Some(at(HOUR_MS)) }, store.reader());
    let answers = |reader: &Reader| {
        let slices = reader.export_slices(span, at(0)).unwrap();
        let files: Vec<_> =
            slices.iter().map(|slice| reader.export_file(slice).unwrap().unwrap().rows).collect();
        (reader.node_activity(span).unwrap(), reader.partition_activity(span, None).unwrap(), files)
    };
    let before = answers(&reader);
    maintain(&mut store);
    assert!(
        of(&store, Table::Windows).iter().all(|segment| segment.level < compact::COMPACTED),
        "it is open"
    );
    arrive(&mut store, &a, 23, HOUR_MS + 59_000);
    maintain(&mut store);
    let compacted = of(&store, Table::Windows);
    let rows: Vec<u64> = compacted.iter().map(|segment| segment.written.rows).collect();
    assert_eq!(rows.iter().sum::<u64>(), 23 * 4, "two totals and two partitions a window");
    let levels: Vec<u32> = compacted.iter().map(|segment| segment.level).collect();
    assert_eq!(levels.iter().filter(|level| **level == compact::COMPACTED).count(), 2, "{levels:?} {rows:?}");
    assert_eq!(answers(&reader), before);
    let mut ends = Vec::new();
    for segment in compacted.iter().filter(|segment| segment.level == compact::COMPACTED) {
        let path = dir.path().join(&segment.written.path);
        let frame = crate::read::scan(Table::Windows, &[path]).unwrap().collect().unwrap();
        let starts = frame.column(crate::schema::WINDOW_START).unwrap();
        let starts = starts.cast(&polars::prelude::DataType::Int64).unwrap();
        let starts: Vec<i64> = starts.i64().unwrap().iter().map(Option::unwrap).collect();
        assert!(starts.is_sorted());
        ends.push((starts[0], starts[starts.len() - 1]));
    }
    ends.sort_unstable();
    assert!(ends[0].1 < ends[1].0, "{ends:?}");
    assert_eq!(store.compact(at(0), Instant::now()).unwrap(), Merging::Done, "once is enough");
    for file in reader.segment_files().unwrap() {
        assert_eq!(reader.verify(&file).unwrap(), []);
    }
}

#[test]
fn compacted_files_are_marked_as_others_are() {
    let dir = tempfile::tempdir().unwrap();
    let a = run("a");
    let mut store = small_store(dir.path(), Retention::forever());
    arrive(&mut store, &a, 1, 1_000);
    let mark = |segment: &Segment| {
        let file = fs::File::open(dir.path().join(&segment.written.path)).unwrap();
        let mut file = <polars::prelude::ParquetReader<_> as polars::prelude::SerReader<_>>::new(file);
        let pairs = file.get_metadata().unwrap().key_value_metadata().clone().unwrap();
        pairs.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect::<Vec<_>>()
    };
    let before = mark(&of(&store, Table::Windows)[0]);
    assert_eq!(before.len(), 1);
    arrive(&mut store, &a, 2, HOUR_MS + 60_000);
    maintain(&mut store);
    let compacted =
        of(&store, Table::Windows).into_iter().find(|segment| segment.level == compact::COMPACTED);
    assert_eq!(mark(&compacted.unwrap()), before);
}

#[test]
fn a_damaged_segment_is_not_rewritten_as_a_good_one() {
    let dir = tempfile::tempdir().unwrap();
    let a = run("a");
    let mut store = small_store(dir.path(), Retention::forever());
    arrive(&mut store, &a, 1, 1_000);
    arrive(&mut store, &a, 2, HOUR_MS + 1_000);
    arrive(&mut store, &a, 3, 2 * HOUR_MS + 60_000);
    let path = dir.path().join(&of(&store, Table::Windows)[0].written.path);
    let mut data = fs::read(&path).unwrap();
    data[40] ^= 1;
    fs::write(&path, &data).unwrap();
    let error = store.compact(at(0), Instant::now()).unwrap_err();
    assert!(matches!(&error, WriteError::Damaged { source: Flaw::Checksum { .. }, .. }), "{error:?}");
    maintain(&mut store);
    let levels: Vec<u32> = of(&store, Table::Windows).iter().map(|segment| segment.level).collect();
    assert_eq!(levels, [0, compact::COMPACTED, 0], "the other hour is not held up");
    let reader = store.reader();
    let flaws: Vec<Vec<Flaw>> =
        reader.segment_files().unwrap().iter().map(|file| reader.verify(file).unwrap()).collect();
    assert!(matches!(flaws[0][..], [Flaw::Checksum { .. }]), "{flaws:?}");
    assert_eq!(flaws[1..], [vec![], vec![]]);
}

#[test]
fn what_the_catalog_says_of_a_segment_is_held_against_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    commit(&mut store, &[one(&run("a"), 1)]);
    store.append(&derived(0), at(0)).unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    let found = |change: &str| -> Vec<Flaw> {
        store.catalog.execute_batch("SAVEPOINT test").unwrap();
        store.catalog.execute_batch(change).unwrap();
        store.catalog.execute_batch("RELEASE test").unwrap();
        let files = reader.segment_files().unwrap();
        assert_eq!(files.len(), 4);
        files.iter().flat_map(|file| reader.verify(file).unwrap()).collect()
    };
    assert_eq!(found(""), []);
    assert_eq!(
        found("UPDATE segments SET rows = 9 WHERE table_name = 'windows'"),
        [Flaw::Rows { expected: 9, found: 3 }]
    );
    let too_late = "UPDATE segments SET rows = 3, first_start_ms = 1001 WHERE table_name = 'windows'";
    assert_eq!(found(too_late), [Flaw::Time { rows: 3 }]);
    let other = found(
        "UPDATE segments SET first_start_ms = 0; UPDATE segments SET table_name = 'entropy' WHERE table_name = 'risks'",
    );
    assert!(other.iter().any(|flaw| matches!(flaw, Flaw::Unreadable(_) | Flaw::Column { .. })), "{other:?}");
    assert!(reader.verify_catalog().unwrap().is_empty());
    let files = reader.segment_files().unwrap();
    fs::remove_file(dir.path().join(files[0].path())).unwrap();
    assert_eq!(reader.verify(&files[0]).unwrap(), [Flaw::Missing]);
    store.catalog.execute("DELETE FROM segments", []).unwrap();
    assert_eq!(reader.verify(&files[0]).unwrap(), [], "it was replaced in the meantime");
}

#[test]
fn totals_that_are_not_the_sum_of_their_parts_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let mut wrong = node_window("n", vec![reads("p", 10)]);
    wrong.rows.push(reads("q", 1));
    commit(
        &mut store,
        &[batch(&run("a"), 1, vec![window(0, vec![wrong]), window(1_000, vec![node_window("n", vec![])])])],
    );
    let reader = store.reader();
    let files = reader.segment_files().unwrap();
    assert_eq!(reader.verify(&files[0]).unwrap(), [Flaw::NotConserved { totals: 1 }]);
}

#[test]
fn late_windows_are_kept_apart_counted_and_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (run("a"), run("b"));
    let mut store = small_store(dir.path(), Retention::forever());
    assert_eq!(arrive(&mut store, &a, 1, 100_000).late, 0);
    arrive(&mut store, &a, 2, 200_000);
    let watermark = 201_000 - 60_000;
    let late = |store: &mut Store, number, ms| store.commit(&[at_ms(&b, number, ms)], at(201_000));
    assert_eq!(late(&mut store, 1, watermark).late, 0, "just in time");
    let outcome = late(&mut store, 2, watermark - 1);
    assert_eq!((outcome.late, &outcome.verdicts[..]), (1, &[Verdict::Committed { through: seq(2) }][..]));
    assert_eq!(late(&mut store, 2, watermark - 1).late, 0, "sent again, it is not counted again");
    assert_eq!(counted(&store), 30, "it changes no answer");
    drop(store);
    let mut store = small_store(dir.path(), Retention::forever());
    assert_eq!(
        store.commit(&[at_ms(&b, 3, watermark - 1)], at(0)).late,
        1,
        "the watermark outlives a restart"
    );
    let stats = store.reader().stats().unwrap();
    assert_eq!(stats.watermark, Some(at(watermark)));
    assert_eq!(stats.late, [LateWindows { agent: "b".into(), windows: 2, arrived: at(0) }]);
    let kept = stats.tables.iter().find(|stats| stats.table == Table::Late).unwrap();
    assert_eq!((kept.segments, kept.rows, kept.hours), (2, 8, 1));
    let catalog = store.reader().catalog().unwrap();
    let rows =
        store.reader().segments(&catalog, Table::Late, at(0), at(u64::MAX)).unwrap().collect().unwrap();
    assert_eq!(rows.height(), 8);
}

#[test]
fn a_clock_that_is_ahead_makes_nobody_late() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (run("a"), run("ahead"));
    let mut store = small_store(dir.path(), Retention::forever());
    arrive(&mut store, &a, 1, 100_000);
    let outcome = store.commit(&[at_ms(&b, 1, 9 * HOUR_MS)], at(201_000));
    assert_eq!(outcome.ahead.len(), 1);
    assert_eq!(store.reader().stats().unwrap().watermark, Some(at(141_000)));
    assert_eq!(arrive(&mut store, &a, 2, 200_000).late, 0);
}

#[test]
fn nobody_is_late_because_nobody_listened() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (run("a"), run("b"));
    arrive(&mut small_store(dir.path(), Retention::forever()), &a, 1, 100_000);
    let mut store = small_store(dir.path(), Retention::forever());
    let now = at(9 * HOUR_MS);
    let commit =
        |store: &mut Store, run: &Run, number, ms, now| store.commit(&[at_ms(run, number, ms)], now).late;
    assert_eq!(commit(&mut store, &a, 2, 9 * HOUR_MS - 1_000, now), 0);
    assert_eq!(commit(&mut store, &b, 1, 200_000, now.plus_ms(59_000)), 0, "the spool of another agent");
    assert_eq!(commit(&mut store, &a, 3, 9 * HOUR_MS, now.plus_ms(60_000)), 0);
    assert_eq!(commit(&mut store, &b, 2, 201_000, now.plus_ms(60_000)), 1, "it had its time");
}

#[test]
fn an_hour_that_is_too_old_goes_with_its_files_and_is_remembered_as_a_number() {
    let dir = tempfile::tempdir().unwrap();
    let a = run("a");
    let limit = Limit { age_ms: Some(HOUR_MS), bytes: None };
    let tables = [(Table::Windows, limit), (Table::Risks, limit)].into();
    let mut store = small_store(dir.path(), Retention { tables, bytes: None });
    store.append(&derived(1_000), at(0)).unwrap();
    for (number, ms) in [(1, 1_000), (2, 2_000), (3, HOUR_MS), (4, 2 * HOUR_MS + 59_000)] {
        arrive(&mut store, &a, number, ms);
    }
    maintain(&mut store);
    let hours = |store: &Store, table| -> Vec<u64> {
        let found = catalog::hours(&store.catalog, table, at(0), at(u64::MAX)).unwrap();
        found.iter().map(|hour| hour.as_ms() / HOUR_MS).collect()
    };
    assert_eq!(hours(&store, Table::Windows), [1, 2]);
    assert_eq!(hours(&store, Table::Risks), [] as [u64; 0]);
    assert_eq!(hours(&store, Table::Entropy), [0], "another table keeps its own");
    let stats = store.reader().stats().unwrap();
    assert_eq!((stats.tables[0].retired.hours, stats.tables[0].retired.rows), (1, 8));
    assert_eq!(
        store.reader().nodes().unwrap()[0].first_watched,
        Some(at(HOUR_MS)),
        "before it nobody can say"
    );
    assert_eq!(counted(&store), 20);
    store.bury(Instant::now() + Duration::from_secs(601));
    assert_eq!(files(dir.path()), 0);
    drop(store);
    let mut store = small_store(dir.path(), Retention::forever());
    assert_eq!(counted(&store), 20);
    assert_eq!(store.commit(&[at_ms(&a, 1, 1_000)], at(0)).late, 0, "it is known, and not committed again");
    assert_eq!(counted(&store), 20);
}
