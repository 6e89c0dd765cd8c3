//! Data folders of the version before, whose segments have no latency and no peers.

use crate::read::scan;
use crate::sample::{
    at, batch, commit, device_reads, node, node_window, partition, reads, receiving, run, window,
};
use crate::{
    ExportPart, ExportQuery, Merging, PartitionFilter, Run, Span, Store, Submission, Table, catalog, encode,
    schema,
};
use isotherm_model::{Layer, Operation};
use polars::prelude::{DataFrame, IntoLazy, ParquetReader, SerReader};
use rusqlite::{Connection, params};
use std::fs::{self, File};
use std::path::Path;
use std::time::Instant;

const ADDED: [&str; 5] =
    [schema::LOCAL, schema::REMOTE, schema::PEER_SYSTEM, schema::PEER_NODE, schema::LATENCY_OPS];

/// Makes the tables of a catalog those of version 3.
pub(crate) fn make_tables_of_version_3(catalog: &Connection) {
    catalog
        .execute_batch(
            "DROP INDEX segments_by_time;
             DROP INDEX segments_by_start;
             ALTER TABLE segments DROP COLUMN table_name;
             ALTER TABLE segments DROP COLUMN checksum;
             CREATE INDEX segments_by_time ON segments (last_end_ms, first_start_ms);
             CREATE INDEX segments_by_start ON segments (first_start_ms, level);
             DROP TABLE watermark;
             DROP TABLE late;
             DROP TABLE retired;
             PRAGMA user_version = 3;",
        )
        .unwrap();
}

/// Makes a folder what version 2 of the catalog would have left: the same rows in files of fewer columns.
fn make_version_2(dir: &Path) {
    let catalog = Connection::open(dir.join(catalog::FILE)).unwrap();
    for segment in catalog::segments(&catalog).unwrap() {
        let path = segment.written.path;
        let whole = dir.join(path.as_ref());
        let frame = scan(Table::Windows, std::slice::from_ref(&whole)).unwrap().collect().unwrap();
        let frame = frame.drop_many(schema::latencies()).drop_many(ADDED);
        assert_eq!(frame.width(), 17 + 64, "the columns of version 2");
        let data = encode::parquet(frame).unwrap();
        fs::write(&whole, &data).unwrap();
        let bytes = i64::try_from(data.len()).unwrap();
        let named = path.as_ref();
        catalog.execute("UPDATE segments SET bytes = ?1 WHERE path = ?2", params![bytes, named]).unwrap();
    }
    catalog.execute_batch("ALTER TABLE nodes DROP COLUMN listening;").unwrap();
    make_tables_of_version_3(&catalog);
    catalog.execute_batch("PRAGMA user_version = 2;").unwrap();
}

fn old(run: &Run, number: u64) -> Submission {
    batch(run, number, vec![window(number * 1_000, vec![node_window("n", vec![reads("p", 40)])])])
}

fn new(run: &Run, number: u64) -> Submission {
    let node = node_window("n", vec![reads("p", 40), device_reads("p", 3)]);
    let mut node = receiving(node, "p", &[(Some("10.0.0.2:0"), 5), (None, 2)]);
    node.listening = vec!["10.0.0.1:80".parse().unwrap(), "[::]:90".parse().unwrap()];
    batch(run, number, vec![window(number * 1_000, vec![node])])
}

fn segment(dir: &Path) -> DataFrame {
    let catalog = Connection::open(dir.join(catalog::FILE)).unwrap();
    let found = catalog::segments(&catalog).unwrap();
    assert_eq!(found.len(), 1);
    ParquetReader::new(File::open(dir.join(found[0].written.path.as_ref())).unwrap()).finish().unwrap()
}

#[test]
fn segments_of_version_2_are_read_and_merged_with_later_ones() {
    let dir = tempfile::tempdir().unwrap();
    let run = run("agent");
    let mut store = Store::open(dir.path()).unwrap();
    (1..=8).for_each(|number| commit(&mut store, &[old(&run, number)]));
    drop(store);
    make_version_2(dir.path());

    let mut store = Store::open(dir.path()).unwrap();
    let reader = store.reader();
    let all = Span::default();
    let before = &reader.partition_activity(all, None).unwrap()[&partition("p")][&node("n")];
    assert_eq!(before.accesses[&(Layer::Logical, Operation::Read)].ops, 320);
    assert!(before.latency.is_empty(), "what nobody measured is not known");
    assert!(reader.peer_activity(all, &PartitionFilter::All).unwrap().is_empty(), "nobody watched");
    assert!(reader.nodes().unwrap()[0].listening.is_empty());

    (9..=16).for_each(|number| commit(&mut store, &[new(&run, number)]));
    let answers = || {
        let partitions = reader.partition_activity(all, None).unwrap();
        (
            reader.node_activity(all).unwrap(),
            partitions,
            reader.peer_activity(all, &PartitionFilter::All).unwrap(),
        )
    };
    let mixed = answers();
    let share = &mixed.1[&partition("p")][&node("n")];
    assert_eq!(share.latency[&(Layer::Device, Operation::Read)].total(), 24);
    assert_eq!(mixed.2[&node("n")].len(), 2);
    let export = |reader: &crate::Reader| {
        let query = ExportQuery::everything(all);
        let slices = reader.export_slices(&query, ExportPart::Hour(at(0))).unwrap();
        reader.export_file(&query, &slices[0]).unwrap().unwrap()
    };
    let exported = export(&reader);

    assert_eq!(store.merge(at(0), Instant::now()).unwrap(), Merging::MoreToDo);
    assert_eq!(answers(), mixed);
    let merged = segment(dir.path());
    assert_eq!(merged.schema().as_ref(), &schema::windows());
    for name in schema::latencies() {
        assert_eq!(merged.column(&name).unwrap().null_count(), 0, "{name}");
    }
    let (before, after) = (exported.rows, export(&reader));
    assert_eq!(after.rows, before);
    let read = |data: Vec<u8>| ParquetReader::new(std::io::Cursor::new(data)).finish().unwrap();
    assert!(read(after.data).equals_missing(&read(exported.data)), "an export does not depend on merging");

    drop(store);
    let store = Store::open(dir.path()).unwrap();
    let listening = &store.reader().nodes().unwrap()[0].listening;
    assert_eq!(listening.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.1:80", "[::]:90"]);
    assert_eq!(merged.lazy().collect().unwrap().height(), 8 * 3 + 8 * (4 + 3 + 2));
}
