//! Where the agent tells about itself.

use super::{ConfigError, Source};
use serde::Deserialize;
use std::net::SocketAddr;
use toml::Spanned;

/// Where Prometheus finds the agent's numbers, unless the configuration says otherwise: on loopback, as they
/// name the nodes of the host.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7601);

/// The agent's own metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metrics {
    /// Where they are served; default `127.0.0.1:7601`.
    pub listen: Listen,
    /// Whether the kernel counts runs and time of eBPF programs while the agent runs; default no, as it costs
    /// each run some 20 ns and needs CAP_SYS_ADMIN at the start.
    pub probe_stats: bool,
}

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    Off,
    /// At the address that nobody asked for: that it is taken ends nothing.
    Default(SocketAddr),
    /// At this address, of loopback or not.
    At(SocketAddr),
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMetrics {
    listen: Option<Spanned<String>>,
    probe_stats: Option<bool>,
}

impl Source<'_> {
    pub(super) fn metrics(&self, raw: RawMetrics) -> Result<Metrics, ConfigError> {
        let listen = match &raw.listen {
            None => Listen::Default(DEFAULT_LISTEN),
            Some(listen) if listen.get_ref() == "off" => Listen::Off,
            Some(listen) => Listen::At(listen.get_ref().parse().map_err(|_| {
                let what = format!(
                    "{:?} is neither \"off\" nor an address:port such as \"{DEFAULT_LISTEN}\"",
                    listen.get_ref()
                );
                self.error(listen.span().start, "metrics.listen", what)
            })?),
        };
        Ok(Metrics { listen, probe_stats: raw.probe_stats.unwrap_or(false) })
    }
}
