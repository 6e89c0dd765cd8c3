//! Where a series left a model, by the Kalman filter.
//!
//! The model is carried in the innovations form, which has the fewest dimensions that will do:
//! `r = max(p + d, q)`, at most 7. Once the past is long enough the state is known exactly, and a step is a
//! dozen multiplications. Until then, and after missing values, its covariance is carried as a product
//! `S S'`, whose factor S is only ever turned by rotations: it cannot lose its sign, and near unit roots it
//! keeps twice the digits the covariance would.
//!
//! What is never done: no diffuse prior of a large variance. A differenced model starts after its first d
//! values, exactly.

mod apply;
mod factor;
mod filter;
mod system;
#[cfg(test)]
mod tests;

pub(crate) use factor::{gain, grow};
pub(crate) use filter::{Filtered, deviance};
pub(crate) use system::{Lanes, System};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// No state that a series leaves is larger, as its squares must be numbers of double precision.
const LARGEST: f64 = 1e200;

/// What the past says about the next values: the mean of the state, and how sure it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct State {
    /// What the values are counted from: the mean for `d = 0`, else the first value of the series.
    pub(crate) origin: f64,
    /// The mean of the state; zero beyond its dimension.
    pub(crate) mean: Lanes,
    /// Columns of S, where `S S'` is the covariance in units of the innovations' variance. None once the
    /// state is known exactly.
    pub(crate) columns: Vec<Lanes>,
}

impl State {
    /// Whether the past leaves no doubt about the state. After a missing value it does for a while; with a
    /// moving-average root on the unit circle it always does.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        self.columns.is_empty()
    }

    /// Expected next value.
    pub(crate) fn predicted(&self, system: &System) -> f64 {
        self.origin + (system.intercept() + self.mean[0])
    }

    /// Variance of the next value, in units of the innovations'.
    pub(crate) fn variance(&self) -> f64 {
        1.0 + self.columns.iter().map(|column| column[0] * column[0]).sum::<f64>()
    }

    /// Takes the next value: its innovation, and the innovation's variance in units of that of a state that
    /// is known.
    pub(crate) fn observe(&mut self, system: &System, value: f64) -> (f64, f64) {
        let value = value - self.origin;
        let error = value - (system.intercept() + self.mean[0]);
        let (variance, gain) = gain(system, &mut self.columns);
        self.mean = system.advance(&self.mean, value, &gain, error);
        (error, variance)
    }

    /// Goes on by a step whose value is missing.
    pub(crate) fn skip(&mut self, system: &System) {
        let expected = system.intercept() + self.mean[0];
        self.mean = system.carry(&self.mean, expected);
        grow(system, &mut self.columns);
    }
}

/// How a state is written down.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    origin: f64,
    mean: Lanes,
    columns: Vec<Lanes>,
}

#[derive(Debug, Error)]
#[error("no series leaves such a state")]
struct NoState;

impl TryFrom<Parts> for State {
    type Error = NoState;

    fn try_from(Parts { origin, mean, columns }: Parts) -> Result<Self, NoState> {
        let small = |entry: &f64| entry.abs() <= LARGEST;
        let bounded = small(&origin) && mean.iter().all(small) && columns.iter().flatten().all(small);
        let bounded = bounded && columns.len() <= system::LANES;
        if bounded { Ok(Self { origin, mean, columns }) } else { Err(NoState) }
    }
}
