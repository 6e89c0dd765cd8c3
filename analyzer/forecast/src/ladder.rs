//! Where to start when the highest maximum is wanted.
//!
//! The likelihood of a mixed model has many maxima: wherever a root of one part nearly cancels one of the other,
//! and at each swing that a pair of such roots can follow. Each smaller model is on a ridge of the larger one, so
//! the maxima of all smaller orders are climbed first, and lead to the larger one along different factors. What
//! remains is looked for from points that are spread evenly.

use crate::descent::{Effort, Point};
use crate::estimate::{Task, ends};
use crate::likelihood::Shape;
use crate::processor::Instructions;
use crate::search::Minimum;
use crate::series::Values;
use crate::start::{embed, spread, starts, with_factor};
use std::collections::BTreeMap;
use std::f64::consts::PI;

/// How well a rung has to be known.
const ROUGH: Effort = Effort { least_gain: 1e-3, evaluations: 40, gives_up: true };

/// Maxima from which the search goes on to the end.
const KEPT: usize = 6;

/// Points that are the same maximum: nearer than this in height and in each coordinate.
const SAME: f64 = 1e-2;

/// Roots of real factors, and the length and the number of the angles of complex ones.
const REAL: [f64; 4] = [0.9, -0.9, 0.5, -0.5];
const LENGTH: f64 = 0.95;
const ANGLES: usize = 10;

/// Points spread over the region, for models of one and of more terms of each kind.
const FEW: usize = 8;
const MANY: usize = 24;

/// How many starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// For a rung.
    Near,
    /// For the top.
    Wide,
}

/// For each series, differenced, the most promising points of a shape, the best first.
pub(crate) fn climb(shape: Shape, series: &[&[f64]], instructions: Instructions) -> Vec<Vec<Point>> {
    let mut rungs: Vec<BTreeMap<(usize, usize), Point>> = vec![BTreeMap::new(); series.len()];
    let mut points = vec![Vec::new(); series.len()];
    // Pure models need no ladder of the other part; sums of terms grow, so that smaller ones come first.
    let mut orders: Vec<(usize, usize)> =
        (0..=shape.p).flat_map(|p| (0..=shape.q).map(move |q| (p, q))).collect();
    orders.sort_by_key(|(p, q)| (p + q, *p));
    for (p, q) in orders {
        let here = Shape { p, q, ..shape };
        let reach = if here == shape { Reach::Wide } else { Reach::Near };
        let tasks: Vec<Task<'_>> = series
            .iter()
            .zip(&rungs)
            .map(|(w, rungs)| Task {
                shape: here,
                values: Values::Differenced(w),
                starts: leads(here, w, reach, |p, q| rungs.get(&(p, q)).copied()),
                bar: None,
            })
            .collect();
        for (at, ends) in ends(&tasks, ROUGH, instructions).into_iter().enumerate() {
            if let Some(best) = ends.first() {
                rungs[at].insert((p, q), best.at);
            }
            if reach == Reach::Wide {
                points[at] = distinct(&ends, KEPT).map(|end| end.at).collect();
            }
        }
    }
    points
}

/// Starts for a shape, with what is known of smaller ones.
pub(crate) fn leads(
    shape: Shape,
    w: &[f64],
    reach: Reach,
    known: impl Fn(usize, usize) -> Option<Point>,
) -> Vec<Point> {
    let Shape { p, q, .. } = shape;
    let less = |of_p: usize, of_q: usize| {
        let smaller = Shape { p: p.checked_sub(of_p)?, q: q.checked_sub(of_q)?, ..shape };
        Some((smaller, known(smaller.p, smaller.q)?))
    };
    let mut leads: Vec<Point> = [less(1, 0), less(0, 1)]
        .into_iter()
        .flatten()
        .map(|(smaller, point)| embed(smaller, &point, shape))
        .collect();
    if let Some((smaller, point)) = less(1, 1) {
        leads.extend(REAL.iter().filter_map(|root| with_factor(smaller, &point, &[*root])));
    }
    if let (Reach::Wide, Some((smaller, point))) = (reach, less(2, 2)) {
        leads.extend((0..ANGLES).filter_map(|at| {
            let angle = PI * (at as f64 + 0.5) / ANGLES as f64;
            with_factor(smaller, &point, &[2.0 * LENGTH * angle.cos(), -LENGTH * LENGTH])
        }));
    }
    leads.extend(starts(shape, w, if reach == Reach::Wide { 8 } else { 3 }));
    if reach == Reach::Wide && q > 0 && p + q > 1 {
        leads.extend(spread(shape, if p > 0 && p + q > 2 { MANY } else { FEW }));
    }
    leads
}

/// The first so many that are not the same maximum.
pub(crate) fn distinct(ends: &[Minimum], count: usize) -> impl Iterator<Item = &Minimum> {
    let same = |one: &Minimum, other: &Minimum| {
        (one.deviance - other.deviance).abs() < SAME
            && one.at.iter().zip(&other.at).all(|(a, b)| (a - b).abs() < SAME)
    };
    let first = move |at: &usize| !ends[..*at].iter().any(|before| same(before, &ends[*at]));
    (0..ends.len()).filter(first).take(count).map(|at| &ends[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_is_no_lower_than_any_rung() {
        let w: Vec<f64> = (0..90_u32).map(|t| f64::from(t * t * 31 % 67) + f64::from(t % 9)).collect();
        let best = |p: usize, q: usize| {
            let shape = Shape { p, q, constant: true };
            let starts = climb(shape, &[&w], Instructions::Plain).remove(0);
            let task = Task { shape, values: Values::Differenced(&w), starts, bar: None };
            ends(&[task], ROUGH, Instructions::Plain)[0][0].deviance
        };
        let top = best(3, 3);
        for (p, q) in [(2, 3), (3, 2), (2, 2), (1, 3), (3, 0)] {
            assert!(top <= best(p, q) + 1e-3, "({p}, {q})");
        }
    }

    #[test]
    fn the_same_maximum_is_counted_once() {
        let end = |at: f64, deviance| {
            let mut point = Point::default();
            point[0] = at;
            Minimum { at: point, deviance, sum_of_squares: 1.0, constant: 0.0 }
        };
        let ends = [end(0.1, 3.0), end(0.101, 3.001), end(0.9, 3.002), end(0.1, 5.0)];
        let kept: Vec<f64> = distinct(&ends, 2).map(|end| end.at[0]).collect();
        assert_eq!(kept, [0.1, 0.9]);
    }
}
