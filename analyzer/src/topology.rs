//! Who may serve what, as the operator says: systems, their nodes with failure domains, and the subset of
//! nodes that holds each partition.

use isotherm_model::NodeId;
use isotherm_store::Subsets;
use std::collections::BTreeMap;

/// A topology whose references hold: every node of a subset is a node of it. May be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Topology {
    /// Every node, with its failure domains, outermost first.
    pub(crate) nodes: BTreeMap<NodeId, Vec<String>>,
    /// The nodes that hold each partition; never none.
    pub(crate) subsets: Subsets,
}
