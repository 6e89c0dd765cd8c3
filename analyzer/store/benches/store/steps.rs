//! Steps of all partitions, with which a cycle begins: a minute, and longer ones from their windows and from the sums
//! of their minutes.
//!
//! Three nodes serve each partition, in windows of 10 s whose rows of reads and writes have all their histograms. Each
//! way of reading is a process of its own, whose memory says what it took.

use crate::cpu_s;
use crate::ingest::{LENGTH_MS, PARTITIONS, START_MS, node_name, submission};
use crate::row::{Row, median};
use anyhow::{Context, Result, bail};
use clap::Args;
use isotherm_model::{Layer, NodeId, PartitionId, SystemId, Timestamp};
use isotherm_store::{Excluded, Reader, RunningSteps, StepCounts, StepQuery, Store, Subsets, Verdict};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::Path;
use std::process::{Command, Stdio};

const NODES: usize = 3;
const MINUTE_MS: u64 = 60_000;

/// How much is read.
#[derive(Args, Clone)]
pub(crate) struct Scale {
    /// Partitions of which steps are read, in thousands.
    #[arg(long, default_value_t = 10)]
    kilo_partitions: usize,
    /// Minutes of the longer step.
    #[arg(long, default_value_t = 15)]
    minutes: u64,
}

/// What a way of reading says at its end.
#[derive(Serialize, Deserialize)]
pub(crate) struct Said {
    /// A minute.
    minute_cpu_s: f64,
    /// The longer step.
    longer_cpu_s: f64,
    longer_wall_s: f64,
    peak_mib: f64,
    /// Reads of all partitions in the longer step.
    reads: u64,
}

/// Both ways, one after the other.
pub(crate) fn measure(scale: &Scale) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    fill(folder.path(), scale)?;
    let windows = ask(folder.path(), scale, false)?;
    let running = ask(folder.path(), scale, true)?;
    if windows.reads != running.reads {
        bail!("{} reads are not {}", running.reads, windows.reads);
    }
    let of = format!("{}k partitions", scale.kilo_partitions);
    let longer = format!("{} min of {of}", scale.minutes);
    Ok(vec![
        Row::alone(&format!("steps: a minute of {of}, CPU"), windows.minute_cpu_s, "s"),
        Row::alone(
            &format!("steps: a minute of {of}, kept for longer steps, CPU"),
            running.minute_cpu_s,
            "s",
        ),
        Row::beside(
            &format!("steps: {longer} from minutes, CPU"),
            running.longer_cpu_s,
            "s",
            windows.longer_cpu_s,
            "from windows",
        ),
        Row::beside(
            &format!("steps: {longer} from minutes"),
            running.longer_wall_s,
            "s",
            windows.longer_wall_s,
            "from windows",
        ),
        Row::beside(
            &format!("steps: {longer} from minutes, rss"),
            running.peak_mib,
            "MiB",
            windows.peak_mib,
            "from windows",
        ),
    ])
}

/// Reads a minute and the longer step, from windows or as time goes on.
pub(crate) fn read(folder: &Path, scale: &Scale, running: bool) -> Result<Said> {
    let reader = Reader::open(folder)?;
    let (subsets, layers) = (subsets(scale)?, BTreeMap::from([(SystemId::new("s")?, Layer::Device)]));
    let (seen, excluded) = (Subsets::new(), Excluded::default());
    let longer_ms = scale.minutes * MINUTE_MS;
    let query = |length_ms: u64, minute: u64| StepQuery {
        length_ms: NonZeroU64::new(length_ms).expect("steps have a length"),
        number: (START_MS + minute * MINUTE_MS) / length_ms,
        layers: &layers,
        subsets: &subsets,
        seen: &seen,
        excluded: &excluded,
    };
    let lengths = [MINUTE_MS, longer_ms].map(|length_ms| query(length_ms, 0).length_ms);
    let mut kept = RunningSteps::new(reader.clone(), &lengths).context("a longer step is of minutes")?;
    let mut ask = |query: StepQuery<'_>| -> Result<(StepCounts, f64)> {
        let before = cpu_s()?;
        let counts = if running { kept.steps(&query)? } else { reader.steps(&query)? };
        Ok((counts, cpu_s()? - before))
    };
    let minutes = if running { 0..scale.minutes } else { scale.minutes - 1..scale.minutes };
    let minutes = minutes.map(|minute| Ok(ask(query(MINUTE_MS, minute))?.1)).collect::<Result<_>>()?;
    let begun = std::time::Instant::now();
    let (counts, longer_cpu_s) = ask(query(longer_ms, 0))?;
    let longer_wall_s = begun.elapsed().as_secs_f64();
    let reads = counts.partitions.iter().filter_map(|partition| partition.reads).map(|reads| reads.ops).sum();
    Ok(Said { minute_cpu_s: median(minutes), longer_cpu_s, longer_wall_s, peak_mib: peak_mib()?, reads })
}

/// Which three agents serve the thousand of partitions that one is of.
fn agents_of(kilo: usize) -> std::ops::Range<usize> {
    kilo * NODES..(kilo + 1) * NODES
}

fn subsets(scale: &Scale) -> Result<Subsets> {
    let system = SystemId::new("s")?;
    let subset = |number: usize| -> Result<_> {
        let nodes = agents_of(number / PARTITIONS).map(|agent| NodeId::new(system.clone(), node_name(agent)));
        let partition = PartitionId::new(system.clone(), format!("volume-{number}"))?;
        Ok((partition, nodes.collect::<Result<_, _>>()?))
    };
    (0..scale.kilo_partitions * PARTITIONS).map(subset).collect()
}

fn fill(folder: &Path, scale: &Scale) -> Result<()> {
    let mut random = Pcg64Mcg::seed_from_u64(1);
    let mut store = Store::open(folder).context("open a store")?;
    let now = Timestamp::from_ms(START_MS + scale.minutes * MINUTE_MS);
    for window in 0..scale.minutes * MINUTE_MS / u64::from(LENGTH_MS) {
        for kilo in 0..scale.kilo_partitions {
            let group =
                agents_of(kilo).map(|agent| submission(agent, kilo * PARTITIONS, window, &mut random));
            let outcome = store.commit(&group.collect::<Result<Vec<_>>>()?, now);
            if !outcome.verdicts.iter().all(|verdict| matches!(verdict, Verdict::Committed { .. })) {
                bail!("a group was not committed: {:?}", outcome.failure);
            }
        }
    }
    Ok(())
}

fn ask(folder: &Path, scale: &Scale, running: bool) -> Result<Said> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("read-steps").arg(folder);
    command.args(["--kilo-partitions", &scale.kilo_partitions.to_string()]);
    command.args(["--minutes", &scale.minutes.to_string()]);
    if running {
        command.arg("--running");
    }
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("start a reader")?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", output.status);
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("what {command:?} says"))
}

/// The most memory that this process has had.
fn peak_mib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib = line.trim().trim_end_matches("kB").trim();
    Ok(kib.parse::<f64>().with_context(|| format!("VmHWM is {line:?}"))? / 1_024.0)
}
