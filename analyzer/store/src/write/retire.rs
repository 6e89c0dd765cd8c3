//! What is too old, or too much, goes: whole hours, oldest first.
//!
//! Age is counted back from the watermark and not from a clock: where telemetry has stopped nothing is removed, and a
//! clock that is wrong by years removes nothing. Only closed hours go, so that no window comes for an hour that is
//! gone. Where all tables together are too much, the largest gives: that is the raw windows, whose hours are worth
//! less than the series that were made of them.
//!
//! The catalog drops the hour in one transaction, and the files follow when no question can be reading them.

use super::{Merging, Store};
use crate::catalog::{self, Retired};
use crate::error::WriteError;
use crate::segment::next_hour;
use crate::table::Table;
use isotherm_model::Timestamp;
use std::collections::BTreeMap;
use std::time::Instant;

/// How much of a table is kept. What is `None` has no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limit {
    /// Age of an hour at which it goes, in milliseconds, counted from its end to the watermark.
    pub age_ms: Option<u64>,
    /// Bytes that all hours may have.
    pub bytes: Option<u64>,
}

/// How much is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// By table; a table that is absent has no limit of its own.
    pub tables: BTreeMap<Table, Limit>,
    /// Bytes that all tables together may have.
    pub bytes: Option<u64>,
}

const DAY_MS: u64 = 86_400_000;

impl Retention {
    /// Everything is kept.
    #[must_use]
    pub fn forever() -> Self {
        Self { tables: BTreeMap::new(), bytes: None }
    }
}

impl Default for Retention {
    /// Windows for 30 days, to look into an incident that was reported after a month's end, and as long what came
    /// late. Entropy for 70: habits are by the hour of the week, ten of each. Forecasts and decisions for 7: they
    /// have rows for every cycle, and only their newest are asked for. 50 GiB for all, which a small server has.
    fn default() -> Self {
        let days = |days: u64| Limit { age_ms: Some(days * DAY_MS), bytes: None };
        let tables = [
            (Table::Windows, days(30)),
            (Table::Late, days(30)),
            (Table::Entropy, days(70)),
            (Table::Forecasts, days(7)),
            (Table::Risks, days(7)),
        ];
        Self { tables: tables.into(), bytes: Some(50 << 30) }
    }
}

/// The size of a table.
#[derive(Debug, Clone, Default)]
struct Size {
    /// Hours that are closed, with the bytes of each, oldest first.
    closed: Vec<(Timestamp, u64)>,
    /// Bytes of all hours.
    bytes: u64,
}

impl Store {
    /// Removes the oldest hour of a table that is too old or too much, if there is one. `elapsed` is the time on a
    /// clock that is never set. After an error everything is as before.
    pub fn retire(&mut self, elapsed: Instant) -> Result<Merging, WriteError> {
        if self.doubtful {
            return Err(WriteError::Doubtful(None));
        }
        let Some(settled) = catalog::settled(&self.catalog)? else { return Ok(Merging::Done) };
        let everything = Timestamp::from_ms(i64::MAX.cast_unsigned());
        let mut sizes = BTreeMap::new();
        for table in Table::ALL {
            let until = Timestamp::from_ms(settled.watermark.as_ms().saturating_sub(table.closed_after_ms()));
            let closed = catalog::hour_sizes(&self.catalog, table, until)?;
            let all = catalog::hour_sizes(&self.catalog, table, everything)?;
            sizes.insert(table, Size { closed, bytes: all.iter().map(|(_, bytes)| bytes).sum() });
        }
        let Some(hour) = choose(&sizes, settled.watermark, &self.upkeep.retention) else {
            return Ok(Merging::Done);
        };
        if self.compaction.is_at(hour) {
            return Ok(Merging::Done);
        }
        self.remove_hour(hour, elapsed)?;
        Ok(Merging::MoreToDo)
    }

    fn remove_hour(&mut self, (table, hour): (Table, Timestamp), elapsed: Instant) -> Result<(), WriteError> {
        let segments = catalog::of_hour(&self.catalog, (table, hour))?;
        let removed = Retired {
            hours: 1,
            rows: segments.iter().map(|segment| segment.written.rows).sum(),
            bytes: segments.iter().map(|segment| segment.written.bytes).sum(),
        };
        self.commit_to_catalog(|transaction| {
            segments.iter().try_for_each(|segment| catalog::remove_segment(transaction, segment))?;
            catalog::count_retired(transaction, table, removed)?;
            match table {
                Table::Windows => catalog::forget_before(transaction, next_hour(hour)),
                Table::Late | Table::Entropy | Table::Forecasts | Table::Risks => Ok(()),
            }
        })?;
        fail::fail_point!("store::retired");
        tracing::info!(%table, hour_ms = hour.as_ms(), rows = removed.rows, bytes = removed.bytes, "retired an hour");
        self.replace(&segments, elapsed);
        Ok(())
    }
}

/// The hour that goes next.
fn choose(
    sizes: &BTreeMap<Table, Size>,
    watermark: Timestamp,
    retention: &Retention,
) -> Option<(Table, Timestamp)> {
    let oldest = |(table, size): (&Table, &Size)| Some((*table, size.closed.first()?.0));
    for (table, size) in sizes {
        let limit = retention.tables.get(table).copied().unwrap_or_default();
        let old = |hour: Timestamp| limit.age_ms.is_some_and(|age| next_hour(hour).plus_ms(age) <= watermark);
        let too_much = limit.bytes.is_some_and(|bytes| size.bytes > bytes);
        if let Some((table, hour)) = oldest((table, size))
            && (too_much || old(hour))
        {
            return Some((table, hour));
        }
    }
    let all: u64 = sizes.values().map(|size| size.bytes).sum();
    if retention.bytes.is_none_or(|bytes| all <= bytes) {
        return None;
    }
    sizes
        .iter()
        .filter(|(_, size)| !size.closed.is_empty())
        .max_by_key(|(_, size)| size.bytes)
        .and_then(oldest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    fn at(hour: u64) -> Timestamp {
        Timestamp::from_ms(hour * HOUR_MS)
    }

    fn size(closed: &[(u64, u64)], open: u64) -> Size {
        let bytes = closed.iter().map(|(_, bytes)| bytes).sum::<u64>() + open;
        Size { closed: closed.iter().map(|(hour, bytes)| (at(*hour), *bytes)).collect(), bytes }
    }

    fn limited(table: Table, limit: Limit, bytes: Option<u64>) -> Retention {
        Retention { tables: [(table, limit)].into(), bytes }
    }

    #[test]
    fn an_hour_goes_when_all_of_it_is_too_old() {
        let sizes = BTreeMap::from([(Table::Risks, size(&[(5, 1), (6, 1)], 0))]);
        let retention = limited(Table::Risks, Limit { age_ms: Some(2 * HOUR_MS), bytes: None }, None);
        assert_eq!(choose(&sizes, Timestamp::from_ms(8 * HOUR_MS - 1), &retention), None);
        assert_eq!(choose(&sizes, at(8), &retention), Some((Table::Risks, at(5))));
        assert_eq!(choose(&sizes, at(1_000), &Retention::forever()), None);
    }

    #[test]
    fn what_is_too_much_goes_oldest_first_and_never_what_is_open() {
        let retention = limited(Table::Windows, Limit { age_ms: None, bytes: Some(10) }, None);
        let of = |closed: &[(u64, u64)], open| {
            choose(&BTreeMap::from([(Table::Windows, size(closed, open))]), at(9), &retention)
        };
        assert_eq!(of(&[(1, 4), (2, 6)], 0), None);
        assert_eq!(of(&[(1, 4), (2, 6)], 1), Some((Table::Windows, at(1))));
        assert_eq!(of(&[], 100), None);
    }

    #[test]
    fn the_largest_table_gives_when_all_are_too_much() {
        let sizes = BTreeMap::from([
            (Table::Windows, size(&[(3, 50)], 10)),
            (Table::Entropy, size(&[(1, 20)], 0)),
            (Table::Risks, size(&[], 100)),
        ]);
        let retention = Retention { tables: BTreeMap::new(), bytes: Some(179) };
        assert_eq!(choose(&sizes, at(9), &retention), Some((Table::Windows, at(3))));
        assert_eq!(choose(&sizes, at(9), &Retention { bytes: Some(180), ..retention }), None);
    }
}
