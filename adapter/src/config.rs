//! The configuration of an adapter: read once, checked once, and typed from then on.
//!
//! ```toml
//! system = "demo"                         # as the analyzer's [[adapter]] calls it
//! data = "/var/lib/isotherm-adapter/demo" # of this adapter alone; what it keeps lies there
//! listen = "127.0.0.1:7700"
//! # or, for an analyzer on another host:
//! [listen]
//! address = "0.0.0.0:7700"
//! [listen.tls]
//! cert = "/etc/isotherm/adapter.pem"
//! key = "/etc/isotherm/adapter.key"
//! client_ca = "/etc/isotherm/ca.pem"
//!
//! [store]                                 # what it is depends on the store
//! ```
//!
//! An error names the file, the line and the key.

mod listen;

use crate::stores::Configured;
use isotherm_model::{HOST_SYSTEM, SystemId};
use isotherm_proto::tls::ServerFiles;
use serde::Deserialize;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};
use toml::Spanned;

/// A checked configuration of an adapter of one kind of store.
#[derive(Debug)]
pub struct Config<S> {
    /// The system, as the analyzer's configuration calls it.
    pub system: SystemId,
    /// Folder of the ledger.
    pub data: PathBuf,
    /// Where to listen. Default `127.0.0.1:7700`.
    pub listen: SocketAddr,
    /// Certificates; `None` for unencrypted connections, which only this host may make unless the file allows others.
    pub tls: Option<ServerFiles>,
    /// The store.
    pub store: S,
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file says something that cannot be.
    #[error("{}:{line}: {key}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// What is wrong, and what would be right.
        message: String,
    },
}

/// What is wrong, and where in the text.
#[derive(Debug)]
pub struct Problem {
    span: Range<usize>,
    key: String,
    message: String,
}

impl Problem {
    /// Something is wrong with the value of a key.
    pub fn new(span: Range<usize>, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { span, key: key.into(), message: message.into() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw<S> {
    system: Spanned<String>,
    data: Spanned<PathBuf>,
    listen: Option<Spanned<listen::RawListen>>,
    store: Spanned<S>,
}

impl<S: Configured> Config<S> {
    /// Reads and checks a file.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text =
            fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::from_text(path, &text)
    }

    /// Checks a text that was read from `path`.
    pub fn from_text(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let invalid = |problem: Problem| ConfigError::Invalid {
            path: path.to_owned(),
            line: line_of(text, problem.span.start),
            key: problem.key,
            message: problem.message,
        };
        let raw: Raw<S::Raw> = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            invalid(Problem::new(start..start, key_at(text, start), error.message()))
        })?;
        let system = SystemId::new(raw.system.get_ref())
            .map_err(|error| invalid(Problem::new(raw.system.span(), "system", error.to_string())))?;
        if system.as_str() == HOST_SYSTEM {
            let message = format!("{HOST_SYSTEM:?} stands for the hosts of agents, and has no adapter");
            return Err(invalid(Problem::new(raw.system.span(), "system", message)));
        }
        if raw.data.get_ref().as_os_str().is_empty() {
            return Err(invalid(Problem::new(raw.data.span(), "data", "is empty")));
        }
        let (listen, tls) =
            raw.listen.map_or(Ok((listen::LISTEN, None)), listen::checked).map_err(invalid)?;
        let store = S::checked(raw.store.into_inner()).map_err(invalid)?;
        Ok(Self { system, data: raw.data.into_inner(), listen, tls, store })
    }
}

/// Whole milliseconds.
pub fn duration(key: &str, raw: &Spanned<String>) -> Result<Duration, Problem> {
    humantime::parse_duration(raw.get_ref()).map_err(|error| {
        let message = format!("{:?} is not a duration such as \"20ms\": {error}", raw.get_ref());
        Problem::new(raw.span(), key, message)
    })
}

/// The line that a byte of a text lies on, from 1.
fn line_of(text: &str, byte: usize) -> usize {
    text.bytes().take(byte).filter(|byte| *byte == b'\n').count() + 1
}

/// The key of the line that a byte lies on, for errors that the TOML parser found by itself.
fn key_at(text: &str, byte: usize) -> String {
    let line = text.lines().nth(line_of(text, byte) - 1).unwrap_or_default();
    line.split('=').next().unwrap_or_default().trim().to_owned()
}
