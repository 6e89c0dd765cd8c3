//! Estimates for many tasks: those of one shape and length are put side by side in lanes.

use crate::descent::{Effort, Point};
use crate::gaps;
use crate::lane::Lanes;
use crate::likelihood::{Scratch, Shape};
use crate::processor::Instructions;
use crate::search::{self, Minimum};
use crate::series::Values;

/// Series side by side. Wider than the widest registers, as each value waits for the one before it.
const WIDTH: usize = 8;

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
    let mut lanes: Vec<Lane<'_>> = Vec::with_capacity(tasks.len());
    for (at, task) in tasks.iter().enumerate() {
        match task.values {
            Values::WithGaps(series, d) => {
                minima[at] = gaps::minimise(task.shape, d, series, &task.starts, effort);
            }
            Values::Differenced(w) => {
                lanes.extend(task.starts.iter().map(|&start| Lane { at, shape: task.shape, w, start }));
            }
        }
    }
    // Stable, so that the order of equal ones is that of the tasks.
    lanes.sort_by_key(|lane| (lane.shape.p, lane.shape.q, lane.shape.constant, lane.w.len()));
    for alike in lanes.chunk_by(|a, b| a.shape == b.shape && a.w.len() == b.w.len()) {
        let mut rest = alike;
        while !rest.is_empty() {
            // A lane costs as much as no lane, but a lone one should not pay for eight.
            let now = rest.len().min(WIDTH);
            let (group, later) = rest.split_at(now);
            match now {
                1 => side_by_side::<1>(group, effort, instructions, &mut minima),
                2..=4 => side_by_side::<4>(group, effort, instructions, &mut minima),
                _ => side_by_side::<WIDTH>(group, effort, instructions, &mut minima),
            }
            rest = later;
        }
    }
    minima
}

struct Lane<'a> {
    at: usize,
    shape: Shape,
    w: &'a [f64],
    start: Point,
}

fn side_by_side<const W: usize>(
    group: &[Lane<'_>],
    effort: Effort,
    instructions: Instructions,
    minima: &mut [Option<Minimum>],
) {
    let Some(first) = group.first() else { return };
    let n = first.w.len();
    // Lanes without a task repeat the first.
    let of = |lane: usize| group.get(lane).unwrap_or(first);
    let w: Vec<Lanes<W>> = (0..n).map(|t| Lanes(std::array::from_fn(|lane| of(lane).w[t]))).collect();
    let starts: [Option<Point>; W] = std::array::from_fn(|lane| group.get(lane).map(|lane| lane.start));
    let mut scratch = Scratch::new(n);
    let found = search::minimise(instructions, first.shape, &w, &starts, effort, &mut scratch);
    for (lane, found) in group.iter().zip(found) {
        let best = &mut minima[lane.at];
        let better = match (&found, &best) {
            (Some(found), Some(best)) => Minimum::compare(found, best).is_lt(),
            (found, _) => found.is_some(),
        };
        if better {
            *best = found;
        }
    }
}
