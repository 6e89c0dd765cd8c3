//! What came of a step.

use super::call::{verification_from_wire, verification_to_wire};
use super::{Malformed, malformed};
use isotherm_migration::{Copies, Done, Epoch, Outcome, Position, StepKind, Validated};
use isotherm_proto::adapter::v1 as wire;
use wire::done::Result as Kind;

/// A result as it is sent.
#[must_use]
pub fn done_to_wire(done: &Done) -> wire::Done {
    let result = match done {
        Done::Validated(validated) => Kind::Validated(wire::Validated {
            serving_epoch: validated.serving.0,
            highest_epoch: validated.promised.0,
            findings: validated.findings.clone(),
            no_live_copy: validated.copies == Copies::Lost,
        }),
        Done::Prepared => Kind::Prepared(wire::Prepared {}),
        Done::Replicated => Kind::Replicated(wire::Replicated {}),
        Done::CaughtUp { lag_bytes } => Kind::CaughtUp(wire::CaughtUp { lag_bytes: *lag_bytes }),
        Done::Verified(verification) => Kind::Verified(verification_to_wire(verification)),
        Done::Fenced { position } => Kind::Fenced(wire::Fenced { position: position.0.clone() }),
        Done::Committed => Kind::Committed(wire::Committed {}),
        Done::Unfenced => Kind::Unfenced(wire::Unfenced {}),
        Done::Reversed => Kind::Reversed(wire::Reversed {}),
        Done::Retired => Kind::Retired(wire::Retired {}),
        Done::Aborted => Kind::Aborted(wire::Aborted {}),
    };
    wire::Done { result: Some(result) }
}

/// Checks a result of `step`.
pub fn done_from_wire(field: &str, step: StepKind, raw: wire::Done) -> Result<Done, Malformed> {
    let result = raw.result.ok_or_else(|| malformed(&format!("{field}.result"), "absent"))?;
    let done = match result {
        Kind::Validated(raw) => Done::Validated(validated(field, raw)?),
        Kind::Prepared(_) => Done::Prepared,
        Kind::Replicated(_) => Done::Replicated,
        Kind::CaughtUp(raw) => Done::CaughtUp { lag_bytes: raw.lag_bytes },
        Kind::Verified(raw) => Done::Verified(verification_from_wire(&format!("{field}.verified"), raw)?),
        Kind::Fenced(raw) => Done::Fenced { position: Position(raw.position) },
        Kind::Committed(_) => Done::Committed,
        Kind::Unfenced(_) => Done::Unfenced,
        Kind::Reversed(_) => Done::Reversed,
        Kind::Retired(_) => Done::Retired,
        Kind::Aborted(_) => Done::Aborted,
    };
    if done.kind() == step {
        return Ok(done);
    }
    Err(malformed(&format!("{field}.result"), format!("is that of {}, asked for was {step}", done.kind())))
}

fn validated(field: &str, raw: wire::Validated) -> Result<Validated, Malformed> {
    if raw.highest_epoch < raw.serving_epoch {
        let what = format!("{} is below serving_epoch {}", raw.highest_epoch, raw.serving_epoch);
        return Err(malformed(&format!("{field}.validated.highest_epoch"), what));
    }
    Ok(Validated {
        serving: Epoch(raw.serving_epoch),
        promised: Epoch(raw.highest_epoch),
        findings: raw.findings,
        copies: if raw.no_live_copy { Copies::Lost } else { Copies::Live },
    })
}

/// Checks the answer to a call for `step`.
pub fn outcome_from_wire(step: StepKind, raw: Option<wire::StepOutcome>) -> Result<Outcome, Malformed> {
    match raw.and_then(|raw| raw.outcome) {
        Some(wire::step_outcome::Outcome::Running(_)) => Ok(Outcome::Accepted),
        Some(wire::step_outcome::Outcome::Done(raw)) => {
            done_from_wire("outcome.done", step, raw).map(Outcome::Done)
        }
        None => Err(malformed("outcome", "absent")),
    }
}
