//! The catalog's tables and versions: it is opened only by who understands them.

use super::FILE;
use crate::error::OpenError;
use crate::history;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use std::time::Duration;

/// Version of the tables below, and of the columns of segments.
pub const SCHEMA_VERSION: i64 = 4;

/// "isot": tells the catalog from databases of other programs.
const APPLICATION_ID: i64 = 0x6973_6f74;

const TABLES: &str = "
    CREATE TABLE segments (
        path TEXT PRIMARY KEY,
        table_name TEXT NOT NULL,
        rows INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        level INTEGER NOT NULL,
        first_start_ms INTEGER NOT NULL,
        last_end_ms INTEGER NOT NULL,
        created_ms INTEGER NOT NULL,
        checksum INTEGER
    ) STRICT;
    CREATE INDEX segments_by_time ON segments (table_name, last_end_ms, first_start_ms);
    CREATE INDEX segments_by_start ON segments (table_name, first_start_ms, level);
    CREATE TABLE runs (
        agent TEXT NOT NULL,
        boot TEXT NOT NULL,
        committed_seq INTEGER NOT NULL,
        updated_ms INTEGER NOT NULL,
        PRIMARY KEY (agent, boot)
    ) STRICT;
    CREATE TABLE gaps (
        agent TEXT NOT NULL,
        boot TEXT NOT NULL,
        first_seq INTEGER NOT NULL,
        last_seq INTEGER NOT NULL,
        start_ms INTEGER NOT NULL,
        end_ms INTEGER NOT NULL,
        reason TEXT NOT NULL,
        PRIMARY KEY (agent, boot, first_seq)
    ) STRICT;
    CREATE TABLE nodes (
        system TEXT NOT NULL,
        node TEXT NOT NULL,
        agent TEXT NOT NULL,
        first_watched_ms INTEGER,
        last_end_ms INTEGER NOT NULL,
        window_ms INTEGER NOT NULL,
        processes INTEGER NOT NULL,
        last_watched_ms INTEGER,
        listening TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (system, node)
    ) STRICT;
";

/// What version 4 added beside columns of `segments`: how far time is settled, what came too late for that, by
/// agent, and what retention removed, by table. The record of nodes ([`history::TABLES`]) is of the same version.
const UPKEEP: &str = "
    CREATE TABLE watermark (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        newest_end_ms INTEGER NOT NULL,
        watermark_ms INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE late (
        agent TEXT PRIMARY KEY,
        windows INTEGER NOT NULL,
        arrived_ms INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE retired (
        table_name TEXT PRIMARY KEY,
        hours INTEGER NOT NULL,
        rows INTEGER NOT NULL,
        bytes INTEGER NOT NULL
    ) STRICT;
";

/// What makes the tables of version 1 those of version 2. Version 1 did not tell the last window of a node from the
/// last that was watched; the next window puts that right.
const FROM_VERSION_1: &str = "
    ALTER TABLE segments DROP COLUMN last_start_ms;
    ALTER TABLE segments DROP COLUMN sha256;
    ALTER TABLE nodes RENAME COLUMN first_complete_ms TO first_watched_ms;
    ALTER TABLE nodes ADD COLUMN last_watched_ms INTEGER;
    UPDATE nodes SET last_watched_ms = last_end_ms WHERE first_watched_ms IS NOT NULL;
";

/// What makes the tables of version 2 those of version 3. Its segments lack the columns of latency and peers, and
/// are read without them until a merge rewrites them.
const FROM_VERSION_2: &str = "ALTER TABLE nodes ADD COLUMN listening TEXT NOT NULL DEFAULT '';";

/// What makes the tables of version 3 those above, beside [`UPKEEP`]. All of its segments hold windows, and their
/// checksums are not known until a merge rewrites them.
const FROM_VERSION_3: &str = "
    ALTER TABLE segments ADD COLUMN table_name TEXT NOT NULL DEFAULT 'windows';
    ALTER TABLE segments ADD COLUMN checksum INTEGER;
    DROP INDEX segments_by_time;
    DROP INDEX segments_by_start;
    CREATE INDEX segments_by_time ON segments (table_name, last_end_ms, first_start_ms);
    CREATE INDEX segments_by_start ON segments (table_name, first_start_ms, level);
";

/// Opens the catalog of a data folder for writing. It is created if it is not there, unless there is a
/// `segment` already: under an empty catalog that would count for nothing, and be removed.
pub(crate) fn open(dir: &Path, segment: Option<&Path>) -> Result<Connection, OpenError> {
    let path = dir.join(FILE);
    let mut connection = Connection::open(&path)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let fresh = tables == 0 && version == 0 && application == 0;
    if !fresh && application != APPLICATION_ID {
        return Err(OpenError::Foreign { path });
    }
    if version > SCHEMA_VERSION {
        return Err(OpenError::Newer { path, found: version, known: SCHEMA_VERSION });
    }
    if fresh && let Some(segment) = segment {
        return Err(OpenError::CatalogMissing { dir: dir.to_owned(), segment: segment.to_owned() });
    }
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    if version == SCHEMA_VERSION {
        return Ok(connection);
    }
    let transaction = connection.transaction()?;
    if fresh {
        transaction.execute_batch(TABLES)?;
    }
    if !fresh && version < 2 {
        transaction.execute_batch(FROM_VERSION_1)?;
    }
    if !fresh && version < 3 {
        transaction.execute_batch(FROM_VERSION_2)?;
    }
    if !fresh && version < 4 {
        transaction.execute_batch(FROM_VERSION_3)?;
    }
    transaction.execute_batch(UPKEEP)?;
    transaction.execute_batch(history::TABLES)?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    if !fresh {
        tracing::info!(path = %path.display(), from = version, to = SCHEMA_VERSION, "changing the catalog");
    }
    fail::fail_point!("store::migrating");
    transaction.commit()?;
    fail::fail_point!("store::migrated");
    Ok(connection)
}

/// Opens the catalog beside its writer. It cannot be changed through this connection, and what is read through
/// it is of one moment, that of the first question.
pub(crate) fn open_to_read(dir: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open_with_flags(
        dir.join(FILE),
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.execute_batch("BEGIN")?;
    Ok(connection)
}

/// Makes sure that the catalog of a folder is there and of the version that is read here.
pub(crate) fn check_readable(dir: &Path) -> Result<(), OpenError> {
    let path = dir.join(FILE);
    if !path.exists() {
        return Err(OpenError::NoCatalog { dir: dir.to_owned() });
    }
    let connection = open_to_read(dir)?;
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if application != APPLICATION_ID {
        return Err(OpenError::Foreign { path });
    }
    match version {
        SCHEMA_VERSION => Ok(()),
        ..SCHEMA_VERSION => Err(OpenError::Older { path, found: version, known: SCHEMA_VERSION }),
        _ => Err(OpenError::Newer { path, found: version, known: SCHEMA_VERSION }),
    }
}
