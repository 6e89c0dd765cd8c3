//! What is in the folder of an earlier run, whatever happened to it.
//!
//! Every good record is taken, wherever it lies. A number that is missing between two others becomes a gap, with
//! the time that is known of it: a damaged record's own, else what lies between its neighbours. Bytes after the
//! last good record are cut off: they were never synced, so they were never sent.

use super::SEGMENT_BYTES;
use super::record::{self, Found, Header, Kind, MAX_RECORD_BYTES};
use super::run::{GAPS, Place, Run, SEGMENT};
use crate::outbox::{Item, Outbox, hull};
use isotherm_model::{Interval, Seq};
use isotherm_proto::{Gap, GapReason};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;
use tracing::warn;

/// The largest file that is read. A longer one is not ours beyond that.
const MAX_FILE_BYTES: u64 = SEGMENT_BYTES + MAX_RECORD_BYTES as u64;

type Items = BTreeMap<Seq, Item<Place>>;

/// Fills a run with what its folder holds.
pub(super) fn contents(run: &mut Run) -> io::Result<()> {
    let numbers = segments(&run.dir)?;
    let (mut items, mut damaged, mut sizes) = (Items::new(), Vec::new(), BTreeMap::new());
    for (index, number) in numbers.iter().enumerate() {
        let is_last = index + 1 == numbers.len();
        let bytes = segment(run, *number, is_last, &mut items, &mut damaged)?;
        sizes.insert(*number, bytes);
    }
    let saved = gaps(run)?;
    let items = in_sequence(items, &saved, &damaged);
    for item in &items {
        if let Item::Gap(gap) = item
            && !saved.contains(gap)
        {
            let Gap { first, last, .. } = gap;
            warn!("{}: batches {first} to {last} are damaged; a gap takes their place", run.dir.display());
        }
    }
    let before = match items.first() {
        Some(first) => Interval::new(run.beginning().start(), first.time().start())
            .unwrap_or_else(|| hull(run.beginning(), first.time())),
        None => run.beginning(),
    };
    let outbox = Outbox::restored(items, before)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its sequence cannot be put together"))?;
    run.restore(outbox, sizes, saved);
    if let Err(error) = run.save_gaps() {
        warn!("{}: cannot note what is damaged: {error}", run.dir.display());
    }
    Ok(())
}

/// Numbers of the segments, in order.
fn segments(dir: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == SEGMENT)
            && let Some(number) = path.file_stem().and_then(|name| name.to_str()?.parse().ok())
        {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Adds what one segment holds; returns its size.
fn segment(
    run: &Run,
    number: u32,
    is_last: bool,
    items: &mut Items,
    damaged: &mut Vec<Header>,
) -> io::Result<u64> {
    let path = run.segment_path(number);
    let bytes = read(&path)?;
    let (found, end) = record::scan(run.tag(), &bytes);
    let mut garbage = 0;
    for found in found {
        match found {
            Found::Record(header, offset) if header.kind == Kind::Batch => {
                let (offset, len) = (offset as u32, header.record_bytes() as u32);
                let place = Place::Disk { segment: number, offset, len };
                let item = Item::Batch { seq: header.first, time: header.time, place };
                items.entry(header.first).or_insert(item);
            }
            Found::Record(..) => {}
            Found::Damaged(header) => damaged.push(header),
            Found::Garbage(bytes) => garbage += bytes,
        }
    }
    let torn = bytes.len() - end;
    if is_last && torn > 0 {
        warn!("{}: cut {torn} bytes after the last good record", path.display());
        if let Err(error) = OpenOptions::new().write(true).open(&path)?.set_len(end as u64) {
            warn!("{}: cannot cut it: {error}", path.display());
        }
        return Ok(end as u64);
    }
    if garbage > 0 {
        warn!("{}: {garbage} damaged bytes", path.display());
    }
    Ok(bytes.len() as u64)
}

/// What the run had given up.
fn gaps(run: &Run) -> io::Result<Vec<Gap>> {
    let path = run.dir.join(GAPS);
    let bytes = match read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        result => result?,
    };
    let (found, end) = record::scan(run.tag(), &bytes);
    if end < bytes.len() {
        warn!("{}: {} damaged bytes", path.display(), bytes.len() - end);
    }
    let gap = |found| match found {
        Found::Record(header, _) | Found::Damaged(header) => header.gap(GapReason::Damaged),
        Found::Garbage(_) => None,
    };
    Ok(found.into_iter().filter_map(gap).collect())
}

/// All items, each following on the one before.
fn in_sequence(mut items: Items, gaps: &[Gap], damaged: &[Header]) -> Vec<Item<Place>> {
    // What was given up stays so, even where its bytes are still there.
    for gap in gaps {
        items.retain(|_, item| item.last() < gap.first || gap.last < item.first());
        items.insert(gap.first, Item::Gap(*gap));
    }
    for header in damaged {
        let known = items.values().any(|item| item.first() <= header.last && header.first <= item.last());
        if !known && let Some(gap) = header.gap(GapReason::Damaged) {
            items.insert(gap.first, Item::Gap(gap));
        }
    }
    let mut sequence: Vec<Item<Place>> = Vec::with_capacity(items.len());
    for item in items.into_values() {
        if let Some(before) = sequence.last()
            && before.last().next() < item.first()
        {
            let (first, last) = (before.last().next(), Seq::new(item.first().get() - 1));
            let time = between(before.time(), item.time());
            sequence
                .extend(last.map(|last| Item::Gap(Gap { first, last, time, reason: GapReason::Damaged })));
        }
        sequence.push(item);
    }
    sequence
}

/// The time between two, or of both if there is none.
fn between(before: Interval, after: Interval) -> Interval {
    Interval::new(before.end(), after.start()).unwrap_or_else(|| hull(before, after))
}
