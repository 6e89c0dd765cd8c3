//! What changes from cycle to cycle, and a digest of all of it.

use isotherm_cycle::frame::{Frame, Incident};
use isotherm_cycle::record::{Record, Surging, Verdict};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Something that is other than in the cycle before.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(super) enum Change {
    /// Nodes failed.
    Failure { at_ms: u64, nodes: Vec<String> },
    /// A partition leans on more nodes than it used to.
    SurgeBegins { partition: String, h: Option<f64>, habitual: Option<f64>, z: Option<f64> },
    /// It does no longer.
    SurgeEnds { partition: String },
    /// There is something else to be done.
    Verdict { partition: String, before: &'static str, now: &'static str, reason: String },
}

impl Change {
    /// Whether it is a partition's of that name, or of everybody.
    pub(super) fn is_of(&self, name: &str) -> bool {
        match self {
            Self::Failure { .. } => true,
            Self::SurgeBegins { partition, .. }
            | Self::SurgeEnds { partition }
            | Self::Verdict { partition, .. } => {
                partition == name || partition.split_once('/').is_some_and(|(_, own)| own == name)
            }
        }
    }
}

/// What other settings say otherwise of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    pub(super) partition: String,
    pub(super) recorded: Said,
    pub(super) with_policy: Said,
}

/// What is compared of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Said {
    pub(super) verdict: &'static str,
    pub(super) surge: &'static str,
}

/// What was said last of each partition.
#[derive(Debug, Default)]
pub(super) struct Course {
    said: BTreeMap<(String, String), (bool, Verdict)>,
    failed: BTreeSet<Incident>,
}

impl Course {
    /// Failures that were not told before.
    pub(super) fn failures(&mut self, frame: &Frame) -> Vec<Change> {
        let mut fresh = Vec::new();
        for incident in &frame.incidents {
            if self.failed.insert(incident.clone()) {
                let nodes = incident.nodes.iter().map(|(system, name)| format!("{system}/{name}")).collect();
                fresh.push(Change::Failure { at_ms: incident.at_ms, nodes });
            }
        }
        fresh
    }

    /// Compares a cycle with the one before. Of verdicts count those that ask for something, and their end: what is
    /// unknown for a minute is no change.
    pub(super) fn follow(&mut self, records: &[Record]) -> Vec<Change> {
        let mut changes = Vec::new();
        for record in records {
            let now = (surges(record), record.verdict);
            let name = (record.system.clone(), record.partition.clone());
            let (surged, before) = self.said.insert(name, now).unwrap_or((false, Verdict::Nothing));
            let partition = || format!("{}/{}", record.system, record.partition);
            match (surged, now.0) {
                (false, true) => changes.push(Change::SurgeBegins {
                    partition: partition(),
                    h: record.node.h,
                    habitual: record.node.habitual.map(|habitual| habitual.value),
                    z: record.node.z,
                }),
                (true, false) => changes.push(Change::SurgeEnds { partition: partition() }),
                (true, true) | (false, false) => {}
            }
            if before != now.1 && (asks(before) || asks(now.1)) {
                changes.push(Change::Verdict {
                    partition: partition(),
                    before: before.as_str(),
                    now: now.1.as_str(),
                    reason: record.reason.clone(),
                });
            }
        }
        changes
    }
}

/// Whether a record surges.
pub(super) fn surges(record: &Record) -> bool {
    match record.surge {
        Surging::Since(_) => true,
        Surging::Quiet | Surging::Unknown => false,
    }
}

fn asks(verdict: Verdict) -> bool {
    match verdict {
        Verdict::Unknown | Verdict::Nothing => false,
        Verdict::ShiftReads
        | Verdict::Move
        | Verdict::MovingWillNotHelp
        | Verdict::SplitIt
        | Verdict::SlowDownClients => true,
    }
}

/// Whether a record is of the partition that is called so, as `SYSTEM/NAME` or `NAME`.
pub(super) fn called(record: &Record, name: &str) -> bool {
    record.partition == name
        || name
            .split_once('/')
            .is_some_and(|(system, own)| record.system == system && record.partition == own)
}

/// What two records of a partition say otherwise; `None` if they say the same.
pub(super) fn difference(recorded: &Record, with_policy: &Record) -> Option<Difference> {
    let said = |record: &Record| Said { verdict: record.verdict.as_str(), surge: record.surge.as_str() };
    let (recorded_said, with_policy) = (said(recorded), said(with_policy));
    let partition = || format!("{}/{}", recorded.system, recorded.partition);
    (recorded_said != with_policy).then(|| Difference {
        partition: partition(),
        recorded: recorded_said,
        with_policy,
    })
}

/// A digest of decision records, in their order, to the last bit of every number.
#[derive(Debug, Default)]
pub(super) struct Digest(Sha256);

impl Digest {
    pub(super) fn add(&mut self, records: &[Record]) -> Result<(), postcard::Error> {
        let mut bytes = Vec::new();
        for record in records {
            bytes.clear();
            bytes = postcard::to_extend(record, bytes)?;
            self.0.update(&bytes);
        }
        Ok(())
    }

    pub(super) fn hex(self) -> String {
        use std::fmt::Write;
        self.0.finalize().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}
