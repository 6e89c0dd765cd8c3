//! What is so.

use super::done::{done_from_wire, done_to_wire};
use super::progress::progress_from_wire;
use super::refusal::{reason_from_wire, reason_to_wire};
use super::{Malformed, Refusal, malformed};
use isotherm_migration::{Done, Epoch, Fate, Fenced, Observation, Side, StepKind};
use isotherm_proto::adapter::v1 as wire;
use serde::{Deserialize, Serialize};

/// A fate as it is sent: unheard, running, done, or refused with its words.
#[must_use]
pub fn fate_to_wire(fate: &Answer) -> wire::Fate {
    let fate = match fate {
        Answer::Unheard => wire::fate::Fate::Unheard(wire::Unheard {}),
        Answer::Running => wire::fate::Fate::Running(wire::Running {}),
        Answer::Done(done) => wire::fate::Fate::Done(done_to_wire(done)),
        Answer::Refused(refusal) => {
            let (reason, retry_after_ms, seen_term) = reason_to_wire(&refusal.reason);
            let message = refusal.message.clone();
            let refusal = wire::Refusal { reason: reason.into(), message, retry_after_ms, seen_term };
            wire::fate::Fate::Refused(refusal)
        }
    };
    wire::Fate { fate: Some(fate) }
}

/// The fate of a request, with the words of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Nothing is known of it.
    Unheard,
    /// It runs.
    Running,
    /// It is done.
    Done(Done),
    /// It was refused.
    Refused(Refusal),
}

/// Checks the fate of a request for `step`.
pub fn fate_from_wire(field: &str, step: StepKind, raw: wire::Fate) -> Result<Answer, Malformed> {
    Ok(match raw.fate {
        None => return Err(malformed(field, "absent")),
        Some(wire::fate::Fate::Unheard(_)) => Answer::Unheard,
        Some(wire::fate::Fate::Running(_)) => Answer::Running,
        Some(wire::fate::Fate::Done(raw)) => {
            Answer::Done(done_from_wire(&format!("{field}.done"), step, raw)?)
        }
        Some(wire::fate::Fate::Refused(raw)) => {
            let at = format!("{field}.refused.reason");
            let kind = wire::RefusalReason::try_from(raw.reason)
                .map_err(|_| malformed(&at, format!("{} is no reason", raw.reason)))?;
            let reason = reason_from_wire(kind, raw.retry_after_ms, raw.seen_term)
                .ok_or_else(|| malformed(&at, "unspecified, or STALE_TERM without seen_term"))?;
            Answer::Refused(Refusal { reason, message: raw.message })
        }
    })
}

/// Checks what is so. `about` is the step of the request that was asked about; a fate that nobody asked for is
/// malformed, as is one that is missing. Beside it come the words of a refusal.
pub fn observation_from_wire(
    about: Option<StepKind>,
    raw: wire::GetMigrationStateResponse,
) -> Result<(Observation, Option<String>), Malformed> {
    let answer = match (about, raw.fate) {
        (Some(step), Some(fate)) => Some(fate_from_wire("fate", step, fate)?),
        (None, None) => None,
        (Some(_), None) => return Err(malformed("fate", "absent")),
        (None, Some(_)) => return Err(malformed("fate", "present, and no request was asked about")),
    };
    if raw.highest_epoch < raw.serving_epoch {
        let what = format!("{} is below serving_epoch {}", raw.highest_epoch, raw.serving_epoch);
        return Err(malformed("highest_epoch", what));
    }
    let serves = match wire::Side::try_from(raw.serves) {
        Ok(wire::Side::Source) => Side::Source,
        Ok(wire::Side::Target) => Side::Target,
        Ok(wire::Side::Neither) => Side::Neither,
        Ok(wire::Side::Unspecified) | Err(_) => {
            return Err(malformed("serves", format!("{} is no side", raw.serves)));
        }
    };
    let (fate, words) = match answer {
        None => (None, None),
        Some(Answer::Unheard) => (Some(Fate::Unheard), None),
        Some(Answer::Running) => (Some(Fate::Running), None),
        Some(Answer::Done(done)) => (Some(Fate::Done(done)), None),
        Some(Answer::Refused(Refusal { reason, message })) => (Some(Fate::Refused(reason)), Some(message)),
    };
    let observation = Observation {
        fate,
        serving: Epoch(raw.serving_epoch),
        promised: Epoch(raw.highest_epoch),
        serves,
        fenced: if raw.fenced { Fenced::Yes } else { Fenced::No },
        progress: raw.progress.map(progress_from_wire),
    };
    Ok((observation, words))
}

/// A side as it is sent.
#[must_use]
pub fn side_to_wire(side: Side) -> wire::Side {
    match side {
        Side::Source => wire::Side::Source,
        Side::Target => wire::Side::Target,
        Side::Neither => wire::Side::Neither,
    }
}
