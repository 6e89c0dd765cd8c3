//! Estimates for many tasks: those of one shape and length are put side by side in lanes.

#[cfg(target_arch = "x86_64")]
use crate::avx::Four;
use crate::descent::{Effort, Point};
use crate::gaps;
use crate::likelihood::Shape;
use crate::processor::Instructions;
use crate::search::{Minimum, Search, minimise};
use crate::series::Values;

/// What is to be estimated.
#[derive(Clone, Debug)]
pub(crate) struct Task<'a> {
    pub(crate) shape: Shape,
    pub(crate) values: Values<'a>,
    /// Where to start; the best end counts.
    pub(crate) starts: Vec<Point>,
    /// A deviance that has to be reached to be of use.
    pub(crate) bar: Option<f64>,
}

/// The best end of each task's starts; `None` where there is no likelihood. What is found does not depend on
/// the other tasks.
pub(crate) fn estimate(
    tasks: &[Task<'_>],
    effort: Effort,
    instructions: Instructions,
) -> Vec<Option<Minimum>> {
    let mut minima: Vec<Option<Minimum>> = vec![None; tasks.len()];
    let mut whole: Vec<(usize, Shape, Search<'_>)> = Vec::with_capacity(tasks.len());
    for (at, task) in tasks.iter().enumerate() {
        match task.values {
            Values::WithGaps(series, d) => {
                minima[at] = gaps::minimise(task.shape, d, series, &task.starts, effort);
            }
            Values::Differenced(w) => {
                whole.push((at, task.shape, Search { w, starts: &task.starts, bar: task.bar }))
            }
        }
    }
    // Stable, so that the order of equal ones is that of the tasks.
    whole.sort_by_key(|(_, shape, search)| (*shape, search.w.len()));
    for alike in whole.chunk_by(|a, b| a.1 == b.1 && a.2.w.len() == b.2.w.len()) {
        let Some((_, shape, first)) = alike.first() else { continue };
        let searches: Vec<Search<'_>> = alike.iter().map(|(.., search)| *search).collect();
        let found = side_by_side(*shape, first.w.len(), &searches, effort, instructions);
        for ((at, ..), found) in alike.iter().zip(found) {
            minima[*at] = found;
        }
    }
    minima
}

fn side_by_side(
    shape: Shape,
    n: usize,
    searches: &[Search<'_>],
    effort: Effort,
    instructions: Instructions,
) -> Vec<Option<Minimum>> {
    match instructions {
        Instructions::Plain => minimise::<f64>(shape, n, searches, effort),
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 => minimise::<Four>(shape, n, searches, effort),
    }
}
