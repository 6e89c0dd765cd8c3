//! The maximum of the likelihood of a series with missing values.
//!
//! The likelihood is the Kalman filter's; its gradient is taken from differences, and the curvature is learned on
//! the way.

use crate::descent::{Descent, Effort, Point};
use crate::likelihood::Shape;
use crate::polynomial::coefficients;
use crate::search::Minimum;
use crate::state::deviance;

/// The step of a difference: a central one, whose error is of its square.
const STEP: f64 = 1e-5;

/// Differences know the gradient to so many digits only, so that a smaller gain would be chance.
const LEAST_GAIN: f64 = 1e-7;

/// What [`crate::search::minimise`] does, for one series with `d` differences still to be taken, from the best
/// of some starts.
pub(crate) fn minimise(
    shape: Shape,
    d: usize,
    series: &[f64],
    starts: &[Point],
    effort: Effort,
) -> Option<Minimum> {
    let effort = Effort { least_gain: effort.least_gain.max(LEAST_GAIN), ..effort };
    starts.iter().filter_map(|start| descend(shape, d, series, *start, effort)).min_by(Minimum::compare)
}

fn descend(shape: Shape, d: usize, series: &[f64], start: Point, effort: Effort) -> Option<Minimum> {
    let mut way = Descent::new(shape.parameters(), start, effort);
    let mut best = None;
    while let Some(&at) = way.next() {
        let here = look(shape, d, series, &at);
        let deviance = here.map_or(f64::NAN, |here| here.deviance);
        let slopes = if here.is_some() { gradient(shape, d, series, &at) } else { Point::default() };
        if way.take(deviance, &slopes, |_| {}) {
            best = here;
        }
    }
    best
}

/// The deviance at a point, with the best constant.
fn look(shape: Shape, d: usize, series: &[f64], at: &Point) -> Option<Minimum> {
    let Shape { p, q, constant } = shape;
    let ar = coefficients(&at[..p]);
    let ma = coefficients(&at[p..p + q]).map(|c| -c);
    let filtered = deviance(&ar[..p], &ma[..q], d, constant.then_some(0.0), series)?;
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

fn gradient(shape: Shape, d: usize, series: &[f64], at: &Point) -> Point {
    std::array::from_fn(|i| {
        if i >= shape.parameters() {
            return 0.0;
        }
        let to = |by: f64| {
            let mut point = *at;
            // Within the open interval; where it is narrow, a narrower difference.
            point[i] += by * (1.0 - at[i].abs()).min(1.0);
            (point[i], look(shape, d, series, &point).map_or(f64::NAN, |found| found.deviance))
        };
        let ((high, above), (low, below)) = (to(STEP), to(-STEP));
        (above - below) / (high - low)
    })
}
