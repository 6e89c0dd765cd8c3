//! Many ways down at once: as many series, or starts of one series, as there are lanes.

use crate::descent::{Curvature, Descent, Effort, Found, Point};
use crate::lane::Lane;
use crate::likelihood::{Evaluation, MAX_PARAMETERS, Scratch, Shape};
use crate::processor::Computed;
use std::cmp::Ordering;

/// The least deviance that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Minimum {
    /// Partial autocorrelations.
    pub(crate) at: Point,
    pub(crate) deviance: f64,
    pub(crate) sum_of_squares: f64,
    /// Of the values as they were given to the search.
    pub(crate) constant: f64,
}

impl Minimum {
    /// The less deviance, the less.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        self.deviance.total_cmp(&other.deviance)
    }
}

/// Follows the way down from a start in each lane, of which there may be fewer than lanes; `None` where there is no
/// likelihood.
pub(crate) fn minimise<T: Computed>(
    shape: Shape,
    w: &[T],
    starts: &[Point],
    effort: Effort,
    scratch: &mut Scratch<T>,
) -> Vec<Option<Minimum>> {
    let mut ways: Vec<Descent> =
        starts.iter().map(|start| Descent::new(shape.parameters(), *start, effort)).collect();
    let mut minima = vec![None; starts.len()];
    let mut partial = [T::zero(); MAX_PARAMETERS];
    let mut evaluation = Evaluation::new();
    loop {
        let mut any = false;
        for (lane, way) in ways.iter().enumerate() {
            if let Some(next) = way.next() {
                any = true;
                for (partial, next) in partial.iter_mut().zip(next) {
                    partial.set(lane, *next);
                }
            }
        }
        if !any {
            return minima;
        }
        T::evaluate(shape, w, &partial, scratch, &mut evaluation);
        for (lane, way) in ways.iter_mut().enumerate() {
            let Some(&at) = way.next() else { continue };
            let found = found(shape, &evaluation, lane);
            let deviance = found.deviance;
            if way.take(found) {
                minima[lane] = Some(Minimum {
                    at,
                    deviance,
                    sum_of_squares: evaluation.sum_of_squares.get(lane),
                    constant: evaluation.constant.get(lane),
                });
            }
        }
    }
}

/// What was found in a lane.
fn found<T: Lane>(shape: Shape, evaluation: &Evaluation<T>, lane: usize) -> Found {
    let k = shape.parameters();
    let mut gradient = Point::default();
    let mut curvature = Curvature::default();
    for i in 0..k {
        gradient[i] = evaluation.gradient[i].get(lane);
        for j in 0..k {
            curvature[i][j] = evaluation.curvature[i][j].get(lane);
        }
    }
    Found { deviance: evaluation.deviance.get(lane), gradient, curvature: Some(curvature) }
}
