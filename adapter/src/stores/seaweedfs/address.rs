//! How SeaweedFS names its servers.

use serde::Deserialize;
use std::fmt;

/// What a port of HTTP is below that of gRPC, unless a server is told otherwise.
const GRPC_OFFSET: u16 = 10_000;

/// A server: `host:port`, or `host:port.grpc_port` where the latter is not the former plus 10,000.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Address {
    http: String,
    grpc_port: u16,
    usual: bool,
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no address of a server: wanted host:port, or host:port.grpc_port")]
pub struct InvalidAddress {
    text: String,
}

impl Address {
    /// An address whose gRPC port a master told; 0 for the usual one.
    pub(super) fn with_grpc_port(http: &str, grpc_port: u32) -> Result<Self, InvalidAddress> {
        let bare = Self::try_from(http.to_owned())?;
        let Some(port) = u16::try_from(grpc_port).ok().filter(|port| *port > 0) else { return Ok(bare) };
        Ok(Self { usual: bare.usual && bare.grpc_port == port, grpc_port: port, ..bare })
    }

    /// `host:port` of HTTP, by which the server is known.
    pub(super) fn http(&self) -> &str {
        &self.http
    }

    /// Where gRPC is served.
    pub(super) fn grpc(&self) -> String {
        let host = self.http.rsplit_once(':').map_or("", |(host, _)| host);
        format!("http://{host}:{}", self.grpc_port)
    }
}

impl TryFrom<String> for Address {
    type Error = InvalidAddress;

    fn try_from(text: String) -> Result<Self, InvalidAddress> {
        let parsed = (|| {
            let (host, ports) = text.rsplit_once(':')?;
            let (port, grpc) = ports.split_once('.').map_or((ports, None), |(port, grpc)| (port, Some(grpc)));
            let usual = port.parse::<u16>().ok()?.checked_add(GRPC_OFFSET)?;
            let grpc_port = grpc.map_or(Some(usual), |port| port.parse().ok())?;
            let http = format!("{host}:{port}");
            (!host.is_empty()).then_some(Self { http, grpc_port, usual: usual == grpc_port })
        })();
        parsed.ok_or(InvalidAddress { text })
    }
}

/// As servers name each other.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.usual { f.write_str(&self.http) } else { write!(f, "{}.{}", self.http, self.grpc_port) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grpc_port_is_the_other_plus_10000_unless_told() {
        let address = |text: &str| Address::try_from(text.to_owned());
        let usual = address("10.0.0.1:8080").unwrap();
        assert_eq!(
            (usual.grpc().as_str(), usual.to_string().as_str()),
            ("http://10.0.0.1:18080", "10.0.0.1:8080")
        );
        let told = address("[fd00::1]:8080.9000").unwrap();
        assert_eq!((told.grpc().as_str(), told.http()), ("http://[fd00::1]:9000", "[fd00::1]:8080"));
        assert_eq!(told.to_string(), "[fd00::1]:8080.9000");
        assert_eq!(Address::with_grpc_port("a:80", 9).unwrap().to_string(), "a:80.9");
        assert_eq!(Address::with_grpc_port("a:80", 10_080).unwrap(), address("a:80").unwrap());
        for text in ["", "a", ":80", "a:", "a:80.", "a:60000", "a:x.1"] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
