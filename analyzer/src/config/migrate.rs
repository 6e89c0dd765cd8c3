//! The `[migrate]` table: how partitions are moved.
//!
//! ```toml
//! [migrate]
//! never_touch = ["seaweedfs/7", "orders-pg/*"]   # partitions that are never moved
//! freeze_file = "/etc/isotherm/freeze"           # while it is there, nothing new is begun
//! switch = "at_once"                             # or "told": somebody opens the gate before each switch
//! fence_budget = "10s"                           # the longest that writes may be stopped at a switch
//! copy_fence_budget = "30m"                      # and for a copy, where it needs that; default: while it goes on
//! max_lag_bytes = 16777216                       # the most that a copy may lag behind when the switch begins
//! no_progress = "10m"                            # a step that stands still for so long is given up
//! probation = "1h"                               # how long the source is kept after the switch
//! [migrate.limits]
//! migrations = 4                                 # at a time
//! per_node = 1                                   # of these, as source or target
//! bytes_per_s = 200000000                        # of all together; default: no bound
//! node_bytes_per_s = 50000000                    # from and to a node; default: no bound
//! per_day = 50                                   # that isotherm begins by itself
//! ```

use super::{Problem, duration};
use crate::migrate::{Config, NeverTouch};
use isotherm_migration::SwitchWhen;
use isotherm_model::{PartitionId, SystemId};
use isotherm_runner::Limits;
use serde::Deserialize;
use std::path::PathBuf;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMigrate {
    #[serde(default)]
    never_touch: Vec<Spanned<String>>,
    freeze_file: Option<Spanned<PathBuf>>,
    switch: Option<RawSwitch>,
    fence_budget: Option<Spanned<String>>,
    copy_fence_budget: Option<Spanned<String>>,
    max_lag_bytes: Option<u64>,
    no_progress: Option<Spanned<String>>,
    probation: Option<Spanned<String>>,
    limits: Option<Spanned<Limits>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawSwitch {
    AtOnce,
    Told,
}

pub(super) fn checked(raw: RawMigrate) -> Result<Config, Problem> {
    let mut config = Config::default();
    for name in raw.never_touch {
        config.never_touch.push(never_touch(&name)?);
    }
    if let Some(file) = raw.freeze_file {
        if !file.get_ref().is_absolute() {
            let message = format!("{} is not an absolute path", file.get_ref().display());
            return Err(Problem::new(file.span(), "migrate.freeze_file", message));
        }
        config.freeze_file = Some(file.into_inner());
    }
    let ms = |key, raw: Option<Spanned<String>>| {
        let duration = raw.map(|raw| duration(key, &raw)).transpose()?;
        Ok::<_, Problem>(duration.map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    };
    let policy = &mut config.policy;
    policy.switch = match raw.switch {
        Some(RawSwitch::AtOnce) => SwitchWhen::AtOnce,
        Some(RawSwitch::Told) => SwitchWhen::Told,
        None => policy.switch,
    };
    policy.fence_budget_ms = ms("migrate.fence_budget", raw.fence_budget)?.unwrap_or(policy.fence_budget_ms);
    policy.copy_fence_budget_ms = ms("migrate.copy_fence_budget", raw.copy_fence_budget)?;
    policy.max_lag_bytes = raw.max_lag_bytes.unwrap_or(policy.max_lag_bytes);
    policy.no_progress_ms = ms("migrate.no_progress", raw.no_progress)?.unwrap_or(policy.no_progress_ms);
    policy.probation_ms = ms("migrate.probation", raw.probation)?.unwrap_or(policy.probation_ms);
    if let Some(raw) = raw.limits {
        let span = raw.span();
        config.limits = raw.into_inner();
        config.limits.check().map_err(|error| Problem::new(span, "migrate.limits", error.to_string()))?;
    }
    Ok(config)
}

/// `SYSTEM/PARTITION`, or `SYSTEM/*` for all of a system.
fn never_touch(raw: &Spanned<String>) -> Result<NeverTouch, Problem> {
    let problem = |message: String| Problem::new(raw.span(), "migrate.never_touch", message);
    let (system, name) = raw
        .get_ref()
        .split_once('/')
        .ok_or_else(|| problem(format!("{:?} is not SYSTEM/PARTITION, nor SYSTEM/*", raw.get_ref())))?;
    let system = SystemId::new(system).map_err(|error| problem(error.to_string()))?;
    if name == "*" {
        return Ok(NeverTouch::System(system));
    }
    let partition = PartitionId::new(system, name).map_err(|error| problem(error.to_string()))?;
    Ok(NeverTouch::Partition(partition))
}
