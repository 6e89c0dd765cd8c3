//! The table `[cycle]`.

use super::Problem;
use crate::cycle::Config;
use isotherm_cycle::Settings;
use isotherm_model::{Layer, SystemId};
use isotherm_risk::HazardPolicy;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCycle {
    settle: Option<Spanned<String>>,
    policy: Option<Spanned<Settings>>,
    hazard: Option<Spanned<HazardPolicy>>,
    #[serde(default)]
    layers: BTreeMap<Spanned<String>, Spanned<RawLayer>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawLayer {
    Logical,
    Device,
    Network,
}

/// The longest that windows are waited for.
const LONGEST_SETTLE: Duration = Duration::from_secs(600);

/// Checks durations, names and numbers.
pub(super) fn checked(raw: RawCycle) -> Result<Config, Problem> {
    let mut config = Config::default();
    if let Some(raw) = raw.settle {
        let problem = |message: String| Problem::new(raw.span(), "cycle.settle", message);
        let settle = humantime::parse_duration(raw.get_ref()).map_err(|error| {
            problem(format!("{:?} is not a duration such as \"20s\": {error}", raw.get_ref()))
        })?;
        if settle > LONGEST_SETTLE {
            return Err(problem(format!("{:?} is more than ten minutes", raw.get_ref())));
        }
        config.settle = settle;
    }
    if let Some(raw) = raw.policy {
        let span = raw.span();
        config.settings = raw.into_inner();
        config.settings.check().map_err(|error| Problem::new(span, "cycle.policy", error.to_string()))?;
    }
    if let Some(raw) = raw.hazard {
        let span = raw.span();
        config.hazard = raw.into_inner();
        config.hazard.check().map_err(|error| Problem::new(span, "cycle.hazard", error.to_string()))?;
    }
    for (name, layer) in raw.layers {
        let system = SystemId::new(name.get_ref())
            .map_err(|error| Problem::new(name.span(), "cycle.layers", error.to_string()))?;
        let layer = match layer.into_inner() {
            RawLayer::Logical => Layer::Logical,
            RawLayer::Device => Layer::Device,
            RawLayer::Network => Layer::Network,
        };
        config.layers.insert(system, layer);
    }
    Ok(config)
}
