//! What becomes of a placement in the long run: rounds of failures, rounds of noise.

use super::cluster::Bench;
use super::{Row, Scale, Start, row};
use anyhow::{Context, Result};
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Spread factor of placements from scratch.
pub(super) const SPREAD: u32 = 10;

/// Rounds of a node that fails and comes back empty.
const FAILURES: u64 = 50;

/// Rounds of loads that are all somewhat off.
const NOISES: u64 = 100;

/// How far, each way.
const NOISE: f64 = 0.05;

pub(super) fn measure(bench: &Bench, quick: bool) -> Result<Vec<Row>> {
    let mut rows = failures(bench)?;
    if !quick {
        rows.push(noise(bench)?);
    }
    Ok(rows)
}

/// Copysets after nodes have failed and come back, from a placement of few.
fn failures(bench: &Bench) -> Result<Vec<Row>> {
    eprintln!("rounds of failures");
    let folder = copied(bench, Start::Random)?;
    let (plan, assign) = (folder.join("plan.csv"), folder.join("assign.csv"));
    let mut most = bench.copysets(&folder, SPREAD, &plan)?.copysets.after.copysets;
    fs::rename(&plan, &assign)?;
    let nodes = Scale::M.nodes() as u64;
    for round in 0..FAILURES {
        // A step that shares no factor with the number of nodes meets another one each time.
        let node = (11 + 37 * round) % nodes;
        for event in ["fail", "fill"] {
            let events = format!("[{{\"id\": \"round\", \"{event}\": [{node}]}}]");
            fs::write(folder.join("events.json"), events)?;
            let planned = bench.simulate(&folder, "round", None, &plan)?;
            most = most.max(planned.copysets.after.copysets);
            fs::rename(&plan, &assign)?;
        }
    }
    let least = Scale::M.nodes() * f64::from(SPREAD) / 6.0;
    let judged = {
        fs::copy(&assign, &plan)?;
        bench.judge(&folder, "none", &plan)?
    };
    let of = |what: &str, value: f64, unit: &str| {
        row(format!("M {FAILURES} rounds of fail and replace: {what}"), value, unit)
    };
    Ok(vec![
        of("most copysets over N S / 6", most / least, "times"),
        of("size", judged.size_max_over_mean, "times the mean"),
        of("load", judged.load_max_over_mean, "times the mean"),
        of("violations", judged.violations as f64, ""),
    ])
}

/// What is moved although nothing but the measured loads changes, by a few per cent that mean nothing. No cool-down
/// helps, as the files do not tell when a partition moved.
fn noise(bench: &Bench) -> Result<Row> {
    eprintln!("rounds of noise");
    let folder = copied(bench, Start::Random)?;
    let (plan, assign) = (folder.join("plan.csv"), folder.join("assign.csv"));
    bench.simulate(&folder, "balance", None, &plan)?;
    fs::rename(&plan, &assign)?;
    let text = fs::read_to_string(folder.join("parts.csv"))?;
    let parts = parts(&text).context("parts.csv of the generator")?;
    let mut random = Random(1);
    let mut bytes = 0;
    for _ in 0..NOISES {
        write_noisy(&folder, &parts, &mut random)?;
        let planned = bench.simulate(&folder, "balance", None, &plan)?;
        bytes += planned.moves.map_or(0, |moved| moved.bytes);
        fs::rename(&plan, &assign)?;
    }
    let held: f64 = parts.iter().map(|(size_mib, _)| 3.0 * *size_mib as f64 * 1_048_576.0).sum();
    Ok(row(format!("M {NOISES} rounds of noise: moved"), 100.0 * bytes as f64 / held, "% of the bytes"))
}

/// A cluster in a folder of our own.
fn copied(bench: &Bench, start: Start) -> Result<std::path::PathBuf> {
    let data = bench.cluster(Scale::M, start, 1)?;
    let folder = bench.scratch("lasting")?;
    for file in ["nodes.csv", "parts.csv", "assign.csv"] {
        fs::copy(data.join(file), folder.join(file))?;
    }
    Ok(folder)
}

/// Size and load of each partition.
fn parts(text: &str) -> Option<Vec<(u64, f64)>> {
    let part = |line: &str| {
        let mut fields = line.split(',').skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    text.lines().skip(1).map(part).collect()
}

fn write_noisy(folder: &Path, parts: &[(u64, f64)], random: &mut Random) -> Result<()> {
    let mut text = String::from("pid,size_mib,load\n");
    for (pid, (size_mib, load)) in parts.iter().enumerate() {
        let noisy = load * (1.0 + NOISE * (2.0 * random.share() - 1.0));
        writeln!(text, "{pid},{size_mib},{noisy:.3}")?;
    }
    Ok(fs::write(folder.join("parts.csv"), text)?)
}

/// SplitMix64 (Steele, Lea and Flood 2014), seeded.
struct Random(u64);

impl Random {
    /// Between 0 and 1.
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}
