//! OpenStack Swift's ring builder on the failure of one node, beside ours.

use super::cluster::{Bench, judge, said};
use super::{Row, Scale, Start, row};
use crate::setup::{can_install_debian, install_debian};
use crate::shell;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

/// Debian's package of it, for Debian's own interpreter.
const PACKAGE: &str = "python3-swift";
const PYTHON: &str = "/usr/bin/python3";

/// Of two: the power that comes nearest to the partitions of the cluster from above.
const PART_POWER: &str = "17";

#[derive(Deserialize)]
struct Said {
    seconds: f64,
    moved_over_min: f64,
    max_over_mean: f64,
}

/// Nothing where Swift is not there and cannot be had, which is said.
pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let python = match installed() {
        Ok(python) => python,
        Err(error) => {
            eprintln!("SKIPPED: Swift: {error:#}");
            return Ok(Vec::new());
        }
    };
    eprintln!("Swift");
    let data = bench.cluster(Scale::M, Start::Random, 1)?;
    let failed = failed(&data)?.to_string();
    let mut command = shell::clean(python);
    let theirs: Said = said(command.arg(judge("ring_builder.py")).arg(&data).args([&failed, PART_POWER]))?;
    let out = bench.folder().join("plan.csv");
    let ours = bench.simulate(&data, "fail1", None, &out)?;
    let judged = bench.judge(&data, "fail1", &out)?;
    let beside = |what: &str, value: f64, unit: &str, theirs: f64| Row {
        beside: Some(theirs),
        of: Some("Swift".to_owned()),
        ratio: Some(value / theirs),
        ..row(format!("M fail1 beside Swift: {what}"), value, unit)
    };
    Ok(vec![
        beside("planning", ours.seconds.planning, "s", theirs.seconds),
        beside("moved", judged.moved_over_min.unwrap_or(f64::NAN), "of the least", theirs.moved_over_min),
        beside("size", judged.size_max_over_mean, "times the mean", theirs.max_over_mean),
    ])
}

fn installed() -> Result<PathBuf> {
    let there = || {
        shell::read(shell::clean(PYTHON).args(["-c", "import swift.common.ring.builder"]))
            .map(|_| PYTHON.into())
    };
    there().or_else(|_| {
        if !can_install_debian() {
            bail!("please install it (apt-get install {PACKAGE}); only root can, and only where apt is");
        }
        install_debian(&[PACKAGE])?;
        there()
    })
}

/// The node that the event fails.
fn failed(data: &Path) -> Result<u64> {
    let events: serde_json::Value = serde_json::from_str(&fs::read_to_string(data.join("events.json"))?)?;
    let event = events.as_array().and_then(|events| events.iter().find(|event| event["id"] == "fail1"));
    event.and_then(|event| event["fail"][0].as_u64()).context("the generator's fail1")
}
