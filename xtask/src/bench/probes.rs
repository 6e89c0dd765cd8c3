//! What the agent costs the host, held against its goals. The measuring is done by a benchmark of the lab, because
//! it needs the agent's own parts, which take too long to build for xtask.

use super::{Aim, Bound, Report, Row, goals, machine};
use crate::{rights, shell};
use anyhow::{Context, Result, bail};
use std::process::Stdio;

const fn aim(name: &'static str, row: &'static str, ratio: bool, unit: &'static str, goal: f64) -> Aim {
    Aim { name, row, ratio, unit, bound: Bound::AtMost, goal }
}

/// The names of rows are those of tests/benches/probes.
const AIMS: &[Aim] = &[
    aim("tracked", "iso_sys_exit, tracked read", true, "times an empty program", 4.0),
    aim("untracked", "iso_sys_exit, untracked read", true, "times an empty program", 1.4),
    aim("bpftrace", "added to a tracked read", true, "times what bpftrace adds", 0.28),
    aim("drain", "draining 100,000 partitions, CPU", false, "ms", 150.0),
    aim("rss", "agent, 10,000 active partitions: VmRSS", false, "MiB", 64.0),
    aim("rss at most", "agent, 10,000 active partitions: VmHWM", false, "MiB", 64.0),
    aim("cpu", "agent, 10,000 active partitions: CPU", false, "% of a core", 1.0),
    aim("maps", "agent, 10,000 active partitions: kernel maps", false, "MiB", 256.0),
];

pub(super) fn measure(runs: usize) -> Result<Report> {
    if let Some(right) = rights::missing().first() {
        bail!("this benchmark needs {} for {}", right.capability, right.needed_for);
    }
    // The agent itself as it is shipped. In the kernel all profiles are the same.
    shell::run(shell::cargo().args(["build", "--release", "--package", "isotherm-agent"]))?;
    let mut bench = shell::cargo();
    bench.args(["bench", "--quiet", "--profile", "dev", "--package", "isotherm-tests", "--bench", "probes"]);
    bench.args(["--", &runs.max(1).to_string()]).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = bench.output().context("start cargo bench")?;
    if !output.status.success() {
        bail!("the benchmark failed: {}", output.status);
    }
    let rows: Vec<Row> = serde_json::from_slice(&output.stdout).context("what the benchmark says")?;
    let command = format!("cargo xtask bench probes --runs {runs}");
    Ok(Report { bench: "probes", command, machine: machine()?, goals: goals(AIMS, &rows), rows })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_not_met() {
        let row = |name: &str, value, ratio| Row {
            name: name.to_owned(),
            value,
            unit: "ns".to_owned(),
            beside: None,
            of: None,
            ratio,
        };
        let rows = [
            row("iso_sys_exit, tracked read", 1e6, Some(4.0)),
            row("added to a tracked read", 1.0, None),
            row("draining 100,000 partitions, CPU", 150.5, None),
        ];
        let goals = goals(AIMS, &rows);
        let met: Vec<&str> = goals.iter().filter(|goal| goal.met).map(|goal| goal.name).collect();
        assert_eq!((goals.len(), met), (AIMS.len(), vec!["tracked"]));
        assert_eq!(goals[2].value, None);
        assert_eq!(goals[3].value, Some(150.5));
    }
}
