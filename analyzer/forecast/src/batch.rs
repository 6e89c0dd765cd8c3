//! Many series, over all cores.
//!
//! Series are taken in chunks, each by one thread, and within a chunk side by side in lanes whose results do not
//! depend on each other: the result of a series has the same bits whatever else is in the batch and however many
//! threads there are. Between processors with and without fused multiplication results differ by rounding.

use crate::processor::Instructions;
use crate::select::select_all;
use crate::{Fit, FitError, Fitted, Select, Selection};
use rayon::prelude::*;

/// Series that are worked on together: enough to fill the lanes with candidates of the same order.
const CHUNK: usize = 512;

/// Fewer, where there are not enough chunks for all threads. Results do not depend on it.
fn chunk(series: usize) -> usize {
    (series / (4 * rayon::current_num_threads())).clamp(16, CHUNK)
}

/// Fits one order to each series: [`Fit::fit`] for many.
///
/// One result per series, in their order.
#[must_use]
pub fn fit<S: AsRef<[f64]> + Sync>(series: &[S], fit: &Fit) -> Vec<Result<Fitted, FitError>> {
    let instructions = Instructions::best();
    series
        .par_chunks(chunk(series.len()))
        .flat_map_iter(|chunk| fit.fit_all(&views(chunk), instructions))
        .collect()
}

/// Finds the order of each series and fits it: [`Select::select`] for many.
///
/// One result per series, in their order.
#[must_use]
pub fn select<S: AsRef<[f64]> + Sync>(series: &[S], select: &Select) -> Vec<Result<Selection, FitError>> {
    let instructions = Instructions::best();
    series
        .par_chunks(chunk(series.len()))
        .flat_map_iter(|chunk| select_all(select, &views(chunk), instructions))
        .collect()
}

fn views<S: AsRef<[f64]>>(chunk: &[S]) -> Vec<&[f64]> {
    chunk.iter().map(AsRef::as_ref).collect()
}
