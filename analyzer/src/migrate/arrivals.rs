//! Nodes that are to serve more since a cycle has looked.
//!
//! All verdicts of a cycle are judged on one picture of the cluster. What is begun because of one is in none of the
//! others, so two that ask for the same node could overload it together. The next cycle counts what was begun
//! ([`crate::cycle`]), so whoever would bring more reads to such a node waits for it.

use crate::topology::Topology;
use isotherm_model::{NodeId, PartitionId};
use isotherm_runner::Board;
use isotherm_runner::shift::What;
use std::collections::BTreeSet;

/// The nodes.
#[derive(Debug, Default)]
pub(super) struct Arrivals(BTreeSet<NodeId>);

impl Arrivals {
    /// Those of what was begun, or waits to be, since a moment, milliseconds since 1970.
    pub(super) fn since(board: &Board, topology: &Topology, at_ms: u64) -> Self {
        let mut arrivals = Self::default();
        let moves = board.migrations.iter().map(|seen| &seen.entry);
        for entry in moves.filter(|entry| entry.about.created_ms > at_ms) {
            arrivals.bring([entry.migration.spec().target.clone()]);
        }
        for shift in board.shifts.iter().filter(|shift| shift.created_ms > at_ms) {
            arrivals.bring(gaining(topology, &shift.partition, &shift.what));
        }
        arrivals
    }

    /// So do these.
    pub(super) fn bring(&mut self, nodes: impl IntoIterator<Item = NodeId>) {
        self.0.extend(nodes);
    }

    /// Whether these may be brought more, or why not.
    pub(super) fn permit<'a>(&self, nodes: impl IntoIterator<Item = &'a NodeId>) -> Result<(), String> {
        match nodes.into_iter().find(|node| self.0.contains(*node)) {
            Some(node) => {
                Err(format!("{node} is to serve more since it was judged; the next cycle counts that"))
            }
            None => Ok(()),
        }
    }
}

/// Who serves more once reads are shifted.
pub(super) fn gaining(topology: &Topology, partition: &PartitionId, what: &What) -> BTreeSet<NodeId> {
    match what {
        What::Lead { to } => BTreeSet::from([to.clone()]),
        What::Drain { node } => {
            let holders = topology.subsets.get(partition).into_iter().flatten();
            holders.filter(|holder| *holder != node).cloned().collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_migration::MigrationId;
    use isotherm_model::SystemId;
    use isotherm_runner::shift::Wanted;
    use isotherm_runner::{Shift, Trigger};
    use std::sync::Arc;

    fn node(name: &str) -> NodeId {
        NodeId::new(SystemId::new("s").unwrap(), name).unwrap()
    }

    #[test]
    fn what_began_since_the_cycle_looked_keeps_others_off_its_nodes() {
        let partition = PartitionId::new(SystemId::new("s").unwrap(), "p").unwrap();
        let holders: BTreeSet<NodeId> = ["a", "b", "c"].map(node).into();
        let topology = Topology {
            subsets: Arc::new([(partition.clone(), holders)].into_iter().collect()),
            ..Topology::default()
        };
        let wanted = Wanted {
            partition,
            what: What::Drain { node: node("a") },
            by: String::new(),
            reason: String::new(),
            trigger: Trigger::Manual,
            gray: false,
            approval_until_ms: None,
        };
        let shift = Shift::new(MigrationId::new("1").unwrap(), wanted, 100);
        let board = Board { shifts: vec![shift], ..Board::default() };
        let at = |at_ms, name: &str| Arrivals::since(&board, &topology, at_ms).permit([&node(name)]);
        assert!(at(99, "b").unwrap_err().contains("s/b is to serve more since it was judged"));
        assert!(at(99, "c").is_err());
        assert_eq!(at(99, "a"), Ok(()), "it serves less");
        assert_eq!(at(100, "b"), Ok(()), "the cycle knew of it");
        let mut arrivals = Arrivals::default();
        arrivals.bring(gaining(&topology, &board.shifts[0].partition, &What::Lead { to: node("b") }));
        assert!(arrivals.permit([&node("a"), &node("c")]).is_ok() && arrivals.permit([&node("b")]).is_err());
    }
}
