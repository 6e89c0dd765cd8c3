//! What a long-running watcher does between readings: notice renames, and make room in the kernel's maps.

use crate::attribution::{Attribution, InodeId};
use crate::probe::{Probe, ProbeError};
use crate::window::{Counters, Cutter, Ledger};
use std::collections::HashSet;

/// State of the upkeep between readings.
#[derive(Default)]
pub struct Upkeep {
    /// Files evicted after the last reading, whose names go when their last accesses have been told.
    evicted: Vec<InodeId>,
}

impl Upkeep {
    /// Call it after each reading was told. Asks for names anew if an active file is not where its name says;
    /// evicts what was idle for `idle_readings` from maps that are three quarters full.
    /// `process_of` gives a living process of a target, in whose view its paths hold.
    pub fn run(
        &mut self,
        probe: &mut Probe,
        cutter: &mut Cutter,
        attribution: &mut Attribution,
        idle_readings: u64,
        process_of: impl Fn(u32) -> Option<u32>,
    ) -> Result<(), ProbeError> {
        if attribution.any_moved(cutter.files.active(), process_of) {
            probe.renew_names()?;
        }
        if !self.evicted.is_empty() {
            attribution.forget(&std::mem::take(&mut self.evicted), &counted(cutter));
        }
        attribution.next_round();
        let capacity = probe.capacity();
        let files = make_room(&mut cutter.files, capacity.files, idle_readings, |key| probe.evict(key))?;
        let blocks =
            make_room(&mut cutter.blocks, capacity.blocks, idle_readings, |key| probe.evict_block(key))?;
        make_room(&mut cutter.peers, capacity.peers, idle_readings, |key| probe.evict_peer(key))?;
        self.evicted.extend(files.iter().map(InodeId::from).chain(blocks.iter().map(InodeId::from)));
        Ok(())
    }
}

impl Upkeep {
    /// Removes everything of some targets from the kernel's maps; what was not told of it yet, the next window
    /// tells.
    pub fn clear(
        &mut self,
        probe: &mut Probe,
        cutter: &mut Cutter,
        attribution: &mut Attribution,
        of: impl Fn(u32) -> bool,
    ) -> Result<(), ProbeError> {
        let files = remove(&mut cutter.files, &of, |key| probe.evict(key))?;
        let blocks = remove(&mut cutter.blocks, &of, |key| probe.evict_block(key))?;
        remove(&mut cutter.peers, &of, |key| probe.evict_peer(key))?;
        let gone: Vec<InodeId> =
            files.iter().map(InodeId::from).chain(blocks.iter().map(InodeId::from)).collect();
        attribution.forget(&gone, &counted(cutter));
        Ok(())
    }
}

/// Every file that is remembered.
fn counted(cutter: &Cutter) -> HashSet<InodeId> {
    let files = cutter.files.keys().map(InodeId::from);
    files.chain(cutter.blocks.keys().map(InodeId::from)).collect()
}

/// Evicts every entry of some targets. Returns their keys.
fn remove<C: Counters>(
    ledger: &mut Ledger<C>,
    of: &impl Fn(u32) -> bool,
    mut evict: impl FnMut(&C::Key) -> Result<Option<C>, ProbeError>,
) -> Result<Vec<C::Key>, ProbeError> {
    // What takes what finds no room stays, for whoever has the index next.
    let of = |key: &&C::Key| of(C::place(key).0) && !C::is_overflow(key);
    let keys: Vec<C::Key> = ledger.keys().filter(of).copied().collect();
    for key in &keys {
        if let Some(last) = evict(key)? {
            ledger.evict(key, &last);
        }
    }
    Ok(keys)
}

/// Evicts idle entries of a map of `capacity` entries that is three quarters full. Returns their keys.
fn make_room<C: Counters>(
    ledger: &mut Ledger<C>,
    capacity: u32,
    idle_readings: u64,
    mut evict: impl FnMut(&C::Key) -> Result<Option<C>, ProbeError>,
) -> Result<Vec<C::Key>, ProbeError> {
    let excess = ledger.len().saturating_sub(capacity as usize / 4 * 3);
    let mut evicted = Vec::new();
    if excess == 0 {
        return Ok(evicted);
    }
    for key in ledger.idle(idle_readings, excess) {
        if let Some(last) = evict(&key)? {
            ledger.evict(&key, &last);
            evicted.push(key);
        }
    }
    Ok(evicted)
}
