//! Many series, over all cores.
//!
//! Series are taken in chunks of a fixed size, each chunk by one thread, and within a chunk side by side in lanes
//! whose results do not depend on each other: the result of a series has the same bits whatever else is in the
//! batch, however many threads there are, and whatever instructions the processor has.

use crate::processor::Instructions;
use crate::select::select_all;
use crate::{Fit, FitError, Fitted, Select, Selection};
use rayon::prelude::*;

/// Series that are worked on together: enough to fill the lanes with candidates of the same order, few enough
/// to stay in a processor's cache.
const CHUNK: usize = 128;

/// Fits one order to each series: [`Fit::fit`] for many.
///
/// One result per series, in their order.
#[must_use]
pub fn fit<S: AsRef<[f64]> + Sync>(series: &[S], fit: &Fit) -> Vec<Result<Fitted, FitError>> {
    let instructions = Instructions::best();
    series.par_chunks(CHUNK).flat_map_iter(|chunk| fit.fit_all(&views(chunk), instructions)).collect()
}

/// Finds the order of each series and fits it: [`Select::select`] for many.
///
/// One result per series, in their order.
#[must_use]
pub fn select<S: AsRef<[f64]> + Sync>(series: &[S], select: &Select) -> Vec<Result<Selection, FitError>> {
    let instructions = Instructions::best();
    series.par_chunks(CHUNK).flat_map_iter(|chunk| select_all(select, &views(chunk), instructions)).collect()
}

fn views<S: AsRef<[f64]>>(chunk: &[S]) -> Vec<&[f64]> {
    chunk.iter().map(AsRef::as_ref).collect()
}
