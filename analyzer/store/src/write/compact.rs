//! An hour that is settled becomes few, large, sorted segments.
//!
//! An hour is closed when the [watermark](super::watermark) has passed its end: nothing can come for it any more,
//! except to derived tables, whose hours are then compacted once more. Rows are read by stretches of time, so that
//! memory holds [`SLICE_ROWS`] of them however many the hour has, and a segment ends at [`FILE_ROWS`] or
//! [`FILE_BYTES`], but never within the rows of one moment. One call writes at most one segment, so that commits
//! wait no longer than that takes.
//!
//! Sources are held against their checksums before they are rewritten: a damaged one would get a checksum that fits.
//! The catalog swaps all at once; a crash before leaves files that no catalog names. Rows are counted on the way, and
//! an hour with more or fewer than the catalog says is left as it is.

use super::{Merging, Store, merge};
use crate::catalog::{self, Segment};
use crate::encode::Sheets;
use crate::error::WriteError;
use crate::place::Place;
use crate::read::{moment, scan};
use crate::segment::{self, Unfinished};
use crate::table::Table;
use isotherm_model::Timestamp;
use object_store::path::Path;
use polars::prelude::{DataType, PolarsError, SortMultipleOptions, col, len};
use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::Instant;

/// Segments of this level are compacted.
pub(crate) const COMPACTED: u32 = merge::LAST_LEVEL + 1;

/// Rows that are in memory at once, and in a row group: about 70 MB.
const SLICE_ROWS: u64 = 1 << 16;

/// Rows at which a segment takes no more.
const FILE_ROWS: u64 = 1 << 20;

/// Bytes at which a segment takes no more: as much as is read at once with a checksum.
const FILE_BYTES: u64 = 128 << 20;

/// Hours that are looked at for one that can be compacted.
const HOURS: u64 = 256;

/// How large slices and segments may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) slice_rows: u64,
    pub(super) file_rows: u64,
    pub(super) file_bytes: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { slice_rows: SLICE_ROWS, file_rows: FILE_ROWS, file_bytes: FILE_BYTES }
    }
}

/// What has to do with compaction in a store.
#[derive(Debug, Default)]
pub(super) struct Compaction {
    pub(super) sizes: Sizes,
    under_way: Option<UnderWay>,
    /// The hour of the watermark for which nothing was left to compact.
    nothing_before: Option<Timestamp>,
    /// Hours that cannot be compacted, until the next start: they are tried again then.
    given_up: BTreeSet<(Table, Timestamp)>,
}

impl Compaction {
    /// Whether the segments of an hour are being read, and must stay.
    pub(super) fn is_at(&self, hour: (Table, Timestamp)) -> bool {
        self.under_way.as_ref().is_some_and(|under_way| under_way.hour == hour)
    }
}

/// An hour that is being compacted.
#[derive(Debug)]
struct UnderWay {
    hour: (Table, Timestamp),
    sources: Vec<Segment>,
    /// Stretches of time, in milliseconds, with their rows, that are not written yet.
    left: VecDeque<Slice>,
    written: Vec<Segment>,
}

/// The rows from `first_ms` to before `after_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slice {
    first_ms: u64,
    after_ms: u64,
    rows: u64,
}

impl Store {
    /// Takes one step of compacting the oldest closed hour that is not: it is begun, or gets one segment, or is
    /// swapped. `elapsed` is the time on a clock that is never set; `now` is what the catalog notes.
    ///
    /// After an error the hour is as before and is not tried again before the next start.
    pub fn compact(&mut self, now: Timestamp, elapsed: Instant) -> Result<Merging, WriteError> {
        if self.doubtful {
            return Err(WriteError::Doubtful(None));
        }
        let under_way = match self.compaction.under_way.take() {
            Some(under_way) => Some(under_way),
            None => self.begin()?,
        };
        let Some(mut under_way) = under_way else { return Ok(Merging::Done) };
        let hour = under_way.hour;
        match self.step(&mut under_way, now, elapsed) {
            Ok(Merging::MoreToDo) => self.compaction.under_way = Some(under_way),
            Ok(Merging::Done) => {}
            Err(error) => {
                if !self.doubtful {
                    under_way.written.iter().for_each(|segment| self.discard(segment));
                }
                self.compaction.given_up.insert(hour);
                return Err(error);
            }
        }
        Ok(Merging::MoreToDo)
    }

    /// Finds an hour to compact, and cuts it.
    fn begin(&mut self) -> Result<Option<UnderWay>, WriteError> {
        let Some(settled) = catalog::settled(&self.catalog)? else { return Ok(None) };
        let reached = segment::hour_of(settled.watermark);
        if self.compaction.nothing_before == Some(reached) {
            return Ok(None);
        }
        // What came late may come at any time, and would have its hour rewritten each time.
        for table in [Table::Windows, Table::Entropy, Table::Forecasts, Table::Risks] {
            let until = Timestamp::from_ms(settled.watermark.as_ms().saturating_sub(table.closed_after_ms()));
            let hours = catalog::uncompacted(&self.catalog, table, until, COMPACTED, HOURS)?;
            let hour = hours.into_iter().find(|hour| !self.compaction.given_up.contains(&(table, *hour)));
            let Some(hour) = hour else { continue };
            let sources = catalog::of_hour(&self.catalog, (table, hour))?;
            return match self.cut((table, hour), sources) {
                Ok(under_way) => Ok(Some(under_way)),
                Err(error) => {
                    self.compaction.given_up.insert((table, hour));
                    Err(error)
                }
            };
        }
        self.compaction.nothing_before = Some(reached);
        Ok(None)
    }

    fn cut(&self, hour: (Table, Timestamp), sources: Vec<Segment>) -> Result<UnderWay, WriteError> {
        for source in &sources {
            segment::check(&self.place, &source.written)?;
        }
        let counts = moments(&self.place, hour.0, &sources)
            .map_err(|source| WriteError::Read { what: format!("{} of an hour", hour.0), source })?;
        let left = slices(&counts, self.compaction.sizes.slice_rows).into();
        Ok(UnderWay { hour, sources, left, written: Vec::new() })
    }

    fn step(
        &mut self,
        under_way: &mut UnderWay,
        now: Timestamp,
        elapsed: Instant,
    ) -> Result<Merging, WriteError> {
        if under_way.left.is_empty() {
            self.swap(under_way, now, elapsed)?;
            return Ok(Merging::Done);
        }
        let segment = write_file(&self.place, under_way, self.compaction.sizes)?;
        under_way.written.push(segment);
        fail::fail_point!("store::compact_written");
        Ok(Merging::MoreToDo)
    }

    fn swap(&mut self, under_way: &UnderWay, now: Timestamp, elapsed: Instant) -> Result<(), WriteError> {
        let UnderWay { hour, sources, written, .. } = under_way;
        let rows = |segments: &[Segment]| segments.iter().map(|segment| segment.written.rows).sum();
        let (expected, found): (u64, u64) = (rows(sources), rows(written));
        if expected != found {
            let path = Path::from(format!("{}/{}", segment::FOLDER, hour.0.folder(hour.1)));
            return Err(WriteError::RowsChanged { path: self.place.local(&path), expected, found });
        }
        self.commit_to_catalog(|transaction| {
            sources.iter().try_for_each(|segment| catalog::remove_segment(transaction, segment))?;
            written.iter().try_for_each(|segment| catalog::add_segment(transaction, segment, now))
        })?;
        fail::fail_point!("store::compacted");
        self.replace(sources, elapsed);
        Ok(())
    }
}

/// Rows by moment, of all sources, in order.
fn moments(place: &Place, table: Table, sources: &[Segment]) -> Result<Vec<(u64, u64)>, PolarsError> {
    const MS: &str = "ms";
    const ROWS: &str = "rows";
    let paths: Vec<PathBuf> = sources.iter().map(|source| place.local(&source.written.path)).collect();
    let frame = scan(table, &paths)?
        .group_by([col(table.time()).cast(DataType::Int64).alias(MS)])
        .agg([len().cast(DataType::UInt64).alias(ROWS)])
        .sort([MS], SortMultipleOptions::default())
        .collect()?;
    let (ms, rows) = (frame.column(MS)?.i64()?, frame.column(ROWS)?.u64()?);
    Ok(ms.iter().zip(rows.iter()).filter_map(|(ms, rows)| Some((ms?.cast_unsigned(), rows?))).collect())
}

/// Cuts `(moment, rows)`, in order, into slices of at most `limit` rows, or of one moment that alone has more.
fn slices(counts: &[(u64, u64)], limit: u64) -> Vec<Slice> {
    let mut slices: Vec<Slice> = Vec::new();
    for (ms, rows) in counts {
        match slices.last_mut() {
            Some(last) if last.rows + rows <= limit => {
                last.after_ms = ms + 1;
                last.rows += rows;
            }
            Some(_) | None => slices.push(Slice { first_ms: *ms, after_ms: ms + 1, rows: *rows }),
        }
    }
    slices
}

/// Writes the next segment of an hour, and takes from what is left what went into it.
fn write_file(place: &Place, under_way: &mut UnderWay, sizes: Sizes) -> Result<Segment, WriteError> {
    let (table, hour) = under_way.hour;
    let path = merge::segment_path(table, hour);
    let mut file = Unfinished::create(place, path.clone())?;
    let filled = fill(&mut file, place, under_way, sizes);
    let encode_error = |source| WriteError::Encode { path: place.local(&path), source };
    let (rows, first_start, last_end) = filled.map_err(encode_error)?;
    fail::fail_point!("store::compact_file");
    let written = file.finish(rows)?;
    Ok(Segment { table, written, level: COMPACTED, first_start, last_end })
}

fn fill(
    file: &mut Unfinished,
    place: &Place,
    under_way: &mut UnderWay,
    sizes: Sizes,
) -> Result<(u64, Timestamp, Timestamp), PolarsError> {
    let (table, hour) = under_way.hour;
    let mut sheets = Sheets::new(&mut *file, &table.schema())?;
    let mut rows = 0;
    let mut time: Option<(Timestamp, Timestamp)> = None;
    while let Some(slice) = under_way.left.front().copied() {
        if rows > 0 && (rows + slice.rows > sizes.file_rows || sheets.bytes() >= sizes.file_bytes) {
            break;
        }
        let (first, after) = (Timestamp::from_ms(slice.first_ms), Timestamp::from_ms(slice.after_ms));
        // What overlaps the slice also says until when its rows reach.
        let sources: Vec<&Segment> = under_way
            .sources
            .iter()
            .filter(|source| source.first_start < after && source.last_end > first)
            .collect();
        rows += write_slice(&mut sheets, place, table, &sources, slice, sizes.slice_rows)?;
        let end = sources.iter().map(|source| source.last_end).max().unwrap_or(after);
        time = Some(match time {
            Some((start, last)) => (start, last.max(end)),
            None => (first, end),
        });
        under_way.left.pop_front();
    }
    sheets.finish()?;
    let (start, end) = time.unwrap_or((hour, hour));
    Ok((rows, start, end))
}

/// Writes the rows of a slice, sorted; those of one moment that has too many, source by source and in pieces.
fn write_slice(
    sheets: &mut Sheets<'_>,
    place: &Place,
    table: Table,
    sources: &[&Segment],
    slice: Slice,
    limit: u64,
) -> Result<u64, PolarsError> {
    let (first, after) = (Timestamp::from_ms(slice.first_ms), Timestamp::from_ms(slice.after_ms));
    let inside = col(table.time()).gt_eq(moment(first)).and(col(table.time()).lt(moment(after)));
    let path = |source: &&Segment| place.local(&source.written.path);
    if slice.rows <= limit {
        let paths: Vec<PathBuf> = sources.iter().map(path).collect();
        let order = table.order().iter().copied();
        let frame =
            scan(table, &paths)?.filter(inside).sort(order, SortMultipleOptions::default()).collect()?;
        return sheets.write(frame);
    }
    let mut rows = 0;
    for source in sources {
        let of_source = scan(table, &[path(source)])?.filter(inside.clone());
        let mut offset = 0;
        loop {
            let piece = of_source.clone().slice(offset, limit as u32).collect()?;
            let written = sheets.write(piece)?;
            rows += written;
            offset += written.cast_signed();
            if written < limit {
                break;
            }
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_end_between_moments() {
        let cut = |counts: &[(u64, u64)]| -> Vec<(u64, u64, u64)> {
            slices(counts, 10).iter().map(|slice| (slice.first_ms, slice.after_ms, slice.rows)).collect()
        };
        assert_eq!(cut(&[]), []);
        assert_eq!(cut(&[(0, 4), (5, 6), (9, 1)]), [(0, 6, 10), (9, 10, 1)]);
        assert_eq!(cut(&[(0, 40), (5, 40), (7, 1)]), [(0, 1, 40), (5, 6, 40), (7, 8, 1)]);
    }
}
