//! Many ways down at once: as many series, or starts of one series, as there are lanes.

use crate::descent::{Curvature, Descent, Effort, Point};
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

/// A series and where to start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search<'a> {
    pub(crate) w: &'a [f64],
    pub(crate) starts: &'a [Point],
    /// A deviance that has to be reached to be of use; what is not likely to may be given up.
    pub(crate) bar: Option<f64>,
}

/// Follows the ways down from all starts of each search, and returns the lowest end; `None` where there is no
/// likelihood. All series have `n` values.
///
/// A lane takes the starts of a search one after the other, then the next search that no lane has taken: what
/// happens to a search does not depend on the others.
pub(crate) fn minimise<T: Computed>(
    shape: Shape,
    n: usize,
    searches: &[Search<'_>],
    effort: Effort,
) -> Vec<Option<Minimum>> {
    let mut minima = vec![None; searches.len()];
    let mut waiting = searches.iter().enumerate();
    let mut w = vec![T::zero(); n];
    let mut lanes: Vec<Option<Slot<'_>>> = Vec::with_capacity(T::WIDTH);
    lanes.resize_with(T::WIDTH, || None);
    let mut partial = [T::zero(); MAX_PARAMETERS];
    let mut scratch = Scratch::new(n);
    let mut evaluation = Evaluation::new();
    // Lanes without a series repeat the first.
    for (lane, slot) in lanes.iter_mut().enumerate() {
        *slot = waiting.next().and_then(|(at, search)| Slot::new(shape, at, search, effort));
        T::fill(&mut w, lane, searches.first().map_or(&[], |search| search.w));
        if let Some(slot) = slot {
            T::fill(&mut w, lane, slot.search.w);
        }
    }
    while lanes.iter().any(Option::is_some) {
        for (lane, slot) in lanes.iter().enumerate() {
            if let Some(next) = slot.as_ref().and_then(|slot| slot.way.next()) {
                for (partial, next) in partial[..shape.parameters()].iter_mut().zip(next) {
                    partial.set(lane, *next);
                }
            }
        }
        T::evaluate(shape, &w, &partial, &mut scratch, &mut evaluation);
        for (lane, slot) in lanes.iter_mut().enumerate() {
            let Some(now) = slot else { continue };
            now.take(shape, &evaluation, lane, effort);
            if now.way.next().is_none() {
                minima[now.at] = now.best;
                *slot = waiting.next().and_then(|(at, search)| Slot::new(shape, at, search, effort));
                if let Some(slot) = slot {
                    T::fill(&mut w, lane, slot.search.w);
                }
            }
        }
    }
    minima
}

/// A search that has a lane.
struct Slot<'a> {
    at: usize,
    search: Search<'a>,
    later: std::slice::Iter<'a, Point>,
    way: Descent,
    best: Option<Minimum>,
}

impl<'a> Slot<'a> {
    /// Nothing for a search without a start.
    fn new(shape: Shape, at: usize, search: &Search<'a>, effort: Effort) -> Option<Self> {
        let mut later = search.starts.iter();
        let way = Descent::new(shape.parameters(), *later.next()?, effort).below(search.bar);
        Some(Self { at, search: *search, later, way, best: None })
    }

    /// Takes what was found in its lane; where that is the end of a way, the next one begins.
    fn take<T: Lane>(&mut self, shape: Shape, evaluation: &Evaluation<T>, lane: usize, effort: Effort) {
        let Some(&at) = self.way.next() else { return };
        let k = shape.parameters();
        let deviance = evaluation.deviance.get(lane);
        let mut gradient = Point::default();
        for (to, from) in gradient[..k].iter_mut().zip(&evaluation.gradient) {
            *to = from.get(lane);
        }
        let better = self.best.is_none_or(|best| deviance < best.deviance);
        let curvature = |curvature: &mut Curvature| {
            for (to, from) in curvature[..k].iter_mut().zip(&evaluation.curvature) {
                for (to, from) in to[..k].iter_mut().zip(from) {
                    *to = from.get(lane);
                }
            }
        };
        if self.way.take(deviance, &gradient, curvature) && better {
            self.best = Some(Minimum {
                at,
                deviance,
                sum_of_squares: evaluation.sum_of_squares.get(lane),
                constant: evaluation.constant.get(lane),
            });
        }
        while self.way.next().is_none() {
            let Some(start) = self.later.next() else { return };
            let reached = self.best.map(|best| best.deviance);
            let bar = [reached, self.search.bar].into_iter().flatten().reduce(f64::min);
            self.way = Descent::new(shape.parameters(), *start, effort).below(bar);
        }
    }
}
