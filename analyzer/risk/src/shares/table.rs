//! What follows from an entropy, looked up.
//!
//! A risk over simulated paths asks for the exposure at thousands of entropies of one partition. Tilting to each
//! would cost a search; the table tilts once to a few powers and reads in between.
//!
//! Near even shares the entropy is flat (shares move by the root of what it lacks), so even steps of entropy would
//! put the largest error where most partitions are. So cells are halved until the middle and the quarters of each are
//! within the tolerance of a straight line; these are then points of the table too, which leaves still less.

use super::{Reached, Tilted, normalised_entropy, tilt_to};
use thiserror::Error;

/// Cells at first, and about the most points there may be after halving.
const FIRST_CELLS: usize = 4;
const MOST_POINTS: usize = 2048;

/// Cells of entropy that are not halved any more: tilting meets an entropy only so well.
const NARROWEST: f64 = 1e-10;

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
    entropy: f64,
    value: f64,
}

impl TiltTable {
    /// Tabulates a function of shares over all powers of the given ones. Where these cannot be tilted to less (they
    /// are even), the baseline's are tilted, if there are some.
    ///
    /// In between, values are read off a straight line over entropy; cells are halved until they are within
    /// `tolerance` of their lines where they are looked at, in the unit of the function, or there are 2,048 points.
    /// It takes 17 evaluations of the function at least; a tolerance of a hundredth of its value, hardly more.
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
            Reached::Baseline => baseline.unwrap_or(shares),
            Reached::Present | Reached::Nearest { .. } => shares,
        };
        let mut point = |target: f64| -> Result<Point, TableError> {
            let Tilted { shares, .. } = tilt_to(family, None, target).ok_or_else(no_shares)?;
            let entropy = normalised_entropy(&shares).ok_or_else(no_shares)?;
            let value = function(&shares);
            if value.is_finite() {
                Ok(Point { entropy, value })
            } else {
                Err(TableError::NotFinite { value, shares })
            }
        };
        let (lowest, highest) = (point(0.0)?, point(1.0)?);
        let mut points = vec![lowest];
        let mut worst_seen = 0.0_f64;
        let mut open = vec![highest];
        for cell in (1..FIRST_CELLS).rev() {
            let weight = cell as f64 / FIRST_CELLS as f64;
            open.push(point(lowest.entropy + weight * (highest.entropy - lowest.entropy))?);
        }
        while let Some(right) = open.pop() {
            let left = *points.last().expect("the first point is there");
            let mut inside = |weight: f64| point(left.entropy + weight * (right.entropy - left.entropy));
            let middle = inside(0.5)?;
            let room = points.len() + open.len() < MOST_POINTS && right.entropy - left.entropy > NARROWEST;
            if room && off(left, right, middle) > tolerance {
                open.extend([right, middle]);
                continue;
            }
            let quarters = [inside(0.25)?, inside(0.75)?];
            let worst =
                quarters.iter().fold(off(left, right, middle), |worst, at| worst.max(off(left, right, *at)));
            if room && worst > tolerance {
                open.extend([right, middle]);
                continue;
            }
            worst_seen = worst_seen.max(worst);
            points.extend([quarters[0], middle, quarters[1], right]);
        }
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

    /// Largest error seen inside a cell before the points seen were put into the table, in the unit of the function.
    #[must_use]
    pub const fn worst_seen(&self) -> f64 {
        self.worst_seen
    }
}

/// How far a point is from the straight line between two others.
fn off(left: Point, right: Point, between: Point) -> f64 {
    let width = right.entropy - left.entropy;
    let weight = if width > 0.0 { (between.entropy - left.entropy) / width } else { 0.5 };
    (between.value - (left.value + weight * (right.value - left.value))).abs()
}
