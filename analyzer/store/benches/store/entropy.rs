//! Plug-in entropies of each partition and window of a file: over nodes, and over offsets after merging the nodes.

use crate::generate::{self, bucket};
use crate::row::{Row, median};
use crate::{Options, cpu_s, plug_in};
use anyhow::{Context, Result, bail};
use polars::lazy::dsl::sum_horizontal;
use polars::prelude::{
    ChunkAgg, DataFrame, Engine, Expr, IntoLazy, JoinArgs, JoinType, LazyFrame, ParquetWriter, PlRefPath, col,
};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/store/scripts/entropy_peer.py");
const KEYS: [&str; 2] = ["window_start", "partition"];
const BITS: [&str; 2] = ["node_bits", "offset_bits"];

/// What an engine says at its end.
#[derive(Serialize, Deserialize)]
pub(crate) struct Said {
    cpu_s: f64,
    /// Partitions times windows.
    groups: u64,
    node_bits: f64,
    offset_bits: f64,
}

/// Ours, once.
pub(crate) fn run(file: &Path, results: Option<&Path>) -> Result<Said> {
    let bits = bits(LazyFrame::scan_parquet(PlRefPath::try_from_path(file)?, Default::default())?);
    let sums = |frame: &DataFrame| -> Result<[f64; 2]> {
        Ok([
            frame.column(BITS[0])?.f64()?.sum().unwrap_or(0.0),
            frame.column(BITS[1])?.f64()?.sum().unwrap_or(0.0),
        ])
    };
    let mut frame = streamed(bits)?;
    let [node_bits, offset_bits] = sums(&frame)?;
    let said = Said { cpu_s: cpu_s()?, groups: frame.height() as u64, node_bits, offset_bits };
    if let Some(path) = results {
        ParquetWriter::new(File::create(path)?).finish(&mut frame)?;
    }
    Ok(said)
}

/// The entropies of every partition and window.
fn bits(rows: LazyFrame) -> LazyFrame {
    let buckets: Vec<Expr> = (0..64).map(|index| col(bucket(index))).collect();
    let mut sums: Vec<Expr> = buckets.iter().map(|bucket| bucket.clone().sum()).collect();
    sums.extend([plug_in::weighted(col("ops")).sum().alias("weighted"), col("ops").sum()]);
    let weighted: Vec<Expr> = buckets.iter().map(|bucket| plug_in::weighted(bucket.clone())).collect();
    rows.group_by(KEYS.map(col)).agg(sums).select([
        col(KEYS[0]),
        col(KEYS[1]),
        plug_in::bits(col("ops"), col("weighted")).alias(BITS[0]),
        plug_in::bits(horizontal(buckets), horizontal(weighted)).alias(BITS[1]),
    ])
}

fn horizontal(columns: Vec<Expr>) -> Expr {
    sum_horizontal(columns, true).expect("there are 64 columns")
}

fn streamed(frame: LazyFrame) -> Result<DataFrame> {
    Ok(frame.collect_with_engine(Engine::Streaming)?.unwrap_single())
}

/// Ours and the peers', in turn.
pub(crate) fn measure(options: &Options) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("histograms.parquet");
    let rows = generate::write(&file, options.rows, options.seed)?;
    let megabytes = std::fs::metadata(&file)?.len() as f64 / 1e6;
    eprintln!("{rows} histogram rows, {megabytes:.0} MB");
    let ours = std::env::current_exe()?;
    let own = |results: Option<&Path>| {
        let mut command = Command::new(&ours);
        command.arg("entropy").arg(&file);
        results.iter().for_each(|path| {
            command.arg("--results").arg(path);
        });
        command
    };
    let peer = |python: &Path, engine: &str, results: Option<&Path>| {
        let mut command = Command::new(python);
        command.args([SCRIPT, engine]).arg(&file).args(results);
        command
    };
    let results = |engine: &str| folder.path().join(format!("{engine}.parquet"));
    ask(own(Some(&results("ours"))))?;
    let mut times: Vec<(&str, Vec<f64>)> = vec![("ours", Vec::new())];
    let mut found = Vec::new();
    if let Some(python) = &options.python {
        for engine in ["duckdb", "pandas"] {
            ask(peer(python, engine, Some(&results(engine))))?;
            let apart = furthest(&results("ours"), &results(engine))?;
            let name = format!("entropy: furthest from {engine}'s");
            found.push(Row::alone(&name, apart, "bits"));
            times.push((engine, Vec::new()));
        }
    }
    for _ in 0..options.runs.max(1) {
        for (engine, times) in &mut times {
            let said = match (*engine, &options.python) {
                ("ours", _) | (_, None) => ask(own(None))?,
                (engine, Some(python)) => ask(peer(python, engine, None))?,
            };
            times.push(said.cpu_s);
        }
    }
    let medians: Vec<(&str, f64)> =
        times.into_iter().map(|(engine, times)| (engine, median(times))).collect();
    let ours = medians[0].1;
    found.push(Row::alone("entropy: rows per CPU-second", rows as f64 / ours, "rows"));
    for (engine, theirs) in &medians[1..] {
        found.push(Row::beside(&format!("entropy: CPU beside {engine}"), ours, "s", *theirs, engine));
    }
    Ok(found)
}

fn ask(mut command: Command) -> Result<Said> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("start an engine")?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", output.status);
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("what {command:?} says"))
}

/// The largest difference of any two entropies; fails where one has a partition or an entropy that the other lacks.
fn furthest(ours: &Path, theirs: &Path) -> Result<f64> {
    let read = |path: &Path| -> Result<DataFrame> {
        Ok(LazyFrame::scan_parquet(PlRefPath::try_from_path(path)?, Default::default())?.collect()?)
    };
    let (ours, theirs) = (read(ours)?, read(theirs)?);
    let keys = ["partition", "at_ms"].map(col);
    let at = |frame: DataFrame| {
        frame.lazy().with_column(
            col("window_start")
                .cast(polars::prelude::DataType::Datetime(polars::prelude::TimeUnit::Milliseconds, None))
                .cast(polars::prelude::DataType::Int64)
                .alias("at_ms"),
        )
    };
    let height = ours.height();
    if theirs.height() != height {
        bail!("{} entropies are not {height}", theirs.height());
    }
    let apart = |name: &str| (col(name) - col(format!("{name}_right"))).abs().alias(name);
    let joined = at(ours)
        .join(at(theirs), keys.clone(), keys, JoinArgs::new(JoinType::Inner))
        .select(BITS.map(apart))
        .collect()?;
    if joined.height() != height
        || BITS.iter().any(|name| joined.column(name).is_ok_and(|bits| bits.null_count() > 0))
    {
        bail!("some entropies have no counterpart");
    }
    let largest = |name: &str| -> Result<f64> { Ok(joined.column(name)?.f64()?.max().unwrap_or(0.0)) };
    Ok(largest(BITS[0])?.max(largest(BITS[1])?))
}
