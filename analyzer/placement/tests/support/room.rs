//! Whether replicas can be had at all, by counting: domains that contain each other form a tree, and the most
//! replicas a domain can take is the least of its limit and of what its parts can take together.

use isotherm_placement::{Cluster, Domain, Level, Node, NodeState};

/// What a node would have to be to take anything.
pub(crate) fn is_target(cluster: &Cluster, node: Node) -> bool {
    let facts = cluster.topology.node(node);
    let safe = cluster.policy.risk_limit.is_none_or(|limit| facts.risk.is_none_or(|risk| risk <= limit));
    facts.state == NodeState::Up && facts.capacity_bytes > 0 && safe
}

pub(crate) fn limits(cluster: &Cluster) -> Vec<Option<u8>> {
    cluster.policy.limits(cluster.topology.levels())
}

/// Most replicas of one partition that `allowed` nodes can have, `kept` among them whether they are allowed or not.
pub(crate) fn most_replicas(cluster: &Cluster, allowed: &dyn Fn(Node) -> bool, kept: &[Node]) -> usize {
    let topology = &cluster.topology;
    let can = |node: Node| usize::from(allowed(node) || kept.contains(&node));
    let limits = limits(cluster);
    let Some(levels) = topology.levels().len().checked_sub(1) else {
        return topology.all().map(can).sum();
    };
    let mut takes = vec![0; topology.domains().len()];
    for node in topology.all() {
        takes[topology.domain_of(node, Level(levels as u8)).at()] += can(node);
    }
    for level in (0..=levels).rev() {
        for at in 0..takes.len() {
            let facts = &topology.domains()[at];
            if facts.level.at() != level {
                continue;
            }
            let inside = |node: &&Node| topology.domain_of(**node, facts.level) == Domain(at as u16);
            let there = kept.iter().filter(inside).count();
            if let Some(limit) = limits[level] {
                takes[at] = takes[at].min(usize::from(limit).max(there));
            }
            if let Some(parent) = facts.parent {
                takes[parent.at()] += takes[at];
            }
        }
    }
    let outermost = |at: &usize| topology.domains()[*at].level == Level(0);
    (0..takes.len()).filter(outermost).map(|at| takes[at]).sum()
}

/// Whether the domains allow one more replica on `to` beside those of `others`.
pub(crate) fn domains_allow(cluster: &Cluster, others: &[Node], to: Node) -> bool {
    limits(cluster).iter().enumerate().all(|(level, limit)| {
        let domains = cluster.topology.domains_at(Level(level as u8));
        // What a node that is down held is lost, and crowds nothing.
        let standing = others.iter().filter(|other| cluster.topology.node(**other).state != NodeState::Down);
        let there = standing.filter(|other| domains[other.at()] == domains[to.at()]).count();
        limit.is_none_or(|limit| there < usize::from(limit))
    })
}
