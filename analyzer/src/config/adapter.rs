//! The `[[adapter]]` tables: who knows the topology of a system.
//!
//! ```toml
//! [[adapter]]
//! system = "orders-pg"
//! endpoint = "https://10.77.0.9:7700"
//! ca = "/etc/isotherm/ca.pem"              # default: the system's authorities
//! cert = "/etc/isotherm/analyzer.pem"      # what to show to it; default: nothing
//! key = "/etc/isotherm/analyzer.key"
//! heartbeat = "5s"                         # the longest it may say nothing
//! stale_after = "1m"                       # without a word, what it said is stale
//! load_capacity = 5000                     # accesses per second of each node, where it does not say; default: unknown
//! [[adapter.node]]                         # where one node is another
//! name = "10.77.0.1:8080"
//! load_capacity = 2000
//! class = "hdd-2019"                       # hardware that fails alike; default: unknown
//! ```

use super::topology::{name, rate};
use super::{Problem, duration, invalid, twice};
use crate::topology::{Adapter, Assumed, AssumedNode, Topology};
use isotherm_model::{HOST_SYSTEM, NodeId, SystemId};
use isotherm_proto::tls::{ClientFiles, IdentityFiles};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;
use tonic::transport::Endpoint;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAdapter {
    system: Spanned<String>,
    endpoint: Spanned<String>,
    ca: Option<Spanned<PathBuf>>,
    cert: Option<Spanned<PathBuf>>,
    key: Option<Spanned<PathBuf>>,
    heartbeat: Option<Spanned<String>>,
    stale_after: Option<Spanned<String>>,
    load_capacity: Option<Spanned<u64>>,
    #[serde(default)]
    node: Vec<RawNode>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNode {
    name: Spanned<String>,
    load_capacity: Option<Spanned<u64>>,
    class: Option<Spanned<String>>,
}

/// Often enough to notice an adapter that hangs within a few windows of agents.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// A few attempts to connect again; a cluster changes little in that time.
const STALE_AFTER: Duration = Duration::from_secs(60);

const SYSTEM: &str = "adapter.system";
const ENDPOINT: &str = "adapter.endpoint";

/// Checks addresses and certificates, and that each system has one source.
pub(super) fn checked(raw: Vec<RawAdapter>, configured: &Topology) -> Result<Vec<Adapter>, Problem> {
    let mut adapters: Vec<Adapter> = Vec::new();
    for raw in raw {
        let system = SystemId::new(raw.system.get_ref()).map_err(invalid(SYSTEM, &raw.system))?;
        if system.as_str() == HOST_SYSTEM {
            let message = format!("{HOST_SYSTEM:?} stands for the hosts of agents, and has no adapter");
            return Err(Problem::new(raw.system.span(), SYSTEM, message));
        }
        if adapters.iter().any(|adapter| adapter.system == system) {
            return Err(twice(SYSTEM, &raw.system));
        }
        if configured.sources.contains_key(&system) {
            let message = format!("{system:?} has a [[topology]] already", system = system.as_str());
            return Err(Problem::new(raw.system.span(), SYSTEM, message));
        }
        let heartbeat = raw.heartbeat.map(|raw| duration("adapter.heartbeat", &raw)).transpose()?;
        let heartbeat = heartbeat.unwrap_or(HEARTBEAT);
        let (key, span) = ("adapter.stale_after", raw.stale_after.as_ref().map(Spanned::span));
        let stale_after = raw.stale_after.map(|raw| duration(key, &raw)).transpose()?.unwrap_or(STALE_AFTER);
        if stale_after < heartbeat {
            let span = span.unwrap_or_else(|| raw.system.span());
            return Err(Problem::new(span, key, "is shorter than a heartbeat"));
        }
        let assumed = assumed(&system, raw.load_capacity.as_ref(), raw.node)?;
        adapters.push(Adapter {
            system,
            assumed,
            tls: tls(&raw.endpoint, raw.ca, raw.cert, raw.key)?,
            endpoint: raw.endpoint.into_inner(),
            heartbeat,
            stale_after,
        });
    }
    Ok(adapters)
}

fn assumed(system: &SystemId, load: Option<&Spanned<u64>>, nodes: Vec<RawNode>) -> Result<Assumed, Problem> {
    const NODE: &str = "adapter.node.name";
    let load = load.map(|raw| rate("adapter.load_capacity", raw)).transpose()?;
    let mut assumed = Assumed { load_capacity_ops_per_s: load, ..Assumed::default() };
    for RawNode { name: node, load_capacity, class } in nodes {
        let id = NodeId::new(system.clone(), node.get_ref()).map_err(invalid(NODE, &node))?;
        let load = load_capacity.map(|raw| rate("adapter.node.load_capacity", &raw)).transpose()?;
        let class = class.map(|class| name("adapter.node.class", &class)).transpose()?;
        let own = AssumedNode { load_capacity_ops_per_s: load, class };
        if assumed.nodes.insert(id, own).is_some() {
            return Err(twice(NODE, &node));
        }
    }
    Ok(assumed)
}

fn tls(
    endpoint: &Spanned<String>,
    ca: Option<Spanned<PathBuf>>,
    cert: Option<Spanned<PathBuf>>,
    key: Option<Spanned<PathBuf>>,
) -> Result<Option<ClientFiles>, Problem> {
    let text = endpoint.get_ref();
    let parsed = Endpoint::from_shared(text.clone()).ok();
    let scheme = parsed.as_ref().and_then(|endpoint| endpoint.uri().scheme_str());
    let encrypted = match scheme {
        Some("https") => true,
        Some("http") => false,
        Some(_) | None => {
            let message = format!("{text:?} is no address such as \"https://10.0.0.1:7700\"");
            return Err(Problem::new(endpoint.span(), ENDPOINT, message));
        }
    };
    if !encrypted && let Some(file) = ca.as_ref().or(cert.as_ref()).or(key.as_ref()) {
        let message = format!("{text:?} is not encrypted; certificates need https://");
        return Err(Problem::new(file.span(), ENDPOINT, message));
    }
    let identity = match (cert, key) {
        (Some(cert), Some(key)) => Some(IdentityFiles { cert: cert.into_inner(), key: key.into_inner() }),
        (Some(cert), None) => {
            return Err(Problem::new(cert.span(), "adapter.key", "is missing beside cert"));
        }
        (None, Some(key)) => return Err(Problem::new(key.span(), "adapter.cert", "is missing beside key")),
        (None, None) => None,
    };
    Ok(encrypted.then_some(ClientFiles { ca: ca.map(Spanned::into_inner), identity }))
}
