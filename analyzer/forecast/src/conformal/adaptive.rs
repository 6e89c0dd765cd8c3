//! A level that follows how often intervals were missed.

use super::{Conformal, ConformalError, Forecasted, finite, place, window::needed};
use crate::Interval;
use crate::conformal::Sides;
use serde::{Deserialize, Serialize};

/// Conformal intervals of a series that drifts (Gibbs and Candes 2021).
///
/// Per step ahead the risk `a` of the next interval moves with each outcome by `rate (1 - level - missed)`: a
/// miss widens what comes, a hit narrows it a little. The share of misses nears `1 - level` in the long run for
/// any series, at the price that a range may be without bounds when no error that was seen is large enough.
/// The paper's rate is .005; larger ones follow faster and vary more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct Adaptive {
    conformal: Conformal,
    level: f64,
    rate: f64,
    /// Per step ahead, step 1 first. Finite; at or below 0 no range is wide enough.
    risks: Vec<f64>,
}

/// What is given out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Range {
    /// An interval.
    Bounded(Interval),
    /// All values: errors as large as the level asks for have not been seen.
    Unbounded,
}

impl Range {
    /// Whether a value lies in it, its ends included.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        match self {
            Self::Bounded(interval) => interval.low <= value && value <= interval.high,
            Self::Unbounded => true,
        }
    }
}

impl Adaptive {
    /// From errors so far, at a level, with a rate.
    ///
    /// # Errors
    /// A level or a rate outside (0, 1).
    pub fn new(conformal: Conformal, level: f64, rate: f64) -> Result<Self, ConformalError> {
        let risks = vec![1.0 - level; conformal.horizon()];
        Self::try_from(Parts { conformal, level, rate, risks })
    }

    /// The errors so far.
    #[must_use]
    pub fn conformal(&self) -> &Conformal {
        &self.conformal
    }

    /// The risk of the next range per step ahead, step 1 first; `1 - level` at first.
    #[must_use]
    pub fn risks(&self) -> &[f64] {
        &self.risks
    }

    /// The range of one step.
    ///
    /// # Errors
    /// As [`Conformal::interval_at`]; there are too few errors if they are too few for the level asked for.
    pub fn range_at(&self, forecasted: Forecasted) -> Result<Range, ConformalError> {
        let at = place(forecasted.step, self.conformal.horizon())?;
        let (have, need) = (self.conformal.errors_at(at), self.needed());
        if have < need {
            return Err(ConformalError::TooFewErrors { step: forecasted.step, have, need });
        }
        // With a risk of 1 and more the narrowest there is.
        let level = (1.0 - self.risks[at]).max(f64::MIN_POSITIVE);
        if level >= 1.0 {
            return Ok(Range::Unbounded);
        }
        match self.conformal.interval_at(forecasted, level) {
            Ok(interval) => Ok(Range::Bounded(interval)),
            Err(ConformalError::TooFewErrors { .. }) => Ok(Range::Unbounded),
            Err(error) => Err(error),
        }
    }

    /// Takes in what came of a forecast, and the range that was given out for it, if any was; nothing if the
    /// actual value is missing. To be told in the order of time, once per forecast and step.
    ///
    /// # Errors
    /// As [`Conformal::observe`].
    pub fn observe(
        &mut self,
        forecasted: Forecasted,
        given: Option<Range>,
        actual: f64,
    ) -> Result<(), ConformalError> {
        self.conformal.observe(forecasted, actual)?;
        if let (Some(range), false) = (given, actual.is_nan()) {
            let missed = if range.contains(actual) { 0.0 } else { 1.0 };
            self.risks[forecasted.step - 1] += self.rate * (1.0 - self.level - missed);
        }
        Ok(())
    }

    /// Errors that the level asked for needs.
    fn needed(&self) -> usize {
        match self.conformal.settings().sides {
            Sides::Same => needed(self.level),
            Sides::Each => needed(0.5 + self.level / 2.0),
        }
    }
}

/// How it is written down.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    conformal: Conformal,
    level: f64,
    rate: f64,
    risks: Vec<f64>,
}

impl TryFrom<Parts> for Adaptive {
    type Error = ConformalError;

    fn try_from(parts: Parts) -> Result<Self, ConformalError> {
        let Parts { conformal, level, rate, risks } = parts;
        if !(level > 0.0 && level < 1.0) {
            return Err(ConformalError::Level(level));
        }
        if !(rate > 0.0 && rate < 1.0) {
            return Err(ConformalError::Rate(rate));
        }
        if risks.len() != conformal.horizon() {
            return Err(ConformalError::Step { step: risks.len(), horizon: conformal.horizon() });
        }
        for (at, risk) in risks.iter().enumerate() {
            finite(at + 1, *risk)?;
        }
        Ok(Self { conformal, level, rate, risks })
    }
}

impl From<Adaptive> for Parts {
    fn from(adaptive: Adaptive) -> Self {
        let Adaptive { conformal, level, rate, risks } = adaptive;
        Self { conformal, level, rate, risks }
    }
}
