//! Until when windows may come.
//!
//! The watermark is the end of the newest window that was seen, less the lateness that is allowed. It never falls. A
//! window that starts before it is late: it is kept, acknowledged and counted, in a table of its own, and the hours
//! before the watermark never change again.
//!
//! A clock that is ahead must not make everybody else late, so no window is believed to be newer than its arrival.
//! Agents that were cut off while nobody listened must not be late for that: after a start the watermark stands still
//! for as long as lateness is allowed.

use super::Store;
use super::group::Group;
use crate::catalog::Settled;
use isotherm_model::Timestamp;

/// Allowed by default: agents send every window within seconds, and a network or a host that is away for longer is
/// an incident, whose time is marked by what is missing.
pub const LATENESS_MS: u64 = 15 * 60_000;

impl Store {
    /// How far time is settled once a group is committed that came at `now`.
    pub(super) fn settled_by(&mut self, group: &Group<'_>, now: Timestamp) -> Option<Settled> {
        let listening_since = *self.listening_since.get_or_insert(now);
        let newest_end = group.newest_end()?.min(now);
        let lateness_ms = self.upkeep.lateness_ms;
        let moves = now >= listening_since.plus_ms(lateness_ms);
        let watermark_ms = if moves { newest_end.as_ms().saturating_sub(lateness_ms) } else { 0 };
        Some(Settled { newest_end, watermark: Timestamp::from_ms(watermark_ms) })
    }
}
