//! What a run of each kernel program takes, beside an empty one on the same hook, by the kernel's `bpf_stats`.

use crate::floor::Floors;
use crate::load::{Kind, Load};
use anyhow::{Context, Result};
use isotherm_agent::probe::{Probe, TargetIndex};
use std::fs;

/// A load, whether it is watched, and the programs that it is for.
struct Case {
    name: &'static str,
    kind: Kind,
    times: u64,
    watched: bool,
    programs: &'static [&'static str],
}

const fn case(
    name: &'static str,
    kind: Kind,
    times: u64,
    watched: bool,
    programs: &'static [&'static str],
) -> Case {
    Case { name, kind, times, watched, programs }
}

const CALLS: &[&str] = &["iso_sys_exit"];

/// The untracked ones first: with them the tracked ones are freed of the other processes' calls.
const CASES: &[Case] = &[
    case("untracked read", Kind::Reads, 200_000, false, CALLS),
    case("call that is no access", Kind::OtherCalls, 200_000, true, CALLS),
    case("tracked read", Kind::Reads, 200_000, true, CALLS),
    case("process", Kind::Processes, 300, true, &["iso_fork", "iso_exec", "iso_exit"]),
    case("message", Kind::Messages, 20_000, true, &["iso_state", "iso_receive", "iso_send"]),
    case("direct write", Kind::DirectWrites, 3_000, true, &["iso_request", "iso_bio"]),
    case("read by io_uring", Kind::Uring, 100_000, true, &["iso_uring"]),
];

/// Nanoseconds per run: what, the program, its empty neighbour.
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) ns: f64,
    pub(crate) floor_ns: f64,
}

/// Of programs that read kernel memory by a helper.
const BY_HELPER: &[Case] = &[
    case("untracked read, by helper", Kind::Reads, 200_000, false, CALLS),
    case("tracked read, by helper", Kind::Reads, 200_000, true, CALLS),
];

/// One run of all cases.
pub(crate) fn measure(probe: &mut Probe) -> Result<Vec<Sample>> {
    run(probe, CASES)
}

/// One run of what the way of reading matters most for.
pub(crate) fn measure_read_by_helper(probe: &mut Probe) -> Result<Vec<Sample>> {
    run(probe, BY_HELPER)
}

fn run(probe: &mut Probe, cases: &[Case]) -> Result<Vec<Sample>> {
    let floors = Floors::attach()?;
    let _stats = Stats::on()?;
    let target = TargetIndex::new(0).context("the first target")?;
    let mut samples: Vec<Sample> = Vec::new();
    for case in cases {
        let mut load = Load::start(case.kind, case.times)?;
        if case.watched {
            probe.watch(load.pid(), target)?;
        }
        let before = costs(probe, &floors, case)?;
        load.measure()?;
        let after = costs(probe, &floors, case)?;
        probe.forget(load.pid())?;
        for ((program, before), after) in case.programs.iter().zip(before).zip(after) {
            let [(ns, runs), (floor_ns, floor_runs)] =
                [0, 1].map(|index| (after[index].0 - before[index].0, after[index].1 - before[index].1));
            if runs == 0 || floor_runs == 0 {
                continue;
            }
            let untracked = samples.first().map_or(0.0, |sample| sample.ns);
            // The calls of all other processes of the host are in the numbers too.
            let foreign =
                if case.kind == Kind::Reads && case.watched { runs.saturating_sub(case.times) } else { 0 };
            samples.push(Sample {
                name: format!("{program}, {}", case.name),
                ns: (ns as f64 - foreign as f64 * untracked) / (runs - foreign) as f64,
                floor_ns: floor_ns as f64 / floor_runs as f64,
            });
        }
    }
    Ok(samples)
}

/// Nanoseconds and runs of each program of the case, and of its floor.
fn costs(probe: &Probe, floors: &Floors, case: &Case) -> Result<Vec<[(u64, u64); 2]>> {
    case.programs
        .iter()
        .map(|program| {
            let (time, runs) = probe.cost_of(program)?;
            Ok([(time.as_nanos() as u64, runs), floors.cost_of(program)?])
        })
        .collect()
}

/// The kernel's statistics of eBPF programs, on while this lives.
struct Stats {
    before: String,
}

const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

impl Stats {
    fn on() -> Result<Self> {
        let before = fs::read_to_string(STATS).context(STATS)?;
        fs::write(STATS, "1").context(STATS)?;
        Ok(Self { before })
    }
}

impl Drop for Stats {
    fn drop(&mut self) {
        if let Err(error) = fs::write(STATS, &self.before) {
            eprintln!("{STATS} could not be set back to {}: {error}", self.before.trim());
        }
    }
}
