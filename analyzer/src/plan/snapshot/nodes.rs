//! Nodes of a snapshot, with the failure domains they lie in.

use super::partitions::Taken;
use super::{ChartError, Sources};
use isotherm_cycle::cluster::NodeState as Judged;
use isotherm_model::NodeId;
use isotherm_placement as placement;
use isotherm_placement::{Domain, DomainFacts, Level, NodeState, hash};
use isotherm_proto::{Health, NodeFacts};
use std::collections::BTreeMap;

pub(super) struct Made {
    pub(super) topology: placement::Topology,
    /// Innermost domains with a node that serves.
    pub(super) serving_domains: usize,
    pub(super) closed: Vec<(NodeId, String)>,
    /// Why load is no objective, if it is none.
    pub(super) no_load: Option<String>,
}

/// Makes the nodes. `loads_known`: whether loads of partitions are.
pub(super) fn make(
    sources: &Sources<'_>,
    nodes: &[NodeId],
    taken: &[Taken],
    loads_known: bool,
) -> Result<Made, ChartError> {
    let told: Vec<&NodeFacts> = nodes.iter().filter_map(|node| sources.topology.nodes.get(node)).collect();
    let capacity =
        |node: &NodeId, facts: &NodeFacts| sources.capacities.get(node).copied().or(facts.capacity_bytes);
    if !nodes.iter().zip(&told).any(|(node, facts)| capacity(node, facts).is_some()) {
        let nodes = nodes.iter().map(|node| node.name().to_owned()).collect();
        return Err(ChartError::NoCapacity { system: sources.system.clone(), nodes });
    }
    let unmeasured = nodes.iter().zip(&told).find(|(_, facts)| facts.load_capacity_ops_per_s.is_none());
    let no_load = unmeasured.map(|(node, _)| format!("the load that {} can bear is not known", node.name()));
    let judges_load = loads_known && no_load.is_none();
    let places = Places::new(nodes, &told);
    let (mut made, mut closed) = (Vec::new(), Vec::new());
    for (at, (node, facts)) in nodes.iter().zip(&told).enumerate() {
        let (state, unknown) = state(sources, node);
        let share = sources.lowered.get(node).copied();
        let why = unknown
            .or_else(|| capacity(node, facts).is_none().then(|| "its capacity is not known".to_owned()))
            .or_else(|| taken[at].unknown.then(|| "it holds partitions of unknown size".to_owned()))
            .or_else(|| places.unknown[at].then(|| "its failure domain is not known".to_owned()));
        let draining = facts.health == Health::Draining || state == NodeState::Draining;
        let cordoned = why.is_some() || share.is_some() || draining || sources.cordoned.contains(node);
        // What is left out fills its part of the capacity, up to the limit that the rest keeps to.
        let filled = (taken[at].bytes as f64 / sources.policy.fill_limit).ceil() as u64;
        let bytes = capacity(node, facts).unwrap_or(0).saturating_sub(filled);
        let lowered = |value: f64| value * share.unwrap_or(1.0);
        made.push(placement::NodeFacts {
            name: node.name().to_owned(),
            key: hash::key(node.name().as_bytes()),
            domain: places.of[at],
            capacity_bytes: lowered(bytes as f64) as u64,
            load_capacity: facts
                .load_capacity_ops_per_s
                .filter(|_| judges_load)
                .map(|ops| lowered(ops as f64)),
            network_bytes_per_s: None,
            cordoned,
            state,
            risk: hazard(sources, node),
        });
        closed.extend(why.map(|why| (node.clone(), why)));
    }
    let serving = made.iter().filter(|facts| facts.state != NodeState::Down).filter_map(|facts| facts.domain);
    let serving_domains = serving.collect::<std::collections::BTreeSet<Domain>>().len();
    let topology = placement::Topology::new(places.levels, places.domains, made, Vec::new())?;
    Ok(Made { topology, serving_domains, closed, no_load })
}

/// Whether a node serves, and why nobody can tell. Where the topology cannot, the last cycle may.
fn state(sources: &Sources<'_>, node: &NodeId) -> (NodeState, Option<String>) {
    if sources.down.contains(node) {
        return (NodeState::Down, None);
    }
    let serves = if sources.drained.contains(node) { NodeState::Draining } else { NodeState::Up };
    match sources.topology.health(node) {
        Some(Health::Down) => (NodeState::Down, None),
        Some(Health::Up | Health::Draining) => (serves, None),
        Some(Health::Unknown) | None => match judged(sources, node) {
            Some(Judged::Up | Judged::Draining | Judged::Cordoned) => (serves, None),
            Some(Judged::Down) => (NodeState::Down, None),
            Some(Judged::Unknown) | None => (serves, Some("nobody says whether it serves".to_owned())),
        },
    }
}

fn judged(sources: &Sources<'_>, node: &NodeId) -> Option<Judged> {
    let cluster = &sources.cycled?.cluster;
    cluster.node(node).map(|at| cluster.nodes[at].state)
}

/// Failures per hour that the last cycle expected of a node.
fn hazard(sources: &Sources<'_>, node: &NodeId) -> Option<f64> {
    let cluster = &sources.cycled?.cluster;
    cluster.node(node).map(|at| cluster.nodes[at].hazard.per_hour)
}

/// Failure domains, and where nodes lie in them.
struct Places {
    levels: Vec<String>,
    domains: Vec<DomainFacts>,
    /// By node.
    of: Vec<Option<Domain>>,
    /// By node: whether its source tells fewer domains of it than of others. It is put into one of its own.
    unknown: Vec<bool>,
}

impl Places {
    fn new(nodes: &[NodeId], told: &[&NodeFacts]) -> Self {
        let depth = told.iter().map(|facts| facts.domains.len()).max().unwrap_or(0);
        let mut places = Self {
            levels: levels(depth),
            domains: Vec::new(),
            of: Vec::new(),
            unknown: told.iter().map(|facts| facts.domains.len() < depth).collect(),
        };
        let mut known: BTreeMap<Vec<String>, Domain> = BTreeMap::new();
        for (node, facts) in nodes.iter().zip(told) {
            let mut path = facts.domains.clone();
            path.resize(depth, format!("around {}", node.name()));
            let innermost = (1..=depth).fold(None, |parent, depth| {
                let next = Domain(u16::try_from(places.domains.len()).unwrap_or(u16::MAX));
                let domain = *known.entry(path[..depth].to_vec()).or_insert(next);
                if domain == next {
                    let level = Level(u8::try_from(depth - 1).unwrap_or(u8::MAX));
                    places.domains.push(DomainFacts { name: path[..depth].join("/"), level, parent });
                }
                Some(domain)
            });
            places.of.push(innermost);
        }
        places
    }
}

/// Names of levels; topologies give them none.
fn levels(depth: usize) -> Vec<String> {
    match depth {
        1 => vec!["failure domain".to_owned()],
        depth => (1..=depth).map(|level| format!("failure domain of level {level}")).collect(),
    }
}
