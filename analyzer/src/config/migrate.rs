//! The `[migrate]` table: how partitions are moved.
//!
//! ```toml
//! [migrate]
//! never_touch = ["seaweedfs/7", "orders-pg/*"]   # partitions that are never moved
//! hold_out = ["seaweedfs/8"]                     # of which neither verdicts nor plans are carried out, to compare with
//! freeze_file = "/etc/isotherm/freeze"           # while it is there, nothing new is begun
//! switch = "at_once"                             # or "told": somebody opens the gate before each switch
//! fence_budget = "10s"                           # the longest that writes may be stopped at a switch
//! copy_fence_budget = "30m"                      # and for a copy, where it needs that; default: while it goes on
//! max_lag_bytes = 16777216                       # the most that a copy may lag behind when the switch begins
//! no_progress = "10m"                            # a step that stands still for so long is given up
//! probation = "1h"                               # how long the source is kept after the switch
//! score_after = "1h"                             # when what a migration brought is looked at, after its end
//! other_movers_quiet = "30m"                     # how long nothing is begun by itself after somebody else moved something
//! [migrate.limits]
//! migrations = 4                                 # at a time
//! per_node = 1                                   # of these, as source or target
//! bytes_per_s = 200000000                        # of all together; default: no bound
//! node_bytes_per_s = 50000000                    # from and to a node; default: no bound
//! per_day = 50                                   # that isotherm begins by itself
//! bytes_share_per_day = 0.01                     # of a system's bytes, likewise
//! [migrate.reads]                                # shifts of reads that it makes by itself
//! cool_down = "2d"                               # after one has begun or ended, before the next of a partition
//! undo_after = "1h"                              # how long its cause must have been gone
//! approve_within = "1d"                          # how long somebody may take to agree
//! per_day = 50
//! ```
//!
//! `[migrate.repair]` is in [`super::repair`].

use super::{Problem, duration, repair};
use crate::migrate::{Config, Named, reads};
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
    #[serde(default)]
    hold_out: Vec<Spanned<String>>,
    freeze_file: Option<Spanned<PathBuf>>,
    switch: Option<RawSwitch>,
    fence_budget: Option<Spanned<String>>,
    copy_fence_budget: Option<Spanned<String>>,
    max_lag_bytes: Option<u64>,
    no_progress: Option<Spanned<String>>,
    probation: Option<Spanned<String>>,
    score_after: Option<Spanned<String>>,
    other_movers_quiet: Option<Spanned<String>>,
    limits: Option<Spanned<Limits>>,
    repair: Option<repair::RawRepair>,
    reads: Option<RawReads>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawReads {
    cool_down: Option<Spanned<String>>,
    undo_after: Option<Spanned<String>>,
    approve_within: Option<Spanned<String>>,
    per_day: Option<u32>,
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
        config.never_touch.push(named("migrate.never_touch", &name)?);
    }
    for name in raw.hold_out {
        config.hold_out.push(named("migrate.hold_out", &name)?);
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
    let trust = &mut config.trust;
    if let Some(raw) = raw.score_after {
        trust.score_after = duration("migrate.score_after", &raw)?;
    }
    if let Some(raw) = raw.other_movers_quiet {
        trust.other_movers_quiet = duration("migrate.other_movers_quiet", &raw)?;
    }
    if let Some(raw) = raw.limits {
        let span = raw.span();
        config.limits = raw.into_inner();
        config.limits.check().map_err(|error| Problem::new(span, "migrate.limits", error.to_string()))?;
    }
    if let Some(raw) = raw.repair {
        config.repair = repair::checked(raw)?;
    }
    if let Some(raw) = raw.reads {
        config.reads = reads(raw)?;
    }
    Ok(config)
}

fn reads(raw: RawReads) -> Result<reads::Policy, Problem> {
    let usual = reads::Policy::default();
    let time = |key, raw: Option<Spanned<String>>, usual| raw.map_or(Ok(usual), |raw| duration(key, &raw));
    Ok(reads::Policy {
        cool_down: time("migrate.reads.cool_down", raw.cool_down, usual.cool_down)?,
        undo_after: time("migrate.reads.undo_after", raw.undo_after, usual.undo_after)?,
        approve_within: time("migrate.reads.approve_within", raw.approve_within, usual.approve_within)?,
        per_day: raw.per_day.unwrap_or(usual.per_day),
    })
}

/// `SYSTEM/PARTITION`, or `SYSTEM/*` for all of a system.
fn named(key: &'static str, raw: &Spanned<String>) -> Result<Named, Problem> {
    let problem = |message: String| Problem::new(raw.span(), key, message);
    let (system, name) = raw
        .get_ref()
        .split_once('/')
        .ok_or_else(|| problem(format!("{:?} is not SYSTEM/PARTITION, nor SYSTEM/*", raw.get_ref())))?;
    let system = SystemId::new(system).map_err(|error| problem(error.to_string()))?;
    if name == "*" {
        return Ok(Named::System(system));
    }
    let partition = PartitionId::new(system, name).map_err(|error| problem(error.to_string()))?;
    Ok(Named::Partition(partition))
}
