//! Steps of several lengths as time goes on, each window read once.
//!
//! An hour has sixty times the windows of a minute, and a minute's cycle cannot wait for all of them. So the sums of
//! every step of the shortest length are kept ([`Part`]), and a longer step is the sum of those. Per partition that is
//! some hundred numbers however many windows were read: parts of a length are made one when the next one is read.
//!
//! Nothing is lost by reading early. The rows of each short step are counted again when a longer one ends, which
//! takes one column; where there are more than there were, windows came in the meantime, and those of batches past
//! the marks of that reading are added. The answer is that of [`Reader::steps`], but for one thing: whether a peer is
//! a node is decided when its row is read.
//!
//! What was not read yet, as after a start, is read when it is asked for.

use super::scan::{Marks, Scan};
use super::{Part, StepCounts, StepQuery, served, systems_of};
use crate::catalog::{self, NodeReport};
use crate::error::QueryError;
use crate::read::Reader;
use crate::schema;
use isotherm_model::{Interval, SystemId, Timestamp};
use polars::prelude::{DataType, col, len};
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::sync::Arc;

/// Reads steps one after the other. Memory is that of the answers of one step of each length.
#[derive(Debug)]
pub struct RunningSteps {
    reader: Reader,
    /// Shortest first; each is a multiple of the one before.
    lengths: Vec<NonZeroU64>,
    blocks: Vec<Block>,
    /// By number of the step of the shortest length: what of it is in blocks.
    taken: BTreeMap<u64, Taken>,
}

/// Sums of some time, of every system that was known.
#[derive(Debug)]
struct Block {
    time: Interval,
    parts: BTreeMap<SystemId, Part>,
}

/// What was read of a short step.
#[derive(Debug)]
struct Taken {
    /// Rows of all systems.
    rows: u64,
    marks: Arc<Marks>,
}

/// The store at one moment.
struct Moment<'a> {
    reader: &'a Reader,
    catalog: Connection,
    reports: Vec<NodeReport>,
    marks: Arc<Marks>,
}

impl RunningSteps {
    /// Of these lengths, of which each divides the next. `None` if one does not, or without lengths.
    #[must_use]
    pub fn new(reader: Reader, lengths: &[NonZeroU64]) -> Option<Self> {
        let divided = lengths.windows(2).all(|pair| pair[1].get().is_multiple_of(pair[0].get()));
        (divided && !lengths.is_empty()).then(|| Self {
            reader,
            lengths: lengths.to_vec(),
            blocks: Vec::new(),
            taken: BTreeMap::new(),
        })
    }

    /// As [`Reader::steps`]. Steps should be asked for in the order of their ends, shorter ones first; what is asked
    /// out of that order, or is of another length, is read from windows.
    pub fn steps(&mut self, query: &StepQuery<'_>) -> Result<StepCounts, QueryError> {
        let Some(time) = query.time().filter(|_| self.lengths.contains(&query.length_ms)) else {
            return self.reader.steps(query);
        };
        self.forget(query, time);
        self.fold_shorter()?;
        if self.blocks.iter().any(|block| overlap(block.time, time) && !within(block.time, time)) {
            return self.reader.steps(query);
        }
        let reader = self.reader.clone();
        let moment = Moment::now(&reader)?;
        self.take(&moment, query, time)?;
        let inside = self.blocks.extract_if(.., |block| within(block.time, time)).collect();
        let block = folded(inside, time)?;
        let counts = moment.answer(&block, query, time);
        self.blocks.push(block);
        counts
    }

    /// Forgets what no step of the longest length that is still to come needs, and all if other layers count.
    fn forget(&mut self, query: &StepQuery<'_>, time: Interval) {
        let longest = self.lengths.last().expect("there are lengths").get();
        let first = time.start().align_down(longest);
        let other = |(system, part): (&SystemId, &Part)| part.layer != query.layer(system);
        if self.blocks.iter().any(|block| block.parts.iter().any(other)) {
            self.blocks.clear();
        }
        self.blocks.retain(|block| block.time.start() >= first);
        let blocks = &self.blocks;
        let shortest = self.lengths[0].get();
        self.taken.retain(|number, _| {
            let start = Timestamp::from_ms(number * shortest);
            blocks.iter().any(|block| block.time.start() <= start && start < block.time.end())
        });
    }

    /// Makes blocks of the shortest length one where they are of the same step of the next length.
    fn fold_shorter(&mut self) -> Result<(), QueryError> {
        let Some(next) = self.lengths.get(1).map(|length| length.get()) else { return Ok(()) };
        let mut steps: BTreeMap<u64, Vec<Block>> = BTreeMap::new();
        for block in std::mem::take(&mut self.blocks) {
            steps.entry(block.time.start().as_ms() / next).or_default().push(block);
        }
        for blocks in steps.into_values() {
            let start = blocks.iter().map(|block| block.time.start()).min();
            let end = blocks.iter().map(|block| block.time.end()).max();
            let time = start.zip(end).and_then(|(start, end)| Interval::new(start, end));
            self.blocks.push(folded(blocks, time.expect("a step has a block"))?);
        }
        Ok(())
    }

    /// Reads what is not in blocks yet of `time`.
    fn take(&mut self, moment: &Moment<'_>, query: &StepQuery<'_>, time: Interval) -> Result<(), QueryError> {
        let shortest = self.lengths[0].get();
        let rows = moment.rows_by_step(time, shortest)?;
        for number in time.start().as_ms() / shortest..time.end().as_ms() / shortest {
            let rows = rows.get(&number).copied().unwrap_or(0);
            let taken = self.taken.get(&number);
            if taken.is_some_and(|taken| taken.rows == rows) {
                continue;
            }
            let start = Timestamp::from_ms(number * shortest);
            let step = Interval::new(start, start.plus_ms(shortest)).expect("steps have a length");
            let parts = moment.read(query, step, taken.map(|taken| taken.marks.as_ref()))?;
            self.blocks.push(Block { time: step, parts });
            self.taken.insert(number, Taken { rows, marks: Arc::clone(&moment.marks) });
        }
        Ok(())
    }
}

impl<'a> Moment<'a> {
    fn now(reader: &'a Reader) -> Result<Self, QueryError> {
        let catalog = reader.catalog()?;
        let (reports, marks) = (catalog::nodes(&catalog)?, catalog::runs(&catalog)?);
        Ok(Self { reader, catalog, reports, marks: marks.into() })
    }

    /// Rows of windows by number of the step that they start in.
    fn rows_by_step(&self, time: Interval, length_ms: u64) -> Result<BTreeMap<u64, u64>, QueryError> {
        const STEP: &str = "step";
        const ROWS: &str = "rows";
        let start = col(schema::WINDOW_START).cast(DataType::Int64).cast(DataType::UInt64);
        let rows = self.reader.starting_in(&self.catalog, time.start(), time.end())?;
        let rows = rows.group_by([start.floor_div(polars::prelude::lit(length_ms)).alias(STEP)]);
        let frame = super::scan::streamed(rows.agg([len().cast(DataType::UInt64).alias(ROWS)]))?;
        let (steps, rows) = (frame.column(STEP)?.u64()?, frame.column(ROWS)?.u64()?);
        Ok(steps.iter().zip(rows.iter()).filter_map(|(step, rows)| Some((step?, rows?))).collect())
    }

    /// The parts of all systems in some time, without what was read before.
    fn read(
        &self,
        query: &StepQuery<'_>,
        time: Interval,
        after: Option<&Marks>,
    ) -> Result<BTreeMap<SystemId, Part>, QueryError> {
        let part = |system: SystemId| Ok((system.clone(), self.part(&system, query, time, after)?));
        systems_of(query, &self.reports).into_iter().map(part).collect()
    }

    fn part(
        &self,
        system: &SystemId,
        query: &StepQuery<'_>,
        time: Interval,
        after: Option<&Marks>,
    ) -> Result<Part, QueryError> {
        let (reader, catalog, layer) = (self.reader, &self.catalog, query.layer(system));
        Part::read(&Scan { reader, catalog, system, layer, time, after }, &self.reports)
    }

    fn answer(&self, block: &Block, query: &StepQuery<'_>, time: Interval) -> Result<StepCounts, QueryError> {
        let mut counts = StepCounts { time, ..StepCounts::none() };
        let systems: BTreeSet<SystemId> = systems_of(query, &self.reports);
        for system in systems {
            match block.parts.get(&system) {
                Some(part) => served::add(&system, part, query, &mut counts)?,
                // It is named since the last reading, and has no rows: they would have been counted.
                None => served::add(&system, &self.part(&system, query, time, None)?, query, &mut counts)?,
            }
        }
        Ok(counts)
    }
}

/// The sum of blocks.
fn folded(blocks: Vec<Block>, time: Interval) -> Result<Block, QueryError> {
    let mut parts: BTreeMap<SystemId, Part> = BTreeMap::new();
    for (system, part) in blocks.into_iter().flat_map(|block| block.parts) {
        let part = match parts.remove(&system) {
            Some(sum) => sum.plus(part)?,
            None => part,
        };
        parts.insert(system, part);
    }
    Ok(Block { time, parts })
}

fn within(inner: Interval, outer: Interval) -> bool {
    inner.start() >= outer.start() && inner.end() <= outer.end()
}

fn overlap(one: Interval, other: Interval) -> bool {
    one.start() < other.end() && other.start() < one.end()
}
