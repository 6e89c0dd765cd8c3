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
            let files = cutter.files.keys().map(InodeId::from);
            let counted: HashSet<InodeId> = files.chain(cutter.blocks.keys().map(InodeId::from)).collect();
            attribution.forget(&std::mem::take(&mut self.evicted), &counted);
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
