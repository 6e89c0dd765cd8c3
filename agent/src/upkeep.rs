//! What a long-running watcher does between readings: notice renames, and make room for new files.

use crate::attribution::Attribution;
use crate::probe::{Probe, ProbeError};
use crate::window::Cutter;
use isotherm_agent_ebpf::FileKey;

/// State of the upkeep between readings.
#[derive(Default)]
pub struct Upkeep {
    /// Files evicted after the last reading, whose names go when their last accesses have been told.
    evicted: Vec<FileKey>,
}

impl Upkeep {
    /// Call it after each reading was told. Asks for names anew if an active file is not where its name says;
    /// evicts files that were idle for `idle_readings` when the map is three quarters full.
    /// `process_of` gives a living process of a target, in whose view its paths hold.
    pub fn run(
        &mut self,
        probe: &mut Probe,
        cutter: &mut Cutter,
        attribution: &mut Attribution,
        idle_readings: u64,
        process_of: impl Fn(u32) -> Option<u32>,
    ) -> Result<(), ProbeError> {
        if attribution.any_moved(cutter.active(), process_of) {
            probe.renew_names()?;
        }
        if !self.evicted.is_empty() {
            attribution.forget(&std::mem::take(&mut self.evicted), &cutter.keys());
        }
        attribution.next_round();
        let target = probe.capacity_files() as usize / 4 * 3;
        let excess = cutter.files().saturating_sub(target);
        if excess == 0 {
            return Ok(());
        }
        for key in cutter.idle(idle_readings).into_iter().take(excess) {
            if let Some(last) = probe.evict(&key)? {
                cutter.evict(&key, &last);
                self.evicted.push(key);
            }
        }
        Ok(())
    }
}
