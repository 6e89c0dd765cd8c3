//! Pasts and what came after them.

use crate::peer::HORIZON;
use anyhow::{Context, Result, ensure};
use isotherm_forecast::backtest::synthetic::{Kind, mixed};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Values of a synthetic past.
const KNOWN: usize = 120;

/// What is measured, in R's data sets. That with gaps is left out, as statsforecast takes none.
const REAL: [&str; 5] = ["Nile", "LakeHuron", "AirPassengers_log", "sunspot_year", "WWWusage"];

/// What was known, and the values that came.
pub(super) struct Past {
    pub(super) known: Vec<f64>,
    pub(super) actual: Vec<f64>,
    /// Of the generator; none of a real series.
    pub(super) kind: Option<Kind>,
}

/// Of the generator, all kinds in turn.
pub(super) fn synthetic(count: usize, seed: u64) -> Vec<Past> {
    let past = |(kind, mut known): (Kind, Vec<f64>)| {
        let actual = known.split_off(KNOWN);
        Past { known, actual, kind: Some(kind) }
    };
    mixed(count, KNOWN + HORIZON, seed).into_iter().map(past).collect()
}

/// The part of the fixture that is used.
#[derive(Deserialize)]
struct Fixture {
    series: BTreeMap<String, Vec<Option<f64>>>,
}

/// The real series of the fixtures, each cut at as many origins, two or more, through its second half.
pub(super) fn real(origins: usize) -> Result<Vec<Past>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/r_reference.json");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let fixture: Fixture =
        serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
    let mut pasts = Vec::new();
    for name in REAL {
        let series = fixture.series.get(name).with_context(|| format!("{name} is not in the fixture"))?;
        let series: Option<Vec<f64>> = series.iter().copied().collect();
        let series = series.with_context(|| format!("{name} has gaps"))?;
        let first = series.len() / 2;
        ensure!(series.len() > first + HORIZON, "{name} is too short");
        let last = series.len() - HORIZON;
        for origin in 0..origins {
            let known = first + (last - first) * origin / (origins - 1);
            pasts.push(Past {
                known: series[..known].to_vec(),
                actual: series[known..known + HORIZON].to_vec(),
                kind: None,
            });
        }
    }
    Ok(pasts)
}
