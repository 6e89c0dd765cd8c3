//! What an operator says of the nodes of a system whose adapter does not know it.
//!
//! Hardly a store knows how much load a node bears, or which nodes are alike. An adapter's own word comes first.

use isotherm_model::NodeId;
use isotherm_proto::{NodeFacts, TopologyMessage};
use std::collections::BTreeMap;

/// The operator's words about a system. Empty if there are none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Assumed {
    /// Client accesses per second that each node bears. Above 0.
    pub(crate) load_capacity_ops_per_s: Option<u64>,
    /// About single nodes; it comes before what is said of all.
    pub(crate) nodes: BTreeMap<NodeId, AssumedNode>,
}

/// The operator's words about a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AssumedNode {
    /// Client accesses per second that it bears. Above 0.
    pub(crate) load_capacity_ops_per_s: Option<u64>,
    /// Hardware that fails alike.
    pub(crate) class: Option<String>,
}

impl Assumed {
    /// Adds to a message what its sender does not know.
    pub(super) fn complete(&self, message: &mut TopologyMessage) {
        let nodes = match message {
            TopologyMessage::Part(part) => &mut part.nodes,
            TopologyMessage::Changes(changes) => &mut changes.nodes,
        };
        for (node, facts) in nodes {
            self.complete_node(node, facts);
        }
    }

    fn complete_node(&self, node: &NodeId, facts: &mut NodeFacts) {
        let own = self.nodes.get(node);
        let load = own.and_then(|own| own.load_capacity_ops_per_s).or(self.load_capacity_ops_per_s);
        facts.load_capacity_ops_per_s = facts.load_capacity_ops_per_s.or(load);
        if facts.class.is_none() {
            facts.class = own.and_then(|own| own.class.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_model::SystemId;
    use isotherm_proto::TopologyPart;

    #[test]
    fn the_adapter_comes_first_then_the_word_about_a_node_then_that_about_all() {
        let node = |name: &str| NodeId::new(SystemId::new("s").unwrap(), name).unwrap();
        let said = NodeFacts { load_capacity_ops_per_s: Some(7), ..NodeFacts::default() };
        let nodes = BTreeMap::from([
            (node("a"), said),
            (node("b"), NodeFacts::default()),
            (node("c"), NodeFacts::default()),
        ]);
        let part = TopologyPart {
            revision: 1,
            incarnation: String::new(),
            nodes,
            partitions: BTreeMap::new(),
            more: false,
        };
        let own = |load| AssumedNode { load_capacity_ops_per_s: Some(load), class: Some("hdd".to_owned()) };
        let assumed = Assumed {
            load_capacity_ops_per_s: Some(1_000),
            nodes: BTreeMap::from([(node("a"), own(500)), (node("b"), own(500))]),
        };
        let mut message = TopologyMessage::Part(part);
        assumed.complete(&mut message);
        let TopologyMessage::Part(part) = message else { panic!("a part stays one") };
        let known: Vec<_> = part
            .nodes
            .values()
            .map(|facts| (facts.load_capacity_ops_per_s, facts.class.as_deref()))
            .collect();
        assert_eq!(known, [(Some(7), Some("hdd")), (Some(500), Some("hdd")), (Some(1_000), None)]);
    }
}
