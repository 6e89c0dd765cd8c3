//! Where the analyzer listens, and to whom.
//!
//! ```toml
//! listen = "127.0.0.1:7600"
//! # or, for agents on other hosts:
//! [listen]
//! address = "0.0.0.0:7600"
//! [listen.tls]
//! cert = "/etc/isotherm/analyzer.pem"
//! key = "/etc/isotherm/analyzer.key"
//! client_ca = "/etc/isotherm/ca.pem"
//! ```

use super::{LISTEN, Problem};
use isotherm_proto::tls::{IdentityFiles, ServerFiles};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use toml::Spanned;

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

/// Address and certificates.
pub(super) fn checked(raw: Spanned<RawListen>) -> Result<(SocketAddr, Option<ServerFiles>), Problem> {
    let span = raw.span();
    let address = |text: &str, span| {
        text.parse().map_err(|_| {
            let message = format!("{text:?} is not an address and port, such as \"127.0.0.1:7600\"");
            Problem::new(span, "listen", message)
        })
    };
    match raw.into_inner() {
        RawListen::Address(text) => Ok((address(&text, span)?, None)),
        RawListen::Table(RawTable { address: text, tls }) => {
            let address = text.map_or(Ok(LISTEN), |text| address(text.get_ref(), text.span()))?;
            let tls = tls.map(|RawTls { cert, key, client_ca }| ServerFiles {
                identity: IdentityFiles { cert, key },
                client_ca,
            });
            Ok((address, tls))
        }
    }
}
