//! What follows from an entropy, looked up.
//!
//! A risk over simulated paths asks for the exposure at thousands of entropies of one partition. Tilting to each
//! would cost a search; the table tilts once to a few powers and reads in between.
//!
//! Near even shares the entropy is flat (shares move by the root of what it lacks), so even steps of entropy would
//! put the largest error where most partitions are. So cells are halved until the middle and the quarters of each are
//! within the tolerance of a straight line; these are then points of the table too, which leaves still less.

use super::tilt::MOST_TAU;
use super::{Reached, tilt_to};
use thiserror::Error;

/// Points there are at least where the entropy has room, and about the most.
const FEWEST_POINTS: usize = 5;
const MOST_POINTS: usize = 2048;

/// Share of the tolerance that points looked at must be within: where a function has kinks, it may be farther off in
/// between, and nobody looks there.
const SAFETY: f64 = 0.25;

/// Tries to find a place of about some entropy; every second one halves the logarithm of the powers.
const TRIES: usize = 64;

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
struct Place {
    tau: f64,
    entropy: f64,
}

#[derive(Clone, Copy)]
struct Point {
    place: Place,
    value: f64,
}

impl TiltTable {
    /// Tabulates a function of shares over all powers of the given ones. Where these cannot be tilted to less (they
    /// are even), the baseline's are tilted, if there are some.
    ///
    /// In between, values are read off a straight line over entropy; cells are halved until they are within
    /// a quarter of `tolerance` of their lines where they are looked at, in the unit of the function, or there are 2,048 points.
    /// It takes a dozen evaluations of the function at least, and some 50 for a tolerance of a hundredth of an
    /// exposure.
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
        let logs = Logs::of(family);
        let mut tilted = Vec::with_capacity(family.len());
        let mut point = |place: Place| -> Result<Point, TableError> {
            logs.tilt(place.tau, &mut tilted);
            let value = function(&tilted);
            if value.is_finite() {
                Ok(Point { place, value })
            } else {
                Err(TableError::NotFinite { value, shares: tilted.clone() })
            }
        };
        let close = tolerance * SAFETY;
        let mut points = vec![point(logs.place(MOST_TAU))?];
        let mut worst_seen = 0.0_f64;
        let mut open = vec![point(logs.place(0.0))?];
        while let Some(right) = open.pop() {
            let left = *points.last().expect("the first point is there");
            let mut inside = |weight: f64| point(logs.between(left.place, right.place, weight));
            let middle = inside(0.5)?;
            let width = right.place.entropy - left.place.entropy;
            let room = points.len() + open.len() < MOST_POINTS && width > NARROWEST;
            if room && off(left, right, middle) > close {
                open.extend([right, middle]);
                continue;
            }
            let quarters = [inside(0.25)?, inside(0.75)?];
            let worst =
                quarters.iter().fold(off(left, right, middle), |worst, at| worst.max(off(left, right, *at)));
            if room && (worst > close || points.len() + open.len() < FEWEST_POINTS) {
                open.extend([right, middle]);
                continue;
            }
            worst_seen = worst_seen.max(worst);
            points.extend([quarters[0], middle, quarters[1], right]);
        }
        points.sort_by(|a, b| a.place.entropy.total_cmp(&b.place.entropy));
        Ok(Self {
            entropy: points.iter().map(|point| point.place.entropy).collect(),
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
    let width = right.place.entropy - left.place.entropy;
    let weight = if width > 0.0 { (between.place.entropy - left.place.entropy) / width } else { 0.5 };
    (between.value - (left.value + weight * (right.value - left.value))).abs()
}

/// Logarithms of shares over the largest, of those that serve something.
struct Logs {
    of: Vec<Option<f64>>,
    most: f64,
}

impl Logs {
    fn of(shares: &[f64]) -> Self {
        let largest = shares.iter().copied().fold(0.0, f64::max);
        let of = shares.iter().map(|share| (*share > 0.0).then(|| (share / largest).ln())).collect();
        Self { of, most: (shares.len() as f64).ln() }
    }

    fn tilt(&self, tau: f64, tilted: &mut Vec<f64>) {
        tilted.clear();
        tilted.extend(self.of.iter().map(|log| log.map_or(0.0, |log| (tau * log).exp())));
        let sum: f64 = tilted.iter().sum();
        tilted.iter_mut().for_each(|share| *share /= sum);
    }

    /// Entropy in nats is the logarithm of the sum of weights, less tau times the mean logarithm.
    fn place(&self, tau: f64) -> Place {
        let (mut sum, mut mean) = (0.0, 0.0);
        for log in self.of.iter().flatten() {
            let weight = (tau * log).exp();
            sum += weight;
            mean += weight * log;
        }
        Place { tau, entropy: ((sum.ln() - tau * mean / sum) / self.most).clamp(0.0, 1.0) }
    }

    /// Somewhere between two places: near the weighted mean of their entropies, which need not be met, as a point
    /// of the table is where it is. `low` has less entropy, and so the larger power.
    fn between(&self, low: Place, high: Place, weight: f64) -> Place {
        let width = high.entropy - low.entropy;
        let target = low.entropy + weight * width;
        let (mut low, mut high) = (low, high);
        let mut found = high;
        for step in 0..TRIES {
            let secant =
                low.tau + (target - low.entropy) / (high.entropy - low.entropy) * (high.tau - low.tau);
            let middle = ((1.0 + low.tau) * (1.0 + high.tau)).sqrt() - 1.0;
            let tau = if step % 2 == 0 && secant.is_finite() { secant } else { middle };
            found = self.place(tau.clamp(high.tau, low.tau));
            if (found.entropy - target).abs() <= 0.12 * width {
                break;
            }
            if found.entropy > target { high = found } else { low = found }
        }
        found
    }
}
