//! Latency histograms, merged over rows: their layout is the same everywhere, so polars sums them.

use crate::schema;
use isotherm_model::{LATENCY_BUCKETS, LatencyHistogram};
use polars::prelude::{DataFrame, Expr, LazyFrame, PolarsResult, UInt64Chunked, col};

/// The rows of `rows` that know their latency, summed by `keys`.
pub(crate) fn summed(rows: LazyFrame, keys: &[Expr]) -> LazyFrame {
    rows.filter(col(schema::LATENCY_OPS).is_not_null())
        .group_by(keys)
        .agg(schema::latencies().map(|name| col(name).sum()).collect::<Vec<_>>())
}

/// The histograms of a collected frame, one per row.
pub(crate) fn histograms(frame: &DataFrame) -> PolarsResult<Vec<LatencyHistogram>> {
    let buckets: Vec<&UInt64Chunked> =
        schema::latencies().map(|name| frame.column(&name)?.u64()).collect::<PolarsResult<_>>()?;
    Ok((0..frame.height())
        .map(|row| {
            let mut counts = [0; LATENCY_BUCKETS];
            for (count, bucket) in counts.iter_mut().zip(&buckets) {
                *count = bucket.get(row).unwrap_or(0);
            }
            LatencyHistogram::new(counts)
        })
        .collect())
}
