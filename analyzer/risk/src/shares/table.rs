//! What follows from an entropy, looked up.
//!
//! A risk over simulated paths asks for the exposure at thousands of entropies of one partition. Tilting to each
//! would cost a search; the table tilts once to a few powers and reads in between.
//!
//! It is laid out over the power, not the entropy: near even shares the entropy is flat (shares move by the root of
//! what it lacks), so even steps of entropy would put the largest error where most partitions are. Cells are halved
//! until the middle of each is within the tolerance.

use super::{normalised_entropy, tilt, tilt_to};
use thiserror::Error;

/// Cells at first, and the most there may be after halving.
const FIRST_CELLS: usize = 16;
const MOST_POINTS: usize = 2048;

/// What cannot be tabulated.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum TableError {
    /// Fewer than two nodes, or shares that do not add up to something.
    #[error("{shares:?} are no shares of two nodes or more")]
    NoShares {
        /// What was given.
        shares: Vec<f64>,
    },
    /// A value of the function that is no number.
    #[error("the function is {value} of the shares {shares:?}")]
    NotFinite {
        /// The value.
        value: f64,
        /// The shares.
        shares: Vec<f64>,
    },
    /// The tolerance is not a number above 0.
    #[error("the tolerance is {0}, and must be above 0")]
    Tolerance(f64),
}

/// A function of shares, by the normalised entropy that they are tilted to.
#[derive(Debug, Clone, PartialEq)]
pub struct TiltTable {
    /// Rising entropies, and the values there.
    entropy: Vec<f64>,
    value: Vec<f64>,
    worst_seen: f64,
}

#[derive(Clone, Copy)]
struct Point {
    /// tau / (1 + tau): 0 is even, 1 all on the largest.
    x: f64,
    entropy: f64,
    value: f64,
}

impl TiltTable {
    /// Tabulates a function of shares over all powers of the given ones. Where these cannot be tilted to less (they
    /// are even), the baseline's are tilted, if there are some.
    ///
    /// In between, values are read off a straight line over entropy; cells are halved until the middle of each is
    /// within `tolerance` of its line, in the unit of the function, or there are 2,048 points.
    ///
    /// # Errors
    /// No shares, no tolerance, or a value that is not finite.
    pub fn new(
        shares: &[f64],
        baseline: Option<&[f64]>,
        tolerance: f64,
        mut function: impl FnMut(&[f64]) -> f64,
    ) -> Result<Self, TableError> {
        if tolerance.is_nan() || tolerance <= 0.0 {
            return Err(TableError::Tolerance(tolerance));
        }
        let no_shares = || TableError::NoShares { shares: shares.to_vec() };
        let middle = tilt_to(shares, baseline, 0.5).ok_or_else(no_shares)?;
        let family = match middle.reached {
            super::Reached::Baseline => baseline.unwrap_or(shares),
            super::Reached::Present | super::Reached::Nearest { .. } => shares,
        };
        let mut tilted = Vec::with_capacity(shares.len());
        let mut point = |x: f64| -> Result<Point, TableError> {
            let tau = x / (1.0 - x);
            tilt(family, tau, &mut tilted);
            let value = function(&tilted);
            let entropy = normalised_entropy(&tilted).ok_or_else(no_shares)?;
            let point = Point { x, entropy, value };
            if value.is_finite() {
                Ok(point)
            } else {
                Err(TableError::NotFinite { value, shares: tilted.clone() })
            }
        };
        let mut points = vec![point(0.0)?];
        let mut worst_seen = 0.0_f64;
        for cell in 0..FIRST_CELLS {
            let end = point(MOST_X * (cell + 1) as f64 / FIRST_CELLS as f64)?;
            let mut open = vec![end];
            while let Some(right) = open.pop() {
                let left = *points.last().expect("the first point is there");
                let between = point(0.5 * (left.x + right.x))?;
                let error = (between.value - line(left, right, between.entropy)).abs();
                if error > tolerance && points.len() + open.len() < MOST_POINTS {
                    open.push(right);
                    open.push(between);
                } else {
                    worst_seen = worst_seen.max(error);
                    points.push(right);
                }
            }
        }
        points.reverse();
        Ok(Self {
            entropy: points.iter().map(|point| point.entropy).collect(),
            value: points.iter().map(|point| point.value).collect(),
            worst_seen,
        })
    }

    /// The function's value at a normalised entropy; at the nearest that tilting reaches, beyond those. Not a number
    /// at what is none.
    #[must_use]
    pub fn at(&self, entropy: f64) -> f64 {
        if entropy.is_nan() {
            return f64::NAN;
        }
        let right = self.entropy.partition_point(|have| *have < entropy);
        if right == 0 {
            return self.value[0];
        }
        if right == self.entropy.len() {
            return self.value[right - 1];
        }
        let (low, high) = (self.entropy[right - 1], self.entropy[right]);
        let weight = if high > low { (entropy - low) / (high - low) } else { 0.5 };
        self.value[right - 1] + weight * (self.value[right] - self.value[right - 1])
    }

    /// Lowest and highest normalised entropy that tilting reaches.
    #[must_use]
    pub fn reach(&self) -> (f64, f64) {
        (self.entropy[0], self.entropy[self.entropy.len() - 1])
    }

    /// Largest error seen in the middle of a cell, in the unit of the function.
    #[must_use]
    pub const fn worst_seen(&self) -> f64 {
        self.worst_seen
    }
}

/// The largest power that is tabulated, 4,096, as tau / (1 + tau).
const MOST_X: f64 = 4096.0 / 4097.0;

fn line(left: Point, right: Point, entropy: f64) -> f64 {
    let (from, to) = (right.entropy, left.entropy);
    let weight = if to > from { (entropy - from) / (to - from) } else { 0.5 };
    right.value + weight * (left.value - right.value)
}
