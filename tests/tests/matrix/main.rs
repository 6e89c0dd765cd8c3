//! Migrations of real storage systems through the real programs, whatever dies on the way: each row is a store, a fault
//! and the phase in which it strikes. After each, what clients saw is checked, and the store itself.
//!
//! `ISOTHERM_MATRIX` chooses rows: `sample` (default), `whole`, a row as it is shown, or parts of the names of rows with
//! commas between.
//! `ISOTHERM_MATRIX_SEED` chooses moments, and which rows a sample has. `ISOTHERM_MATRIX_REPORT` names a file for the
//! results as JSON.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test program uses a part")]
#[path = "../support/postgres_lab.rs"]
mod postgres_lab;
#[path = "../support/mod.rs"]
mod support;

mod clients;
mod lane;
mod programs;
mod report;
mod row;
mod store;

use isotherm_tests::network::Network;
use isotherm_tests::skip::skipped;
use report::{Ran, Report};
use row::{Fault, Kind, Row, sample, whole};
use std::collections::{BTreeMap, VecDeque};
use std::io::{Write, stderr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Instant;

/// At work at a time. With six, two processors let PostgreSQL wait until migrations were given up.
const LANES: usize = 4;

const NAME: &str = "rows_end_with_nothing_lost_and_nothing_left";

/// The rows that were asked for.
fn asked() -> Vec<Row> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let seed = variable("ISOTHERM_MATRIX_SEED").map_or(1, |seed| seed.parse().expect("ISOTHERM_MATRIX_SEED"));
    let asked = variable("ISOTHERM_MATRIX").unwrap_or_else(|| "sample".to_owned());
    match asked.as_str() {
        "sample" => sample(seed),
        "whole" => whole(seed),
        text => match text.parse() {
            Ok(row) => vec![row],
            Err(_) => {
                let named = |row: &Row| text.split(',').any(|part| row.to_string().contains(part));
                whole(seed).into_iter().filter(named).collect()
            }
        },
    }
}

/// Says at once what libtest would keep to itself for as long as the rows take.
fn say(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}

fn say_of(ran: &Ran) {
    say(&ran.to_string());
    if let Some(failed) = &ran.failed {
        say(&format!("  {}", failed.lines().next().unwrap_or_default()));
    }
}

/// Rows that need the same store, in the order in which they are begun. Those that take longest come first.
fn lanes(rows: &[Row]) -> VecDeque<(Kind, Vec<Row>)> {
    // Faults that last are waited for most of the time, so each of them has a lane of its own.
    let lasting = |row: &Row| Fault::LASTING.contains(&row.fault).then_some(row.fault);
    let mut lanes: BTreeMap<_, Vec<Row>> = BTreeMap::new();
    for row in rows {
        lanes.entry((row.kind != Kind::Postgres, row.kind, lasting(row))).or_default().push(*row);
    }
    lanes.into_iter().map(|((_, kind, _), rows)| (kind, rows)).collect()
}

#[test]
fn rows_end_with_nothing_lost_and_nothing_left() {
    if let Err(error) = Network::new(2) {
        return skipped(NAME, &format!("{error:#}"));
    }
    let rows = asked();
    assert!(!rows.is_empty(), "ISOTHERM_MATRIX names no row");
    let (begun, (done, ran)) = (Instant::now(), mpsc::channel::<Ran>());
    let lanes = Arc::new(Mutex::new(lanes(&rows)));
    let workers: Vec<_> = (0..LANES)
        .map(|_| {
            let (lanes, done) = (Arc::clone(&lanes), done.clone());
            let next = move || lanes.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            thread::spawn(move || -> anyhow::Result<()> {
                while let Some((kind, rows)) = next() {
                    lane::run(kind, rows, &done)?;
                }
                Ok(())
            })
        })
        .collect();
    drop(done);
    say(&Report::heading());
    let path = std::env::var_os("ISOTHERM_MATRIX_REPORT");
    let mut report = Report::default();
    for ran in ran {
        say_of(&ran);
        report.add(ran, begun.elapsed());
        // After each, so that what is broken off is kept as far as it came.
        if let Some(path) = &path {
            report.write(Path::new(path)).unwrap();
        }
    }
    say(&report.to_string());
    let failures = report.failures();
    assert!(failures.is_empty(), "{failures}");
    workers.into_iter().for_each(|worker| worker.join().unwrap().unwrap());
    assert_eq!(report.rows.len(), rows.len(), "every row ran");
}
