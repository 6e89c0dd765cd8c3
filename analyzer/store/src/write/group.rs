//! What a group of submissions changes, worked out before anything is written.

use super::{ClockAhead, Entry, Gap, Run, Submission, Verdict};
use crate::catalog::{self, NodeReport};
use crate::columns::Columns;
use crate::segment::hour_of;
use crate::table::Table;
use isotherm_model::{Completeness, NodeId, Seq, Timestamp, Window};
use polars::prelude::{DataFrame, PolarsResult};
use rusqlite::Connection;
use std::collections::BTreeMap;

/// How far ahead of the analyzer's clock a window may end before it is not believed to be a node's newest:
/// clocks that are kept by NTP differ by less than a second, and one that is wrong by hours must not make the
/// node look silent until that time has come.
pub(super) const AHEAD_MS: u64 = 60_000;

/// The new part of a group, with the verdicts that hold once it is committed.
#[derive(Debug)]
pub(super) struct Group<'a> {
    pub(super) verdicts: Vec<Verdict>,
    /// New high-water marks; only runs that advance.
    pub(super) marks: BTreeMap<&'a Run, Seq>,
    /// New gaps, cut to what was not committed before.
    pub(super) gaps: Vec<(&'a Run, Gap)>,
    batches: Vec<(&'a Run, Seq, &'a [Window])>,
    /// Windows that start before it are late.
    watermark: Timestamp,
}

/// Windows that start in the same hour. Never empty.
#[derive(Debug, Default)]
pub(super) struct HourWindows<'a>(Vec<(&'a Run, Seq, &'a Window)>);

impl<'a> Group<'a> {
    pub(super) fn gather(
        catalog: &Connection,
        submissions: &'a [Submission],
    ) -> Result<Self, rusqlite::Error> {
        let mut marks: BTreeMap<&Run, (Option<Seq>, Option<Seq>)> = BTreeMap::new();
        let mut group = Self {
            verdicts: Vec::with_capacity(submissions.len()),
            marks: BTreeMap::new(),
            gaps: Vec::new(),
            batches: Vec::new(),
            watermark: catalog::settled(catalog)?.map_or(Timestamp::from_ms(0), |settled| settled.watermark),
        };
        for submission in submissions {
            let run = &submission.run;
            if !marks.contains_key(run) {
                let durable = catalog::committed(catalog, run)?;
                marks.insert(run, (durable, durable));
            }
            let (_, mark) = marks.get_mut(run).expect("inserted above");
            let expected = mark.map_or(Seq::FIRST, Seq::next);
            let (first, last) = (submission.entry.first(), submission.entry.last());
            group.verdicts.push(if first > expected {
                Verdict::OutOfOrder { expected }
            } else {
                Verdict::Committed { through: last }
            });
            if first > expected || last < expected {
                continue;
            }
            *mark = Some(last);
            match &submission.entry {
                Entry::Batch { seq, windows } => group.batches.push((run, *seq, windows)),
                Entry::Gap(gap) => group.gaps.push((run, Gap { first: expected, ..gap.clone() })),
            }
        }
        group.marks = marks
            .into_iter()
            .filter_map(|(run, (durable, mark))| mark.filter(|_| mark != durable).map(|mark| (run, mark)))
            .collect();
        Ok(group)
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Windows by the table and hour that they belong to.
    pub(super) fn by_hour(&self) -> BTreeMap<(Table, Timestamp), HourWindows<'a>> {
        let mut hours: BTreeMap<(Table, Timestamp), HourWindows<'a>> = BTreeMap::new();
        for (run, seq, windows) in &self.batches {
            for window in *windows {
                let table = if self.is_late(window) { Table::Late } else { Table::Windows };
                hours.entry((table, hour_of(window.start))).or_default().0.push((*run, *seq, window));
            }
        }
        // Windows without nodes have no rows, and an hour of them has no segment.
        hours.retain(|_, windows| windows.0.iter().any(|(_, _, window)| !window.nodes.is_empty()));
        hours
    }

    fn is_late(&self, window: &Window) -> bool {
        window.start < self.watermark
    }

    /// Windows that are late, by agent.
    pub(super) fn late(&self) -> BTreeMap<&'a str, u64> {
        let mut late = BTreeMap::new();
        for (run, _, windows) in &self.batches {
            let windows = windows.iter().filter(|window| self.is_late(window)).count() as u64;
            if windows > 0 {
                *late.entry(run.agent.as_str()).or_default() += windows;
            }
        }
        late
    }

    /// The end of the newest window; `None` without windows.
    pub(super) fn newest_end(&self) -> Option<Timestamp> {
        self.batches.iter().flat_map(|(_, _, windows)| windows.iter().map(Window::end)).max()
    }

    /// One report per node and agent of the group, by the newest window that is not [ahead](AHEAD_MS).
    pub(super) fn reports(&self, now: Timestamp) -> Vec<NodeReport> {
        let mut reports: BTreeMap<(&NodeId, &str), NodeReport> = BTreeMap::new();
        for (run, _, windows) in &self.batches {
            for window in windows.iter().filter(|window| window.end() <= now.plus_ms(AHEAD_MS)) {
                for node in &window.nodes {
                    // A host has no processes that could be gone.
                    let alive = node.processes > 0 || node.node.is_host();
                    // What came late is in no answer, so nobody can say that it was watched.
                    let counts = window.completeness == Completeness::Complete && !self.is_late(window);
                    let watched = counts && alive;
                    let new = NodeReport {
                        node: node.node.clone(),
                        agent: run.agent.to_string(),
                        first_watched: watched.then_some(window.start),
                        last_watched: watched.then(|| window.end()),
                        last_end: window.end(),
                        window_ms: window.length_ms,
                        processes: node.processes,
                        listening: node.listening.clone(),
                    };
                    reports
                        .entry((&node.node, run.agent.as_str()))
                        .and_modify(|old| old.absorb(&new))
                        .or_insert(new);
                }
            }
        }
        reports.into_values().collect()
    }

    /// The runs that sent windows which are ahead.
    pub(super) fn ahead(&self, now: Timestamp) -> Vec<ClockAhead> {
        let mut ahead: BTreeMap<&Run, u64> = BTreeMap::new();
        for (run, _, windows) in &self.batches {
            for window in *windows {
                let ahead_ms = window.end().as_ms().saturating_sub(now.as_ms());
                if ahead_ms > AHEAD_MS {
                    let most = ahead.entry(run).or_default();
                    *most = ahead_ms.max(*most);
                }
            }
        }
        ahead.into_iter().map(|(run, ahead_ms)| ClockAhead { run: run.clone(), ahead_ms }).collect()
    }
}

impl NodeReport {
    fn absorb(&mut self, new: &Self) {
        let first_watched = [self.first_watched, new.first_watched].into_iter().flatten().min();
        let last_watched = self.last_watched.max(new.last_watched);
        if new.last_end >= self.last_end {
            *self = new.clone();
        }
        (self.first_watched, self.last_watched) = (first_watched, last_watched);
    }
}

impl HourWindows<'_> {
    pub(super) fn frame(&self) -> PolarsResult<DataFrame> {
        let mut columns = Columns::new();
        for (run, seq, window) in &self.0 {
            columns.push(run, *seq, window);
        }
        columns.into_frame()
    }

    pub(super) fn first_start(&self) -> Timestamp {
        self.times(|window| window.start).min().expect("an hour has windows")
    }

    pub(super) fn last_end(&self) -> Timestamp {
        self.times(Window::end).max().expect("an hour has windows")
    }

    fn times(&self, of: impl Fn(&Window) -> Timestamp) -> impl Iterator<Item = Timestamp> {
        self.0.iter().map(move |(_, _, window)| of(window))
    }
}
