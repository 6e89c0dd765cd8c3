use super::*;
use crate::PartitionShare;
use crate::catalog::Missing;
use crate::derived::Derived;
use crate::derived::tests::{entropy_row, forecast_row, risk_row};
use crate::earlier::make_tables_of_version_3;
use crate::read::Span;
use crate::sample::{at, batch, commit, gap, node_window, partition, reads, run, seq, window, with_lost};
use isotherm_model::{Layer, Operation};
use std::fs;
use std::path::Path;
use std::time::Duration;

mod upkeep;

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
    cycles.iter().for_each(|cycle| store.append(cycle.clone(), at(0)).unwrap());
    store.append(Derived::default(), at(0)).unwrap();
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
    assert_eq!(reader.cycles(Span::default()).unwrap(), [3_600_000, 3_660_000, 7_200_000].map(at));
    assert_eq!(reader.cycles(second).unwrap(), [at(3_660_000)]);
}

#[test]
fn an_append_that_cannot_be_written_leaves_no_table_with_rows() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    // The table that is written last cannot have a folder, as a file has its name.
    let blocked = dir.path().join("segments/risks");
    fs::create_dir_all(blocked.parent().unwrap()).unwrap();
    fs::write(&blocked, "").unwrap();
    assert!(matches!(store.append(derived(0), at(0)).unwrap_err(), WriteError::Io { .. }));
    assert_eq!(catalogued(&store), 0);
    assert_eq!(store.reader().entropy_rows(Span::default()).unwrap(), []);
    fs::remove_file(&blocked).unwrap();
    store.append(derived(0), at(0)).unwrap();
    assert_eq!(store.reader().risk_rows(Span::default()).unwrap(), derived(0).risks);
}

#[test]
fn derived_rows_are_merged_as_windows_are() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    for cycle in 0..32 {
        store.append(derived(cycle * 60_000), at(0)).unwrap();
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
