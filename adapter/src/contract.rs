//! The messages about migrations as values, in both directions. What cannot be is refused with the path of the
//! field.

mod call;
mod cluster;
mod done;
mod progress;
mod refusal;
mod shift;
mod state;

pub use call::{
    Asked, Migration, call_to_wire, migration_from_wire, migration_to_wire, warrant_from_wire,
    warrant_to_wire,
};
pub use cluster::{capabilities_to_wire, node_to_wire, partition_to_wire};
pub use done::{done_from_wire, done_to_wire, outcome_from_wire};
pub use progress::{progress_from_wire, progress_to_wire};
pub use refusal::{REFUSALS, Refusal, refusal_from_status, refusal_to_status};
pub use shift::AskedShift;
pub use state::{Answer, fate_from_wire, fate_to_wire, observation_from_wire, side_to_wire};

/// The domain of the reasons of refusals.
pub const DOMAIN: &str = "isotherm";

/// The longest id of a request, in bytes.
pub const MAX_REQUEST_ID: usize = 200;

/// Why a message cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {what}")]
pub struct Malformed {
    /// Path of the field.
    pub field: String,
    /// What is wrong with it.
    pub what: String,
}

pub(crate) fn malformed(field: &str, what: impl ToString) -> Malformed {
    Malformed { field: field.to_owned(), what: what.to_string() }
}
