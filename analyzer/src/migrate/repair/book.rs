//! What is remembered of a system's failures, also over restarts.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Failures of one system, and its breaker. Nodes and partitions by their names within the system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Book {
    /// Failures that are not over, by node.
    pub(crate) failures: BTreeMap<String, Failure>,
    /// Those that are over and were acted on, for as long as they count for the breaker.
    pub(crate) past: Vec<Past>,
    pub(crate) breaker: Breaker,
}

/// A node that went down, and what it held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Failure {
    /// When it was first seen to be down, milliseconds since 1970.
    pub(crate) since_ms: u64,
    /// Since when it is seen to be back; absent while it is down.
    pub(crate) back_ms: Option<u64>,
    /// Its failure domains, outermost first; empty where they are not known.
    pub(crate) domains: Vec<String>,
    /// Partitions that had a replica on it, with the number of replicas they had.
    pub(crate) lost: BTreeMap<String, u8>,
    /// Of what it held, replicas that were made again; they are not among the lost ones any more.
    pub(crate) mended: usize,
    /// An operator closed the breaker with this failure before their eyes: it does not open it again.
    pub(crate) acknowledged: bool,
    /// Repairs were begun.
    pub(crate) begun: bool,
    /// Migrations that were cancelled because the breaker opened or the node came back, and not for their own sake.
    pub(crate) withdrawn: BTreeSet<String>,
}

/// A failure that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Past {
    pub(crate) node: String,
    pub(crate) since_ms: u64,
}

/// Whether repairs may begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Breaker {
    /// They may, since then.
    Closed { since_ms: u64 },
    /// They may not, until somebody closes it.
    Open { since_ms: u64, cause: String, by: String },
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed { since_ms: 0 }
    }
}

impl Book {
    /// Opens the breaker, unless it is open.
    pub(crate) fn open(&mut self, now_ms: u64, cause: String, by: &str) {
        if let Breaker::Closed { .. } = self.breaker {
            self.breaker = Breaker::Open { since_ms: now_ms, cause, by: by.to_owned() };
        }
    }

    /// Closes the breaker: all failures so far are known to somebody, and do not open it again.
    pub(crate) fn close(&mut self, now_ms: u64) {
        self.breaker = Breaker::Closed { since_ms: now_ms };
        self.past.clear();
        self.failures.values_mut().for_each(|failure| failure.acknowledged = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_breaker_keeps_its_first_cause_and_closing_acknowledges_what_there_is() {
        let mut book = Book::default();
        book.failures.insert("n1".to_owned(), Failure::default());
        book.past.push(Past { node: "n2".to_owned(), since_ms: 1 });
        book.open(5, "two nodes".to_owned(), "isotherm");
        book.open(6, "three nodes".to_owned(), "isotherm");
        let first = Breaker::Open { since_ms: 5, cause: "two nodes".to_owned(), by: "isotherm".to_owned() };
        assert_eq!(book.breaker, first);
        book.close(9);
        assert_eq!(book.breaker, Breaker::Closed { since_ms: 9 });
        assert_eq!((book.past.len(), book.failures["n1"].acknowledged), (0, true));
        let again: Book = serde_json::from_str(&serde_json::to_string(&book).unwrap()).unwrap();
        assert_eq!(again, book);
    }
}
