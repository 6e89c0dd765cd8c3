//! From the payload of a batch to windows: what takes time, and may be done on any thread.

use super::limits::ROW_BYTES;
use super::names::Names;
use crate::writer::with_causes;
use isotherm_model::Window;
use isotherm_proto::telemetry::v1::{Batch, NackReason};
use isotherm_proto::{Malformed, rows_in_payload, unpacked, window_set_from_payload};
use isotherm_store::hours_of;
use std::borrow::Cow;
use std::hash::RandomState;

/// Hours that the windows of one batch may start in: each makes a segment.
const MAX_HOURS: usize = 24;

/// Why a batch is refused, for the agent's program and for people.
pub(super) type Refusal = (NackReason, String);

/// How large a batch is.
pub(super) struct Unpacked {
    /// Its payload without compression; absent where that is the payload itself.
    pub(super) content: Option<Vec<u8>>,
    bytes: usize,
    rows: usize,
}

/// What a batch says.
pub(super) struct Parsed {
    pub(super) windows: Vec<Window>,
    pub(super) names: Names,
}

impl Unpacked {
    /// What it takes while it is parsed.
    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes + self.rows * ROW_BYTES
    }
}

/// Unpacks the payload and counts its rows.
pub(super) fn unpack(batch: &Batch, max_rows: usize) -> Result<Unpacked, Refusal> {
    let content = unpacked(batch.encoding, &batch.payload).map_err(refused)?;
    let (bytes, rows) = (content.len(), rows_in_payload(&content).map_err(refused)?);
    if rows > max_rows {
        let detail = format!("the batch has {rows} rows, more than ingest.max_batch_rows = {max_rows}");
        return Err((NackReason::TooLarge, detail));
    }
    let content = match content {
        Cow::Owned(content) => Some(content),
        Cow::Borrowed(_) => None,
    };
    Ok(Unpacked { content, bytes, rows })
}

/// Parses a batch. Where its content had to be given up in between, it is unpacked again.
pub(super) fn parse(batch: &Batch, content: Option<Vec<u8>>, keys: &RandomState) -> Result<Parsed, Refusal> {
    let content = match content {
        Some(content) => Cow::Owned(content),
        None => unpacked(batch.encoding, &batch.payload).map_err(refused)?,
    };
    let windows = window_set_from_payload(&content).map_err(refused)?;
    let hours = hours_of(&windows);
    if hours > MAX_HOURS {
        let detail = format!("windows of {hours} different hours are more than the {MAX_HOURS} accepted");
        return Err((NackReason::TooLarge, detail));
    }
    Ok(Parsed { names: Names::of(&windows, keys), windows })
}

fn refused(malformed: Malformed) -> Refusal {
    let reason = match &malformed {
        Malformed::TooLarge { .. } | Malformed::TooManyRows => NackReason::TooLarge,
        Malformed::Frame { .. }
        | Malformed::Encoding(_)
        | Malformed::Name { .. }
        | Malformed::Value { .. }
        | Malformed::TooMany { .. }
        | Malformed::Repeated { .. }
        | Malformed::NotConserved { .. } => NackReason::Malformed,
    };
    (reason, with_causes(&malformed))
}
