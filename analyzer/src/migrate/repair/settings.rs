//! What an operator may set of repairs.

use isotherm_risk::Mode;
use std::time::Duration;

/// When lost replicas are made again.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// What becomes of a failure. Default `observe`.
    pub(crate) mode: Mode,
    /// How long a node must be down before its replicas are made again. Default 10 minutes: most nodes that go down
    /// come back within that, and a copy for each of those would be in vain.
    pub(crate) wait: Duration,
    /// The most nodes of a system that may fail within the breaker's window. Default 1: when several go at once, a
    /// network or a configuration is the likelier cause.
    pub(crate) most_nodes: u32,
    /// The largest share of a system's nodes that may, above 0 and at most 1. Default .2. One node alone is never too
    /// large a share, however few there are.
    pub(crate) most_share: f64,
    /// Nodes that fail within this time count together. Default an hour.
    pub(crate) breaker_window: Duration,
    /// The most repairs in a row that may fail. Default 3.
    pub(crate) most_failed: u32,
    /// Repairs that are begun within an hour, at most. Default 60. They do not count to `migrate.limits.per_day`.
    pub(crate) per_hour: u32,
    /// Before a repair that has failed is tried again. Default 10 minutes.
    pub(crate) retry: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::Observe,
            wait: Duration::from_secs(600),
            most_nodes: 1,
            most_share: 0.2,
            breaker_window: Duration::from_secs(3_600),
            most_failed: 3,
            per_hour: 60,
            retry: Duration::from_secs(600),
        }
    }
}

/// Whole milliseconds.
pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
