//! When each node was watched: the difference between "it did nothing" and "nobody looked".
//!
//! Each layer is watched, or not, by itself: what counts is that the window has a total of the layer's reads.
//!
//! Only windows that saw all of their time count, and only with a process to see: a selector that matches
//! nothing and a process that died look the same, and neither says that nothing was read. Their time counts
//! wherever they start, so a question that begins in the middle of a window is not unknown for that.
//!
//! The reads of a window are not cut: they count in the step that the window starts in. So a step of a series
//! is covered only if none of the node's windows reaches over either of its borders; otherwise some of its
//! reads are in the step next to it.

use crate::activity::{in_layer, node_ids, text};
use crate::catalog::NodeReport;
use crate::entropy::Step;
use crate::error::QueryError;
use crate::read::{Reader, Span, start_before};
use crate::schema::{self, Class};
use isotherm_model::{Completeness, Interval, Layer, NodeId, Operation, SystemId, Timestamp};
use polars::prelude::{
    DataFrame, DataType, IntoLazy, LazyFrame, PolarsResult, SortMultipleOptions, UnionArgs,
    UniqueKeepStrategy, col, concat, lit,
};
use rusqlite::Connection;
use std::collections::BTreeMap;

/// A node that has not reported for this many of its windows is silent: one may be under way, and one on its
/// way.
pub const SILENT_WINDOWS: u64 = 3;

const START: &str = "start_ms";
const END: &str = "end_ms";
const WATCHED: &str = "watched";

/// What the windows of a system's nodes span, one row each, by node and start.
#[derive(Debug, Clone)]
pub(crate) struct Spans(DataFrame);

impl Spans {
    /// Reads what windows span that overlap `time` and watched a layer.
    pub(crate) fn read(
        reader: &Reader,
        catalog: &Connection,
        system: &SystemId,
        layer: Layer,
        time: Interval,
    ) -> Result<Self, QueryError> {
        let start = col(schema::WINDOW_START).cast(DataType::Int64);
        let after_start = i64::try_from(time.start().as_ms()).unwrap_or(i64::MAX);
        let rows = reader
            .overlapping(catalog, time.start(), time.end())?
            .filter(start_before(time.end()))
            .filter(col(schema::SYSTEM).eq(lit(system.as_str())))
            .filter(col(schema::CLASS).eq(lit(Class::Total.as_str())))
            .filter(in_layer(layer))
            .filter(col(schema::OPERATION).eq(lit(Operation::Read.as_str())))
            .select([
                col(schema::SYSTEM),
                col(schema::NODE),
                start.clone().alias(START),
                (start + col(schema::WINDOW_MS).cast(DataType::Int64)).alias(END),
                col(schema::COMPLETENESS)
                    .eq(lit(Completeness::Complete.as_str()))
                    .and(col(schema::PROCESSES).gt(lit(0u32)))
                    .alias(WATCHED),
            ])
            .filter(col(END).gt(lit(after_start)));
        let frame = by_start(rows).collect()?;
        debug_assert_eq!(text(&frame, schema::NODE)?.null_count(), 0);
        Ok(Self(frame))
    }

    /// Those of both, each once: a window that reaches from one time into the next is in both.
    pub(crate) fn plus(self, other: Self) -> PolarsResult<Self> {
        let both = concat([self.0.lazy(), other.0.lazy()], UnionArgs::default())?;
        by_start(both).collect().map(Self)
    }
}

fn by_start(windows: LazyFrame) -> LazyFrame {
    windows
        .unique(None, UniqueKeepStrategy::Any)
        .sort([schema::SYSTEM, schema::NODE, START], SortMultipleOptions::default())
}

/// Stretches of time, by node.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    /// What windows that count cover without a hole.
    watched: BTreeMap<NodeId, Vec<(i64, i64)>>,
    /// What windows span, whether they count or not.
    reported: BTreeMap<NodeId, Vec<(i64, i64)>>,
    /// What windows span, whether they count or not, that reach over a border between two steps.
    uncut: BTreeMap<NodeId, Vec<(i64, i64)>>,
}

impl Coverage {
    /// Reads the coverage of a system's nodes in one layer in `time`, which is cut into `step`.
    pub(crate) fn read(
        reader: &Reader,
        catalog: &Connection,
        system: &SystemId,
        layer: Layer,
        time: Interval,
        step: Step,
    ) -> Result<Self, QueryError> {
        Self::of(&Spans::read(reader, catalog, system, layer, time)?, step)
    }

    /// The coverage by windows that are known, of time that is cut into `step`.
    pub(crate) fn of(Spans(frame): &Spans, step: Step) -> Result<Self, QueryError> {
        let (starts, ends) = (frame.column(START)?.i64()?, frame.column(END)?.i64()?);
        let watched = frame.column(WATCHED)?.bool()?;
        let mut coverage = Self::default();
        for (row, node) in node_ids(frame)?.into_iter().enumerate() {
            if let (Some(start), Some(end)) = (starts.get(row), ends.get(row)) {
                coverage.add(node, (start, end), watched.get(row) == Some(true), step);
            }
        }
        Ok(coverage)
    }

    /// Adds a window. Those of a node come in the order of their starts.
    fn add(&mut self, node: NodeId, (start, end): (i64, i64), watched: bool, step: Step) {
        if crosses_border(start, end, step) {
            let stretches = self.uncut.entry(node.clone()).or_default();
            // Two that only meet leave the border between them free.
            match stretches.last_mut() {
                Some((_, last_end)) if start < *last_end => *last_end = end.max(*last_end),
                Some(_) | None => stretches.push((start, end)),
            }
        }
        if watched {
            append(self.watched.entry(node.clone()).or_default(), (start, end));
        }
        append(self.reported.entry(node).or_default(), (start, end));
    }

    /// Whether any of `time` was looked at, in a window that counts or not.
    pub(crate) fn touches(&self, node: &NodeId, time: Interval) -> bool {
        let (start, end) = (time.start().as_ms().cast_signed(), time.end().as_ms().cast_signed());
        let touches = |(first, last): &(i64, i64)| *first < end && *last > start;
        self.reported.get(node).is_some_and(|stretches| stretches.iter().any(touches))
    }

    /// Whether all of `time` was watched, and nothing of it was counted outside or from outside in it.
    pub(crate) fn covers(&self, node: &NodeId, time: Interval) -> bool {
        let (start, end) = (time.start().as_ms().cast_signed(), time.end().as_ms().cast_signed());
        let stretch = |stretches: &[(i64, i64)], at: i64| {
            let after = stretches.partition_point(|(first, _)| *first <= at);
            after.checked_sub(1).map(|last| stretches[last])
        };
        let watched = |stretches: &Vec<(i64, i64)>| {
            stretch(stretches, start).is_some_and(|(_, watched_end)| watched_end >= end)
        };
        let reaches_over = |stretches: &Vec<(i64, i64)>, border: i64| {
            stretch(stretches, border - 1).is_some_and(|(_, last)| last > border)
        };
        let cut =
            |stretches: &Vec<(i64, i64)>| !reaches_over(stretches, start) && !reaches_over(stretches, end);
        self.watched.get(node).is_some_and(watched) && self.uncut.get(node).is_none_or(cut)
    }
}

/// Adds a window to stretches without a hole. Windows come in the order of their starts.
fn append(stretches: &mut Vec<(i64, i64)>, (start, end): (i64, i64)) {
    match stretches.last_mut() {
        Some((_, last_end)) if start <= *last_end => *last_end = end.max(*last_end),
        Some(_) | None => stretches.push((start, end)),
    }
}

/// Whether a window has time in more than one step.
fn crosses_border(start: i64, end: i64, step: Step) -> bool {
    match step {
        Step::Whole => false,
        Step::EachMs(step_ms) => {
            let number = |at: i64| at.cast_unsigned() / step_ms.get();
            number(start) != number(end - 1)
        }
    }
}

/// The time a question about a system is answered for.
///
/// Where an end is open it is the moment from (until) which every node that reports was watched: agents start,
/// send and stop a moment apart, and that alone must not make everything unknown. Nodes that are off by
/// [`SILENT_WINDOWS`] windows or more do not move an end; they are silent. An open end is never after `now`.
/// `None` when nothing is left.
pub(crate) fn clamped(
    span: Span,
    system: &SystemId,
    nodes: &[NodeReport],
    now: Timestamp,
) -> Option<Interval> {
    let of_system = || nodes.iter().filter(|report| report.node.system() == system);
    let tolerance = |report: &NodeReport| SILENT_WINDOWS * u64::from(report.window_ms);
    let start = span.since.or_else(|| {
        let first = of_system().filter_map(|report| report.first_watched).min()?;
        of_system()
            .filter_map(|report| Some((report.first_watched?, tolerance(report))))
            .filter_map(|(start, late)| (start < first.plus_ms(late)).then_some(start))
            .max()
    });
    let end = span.until.or_else(|| {
        let last = of_system().filter_map(|report| report.last_watched).max()?;
        of_system()
            .filter_map(|report| Some((report.last_watched?, tolerance(report))))
            .filter_map(|(end, late)| (end.plus_ms(late) > last).then_some(end.min(now)))
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
    use std::num::NonZeroU64;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    fn time(start: u64, end: u64) -> Interval {
        Interval::new(at(start), at(end)).unwrap()
    }

    fn node(name: &str) -> NodeId {
        NodeId::new(SystemId::new("s").unwrap(), name).unwrap()
    }

    fn report(name: &str, watched: Option<(u64, u64)>, last_end: u64) -> NodeReport {
        NodeReport {
            node: node(name),
            agent: "a".into(),
            first_watched: watched.map(|(first, _)| at(first)),
            last_watched: watched.map(|(_, last)| at(last)),
            last_end: at(last_end),
            window_ms: 1_000,
            processes: 1,
            listening: Vec::new(),
        }
    }

    #[test]
    fn time_is_covered_only_without_holes() {
        let mut coverage = Coverage::default();
        for start in [0, 1_000, 2_000, 4_000] {
            coverage.add(node("n"), (start, start + 1_000), true, Step::Whole);
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
        for window in [(0, 10_000), (1_000, 2_000), (10_000, 11_000)] {
            coverage.add(node("n"), window, true, Step::Whole);
        }
        assert!(coverage.covers(&node("n"), time(0, 11_000)));
    }

    #[test]
    fn a_step_is_covered_only_if_no_window_reaches_over_its_borders() {
        let covered = |windows: &[(i64, i64)], step_ms: u64| -> Vec<u64> {
            let step = Step::EachMs(NonZeroU64::new(step_ms).unwrap());
            let mut coverage = Coverage::default();
            windows.iter().for_each(|window| coverage.add(node("n"), *window, true, step));
            let steps = 0..40_000 / step_ms;
            let watched =
                |step: &u64| coverage.covers(&node("n"), time(step * step_ms, (step + 1) * step_ms));
            steps.filter(watched).collect()
        };
        let regular = [(0, 10_000), (10_000, 20_000), (20_000, 30_000), (30_000, 40_000)];
        assert_eq!(covered(&regular, 10_000), [0, 1, 2, 3]);
        assert_eq!(covered(&regular, 20_000), [0, 1]);
        assert!(covered(&regular, 1_000).is_empty());
        let late = [(0, 10_000), (10_000, 30_000), (30_000, 40_000)];
        assert_eq!(covered(&late, 10_000), [0, 3]);
        assert!(covered(&late, 20_000).is_empty());
        assert_eq!(covered(&late, 40_000), [0]);
    }

    #[test]
    fn open_ends_are_where_every_reporting_node_was_watched() {
        let system = SystemId::new("s").unwrap();
        let nodes = [
            report("a", Some((10_000, 60_000)), 60_500),
            report("b", Some((12_000, 59_000)), 59_500),
            report("dead", Some((11_000, 30_000)), 30_000),
            report("late", Some((50_000, 60_000)), 60_000),
            report("partial", None, 60_000),
        ];
        let open = Span::default();
        let clamped = |span, now| clamped(span, &system, &nodes, at(now));
        assert_eq!(clamped(open, 100_000), Some(time(12_000, 59_000)));
        assert_eq!(clamped(open, 58_000), Some(time(12_000, 58_000)), "a clock that is ahead");
        assert_eq!(clamped(open, 12_000), None);
        let asked = Span { since: Some(at(1)), until: Some(at(5)) };
        assert_eq!(clamped(asked, 100_000), Some(time(1, 5)));
        let other = SystemId::new("t").unwrap();
        assert_eq!(super::clamped(open, &other, &nodes, at(100_000)), None);
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
