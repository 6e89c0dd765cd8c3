use crate::derived::tests::{entropy_row, forecast_row, risk_row};
use crate::sample::{at, batch, commit, node_window, other_reads, reads, receiving, run, window, writes};
use crate::{Derived, OpenError, Prepared, Reader, Span, SqlError, Store, VIEWS, View, catalog};
use serde_json::{Value as Json, json};
use std::fs;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::PathBuf;

const HOUR_MS: u64 = 3_600_000;

/// A window in each of three hours, in a segment each, and peers in the last.
fn three_hours() -> (tempfile::TempDir, Reader) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let run = run("agent");
    for hour in 0..3 {
        let rows = vec![reads("p", 10 + hour), writes("q", 1), other_reads(2)];
        let mut node = node_window("n", rows);
        if hour == 2 {
            node.listening = vec!["10.0.0.1:80".parse().unwrap()];
            node = receiving(node, "p", &[(Some("10.0.0.2:0"), 5), (None, 2)]);
        }
        commit(&mut store, &[batch(&run, hour + 1, vec![window(hour * HOUR_MS, vec![node])])]);
    }
    let reader = store.reader();
    (dir, reader)
}

fn rows_of(prepared: Prepared, size: usize) -> Result<Vec<Json>, SqlError> {
    let mut found = Vec::new();
    prepared.run(NonZeroUsize::new(size).unwrap(), |rows| {
        assert!(rows.len() <= size && !rows.is_empty());
        found.extend((0..rows.len()).map(|row| serde_json::to_value(rows.object(row)).unwrap()));
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

fn ask(reader: &Reader, sql: &str) -> Result<Vec<Json>, SqlError> {
    rows_of(reader.prepare(sql, Span::default())?, 4)
}

fn refusal(reader: &Reader, sql: &str) -> String {
    ask(reader, sql).unwrap_err().to_string()
}

#[test]
fn sums_are_those_that_were_committed() {
    let (_dir, reader) = three_hours();
    let sums = "SELECT class, sum(ops) AS ops, count(*) AS n FROM windows
                WHERE layer = 'logical' AND operation = 'read' GROUP BY class ORDER BY class";
    assert_eq!(
        ask(&reader, sums).unwrap(),
        [
            json!({"class": "other", "ops": 6, "n": 3}),
            json!({"class": "partition", "ops": 33, "n": 3}),
            json!({"class": "total", "ops": 39, "n": 3}),
        ]
    );
    let peers = "SELECT remote, ops, bytes, window_start FROM peers ORDER BY ops";
    assert_eq!(
        ask(&reader, peers).unwrap(),
        [
            json!({"remote": null, "ops": 2, "bytes": 200, "window_start": "1970-01-01T02:00:00Z"}),
            json!({"remote": "10.0.0.2:0", "ops": 5, "bytes": 500, "window_start": "1970-01-01T02:00:00Z"}),
        ]
    );
    assert_eq!(
        ask(&reader, "SELECT count(*) AS n FROM windows WHERE class = 'peer'").unwrap()[0],
        json!({"n": 0})
    );
    assert_eq!(
        ask(&reader, "SELECT * FROM nodes").unwrap(),
        [json!({"system": "s", "node": "n", "agent": "agent", "first_watched": "1970-01-01T00:00:00Z",
            "last_watched": "1970-01-01T02:00:01Z", "last_end": "1970-01-01T02:00:01Z", "window_ms": 1000,
            "processes": 1, "listening": ["10.0.0.1:80"]})]
    );
    assert_eq!(
        ask(&reader, "SELECT * FROM partitions ORDER BY partition").unwrap(),
        [
            json!({"system": "s", "partition": "p", "nodes": 1, "first_window": "1970-01-01T00:00:00Z",
                "last_window": "1970-01-01T02:00:00Z", "reads": 33, "read_bytes": 3300, "writes": null,
                "written_bytes": null}),
            json!({"system": "s", "partition": "q", "nodes": 1, "first_window": "1970-01-01T00:00:00Z",
                "last_window": "1970-01-01T02:00:00Z", "reads": null, "read_bytes": null, "writes": 3,
                "written_bytes": 300}),
        ]
    );
}

#[test]
fn answers_come_in_batches_in_order_until_there_are_enough() {
    let (_dir, reader) = three_hours();
    let sql = "SELECT ops FROM windows ORDER BY window_start, ops, class";
    let all = ask(&reader, sql).unwrap();
    assert_eq!(all.len(), 17, "two totals and three rows an hour, and a total and a row of the network");
    for size in [1, 3, 17, 1_000] {
        let prepared = reader.prepare(sql, Span::default()).unwrap();
        assert_eq!(
            prepared.columns().iter().map(|head| (head.name.as_str(), head.numeric)).collect::<Vec<_>>(),
            [("ops", true)]
        );
        assert_eq!(rows_of(prepared, size).unwrap(), all, "{size}");
    }
    let mut taken = 0;
    let prepared = reader.prepare(sql, Span::default()).unwrap();
    prepared
        .run(NonZeroUsize::new(2).unwrap(), |rows| {
            taken += rows.len();
            if taken >= 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    assert_eq!(taken, 4);
}

/// Segments of the hours, by hour.
fn segments(dir: &std::path::Path) -> Vec<PathBuf> {
    let catalog = rusqlite::Connection::open(dir.join(catalog::FILE)).unwrap();
    let mut paths: Vec<PathBuf> = catalog::segments(&catalog)
        .unwrap()
        .into_iter()
        .map(|segment| dir.join(segment.written.path.as_ref()))
        .collect();
    paths.sort();
    paths
}

#[test]
fn only_segments_that_overlap_the_time_asked_for_are_opened() {
    let (dir, reader) = three_hours();
    let paths = segments(dir.path());
    assert_eq!(paths.len(), 3);
    for unread in [&paths[0], &paths[2]] {
        fs::write(unread, "no Parquet at all").unwrap();
    }
    let hour = |from: &str, until: &str| {
        format!(
            "SELECT sum(w.ops) AS ops FROM windows AS w
             WHERE w.class = 'partition' AND w.window_start >= '{from}' AND w.window_start < '{until}'"
        )
    };
    let second = hour("1970-01-01T01:00:00Z", "1970-01-01 02:59:59+01:00");
    assert_eq!(ask(&reader, &second).unwrap(), [json!({"ops": 12})]);
    let error = ask(&reader, &hour("1970-01-01T00:59:59Z", "1970-01-01T02:30:00Z")).unwrap_err();
    assert!(!error.is_of_the_statement() || error.to_string().contains("parquet"), "{error:?}");
    let span = Span { since: Some(at(HOUR_MS)), until: Some(at(2 * HOUR_MS)) };
    let all = "SELECT sum(ops) AS ops FROM windows WHERE class = 'partition'";
    assert_eq!(rows_of(reader.prepare(all, span).unwrap(), 9).unwrap(), [json!({"ops": 12})]);
    let joined = "SELECT count(*) AS n FROM windows a LEFT JOIN windows b ON a.node = b.node
                  WHERE a.window_start = '1970-01-01T01:00:00Z' AND b.window_start = '1970-01-01T01:00:00Z'";
    assert_eq!(ask(&reader, joined).unwrap(), [json!({"n": 25})]);
}

#[test]
fn a_time_without_segments_has_no_rows() {
    let (_dir, reader) = three_hours();
    for filter in [
        "window_start > '2030-01-01'",
        "window_start < '1960-01-01'",
        "window_start > '1970-01-02' AND window_start < '1970-01-01'",
    ] {
        assert_eq!(
            ask(&reader, &format!("SELECT * FROM windows WHERE {filter}")).unwrap(),
            [] as [Json; 0],
            "{filter}"
        );
    }
}

#[test]
fn mistakes_say_what_there_is() {
    let (_dir, reader) = three_hours();
    let column = refusal(&reader, "SELECT opps FROM windows");
    assert!(
        column.contains("opps") && column.contains("ops, bytes") && column.contains("o00 to o63"),
        "{column}"
    );
    let column = refusal(&reader, "SELECT opps FROM nodes");
    assert!(column.contains("listening") && !column.contains("o00"), "{column}");
    let table = refusal(&reader, "SELECT * FROM entropies");
    assert!(table.contains("entropies") && table.contains("windows"), "{table}");
    assert!(refusal(&reader, "SELECT sqrrt(ops) FROM windows").contains("sqrrt"));
    let cast = ask(&reader, "SELECT CAST(node AS INT) FROM windows").unwrap_err();
    assert!(cast.is_of_the_statement() && cast.to_string().contains("\"n\""), "{cast}");
    let joined = "SELECT a.ops FROM windows a JOIN windows b ON a.node = b.node WHERE b.ops > 'x'";
    let message = refusal(&reader, joined);
    assert!(message.len() < 1_000 && !message.contains("Resolved plan"), "{message}");
}

#[test]
fn a_folder_is_read_beside_its_writer_and_without_it() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Reader::open(dir.path()), Err(OpenError::NoCatalog { .. })));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is created");
    let mut store = Store::open(dir.path()).unwrap();
    commit(
        &mut store,
        &[batch(&run("agent"), 1, vec![window(0, vec![node_window("n", vec![reads("p", 7)])])])],
    );
    let count = || ask(&Reader::open(dir.path()).unwrap(), "SELECT sum(reads) AS n FROM partitions").unwrap();
    assert_eq!(count(), [json!({"n": 7})]);
    drop(store);
    assert_eq!(count(), [json!({"n": 7})]);
    let catalog = rusqlite::Connection::open(dir.path().join(catalog::FILE)).unwrap();
    catalog.execute_batch("PRAGMA user_version = 2").unwrap();
    assert!(matches!(Reader::open(dir.path()), Err(OpenError::Older { found: 2, .. })));
}

/// A store in which a cycle was computed at two moments.
fn two_cycles() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    for start in [0, HOUR_MS] {
        let derived = Derived {
            entropy: vec![entropy_row(start, "p"), entropy_row(start, "q")],
            forecasts: vec![forecast_row(start, 1), forecast_row(start, 2)],
            risks: vec![risk_row(start, "p")],
        };
        store.append(derived, at(2 * HOUR_MS)).unwrap();
    }
    (dir, store)
}

#[test]
fn what_cycles_computed_is_asked_like_the_rest() {
    let (_dir, store) = two_cycles();
    let reader = store.reader();
    let sql = "SELECT step_start, partition, writes, n_eff, nodes, served, status FROM entropy
               WHERE step_start >= '1970-01-01T01:00:00Z' ORDER BY partition";
    let row = |partition: &str| {
        json!({"step_start": "1970-01-01T01:00:00Z", "partition": partition, "writes": null, "n_eff": 2.0,
            "nodes": ["a", "b"], "served": [50, null], "status": "known"})
    };
    assert_eq!(ask(&reader, sql).unwrap(), [row("p"), row("q")]);
    let joined = "SELECT f.horizon, f.mean, r.risk, e.reads FROM forecasts f
                  JOIN risks r ON f.partition = r.partition AND f.made_at = r.at
                  JOIN entropy e ON e.partition = r.partition AND e.step_start = r.at
                  WHERE f.made_at = '1970-01-01' ORDER BY f.horizon";
    let row = |horizon: u32| json!({"horizon": horizon, "mean": 0.5, "risk": 0.125, "reads": 100});
    assert_eq!(ask(&reader, joined).unwrap(), [row(1), row(2)]);
    assert_eq!(ask(&reader, "SELECT count(*) AS n FROM late").unwrap(), [json!({"n": 0})]);
}

#[test]
fn tables_have_the_names_by_which_they_are_found() {
    for view in VIEWS {
        assert_eq!(View::from_name(view.name()), Some(view));
        assert!(!view.columns_in_words().is_empty());
    }
}
