//! From labels to what a risk means.
//!
//! Isotonic regression supposes only that a higher risk does not mean fewer incidents. On single labels it ends in
//! blocks of a few, which it calls certain or impossible because of one failure; so labels are put together first, by
//! risk, in [`BINS`] bins in which as many incidents are to be expected each: finest where risks are high. Each bin
//! also has one label's worth of the belief that the ratio of all incidents to all that was predicted holds in it.
//! Thus no bin comes to exactly 0 or 1. Beyond the outermost bins their ratio goes on.

use super::Label;
use isotherm_forecast::backtest::isotonic::{Calibration, Knot};
use std::collections::{BTreeSet, VecDeque};

/// Bins that labels are put into at most.
const BINS: usize = 20;

/// What a calibration stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Standing {
    /// Labels there are.
    pub labels: usize,
    /// Labels whose horizons do not overlap another's of the same partition: hour after hour a partition's labels are
    /// almost the same observation.
    pub independent: usize,
    /// Labels that are incidents.
    pub positive: usize,
    /// Failures that these come from. A node that takes the reads of a hundred partitions is one.
    pub incidents: usize,
}

impl Standing {
    /// Of labels.
    pub(super) fn of(labels: &VecDeque<Label>) -> Self {
        Self {
            labels: labels.len(),
            independent: labels.iter().filter(|label| label.independent).count(),
            positive: labels.iter().filter(|label| label.event.is_some()).count(),
            incidents: labels.iter().filter_map(|label| label.event).collect::<BTreeSet<_>>().len(),
        }
    }

    /// Whether that is enough, see [`super::FEWEST_LABELS`] and [`super::FEWEST_INCIDENTS`].
    #[must_use]
    pub fn is_enough(&self) -> bool {
        self.independent >= super::FEWEST_LABELS && self.incidents >= super::FEWEST_INCIDENTS
    }
}

/// Labels of neighbouring risks.
#[derive(Debug, Clone, Copy, Default)]
struct Bin {
    labels: f64,
    risk: f64,
    positive: f64,
}

/// The calibration; `None` while there are too few labels, or if nothing was ever said to be at risk.
pub(super) fn fit(labels: &VecDeque<Label>) -> Option<Calibration> {
    let standing = Standing::of(labels);
    let expected: f64 = labels.iter().map(|label| f64::from(label.risk)).sum();
    if !standing.is_enough() || expected <= 0.0 {
        return None;
    }
    let ratio = standing.positive as f64 / expected;
    // Labels that are worth an independent one.
    let belief = standing.labels as f64 / standing.independent as f64;
    let bins = bins(labels, expected);
    let (mut scores, mut outcomes, mut weights) = (Vec::new(), Vec::new(), Vec::new());
    for bin in bins.iter().filter(|bin| bin.labels > 0.0) {
        let mean = bin.risk / bin.labels;
        let believed = (mean * ratio).min(1.0);
        for (outcome, weight) in [
            (true, bin.positive + belief * believed),
            (false, bin.labels - bin.positive + belief * (1.0 - believed)),
        ] {
            scores.push(mean);
            outcomes.push(outcome);
            weights.push(weight);
        }
    }
    let fitted = Calibration::fit_weighted(&scores, &outcomes, &weights).ok()?;
    prolonged(fitted.knots().to_vec())
}

/// Bins in which as many incidents are expected each, lowest risks first; some may be empty.
fn bins(labels: &VecDeque<Label>, expected: f64) -> [Bin; BINS] {
    let mut sorted: Vec<(f32, bool)> =
        labels.iter().map(|label| (label.risk, label.event.is_some())).collect();
    sorted.sort_unstable_by(|left, right| left.0.total_cmp(&right.0).then(left.1.cmp(&right.1)));
    let mut bins = [Bin::default(); BINS];
    let mut before = 0.0;
    // Equal risks are one: that the incidents among them are sorted last must not move them to another bin.
    for equal in sorted.chunk_by(|left, right| left.0 == right.0) {
        let labels = equal.len() as f64;
        let risk = f64::from(equal[0].0) * labels;
        let place = (before + risk / 2.0) / expected * BINS as f64;
        let bin = &mut bins[(place as usize).min(BINS - 1)];
        bin.labels += labels;
        bin.risk += risk;
        bin.positive += equal.iter().filter(|(_, positive)| *positive).count() as f64;
        before += risk;
    }
    bins
}

/// With the ratio of the outermost knots going on to 0 and, above, to where either is 1.
fn prolonged(mut knots: Vec<Knot>) -> Option<Calibration> {
    let (first, last) = (*knots.first()?, *knots.last()?);
    if first.score > 0.0 {
        knots.insert(0, Knot { score: 0.0, probability: 0.0 });
    }
    let ratio = last.probability / last.score;
    if last.score < 1.0 && last.probability < 1.0 && ratio > 0.0 {
        knots.push(Knot { score: (1.0 / ratio).min(1.0), probability: ratio.min(1.0) });
    }
    Calibration::try_from(knots).ok()
}
