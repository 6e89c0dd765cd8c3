//! The configuration of `isotherm serve`: read once, checked once, and typed from then on.
//!
//! Everything has a default, so that no file is needed. An error names the file, the line and the key.

mod adapter;
mod cycle;
mod failure;
mod ingest;
mod listen;
mod migrate;
mod repair;
mod store;
mod topology;

use crate::ingest::Limits;
use crate::topology::{Adapter, Topology};
pub(crate) use failure::FailureConfig;
use isotherm_model::InvalidName;
use isotherm_proto::tls::ServerFiles;
use isotherm_store::Upkeep;
use serde::Deserialize;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs, io};
use toml::Spanned;

/// Where agents and tools connect by default: this host only, as nothing authenticates them without certificates.
const LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7600));

/// The default step of series: long enough for a few hundred accesses of a quiet partition, short enough to
/// see a node fail.
const STEP: Duration = Duration::from_secs(60);

/// A checked configuration.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    /// Address to listen on. Port 0 takes a free one. Default `127.0.0.1:7600`.
    pub(crate) listen: SocketAddr,
    /// Certificates; `None` to take any connection unencrypted. Default: none.
    pub(crate) tls: Option<ServerFiles>,
    /// Folder of the segments and the catalog. Default `/var/lib/isotherm` for root,
    /// `$XDG_DATA_HOME/isotherm` for others.
    pub(crate) data_dir: PathBuf,
    /// Length of a step of the entropy series, whole milliseconds above 0. Default 60 s.
    pub(crate) step: Duration,
    /// What agents may take. Default: see there.
    pub(crate) ingest: Limits,
    /// How late windows may come, and how much is kept. Default: 15 minutes, and what
    /// [`Retention`](isotherm_store::Retention) argues.
    pub(crate) upkeep: Upkeep,
    /// The topology. Default: none, and eligible nodes are those observed.
    pub(crate) topology: Topology,
    /// Adapters that know the topology of other systems. Default: none.
    pub(crate) adapters: Vec<Adapter>,
    /// When a node counts as failed.
    pub(crate) failure: FailureConfig,
    /// How cycles judge.
    pub(crate) cycle: crate::cycle::Config,
    /// How partitions are moved.
    pub(crate) migrate: crate::migrate::Config,
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The file says something that cannot be.
    #[error("{}:{line}: {key}: {message}", path.display())]
    Invalid { path: PathBuf, line: usize, key: String, message: String },
    /// No data folder was given, and there is no home folder to put one in.
    #[error("there is no HOME to keep data in; give --data-dir or set data_dir")]
    NoDataDir,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    listen: Option<Spanned<listen::RawListen>>,
    data_dir: Option<Spanned<PathBuf>>,
    step: Option<Spanned<String>>,
    #[serde(default)]
    ingest: ingest::RawIngest,
    #[serde(default)]
    store: store::RawStore,
    #[serde(default)]
    topology: Vec<topology::RawSystem>,
    #[serde(default)]
    adapter: Vec<adapter::RawAdapter>,
    failure: Option<failure::RawFailure>,
    cycle: Option<cycle::RawCycle>,
    migrate: Option<migrate::RawMigrate>,
}

/// What is wrong, and where in the text.
#[derive(Debug)]
struct Problem {
    span: Range<usize>,
    key: &'static str,
    message: String,
}

impl Problem {
    fn new(span: Range<usize>, key: &'static str, message: impl Into<String>) -> Self {
        Self { span, key, message: message.into() }
    }
}

impl Config {
    /// The configuration without a file.
    pub(crate) fn without_file() -> Result<Self, ConfigError> {
        Self::from_text(Path::new("-"), "")
    }

    /// Reads and checks a file.
    pub(crate) fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text =
            fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::from_text(path, &text)
    }

    fn from_text(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let invalid = |problem: Problem| ConfigError::Invalid {
            path: path.to_owned(),
            line: line_of(text, problem.span.start),
            key: problem.key.to_owned(),
            message: problem.message,
        };
        let raw: Raw = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            ConfigError::Invalid {
                path: path.to_owned(),
                line: line_of(text, start),
                key: key_at(text, start),
                message: error.message().to_owned(),
            }
        })?;
        let (listen, tls) = raw.listen.map_or(Ok((LISTEN, None)), listen::checked).map_err(invalid)?;
        let step = raw.step.map_or(Ok(STEP), |raw| duration("step", &raw)).map_err(invalid)?;
        let ingest = ingest::checked(&raw.ingest).map_err(invalid)?;
        let upkeep = store::checked(raw.store).map_err(invalid)?;
        let topology = topology::checked(raw.topology).map_err(invalid)?;
        let adapters = adapter::checked(raw.adapter, &topology).map_err(invalid)?;
        let failure = raw.failure.map_or(Ok(FailureConfig::default()), failure::checked).map_err(invalid)?;
        let cycle =
            raw.cycle.map_or_else(|| Ok(crate::cycle::Config::default()), cycle::checked).map_err(invalid)?;
        let migrate = raw
            .migrate
            .map_or_else(|| Ok(crate::migrate::Config::default()), migrate::checked)
            .map_err(invalid)?;
        let data_dir = match raw.data_dir {
            Some(dir) if dir.get_ref().as_os_str().is_empty() => {
                return Err(invalid(Problem::new(dir.span(), "data_dir", "is empty")));
            }
            Some(dir) => dir.into_inner(),
            None => default_data_dir()?,
        };
        Ok(Self { listen, tls, data_dir, step, ingest, upkeep, topology, adapters, failure, cycle, migrate })
    }
}

/// Whole milliseconds above 0.
fn duration(key: &'static str, raw: &Spanned<String>) -> Result<Duration, Problem> {
    let problem = |message: String| Problem::new(raw.span(), key, message);
    let duration = humantime::parse_duration(raw.get_ref()).map_err(|error| {
        problem(format!("{:?} is not a duration such as \"60s\": {error}", raw.get_ref()))
    })?;
    if duration.is_zero() || duration.subsec_nanos() % 1_000_000 != 0 {
        return Err(problem(format!("{:?} is not whole milliseconds above 0", raw.get_ref())));
    }
    Ok(duration)
}

fn invalid(key: &'static str, raw: &Spanned<String>) -> impl FnOnce(InvalidName) -> Problem {
    let span = raw.span();
    move |error| Problem::new(span, key, error.to_string())
}

fn twice(key: &'static str, raw: &Spanned<String>) -> Problem {
    Problem::new(raw.span(), key, format!("{:?} occurs twice", raw.get_ref()))
}

fn default_data_dir() -> Result<PathBuf, ConfigError> {
    if nix::unistd::Uid::effective().is_root() {
        return Ok(PathBuf::from("/var/lib/isotherm"));
    }
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_DATA_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".local/share")))
        .map(|data| data.join("isotherm"))
        .ok_or(ConfigError::NoDataDir)
}

/// The line that a byte of a text lies on, from 1.
pub(crate) fn line_of(text: &str, byte: usize) -> usize {
    text.bytes().take(byte).filter(|byte| *byte == b'\n').count() + 1
}

/// The key of the line that a byte lies on, for errors that the TOML parser found by itself.
pub(crate) fn key_at(text: &str, byte: usize) -> String {
    let line = text.lines().nth(line_of(text, byte) - 1).unwrap_or_default();
    line.split('=').next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests;
