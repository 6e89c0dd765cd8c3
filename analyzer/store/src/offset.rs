//! Offset histograms, merged over rows: polars sums what has the same layout, the model folds the rest.

use crate::error::QueryError;
use crate::schema;
use isotherm_model::{BUCKETS, OffsetHistogram};
use polars::prelude::{DataFrame, Expr, LazyFrame, PolarsResult, UInt8Chunked, UInt64Chunked, col};

/// The rows of `rows` that know their offsets, summed by `keys` and layout. Merging the layouts of a group
/// afterwards is exact, and there are few of them.
pub(crate) fn summed_by_layout(rows: LazyFrame, keys: &[Expr]) -> LazyFrame {
    let mut keys = keys.to_vec();
    keys.push(col(schema::OFFSET_SHIFT));
    rows.filter(col(schema::OFFSET_SHIFT).is_not_null())
        .group_by(keys)
        .agg(schema::buckets().map(|name| col(name).sum()).collect::<Vec<_>>())
}

/// The histograms of a collected frame, one per row. `None` for a layout that the model does not know.
pub(crate) fn histograms(frame: &DataFrame) -> Result<Vec<Option<OffsetHistogram>>, QueryError> {
    let histograms = Histograms::of(frame)?;
    Ok((0..frame.height()).map(|row| histograms.at(row)).collect())
}

/// The histograms of a collected frame, to be taken one by one: all at once need as much memory as the frame.
pub(crate) struct Histograms<'a> {
    shifts: &'a UInt8Chunked,
    buckets: Vec<&'a UInt64Chunked>,
}

impl<'a> Histograms<'a> {
    pub(crate) fn of(frame: &'a DataFrame) -> PolarsResult<Self> {
        let buckets =
            schema::buckets().map(|name| frame.column(&name)?.u64()).collect::<PolarsResult<_>>()?;
        Ok(Self { shifts: frame.column(schema::OFFSET_SHIFT)?.u8()?, buckets })
    }

    /// That of a row; `None` for a layout that the model does not know.
    pub(crate) fn at(&self, row: usize) -> Option<OffsetHistogram> {
        let mut counts = [0; BUCKETS];
        for (count, bucket) in counts.iter_mut().zip(&self.buckets) {
            *count = bucket.get(row).unwrap_or(0);
        }
        OffsetHistogram::new(self.shifts.get(row)?, counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_model::{MAX_SHIFT, MIN_SHIFT};
    use polars::prelude::{Column, IntoLazy};
    use proptest::prelude::*;

    fn frame(rows: &[(Option<u8>, Vec<u64>)]) -> DataFrame {
        let shifts: Vec<Option<u8>> = rows.iter().map(|(shift, _)| *shift).collect();
        let mut columns = vec![Column::new(schema::OFFSET_SHIFT.into(), shifts)];
        for (bucket, name) in schema::buckets().enumerate() {
            let counts: Vec<u64> = rows.iter().map(|(_, counts)| counts[bucket]).collect();
            columns.push(Column::new(name, counts));
        }
        DataFrame::new(rows.len(), columns).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn summing_by_layout_and_folding_equals_merging_every_row(
            rows in prop::collection::vec(
                (
                    prop::option::of(prop_oneof![12..16u8, MIN_SHIFT..=MAX_SHIFT]),
                    prop::collection::vec(0..1_000u64, BUCKETS),
                ),
                1..20,
            )
        ) {
            let merged = rows
                .iter()
                .filter_map(|(shift, counts)| {
                    OffsetHistogram::new((*shift)?, counts.clone().try_into().unwrap())
                })
                .fold(OffsetHistogram::EMPTY, |sum, row| sum.merge(&row));
            let summed = summed_by_layout(frame(&rows).lazy(), &[]).collect().unwrap();
            let folded = histograms(&summed)
                .unwrap()
                .into_iter()
                .map(|row| row.expect("layouts are in range"))
                .fold(OffsetHistogram::EMPTY, |sum, row| sum.merge(&row));
            prop_assert_eq!(folded, merged);
        }
    }
}
