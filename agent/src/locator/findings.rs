//! What became of locators: how many are rules now, and what could not be used, with an example each.

use std::collections::BTreeMap;
use std::fmt;
use tracing::warn;

/// What a locator can name that no rule of an agent can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Keys of a store.
    KeyRange,
    /// Tables of a database.
    Relation,
    /// Hash slots.
    Slot,
    /// Parts of a device that do not fit the stripes by which it is counted.
    UnalignedDevice,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::KeyRange, Self::Relation, Self::Slot, Self::UnalignedDevice];

    /// The word used in messages and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KeyRange => "key_ranges",
            Self::Relation => "relations",
            Self::Slot => "slots",
            Self::UnalignedDevice => "unaligned_devices",
        }
    }
}

/// How many, and the first of them in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cases {
    /// How many.
    pub count: usize,
    /// The first.
    pub first: Option<String>,
}

impl Cases {
    pub(super) fn add(&mut self, what: impl FnOnce() -> String) {
        self.count += 1;
        self.first.get_or_insert_with(what);
    }
}

/// What became of the locators of a revision, over all targets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Of the locators; 0 for none.
    pub revision: u64,
    /// Partitions with a rule, counted once for each node.
    pub partitions: usize,
    /// Places that no rule can name. A kind that did not occur is absent.
    pub unused: BTreeMap<Kind, usize>,
    /// Places that rules of the configuration claim for somebody else.
    pub overruled: Cases,
    /// Places that locators claim for two partitions: nobody gets them.
    pub disputed: Cases,
}

impl Findings {
    pub(super) fn unused(&mut self, kind: Kind, places: usize) {
        if places > 0 {
            *self.unused.entry(kind).or_default() += places;
        }
    }

    /// Tells people what is not used and why, unless the findings before said the same.
    pub fn tell(&self, before: &Self) {
        if self.unused != before.unused && !self.unused.is_empty() {
            warn!("locators name what this agent cannot use: {}", Unused(&self.unused));
        }
        if self.overruled != before.overruled
            && let Some(first) = &self.overruled.first
        {
            let count = self.overruled.count;
            warn!("rules of the configuration win over {count} places of locators, such as {first}");
        }
        if self.disputed != before.disputed
            && let Some(first) = &self.disputed.first
        {
            let count = self.disputed.count;
            warn!("locators claim {count} places for two partitions, and nobody gets them, such as {first}");
        }
    }
}

/// Kinds with their numbers.
struct Unused<'a>(&'a BTreeMap<Kind, usize>);

impl fmt::Display for Unused<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (kind, count)) in self.0.iter().enumerate() {
            write!(f, "{}{count} {}", if index > 0 { ", " } else { "" }, kind.as_str())?;
        }
        Ok(())
    }
}
