//! Estimates for many tasks: those of one shape and length are put side by side in lanes.

#[cfg(target_arch = "x86_64")]
use crate::avx::Eight;
use crate::descent::{Effort, Point};
use crate::gaps;
use crate::lane::Lane;
use crate::likelihood::{Scratch, Shape};
use crate::processor::{Computed, Instructions};
use crate::search::{self, Minimum};
use crate::series::Values;

/// What is to be estimated.
#[derive(Clone, Debug)]
pub(crate) struct Task<'a> {
    pub(crate) shape: Shape,
    pub(crate) values: Values<'a>,
    /// Where to start; the best end counts.
    pub(crate) starts: Vec<Point>,
}

/// The best end of each task's starts; `None` where there is no likelihood. What is found does not depend on
/// the other tasks.
pub(crate) fn estimate(
    tasks: &[Task<'_>],
    effort: Effort,
    instructions: Instructions,
) -> Vec<Option<Minimum>> {
    let mut minima: Vec<Option<Minimum>> = vec![None; tasks.len()];
    let mut lanes: Vec<Way<'_>> = Vec::with_capacity(tasks.len());
    for (at, task) in tasks.iter().enumerate() {
        match task.values {
            Values::WithGaps(series, d) => {
                minima[at] = gaps::minimise(task.shape, d, series, &task.starts, effort);
            }
            Values::Differenced(w) => {
                lanes.extend(task.starts.iter().map(|&start| Way { at, shape: task.shape, w, start }));
            }
        }
    }
    // Stable, so that the order of equal ones is that of the tasks.
    lanes.sort_by_key(|lane| (lane.shape.p, lane.shape.q, lane.shape.constant, lane.w.len()));
    for alike in lanes.chunk_by(|a, b| a.shape == b.shape && a.w.len() == b.w.len()) {
        match instructions {
            Instructions::Plain => side_by_side::<f64>(alike, effort, &mut minima),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => {
                // A lane without a series costs as much as one with it, so a last lone one goes alone.
                let lone = if alike.len() % Eight::WIDTH == 1 { 1 } else { 0 };
                let (most, rest) = alike.split_at(alike.len() - lone);
                side_by_side::<Eight>(most, effort, &mut minima);
                side_by_side::<f64>(rest, effort, &mut minima);
            }
        }
    }
    minima
}

/// One start of one task.
struct Way<'a> {
    at: usize,
    shape: Shape,
    w: &'a [f64],
    start: Point,
}

fn side_by_side<T: Computed>(lanes: &[Way<'_>], effort: Effort, minima: &mut [Option<Minimum>]) {
    let Some(first) = lanes.first() else { return };
    let n = first.w.len();
    let mut scratch = Scratch::new(n);
    for group in lanes.chunks(T::WIDTH) {
        // Lanes without a series repeat the first.
        let of = |lane: usize| group.get(lane).unwrap_or(&group[0]);
        let w: Vec<T> = (0..n).map(|t| T::of(|lane| of(lane).w[t])).collect();
        let starts: Vec<Point> = group.iter().map(|way| way.start).collect();
        let found = search::minimise(first.shape, &w, &starts, effort, &mut scratch);
        for (way, found) in group.iter().zip(found) {
            let best = &mut minima[way.at];
            let better = match (&found, &best) {
                (Some(found), Some(best)) => Minimum::compare(found, best).is_lt(),
                (found, _) => found.is_some(),
            };
            if better {
                *best = found;
            }
        }
    }
}
