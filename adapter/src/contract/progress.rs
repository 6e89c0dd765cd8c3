//! How far a step is.

use crate::store::Told;
use isotherm_migration::Progress;
use isotherm_proto::adapter::v1 as wire;

/// Progress as it is sent.
#[must_use]
pub fn progress_to_wire(told: &Told) -> wire::Progress {
    let progress = &told.progress;
    wire::Progress {
        done: progress.done,
        total: progress.total,
        estimated: told.estimated,
        unit: told.unit.to_owned(),
        lag_bytes: progress.lag_bytes,
        position: told.position.as_ref().map(ToString::to_string).unwrap_or_default(),
        throttled_by: progress.throttled_by.clone().unwrap_or_default(),
        resume_token: progress.resume.clone().unwrap_or_default(),
        handing_over: progress.handing_over,
    }
}

/// What the machine takes of it.
#[must_use]
pub fn progress_from_wire(raw: wire::Progress) -> Progress {
    let some = |text: String| (!text.is_empty()).then_some(text);
    Progress {
        done: raw.done,
        total: raw.total,
        lag_bytes: raw.lag_bytes,
        throttled_by: some(raw.throttled_by),
        resume: some(raw.resume_token),
        handing_over: raw.handing_over,
    }
}
