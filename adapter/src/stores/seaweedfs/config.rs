//! What has to be told to the adapter.

use super::SeaweedFs;
use super::address::Address;
use crate::config::Problem;
use crate::store::Store;
use crate::stores::Configured;
use isotherm_model::SystemId;
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;

/// Objects that are compared byte by byte, unless told otherwise.
const SAMPLE: u32 = 1_000;

/// Migrations at a time, unless told otherwise: each reads one server's disk and writes another's.
const MAX_CONCURRENT: u32 = 4;

/// The configuration of the adapter of SeaweedFS.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The masters, such as `10.0.0.9:9333`, or `10.0.0.9:9333.19000` where the gRPC port is not the other plus 10,000.
    /// Asked in order until one answers.
    pub master: Vec<Address>,
    /// Objects of a volume that are compared byte by byte; all of a volume that has no more.
    #[serde(default = "sample")]
    pub sample: u32,
    /// Migrations that may run at a time.
    #[serde(default = "max_concurrent")]
    pub max_concurrent: u32,
}

fn sample() -> u32 {
    SAMPLE
}

fn max_concurrent() -> u32 {
    MAX_CONCURRENT
}

impl Configured for Config {
    type Raw = Self;

    fn checked(raw: Self) -> Result<Self, Problem> {
        Ok(raw)
    }

    async fn open(self, system: SystemId, _: &Path) -> anyhow::Result<Arc<dyn Store>> {
        Ok(Arc::new(SeaweedFs::new(system, self)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_told_has_a_default_and_what_is_unknown_is_refused() {
        let config: Config = toml::from_str("master = [\"10.0.0.9:9333\"]").unwrap();
        assert_eq!((config.sample, config.max_concurrent), (SAMPLE, MAX_CONCURRENT));
        let error = toml::from_str::<Config>("master = []\nmasters = 1").unwrap_err();
        assert!(error.to_string().contains("unknown field `masters`"), "{error}");
        let error = toml::from_str::<Config>("master = [\"seaweed\"]").unwrap_err();
        assert!(error.to_string().contains("\"seaweed\" is no address"), "{error}");
    }
}
