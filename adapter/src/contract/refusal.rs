//! Refusals: statuses with a reason that a program can read.

use super::{DOMAIN, Malformed};
use isotherm_migration::{Reason, Term};
use isotherm_proto::adapter::v1 as wire;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Where the term that was heard of is, beside STALE_TERM.
const SEEN_TERM: &str = "seen_term";

/// Something was refused, and had no effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// For programs.
    pub reason: Reason,
    /// For people: what, and the way out.
    pub message: String,
}

impl Refusal {
    /// A refusal for this reason.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// Not now.
    #[must_use]
    pub fn not_now(message: impl Into<String>) -> Self {
        Self::new(Reason::Transient { retry_after_ms: None }, message)
    }

    /// The store is not as the step needs it, or something else is under way.
    #[must_use]
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Reason::Conflict, message)
    }

    /// It cannot be done.
    #[must_use]
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(Reason::Unsupported, message)
    }

    /// Copy and source differ.
    #[must_use]
    pub fn mismatch(message: impl Into<String>) -> Self {
        Self::new(Reason::Mismatch, message)
    }
}

/// Every reason, by its name on the wire, with the code of its status.
pub const REFUSALS: [(wire::RefusalReason, &str, Code); 10] = [
    (wire::RefusalReason::Transient, "TRANSIENT", Code::Unavailable),
    (wire::RefusalReason::Throttled, "THROTTLED", Code::ResourceExhausted),
    (wire::RefusalReason::StaleTerm, "STALE_TERM", Code::FailedPrecondition),
    (wire::RefusalReason::StaleEpoch, "STALE_EPOCH", Code::FailedPrecondition),
    (wire::RefusalReason::Conflict, "CONFLICT", Code::Aborted),
    (wire::RefusalReason::Unsupported, "UNSUPPORTED", Code::Unimplemented),
    (wire::RefusalReason::Mismatch, "MISMATCH", Code::DataLoss),
    (wire::RefusalReason::NoLiveCopy, "NO_LIVE_COPY", Code::FailedPrecondition),
    (wire::RefusalReason::AlreadyExists, "ALREADY_EXISTS", Code::AlreadyExists),
    (wire::RefusalReason::Invalid, "INVALID", Code::InvalidArgument),
];

/// What is sent of a reason: its kind, when to try again, and the term that was heard of.
pub(super) fn reason_to_wire(reason: &Reason) -> (wire::RefusalReason, Option<u64>, Option<u64>) {
    match reason {
        Reason::Transient { retry_after_ms } => (wire::RefusalReason::Transient, *retry_after_ms, None),
        Reason::Throttled { retry_after_ms } => (wire::RefusalReason::Throttled, *retry_after_ms, None),
        Reason::StaleTerm { seen } => (wire::RefusalReason::StaleTerm, None, Some(seen.0)),
        Reason::StaleEpoch => (wire::RefusalReason::StaleEpoch, None, None),
        Reason::Conflict => (wire::RefusalReason::Conflict, None, None),
        Reason::Unsupported => (wire::RefusalReason::Unsupported, None, None),
        Reason::Mismatch => (wire::RefusalReason::Mismatch, None, None),
        Reason::NoLiveCopy => (wire::RefusalReason::NoLiveCopy, None, None),
        Reason::AlreadyExists => (wire::RefusalReason::AlreadyExists, None, None),
    }
}

/// A reason that was sent; `None` where it says too little to be one.
pub(super) fn reason_from_wire(
    kind: wire::RefusalReason,
    retry_after_ms: Option<u64>,
    seen_term: Option<u64>,
) -> Option<Reason> {
    Some(match kind {
        wire::RefusalReason::Unspecified => return None,
        wire::RefusalReason::Transient => Reason::Transient { retry_after_ms },
        wire::RefusalReason::Throttled => Reason::Throttled { retry_after_ms },
        wire::RefusalReason::StaleTerm => Reason::StaleTerm { seen: Term(seen_term?) },
        wire::RefusalReason::StaleEpoch => Reason::StaleEpoch,
        wire::RefusalReason::Conflict => Reason::Conflict,
        // To a controller, a request that cannot be and one that cannot be done are the same.
        wire::RefusalReason::Unsupported | wire::RefusalReason::Invalid => Reason::Unsupported,
        wire::RefusalReason::Mismatch => Reason::Mismatch,
        wire::RefusalReason::NoLiveCopy => Reason::NoLiveCopy,
        wire::RefusalReason::AlreadyExists => Reason::AlreadyExists,
    })
}

/// A refusal as a status.
#[must_use]
pub fn refusal_to_status(refusal: &Refusal) -> Status {
    let (kind, retry_after_ms, seen_term) = reason_to_wire(&refusal.reason);
    let mut metadata = HashMap::new();
    metadata.extend(seen_term.map(|term| (SEEN_TERM.to_owned(), term.to_string())));
    status(kind, &refusal.message, retry_after_ms, metadata)
}

impl From<&Malformed> for Status {
    fn from(malformed: &Malformed) -> Self {
        status(wire::RefusalReason::Invalid, &malformed.to_string(), None, HashMap::new())
    }
}

fn status(
    kind: wire::RefusalReason,
    message: &str,
    retry_after_ms: Option<u64>,
    metadata: HashMap<String, String>,
) -> Status {
    let (name, code) = REFUSALS
        .iter()
        .find(|(reason, ..)| *reason == kind)
        .map_or(("TRANSIENT", Code::Unavailable), |(_, name, code)| (*name, *code));
    let mut details = ErrorDetails::with_error_info(name, DOMAIN, metadata);
    if let Some(ms) = retry_after_ms {
        details.set_retry_info(Some(Duration::from_millis(ms)));
    }
    Status::with_error_details(code, message, details)
}

/// What a status says of an effect: a refusal, or, with `None`, nothing.
#[must_use]
pub fn refusal_from_status(status: &Status) -> Option<Refusal> {
    let details = status.get_error_details();
    let info = details.error_info().filter(|info| info.domain == DOMAIN);
    let Some(info) = info else {
        let certain = matches!(status.code(), Code::Unimplemented | Code::InvalidArgument);
        return certain.then(|| Refusal::unsupported(status.message()));
    };
    let (kind, ..) = REFUSALS.iter().find(|(_, name, _)| *name == info.reason)?;
    let retry_after = details.retry_info().and_then(|info| info.retry_delay);
    let retry_after_ms = retry_after.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
    let seen_term = info.metadata.get(SEEN_TERM).and_then(|term| term.parse().ok());
    Some(Refusal {
        reason: reason_from_wire(*kind, retry_after_ms, seen_term)?,
        message: status.message().to_owned(),
    })
}
