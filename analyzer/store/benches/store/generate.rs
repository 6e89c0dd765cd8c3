//! A file of histogram rows, with those columns of the store's schema that entropy is made of.
//!
//! Three nodes serve each partition in each window, the first more than the others; a tenth of all partitions are
//! read through, the others at a few offsets. The same seed makes the same file.

use anyhow::{Context, Result};
use polars::prelude::{
    Column, DataFrame, DataType, NamedFrom, ParquetWriter, PlSmallStr, Series, TimeUnit, TimeZone,
};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};
use std::fs::File;
use std::path::Path;

pub(crate) const NODES: usize = 3;
const PARTITIONS: usize = 100_000;
const BUCKETS: usize = 64;
/// Rows of a row group. A multiple of [`NODES`]: peers that read group by group find whole partitions.
const GROUP: usize = 300_000;
const START_MS: i64 = 1_700_000_000_000;
const WINDOW_MS: i64 = 10_000;

pub(crate) fn bucket(index: usize) -> PlSmallStr {
    PlSmallStr::from_string(format!("o{index:02}"))
}

/// Writes `rows` rows, rounded up to whole partitions.
pub(crate) fn write(path: &Path, rows: usize, seed: u64) -> Result<usize> {
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    let rows = rows.next_multiple_of(NODES);
    let schema = frame(0, 0, &mut random)?.schema().as_ref().clone();
    let mut writer = ParquetWriter::new(file).batched(&schema)?;
    for first in (0..rows).step_by(GROUP) {
        writer.write_batch(&frame(first, GROUP.min(rows - first), &mut random)?)?;
    }
    writer.finish()?;
    Ok(rows)
}

fn frame(first: usize, rows: usize, random: &mut Pcg64Mcg) -> Result<DataFrame> {
    let below = |random: &mut Pcg64Mcg, end: u64| random.next_u64() % end;
    let mut starts = Vec::with_capacity(rows);
    let (mut partitions, mut nodes) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
    let mut ops = Vec::with_capacity(rows);
    let mut buckets = vec![Vec::new(); BUCKETS];
    for row in first..first + rows {
        let cell = row / NODES;
        let (partition, node) = (cell % PARTITIONS, row % NODES);
        starts.push(START_MS + (cell / PARTITIONS) as i64 * WINDOW_MS);
        partitions.push(format!("volume-{partition}"));
        nodes.push(format!("10.0.{}.{}:8080", partition % 100, node));
        let mut counts = [0_u64; BUCKETS];
        if partition % 10 == 0 {
            counts.iter_mut().for_each(|count| *count = below(random, 40));
        } else {
            for _ in 0..6 {
                counts[below(random, BUCKETS as u64) as usize] +=
                    below(random, if node == 0 { 400 } else { 150 });
            }
        }
        ops.push(counts.iter().sum::<u64>());
        buckets.iter_mut().zip(counts).for_each(|(column, count)| column.push(count));
    }
    let starts = Series::new("window_start".into(), starts)
        .cast(&DataType::Datetime(TimeUnit::Milliseconds, Some(TimeZone::UTC)))?;
    let mut columns: Vec<Column> = vec![
        starts.into(),
        Column::new("partition".into(), partitions),
        Column::new("node".into(), nodes),
        Column::new("ops".into(), ops),
    ];
    columns.extend(buckets.into_iter().enumerate().map(|(index, counts)| Column::new(bucket(index), counts)));
    Ok(DataFrame::new(rows, columns)?)
}
