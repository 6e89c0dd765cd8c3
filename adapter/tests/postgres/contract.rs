//! The contract, as the check of adapters knows it, kept by the program itself over killed adapters.

use super::running::Running;
use super::steps::{config, node};
use crate::lab::{Lab, PARTITION};
use isotherm_adapter::check::{Finding, Options};
use std::path::Path;

/// Stories that are tried each time; all of them take seven minutes.
const SAMPLE: [&str; 4] = ["malformed", "stale epoch", "fence", "move"];

#[tokio::test(flavor = "multi_thread")]
async fn the_adapter_keeps_the_contract_killed_in_every_phase() {
    let lab = Lab::start().await.unwrap();
    lab.rows(500).await.unwrap();
    let text = config(&lab, Path::new("unused"));
    let (_, table) = text.split_once("[store]\n").unwrap();
    let (table, target) = (table.to_owned(), node(&lab, crate::lab::B).name().to_owned());
    let checked = tokio::task::spawn_blocking(move || {
        let running = Running::start("postgres", &table);
        let partition = Some(PARTITION.to_owned());
        let only = if cfg!(feature = "soak") { Vec::new() } else { SAMPLE.map(str::to_owned).to_vec() };
        let report = running.check(Options { partition, target: Some(target), only, ..Options::default() });
        assert!(report.is_good(), "{report}\n{}", running.log());
        report
    });
    let report = checked.await.unwrap();
    println!("{report}");
    let skipped = report.checks.iter().filter(|checked| matches!(checked.finding, Finding::Skipped(_)));
    // A node has no throttle, and a partition no replica.
    let expected: &[&str] =
        if cfg!(feature = "soak") { &["abort of a copy", "repair", "reads"] } else { &[] };
    assert_eq!(skipped.map(|checked| checked.check).collect::<Vec<_>>(), expected, "{report}");
    assert_eq!(lab.leftovers().await.unwrap(), Vec::<String>::new());
}
