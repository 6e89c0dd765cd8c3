//! What was aimed at, and whether it was reached. The goals are of the cluster of the defaults over a month: of
//! others they say nothing.

use super::Found;
use isotherm_simulate::compare::{Compared, FEWEST_SEEDS};
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
    /// What was found rests on too few seeds to be called met.
    TooFewSeeds,
    /// The full model was not run, or on another cluster or for less than a month.
    NotJudged,
}

impl Verdict {
    pub(super) fn words(self) -> String {
        match self {
            Self::Met => "met".to_owned(),
            Self::NotMet => "NOT MET".to_owned(),
            Self::TooFewSeeds => format!("not judged (not enough seeds: it takes {FEWEST_SEEDS})"),
            Self::NotJudged => {
                "not judged (it is of the default cluster, 30 days, with the full model)".to_owned()
            }
        }
    }
}

pub(super) fn goals(found: &Found) -> Vec<Goal> {
    let is_default = Spec { days: found.spec.days, ..Spec::default() } == found.spec;
    let counts = is_default && found.spec.days >= MONTH;
    let few = found.seeds.len() < FEWEST_SEEDS;
    // A mean of few seeds says neither; of any seed, one refutes.
    let goal = |goal: String, found: Option<f64>, most: f64, of_each: bool| {
        let verdict = match found.filter(|_| counts) {
            Some(found) if found > most && (of_each || !few) => Verdict::NotMet,
            Some(_) if few => Verdict::TooFewSeeds,
            Some(_) => Verdict::Met,
            None => Verdict::NotJudged,
        };
        Goal { goal, found, verdict }
    };
    let full = |rows: &[Compared]| rows.iter().find(|row| row.name == "full model").cloned();
    let ratio = found.compared.as_deref().and_then(full).map(|row| row.total.mean);
    let moves = full(&found.healthy).map(|row| f64::from(most_moves(&row)));
    vec![
        goal(format!("the full model loses at most {RATIO:.2} of reactive only"), ratio, RATIO, false),
        goal("the full model moves nothing in a healthy month, in any seed".to_owned(), moves, 0.0, true),
    ]
}

/// Moves in the seed with the most.
pub(super) fn most_moves(row: &Compared) -> u32 {
    row.outcomes.iter().map(|outcome| outcome.record.moves).max().unwrap_or(0)
}
