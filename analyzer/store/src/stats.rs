//! What is in the store, by table.

use crate::catalog::{self, LateWindows, Retired};
use crate::error::QueryError;
use crate::read::Reader;
use crate::segment::hour_of;
use crate::table::Table;
use isotherm_model::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What is kept of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableStats {
    /// Which table.
    pub table: Table,
    /// Its segments.
    pub segments: u64,
    /// Rows in them.
    pub rows: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Hours that have a segment.
    pub hours: u64,
    /// When the first row is; `None` without rows.
    pub oldest: Option<Timestamp>,
    /// The end of the last row; `None` without rows.
    pub newest: Option<Timestamp>,
    /// Segments by how often they were merged; the highest level is that of closed hours.
    pub levels: BTreeMap<u32, u64>,
    /// Segments from before there were checksums.
    pub without_checksum: u64,
    /// What retention removed.
    pub retired: Retired,
}

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreStats {
    /// Every table, also those without rows.
    pub tables: Vec<TableStats>,
    /// Windows that start before it are late; `None` before the first window.
    pub watermark: Option<Timestamp>,
    /// Windows that came late, by agent, ever.
    pub late: Vec<LateWindows>,
}

impl StoreStats {
    /// What is kept of one table.
    #[must_use]
    pub fn of(&self, table: Table) -> &TableStats {
        self.tables.iter().find(|stats| stats.table == table).expect("every table has an entry")
    }
}

impl Reader {
    /// What is in the store now, from the catalog alone.
    pub fn stats(&self) -> Result<StoreStats, QueryError> {
        let catalog = self.catalog()?;
        let retired = catalog::retired(&catalog)?;
        let empty = |table| TableStats {
            table,
            segments: 0,
            rows: 0,
            bytes: 0,
            hours: 0,
            oldest: None,
            newest: None,
            levels: BTreeMap::new(),
            without_checksum: 0,
            retired: retired.get(&table).copied().unwrap_or_default(),
        };
        let mut tables: BTreeMap<Table, TableStats> =
            Table::ALL.into_iter().map(|table| (table, empty(table))).collect();
        let mut hours = BTreeSet::new();
        for segment in catalog::segments(&catalog)? {
            let stats = tables.get_mut(&segment.table).expect("every table has an entry");
            stats.segments += 1;
            stats.rows += segment.written.rows;
            stats.bytes += segment.written.bytes;
            stats.hours += u64::from(hours.insert((segment.table, hour_of(segment.first_start))));
            stats.oldest = Some(stats.oldest.map_or(segment.first_start, |at| at.min(segment.first_start)));
            stats.newest = Some(stats.newest.map_or(segment.last_end, |at| at.max(segment.last_end)));
            *stats.levels.entry(segment.level).or_default() += 1;
            stats.without_checksum += u64::from(segment.written.checksum.is_none());
        }
        let watermark = catalog::settled(&catalog)?.map(|settled| settled.watermark);
        let watermark = watermark.filter(|watermark| watermark.as_ms() > 0);
        Ok(StoreStats { tables: tables.into_values().collect(), watermark, late: catalog::late(&catalog)? })
    }
}
