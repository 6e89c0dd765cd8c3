//! What a stream has to be told, and the messages that say it. Pure.

use super::index::{Held, Index, on, same_on};
use isotherm_model::{NodeId, PartitionId};
use isotherm_proto::telemetry::v1 as wire;
use isotherm_proto::{Locator, place_to_wire};
use prost::Message as _;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Partitions, counted once for each node, of which one agent is told: as many as it takes. A node with which there
/// would be more is left out.
const MAX_PLACES: usize = 65_536;

/// Where a part of a message ends. A partition with more is a part of its own.
const PART_BYTES: usize = 64 << 10;

/// What stands before an entry of a list, with its length.
const TAG_BYTES: usize = 1;

/// What has to be told.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// `None` if nothing has.
    pub(super) message: Option<Message>,
    /// Nodes that were left out, because they have too many partitions.
    pub(super) too_many: Vec<NodeId>,
}

/// One message, in parts that are made as they are sent.
#[derive(Debug, Default)]
pub(super) struct Message {
    revision: u64,
    whole: Vec<NodeId>,
    places: Vec<(NodeId, PartitionId, Now)>,
}

/// What is so of a place now.
#[derive(Debug)]
enum Now {
    Held(Arc<[Locator]>),
    Gone,
}

/// What to tell of these nodes to somebody who was told what is `known`, which is then what it is after that. Of a node
/// of which nobody can say what is so, nothing is told, and what was told stays.
pub(super) fn changes(
    index: &Index,
    known: &mut BTreeMap<NodeId, Arc<Held>>,
    targets: &BTreeSet<NodeId>,
) -> Changed {
    known.retain(|node, _| targets.contains(node));
    let mut places = 0;
    let mut message = Message { revision: index.revision(), ..Message::default() };
    let mut too_many = Vec::new();
    for node in targets {
        let Some(held) = index.held(node) else { continue };
        places += held.len();
        if places > MAX_PLACES {
            places -= held.len();
            if known.get(node).is_none_or(|before| !Arc::ptr_eq(before, held)) {
                too_many.push(node.clone());
            }
            continue;
        }
        match known.insert(node.clone(), Arc::clone(held)) {
            Some(before) => message.change(node, &before, held),
            None => message.tell_all(node, held),
        }
    }
    let empty = message.whole.is_empty() && message.places.is_empty();
    Changed { message: (!empty).then_some(message), too_many }
}

impl Message {
    /// Of the index that it was made from.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    fn tell_all(&mut self, node: &NodeId, held: &Held) {
        self.whole.push(node.clone());
        self.places.extend(held.iter().map(|(id, at)| (node.clone(), id.clone(), Now::Held(Arc::clone(at)))));
    }

    fn change(&mut self, node: &NodeId, before: &Arc<Held>, held: &Arc<Held>) {
        if Arc::ptr_eq(before, held) {
            return;
        }
        let gone = before.keys().filter(|id| !held.contains_key(*id));
        self.places.extend(gone.map(|id| (node.clone(), id.clone(), Now::Gone)));
        let other =
            held.iter().filter(|(id, at)| before.get(*id).is_none_or(|before| !same_on(node, before, at)));
        self.places.extend(other.map(|(id, at)| (node.clone(), id.clone(), Now::Held(Arc::clone(at)))));
    }

    /// Its parts, one at least; all but the last say that another follows.
    pub(super) fn parts(self) -> impl Iterator<Item = wire::Locators> {
        let Self { revision, whole, places } = self;
        let target =
            |node: &NodeId| wire::Target { system: node.system().to_string(), node: node.name().to_owned() };
        let mut whole: Vec<wire::Target> = whole.iter().map(target).collect();
        let mut places = places.into_iter().peekable();
        let mut ended = false;
        std::iter::from_fn(move || {
            if ended {
                return None;
            }
            let whole = std::mem::take(&mut whole);
            let mut part = wire::Locators { revision, whole, ..wire::Locators::default() };
            let mut bytes = 0;
            while bytes < PART_BYTES
                && let Some((node, partition, now)) = places.next()
            {
                let (list, raw) = match now {
                    Now::Held(at) => (&mut part.locators, place_to_wire(&node, &partition, on(&node, &at))),
                    Now::Gone => (&mut part.removed, place_to_wire(&node, &partition, [])),
                };
                let length = raw.encoded_len();
                bytes += TAG_BYTES + prost::length_delimiter_len(length) + length;
                list.push(raw);
            }
            part.more = places.peek().is_some();
            ended = !part.more;
            Some(part)
        })
    }
}

#[cfg(test)]
mod tests;
