//! What others than the topology say of nodes: a second signal for those who act on failures.
//!
//! The judgement of the failure history takes the topology's word alone where there is one. Who copies data because of a
//! failure wants to hear two.

use super::probe::{Answer, Probes};
use super::signals::Signals;
use isotherm_model::NodeId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is said of each node at the last look. A node that is not in it is one of which nobody says anything.
pub(crate) type Witnesses = tokio::sync::watch::Receiver<Arc<BTreeMap<NodeId, Witness>>>;

/// What is said of a node beside the topology.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Witness {
    pub(crate) agent: AgentSays,
    pub(crate) probe: ProbeSays,
}

/// What a node's agent says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum AgentSays {
    /// Nobody watches the node, or nobody has ever seen a process of it, or it is too early to tell.
    #[default]
    Nothing,
    /// The node runs.
    Runs,
    /// It ran, and has no process any more.
    NoProcess,
    /// The agent itself is silent, and should not be.
    Silent,
}

/// What a connection to a node says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum ProbeSays {
    /// Nobody tried, or it never answered.
    #[default]
    Nothing,
    /// It answers.
    Answers,
    /// It answered before and does not now; in words.
    Fails(String),
}

/// Everything that is said at one moment.
pub(super) fn witnesses(signals: &Signals<'_>, probes: &Probes) -> BTreeMap<NodeId, Witness> {
    let nodes = signals.nodes().chain(probes.nodes());
    let told = nodes.map(|node| {
        let probe = match probes.of(node) {
            None => ProbeSays::Nothing,
            Some(Answer::Answered) => ProbeSays::Answers,
            Some(Answer::Failed(why)) => ProbeSays::Fails(why),
        };
        (node.clone(), Witness { agent: signals.agent(node), probe })
    });
    told.filter(|(_, witness)| *witness != Witness::default()).collect()
}
