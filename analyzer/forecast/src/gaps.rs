//! The maximum of the likelihood of a series with missing values.
//!
//! The likelihood is the Kalman filter's, and its gradient is taken from differences. How it bends is expected to
//! be as with the gaps filled by lines, which the fast likelihood tells, and is corrected on the way.

use crate::descent::{Curvature, Descent, Effort, Point};
use crate::likelihood::{Evaluation, MAX_PARAMETERS, Scratch, Shape};
use crate::polynomial::coefficients;
use crate::processor::Computed;
use crate::search::Minimum;
use crate::state::deviance;

/// The step of a central difference, whose error is of its square.
const CENTRAL: f64 = 1e-5;

/// The step of a forward difference: half as dear, and good enough to find the way.
const FORWARD: f64 = 1e-6;

/// From here on a gain is one that forward differences can tell.
const COARSE: f64 = 1e-3;

/// Differences know the gradient to so many digits only, so that a smaller gain would be chance.
const LEAST_GAIN: f64 = 1e-7;

/// A series with gaps, and what is to be fitted to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gappy<'a> {
    pub(crate) shape: Shape,
    /// Differences still to be taken.
    pub(crate) d: usize,
    pub(crate) series: &'a [f64],
    /// Differenced, its gaps filled by lines.
    pub(crate) filled: &'a [f64],
}

/// What [`crate::search::minimise`] does, for one series: from the best of some starts, or if the end has to be
/// known well, from each.
pub(crate) fn minimise(of: &Gappy<'_>, starts: &[Point], effort: Effort) -> Option<Minimum> {
    let effort = Effort { least_gain: effort.least_gain.max(LEAST_GAIN), ..effort };
    let coarse = effort.least_gain >= COARSE;
    let best = if coarse && starts.len() > 1 {
        starts.iter().filter_map(|start| of.look(start)).min_by(Minimum::compare)
    } else {
        None
    };
    if let Some(best) = best {
        return of.descend(best.at, effort);
    }
    starts.iter().filter_map(|start| of.descend(*start, effort)).min_by(Minimum::compare)
}

impl Gappy<'_> {
    fn descend(&self, start: Point, effort: Effort) -> Option<Minimum> {
        let mut way = Descent::new(self.shape.parameters(), start, effort);
        let mut expected = Expected::new(self.filled.len());
        let mut best: Option<Minimum> = None;
        while let Some(&at) = way.next() {
            let here = self.look(&at);
            let better = here.filter(|here| best.is_none_or(|best| here.deviance < best.deviance));
            // A gradient is needed where the search goes on from only.
            let slopes = match better {
                Some(here) if effort.least_gain >= COARSE => self.forward(&here),
                Some(_) => self.central(&at),
                None => Point::default(),
            };
            let deviance = here.map_or(f64::NAN, |here| here.deviance);
            if way.take(deviance, &slopes, |curvature| expected.at(self, &at, curvature)) {
                best = here;
            }
        }
        best
    }

    /// The deviance at a point, with the best constant.
    fn look(&self, at: &Point) -> Option<Minimum> {
        let Shape { p, q, constant } = self.shape;
        let ar = coefficients(&at[..p]);
        let ma = coefficients(&at[p..p + q]).map(|c| -c);
        let filtered = deviance(&ar[..p], &ma[..q], self.d, constant.then_some(0.0), self.series)?;
        let best = if constant { filtered.s_yx / filtered.s_xx } else { 0.0 };
        let sum_of_squares = filtered.s_yy - if constant { best * filtered.s_yx } else { 0.0 };
        let n = filtered.n as f64;
        let deviance = n * (sum_of_squares / n).ln() + filtered.log_det;
        (deviance.is_finite() && best.is_finite()).then_some(Minimum {
            at: *at,
            deviance,
            sum_of_squares,
            constant: best,
        })
    }

    fn forward(&self, here: &Minimum) -> Point {
        self.each(|i| {
            // Inwards, where there is room.
            let by = if here.at[i] > 0.0 { -FORWARD } else { FORWARD };
            let (to, found) = self.beside(&here.at, i, by);
            (found - here.deviance) / (to - here.at[i])
        })
    }

    fn central(&self, at: &Point) -> Point {
        self.each(|i| {
            let ((high, above), (low, below)) = (self.beside(at, i, CENTRAL), self.beside(at, i, -CENTRAL));
            (above - below) / (high - low)
        })
    }

    fn each(&self, slope: impl Fn(usize) -> f64) -> Point {
        std::array::from_fn(|i| if i < self.shape.parameters() { slope(i) } else { 0.0 })
    }

    /// A step along one parameter, within the open interval; where it is narrow, a narrower one.
    fn beside(&self, at: &Point, i: usize, by: f64) -> (f64, f64) {
        let mut point = *at;
        point[i] += by * (1.0 - at[i].abs()).min(1.0);
        (point[i], self.look(&point).map_or(f64::NAN, |found| found.deviance))
    }
}

/// What the fast likelihood of the filled series says about the curvature.
struct Expected {
    scratch: Scratch<f64>,
    evaluation: Evaluation<f64>,
}

impl Expected {
    fn new(n: usize) -> Self {
        Self { scratch: Scratch::new(n), evaluation: Evaluation::new() }
    }

    /// Leaves the curvature as it is where the filled series has none, say for a line.
    fn at(&mut self, of: &Gappy<'_>, at: &Point, curvature: &mut Curvature) {
        let mut partial = [0.0; MAX_PARAMETERS];
        partial.copy_from_slice(at);
        f64::evaluate(of.shape, of.filled, &partial, &mut self.scratch, &mut self.evaluation);
        let k = of.shape.parameters();
        let rows = &self.evaluation.curvature[..k];
        if rows.iter().all(|row| row[..k].iter().all(|bend| bend.is_finite())) {
            for (row, found) in curvature.iter_mut().zip(rows) {
                row[..k].copy_from_slice(&found[..k]);
            }
        }
    }
}
