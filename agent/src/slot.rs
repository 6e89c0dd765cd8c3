//! Where targets stand in the kernel's keys: each has an index, and keeps it while it is watched.
//!
//! A change of the configuration is staged first: new targets get an index and their processes are watched,
//! but no window tells of them. The next boundary of windows puts it in force, so that each window is counted
//! by one set of targets and rules, and no time is missing between two. An index is used again only when
//! nothing of its last target is left in the kernel. Pure.

use crate::config::Target;
use crate::probe::TargetIndex;
use isotherm_agent_ebpf::HOST_TARGET;
use isotherm_model::{Completeness, Counts, NodeId, Window};
use std::collections::HashSet;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Watched and told.
    Live,
    /// Watched, told from the next window on.
    Staged,
    /// Not watched any more; what was under way when it ended may still be counted.
    Retired,
    /// Nothing of its last target is left.
    Free,
}

#[derive(Debug)]
struct Slot {
    /// The last one, if the slot is free.
    target: Target,
    state: State,
}

/// Targets by their index in the kernel's keys.
#[derive(Debug)]
pub struct Slots {
    slots: Vec<Slot>,
    /// Indexes of the live targets as the configuration has them: an earlier one wins.
    order: Vec<usize>,
    /// What the next boundary puts in force: index and target, in the configuration's order.
    staged: Option<Vec<(usize, Target)>>,
}

/// More targets than there are indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{wanted} targets are new, but only {free} places are free, of {HOST_TARGET}; places of removed targets are \
     free again when their last accesses were told"
)]
pub struct NoSlot {
    /// New targets.
    pub wanted: usize,
    /// Places that they could have.
    pub free: usize,
}

/// What a new configuration changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Targets that are new.
    pub added: Vec<NodeId>,
    /// Targets that are watched no longer.
    pub removed: Vec<NodeId>,
    /// Targets with other processes.
    pub selectors: Vec<NodeId>,
    /// Targets with other rules.
    pub rules: Vec<NodeId>,
}

impl Slots {
    /// For the first configuration; a target's index is its position.
    #[must_use]
    pub fn new(targets: &[Target]) -> Self {
        let slot = |target: &Target| Slot { target: target.clone(), state: State::Live };
        Self { slots: targets.iter().map(slot).collect(), order: (0..targets.len()).collect(), staged: None }
    }

    /// Every target by its index, those of free indexes included.
    #[must_use]
    pub fn targets(&self) -> Vec<Target> {
        self.slots.iter().map(|slot| slot.target.clone()).collect()
    }

    /// Every node by its index; as for the targets.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeId> {
        self.slots.iter().map(|slot| slot.target.node.clone()).collect()
    }

    /// The targets whose processes are looked for, with their index, an earlier one winning.
    pub fn watched(&self) -> impl Iterator<Item = (usize, &Target)> + Clone {
        let live = self.order.iter().map(|index| (*index, &self.slots[*index].target));
        let staged = self.slots.iter().enumerate().filter(|(_, slot)| slot.state == State::Staged);
        live.chain(staged.map(|(index, slot)| (index, &slot.target)))
    }

    /// The live targets with their index.
    pub fn live(&self) -> impl Iterator<Item = (usize, &Target)> {
        self.order.iter().map(|index| (*index, &self.slots[*index].target))
    }

    /// Whether a change waits for the next boundary.
    #[must_use]
    pub fn is_staged(&self) -> bool {
        self.staged.is_some()
    }

    /// Prepares a change; [`Self::watched`] has the new targets from now on. Returns what it changes, and the
    /// indexes that need room in the kernel.
    pub fn stage(&mut self, targets: &[Target]) -> Result<(Changes, Vec<TargetIndex>), NoSlot> {
        let mut changes = Changes::default();
        let live: Vec<(usize, &Target)> = self.live().collect();
        let mut places: Vec<Option<usize>> = Vec::with_capacity(targets.len());
        for target in targets {
            let kept = live.iter().find(|(_, other)| other.node == target.node);
            let Some((_, other)) = kept else {
                changes.added.push(target.node.clone());
                places.push(None);
                continue;
            };
            if !other.select.same_as(&target.select) {
                changes.selectors.push(target.node.clone());
            }
            if !same_rules(other, target) {
                changes.rules.push(target.node.clone());
            }
            places.push(kept.map(|(index, _)| *index));
        }
        let gone = live.iter().filter(|(_, old)| !targets.iter().any(|target| target.node == old.node));
        changes.removed = gone.map(|(_, target)| target.node.clone()).collect();
        let free: Vec<usize> = (0..HOST_TARGET as usize)
            .filter(|index| self.slots.get(*index).is_none_or(|slot| slot.state == State::Free))
            .collect();
        if free.len() < changes.added.len() {
            return Err(NoSlot { wanted: changes.added.len(), free: free.len() });
        }
        let mut free = free.into_iter();
        let mut new = Vec::new();
        let mut staged = Vec::with_capacity(targets.len());
        for (target, place) in targets.iter().zip(places) {
            let Some(index) = place.or_else(|| free.next()) else { continue };
            if place.is_none() {
                let slot = Slot { target: target.clone(), state: State::Staged };
                // Free indexes are taken in order, so that there is never one beyond the end but the next.
                match self.slots.get_mut(index) {
                    Some(free) => *free = slot,
                    None => self.slots.push(slot),
                }
                new.extend(TargetIndex::new(index));
            }
            staged.push((index, target.clone()));
        }
        self.staged = Some(staged);
        Ok((changes, new))
    }

    /// The targets that will be live, with their index, and whether their processes are chosen as before.
    pub fn coming(&self) -> impl Iterator<Item = (usize, &Target, bool)> + Clone {
        self.staged.iter().flatten().map(|(index, target)| {
            let slot = &self.slots[*index];
            (*index, target, slot.state == State::Live && slot.target.select.same_as(&target.select))
        })
    }

    /// Puts the staged change in force, at a boundary of windows.
    pub fn commit(&mut self) {
        let Some(staged) = self.staged.take() else { return };
        for index in std::mem::take(&mut self.order) {
            self.slots[index].state = State::Retired;
        }
        for (index, target) in staged {
            self.slots[index] = Slot { target, state: State::Live };
            self.order.push(index);
        }
    }

    /// Removes from a window the nodes that it does not tell: staged ones, and retired ones that did nothing
    /// more. A retired node that did has not been watched for all of the window, which is partial then. The
    /// nodes of the window are by index; further ones stay.
    pub fn tell(&self, window: &mut Window) {
        let mut index = 0;
        let mut rest = false;
        window.nodes.retain(|node| {
            let state = self.slots.get(index).map(|slot| slot.state);
            index += 1;
            match state {
                None | Some(State::Live) => true,
                Some(State::Staged) => false,
                Some(State::Retired | State::Free) => {
                    let counted = node.totals.values().any(|total| *total != Counts::default());
                    rest |= counted;
                    counted
                }
            }
        });
        if rest {
            window.completeness = Completeness::Partial;
        }
    }

    /// Indexes of retired targets, whose entries can be taken out of the kernel's maps.
    #[must_use]
    pub fn retired(&self) -> Vec<usize> {
        let slots = self.slots.iter().enumerate();
        slots.filter(|(_, slot)| slot.state == State::Retired).map(|(index, _)| index).collect()
    }

    /// Frees the retired indexes that no entry of the kernel's maps has any more.
    pub fn free_unused(&mut self, in_kernel: &HashSet<usize>) {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if slot.state == State::Retired && !in_kernel.contains(&index) {
                slot.state = State::Free;
            }
        }
    }
}

fn same_rules(one: &Target, other: &Target) -> bool {
    one.located == other.located
        && one.rules.len() == other.rules.len()
        && one.rules.iter().zip(&other.rules).all(|(one, other)| one.same_as(other))
}

impl std::fmt::Display for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut first = true;
        for (what, nodes) in [
            ("added", &self.added),
            ("removed", &self.removed),
            ("other processes for", &self.selectors),
            ("other rules for", &self.rules),
        ] {
            if nodes.is_empty() {
                continue;
            }
            let names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
            write!(f, "{}{what} {}", if first { "" } else { "; " }, names.join(", "))?;
            first = false;
        }
        if first { f.write_str("the targets are as before") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::Selector;
    use crate::locator::Located;
    use crate::rule::Rule;
    use isotherm_model::{Layer, NodeWindow, Operation, SystemId, Timestamp};
    use std::collections::BTreeMap;

    fn target(name: &str, pid: u32, pattern: &str) -> Target {
        Target {
            node: NodeId::new(SystemId::new("s").unwrap(), name).unwrap(),
            select: Selector { pid: Some(pid), ..Selector::default() },
            rules: vec![Rule::path(pattern, "$1").unwrap()],
            located: Located::default(),
        }
    }

    fn window(slots: &Slots, ops: &[u64]) -> Window {
        let node = |(node, ops): (NodeId, &u64)| NodeWindow {
            node,
            processes: 0,
            listening: Vec::new(),
            totals: BTreeMap::from([((Layer::Logical, Operation::Read), Counts { ops: *ops, bytes: 0 })]),
            rows: Vec::new(),
            peers: Vec::new(),
            lost: BTreeMap::new(),
        };
        Window {
            start: Timestamp::from_ms(0),
            length_ms: 1,
            completeness: Completeness::Complete,
            nodes: slots.nodes().into_iter().zip(ops).map(node).collect(),
        }
    }

    fn told(slots: &Slots, ops: &[u64]) -> (Vec<String>, Completeness) {
        let mut window = window(slots, ops);
        slots.tell(&mut window);
        (window.nodes.iter().map(|node| node.node.name().to_owned()).collect(), window.completeness)
    }

    #[test]
    fn what_stays_keeps_its_index_and_what_is_new_waits_for_the_boundary() {
        let mut slots = Slots::new(&[target("a", 1, "(a)"), target("b", 2, "(b)")]);
        let new = [target("c", 3, "(c)"), target("b", 2, "(x)")];
        let (changes, room) = slots.stage(&new).unwrap();
        assert_eq!(changes.to_string(), "added s/c; removed s/a; other rules for s/b");
        assert_eq!(room, [TargetIndex::new(2).unwrap()]);
        assert_eq!(slots.watched().map(|(index, _)| index).collect::<Vec<_>>(), [0, 1, 2]);
        // The window that ends now is that of the old targets, rules included.
        assert_eq!(told(&slots, &[5, 5, 5]), (vec!["a".to_owned(), "b".to_owned()], Completeness::Complete));
        let rule = |pattern| Rule::path(pattern, "$1").unwrap();
        assert!(slots.targets()[1].rules[0].same_as(&rule("(b)")));
        slots.commit();
        assert!(slots.targets()[1].rules[0].same_as(&rule("(x)")));
        assert_eq!(slots.watched().map(|(index, _)| index).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(told(&slots, &[0, 5, 5]), (vec!["b".to_owned(), "c".to_owned()], Completeness::Complete));
        // What was under way when it ended is told, of a node that was not watched for the whole window.
        let (names, completeness) = told(&slots, &[1, 5, 5]);
        assert_eq!((names.len(), completeness), (3, Completeness::Partial));
    }

    #[test]
    fn an_index_is_used_again_when_nothing_is_left_of_it() {
        let mut slots = Slots::new(&[target("a", 1, "(a)"), target("b", 2, "(b)")]);
        slots.stage(&[target("b", 2, "(b)")]).unwrap();
        slots.commit();
        assert_eq!(slots.retired(), [0]);
        slots.free_unused(&HashSet::from([0, 1]));
        let (_, room) = slots.stage(&[target("b", 2, "(b)"), target("c", 3, "(c)")]).unwrap();
        assert_eq!(room, [TargetIndex::new(2).unwrap()], "its entries are in the kernel");
        slots.commit();
        slots.free_unused(&HashSet::from([1, 2]));
        assert!(slots.retired().is_empty());
        // A node that comes back is a new one.
        let (changes, room) =
            slots.stage(&[target("b", 2, "(b)"), target("a", 9, "(a)"), target("c", 3, "(c)")]).unwrap();
        assert_eq!(changes.to_string(), "added s/a");
        assert_eq!(room, [TargetIndex::new(0).unwrap()]);
        assert_eq!(told(&slots, &[7, 7, 7]).0, ["b", "c"]);
    }

    #[test]
    fn too_many_targets_change_nothing() {
        let many = |from: u32, to: u32| -> Vec<Target> {
            (from..to).map(|n| target(&n.to_string(), n, "(a)")).collect()
        };
        let mut slots = Slots::new(&many(0, 60));
        let error = slots.stage(&many(60, 64)).unwrap_err();
        assert_eq!(error, NoSlot { wanted: 4, free: 2 });
        assert!(!slots.is_staged());
        assert_eq!(slots.watched().count(), 60);
        assert_eq!(slots.stage(&many(0, 62)).unwrap().0.added.len(), 2);
    }

    #[test]
    fn the_same_configuration_changes_nothing() {
        let targets = [target("a", 1, "(a)"), target("b", 2, "(b)")];
        let mut slots = Slots::new(&targets);
        let (changes, room) = slots.stage(&targets).unwrap();
        assert_eq!((changes.to_string().as_str(), room.len()), ("the targets are as before", 0));
        let (changes, _) = slots.stage(&[target("a", 7, "(a)"), target("b", 2, "(b)")]).unwrap();
        assert_eq!(changes.to_string(), "other processes for s/a");
        assert_eq!(slots.coming().map(|(_, _, same)| same).collect::<Vec<_>>(), [false, true]);
    }
}
