//! What was aimed at, and whether it was reached. The goals are of the cluster of the defaults over a month: of
//! others they say nothing.

use super::Found;
use isotherm_simulate::compare::Compared;
use isotherm_simulate::world::Spec;
use serde::Serialize;

/// What the full model may lose, of what is lost by a cluster that is only repaired.
const RATIO: f64 = 0.35;

/// Days of a month.
const MONTH: u32 = 30;

/// A goal.
#[derive(Serialize)]
pub(super) struct Goal {
    pub(super) goal: String,
    /// Absent if it was not measured.
    pub(super) found: Option<f64>,
    pub(super) verdict: Verdict,
}

/// Whether it was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Met,
    NotMet,
    /// The full model was not run, or on another cluster or for less than a month.
    NotJudged,
}

impl Verdict {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::NotMet => "NOT MET",
            Self::NotJudged => "not judged (it is of the default cluster, 30 days, with the full model)",
        }
    }
}

pub(super) fn goals(found: &Found) -> Vec<Goal> {
    let is_default = Spec { days: found.spec.days, ..Spec::default() } == found.spec;
    let counts = is_default && found.spec.days >= MONTH;
    let goal = |goal: String, found: Option<f64>, most: f64| {
        let verdict = match found.filter(|_| counts) {
            Some(found) if found <= most => Verdict::Met,
            Some(_) => Verdict::NotMet,
            None => Verdict::NotJudged,
        };
        Goal { goal, found, verdict }
    };
    let full = |rows: &[Compared]| rows.iter().find(|row| row.name == "full model").cloned();
    let ratio = found.compared.as_deref().and_then(full).map(|row| row.total.mean);
    let moves = full(&found.healthy).map(|row| f64::from(most_moves(&row)));
    vec![
        goal(format!("the full model loses at most {RATIO:.2} of reactive only"), ratio, RATIO),
        goal("the full model moves nothing in a healthy month, in any seed".to_owned(), moves, 0.0),
    ]
}

/// Moves in the seed with the most.
pub(super) fn most_moves(row: &Compared) -> u32 {
    row.outcomes.iter().map(|outcome| outcome.record.moves).max().unwrap_or(0)
}
