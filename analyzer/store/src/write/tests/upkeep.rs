//! Compaction, what comes late, retention, and whether segments are what the catalog says.

use super::*;
use crate::{ExportPart, ExportQuery, Flaw, LateWindows};

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
        let query = ExportQuery::everything(span);
        let slices = reader.export_slices(&query, ExportPart::Hour(at(0))).unwrap();
        let files: Vec<_> =
            slices.iter().map(|slice| reader.export_file(&query, slice).unwrap().unwrap().rows).collect();
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
        let path = dir.path().join(segment.written.path.as_ref());
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
        let file = File::open(dir.path().join(segment.written.path.as_ref())).unwrap();
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
    let path = dir.path().join(of(&store, Table::Windows)[0].written.path.as_ref());
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
    store.append(derived(0), at(0)).unwrap();
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
    store.append(derived(1_000), at(0)).unwrap();
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
