//! How long nodes were seen to be up, written down as it passes.
//!
//! Two witnesses. The topology: a node that it calls up was up until the adapter was last heard. Agents: what their windows
//! cover. Windows that arrive as they are cut go on where the last ended; where more arrives at once, after a silence, the
//! windows themselves say what of it was watched. So what an agent kept while the analyzer was away counts, and what
//! nobody saw does not.

use super::LookError;
use crate::topology::Topology;
use isotherm_model::{Interval, NodeId, Timestamp};
use isotherm_proto::Health;
use isotherm_store::{History, NodeReport, QueryError, Reader, SILENT_WINDOWS, Witness};
use std::collections::BTreeMap;

/// How often it is written down, in milliseconds. What a crash loses of the topology's part is at most this.
const EVERY_MS: u64 = 10_000;

/// The most time whose windows are read at once, in milliseconds.
const READ_MS: u64 = 86_400_000;

/// How far each witness has been written down.
pub(super) struct Account {
    /// Since when, and until when, a node is seen to be up by the topology without a break.
    topology: BTreeMap<NodeId, (Timestamp, Timestamp)>,
    /// Until when the windows of a node are accounted for.
    marks: BTreeMap<NodeId, Timestamp>,
    /// Since when they go on without a break.
    runs: BTreeMap<NodeId, Timestamp>,
    written: Option<Timestamp>,
}

type Seen = Vec<(NodeId, Witness, Interval)>;

impl Account {
    pub(super) fn open(reader: &Reader) -> Result<Self, QueryError> {
        let marks = reader.observed_until(Witness::Agent)?;
        Ok(Self { topology: BTreeMap::new(), marks, runs: BTreeMap::new(), written: None })
    }

    /// Accounts for the time since the last look.
    pub(super) fn look(
        &mut self,
        reader: &Reader,
        history: &mut History,
        topology: &Topology,
        reports: &[NodeReport],
        now: Timestamp,
    ) -> Result<(), LookError> {
        let up = self.by_topology(topology);
        let due = self.written.is_none_or(|written| now < written || written.plus_ms(EVERY_MS) <= now);
        // What has come to an end is not remembered, so it is written at once.
        let ended = self.topology.iter().filter(|(node, _)| !up.contains_key(*node));
        let mut seen: Seen = ended.chain(up.iter().filter(|_| due)).filter_map(by_topology).collect();
        let (mut marks, mut runs) = (self.marks.clone(), self.runs.clone());
        if due {
            by_agents(reader, reports, &mut marks, &mut runs, &mut seen)?;
        }
        history.observe(&seen)?;
        (self.topology, self.marks, self.runs) = (up, marks, runs);
        if due {
            self.written = Some(now);
        }
        Ok(())
    }

    fn by_topology(&self, topology: &Topology) -> BTreeMap<NodeId, (Timestamp, Timestamp)> {
        let mut up = BTreeMap::new();
        for node in topology.nodes.keys() {
            let heard = topology.sources.get(node.system()).and_then(|source| source.heard);
            match (topology.health(node), heard) {
                (Some(Health::Up | Health::Draining), Some(heard)) => {
                    let since = self.topology.get(node).map_or(heard, |(since, _)| *since);
                    up.insert(node.clone(), (since, heard));
                }
                (Some(Health::Up | Health::Draining | Health::Down | Health::Unknown) | None, _) => {}
            }
        }
        up
    }
}

fn by_topology(
    (node, (since, until)): (&NodeId, &(Timestamp, Timestamp)),
) -> Option<(NodeId, Witness, Interval)> {
    Some((node.clone(), Witness::Topology, Interval::new(*since, *until)?))
}

/// What windows say since each node's mark.
fn by_agents(
    reader: &Reader,
    reports: &[NodeReport],
    marks: &mut BTreeMap<NodeId, Timestamp>,
    runs: &mut BTreeMap<NodeId, Timestamp>,
    seen: &mut Seen,
) -> Result<(), QueryError> {
    let mut jumped: Vec<(&NodeId, Timestamp, Timestamp)> = Vec::new();
    for report in reports.iter().filter(|report| !report.node.is_host()) {
        let (Some(first), Some(last)) = (report.first_watched, report.last_watched) else { continue };
        let node = &report.node;
        let mark = marks.get(node).copied().unwrap_or(first);
        if last <= mark {
            continue;
        }
        let ordinary_ms = 2 * EVERY_MS + SILENT_WINDOWS * u64::from(report.window_ms);
        if last <= mark.plus_ms(ordinary_ms) {
            let since = *runs.entry(node.clone()).or_insert(mark);
            seen.extend(Interval::new(since, last).map(|time| (node.clone(), Witness::Agent, time)));
            marks.insert(node.clone(), last);
        } else {
            jumped.push((node, mark, last));
        }
    }
    let Some(start) = jumped.iter().map(|(_, mark, _)| *mark).min() else { return Ok(()) };
    let end = start.plus_ms(READ_MS);
    let Some(time) = Interval::new(start, end) else { return Ok(()) };
    let mut watched = reader.watched(time)?;
    for (node, mark, last) in jumped.into_iter().filter(|(_, mark, _)| *mark < end) {
        let until = last.min(end);
        runs.remove(node);
        for stretch in watched.remove(node).unwrap_or_default() {
            let inside = Interval::new(stretch.start().max(mark), stretch.end().min(until));
            if let Some(inside) = inside {
                if inside.end() == until {
                    runs.insert(node.clone(), inside.start());
                }
                seen.push((node.clone(), Witness::Agent, inside));
            }
        }
        marks.insert(node.clone(), until);
    }
    Ok(())
}
