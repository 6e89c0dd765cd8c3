//! Whether two tables have the same rows.
//!
//! All rows are counted and hashed on both sides. While clients write, both sides have to be seen at the same moment:
//! writes to the source are held back by a lock for as long as the target needs to apply the last one and both
//! snapshots are taken, and the lock is gone before the rows are read.

use super::link::Link;
use super::names::Table;
use super::stream;
use crate::contract::Refusal;
use std::time::Duration;

/// What a table has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Content {
    rows: i64,
    sum: String,
}

impl Content {
    /// What a session's snapshot of a table has.
    async fn of(link: &Link, table: &Table) -> Result<Self, Refusal> {
        let sql = format!(
            "SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)), 0)::text FROM ONLY {table} AS t"
        );
        let row = link.row(&sql, &[]).await?;
        Ok(Self { rows: row.get(0)?, sum: row.get(1)? })
    }
}

/// Compares what two sessions see, both at once. Returns what was found, for people.
pub(super) async fn compare(source: &Link, target: &Link, table: &Table) -> Result<String, Refusal> {
    source.without_limit().await?;
    target.without_limit().await?;
    let (there, here) = tokio::try_join!(Content::of(source, table), Content::of(target, table))?;
    if there == here {
        return Ok(format!("{} rows, sum of their hashes {}", here.rows, here.sum));
    }
    Err(Refusal::mismatch(format!(
        "{table} has {} rows on {} and {} on {}, hashes {} and {}: abort, and look who wrote to the copy",
        there.rows, source.name, here.rows, target.name, there.sum, here.sum
    )))
}

/// Three sessions for one comparison.
pub(super) struct Sessions {
    /// Holds writes back; dropped, or told to, it lets them go.
    pub(super) gate: Link,
    pub(super) source: Link,
    pub(super) target: Link,
}

impl Sessions {
    /// Takes snapshots of both sides at the same moment, and lets writes go on. They wait for up to `longest` for
    /// the lock, and as long for the target.
    pub(super) async fn align(&self, table: &Table, slot: &str, longest: Duration) -> Result<(), Refusal> {
        const SNAPSHOT: &str =
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT FROM pg_class LIMIT 1";
        self.gate.wait_for_locks(longest).await?;
        self.gate.run(&format!("BEGIN; LOCK TABLE ONLY {table} IN SHARE MODE")).await?;
        let position = self.gate.position().await?;
        self.source.run(SNAPSHOT).await?;
        stream::reached(&self.gate, slot, &position, longest).await?;
        self.target.run(SNAPSHOT).await?;
        self.gate.run("COMMIT").await
    }
}
