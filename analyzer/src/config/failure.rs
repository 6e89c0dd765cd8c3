//! The `[failure]` table: when a node counts as failed.
//!
//! ```toml
//! [failure]
//! hold_down = "30s"    # how long a node must be down, or up again, before it is believed
//! probe = false        # whether to connect to nodes whose agent is silent
//! ```

use super::{Problem, duration};
use serde::Deserialize;
use std::time::Duration;
use toml::Spanned;

/// When a node counts as failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FailureConfig {
    /// How long a node must be down, or up again, before it is believed. Default 30 s: a restart after an upgrade is
    /// no failure, and a node that flaps has failed once.
    pub(crate) hold_down: Duration,
    /// Whether the analyzer may connect to the addresses of nodes. Default: no, as storage networks may see it as a
    /// scan.
    pub(crate) probe: bool,
}

impl Default for FailureConfig {
    fn default() -> Self {
        Self { hold_down: HOLD_DOWN, probe: false }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFailure {
    hold_down: Option<Spanned<String>>,
    probe: Option<bool>,
}

const HOLD_DOWN: Duration = Duration::from_secs(30);

pub(super) fn checked(raw: RawFailure) -> Result<FailureConfig, Problem> {
    let hold_down = raw.hold_down.map(|raw| duration("failure.hold_down", &raw)).transpose()?;
    Ok(FailureConfig { hold_down: hold_down.unwrap_or(HOLD_DOWN), probe: raw.probe.unwrap_or(false) })
}
