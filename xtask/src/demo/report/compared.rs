//! A number beside its truth.

use serde::Serialize;
use std::fmt;

/// What happened, and what was counted of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(in crate::demo) struct Compared {
    /// What happened.
    pub(in crate::demo) truth: u64,
    /// What was counted; `None` if nobody watched.
    pub(in crate::demo) counted: Option<u64>,
}

impl Compared {
    /// With a count that is known.
    pub(super) fn known(truth: u64, counted: u64) -> Self {
        Self { truth, counted: Some(counted) }
    }

    /// Whether the count is known, and right.
    pub(in crate::demo) fn equal(&self) -> bool {
        self.counted == Some(self.truth)
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.equal() { "=" } else { "≠" };
        match self.counted {
            Some(counted) => write!(f, "{counted} {sign} {}", self.truth),
            None => write!(f, "unknown {sign} {}", self.truth),
        }
    }
}
