//! How often something happened that may change who is watched.

use super::{Probe, Raw};
use aya::maps::PerCpuArray;

/// The map that the kernel programs count events in: one value per CPU.
const MAP: &str = "EVENTS";

impl Probe {
    /// Programs started, sockets listened on and children of watched processes, since the programs were
    /// attached. `None` if they do not count them, or the count cannot be read.
    #[must_use]
    pub fn events(&self) -> Option<u64> {
        let map: PerCpuArray<_, Raw<u64>> = self.object.map(MAP)?.try_into().ok()?;
        let values = map.get(&0, 0).ok()?;
        Some(values.iter().fold(0, |sum, Raw(cpu)| sum.wrapping_add(*cpu)))
    }
}
