//! What the agent's probes cost: `cargo xtask bench probes` runs this and holds it against the goals.
//!
//! Prints a JSON array of rows. Everything that is compared is measured in turns, so that a busy minute of the
//! machine meets all of it; medians are told. Never fails on a time.

mod agent;
mod drain;
mod floor;
mod hooks;
mod load;
mod reads;

use anyhow::{Context, Result};
use isotherm_agent::probe::{Access, Capacity, Probe, TargetIndex};
use serde::Serialize;
use std::collections::BTreeMap;

/// A median, beside what it is compared with.
#[derive(Serialize)]
struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    /// Absent where there is nothing to compare with.
    beside: Option<f64>,
    /// What `beside` is.
    of: Option<&'static str>,
    ratio: Option<f64>,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, kind, times] = arguments.as_slice()
        && command == "load"
    {
        return load::run(kind, times.parse()?);
    }
    // cargo adds --bench.
    let words: Vec<&str> = arguments.iter().map(String::as_str).filter(|word| *word != "--bench").collect();
    let runs: usize = words.first().context("usage: probes RUNS [hooks|agent]")?.parse()?;
    let mut rows = Vec::new();
    if words.get(1) != Some(&"agent") {
        kernel(runs, &mut rows)?;
    }
    if words.get(1) != Some(&"hooks") {
        eprintln!("draining 100,000 partitions");
        rows.push(row("draining 100,000 partitions, CPU", drain::measure(runs.max(3))?, "ms", None));
        eprintln!("the agent with 10,000 active partitions: 45 s");
        let seen = agent::measure()?;
        for (name, value, unit) in [
            ("agent, 10,000 active partitions: CPU", seen.cpu_share * 100.0, "% of a core"),
            (
                "agent, 10,000 active partitions: CPU outside the kernel",
                seen.user_share * 100.0,
                "% of a core",
            ),
            ("agent, 10,000 active partitions: VmRSS", seen.rss_kib / 1024.0, "MiB"),
            ("agent, 10,000 active partitions: VmHWM", seen.peak_kib / 1024.0, "MiB"),
            ("agent, 10,000 active partitions: kernel maps", seen.map_bytes / f64::from(1 << 20), "MiB"),
            ("agent, 10,000 active partitions: start until it watches", seen.start_ms, "ms"),
            ("agent, VmHWM of its start", seen.start_kib / 1024.0, "MiB"),
        ] {
            rows.push(row(name, vec![value], unit, None));
        }
    }
    println!("{}", serde_json::to_string(&rows)?);
    Ok(())
}

fn kernel(runs: usize, rows: &mut Vec<Row>) -> Result<()> {
    let [mut base, mut tracked, mut untracked, mut bpftrace] = [const { Vec::new() }; 4];
    let mut order = Vec::new();
    let mut hooks: BTreeMap<String, [Vec<f64>; 3]> = BTreeMap::new();
    for run in 0..runs {
        eprintln!("run {} of {runs}", run + 1);
        let before = reads::without_probe()?;
        bpftrace.extend(reads::with_bpftrace()?.map(|ns| ns - before));
        let mut probe = Probe::attach(Capacity::default())?;
        probe.add_target(TargetIndex::new(0).context("the first target")?)?;
        tracked.push(reads::with_probe(&mut probe, true)? - before);
        untracked.push(reads::with_probe(&mut probe, false)? - before);
        base.push(before);
        // Apart from the reads, because the statistics cost time themselves.
        let mut samples = hooks::measure(&mut probe)?;
        drop(probe);
        // As on a kernel that cannot give an address a type.
        let mut probe = Probe::attach_with(Capacity::default(), Access::Helper)?;
        probe.add_target(TargetIndex::new(0).context("the first target")?)?;
        samples.extend(hooks::measure_read_by_helper(&mut probe)?);
        for sample in samples {
            if !hooks.contains_key(&sample.name) {
                order.push(sample.name.clone());
            }
            let [ns, floors, ratios] = hooks.entry(sample.name).or_default();
            ns.push(sample.ns);
            floors.push(sample.floor_ns);
            ratios.push(sample.ns / sample.floor_ns);
        }
    }
    for name in order {
        let [ns, floors, mut ratios] = hooks.remove(&name).unwrap_or_default();
        let mut row = row(&name, ns, "ns/run", Some((floors, "an empty program")));
        row.ratio = Some(median(&mut ratios));
        rows.push(row);
    }
    let peer = |bpftrace: Vec<f64>| (!bpftrace.is_empty()).then_some((bpftrace, "bpftrace"));
    rows.push(row("cached read of 4 KiB, no probe", base, "ns", None));
    rows.push(row("added to a tracked read", tracked, "ns", peer(bpftrace)));
    rows.push(row("added to an untracked read", untracked, "ns", None));
    Ok(())
}

fn row(
    name: &str,
    mut values: Vec<f64>,
    unit: &'static str,
    beside: Option<(Vec<f64>, &'static str)>,
) -> Row {
    let value = median(&mut values);
    let (beside, of) = beside.map(|(mut values, of)| (median(&mut values), of)).unzip();
    Row { name: name.to_owned(), value, unit, beside, of, ratio: beside.map(|beside| value / beside) }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[len / 2],
        len => f64::midpoint(values[len / 2 - 1], values[len / 2]),
    }
}
