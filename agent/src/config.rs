//! The agent's configuration: read once, checked once, typed from then on.
//!
//! ```toml
//! [agent]
//! id = "host-1"                  # default: the host's name
//! window = "10s"                 # default
//!
//! [analyzer]
//! endpoint = "http://127.0.0.1:7600"
//!
//! [metrics]
//! listen = "127.0.0.1:7601"      # default; "off"
//!
//! [[target]]
//! system = "seaweedfs"
//! node = "10.77.0.1:8080"        # the store's own name of the node
//! select = { listen = "10.77.0.1:8080" }
//! [[target.rule]]
//! path = '/(?P<volume>[0-9]+)\.dat$'
//! partition = "$volume"
//! ```

mod metrics;
mod rule;
mod target;

pub use metrics::{Listen, Metrics};
pub use target::Target;

use crate::probe::Capacity;
use isotherm_agent_ebpf::{DEFAULT_BLOCKS, DEFAULT_FILES, DEFAULT_PEERS};
use isotherm_model::AgentId;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;

/// Shortest and longest window. A shorter one costs more than it tells; a longer one hides what happened.
const WINDOW_RANGE: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(3600)];

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The agent's id; default: the host's name.
    pub agent: AgentId,
    /// Length of a window; default 10 s, which six times fill a step of a minute.
    pub window: Duration,
    /// Where the analyzer listens; default `http://127.0.0.1:7600`.
    pub endpoint: String,
    /// Bounds of memory.
    pub limits: Limits,
    /// The agent's own numbers.
    pub metrics: Metrics,
    /// What to watch; at least one, at most 62.
    pub targets: Vec<Target>,
}

/// Bounds of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries of the kernel's maps: files counted apart, per operation and bucket width; default 32,768 in the
    /// logical layer, 16,384 in the device layer; and 16,384 peers.
    pub capacity: Capacity,
    /// Partitions told apart; default 10,000. Accesses of further ones count as `other`.
    pub partitions: usize,
    /// Batches kept for an analyzer that does not answer; default 360, an hour of 10 s windows.
    pub unacked_batches: usize,
}

/// A configuration that cannot be used, and where.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("{path}:{line}: {what}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// A value that makes no sense.
    #[error("{path}:{line}: {key}: {what}")]
    Value {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The key, with the position of array entries.
        key: String,
        /// What is wrong.
        what: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    agent: Option<RawAgent>,
    analyzer: Option<RawAnalyzer>,
    limits: Option<RawLimits>,
    metrics: Option<metrics::RawMetrics>,
    #[serde(default)]
    target: Vec<Spanned<target::RawTarget>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawAgent {
    id: Option<Spanned<String>>,
    window: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAnalyzer {
    endpoint: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    files: Option<Spanned<u32>>,
    device_files: Option<Spanned<u32>>,
    peers: Option<Spanned<u32>>,
    partitions: Option<Spanned<usize>>,
    unacked_batches: Option<Spanned<usize>>,
}

impl Config {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// Checks the text of a file; `path` is for messages.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let source = Source { path, text };
        let raw: RawConfig = toml::from_str(text).map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            line: error.span().map_or(1, |span| source.line(span.start)),
            what: error.message().to_owned(),
        })?;
        let agent = raw.agent.unwrap_or_default();
        let limits = raw.limits.unwrap_or_default();
        Ok(Self {
            agent: source.agent(agent.id)?,
            window: source.window(agent.window)?,
            endpoint: source.endpoint(raw.analyzer.and_then(|analyzer| analyzer.endpoint))?,
            limits: Limits {
                capacity: Capacity {
                    files: source.limit("limits.files", limits.files, 64, 1 << 20, DEFAULT_FILES)?,
                    blocks: source.limit(
                        "limits.device_files",
                        limits.device_files,
                        64,
                        1 << 20,
                        DEFAULT_BLOCKS,
                    )?,
                    peers: source.limit("limits.peers", limits.peers, 64, 1 << 20, DEFAULT_PEERS)?,
                },
                partitions: source.limit("limits.partitions", limits.partitions, 1, 20_000, 10_000)?,
                unacked_batches: source.limit(
                    "limits.unacked_batches",
                    limits.unacked_batches,
                    2,
                    100_000,
                    360,
                )?,
            },
            metrics: source.metrics(raw.metrics.unwrap_or_default())?,
            targets: source.targets(raw.target)?,
        })
    }
}

impl Config {
    /// The settings that differ and cannot change while the agent runs, by section or key.
    #[must_use]
    pub fn needing_restart(&self, new: &Self) -> Vec<&'static str> {
        // Without `..`, so that a new setting has to be thought of here.
        let Self { agent, window, endpoint, limits, metrics, targets: _ } = self;
        [
            ("agent.id", *agent != new.agent),
            ("agent.window", *window != new.window),
            ("analyzer.endpoint", *endpoint != new.endpoint),
            ("limits", *limits != new.limits),
            ("metrics", *metrics != new.metrics),
        ]
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(key, _)| key)
        .collect()
    }
}

/// Text of the file, to turn positions into lines.
struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn line(&self, byte: usize) -> usize {
        self.text.as_bytes()[..byte.min(self.text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
    }

    fn error(&self, at: usize, key: impl Into<String>, what: impl ToString) -> ConfigError {
        ConfigError::Value {
            path: self.path.to_owned(),
            line: self.line(at),
            key: key.into(),
            what: what.to_string(),
        }
    }

    fn agent(&self, id: Option<Spanned<String>>) -> Result<AgentId, ConfigError> {
        let (at, name) = match id {
            Some(id) => (id.span().start, id.into_inner()),
            None => (
                0,
                host_name().map_err(|error| self.error(0, "agent.id", format!("not given, and {error}")))?,
            ),
        };
        AgentId::new(name).map_err(|error| self.error(at, "agent.id", error))
    }

    fn window(&self, window: Option<Spanned<String>>) -> Result<Duration, ConfigError> {
        let Some(window) = window else { return Ok(Duration::from_secs(10)) };
        let length = humantime::parse_duration(window.get_ref()).map_err(|error| {
            self.error(window.span().start, "agent.window", format!("{error}, such as \"10s\""))
        })?;
        if length < WINDOW_RANGE[0] || length > WINDOW_RANGE[1] || length.subsec_nanos() % 1_000_000 != 0 {
            return Err(self.error(
                window.span().start,
                "agent.window",
                "must be whole milliseconds from 100ms to 1h",
            ));
        }
        Ok(length)
    }

    fn endpoint(&self, endpoint: Option<Spanned<String>>) -> Result<String, ConfigError> {
        let Some(endpoint) = endpoint else { return Ok("http://127.0.0.1:7600".to_owned()) };
        let good = endpoint
            .get_ref()
            .parse::<tonic::codegen::http::Uri>()
            .is_ok_and(|uri| uri.scheme_str() == Some("http") && uri.host().is_some());
        if !good {
            return Err(self.error(
                endpoint.span().start,
                "analyzer.endpoint",
                format!("{:?} is no address such as \"http://10.0.0.5:7600\"", endpoint.get_ref()),
            ));
        }
        Ok(endpoint.into_inner())
    }

    fn limit<T: PartialOrd + Copy + std::fmt::Display>(
        &self,
        key: &str,
        value: Option<Spanned<T>>,
        least: T,
        most: T,
        default: T,
    ) -> Result<T, ConfigError> {
        match value {
            None => Ok(default),
            Some(value) if *value.get_ref() < least || *value.get_ref() > most => {
                Err(self.error(value.span().start, key, format!("must be from {least} to {most}")))
            }
            Some(value) => Ok(value.into_inner()),
        }
    }
}

fn host_name() -> std::io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/hostname")?.trim().to_owned())
}

#[cfg(test)]
mod tests;
