//! From records to outages, and from outages to failures of domains.
//!
//! Several may record one outage: the topology saw it, and an operator wrote it down. Records of a node that overlap
//! are one outage, from the first beginning to the last end; its cause is that of who knows best, an operator before
//! an import, that before the topology, that before agents. Agent loss is no outage.
//!
//! Nodes of a failure domain that go down within [`DOMAIN_MS`] of the first are one failure of the domain, if they are
//! at least half of its nodes, and lie in more than one of the domains within it: otherwise it is that domain's, or nobody's.

use super::observed::{NodeHistory, Stretch, united, without};
use super::{Cause, DomainSize, DownInterval};
use isotherm_model::{NodeId, SystemId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// Within what time nodes of a domain go down together, in milliseconds: agents tell in windows of 10 s, a rack's
/// servers lose a switch at once and a power feed within a minute.
const DOMAIN_MS: u64 = 120_000;

/// Before an outage somebody must have seen the node within this time, in milliseconds, for it to count against what was
/// observed.
const BEFORE_MS: u64 = 3_600_000;

/// Why a node was not up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutageCause {
    /// It failed.
    Failure,
    /// On purpose.
    Maintenance,
}

/// A time in which a node was down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// Since when.
    pub from: Timestamp,
    /// Until when; `None` while it goes on.
    pub to: Option<Timestamp>,
    /// Why.
    pub cause: OutageCause,
    /// Whether it was seen to be up in the hour before. If not, there is no exposure that the failure could be held
    /// against.
    pub observed_before: bool,
    /// The failure domain that went down with it, from the outermost; `None` if it failed alone.
    pub domain: Option<Vec<String>>,
}

/// A failure of a failure domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainEvent {
    /// Of which system.
    pub system: SystemId,
    /// The domain, from the outermost.
    pub domain: Vec<String>,
    /// When its first node went down.
    pub from: Timestamp,
    /// The nodes that went down.
    pub nodes: BTreeSet<NodeId>,
}

/// What is on record of all nodes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histories {
    /// By node: every node that was ever down or seen.
    pub nodes: BTreeMap<NodeId, NodeHistory>,
    /// Failures of domains, by beginning.
    pub domain_events: Vec<DomainEvent>,
    /// The intervals, each with the domain that its outage belongs to; in the order of their beginnings.
    pub intervals: Vec<(DownInterval, Option<Vec<String>>)>,
}

/// An outage on its way.
struct Draft {
    node: NodeId,
    outage: Outage,
    domains: Vec<DomainSize>,
    /// Positions of its intervals.
    of: Vec<usize>,
}

impl Histories {
    pub(super) fn new(down: Vec<DownInterval>, seen: Vec<(NodeId, Stretch)>) -> Self {
        let mut drafts = drafts(&down);
        let domain_events = domain_events(&mut drafts);
        let mut stretches: BTreeMap<NodeId, Vec<Stretch>> = BTreeMap::new();
        for (node, stretch) in seen {
            stretches.entry(node).or_default().push(stretch);
        }
        let mut nodes: BTreeMap<NodeId, NodeHistory> = stretches
            .into_iter()
            .map(|(node, seen)| (node, NodeHistory { observed: united(seen), outages: Vec::new() }))
            .collect();
        // A node of which only agent loss is known is there, with nothing.
        for interval in &down {
            nodes.entry(interval.node.clone()).or_default();
        }
        let mut domains = vec![None; down.len()];
        for mut draft in drafts {
            let history = nodes.entry(draft.node).or_default();
            let from = draft.outage.from.as_ms();
            draft.outage.observed_before =
                NodeHistory::saw(&history.observed, from.saturating_sub(BEFORE_MS), from);
            draft.of.iter().for_each(|at| domains[*at].clone_from(&draft.outage.domain));
            history.outages.push(draft.outage);
        }
        for history in nodes.values_mut() {
            let holes: Vec<Stretch> = history.outages.iter().map(Outage::stretch).collect();
            history.observed = without(&history.observed, &holes);
        }
        Self { nodes, domain_events, intervals: down.into_iter().zip(domains).collect() }
    }
}

impl Outage {
    fn stretch(&self) -> Stretch {
        (self.from.as_ms(), self.to.map_or(u64::MAX, Timestamp::as_ms))
    }
}

/// Outages by node, then beginning. `down` comes by beginning.
fn drafts(down: &[DownInterval]) -> Vec<Draft> {
    let mut by_node: BTreeMap<&NodeId, Vec<usize>> = BTreeMap::new();
    for (at, interval) in down.iter().enumerate() {
        match interval.cause {
            Cause::Failure | Cause::Maintenance => by_node.entry(&interval.node).or_default().push(at),
            Cause::AgentLoss => {}
        }
    }
    let mut drafts: Vec<Draft> = Vec::new();
    for (node, intervals) in by_node {
        let first = drafts.len();
        for at in intervals {
            let interval = &down[at];
            match drafts[first..].last_mut() {
                Some(draft) if draft.outage.to.is_none_or(|to| interval.from < to) => {
                    draft.of.push(at);
                    draft.outage.to = draft.outage.to.zip(interval.to).map(|(one, other)| one.max(other));
                    if draft.domains.is_empty() {
                        draft.domains.clone_from(&interval.domains);
                    }
                }
                Some(_) | None => drafts.push(Draft {
                    node: node.clone(),
                    outage: Outage {
                        from: interval.from,
                        to: interval.to,
                        cause: OutageCause::Failure,
                        observed_before: false,
                        domain: None,
                    },
                    domains: interval.domains.clone(),
                    of: vec![at],
                }),
            }
        }
    }
    for draft in &mut drafts {
        let best = draft.of.iter().map(|at| &down[*at]).max_by_key(|interval| interval.source);
        draft.outage.cause = match best.map(|interval| interval.cause) {
            Some(Cause::Maintenance) => OutageCause::Maintenance,
            Some(Cause::Failure | Cause::AgentLoss) | None => OutageCause::Failure,
        };
    }
    drafts
}

/// Finds failures of domains, the outermost first, and gives each outage the one that it belongs to.
fn domain_events(drafts: &mut [Draft]) -> Vec<DomainEvent> {
    let deepest = drafts.iter().map(|draft| draft.domains.len()).max().unwrap_or(0);
    let mut events = Vec::new();
    for depth in 1..=deepest {
        let mut domains: BTreeMap<(SystemId, Vec<String>), Vec<usize>> = BTreeMap::new();
        for (at, draft) in drafts.iter().enumerate() {
            let failed = draft.outage.cause == OutageCause::Failure && draft.outage.domain.is_none();
            if failed && draft.domains.len() >= depth {
                let key = (draft.node.system().clone(), path(draft, depth));
                domains.entry(key).or_default().push(at);
            }
        }
        for ((system, domain), mut failed) in domains {
            failed.sort_by_key(|at| drafts[*at].outage.from);
            let mut first = 0;
            while first < failed.len() {
                let start = drafts[failed[first]].outage.from;
                let together = &failed[first..];
                let together = &together
                    [..together.partition_point(|at| drafts[*at].outage.from <= start.plus_ms(DOMAIN_MS))];
                if !is_of_domain(drafts, together, depth) {
                    first += 1;
                    continue;
                }
                first += together.len();
                let nodes = together.iter().map(|at| drafts[*at].node.clone()).collect();
                for at in together {
                    drafts[*at].outage.domain = Some(domain.clone());
                }
                events.push(DomainEvent {
                    system: system.clone(),
                    domain: domain.clone(),
                    from: start,
                    nodes,
                });
            }
        }
    }
    events.sort_by(|a, b| (a.from, &a.system, &a.domain).cmp(&(b.from, &b.system, &b.domain)));
    events
}

/// Whether outages are a failure of the domain that they all lie in.
fn is_of_domain(drafts: &[Draft], together: &[usize], depth: usize) -> bool {
    let nodes: BTreeSet<&NodeId> = together.iter().map(|at| &drafts[*at].node).collect();
    let within: BTreeSet<Option<&str>> =
        together.iter().map(|at| drafts[*at].domains.get(depth).map(|domain| domain.name.as_str())).collect();
    let size = together.iter().map(|at| drafts[*at].domains[depth - 1].nodes).max().unwrap_or(0);
    let spread = within.len() > 1 || within.contains(&None);
    nodes.len() > 1 && spread && nodes.len() as u64 * 2 >= size
}

fn path(draft: &Draft, depth: usize) -> Vec<String> {
    draft.domains[..depth].iter().map(|domain| domain.name.clone()).collect()
}
