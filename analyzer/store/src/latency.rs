//! Latency histograms, merged over rows: their layout is the same everywhere, so polars sums them.

use crate::activity::{Place, places};
use crate::error::QueryError;
use crate::read::{Reader, Span};
use crate::schema::{self, Class};
use isotherm_model::{LATENCY_BUCKETS, LatencyHistogram, PartitionId};
use polars::prelude::{DataFrame, Expr, LazyFrame, PolarsResult, UInt64Chunked, col, lit};
use std::collections::BTreeMap;

impl Reader {
    /// How long accesses to one partition took in the time asked for, over all nodes, by layer and operation. Absent is
    /// what nobody measured.
    ///
    /// # Errors
    /// The catalog or a segment cannot be read.
    pub fn latencies(
        &self,
        partition: &PartitionId,
        span: Span,
    ) -> Result<BTreeMap<Place, LatencyHistogram>, QueryError> {
        let of_it = col(schema::CLASS)
            .eq(lit(Class::Partition.as_str()))
            .and(col(schema::SYSTEM).eq(lit(partition.system().as_str())))
            .and(col(schema::PARTITION).eq(lit(partition.name())));
        let rows = self.starting_in(&self.catalog()?, span.start(), span.end())?.filter(of_it);
        let frame = summed(rows, &[schema::LAYER, schema::OPERATION].map(col)).collect()?;
        let found = places(&frame)?.into_iter().zip(histograms(&frame)?);
        Ok(found.filter_map(|(place, histogram)| Some((place?, histogram))).collect())
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;
    use crate::sample::{batch, commit, device_reads, node_window, partition, reads, run, window};
    use isotherm_model::{Layer, Operation, Timestamp};

    #[test]
    fn latencies_of_a_partition_are_those_of_all_its_nodes_in_that_time() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let at = |start| {
            let one = node_window("n", vec![device_reads("p", 3), device_reads("q", 9), reads("p", 7)]);
            window(start, vec![one, node_window("m", vec![device_reads("p", 2)])])
        };
        commit(&mut store, &[batch(&run("agent"), 1, vec![at(1_000), at(2_000)])]);
        let reader = store.reader();
        let device = (Layer::Device, Operation::Read);
        let found = reader.latencies(&partition("p"), Span::default()).unwrap();
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [device], "no program's calls were timed");
        assert_eq!((found[&device].total(), found[&device].quantile_ns(0.99)), (10, Some(1 << 21)));
        let later = Span { since: Some(Timestamp::from_ms(2_000)), until: None };
        assert_eq!(reader.latencies(&partition("p"), later).unwrap()[&device].total(), 5);
        assert!(reader.latencies(&partition("nowhere"), Span::default()).unwrap().is_empty());
    }
}
