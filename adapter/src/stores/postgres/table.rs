//! The table `[store]` of a router and its nodes.
//!
//! ```toml
//! [store]
//! dbname = "shop"                       # on the router and on every node
//! user = "isotherm"                     # a superuser, as CREATE SUBSCRIPTION asks for one
//! password_file = "/etc/isotherm/pg"    # whose last line break does not count; default: no password
//! tables = ["public.orders"]            # partitioned tables of the router, each as "schema.table"
//! lock_wait = "3s"                      # the longest that clients queue behind a lock that is waited for
//! pause = "10s"                         # the longest that the router is locked for a switch
//!
//! [store.router]
//! host = "10.0.0.1"
//! port = 5432                           # default
//!
//! [[store.node]]
//! name = "10.0.0.2:5432"                # where agents see it
//! host = "pg-a"                         # as the foreign server of the router has it; default: of the name
//! port = 5432                           # default: of the name
//! domains = ["dc1", "rack1"]            # failure domains, outermost first; default: none
//! ```

use super::Postgres;
use super::link::{Endpoint, Login};
use super::names::Table;
use crate::config::{Problem, duration};
use crate::store::Store;
use crate::stores::Configured;
use anyhow::Context as _;
use isotherm_model::{NodeId, SystemId};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use toml::Spanned;

/// PostgreSQL's own.
const PORT: u16 = 5432;

/// Servers to be managed.
#[derive(Debug, Clone)]
pub struct Servers {
    pub(super) database: String,
    pub(super) user: String,
    password_file: Option<PathBuf>,
    pub(super) tables: Vec<Table>,
    pub(super) router: Endpoint,
    pub(super) nodes: Vec<Listed>,
    pub(super) lock_wait: Duration,
    pub(super) pause: Duration,
}

/// A node as it was configured.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) address: SocketAddr,
    pub(super) at: Endpoint,
    pub(super) domains: Vec<String>,
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    dbname: String,
    user: String,
    password_file: Option<PathBuf>,
    tables: Spanned<Vec<Spanned<String>>>,
    router: RawRouter,
    node: Spanned<Vec<RawNode>>,
    lock_wait: Option<Spanned<String>>,
    pause: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRouter {
    host: String,
    port: Option<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNode {
    name: Spanned<String>,
    host: Option<String>,
    port: Option<u16>,
    #[serde(default)]
    domains: Vec<String>,
}

impl Configured for Servers {
    type Raw = Raw;

    fn checked(raw: Raw) -> Result<Self, Problem> {
        if raw.tables.get_ref().is_empty() {
            let message = "is empty: name a partitioned table of the router, such as \"public.orders\"";
            return Err(Problem::new(raw.tables.span(), "store.tables", message));
        }
        let (span, listed) = (raw.node.span(), raw.node.into_inner());
        if listed.len() < 2 {
            return Err(Problem::new(span, "store.node", "at least two nodes are needed to move anything"));
        }
        let mut names = BTreeSet::new();
        let nodes: Vec<Listed> =
            listed.into_iter().map(|raw| node(raw, &mut names)).collect::<Result<_, _>>()?;
        let time = |key, raw: Option<Spanned<String>>, default| {
            raw.map_or(Ok(default), |raw| match duration(key, &raw)? {
                time if time < Duration::from_millis(1) || time > Duration::from_secs(3_600) => {
                    Err(Problem::new(raw.span(), key, "is not within 1ms and 1h"))
                }
                time => Ok(time),
            })
        };
        Ok(Self {
            database: raw.dbname,
            user: raw.user,
            password_file: raw.password_file,
            tables: raw.tables.into_inner().iter().map(table).collect::<Result<_, _>>()?,
            router: Endpoint { host: raw.router.host, port: raw.router.port.unwrap_or(PORT) },
            nodes,
            lock_wait: time("store.lock_wait", raw.lock_wait, Duration::from_secs(3))?,
            pause: time("store.pause", raw.pause, Duration::from_secs(10))?,
        })
    }

    async fn open(self, system: SystemId, _: &Path) -> anyhow::Result<Arc<dyn Store>> {
        let password = self.password_file.as_deref().map(secret).transpose()?;
        let login = Login { database: self.database.clone(), user: self.user.clone(), password };
        let nodes = self.nodes.iter().map(|listed| NodeId::new(system.clone(), listed.address.to_string()));
        let nodes: Vec<NodeId> = nodes.collect::<Result<_, _>>()?;
        Ok(Arc::new(Postgres::new(system, self, login, nodes)))
    }
}

fn secret(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn table(raw: &Spanned<String>) -> Result<Table, Problem> {
    match raw.get_ref().split_once('.') {
        Some((schema, name)) if !schema.is_empty() && !name.is_empty() => Ok(Table::new(schema, name)),
        _ => {
            let message =
                format!("{:?} is not a schema and a table, such as \"public.orders\"", raw.get_ref());
            Err(Problem::new(raw.span(), "store.tables", message))
        }
    }
}

fn node(raw: RawNode, names: &mut BTreeSet<SocketAddr>) -> Result<Listed, Problem> {
    let wrong = |message: String| Problem::new(raw.name.span(), "store.node.name", message);
    let address: SocketAddr = raw.name.get_ref().parse().map_err(|_| {
        wrong(format!("{:?} is not an address with a port, such as \"10.0.0.2:5432\"", raw.name.get_ref()))
    })?;
    if !names.insert(address) {
        return Err(wrong(format!("{address} is listed twice")));
    }
    let host = raw.host.unwrap_or_else(|| address.ip().to_string());
    let at = Endpoint { host, port: raw.port.unwrap_or(address.port()) };
    Ok(Listed { address, at, domains: raw.domains })
}
