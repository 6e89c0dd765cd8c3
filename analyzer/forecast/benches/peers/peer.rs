//! Programs that forecast too, as processes that answer on a pipe.
//!
//! A line of JSON in is a [`Request`] about some series, a line out is a [`Reply`] with an [`Answer`] for each
//! and the processor time they took; the first line out is the peer's name. Missing values are `null`. A peer ends
//! with its stdin, so it does not outlive us by more than one request.

use anyhow::{Context, Result, bail, ensure};
use isotherm_forecast::{Coefficients, Order};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The level of all limits.
pub(crate) const LEVEL: f64 = 0.95;

/// Steps that all forecast.
pub(crate) const HORIZON: usize = 12;

/// What a peer is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Task {
    /// To find the order itself, by its defaults.
    Auto,
    /// To estimate a model of an order.
    Arima,
    /// To find the maximum of the exact likelihood, however long it takes.
    Maximum,
    /// To judge coefficients.
    Given,
}

/// A question about series.
#[derive(Serialize)]
struct Request<'a> {
    task: Task,
    order: Option<Order>,
    coefficients: Option<&'a [Coefficients]>,
    series: &'a [&'a [f64]],
    horizon: usize,
    level: f64,
}

#[derive(Deserialize)]
struct Reply {
    cpu_s: f64,
    answers: Vec<Answer>,
}

/// What a peer says about a series.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    /// Nothing, and why.
    Refused { error: String },
    /// A model and its forecast.
    Said(Said),
}

/// A peer's model and forecast; what was not asked for is absent.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Said {
    pub(crate) order: Option<Order>,
    pub(crate) coefficients: Option<Coefficients>,
    pub(crate) log_likelihood: Option<f64>,
    pub(crate) aicc: Option<f64>,
    pub(crate) sigma2: Option<f64>,
    pub(crate) mean: Vec<f64>,
    pub(crate) low: Vec<f64>,
    pub(crate) high: Vec<f64>,
}

/// A running peer.
pub(crate) struct Peer {
    name: String,
    child: Child,
    /// Taken to end it.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// Where the interpreters are, as xtask found them.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Interpreters {
    /// A Python with statsforecast and statsmodels.
    #[arg(long)]
    python: Option<PathBuf>,
    /// R with forecast.
    #[arg(long)]
    rscript: Option<PathBuf>,
}

impl Interpreters {
    /// Python's statsforecast.
    pub(crate) fn statsforecast(&self) -> Result<Option<Peer>> {
        self.python.as_deref().map(|python| Peer::start(python, &[], "statsforecast_peer.py")).transpose()
    }

    /// Python's statsmodels.
    pub(crate) fn statsmodels(&self) -> Result<Option<Peer>> {
        self.python.as_deref().map(|python| Peer::start(python, &[], "statsmodels_peer.py")).transpose()
    }

    /// R's forecast and stats.
    pub(crate) fn r(&self) -> Result<Option<Peer>> {
        self.rscript.as_deref().map(|r| Peer::start(r, &["--vanilla"], "forecast_peer.R")).transpose()
    }
}

impl Peer {
    fn start(interpreter: &Path, flags: &[&str], script: &str) -> Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/scripts").join(script);
        eprintln!("starting {script}");
        let mut child = Command::new(interpreter)
            .args(flags)
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {} {}", interpreter.display(), path.display()))?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("its stdout is a pipe")?);
        let mut peer = Self { name: script.to_owned(), child, input, output };
        peer.name = peer.hear::<Name>()?.name;
        Ok(peer)
    }

    /// Its name and version.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its answers, one per series, and the processor time that all of them took, in seconds.
    pub(crate) fn ask<S: AsRef<[f64]>>(
        &mut self,
        task: Task,
        order: Option<Order>,
        series: &[S],
    ) -> Result<(f64, Vec<Answer>)> {
        self.request(task, order, None, series)
    }

    /// What it says of coefficients, one set per series.
    pub(crate) fn judge<S: AsRef<[f64]>>(
        &mut self,
        order: Order,
        coefficients: &[Coefficients],
        series: &[S],
    ) -> Result<Vec<Answer>> {
        Ok(self.request(Task::Given, Some(order), Some(coefficients), series)?.1)
    }

    fn request<S: AsRef<[f64]>>(
        &mut self,
        task: Task,
        order: Option<Order>,
        coefficients: Option<&[Coefficients]>,
        series: &[S],
    ) -> Result<(f64, Vec<Answer>)> {
        let series: Vec<&[f64]> = series.iter().map(AsRef::as_ref).collect();
        let request = Request { task, order, coefficients, series: &series, horizon: HORIZON, level: LEVEL };
        let line = serde_json::to_string(&request).context("write a request")?;
        let input = self.input.as_mut().context("the peer was ended")?;
        writeln!(input, "{line}")
            .and_then(|()| input.flush())
            .with_context(|| format!("ask {}", self.name))?;
        let Reply { cpu_s, answers } = self.hear()?;
        ensure!(answers.len() == series.len(), "{} did not answer for each series", self.name);
        Ok((cpu_s, answers))
    }

    /// The next line it says. What it writes to stderr is seen where ours is.
    fn hear<T: serde::de::DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        self.output.read_line(&mut line).with_context(|| format!("read from {}", self.name))?;
        if line.is_empty() {
            let status = self.child.wait().with_context(|| format!("wait for {}", self.name))?;
            bail!("{} ended: {status}; what it wrote to stderr is above", self.name);
        }
        serde_json::from_str(&line).with_context(|| format!("{} said {}", self.name, line.trim_end()))
    }
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

/// It is in the middle of nothing we want any more.
impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
