//! What a risk means: how often an incident followed when that much was said.
//!
//! Once an hour the risks of some partitions are remembered. A failure that takes at least `incident_share` of the
//! reads of such a partition is its incident. When the horizon is over, the prediction comes to a label: whether there
//! was an incident in it. Isotonic regression on the labels says what a risk means; without enough of them nobody
//! knows, and nothing is said.
//!
//! What limits this are failures, not labels. One node that fails is the incident of a hundred partitions, and of each
//! of their predictions of the day before: thousands of labels that say one thing. So only [`PER_HOUR`] predictions
//! are remembered an hour, of partitions in turn, which makes the window of [`WINDOW`] labels half a year long; and
//! what is counted before anything is said are failures and labels that do not overlap.
//!
//! What happened is taken as unknown, and comes to no label, where the shares of the partition were not known for most
//! of the time, where they were not when a node that serves it failed, and where the partition was moved: then the
//! prediction was about another place.
//!
//! This never decides what a failure is. Its caller tells of failures of nodes alone: not of maintenance, and not of
//! agents that fell silent.

mod fit;
mod prediction;
#[cfg(test)]
mod tests;

pub use fit::Standing;

use crate::cluster::Cluster;
use crate::policy::Settings;
use crate::record::Record;
use crate::state::{Name, State};
use isotherm_forecast::backtest::isotonic::Calibration;
use isotherm_forecast::backtest::reliability::{Binning, Reliability};
use isotherm_forecast::backtest::score::brier;
use isotherm_model::Timestamp;
use prediction::{Event, Prediction, Seen, Stage, Struck};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroUsize;

/// Predictions that are remembered an hour at most. With as many, the window is 174 days long.
pub const PER_HOUR: usize = 12;

/// Labels that are kept; the oldest leave.
pub const WINDOW: usize = 50_000;

/// Fewest labels that do not overlap. With twenty incidents among them, a frequency of a tenth and less can be seen.
pub const FEWEST_LABELS: usize = 200;

/// Fewest failures that the incidents are of: the frequency of twenty is known to 22 % (one standard error).
pub const FEWEST_INCIDENTS: usize = 20;

/// Events that are remembered, to know failures again that belong to one. More within a horizon count as new.
const EVENTS: usize = 256;

/// Bins of a reliability curve.
const CURVE_BINS: NonZeroUsize = NonZeroUsize::new(10).expect("not zero");

/// Level of the intervals of a reliability curve.
const CURVE_LEVEL: f64 = 0.95;

const HOUR_MS: u64 = 3_600_000;

/// What a risk and an incident are. Labels of another definition say nothing of this one's risks. The speed of copies
/// is not part of it though horizons depend on it: it is measured, and a label is of the horizon it was predicted for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Definition {
    incident_share: f64,
    survivors_weight: f64,
    horizon_h: f64,
    move_times: f64,
}

impl Definition {
    fn of(settings: &Settings) -> Self {
        let exposure = &settings.risk.exposure;
        Self {
            incident_share: exposure.incident_share,
            survivors_weight: exposure.survivors_weight,
            horizon_h: settings.horizon_h,
            move_times: settings.move_times,
        }
    }
}

/// What was said, and what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Label {
    risk: f32,
    /// What was said it means, at the time.
    calibrated: Option<f32>,
    /// Number of the event that was the incident; `None`: there was none.
    event: Option<u32>,
    /// Whether its horizon overlaps none that was counted of the same partition.
    independent: bool,
}

/// Predictions, labels, and what is learned from them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Calibrator {
    /// What the rest is of; `None` before the first step.
    definition: Option<Definition>,
    /// In the order they were made: at most [`PER_HOUR`] for every hour of the longest horizon, and one more hour.
    pending: Vec<Prediction>,
    /// At most [`WINDOW`].
    labels: VecDeque<Label>,
    /// At most [`EVENTS`], none much older than a horizon.
    events: VecDeque<Event>,
    /// Number of the next event.
    next_event: u32,
    /// The last hour in which predictions were remembered.
    predicted_h: Option<u64>,
    /// The last hour in which something was learned.
    learned_h: Option<u64>,
    /// Labels since then.
    unlearned: usize,
    learned: Option<Calibration>,
}

/// What a failure came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marked {
    /// Predictions whose incident it is.
    pub incidents: usize,
    /// Predictions that were given up, as nobody knows how many reads it took.
    pub unclear: usize,
}

/// How often incidents came, beside what was said.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Curve {
    /// Bins of about one count. Their intervals take labels as independent, and are too narrow.
    pub reliability: Reliability,
    /// Mean squared distance of what was said from what came; 0 is best.
    pub brier: f64,
    /// Labels it is of.
    pub labels: usize,
}

/// Curves of the labels that are kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Curves {
    /// Of risks, over all labels.
    pub raw: Curve,
    /// Of risks and of what was said they mean at the time, over the labels of which it was. No label had a part in
    /// what was said of it. `None` while nothing was.
    pub said: Option<Said>,
}

/// Two curves over the same labels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Said {
    /// Of risks.
    pub raw: Curve,
    /// Of calibrated risks.
    pub calibrated: Curve,
}

impl Calibrator {
    /// The probability that goes with a risk; nondecreasing in it. `None`, "uncalibrated", while there are too few
    /// labels, or none of what these settings call a risk.
    #[must_use]
    pub fn calibrated(&self, risk: f64, settings: &Settings) -> Option<f64> {
        if self.definition != Some(Definition::of(settings)) {
            return None;
        }
        self.learned.as_ref().map(|learned| learned.apply(risk)).filter(|value| value.is_finite())
    }

    /// What it stands on.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing::of(&self.labels)
    }

    /// Predictions that wait for what comes of them.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// What was said beside what came. `None` without a label.
    #[must_use]
    pub fn curves(&self) -> Option<Curves> {
        let risk = |label: &Label| f64::from(label.risk);
        let raw = curve(self.labels.iter().map(|label| (risk(label), label.event)))?;
        let said: Vec<(&Label, f64)> =
            self.labels.iter().filter_map(|label| Some((label, f64::from(label.calibrated?)))).collect();
        let of_raw = curve(said.iter().map(|(label, _)| (risk(label), label.event)));
        let of_said = curve(said.iter().map(|(label, calibrated)| (*calibrated, label.event)));
        Some(Curves { raw, said: of_raw.zip(of_said).map(|(raw, calibrated)| Said { raw, calibrated }) })
    }

    /// Forgets everything that is of another definition than these settings.
    fn define(&mut self, settings: &Settings) {
        let definition = Some(Definition::of(settings));
        if self.definition != definition {
            *self = Self { definition, next_event: self.next_event, ..Self::default() };
        }
    }

    /// Takes in what a step says of the partitions of predictions, makes labels of those whose time is over, and
    /// learns from them, once an hour.
    fn follow(&mut self, end_ms: u64, step_ms: u64, settings: &Settings, seen: impl Fn(&Name) -> Seen) {
        self.define(settings);
        let (labels, mut added) = (&mut self.labels, 0);
        self.pending.retain_mut(|one| match one.follow(&seen(&one.partition), end_ms, step_ms) {
            Stage::Open => true,
            Stage::Lost => false,
            Stage::Label => {
                let Prediction { event, independent, .. } = *one;
                let calibrated = one.calibrated.map(|value| value as f32);
                labels.push_back(Label { risk: one.risk as f32, calibrated, event, independent });
                added += 1;
                false
            }
        });
        labels.drain(..labels.len().saturating_sub(WINDOW));
        self.unlearned += added;
        let hour = Some(end_ms / HOUR_MS);
        if self.learned_h != hour {
            self.learned_h = hour;
            if std::mem::take(&mut self.unlearned) > 0 {
                self.learned = fit::fit(&self.labels);
            }
        }
    }

    /// Remembers a prediction whose shares are those. Failures after it may have been told of before.
    fn remember(
        &mut self,
        mut made: Prediction,
        shares: &[(u32, f64)],
        now_ms: u64,
        at_ms: u64,
        settings: &Settings,
    ) {
        made.begin(shares);
        made.independent = !self
            .pending
            .iter()
            .any(|one| one.independent && one.until_ms > at_ms && one.partition == made.partition);
        let eps = settings.risk.exposure.incident_share;
        if self.events.iter().all(|event| made.strike(event, now_ms, eps) != Struck::Unclear) {
            self.pending.push(made);
        }
    }

    /// Takes in a failure of nodes.
    fn strike(&mut self, nodes: Vec<u32>, at_ms: u64, now_ms: u64, settings: &Settings) -> Marked {
        self.define(settings);
        let number = self.number(&nodes, at_ms, settings);
        let event = Event { number, at_ms, nodes };
        let mut marked = Marked::default();
        let eps = settings.risk.exposure.incident_share;
        self.pending.retain_mut(|one| match one.strike(&event, now_ms, eps) {
            Struck::Not => true,
            Struck::Incident => {
                marked.incidents += 1;
                true
            }
            Struck::Unclear => {
                marked.unclear += 1;
                false
            }
        });
        self.events.push_back(event);
        self.events.drain(..self.events.len().saturating_sub(EVENTS));
        marked
    }

    /// The number of an event: that of another one of a node of these within a horizon, as a node that fails ten times
    /// a day teaches no more than one that stays away.
    fn number(&mut self, nodes: &[u32], at_ms: u64, settings: &Settings) -> u32 {
        let horizon_ms = ms(settings.horizon_h);
        self.events.retain(|event| at_ms.saturating_sub(event.at_ms) <= horizon_ms);
        let known = self.events.iter().rev().find(|event| {
            event.at_ms.abs_diff(at_ms) <= horizon_ms && event.nodes.iter().any(|node| nodes.contains(node))
        });
        known.map_or_else(
            || {
                self.next_event = self.next_event.wrapping_add(1);
                self.next_event
            },
            |event| event.number,
        )
    }
}

impl State {
    /// Remembers what was predicted, to compare it with what comes. To be called after every cycle with the records
    /// that [`crate::assess()`] made; those of the first one in an hour are taken, of [`PER_HOUR`] partitions at most,
    /// in turn. Returns how many.
    pub fn predicted(&mut self, records: &[Record], settings: &Settings) -> usize {
        let Some(at_ms) = records.first().map(|record| record.at.0) else { return 0 };
        let hour = at_ms / HOUR_MS;
        self.calibrator.define(settings);
        if self.calibrator.predicted_h.is_some_and(|last| last >= hour) {
            return 0;
        }
        self.calibrator.predicted_h = Some(hour);
        let now_ms = self.until_ms.unwrap_or(at_ms);
        let stride = records.len().div_ceil(PER_HOUR) as u64;
        let before = self.calibrator.pending.len();
        for (_, record) in (0_u64..).zip(records).filter(|(at, _)| (at + hour).is_multiple_of(stride)) {
            let Some(exposed) = record.exposure else { continue };
            let name = (record.system.clone(), record.partition.clone());
            let Some(shares) = shares(self, &name, settings) else { continue };
            let made = Prediction::new(name, at_ms, ms(exposed.horizon_h), exposed.risk, record.calibrated);
            self.calibrator.remember(made, &shares, now_ms, at_ms, settings);
        }
        self.calibrator.pending.len() - before
    }

    /// Takes in that nodes, by system and name, failed together at a moment: one node, or those of a failure domain.
    /// It is the incident of every partition of which they served at least `incident_share` of the reads. Failures
    /// that are told of more than an hour late make unclear what became of the partitions that the nodes served.
    ///
    /// Only failures are to be told of. A node that is taken away on purpose, or whose agent is silent while it
    /// serves, is none.
    pub fn incident(&mut self, nodes: &[(&str, &str)], at: Timestamp, settings: &Settings) -> Marked {
        let number = |(system, name): &(&str, &str)| {
            self.nodes.get(&((*system).to_owned(), (*name).to_owned())).copied()
        };
        // A node that never served anything takes nothing.
        let numbers: Vec<u32> = nodes.iter().filter_map(number).collect();
        if numbers.is_empty() {
            return Marked::default();
        }
        let now_ms = self.until_ms.unwrap_or(at.as_ms());
        self.calibrator.strike(numbers, at.as_ms(), now_ms, settings)
    }

    /// What was learned of risks.
    #[must_use]
    pub fn calibrator(&self) -> &Calibrator {
        &self.calibrator
    }

    /// Lets predictions follow a step of a minute.
    pub(crate) fn follow_predictions(
        &mut self,
        end: Timestamp,
        step_ms: u64,
        cluster: &Cluster,
        settings: &Settings,
    ) {
        let moving: BTreeSet<(&str, &str)> = cluster
            .partitions
            .iter()
            .filter(|partition| partition.moving)
            .map(|partition| (partition.system.as_str(), partition.name.as_str()))
            .collect();
        let mut calibrator = std::mem::take(&mut self.calibrator);
        calibrator.follow(end.as_ms(), step_ms, settings, |name| {
            if moving.contains(&(name.0.as_str(), name.1.as_str())) {
                return Seen::Moving;
            }
            shares(self, name, settings).map_or(Seen::Nothing, Seen::Shares)
        });
        self.calibrator = calibrator;
    }
}

/// Shares of all nodes that serve a partition; `None` if they are not known.
fn shares(state: &State, name: &Name, settings: &Settings) -> Option<Vec<(u32, f64)>> {
    let partition = state.partitions.get(name)?;
    let share = |node: u32| Some((node, partition.share(node, settings)?));
    let shares: Vec<(u32, f64)> =
        partition.slots.iter().map(|slot| share(slot.node)).collect::<Option<_>>()?;
    (!shares.is_empty()).then_some(shares)
}

fn ms(hours: f64) -> u64 {
    (hours * HOUR_MS as f64).round() as u64
}

fn curve(said: impl Iterator<Item = (f64, Option<u32>)>) -> Option<Curve> {
    let (said, came): (Vec<f64>, Vec<bool>) = said.map(|(value, event)| (value, event.is_some())).unzip();
    let binning = Binning::EqualCount(CURVE_BINS);
    let reliability = Reliability::new(&said, &came, binning, CURVE_LEVEL).ok()?;
    Some(Curve { reliability, brier: brier(&said, &came).ok()?, labels: said.len() })
}
