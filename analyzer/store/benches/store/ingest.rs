//! From decoded batches to a durable segment: rows per second of CPU, and bytes per row.

use crate::row::{Row, median};
use crate::{Options, cpu_s};
use anyhow::{Context, Result, bail};
use isotherm_model::{
    AgentId, BUCKETS, BootId, Completeness, Counts, LATENCY_BUCKETS, LatencyHistogram, Layer, NodeId,
    NodeWindow, OffsetHistogram, Operation, PartitionId, Row as WindowRow, Seq, Subject, SystemId, Timestamp,
    Window,
};
use isotherm_store::{Entry, Run, Store, Submission, Verdict};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::path::Path;

/// Agents that are committed together, and partitions of each of their nodes.
const AGENTS: usize = 10;
pub(crate) const PARTITIONS: usize = 1_000;
pub(crate) const LENGTH_MS: u32 = 10_000;
/// A full hour.
pub(crate) const START_MS: u64 = 1_699_999_200_000;

/// Rows of reads and writes with all their histograms, in groups as agents send them.
pub(crate) fn measure(options: &Options) -> Result<Vec<Row>> {
    let mut random = Pcg64Mcg::seed_from_u64(options.seed);
    let commits = options.ingested.div_ceil(AGENTS * PARTITIONS * 2).max(1);
    let mut rates = Vec::new();
    let mut bytes_per_row = 0.0;
    for _ in 0..options.runs.max(1) {
        let folder = tempfile::tempdir()?;
        let mut store = Store::open(folder.path()).context("open a store")?;
        let (mut spent_s, mut rows) = (0.0, 0);
        for commit in 0..commits as u64 {
            let group: Vec<Submission> =
                (0..AGENTS).map(|agent| submission(agent, 0, commit, &mut random)).collect::<Result<_>>()?;
            let before = cpu_s()?;
            let outcome = store.commit(&group, Timestamp::from_ms(START_MS + 3_600_000));
            spent_s += cpu_s()? - before;
            if !outcome.verdicts.iter().all(|verdict| matches!(verdict, Verdict::Committed { .. })) {
                bail!("a group was not committed: {:?}", outcome.failure);
            }
            // Two totals per node beside the rows of partitions.
            rows += AGENTS * (PARTITIONS * 2 + 2);
        }
        rates.push(rows as f64 / spent_s);
        bytes_per_row = parquet_bytes(folder.path())? as f64 / rows as f64;
    }
    Ok(vec![
        Row::alone("ingest: full-width rows per CPU-second", median(rates), "rows"),
        Row::alone("ingest: bytes per full-width row", bytes_per_row, "B"),
    ])
}

/// Window `number` of a node that serves [`PARTITIONS`] partitions from `first` on.
pub(crate) fn submission(
    agent: usize,
    first: usize,
    number: u64,
    random: &mut Pcg64Mcg,
) -> Result<Submission> {
    let name = format!("agent-{agent}");
    let system = SystemId::new("s")?;
    let mut totals: BTreeMap<(Layer, Operation), Counts> = BTreeMap::new();
    let mut rows = Vec::with_capacity(PARTITIONS * 2);
    for partition in first..first + PARTITIONS {
        let subject = Subject::Partition(PartitionId::new(system.clone(), format!("volume-{partition}"))?);
        for operation in [Operation::Read, Operation::Write] {
            let mut offsets = [0; BUCKETS];
            offsets.iter_mut().for_each(|count| *count = random.next_u64() % 30);
            let mut latency = [0; LATENCY_BUCKETS];
            latency[12..28].iter_mut().for_each(|count| *count = random.next_u64() % 100);
            let ops: u64 = offsets.iter().sum();
            let counts = Counts { ops, bytes: ops * 4_096 };
            let total = totals.entry((Layer::Device, operation)).or_default();
            *total = total.plus(counts);
            rows.push(WindowRow {
                subject: subject.clone(),
                layer: Layer::Device,
                operation,
                counts,
                offsets: OffsetHistogram::new(20, offsets).context("a layout of the model")?,
                latency: Some(Box::new(LatencyHistogram::new(latency))),
            });
        }
    }
    let node = NodeWindow {
        node: NodeId::new(system, node_name(agent))?,
        processes: 1,
        listening: Vec::new(),
        totals,
        rows,
        peers: Vec::new(),
        lost: BTreeMap::new(),
    };
    let window = Window {
        start: Timestamp::from_ms(START_MS + number * u64::from(LENGTH_MS)),
        length_ms: LENGTH_MS,
        completeness: Completeness::Complete,
        nodes: vec![node],
    };
    let run = Run { agent: AgentId::new(name)?, boot: BootId::new("boot")? };
    let seq = Seq::new(number + 1).context("sequence numbers begin at 1")?;
    Ok(Submission { run, entry: Entry::Batch { seq, windows: vec![window] } })
}

pub(crate) fn node_name(agent: usize) -> String {
    format!("10.0.{}.{}:8080", agent / 256, agent % 256)
}

/// Bytes of all segments below a folder.
fn parquet_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            bytes += parquet_bytes(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            bytes += std::fs::metadata(&path)?.len();
        }
    }
    Ok(bytes)
}
