//! How good predictions were over several seeds.
//!
//! Cases of all seeds are judged together, each seed's partitions as subjects of their own: one cluster has too few
//! incidents for a curve.

use crate::cli::simulate::progress::Progress;
use isotherm_simulate::evaluate::{Measured, Predicted, Rule, Surges, measure};
use isotherm_simulate::policy::Limits;
use isotherm_simulate::predict::predict;
use isotherm_simulate::world::{Spec, SpecError, World};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use serde::Serialize;

/// How good predictions were.
#[derive(Serialize)]
pub(super) struct Judged {
    pub(super) alert_rate: f64,
    /// Of incidents, each by who predicted.
    pub(super) incidents: Vec<Predictor>,
    /// Of surges, of partitions that do not surge.
    pub(super) surges: Vec<Predictor>,
    /// How surges were called: means over seeds, and the median of their delays.
    pub(super) called: Surges,
}

/// One who predicts.
#[derive(Serialize)]
pub(super) struct Predictor {
    pub(super) name: &'static str,
    /// Absent where it cannot be judged.
    pub(super) measured: Option<Measured>,
    /// Why not.
    pub(super) not_judged: Option<String>,
}

/// Predicts on clusters that are only repaired, and judges.
pub(super) fn judge(spec: &Spec, seeds: &[u64]) -> Result<Judged, SpecError> {
    let progress = Progress::new("predictions, seeds", seeds.len());
    let all = seeds
        .par_iter()
        .map(|seed| {
            let found = predict(&World::new(spec.clone(), *seed)?, &Limits::default());
            progress.ended();
            Ok(found)
        })
        .collect::<Result<Vec<_>, SpecError>>();
    progress.clear();
    let (mut incidents, mut surges, mut called) = (Vec::new(), Vec::new(), Vec::new());
    for found in all? {
        incidents.push(found.incidents);
        surges.push(found.surges);
        called.push(found.called);
    }
    let rule = Rule::default();
    Ok(Judged {
        alert_rate: rule.alerts,
        incidents: together(incidents, spec.partitions, &rule),
        surges: together(surges, spec.partitions, &rule),
        called: mean(&called),
    })
}

fn together(of_seeds: Vec<Vec<Predicted>>, partitions: u32, rule: &Rule) -> Vec<Predictor> {
    let mut all: Vec<Predicted> = Vec::new();
    for (at, of_seed) in of_seeds.into_iter().enumerate() {
        for (which, mut one) in of_seed.into_iter().enumerate() {
            one.cases.iter_mut().for_each(|case| case.subject += at as u32 * partitions);
            match all.get_mut(which) {
                Some(own) => own.cases.append(&mut one.cases),
                None => all.push(one),
            }
        }
    }
    all.iter().map(|one| measured(one, rule)).collect()
}

/// How good one was, or why that cannot be said.
pub(super) fn measured(one: &Predicted, rule: &Rule) -> Predictor {
    match measure(&one.cases, one.scores, rule) {
        Ok(measured) => Predictor { name: one.name, measured: Some(measured), not_judged: None },
        Err(error) => Predictor { name: one.name, measured: None, not_judged: Some(error.to_string()) },
    }
}

fn mean(called: &[Surges]) -> Surges {
    let of =
        |values: Vec<f64>| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
    let mut delays: Vec<u64> = called.iter().filter_map(|one| one.delay_steps).collect();
    delays.sort_unstable();
    Surges {
        per_healthy_day: of(called.iter().filter_map(|one| one.per_healthy_day).collect()),
        found: of(called.iter().filter_map(|one| one.found).collect()),
        delay_steps: delays.get(delays.len() / 2).copied(),
    }
}
