//! How nodes lie to each other in failure domains.

use super::Repair;
use crate::topology::Topology;
use isotherm_model::NodeId;
use isotherm_proto::Health;
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// Nodes that may take a repair's replica: up, without one, and as far from the replicas that are left as the lost one
/// was; where there is none, farther. Where the domains of the dead node are not known, every node that is up may.
pub(super) fn candidates(topology: &Topology, repair: &Repair) -> BTreeSet<NodeId> {
    let survivors = &repair.lack.survivors;
    let none: &[String] = &[];
    let domains = |node: &NodeId| topology.nodes.get(node).map_or(none, |facts| facts.domains.as_slice());
    let lies = |node: &NodeId, fits: fn(Ordering) -> bool| {
        survivors.iter().all(|survivor| {
            let lost = common(&repair.domains, domains(survivor));
            fits(common(domains(node), domains(survivor)).cmp(&lost))
        })
    };
    let up: BTreeSet<&NodeId> = topology
        .nodes
        .iter()
        .filter(|(node, facts)| {
            node.system() == repair.dead.system()
                && facts.health == Health::Up
                && **node != repair.dead
                && !survivors.contains(node)
        })
        .map(|(node, _)| node)
        .collect();
    if repair.domains.is_empty() {
        return up.into_iter().cloned().collect();
    }
    let alike: BTreeSet<NodeId> =
        up.iter().filter(|node| lies(node, Ordering::is_eq)).map(|node| (*node).clone()).collect();
    if !alike.is_empty() {
        return alike;
    }
    up.into_iter().filter(|node| lies(node, Ordering::is_le)).cloned().collect()
}

/// In how many domains two nodes lie together.
fn common(a: &[String], b: &[String]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
