//! What topology, agents and probes say of a node at one moment, as one view.
//!
//! The topology comes first: the system knows whether it counts on the node. Where it says nothing, a node whose agent
//! sees a process is up, and one whose process was seen and is gone is down. Silence of the agent alone says nothing of the
//! node; together with a node that answered before and does not now, it is down.

use super::probe::{Answer, Probes};
use super::witness::AgentSays;
use crate::topology::{Freshness, Topology};
use isotherm_model::{NodeId, Timestamp};
use isotherm_proto::Health;
use isotherm_store::{NodeReport, Recorder, SILENT_WINDOWS};
use std::collections::BTreeMap;

/// After a start agents have this long to connect again, in milliseconds, beside the windows they may be late.
const CONNECT_MS: u64 = 20_000;

/// One view of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// Whether it is up; `None` if nobody can tell.
    pub(super) up: Option<bool>,
    /// Whether it is being emptied on purpose.
    pub(super) draining: bool,
    /// Who says that it is down.
    pub(super) source: Recorder,
    /// The same in words.
    pub(super) why: String,
    /// Since when its agent is silent, and should not be.
    pub(super) silent_since: Option<Timestamp>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { up: None, draining: false, source: Recorder::Topology, why: String::new(), silent_since: None }
    }
}

/// Everything at one moment.
pub(super) struct Signals<'a> {
    topology: &'a Topology,
    probes: &'a Probes,
    reports: BTreeMap<&'a NodeId, &'a NodeReport>,
    /// End of the newest window of each agent.
    heard: BTreeMap<&'a str, Timestamp>,
    started: Timestamp,
    now: Timestamp,
}

impl<'a> Signals<'a> {
    pub(super) fn new(
        topology: &'a Topology,
        reports: &'a [NodeReport],
        probes: &'a Probes,
        started: Timestamp,
        now: Timestamp,
    ) -> Self {
        let mut heard: BTreeMap<&str, Timestamp> = BTreeMap::new();
        for report in reports {
            let newest = heard.entry(&report.agent).or_insert(report.last_end);
            *newest = report.last_end.max(*newest);
        }
        let reports = reports.iter().filter(|report| !report.node.is_host());
        let reports = reports.map(|report| (&report.node, report)).collect();
        Self { topology, probes, reports, heard, started, now }
    }

    /// Nodes that anybody names.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.topology.nodes.keys().chain(self.reports.keys().copied())
    }

    /// Whether neither the topology nor an agent names a node any more. A source that is not heard says nothing of it:
    /// after a start no adapter has spoken yet.
    pub(super) fn is_gone(&self, node: &NodeId) -> bool {
        let heard = match self.topology.sources.get(node.system()).map(|source| source.freshness) {
            Some(Freshness::Fresh) | None => true,
            Some(Freshness::Stale | Freshness::Never) => false,
        };
        heard && !self.topology.nodes.contains_key(node) && !self.reports.contains_key(node)
    }

    /// The view of a node. `was_up`: somebody has seen it up before.
    pub(super) fn of(&self, node: &NodeId, was_up: bool) -> Seen {
        let silent_since = self.silent_since(node);
        let seen = Seen { silent_since, ..Seen::default() };
        match self.topology.health(node) {
            Some(Health::Down) => {
                Seen { up: Some(false), why: "the topology says that it is down".to_owned(), ..seen }
            }
            Some(Health::Up) => Seen { up: Some(true), ..seen },
            Some(Health::Draining) => Seen { up: Some(true), draining: true, ..seen },
            Some(Health::Unknown) | None => self.by_agent(node, was_up, seen),
        }
    }

    fn by_agent(&self, node: &NodeId, was_up: bool, seen: Seen) -> Seen {
        let answer = self.probes.of(node);
        let down = |why: String| Seen { up: Some(false), source: Recorder::Agent, why, ..seen.clone() };
        match (self.reports.get(node).copied().filter(|report| self.is_fresh(report)), answer) {
            (Some(report), _) if report.processes > 0 => Seen { up: Some(true), ..seen },
            (Some(_), None | Some(Answer::Failed(_))) if was_up => {
                down("its agent sees no process of it any more".to_owned())
            }
            (None, Some(Answer::Failed(why))) if seen.silent_since.is_some() => {
                down(format!("its agent is silent and {why}"))
            }
            (Some(_) | None, _) => seen,
        }
    }

    /// What its agent says of a node, whatever the topology does.
    pub(super) fn agent(&self, node: &NodeId) -> AgentSays {
        match self.reports.get(node) {
            Some(report) if self.is_fresh(report) => match (report.processes, report.last_watched) {
                (0, None) => AgentSays::Nothing,
                (0, Some(_)) => AgentSays::NoProcess,
                (_, _) => AgentSays::Runs,
            },
            Some(_) if self.silent_since(node).is_some() => AgentSays::Silent,
            Some(_) | None => AgentSays::Nothing,
        }
    }

    fn patience_ms(report: &NodeReport) -> u64 {
        SILENT_WINDOWS * u64::from(report.window_ms)
    }

    fn is_fresh(&self, report: &NodeReport) -> bool {
        report.last_end.plus_ms(Self::patience_ms(report)) > self.now
    }

    /// A node that its agent does not watch any more, while it sends windows of others, is not silent: it was taken out.
    fn silent_since(&self, node: &NodeId) -> Option<Timestamp> {
        let report = self.reports.get(node)?;
        let patience_ms = Self::patience_ms(report);
        let agent = self.heard.get(report.agent.as_str()).copied().unwrap_or(report.last_end);
        let since = report.last_end.max(self.started);
        let late = since.plus_ms(patience_ms) <= self.now
            && self.started.plus_ms(CONNECT_MS.max(patience_ms)) <= self.now;
        let taken_out = agent.plus_ms(patience_ms) > self.now;
        (late && !taken_out).then_some(since)
    }
}

#[cfg(test)]
mod tests;
