//! Estimates for many tasks: those of one shape and length are put side by side in lanes.

#[cfg(target_arch = "x86_64")]
use crate::avx::Four;
use crate::descent::{Effort, Point};
use crate::gaps;
use crate::ladder::distinct;
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

/// How well the end of a filled series has to be known, as it is a start only.
const FILLED: Effort = Effort { least_gain: 1e-2, evaluations: 20, gives_up: true };

/// Ends that the search goes on from, when it is to be thorough.
const OF_FILLED: usize = 4;

/// Starts that are as good as those, as a filled series may have its maximum elsewhere.
const FIRST_STARTS: usize = 12;

/// The best end of each task's starts; `None` where there is no likelihood. What is found does not depend on
/// the other tasks.
pub(crate) fn estimate(
    tasks: &[Task<'_>],
    effort: Effort,
    instructions: Instructions,
) -> Vec<Option<Minimum>> {
    let whole = tasks.iter().map(|task| match task.values {
        Values::Differenced(w) => Some((task.shape, Search { w, starts: &task.starts, bar: task.bar })),
        Values::WithGaps { .. } => None,
    });
    let mut minima = minimise_all(&whole.collect::<Vec<_>>(), effort, instructions);
    // A single start is taken to be good; of several, the filled series tells where the best end about is.
    let filled = tasks.iter().map(|task| match task.values {
        Values::WithGaps { filled, .. } if task.starts.len() > 1 => {
            Some((task.shape, Search { w: filled, starts: &task.starts, bar: None }))
        }
        Values::WithGaps { .. } | Values::Differenced(_) => None,
    });
    let starts = minimise_all(&filled.collect::<Vec<_>>(), FILLED, instructions);
    for ((task, start), minimum) in tasks.iter().zip(starts).zip(&mut minima) {
        if let Values::WithGaps { series, d, filled } = task.values {
            let mut starts: Vec<Point> = task.starts.first().copied().into_iter().collect();
            starts.extend(start.map(|start| start.at));
            *minimum = gaps::minimise(&gaps::Gappy { shape: task.shape, d, series, filled }, &starts, effort);
        }
    }
    minima
}

/// The ends of all starts of each task, the best one first: no start is given up for another one, and starts of
/// one series lie side by side as well. Of a series with gaps, those of the best ends of the filled series.
pub(crate) fn ends(tasks: &[Task<'_>], effort: Effort, instructions: Instructions) -> Vec<Vec<Minimum>> {
    let single = tasks.iter().enumerate().flat_map(|(at, task)| {
        let w = match task.values {
            Values::WithGaps { filled, .. } if task.starts.len() > 1 => Some(filled),
            Values::WithGaps { .. } => None,
            Values::Differenced(w) => Some(w),
        };
        let of = move |start| {
            w.map(|w| (task.shape, Search { w, starts: std::slice::from_ref(start), bar: None }))
        };
        task.starts.iter().map(move |start| (at, of(start)))
    });
    let (owners, single): (Vec<usize>, Vec<_>) = single.unzip();
    let mut ends = vec![Vec::new(); tasks.len()];
    for (owner, minimum) in owners.into_iter().zip(minimise_all(&single, effort, instructions)) {
        ends[owner].extend(minimum);
    }
    for (task, ends) in tasks.iter().zip(&mut ends) {
        ends.sort_by(Minimum::compare);
        if let Values::WithGaps { series, d, filled } = task.values {
            let of = gaps::Gappy { shape: task.shape, d, series, filled };
            let thorough = effort.least_gain < FILLED.least_gain;
            let (kept, first) = if thorough { (OF_FILLED, FIRST_STARTS) } else { (2, 1) };
            let points = distinct(ends, kept).map(|end| end.at);
            let starts = points.chain(task.starts.iter().copied().take(first));
            *ends = starts.filter_map(|start| gaps::minimise(&of, &[start], FILLED)).collect();
            ends.sort_by(Minimum::compare);
            if thorough {
                let on = |end: &Minimum| gaps::minimise(&of, &[end.at], effort);
                *ends = distinct(ends, OF_FILLED).filter_map(on).collect();
            }
            ends.sort_by(Minimum::compare);
        }
    }
    ends
}

/// One result per search; none where there is none.
fn minimise_all(
    searches: &[Option<(Shape, Search<'_>)>],
    effort: Effort,
    instructions: Instructions,
) -> Vec<Option<Minimum>> {
    let mut minima: Vec<Option<Minimum>> = vec![None; searches.len()];
    let mut sorted: Vec<(usize, Shape, Search<'_>)> = searches
        .iter()
        .enumerate()
        .filter_map(|(at, search)| search.map(|(shape, search)| (at, shape, search)))
        .collect();
    // Stable, so that the order of equal ones is that of the tasks.
    sorted.sort_by_key(|(_, shape, search)| (*shape, search.w.len()));
    for alike in sorted.chunk_by(|a, b| a.1 == b.1 && a.2.w.len() == b.2.w.len()) {
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
