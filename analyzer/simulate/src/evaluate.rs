//! How good predictions were, of whatever made them: the simulator's analyst, a backtest of what was recorded, or a
//! rule to compare with.
//!
//! A prediction is a score of a subject at a step, and what came of it. Scores that are probabilities are judged as
//! such (Brier, reliability), raw and after isotonic calibration on an earlier part of the same predictions: split by
//! time, or the calibration would have seen what it is judged by. All are judged by how they rank: by the area under
//! the precision-recall curve, as events are rare, and by how long before an event the alert came when everybody may
//! alert equally often.

mod predictor;

use isotherm_forecast::backtest::isotonic::Calibration;
use isotherm_forecast::backtest::reliability::{Bin, Binning, Reliability};
use isotherm_forecast::backtest::score::{ScoreError, average_precision, brier};
pub use predictor::{Predicted, Scored, above, cases, random_walk};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use thiserror::Error;

/// A prediction, and what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// When it was made.
    pub step: u64,
    /// Of whom.
    pub subject: u32,
    /// The more, the likelier. Finite; from 0 to 1 where it is a probability.
    pub score: f64,
    /// Steps until the event came; absent if it did not within the horizon.
    pub came_after: Option<u64>,
}

/// What scores are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scores {
    /// Probabilities.
    Probabilities,
    /// Numbers that rank, and mean nothing else.
    Ranks,
}

/// How predictions are judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// Share of the steps that calibration learns from; the others are judged. Above 0 and below 1.
    pub learned: f64,
    /// Share of the judged cases that may be alerts. Above 0 and at most 1.
    pub alerts: f64,
    /// Bins of the reliability curve.
    pub bins: NonZeroUsize,
}

impl Default for Rule {
    fn default() -> Self {
        Self { learned: 0.5, alerts: 0.05, bins: NonZeroUsize::new(10).expect("ten is not zero") }
    }
}

/// How good predictions were.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// Cases that were judged.
    pub cases: usize,
    /// Share of them that an event followed.
    pub base_rate: f64,
    /// Brier score of the scores as they are; absent if they are no probabilities.
    pub brier_raw: Option<f64>,
    /// Of the calibrated scores.
    pub brier: f64,
    /// Of always predicting the share of events among the cases that calibration learned from.
    pub brier_of_base: f64,
    /// The reliability curve of the calibrated scores.
    pub reliability: Vec<Bin>,
    /// Mean distance of that curve from the diagonal.
    pub calibration_error: f64,
    /// Area under the precision-recall curve; absent without an event.
    pub precision_recall: Option<f64>,
    /// Steps from the first alert to its event, the median of the events that were alerted; absent if none was.
    pub lead_steps: Option<u64>,
    /// Share of the events that had an alert before them; absent without an event.
    pub alerted: Option<f64>,
}

/// Why predictions cannot be judged.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum EvaluateError {
    /// A share outside (0, 1].
    #[error("{field} is {value}, and must be above 0 and {most}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// Its value.
        value: f64,
        /// What it must be.
        most: &'static str,
    },
    /// No case on one side of the split.
    #[error("no predictions were made {0} the split of learning and judging")]
    OneSided(&'static str),
    /// A score that is no number, or no probability.
    #[error(transparent)]
    Score(#[from] ScoreError),
}

/// Judges predictions. The order of the cases does not matter.
///
/// # Errors
/// A share out of range, nothing to learn from or to judge, a score that is not finite or, among
/// [`Scores::Probabilities`], not from 0 to 1.
pub fn measure(cases: &[Case], scores: Scores, rule: &Rule) -> Result<Measured, EvaluateError> {
    check(rule)?;
    let first = cases.iter().map(|case| case.step).min().unwrap_or(0);
    let last = cases.iter().map(|case| case.step).max().unwrap_or(0);
    let split = first + ((last - first + 1) as f64 * rule.learned) as u64;
    let (learned, judged): (Vec<Case>, Vec<Case>) = cases.iter().partition(|case| case.step < split);
    if learned.is_empty() {
        return Err(EvaluateError::OneSided("before"));
    }
    if judged.is_empty() {
        return Err(EvaluateError::OneSided("after"));
    }
    let values = |cases: &[Case]| cases.iter().map(|case| case.score).collect::<Vec<f64>>();
    let outcomes = |cases: &[Case]| cases.iter().map(|case| case.came_after.is_some()).collect::<Vec<bool>>();
    let share = |outcomes: &[bool]| {
        outcomes.iter().filter(|outcome| **outcome).count() as f64 / outcomes.len() as f64
    };
    let calibration = Calibration::fit(&values(&learned), &outcomes(&learned))?;
    let (raw, came) = (values(&judged), outcomes(&judged));
    let calibrated: Vec<f64> = raw.iter().map(|score| calibration.apply(*score)).collect();
    let curve = Reliability::new(&calibrated, &came, Binning::EqualCount(rule.bins), 0.95)?;
    let base = vec![share(&outcomes(&learned)); came.len()];
    let (lead_steps, alerted) = lead(&judged, rule.alerts);
    Ok(Measured {
        cases: judged.len(),
        base_rate: share(&came),
        brier_raw: match scores {
            Scores::Probabilities => Some(brier(&raw, &came)?),
            Scores::Ranks => None,
        },
        brier: brier(&calibrated, &came)?,
        brier_of_base: brier(&base, &came)?,
        calibration_error: curve.calibration_error(),
        reliability: curve.bins().to_vec(),
        precision_recall: average_precision(&raw, &came)?,
        lead_steps,
        alerted,
    })
}

fn check(rule: &Rule) -> Result<(), EvaluateError> {
    let refuse = |field, value, most| Err(EvaluateError::OutOfRange { field, value, most });
    if !(rule.learned > 0.0 && rule.learned < 1.0) {
        return refuse("learned", rule.learned, "below 1");
    }
    if !(rule.alerts > 0.0 && rule.alerts <= 1.0) {
        return refuse("alerts", rule.alerts, "at most 1");
    }
    Ok(())
}

/// The median lead of the first alert before each event, and the share of events that had one, if as many of the
/// highest scores are alerts as the rate allows. Scores that are equal at the threshold are alerts only together, so
/// a rule that says yes or no may not alert at all.
fn lead(cases: &[Case], alerts: f64) -> (Option<u64>, Option<f64>) {
    let mut sorted: Vec<f64> = cases.iter().map(|case| case.score).collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let allowed = (cases.len() as f64 * alerts) as usize;
    // The first score that is too many: what is above it are alerts.
    let bar = sorted.get(allowed).copied().unwrap_or(f64::NEG_INFINITY);
    let mut events: BTreeMap<(u32, u64), Option<u64>> = BTreeMap::new();
    for case in cases {
        let Some(after) = case.came_after else { continue };
        let lead = events.entry((case.subject, case.step + after)).or_insert(None);
        if case.score > bar {
            *lead = Some(lead.map_or(after, |most| most.max(after)));
        }
    }
    let mut leads: Vec<u64> = events.values().filter_map(|lead| *lead).collect();
    leads.sort_unstable();
    let alerted = (!events.is_empty()).then(|| leads.len() as f64 / events.len() as f64);
    (leads.get(leads.len() / 2).copied(), alerted)
}

/// Surges that were called, and those that there were.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Surges {
    /// Calls on a partition and day in which nothing was injected; absent without such days.
    pub per_healthy_day: Option<f64>,
    /// Share of the injected rises that were called within the time given; absent without any.
    pub found: Option<f64>,
    /// Median steps from the start of a rise to its call; absent if none was called.
    pub delay_steps: Option<u64>,
}

/// Judges calls of surges. `calls` and `rises` are pairs of a subject and a step; a call within `within` steps after a
/// rise of its subject is of that rise, all others are false. `healthy_days` are days of subjects without rises.
#[must_use]
pub fn surges(calls: &[(u32, u64)], rises: &[(u32, u64)], within: u64, healthy_days: f64) -> Surges {
    let of = |call: &(u32, u64), rise: &(u32, u64)| {
        call.0 == rise.0 && call.1 >= rise.1 && call.1 - rise.1 <= within
    };
    let false_calls = calls.iter().filter(|call| !rises.iter().any(|rise| of(call, rise))).count();
    let first =
        |rise: &(u32, u64)| calls.iter().filter(|call| of(call, rise)).map(|call| call.1 - rise.1).min();
    let mut delays: Vec<u64> = rises.iter().filter_map(first).collect();
    delays.sort_unstable();
    Surges {
        per_healthy_day: (healthy_days > 0.0).then(|| false_calls as f64 / healthy_days),
        found: (!rises.is_empty()).then(|| delays.len() as f64 / rises.len() as f64),
        delay_steps: delays.get(delays.len() / 2).copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(step: u64, subject: u32, score: f64, came_after: Option<u64>) -> Case {
        Case { step, subject, score, came_after }
    }

    /// Ten subjects over a hundred steps; what happens follows the score exactly or not at all.
    fn cases(score: impl Fn(u32, bool) -> f64) -> Vec<Case> {
        let all = (0..100).flat_map(|step| (0..10).map(move |subject| (step, subject)));
        all.map(|(step, subject)| {
            let comes = subject == 3;
            case(step, subject, score(subject, comes), comes.then_some(5))
        })
        .collect()
    }

    #[test]
    fn one_who_knows_is_perfect() {
        let rule = Rule { alerts: 0.2, ..Rule::default() };
        let knows =
            measure(&cases(|_, comes| f64::from(u8::from(comes))), Scores::Probabilities, &rule).unwrap();
        assert_eq!((knows.brier, knows.brier_raw, knows.precision_recall), (0.0, Some(0.0), Some(1.0)));
        assert_eq!((knows.lead_steps, knows.alerted), (Some(5), Some(1.0)));
        assert!((knows.base_rate - 0.1).abs() < 1e-12 && knows.cases == 500);
    }

    #[test]
    fn one_who_says_the_same_of_all_is_as_good_as_the_base() {
        let same = measure(&cases(|_, _| 0.7), Scores::Ranks, &Rule::default()).unwrap();
        assert!((same.brier - same.brier_of_base).abs() < 1e-12);
        assert!((same.precision_recall.unwrap() - 0.1).abs() < 1e-12);
        assert_eq!((same.brier_raw, same.lead_steps, same.alerted), (None, None, Some(0.0)));
    }

    #[test]
    fn calibration_learns_from_what_was_before_and_only_from_that() {
        // Early on a score of 1 means nothing; later it means all. What is judged is calibrated by the early half.
        let late: Vec<Case> = (0..100)
            .flat_map(|step| [case(step, 0, 1.0, (step >= 50).then_some(1)), case(step, 1, 0.0, None)])
            .collect();
        let measured = measure(&late, Scores::Probabilities, &Rule::default()).unwrap();
        assert!((measured.brier - 0.5).abs() < 1e-12 && measured.brier_raw == Some(0.0), "{measured:?}");
    }

    #[test]
    fn the_lead_is_that_of_the_first_alert_before_an_event() {
        let cases: Vec<Case> = (0..10).map(|step| case(step, 7, step as f64, Some(12 - step))).collect();
        assert_eq!(lead(&cases, 0.5), (Some(7), Some(1.0)));
        assert_eq!(lead(&cases, 0.1), (Some(3), Some(1.0)));
    }

    #[test]
    fn what_cannot_be_judged_is_named() {
        let rule = Rule { learned: 1.0, ..Rule::default() };
        let error = measure(&[], Scores::Ranks, &rule).unwrap_err();
        assert_eq!(error.to_string(), "learned is 1, and must be above 0 and below 1");
        let one = [case(0, 0, 0.5, None)];
        assert_eq!(measure(&one, Scores::Ranks, &Rule::default()), Err(EvaluateError::OneSided("before")));
        let two = [case(0, 0, 1.5, None), case(9, 0, 1.5, Some(1))];
        assert!(matches!(
            measure(&two, Scores::Probabilities, &Rule::default()),
            Err(EvaluateError::Score(_))
        ));
    }

    #[test]
    fn calls_are_of_the_rise_before_them_or_false() {
        let rises = [(1, 100), (2, 200), (3, 300)];
        let calls = [(1, 103), (1, 150), (2, 199), (3, 308), (9, 5)];
        let surges = surges(&calls, &rises, 10, 30.0);
        assert_eq!(surges.per_healthy_day, Some(0.1));
        assert_eq!((surges.found, surges.delay_steps), (Some(2.0 / 3.0), Some(8)));
    }
}
