//! When agents saw nodes to be up, from the windows themselves.
//!
//! A window counts if it saw all of its time and a process. Which layer was watched does not matter: a process was there.

use crate::activity::node_ids;
use crate::error::QueryError;
use crate::read::{Reader, start_before};
use crate::schema::{self, Class};
use isotherm_model::{Completeness, Interval, NodeId, Timestamp};
use polars::prelude::{DataType, SortMultipleOptions, UniqueKeepStrategy, col, lit};
use std::collections::BTreeMap;

impl Reader {
    /// Stretches of `time` in which windows saw a process of each node, in order and apart. Hosts are left out.
    pub fn watched(&self, time: Interval) -> Result<BTreeMap<NodeId, Vec<Interval>>, QueryError> {
        const START: &str = "start_ms";
        const END: &str = "end_ms";
        let catalog = self.catalog()?;
        let start = col(schema::WINDOW_START).cast(DataType::Int64);
        let after_start = i64::try_from(time.start().as_ms()).unwrap_or(i64::MAX);
        let frame = self
            .overlapping(&catalog, time.start(), time.end())?
            .filter(start_before(time.end()))
            .filter(col(schema::CLASS).eq(lit(Class::Total.as_str())))
            .filter(col(schema::COMPLETENESS).eq(lit(Completeness::Complete.as_str())))
            .filter(col(schema::PROCESSES).gt(lit(0u32)))
            .select([
                col(schema::SYSTEM),
                col(schema::NODE),
                start.clone().alias(START),
                (start + col(schema::WINDOW_MS).cast(DataType::Int64)).alias(END),
            ])
            .filter(col(END).gt(lit(after_start)))
            .unique(None, UniqueKeepStrategy::Any)
            .sort([schema::SYSTEM, schema::NODE, START], SortMultipleOptions::default())
            .collect()?;
        let (starts, ends) = (frame.column(START)?.i64()?, frame.column(END)?.i64()?);
        let mut stretches: BTreeMap<NodeId, Vec<(u64, u64)>> = BTreeMap::new();
        for (row, node) in node_ids(&frame)?.into_iter().enumerate() {
            if let (Some(start), Some(end), false) = (starts.get(row), ends.get(row), node.is_host()) {
                let start = start.cast_unsigned().max(time.start().as_ms());
                let end = end.cast_unsigned().min(time.end().as_ms());
                stretches.entry(node).or_default().push((start, end));
            }
        }
        let whole = |(from, to)| Interval::new(Timestamp::from_ms(from), Timestamp::from_ms(to));
        Ok(stretches
            .into_iter()
            .map(|(node, seen)| (node, super::observed::united(seen).into_iter().filter_map(whole).collect()))
            .collect())
    }
}
