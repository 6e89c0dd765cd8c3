//! Many ways down at once: as many series, or starts of one series, as there are lanes.

use crate::descent::{Descent, Effort, Found, Point};
use crate::lane::{Lanes, Real};
use crate::likelihood::{MAX_PARAMETERS, Scratch, Shape};
use crate::processor::Instructions;
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

/// Follows the way down from a start in each lane; `None` in lanes that have none, and where there is no
/// likelihood.
pub(crate) fn minimise<const W: usize>(
    instructions: Instructions,
    shape: Shape,
    w: &[Lanes<W>],
    starts: &[Option<Point>; W],
    effort: Effort,
    scratch: &mut Scratch<W>,
) -> [Option<Minimum>; W] {
    let mut ways: [Option<Descent>; W] =
        std::array::from_fn(|lane| starts[lane].map(|start| Descent::new(shape.parameters(), start, effort)));
    let mut minima = [None; W];
    let mut partial = [Lanes::<W>::zero(); MAX_PARAMETERS];
    loop {
        let mut any = false;
        for (lane, way) in ways.iter().enumerate() {
            if let Some(next) = way.as_ref().and_then(Descent::next) {
                any = true;
                for (partial, next) in partial.iter_mut().zip(next) {
                    partial.0[lane] = *next;
                }
            }
        }
        if !any {
            return minima;
        }
        let evaluation = instructions.evaluate(shape, w, &partial, scratch);
        for (lane, way) in ways.iter_mut().enumerate() {
            let Some(way) = way.as_mut() else { continue };
            let Some(&at) = way.next() else { continue };
            let found = Found {
                deviance: evaluation.deviance.0[lane],
                gradient: std::array::from_fn(|i| evaluation.gradient[i].0[lane]),
                curvature: Some(std::array::from_fn(|i| {
                    std::array::from_fn(|j| evaluation.curvature[i][j].0[lane])
                })),
            };
            let deviance = found.deviance;
            if way.take(found) {
                minima[lane] = Some(Minimum {
                    at,
                    deviance,
                    sum_of_squares: evaluation.sum_of_squares.0[lane],
                    constant: evaluation.constant.0[lane],
                });
            }
        }
    }
}
