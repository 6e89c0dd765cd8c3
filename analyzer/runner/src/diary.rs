//! What was done, by whom, and why.

use isotherm_migration::MigrationId;
use serde::Serialize;

/// A line of the diary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Rises with every line; 0 before it is written.
    pub number: u64,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// Of this migration, if of one.
    pub migration: Option<String>,
    /// About this partition, `system/name`, if about one.
    pub partition: Option<String>,
    /// What kind of thing.
    pub kind: Kind,
    /// Who did it: a person, or "isotherm".
    pub who: String,
    /// What was done.
    pub what: String,
    /// Why, in their words; empty if nobody said.
    pub why: String,
}

/// What kind of thing a line tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Somebody wanted something, and it was taken on.
    Wanted,
    /// Somebody wanted something, and it was refused.
    Refused,
    /// A migration entered a phase.
    Phase,
    /// A call of an adapter is about to be made.
    Call,
    /// What came of one.
    Outcome,
    /// Something was detected, and nothing was done about it.
    Noticed,
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::Wanted, Self::Refused, Self::Phase, Self::Call, Self::Outcome, Self::Noticed];

    /// The word used in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wanted => "wanted",
            Self::Refused => "refused",
            Self::Phase => "phase",
            Self::Call => "call",
            Self::Outcome => "outcome",
            Self::Noticed => "noticed",
        }
    }

    /// The kind of a word.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl Line {
    /// A line of what isotherm itself does.
    #[must_use]
    pub fn own(at_ms: u64, kind: Kind, what: impl Into<String>) -> Self {
        Self {
            number: 0,
            at_ms,
            migration: None,
            partition: None,
            kind,
            who: "isotherm".to_owned(),
            what: what.into(),
            why: String::new(),
        }
    }

    /// The same of a migration.
    #[must_use]
    pub fn of(mut self, migration: &MigrationId, partition: &isotherm_model::PartitionId) -> Self {
        self.migration = Some(migration.to_string());
        self.partition = Some(partition.to_string());
        self
    }

    /// The same by somebody, with their reason.
    #[must_use]
    pub fn by(mut self, who: &str, why: &str) -> Self {
        self.who = who.to_owned();
        self.why = why.to_owned();
        self
    }
}
