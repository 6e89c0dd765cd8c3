//! When each node was watched: the difference between "it did nothing" and "nobody looked".
//!
//! Only windows that saw all of their time count, and only with a process to see: a selector that matches
//! nothing and a process that died look the same, and neither says that nothing was read. Their time counts
//! wherever they start, so a question that begins in the middle of a window is not unknown for that.

use crate::activity::{node_ids, text};
use crate::catalog::NodeReport;
use crate::error::QueryError;
use crate::read::{Reader, Span, start_before};
use crate::schema::{self, Class};
use isotherm_model::{Completeness, Interval, Layer, NodeId, Operation, SystemId, Timestamp};
use polars::prelude::{DataType, SortMultipleOptions, UniqueKeepStrategy, col, lit};
use rusqlite::Connection;
use std::collections::BTreeMap;

/// A node that has not reported for this many of its windows is silent.
pub(crate) const SILENT_WINDOWS: u64 = 3;

/// Stretches of time, by node, that complete windows cover without a hole.
#[derive(Debug, Default)]
pub(crate) struct Coverage(BTreeMap<NodeId, Vec<(i64, i64)>>);

impl Coverage {
    /// Reads the coverage of a system's nodes from `time`.
    pub(crate) fn read(
        reader: &Reader,
        catalog: &Connection,
        system: &SystemId,
        time: Interval,
    ) -> Result<Self, QueryError> {
        const START: &str = "start_ms";
        const END: &str = "end_ms";
        let start = col(schema::WINDOW_START).cast(DataType::Int64);
        let after_start = i64::try_from(time.start().as_ms()).unwrap_or(i64::MAX);
        let frame = reader
            .overlapping(catalog, time.start(), time.end())?
            .filter(start_before(time.end()))
            .filter(col(schema::SYSTEM).eq(lit(system.as_str())))
            .filter(col(schema::CLASS).eq(lit(Class::Total.as_str())))
            .filter(col(schema::LAYER).eq(lit(Layer::Logical.as_str())))
            .filter(col(schema::OPERATION).eq(lit(Operation::Read.as_str())))
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
        debug_assert_eq!(text(&frame, schema::NODE)?.null_count(), 0);
        let (starts, ends) = (frame.column(START)?.i64()?, frame.column(END)?.i64()?);
        let mut coverage = Self::default();
        for (row, node) in node_ids(&frame)?.into_iter().enumerate() {
            if let (Some(start), Some(end)) = (starts.get(row), ends.get(row)) {
                coverage.extend(node, start, end);
            }
        }
        Ok(coverage)
    }

    /// Adds a window. Those of a node come in the order of their starts.
    fn extend(&mut self, node: NodeId, start: i64, end: i64) {
        let stretches = self.0.entry(node).or_default();
        match stretches.last_mut() {
            Some((_, last_end)) if start <= *last_end => *last_end = end.max(*last_end),
            Some(_) | None => stretches.push((start, end)),
        }
    }

    /// Whether all of `time` was watched.
    pub(crate) fn covers(&self, node: &NodeId, time: Interval) -> bool {
        let (start, end) = (time.start().as_ms().cast_signed(), time.end().as_ms().cast_signed());
        let Some(stretches) = self.0.get(node) else { return false };
        let after = stretches.partition_point(|(first, _)| *first <= start);
        after > 0 && stretches[after - 1].1 >= end
    }
}

/// The time a question about a system is answered for.
///
/// Where an end is open it is the moment from (until) which every node that reports was watched: agents start
/// and send a moment apart, and that alone must not make everything unknown. Nodes that are off by
/// [`SILENT_WINDOWS`] windows or more do not move an end; they are silent. `None` when nothing is left.
pub(crate) fn clamped(span: Span, system: &SystemId, nodes: &[NodeReport]) -> Option<Interval> {
    let of_system = || nodes.iter().filter(|report| report.node.system() == system);
    let tolerance = |report: &NodeReport| SILENT_WINDOWS * u64::from(report.window_ms);
    let start = span.since.or_else(|| {
        let first = of_system().filter_map(|report| report.first_complete).min()?;
        of_system()
            .filter_map(|report| Some((report.first_complete?, tolerance(report))))
            .filter_map(|(start, late)| (start < first.plus_ms(late)).then_some(start))
            .max()
    });
    let end = span.until.or_else(|| {
        let last = of_system().map(|report| report.last_end).max()?;
        of_system()
            .filter(|report| report.last_end.plus_ms(tolerance(report)) > last)
            .map(|report| report.last_end)
            .min()
    });
    Interval::new(start?, end?)
}

/// The whole steps of `step_ms` in `time`, aligned to the epoch, as `first .. end` in steps.
pub(crate) fn whole_steps(time: Interval, step_ms: u64, now: Timestamp) -> std::ops::Range<u64> {
    let first = time.start().as_ms().div_ceil(step_ms);
    let end = time.end().min(now).as_ms() / step_ms;
    first..end.max(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    fn time(start: u64, end: u64) -> Interval {
        Interval::new(at(start), at(end)).unwrap()
    }

    fn node(name: &str) -> NodeId {
        NodeId::new(SystemId::new("s").unwrap(), name).unwrap()
    }

    fn report(name: &str, first: Option<u64>, last_end: u64) -> NodeReport {
        NodeReport {
            node: node(name),
            agent: "a".into(),
            first_complete: first.map(at),
            last_end: at(last_end),
            window_ms: 1_000,
            processes: 1,
        }
    }

    #[test]
    fn time_is_covered_only_without_holes() {
        let mut coverage = Coverage::default();
        for start in [0, 1_000, 2_000, 4_000] {
            coverage.extend(node("n"), start, start + 1_000);
        }
        assert!(coverage.covers(&node("n"), time(0, 3_000)));
        assert!(coverage.covers(&node("n"), time(500, 2_700)));
        assert!(coverage.covers(&node("n"), time(4_000, 5_000)));
        assert!(!coverage.covers(&node("n"), time(2_000, 5_000)));
        assert!(!coverage.covers(&node("n"), time(4_000, 5_001)));
        assert!(!coverage.covers(&node("other"), time(0, 1_000)));
    }

    #[test]
    fn a_node_that_two_agents_watch_is_covered_by_either() {
        let mut coverage = Coverage::default();
        for (start, end) in [(0, 10_000), (1_000, 2_000), (10_000, 11_000)] {
            coverage.extend(node("n"), start, end);
        }
        assert!(coverage.covers(&node("n"), time(0, 11_000)));
    }

    #[test]
    fn open_ends_are_where_every_reporting_node_was_watched() {
        let system = SystemId::new("s").unwrap();
        let nodes = [
            report("a", Some(10_000), 60_000),
            report("b", Some(12_000), 59_000),
            report("dead", Some(11_000), 30_000),
            report("late", Some(50_000), 60_000),
            report("partial", None, 60_000),
        ];
        let open = Span::default();
        assert_eq!(clamped(open, &system, &nodes), Some(time(12_000, 59_000)));
        let asked = Span { since: Some(at(1)), until: Some(at(5)) };
        assert_eq!(clamped(asked, &system, &nodes), Some(time(1, 5)));
        assert_eq!(clamped(open, &SystemId::new("t").unwrap(), &nodes), None);
    }

    #[test]
    fn only_steps_that_lie_inside_and_have_ended_are_counted() {
        let steps = |start, end, now| whole_steps(time(start, end), 60_000, at(now));
        assert_eq!(steps(60_000, 180_000, 1_000_000), 1..3);
        assert_eq!(steps(60_001, 179_999, 1_000_000), 2..2);
        assert_eq!(steps(0, 600_000, 130_000), 0..2);
        assert!(steps(30_000, 40_000, 1_000_000).is_empty());
    }
}
