//! Where windows go, and where they wait: `[analyzer]` and `[spool]`.

use super::{ConfigError, Source};
use crate::spool::Bounds;
use bytesize::ByteSize;
use isotherm_proto::tls::{ClientFiles, IdentityFiles};
use serde::Deserialize;
use std::env;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// Least and most bytes of the spool.
const SPOOL_RANGE: [ByteSize; 2] = [ByteSize::mib(1), ByteSize::tib(1)];

/// A day of 10 s windows of 30 KB, which some hundred busy partitions take when compressed.
const SPOOL_BYTES: ByteSize = ByteSize::mib(256);

/// Eleven days of 10 s windows, for which the index in memory takes about 7 MB.
const SPOOL_BATCHES: usize = 100_000;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAnalyzer {
    endpoint: Option<Spanned<String>>,
    ca: Option<Spanned<PathBuf>>,
    cert: Option<Spanned<PathBuf>>,
    key: Option<Spanned<PathBuf>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSpool {
    dir: Option<Spanned<PathBuf>>,
    max_bytes: Option<Spanned<String>>,
}

impl Source<'_> {
    /// The endpoint, and the files that an encrypted one takes.
    pub(super) fn analyzer(&self, raw: RawAnalyzer) -> Result<(String, Option<ClientFiles>), ConfigError> {
        let RawAnalyzer { endpoint, ca, cert, key } = raw;
        let endpoint = match endpoint {
            Some(endpoint) => self.endpoint(&endpoint)?,
            None => "http://127.0.0.1:7600".to_owned(),
        };
        if !endpoint.starts_with("https://") {
            return match [("ca", ca), ("cert", cert), ("key", key)]
                .into_iter()
                .find(|(_, file)| file.is_some())
            {
                Some((name, file)) => {
                    let at = file.map_or(0, |file| file.span().start);
                    let what = format!("{endpoint} is not encrypted; certificates need https://");
                    Err(self.error(at, format!("analyzer.{name}"), what))
                }
                None => Ok((endpoint, None)),
            };
        }
        let identity = match (cert, key) {
            (Some(cert), Some(key)) => Some(IdentityFiles { cert: cert.into_inner(), key: key.into_inner() }),
            (None, None) => None,
            (Some(cert), None) => {
                return Err(self.error(cert.span().start, "analyzer.cert", "needs its key, too"));
            }
            (None, Some(key)) => {
                return Err(self.error(key.span().start, "analyzer.key", "needs its cert, too"));
            }
        };
        Ok((endpoint, Some(ClientFiles { ca: ca.map(Spanned::into_inner), identity })))
    }

    fn endpoint(&self, endpoint: &Spanned<String>) -> Result<String, ConfigError> {
        let uri = endpoint.get_ref().parse::<tonic::codegen::http::Uri>();
        let good = uri.is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
        });
        if good {
            return Ok(endpoint.get_ref().clone());
        }
        let what = format!(
            "{:?} is no address such as \"http://127.0.0.1:7600\" or \"https://analyzer.example:7600\"",
            endpoint.get_ref()
        );
        Err(self.error(endpoint.span().start, "analyzer.endpoint", what))
    }

    pub(super) fn spool(
        &self,
        raw: RawSpool,
        max_batches: Option<Spanned<usize>>,
    ) -> Result<Bounds, ConfigError> {
        let dir = match raw.dir {
            Some(dir) if !dir.get_ref().is_absolute() => {
                let what = format!("{} is no absolute path", dir.get_ref().display());
                return Err(self.error(dir.span().start, "spool.dir", what));
            }
            Some(dir) => dir.into_inner(),
            None => default_dir().ok_or_else(|| {
                self.error(0, "spool.dir", "not given, and there is no HOME to keep undelivered windows in")
            })?,
        };
        let max_bytes = raw.max_bytes.map_or(Ok(SPOOL_BYTES), |size| self.size(&size))?;
        let max_batches = self.limit("limits.unacked_batches", max_batches, 2, 1_000_000, SPOOL_BATCHES)?;
        Ok(Bounds { dir, max_bytes: max_bytes.as_u64(), max_batches })
    }

    fn size(&self, raw: &Spanned<String>) -> Result<ByteSize, ConfigError> {
        let error = |what: String| self.error(raw.span().start, "spool.max_bytes", what);
        let size: ByteSize = raw
            .get_ref()
            .parse()
            .map_err(|cause| error(format!("{:?} is no size such as \"256MiB\": {cause}", raw.get_ref())))?;
        let [least, most] = SPOOL_RANGE;
        if size < least || size > most {
            return Err(error(format!("must be from {least} to {most}")));
        }
        Ok(size)
    }
}

/// Where a service keeps what must outlive it.
fn default_dir() -> Option<PathBuf> {
    // SAFETY: geteuid only reads, and cannot fail.
    if unsafe { libc::geteuid() } == 0 {
        return Some(PathBuf::from("/var/lib/isotherm-agent/spool"));
    }
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".local/state")))
        .map(|state| state.join(Path::new("isotherm-agent/spool")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const TARGET: &str = "[[target]]\nsystem = \"s\"\nnode = \"n\"\nselect = { pid = 1 }\n";

    fn parsed(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("agent.toml"), &format!("{text}\n{TARGET}"))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_a_folder_of_the_host_and_no_encryption() {
        let config = parsed("").unwrap();
        assert_eq!((config.spool.max_bytes, config.spool.max_batches), (256 << 20, 100_000));
        assert!(config.spool.dir.ends_with("isotherm-agent/spool"));
        assert_eq!(config.tls, None);
        let config = parsed("[analyzer]\nendpoint = \"https://a:1\"").unwrap();
        assert_eq!(config.tls, Some(ClientFiles::default()), "the system's authorities");
    }

    #[test]
    fn what_is_given_is_taken() {
        let config = parsed(
            "[analyzer]\nendpoint = \"https://a:1\"\nca = \"/ca\"\ncert = \"/c\"\nkey = \"/k\"\n\
             [spool]\ndir = \"/s\"\nmax_bytes = \"64 MiB\"",
        )
        .unwrap();
        let identity = Some(IdentityFiles { cert: "/c".into(), key: "/k".into() });
        assert_eq!(config.tls, Some(ClientFiles { ca: Some("/ca".into()), identity }));
        assert_eq!((config.spool.dir, config.spool.max_bytes), (PathBuf::from("/s"), 64 << 20));
    }

    #[test]
    fn mistakes_are_named_by_line_and_key() {
        for (text, want) in [
            (
                "[analyzer]\nca = \"/ca\"",
                "agent.toml:2: analyzer.ca: http://127.0.0.1:7600 is not encrypted; certificates need https://",
            ),
            (
                "[analyzer]\nendpoint = \"https://a:1\"\ncert = \"/c\"",
                "agent.toml:3: analyzer.cert: needs its key, too",
            ),
            (
                "[analyzer]\nendpoint = \"https://a:1\"\nkey = \"/k\"",
                "agent.toml:3: analyzer.key: needs its cert, too",
            ),
            ("[spool]\ndir = \"here\"", "agent.toml:2: spool.dir: here is no absolute path"),
            (
                "[spool]\nmax_bytes = \"1KiB\"",
                "agent.toml:2: spool.max_bytes: must be from 1.0 MiB to 1.0 TiB",
            ),
            (
                "[limits]\nunacked_batches = 1",
                "agent.toml:2: limits.unacked_batches: must be from 2 to 1000000",
            ),
        ] {
            assert_eq!(parsed(text).unwrap_err(), want);
        }
        let error = parsed("[spool]\nmax_bytes = \"much\"").unwrap_err();
        assert!(error.starts_with("agent.toml:2: spool.max_bytes: \"much\" is no size such as"), "{error}");
    }
}
