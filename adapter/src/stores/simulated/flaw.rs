//! What can be wrong with an adapter on purpose, so that the check is held to find it.
//!
//! Most flaws are made between the caller and an adapter that is right: calls arrive as other ones.

use serde::Deserialize;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flaw {
    /// Abort says that it is done, and leaves the copy.
    AbortLeavesCopy,
}
