//! The store as it is: copies, fences, objects, and the writes that clients were told are safe.
//!
//! Each copy knows by itself only whether it takes writes. That exactly one does is what the migration has to see to.

use crate::grounds::Grounds;
use isotherm_migration::Epoch;
use std::collections::BTreeSet;

/// A write that reached the copy as something else.
pub(crate) const CORRUPT: u64 = 1 << 63;

/// Bytes of a write, for lags.
pub(crate) const WRITE_BYTES: u64 = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Target,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Copy {
    /// In the order in which they came.
    pub(crate) writes: Vec<u64>,
    /// Takes writes.
    pub(crate) open: bool,
}

/// The partition, on both nodes.
pub(crate) struct Store {
    pub(crate) serving: Epoch,
    pub(crate) serves: Side,
    pub(crate) source: Option<Copy>,
    pub(crate) target: Option<Copy>,
    pub(crate) source_alive: bool,
    pub(crate) target_alive: bool,
    /// It will not come back.
    pub(crate) source_lost: bool,
    /// The epoch of the fence.
    pub(crate) fence: Option<Epoch>,
    /// What feeds the copy: a slot, a subscription.
    pub(crate) slot: bool,
    /// The target follows the source.
    pub(crate) link: bool,
    /// Writes the target had when it began to serve.
    pub(crate) switched_at: usize,
    /// Repaired: writes go to both.
    pub(crate) mirrored: bool,
    /// A write that is not copied as it is, once.
    pub(crate) corrupts: bool,
    pub(crate) acknowledged: BTreeSet<u64>,
    /// What a switch and a removal may be founded on.
    pub(crate) grounds: Grounds,
    pub(crate) now_ms: u64,
    /// What was seen that must never be.
    pub(crate) violations: Vec<String>,
}

impl Store {
    pub(crate) fn new(writes: u64, probation_ms: u64) -> Self {
        let acknowledged: BTreeSet<u64> = (0..writes).collect();
        Self {
            serving: Epoch(7),
            serves: Side::Source,
            source: Some(Copy { writes: acknowledged.iter().copied().collect(), open: true }),
            target: None,
            source_alive: true,
            target_alive: true,
            source_lost: false,
            fence: None,
            slot: false,
            link: false,
            switched_at: 0,
            mirrored: false,
            corrupts: false,
            acknowledged,
            grounds: Grounds::new(probation_ms),
            now_ms: 0,
            violations: Vec::new(),
        }
    }

    /// A client writes to whom it takes for the one that serves.
    pub(crate) fn write(&mut self, write: u64, to: Side) {
        let (copy, alive) = match to {
            Side::Source => (&mut self.source, self.source_alive),
            Side::Target => (&mut self.target, self.target_alive),
        };
        let Some(copy) = copy.as_mut().filter(|copy| copy.open && alive) else { return };
        copy.writes.push(write);
        self.acknowledged.insert(write);
        if self.mirrored {
            let other = if to == Side::Source { &mut self.target } else { &mut self.source };
            other.iter_mut().for_each(|copy| copy.writes.push(write));
        } else if self.serves != to {
            self.violations.push(format!("{to:?} took a write although the other serves"));
        }
    }

    /// Copies up to `most` writes that the target lacks.
    pub(crate) fn copy(&mut self, most: usize) {
        if !self.source_alive || !self.target_alive {
            return;
        }
        let (Some(source), Some(target)) = (&self.source, &mut self.target) else { return };
        let have = target.writes.len();
        for write in source.writes.iter().skip(have).take(most) {
            let corrupt = if self.corrupts { CORRUPT } else { 0 };
            self.corrupts = false;
            target.writes.push(write | corrupt);
        }
    }

    /// Writes the target lacks.
    pub(crate) fn missing(&self) -> u64 {
        let len = |copy: &Option<Copy>| copy.as_ref().map_or(0, |copy| copy.writes.len() as u64);
        len(&self.source).saturating_sub(len(&self.target))
    }

    /// Whether the target holds what the source holds, as far as it has come.
    pub(crate) fn equal(&self) -> bool {
        match (&self.source, &self.target) {
            (Some(source), Some(target)) => {
                source.writes.iter().zip(&target.writes).all(|(one, other)| one == other)
            }
            _ => false,
        }
    }

    /// What must hold at every moment.
    pub(crate) fn check(&mut self) {
        let open = |copy: &Option<Copy>| copy.as_ref().is_some_and(|copy| copy.open);
        if open(&self.source) && open(&self.target) && !self.mirrored {
            self.violations.push("two copies take writes".to_owned());
        }
    }

    /// What must hold once a migration has ended; if two controllers were `blind` for each other, only what is about
    /// the data.
    pub(crate) fn check_end(&self, serves: Side, loss_accepted: bool, blind: bool) -> Vec<String> {
        let mut found = Vec::new();
        let mut must = |holds: bool, what: &str| {
            if !holds {
                found.push(format!("after the end: {what}"));
            }
        };
        must(self.serves == serves, "the told copy serves");
        must(blind || self.fence.is_none(), "no fence is left");
        must(blind || !self.slot && !self.link, "no slot and no subscription are left");
        let (kept, gone) = match serves {
            Side::Source => (&self.source, &self.target),
            Side::Target => (&self.target, &self.source),
        };
        must(blind || gone.is_none() || self.mirrored, "the other copy is gone");
        must(blind || kept.as_ref().is_some_and(|copy| copy.open), "the serving copy takes writes");
        let held: BTreeSet<u64> = kept.iter().flat_map(|copy| copy.writes.iter().copied()).collect();
        must(loss_accepted || self.acknowledged.is_subset(&held), "every acknowledged write is there");
        found
    }
}
