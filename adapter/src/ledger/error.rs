//! Why the ledger cannot be used.

use crate::contract::Refusal;
use std::io;
use std::path::PathBuf;

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The folder or a file in it cannot be made, opened or read.
    #[error("cannot use {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another adapter has it.
    #[error("{} is in use by {holder}; an adapter needs a data folder of its own", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// Who has it.
        holder: String,
    },
    /// It is of another system.
    #[error("{} is the ledger of system {found:?}, not of {asked:?}; name another data folder", path.display())]
    OtherSystem {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose was asked for.
        asked: String,
    },
    /// It was written by a newer version.
    #[error("{} has format {found}, newer than the {known} that this version knows", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
    /// It holds something that cannot be.
    #[error("the ledger is damaged")]
    Damaged(#[source] serde_json::Error),
    /// The database cannot be read or written.
    #[error("the ledger cannot be read or written")]
    Sql(#[from] rusqlite::Error),
}

impl From<LedgerError> for Refusal {
    /// What is not written down is not done.
    fn from(error: LedgerError) -> Self {
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(source) = cause {
            message = format!("{message}: {source}");
            cause = source.source();
        }
        Self::not_now(message)
    }
}
