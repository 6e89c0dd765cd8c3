//! What migrations, requests, terms, epochs and moments are called.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest id of a migration, in bytes: room for a UUID, and short enough to name objects of a store after it.
pub const MAX_ID_LEN: usize = 40;

/// A migration, by a name that no other analyzer gives: whoever makes it sees to that.
///
/// Letters, digits, `-` and `_`, so that adapters can name slots, files and subscriptions after it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MigrationId(String);

/// Why a text is no id of a migration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no id of a migration: 1 to {MAX_ID_LEN} letters, digits, - and _")]
pub struct InvalidId(String);

impl MigrationId {
    /// Checks the text; see [`MigrationId`].
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
        let text = text.into();
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if plain && (1..=MAX_ID_LEN).contains(&text.len()) { Ok(Self(text)) } else { Err(InvalidId(text)) }
    }

    /// The id as given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for MigrationId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        Self::new(text)
    }
}

impl From<MigrationId> for String {
    fn from(id: MigrationId) -> Self {
        id.0
    }
}

impl fmt::Display for MigrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// Which controller speaks. It rises with every start of one; adapters refuse whoever is not the newest they
    /// heard of.
    Term
);
number!(
    /// Under which arrangement a partition is served. Exactly one serves; a switch is a compare-and-swap from one to
    /// a higher one. An epoch that was proposed and never served is not used again.
    Epoch
);
number!(
    /// Of the topology that a plan was made from.
    Revision
);
number!(
    /// A moment, in milliseconds of the runner's clock, which never goes back, not even when the runner starts anew:
    /// the last moment in the journal, plus what a monotonic clock has counted since. It need not go on while nobody
    /// runs, and it is never the wall clock's.
    Moment
);

impl Epoch {
    /// The next higher one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Moment {
    /// So many milliseconds later.
    #[must_use]
    pub const fn after_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_can_name_objects_of_a_store() {
        assert!(MigrationId::new("3f2a-11_x").is_ok());
        for bad in ["", "a b", "a/b", "ä", &"x".repeat(41)] {
            assert!(MigrationId::new(bad).is_err(), "{bad:?}");
        }
        assert!(
            serde_json::from_str::<MigrationId>("\"a/b\"").is_err(),
            "a journal is read with the same care"
        );
    }
}
