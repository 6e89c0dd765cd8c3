//! The ledger's file: who may have it, and what is in it.

use super::{LedgerError, Result, set_text, text};
use isotherm_model::SystemId;
use rusqlite::Connection;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

const FILE: &str = "ledger.sqlite";
const LOCK: &str = "ledger.lock";

/// How long the one before may take to be gone: a process that was killed holds its files until its last thread is.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks whether it is.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Of the tables. A file with a higher one is not touched.
const FORMAT: i64 = 1;

/// Readers, such as a curious `sqlite3`, may hold up a write so long.
const BUSY: Duration = Duration::from_secs(5);

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS partitions (name TEXT PRIMARY KEY, kept TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS migrations (
        id TEXT PRIMARY KEY, partition TEXT NOT NULL, ended_ms INTEGER, kept TEXT NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS migrations_of ON migrations (partition, ended_ms);
    CREATE INDEX IF NOT EXISTS migrations_ended ON migrations (ended_ms);
    CREATE TABLE IF NOT EXISTS notes (
        migration TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (migration, name)
    ) STRICT;
    CREATE TABLE IF NOT EXISTS requests (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, of TEXT NOT NULL, running INTEGER NOT NULL,
        heard_ms INTEGER NOT NULL, content TEXT NOT NULL, outcome TEXT NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS requests_running ON requests (running) WHERE running = 1;
    CREATE INDEX IF NOT EXISTS requests_of ON requests (of);
";

pub(super) fn lock(folder: &Path) -> Result<File> {
    let io_error = |path: &Path| {
        let path = path.to_owned();
        move |source| LedgerError::Io { path, source }
    };
    fs::create_dir_all(folder).map_err(io_error(folder))?;
    let path = folder.join(LOCK);
    let options = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
    let mut file = options.map_err(io_error(&path))?;
    let begun = Instant::now();
    let locked = loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => thread::sleep(LOOK_AGAIN),
            locked => break locked,
        }
    };
    match locked {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = fs::read_to_string(&path).unwrap_or_default();
            let holder = if holder.is_empty() { "another process".to_owned() } else { holder };
            return Err(LedgerError::InUse { folder: folder.to_owned(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(io_error(&path)(source)),
    }
    // It is only for people.
    if let Err(error) = file.set_len(0).and_then(|()| write!(file, "process {}", std::process::id())) {
        tracing::debug!(path = %path.display(), %error, "cannot note who has the data folder");
    }
    Ok(file)
}

/// Removes the file and what SQLite keeps beside it.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        match fs::remove_file(folder.join(format!("{FILE}{suffix}"))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
    }
    Ok(())
}

pub(super) fn open(folder: &Path, system: &SystemId) -> Result<Connection> {
    let path = folder.join(FILE);
    let sql = Connection::open(&path)?;
    sql.busy_timeout(BUSY)?;
    sql.pragma_update(None, "journal_mode", "WAL")?;
    sql.pragma_update(None, "synchronous", "FULL")?;
    let found: i64 = sql.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > FORMAT {
        return Err(LedgerError::Newer { path, found, known: FORMAT });
    }
    sql.execute_batch(TABLES)?;
    sql.pragma_update(None, "user_version", FORMAT)?;
    match text(&sql, "system")? {
        None => set_text(&sql, "system", system.as_str())?,
        Some(found) if found != system.as_str() => {
            return Err(LedgerError::OtherSystem { path, found, asked: system.to_string() });
        }
        Some(_) => {}
    }
    Ok(sql)
}
