//! Notes of migrations.

use super::{Ledger, LedgerError};
use crate::contract::Refusal;
use crate::store::Notes;
use isotherm_migration::MigrationId;
use rusqlite::{OptionalExtension, params};
use std::sync::Arc;

/// The notes of one migration, in the ledger.
pub struct LedgerNotes {
    ledger: Arc<Ledger>,
    migration: MigrationId,
}

impl LedgerNotes {
    /// Those of this one.
    #[must_use]
    pub fn new(ledger: Arc<Ledger>, migration: MigrationId) -> Self {
        Self { ledger, migration }
    }
}

impl Notes for LedgerNotes {
    fn get(&self, name: &str) -> Result<Option<String>, Refusal> {
        let inner = self.ledger.lock();
        let found = inner.sql.query_row(
            "SELECT value FROM notes WHERE migration = ?1 AND name = ?2",
            [self.migration.as_str(), name],
            |row| row.get(0),
        );
        Ok(found.optional().map_err(LedgerError::from)?)
    }

    fn set(&self, name: &str, value: &str) -> Result<(), Refusal> {
        let inner = self.ledger.lock();
        let written = inner.sql.execute(
            "INSERT OR REPLACE INTO notes (migration, name, value) VALUES (?1, ?2, ?3)",
            params![self.migration.as_str(), name, value],
        );
        written.map_err(LedgerError::from)?;
        Ok(())
    }
}
