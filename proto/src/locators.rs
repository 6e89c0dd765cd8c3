//! Where partitions lie, on the way to the agents that watch their nodes, and what agents say of that.
//!
//! A message is checked by itself here. What needs the messages before it (which revision was last, of which nodes
//! something was said) is checked by whoever keeps them.

use crate::cluster::parse::{MAX_SUBSET, few, locator};
use crate::parse::{Malformed, name, node_id, value};
use crate::telemetry::v1 as wire;
use crate::{Locator, locator_to_wire};
use isotherm_model::{NodeId, PartitionId};
use std::collections::{BTreeMap, BTreeSet};

type Result<T> = std::result::Result<T, Malformed>;

/// The most nodes that an agent says it watches: far more than the 62 that there are places for.
pub const MAX_TARGETS: usize = 1_024;

/// The most bytes of a problem that are kept.
const MAX_PROBLEM: usize = 1_024;

/// A partition on one of its nodes. Both are of one system.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The node.
    pub node: NodeId,
    /// The partition.
    pub partition: PartitionId,
}

/// A message about where partitions lie, or a part of one. Nothing occurs twice in it, nor is removed and set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Locators {
    /// Never 0.
    pub revision: u64,
    /// Nodes of which everything is said anew.
    pub whole: BTreeSet<NodeId>,
    /// What lies where. No locator names a node; none at all means that what was known still holds.
    pub located: BTreeMap<Place, Vec<Locator>>,
    /// What lies there no more.
    pub removed: BTreeSet<Place>,
    /// Another part follows.
    pub more: bool,
}

/// What an agent watches, and by which locators.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watching {
    /// The nodes.
    pub targets: BTreeSet<NodeId>,
    /// Of the locators in force; 0 for none.
    pub revision: u64,
    /// Partitions that they tell apart, counted once for each node.
    pub partitions: u32,
    /// Places that the agent cannot use.
    pub unused: u32,
    /// Places that rules of the configuration claim for somebody else.
    pub overruled: u32,
    /// Why the last locators were not taken; empty if they were.
    pub problem: String,
}

/// Checks one message: names, bounds, and that nothing occurs twice.
pub fn locators_from_wire(raw: wire::Locators) -> Result<Locators> {
    if raw.revision == 0 {
        return Err(value("locators.revision", "0", "a revision above 0"));
    }
    let mut message = Locators { revision: raw.revision, more: raw.more, ..Locators::default() };
    few("locators.whole", raw.whole.len(), MAX_TARGETS)?;
    for (i, target) in raw.whole.into_iter().enumerate() {
        let at = format!("locators.whole[{i}]");
        if !message.whole.insert(node_id(&at, target.system, target.node)?) {
            return Err(Malformed::Repeated { field: at });
        }
    }
    for (i, raw) in raw.locators.into_iter().enumerate() {
        let field = format!("locators.locators[{i}]");
        let place = place(&field, raw.system, raw.node, raw.partition)?;
        few(&format!("{field}.at"), raw.at.len(), MAX_SUBSET)?;
        let at = raw.at.into_iter().enumerate();
        let at = at.map(|(j, raw)| locator(&format!("{field}.at[{j}]"), place.node.system(), &[], raw));
        let at = at.collect::<Result<_>>()?;
        if message.located.insert(place, at).is_some() {
            return Err(Malformed::Repeated { field });
        }
    }
    for (i, raw) in raw.removed.into_iter().enumerate() {
        let field = format!("locators.removed[{i}]");
        let place = place(&field, raw.system, raw.node, raw.partition)?;
        if message.located.contains_key(&place) || !message.removed.insert(place) {
            return Err(Malformed::Repeated { field });
        }
    }
    Ok(message)
}

/// What lies on a node, as it is sent. The nodes that locators name are left out.
pub fn place_to_wire<'a>(
    node: &NodeId,
    partition: &PartitionId,
    at: impl IntoIterator<Item = &'a Locator>,
) -> wire::Locator {
    let unnamed = |locator| {
        let mut raw = locator_to_wire(locator);
        raw.node.clear();
        raw
    };
    wire::Locator {
        system: node.system().to_string(),
        partition: partition.name().to_owned(),
        node: node.name().to_owned(),
        at: at.into_iter().map(unnamed).collect(),
    }
}

/// Checks what an agent says of itself.
pub fn watching_from_wire(raw: wire::Watching) -> Result<Watching> {
    let wire::Watching { targets: named, revision, partitions, unused, overruled, mut problem } = raw;
    few("watching.targets", named.len(), MAX_TARGETS)?;
    let mut targets = BTreeSet::new();
    for (i, target) in named.into_iter().enumerate() {
        let at = format!("watching.targets[{i}]");
        if !targets.insert(node_id(&at, target.system, target.node)?) {
            return Err(Malformed::Repeated { field: at });
        }
    }
    problem.truncate(problem.floor_char_boundary(MAX_PROBLEM));
    Ok(Watching { targets, revision, partitions, unused, overruled, problem })
}

/// What an agent says of itself, as it is sent.
#[must_use]
pub fn watching_to_wire(of: &Watching) -> wire::Watching {
    let target =
        |node: &NodeId| wire::Target { system: node.system().to_string(), node: node.name().to_owned() };
    wire::Watching {
        targets: of.targets.iter().map(target).collect(),
        revision: of.revision,
        partitions: of.partitions,
        unused: of.unused,
        overruled: of.overruled,
        problem: of.problem.clone(),
    }
}

fn place(field: &str, system: String, node: String, partition: String) -> Result<Place> {
    let node = node_id(field, system, node)?;
    let partition = PartitionId::new(node.system().clone(), partition);
    let partition = partition.map_err(name(&format!("{field}.partition")))?;
    Ok(Place { node, partition })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::v1 as adapter;
    use isotherm_model::SystemId;

    fn node(name: &str) -> NodeId {
        NodeId::new(SystemId::new("s").unwrap(), name).unwrap()
    }

    fn raw(partition: &str) -> wire::Locator {
        let at = adapter::Locator { files: vec!["/d/1.dat".into()], ..adapter::Locator::default() };
        wire::Locator { system: "s".into(), node: "n".into(), partition: partition.into(), at: vec![at] }
    }

    fn message() -> wire::Locators {
        wire::Locators {
            revision: 7,
            whole: vec![wire::Target { system: "s".into(), node: "n".into() }],
            locators: vec![raw("1")],
            removed: vec![wire::Locator { at: Vec::new(), ..raw("2") }],
            more: true,
        }
    }

    #[test]
    fn what_is_sent_is_what_is_read() {
        let read = locators_from_wire(message()).unwrap();
        assert_eq!((read.revision, read.more, read.whole.contains(&node("n"))), (7, true, true));
        let (place, at) = read.located.first_key_value().unwrap();
        assert_eq!(at[0].files, ["/d/1.dat"]);
        let mut named = at.clone();
        named[0].node = Some(node("n"));
        assert_eq!(place_to_wire(&place.node, &place.partition, &named), raw("1"), "the node is left out");
        let watching = Watching {
            targets: BTreeSet::from([node("n"), node("m")]),
            revision: 3,
            partitions: 4,
            unused: 5,
            overruled: 6,
            problem: "why".into(),
        };
        assert_eq!(watching_from_wire(watching_to_wire(&watching)).unwrap(), watching);
    }

    #[test]
    fn what_cannot_be_is_refused_by_field() {
        type Change = fn(&mut wire::Locators);
        let cases: [(Change, &str); 6] = [
            (|m| m.revision = 0, "locators.revision is 0, expected a revision above 0"),
            (|m| m.whole.push(m.whole[0].clone()), "locators.whole[1] occurs twice"),
            (|m| m.locators.push(m.locators[0].clone()), "locators.locators[1] occurs twice"),
            (|m| m.removed[0].partition = "1".into(), "locators.removed[0] occurs twice"),
            (
                |m| m.locators[0].at[0].files[0] = "1.dat".into(),
                "locators.locators[0].at[0].files[0] is \"1.dat\", expected an absolute path",
            ),
            (
                |m| m.locators[0].at[0].node = "n".into(),
                "locators.locators[0].at[0].node is \"n\", expected a node of the partition",
            ),
        ];
        for (change, want) in cases {
            let mut message = message();
            change(&mut message);
            assert_eq!(locators_from_wire(message).unwrap_err().to_string(), want);
        }
        let target = wire::Target { system: "s".into(), node: "n".into() };
        let twice = wire::Watching { targets: vec![target.clone(), target], ..wire::Watching::default() };
        assert_eq!(watching_from_wire(twice).unwrap_err().to_string(), "watching.targets[1] occurs twice");
    }
}
