//! Migrations as messages.

use super::{MigrationAction, action};
use isotherm_migration::{Origin, Revision};
use isotherm_model::SystemId;
use isotherm_proto::adapter::v1 as adapter;
use isotherm_proto::control::v1 as wire;
use isotherm_runner::journal::{Freeze, name_of};
use isotherm_runner::{Line, Seen};
use std::time::Duration;

const ACTIONS: [MigrationAction; 10] = [
    MigrationAction::Approve,
    MigrationAction::Pause,
    MigrationAction::Resume,
    MigrationAction::Cancel,
    MigrationAction::Verify,
    MigrationAction::Switch,
    MigrationAction::Complete,
    MigrationAction::Reverse,
    MigrationAction::AcceptDataLoss,
    MigrationAction::Retry,
];

pub(super) fn migration(seen: &Seen) -> wire::Migration {
    let (migration, about) = (&seen.entry.migration, &seen.entry.about);
    let spec = migration.spec();
    let progress = seen.progress.as_ref();
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let traces = migration.traces();
    wire::Migration {
        id: spec.id.to_string(),
        partition: spec.partition.to_string(),
        source: spec.origin.node().to_string(),
        repair: matches!(spec.origin, Origin::Repair { .. }),
        target: spec.target.to_string(),
        phase: name_of(migration.phase()),
        stopped_in: migration.stopped_in().map(name_of).unwrap_or_default(),
        cause: migration.cause().map(ToString::to_string).unwrap_or_default(),
        words: about.words.clone().unwrap_or_default(),
        paused: migration.is_paused(),
        who: about.by.clone(),
        reason: about.reason.clone(),
        trigger: about.trigger.as_str().to_owned(),
        created_ms: about.created_ms,
        ended_ms: about.ended_ms,
        done: progress.map(|progress| progress.done),
        total: progress.and_then(|progress| progress.total),
        lag_bytes: progress.and_then(|progress| progress.lag_bytes),
        throttled_by: progress.and_then(|progress| progress.throttled_by.clone()).unwrap_or_default(),
        eta_least_ms: seen.eta.map(|eta| ms(eta.least)),
        eta_most_ms: seen.eta.map(|eta| ms(eta.most)),
        waits: seen.waits.clone().unwrap_or_default(),
        serving_epoch: migration.serving().map(|epoch| epoch.0),
        has_objects: traces.objects,
        writes_stopped: traces.fence.is_some(),
        permissions: permissions(seen),
    }
}

fn permissions(seen: &Seen) -> Vec<wire::Permission> {
    let revision: Revision = seen.entry.migration.spec().revision;
    let permission = |asked: MigrationAction| {
        // Who and why change nothing of whether it may be done.
        let action = action(asked, revision, "?", "?").ok()?;
        let denied = seen.entry.migration.permits(&action).err();
        Some(wire::Permission {
            action: asked.into(),
            denied: denied.map(|denied| denied.to_string()).unwrap_or_default(),
        })
    };
    ACTIONS.into_iter().filter_map(permission).collect()
}

pub(super) fn freeze(freeze: Option<&Freeze>) -> wire::FreezeState {
    freeze.map_or_else(wire::FreezeState::default, |freeze| wire::FreezeState {
        since_ms: Some(freeze.since_ms),
        who: freeze.by.clone(),
        reason: freeze.reason.clone(),
    })
}

pub(super) fn line(line: Line) -> wire::DiaryLine {
    wire::DiaryLine {
        number: line.number,
        at_ms: line.at_ms,
        migration: line.migration.unwrap_or_default(),
        partition: line.partition.unwrap_or_default(),
        kind: line.kind.as_str().to_owned(),
        who: line.who,
        what: line.what,
        why: line.why,
    }
}

/// `None` for one that does not say what it is of.
pub(super) fn orphan(system: &SystemId, status: adapter::MigrationStatus) -> Option<wire::Orphan> {
    let migration = status.migration?;
    let source = match migration.origin {
        Some(adapter::migration::Origin::Source(node) | adapter::migration::Origin::Dead(node)) => node,
        None => String::new(),
    };
    Some(wire::Orphan {
        system: system.to_string(),
        migration_id: migration.migration_id,
        partition: migration.partition,
        source,
        target: migration.target,
        objects: status.objects,
        writes_stopped: status.fenced_since_ms.is_some(),
    })
}
