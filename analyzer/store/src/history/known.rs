//! What was on record at a moment: read once, asked for many moments.
//!
//! Whoever judges a minute of the past must not know what was recorded after it. A record says when it was made, so
//! that can be told; an interval that has ended since was going on then. Two things cannot be told: a silence that was
//! taken for agent loss, and later for a failure, counts as a failure from when it was recorded; and an end that was
//! noticed late counts from when it was.

use super::observed::Stretch;
use super::{DownInterval, Histories, Override, intervals, node};
use crate::catalog::signed;
use crate::error::QueryError;
use crate::read::Reader;
use isotherm_model::{NodeId, Timestamp};
use rusqlite::Connection;

/// All that was ever put on record.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Records {
    /// By beginning.
    down: Vec<DownInterval>,
    /// By node, then beginning.
    seen: Vec<(NodeId, Stretch)>,
    /// By node, then the time they were set.
    words: Vec<Override>,
}

impl Reader {
    /// Outages and observed time of all nodes since `since`, or all of it.
    ///
    /// Outages that began before and lasted until after it are there in full; of the time observed there is what lies
    /// after it.
    pub fn histories(&self, since: Option<Timestamp>) -> Result<Histories, QueryError> {
        let catalog = self.catalog()?;
        Ok(Histories::new(intervals(&catalog, since)?, seen(&catalog, since.map_or(0, Timestamp::as_ms))?))
    }

    /// Everything on record.
    pub fn records(&self) -> Result<Records, QueryError> {
        let catalog = self.catalog()?;
        let (down, seen) = (intervals(&catalog, None)?, seen(&catalog, 0)?);
        Ok(Records { down, seen, words: self.hazard_overrides(None)? })
    }
}

impl Records {
    /// Outages as they were on record before `recorded`, and what was observed before `observed`.
    #[must_use]
    pub fn histories(&self, recorded: Timestamp, observed: Timestamp) -> Histories {
        let down =
            self.down.iter().filter(|interval| interval.recorded < recorded && interval.from < recorded);
        let down = down
            .map(|interval| DownInterval { to: interval.to.filter(|to| *to < recorded), ..interval.clone() });
        let seen = self.seen.iter().filter(|(_, (from, _))| *from < observed.as_ms());
        let seen = seen.map(|(node, (from, to))| (node.clone(), (*from, (*to).min(observed.as_ms()))));
        Histories::new(down.collect(), seen.collect())
    }

    /// Operators' words that stood at a moment, by node.
    pub fn words(&self, at: Timestamp) -> impl Iterator<Item = &Override> {
        self.words.iter().filter(move |word| word.stands(at))
    }
}

/// What was observed after `since_ms`, by node, then beginning.
fn seen(catalog: &Connection, since_ms: u64) -> Result<Vec<(NodeId, Stretch)>, QueryError> {
    let mut statement = catalog.prepare_cached(
        "SELECT system, node, from_ms, to_ms FROM observed WHERE to_ms > ?1 ORDER BY system, node, from_ms",
    )?;
    let mut rows = statement.query([signed(since_ms)])?;
    let mut seen = Vec::new();
    while let Some(row) = rows.next()? {
        let (from, to): (i64, i64) = (row.get(2)?, row.get(3)?);
        seen.push((node(row)??, (from.cast_unsigned().max(since_ms), to.cast_unsigned())));
    }
    Ok(seen)
}
