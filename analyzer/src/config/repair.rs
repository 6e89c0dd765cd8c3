//! The `[migrate.repair]` table: when lost replicas are made again.
//!
//! ```toml
//! [migrate.repair]
//! mode = "observe"         # or "recommend", "approve", "auto": what becomes of a failure
//! wait = "10m"             # how long a node must be down
//! most_nodes = 1           # that fail within breaker_window; more open the breaker
//! most_share = 0.2         # of a system's nodes, likewise; one node alone is never too many
//! breaker_window = "1h"
//! most_failed = 3          # repairs that fail in a row open the breaker
//! per_hour = 60            # repairs that are begun within an hour, at most
//! retry = "10m"            # before a repair that has failed is tried again
//! ```

use super::{Problem, duration};
use crate::migrate::repair::Settings;
use isotherm_risk::Mode;
use serde::Deserialize;
use std::time::Duration;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRepair {
    mode: Option<Mode>,
    wait: Option<Spanned<String>>,
    most_nodes: Option<Spanned<u32>>,
    most_share: Option<Spanned<f64>>,
    breaker_window: Option<Spanned<String>>,
    most_failed: Option<Spanned<u32>>,
    per_hour: Option<Spanned<u32>>,
    retry: Option<Spanned<String>>,
}

pub(super) fn checked(raw: RawRepair) -> Result<Settings, Problem> {
    let default = Settings::default();
    let time = |key, raw: Option<Spanned<String>>, default: Duration| {
        raw.map_or(Ok(default), |raw| duration(key, &raw))
    };
    let share = match raw.most_share {
        Some(raw) if !(*raw.get_ref() > 0.0 && *raw.get_ref() <= 1.0) => {
            let message = format!("{} is not above 0 and at most 1", raw.get_ref());
            return Err(Problem::new(raw.span(), "migrate.repair.most_share", message));
        }
        raw => raw.map_or(default.most_share, Spanned::into_inner),
    };
    Ok(Settings {
        mode: raw.mode.unwrap_or(default.mode),
        wait: time("migrate.repair.wait", raw.wait, default.wait)?,
        most_nodes: positive("migrate.repair.most_nodes", raw.most_nodes, default.most_nodes)?,
        most_share: share,
        breaker_window: time("migrate.repair.breaker_window", raw.breaker_window, default.breaker_window)?,
        most_failed: positive("migrate.repair.most_failed", raw.most_failed, default.most_failed)?,
        per_hour: positive("migrate.repair.per_hour", raw.per_hour, default.per_hour)?,
        retry: time("migrate.repair.retry", raw.retry, default.retry)?,
    })
}

fn positive(key: &'static str, raw: Option<Spanned<u32>>, default: u32) -> Result<u32, Problem> {
    match raw {
        Some(raw) if *raw.get_ref() == 0 => Err(Problem::new(raw.span(), key, "must be more than 0")),
        raw => Ok(raw.map_or(default, Spanned::into_inner)),
    }
}
