//! Offset histograms of a stretch of time, by partition and layout.
//!
//! polars' streaming aggregation keeps its rows until the end where there are about as many groups as rows, and a row
//! has 64 buckets: nine KB for each partition and minute. So batches of rows are added up here as they come, bucket by
//! bucket, and memory is that of the sums. Sums are found by hash and walked by place: no hash can reach an answer.

use crate::activity::text;
use crate::error::QueryError;
use crate::schema;
use isotherm_model::{BUCKETS, OffsetHistogram};
use polars::prelude::{DataFrame, Engine, Expr, LazyFrame, PlanCallback, PolarsResult, col};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// Sums of histograms. Layouts of a partition are merged by whoever asks: that is exact, and there are few.
#[derive(Debug, Clone, Default)]
pub(super) struct OffsetSums {
    /// Places of the sums, by layout and partition.
    places: BTreeMap<u8, HashMap<Arc<str>, usize>>,
    /// Partition and layout, by place.
    keys: Vec<(Arc<str>, u8)>,
    /// By bucket, then place: rows come in columns, and one column of sums fits a processor's cache.
    counts: Vec<Vec<u64>>,
}

impl OffsetSums {
    /// Adds up the rows that know their offsets.
    pub(super) fn read(rows: LazyFrame) -> Result<Self, QueryError> {
        let columns: Vec<Expr> = [schema::PARTITION, schema::OFFSET_SHIFT]
            .map(col)
            .into_iter()
            .chain(schema::buckets().map(col))
            .collect();
        let rows = rows.filter(col(schema::OFFSET_SHIFT).is_not_null()).select(columns);
        let sums = Arc::new(Mutex::new(Self::default()));
        let adding = Arc::clone(&sums);
        let add = move |batch: DataFrame| {
            adding.lock().unwrap_or_else(PoisonError::into_inner).add(&batch)?;
            Ok(false)
        };
        rows.sink_batches(PlanCallback::new(add), false, None)?.collect_with_engine(Engine::Streaming)?;
        Ok(std::mem::take(&mut *sums.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// The sums of both.
    pub(super) fn plus(mut self, other: &Self) -> Self {
        let places: Vec<usize> = other.keys.iter().map(|(name, shift)| self.place(name, *shift)).collect();
        self.counts.resize_with(BUCKETS, Vec::new);
        for (sums, counts) in self.counts.iter_mut().zip(&other.counts) {
            sums.resize(self.keys.len(), 0);
            places.iter().zip(counts).for_each(|(place, count)| sums[*place] += count);
        }
        self.counts.iter_mut().for_each(|sums| sums.resize(self.keys.len(), 0));
        self
    }

    /// The partitions, by place: each once for every layout.
    pub(super) fn partitions(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|(name, _)| &**name)
    }

    /// The histogram at a place; `None` for a layout that the model does not know.
    pub(super) fn at(&self, place: usize) -> Option<OffsetHistogram> {
        let mut counts = [0; BUCKETS];
        counts.iter_mut().zip(&self.counts).for_each(|(count, sums)| *count = sums[place]);
        OffsetHistogram::new(self.keys[place].1, counts)
    }

    fn add(&mut self, batch: &DataFrame) -> PolarsResult<()> {
        let (names, shifts) = (text(batch, schema::PARTITION)?, batch.column(schema::OFFSET_SHIFT)?.u8()?);
        let places: Vec<Option<usize>> =
            names.iter().zip(shifts.iter()).map(|(name, shift)| Some(self.place(name?, shift?))).collect();
        self.counts.resize_with(BUCKETS, Vec::new);
        for (sums, bucket) in self.counts.iter_mut().zip(schema::buckets()) {
            sums.resize(self.keys.len(), 0);
            for (place, count) in places.iter().zip(batch.column(&bucket)?.u64()?.iter()) {
                if let (Some(place), Some(count)) = (place, count) {
                    sums[*place] += count;
                }
            }
        }
        Ok(())
    }

    /// Where the sum of a partition and layout is; a new one if there is none yet.
    fn place(&mut self, name: &str, shift: u8) -> usize {
        let places = self.places.entry(shift).or_default();
        if let Some(place) = places.get(name) {
            return *place;
        }
        let (name, place): (Arc<str>, _) = (name.into(), self.keys.len());
        places.insert(Arc::clone(&name), place);
        self.keys.push((name, shift));
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offset::{Histograms, summed_by_layout};
    use polars::prelude::{Column, IntoLazy};
    use proptest::prelude::*;

    /// A partition, a layout if it is known, and counts of the first and the last bucket.
    type Row = (u8, Option<u8>, [u64; 2]);

    fn frame(rows: &[Row]) -> LazyFrame {
        let names: Vec<String> = rows.iter().map(|(partition, ..)| format!("volume-{partition}")).collect();
        let shifts: Vec<Option<u8>> = rows.iter().map(|(_, shift, _)| *shift).collect();
        let mut columns = vec![
            Column::new(schema::PARTITION.into(), names),
            Column::new(schema::OFFSET_SHIFT.into(), shifts),
        ];
        for (at, bucket) in schema::buckets().enumerate() {
            let count = |(_, _, counts): &Row| match at {
                0 => counts[0],
                63 => counts[1],
                _ => 0,
            };
            columns.push(Column::new(bucket, rows.iter().map(count).collect::<Vec<_>>()));
        }
        DataFrame::new(rows.len(), columns).unwrap().lazy()
    }

    fn sorted(sums: &OffsetSums) -> Vec<(String, u8, Option<OffsetHistogram>)> {
        let all = sums.keys.iter().enumerate();
        let mut all: Vec<_> =
            all.map(|(at, (name, shift))| (name.to_string(), *shift, sums.at(at))).collect();
        all.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        all
    }

    fn by_polars(rows: &[Row]) -> Vec<(String, u8, Option<OffsetHistogram>)> {
        let keys = [schema::PARTITION, schema::OFFSET_SHIFT];
        let summed = summed_by_layout(frame(rows), &[col(schema::PARTITION)]).collect().unwrap();
        let summed = summed.sort(keys, Default::default()).unwrap();
        let histograms = Histograms::of(&summed).unwrap();
        let (names, shifts) =
            (text(&summed, keys[0]).unwrap(), summed.column(keys[1]).unwrap().u8().unwrap());
        let row =
            |row: usize| (names.get(row).unwrap().to_owned(), shifts.get(row).unwrap(), histograms.at(row));
        (0..summed.height()).map(row).collect()
    }

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let shift = prop::option::of(prop_oneof![Just(12_u8), Just(20), Just(21)]);
        prop::collection::vec((0..6_u8, shift, prop::array::uniform2(0..1_000_u64)), 0..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn sums_are_those_of_polars_and_do_not_depend_on_where_the_rows_are_cut(
            first in rows(), second in rows()
        ) {
            let read = |rows: &[Row]| OffsetSums::read(frame(rows)).unwrap();
            let all = [first.clone(), second.clone()].concat();
            prop_assert_eq!(sorted(&read(&all)), by_polars(&all));
            prop_assert_eq!(sorted(&read(&first).plus(&read(&second))), by_polars(&all));
        }
    }
}
