//! Where the adapter listens, and to whom.

use super::Problem;
use isotherm_proto::tls::{IdentityFiles, ServerFiles};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::ops::Range;
use std::path::PathBuf;
use toml::Spanned;

/// This host only, as nothing authenticates callers without certificates.
pub(super) const LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7700));

/// An address, or a table.
pub(super) enum RawListen {
    Address(String),
    Table(RawTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTable {
    address: Option<Spanned<String>>,
    tls: Option<RawTls>,
    #[serde(default)]
    allow_plaintext: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTls {
    cert: PathBuf,
    key: PathBuf,
    client_ca: PathBuf,
}

impl<'de> Deserialize<'de> for RawListen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = RawListen;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address, or a table of address and tls")
            }

            fn visit_str<E: Error>(self, address: &str) -> Result<RawListen, E> {
                Ok(RawListen::Address(address.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawListen, A::Error> {
                RawTable::deserialize(MapAccessDeserializer::new(map)).map(RawListen::Table)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Address and certificates. Without certificates only this host's own addresses will do: whoever reaches an adapter
/// can move data.
pub(super) fn checked(raw: Spanned<RawListen>) -> Result<(SocketAddr, Option<ServerFiles>), Problem> {
    let span = raw.span();
    let (address, span, tls, allowed) = match raw.into_inner() {
        RawListen::Address(text) => (parsed(&text, span.clone())?, span, None, false),
        RawListen::Table(RawTable { address, tls, allow_plaintext }) => {
            let at = address.as_ref().map_or(span, Spanned::span);
            let address = address.map_or(Ok(LISTEN), |text| parsed(text.get_ref(), text.span()))?;
            let tls = tls.map(|RawTls { cert, key, client_ca }| ServerFiles {
                identity: IdentityFiles { cert, key },
                client_ca,
            });
            (address, at, tls, allow_plaintext)
        }
    };
    if tls.is_none() && !address.ip().is_loopback() && !allowed {
        let message = format!(
            "{address} can be reached from other hosts, and without certificates connections are neither encrypted \
             nor authenticated; give it some in [listen.tls], listen on 127.0.0.1, or accept that with \
             allow_plaintext = true in [listen]"
        );
        return Err(Problem::new(span, "listen", message));
    }
    Ok((address, tls))
}

fn parsed(text: &str, span: Range<usize>) -> Result<SocketAddr, Problem> {
    text.parse().map_err(|_| {
        let message = format!("{text:?} is not an address and port, such as \"127.0.0.1:7700\"");
        Problem::new(span, "listen", message)
    })
}
