//! How the cluster is found, and how it is cut into partitions.

use super::Valkey;
use super::bucket::{Buckets, UnevenBuckets};
use crate::config::Problem;
use crate::store::Store;
use crate::stores::Configured;
use isotherm_model::SystemId;
use serde::Deserialize;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many partitions there are unless somebody says otherwise: of 256 slots each.
const DEFAULT_BUCKETS: u16 = 64;

/// The configuration of a Valkey cluster.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Addresses of a few nodes, by which the others are found.
    pub nodes: Vec<SocketAddr>,
    /// Into how many partitions the slots are cut; a power of 2. It is part of their names, so it stays as it is.
    #[serde(default = "default_buckets")]
    pub buckets: u16,
    /// The user to log in as; without, the server's default user.
    #[serde(default)]
    pub user: Option<String>,
    /// The file with the password, whose last line break does not count.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// How nodes prove who they are; without, connections are not encrypted.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
}

/// Encrypted connections. Certificates must name the addresses of the nodes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file of the authority that signed the nodes' certificates; without, those that the system trusts.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// PEM file of the adapter's own certificate, if the nodes ask for one.
    #[serde(default)]
    pub cert: Option<PathBuf>,
    /// PEM file of its key.
    #[serde(default)]
    pub key: Option<PathBuf>,
}

/// Why a configuration cannot be.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Nowhere to begin.
    #[error("nodes is empty: name at least one node of the cluster, such as \"10.0.0.1:7000\"")]
    NoNodes,
    /// The slots cannot be cut so.
    #[error("buckets: {0}")]
    Buckets(#[from] UnevenBuckets),
    /// A user without a password.
    #[error("user is set without password_file")]
    UserWithoutPassword,
    /// Half of a certificate.
    #[error("tls: cert and key belong together, and only one is set")]
    HalfCertificate,
    /// A file that cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What was read from a configuration and its files.
pub(super) struct Settings {
    pub(super) system: SystemId,
    pub(super) nodes: Vec<SocketAddr>,
    pub(super) buckets: Buckets,
    pub(super) login: Login,
    pub(super) tls: Option<redis::TlsCertificates>,
}

/// Who the adapter is to the nodes.
#[derive(Default)]
pub(super) struct Login {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
}

impl Configured for Config {
    type Raw = Self;

    fn checked(raw: Self) -> Result<Self, Problem> {
        Ok(raw)
    }

    async fn open(self, system: SystemId, _: &Path) -> anyhow::Result<Arc<dyn Store>> {
        Ok(Arc::new(Valkey::new(system, self)?))
    }
}

impl Config {
    /// Checks it, and reads the files that it names.
    pub(super) fn settings(self, system: SystemId) -> Result<Settings, ConfigError> {
        if self.nodes.is_empty() {
            return Err(ConfigError::NoNodes);
        }
        if self.user.is_some() && self.password_file.is_none() {
            return Err(ConfigError::UserWithoutPassword);
        }
        let password = self.password_file.as_deref().map(read).transpose()?;
        let password =
            password.map(|bytes| String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned());
        Ok(Settings {
            system,
            nodes: self.nodes,
            buckets: Buckets::new(self.buckets)?,
            login: Login { user: self.user, password },
            tls: self.tls.map(TlsConfig::certificates).transpose()?,
        })
    }
}

impl TlsConfig {
    fn certificates(self) -> Result<redis::TlsCertificates, ConfigError> {
        let client_tls = match (self.cert, self.key) {
            (Some(cert), Some(key)) => {
                Some(redis::ClientTlsConfig { client_cert: read(&cert)?, client_key: read(&key)? })
            }
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(ConfigError::HalfCertificate),
        };
        Ok(redis::TlsCertificates { client_tls, root_cert: self.ca.as_deref().map(read).transpose()? })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    fs::read(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })
}

fn default_buckets() -> u16 {
    DEFAULT_BUCKETS
}
