//! Clusters of the generator, plans of `isotherm`, and the judge's word on them.

use super::{Scale, Start};
use crate::shell;
use anyhow::{Context, Result, bail};
use isotherm_tests::workspace;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What everything is run with.
pub(super) struct Bench {
    isotherm: PathBuf,
    python: PathBuf,
    /// Generated clusters are kept here.
    folder: PathBuf,
    pub(super) runs: usize,
    pub(super) seeds: u64,
}

/// What `isotherm plan` says, as far as it is used.
#[derive(Deserialize)]
pub(super) struct Planned {
    /// Absent where a placement is made from scratch.
    pub(super) moves: Option<Moved>,
    pub(super) pressure: Evenness,
    pub(super) copysets: Copysets,
    pub(super) schedule: Option<Ordered>,
    #[serde(default)]
    pub(super) violations: Vec<String>,
    pub(super) seconds: Seconds,
    pub(super) peak_rss_bytes: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct Moved {
    pub(super) moves: u64,
    pub(super) bytes: u64,
}

#[derive(Deserialize)]
pub(super) struct Evenness {
    pub(super) before: Pressure,
    pub(super) feasible: f64,
}

#[derive(Deserialize)]
pub(super) struct Pressure {
    pub(super) size: Option<f64>,
}

#[derive(Deserialize)]
pub(super) struct Copysets {
    pub(super) before: Blast,
    pub(super) after: Blast,
}

#[derive(Deserialize)]
pub(super) struct Blast {
    pub(super) copysets: f64,
}

#[derive(Deserialize)]
pub(super) struct Ordered {
    pub(super) over_bound: Option<f64>,
}

#[derive(Deserialize)]
pub(super) struct Seconds {
    pub(super) reading: f64,
    pub(super) planning: f64,
    pub(super) scheduling: f64,
    pub(super) checking: f64,
    pub(super) writing: f64,
}

/// The judge's line.
#[derive(Deserialize)]
pub(super) struct Judged {
    pub(super) moved_over_min: Option<f64>,
    pub(super) moved_over_lb2d: Option<f64>,
    pub(super) size_max_over_mean: f64,
    pub(super) load_max_over_mean: f64,
    pub(super) violations: u64,
    pub(super) copysets: f64,
    pub(super) p_loss_3: f64,
    pub(super) p_quorum_2: f64,
    pub(super) targets: u64,
    pub(super) max_rx_share: f64,
}

impl Bench {
    /// Builds what is measured, as the README says to, unless it is given.
    pub(super) fn new(python: PathBuf, isotherm: Option<PathBuf>, runs: usize, seeds: u64) -> Result<Self> {
        let target = workspace::target_dir();
        let isotherm = match isotherm {
            Some(program) => program,
            None => {
                shell::run(shell::cargo().args(["build", "--release"]).current_dir(workspace::root()))?;
                target.join("release/isotherm")
            }
        };
        let folder = target.join("placement");
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(Self { isotherm, python, folder, runs, seeds })
    }

    /// A cluster of the generator, made if it is not there.
    pub(super) fn cluster(&self, scale: Scale, start: Start, seed: u64) -> Result<PathBuf> {
        let folder = self.folder.join(format!("{}-{}-{seed}", scale.name(), start.name()));
        if folder.join("meta.json").exists() {
            return Ok(folder);
        }
        eprintln!("generating {}", folder.display());
        let mut python = shell::clean(&self.python);
        python
            .arg(judge("gen.py"))
            .args([scale.name(), &seed.to_string()])
            .arg(&folder)
            .arg(start.argument());
        shell::run(&mut python)?;
        Ok(folder)
    }

    /// A folder of our own, empty.
    pub(super) fn scratch(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("empty {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(folder)
    }

    /// Plans an event into a file beside the cluster. A plan that is not all possible is a plan.
    pub(super) fn simulate(
        &self,
        data: &Path,
        event: &str,
        policy: Option<&str>,
        out: &Path,
    ) -> Result<Planned> {
        let mut command = self.plan("simulate", data, out);
        command.args(["--event", event]);
        if let Some(policy) = policy {
            let file = out.with_extension("toml");
            fs::write(&file, policy).with_context(|| format!("write {}", file.display()))?;
            command.arg("--policy").arg(file);
        }
        said(&mut command)
    }

    /// Lays a cluster out anew.
    pub(super) fn copysets(&self, data: &Path, spread: u32, out: &Path) -> Result<Planned> {
        said(self.plan("copysets", data, out).args(["--spread", &spread.to_string()]))
    }

    fn plan(&self, what: &str, data: &Path, out: &Path) -> Command {
        let mut command = shell::clean(&self.isotherm);
        command.args(["plan", what, "--output", "json", "--data"]).arg(data).arg("--out").arg(out);
        command
    }

    /// What the judge says of a plan. To it a balance is no event: it sees what moved.
    pub(super) fn judge(&self, data: &Path, event: &str, plan: &Path) -> Result<Judged> {
        let mut python = shell::clean(&self.python);
        said(python.arg(judge("score.py")).arg(data).arg(event).arg(plan))
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// A program of the judge's.
pub(super) fn judge(program: &str) -> PathBuf {
    workspace::root().join("analyzer/placement/benches/judge").join(program)
}

/// Runs a program that prints JSON.
pub(super) fn said<T: DeserializeOwned>(command: &mut Command) -> Result<T> {
    /// What `isotherm` exits with when not all of a plan can be done.
    const REFUSED: i32 = 4;
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("start {command:?}"))?;
    // A plan with violations exits with 1, and says which.
    if output.stdout.is_empty() || !matches!(output.status.code(), Some(0 | 1 | REFUSED)) {
        bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("what {command:?} says"))
}
