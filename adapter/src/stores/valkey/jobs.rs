//! The engine's own list of slot migrations, of a node: those under way and the last that ended.

use super::bucket::Bucket;
use super::reply::{Fields, Unread};
use isotherm_proto::SlotRange;
use redis::Value;

/// A migration of slots, as one of its two nodes tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    /// The same on both nodes.
    pub(super) name: String,
    /// Which of the two nodes tells.
    pub(super) operation: Operation,
    /// The slots.
    pub(super) slots: Vec<SlotRange>,
    /// The cluster's name of the node that gets them.
    pub(super) target: String,
    /// How far it is.
    pub(super) stage: Stage,
    /// In the engine's words.
    pub(super) state: String,
    /// Why it failed; empty if it did not.
    pub(super) message: String,
    /// Bytes of writes that the target has not yet been sent; unknown on the target.
    pub(super) unsent_bytes: Option<u64>,
}

/// Who tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// The source.
    Export,
    /// The target.
    Import,
}

/// How far a migration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It connects, waits for its turn, copies, or follows the writes.
    Copying,
    /// Writes are held back and the target takes over: it cannot be cancelled any more.
    HandingOver,
    /// The target has the slots.
    Succeeded,
    /// The source has them, and the target has thrown its copy away.
    Failed,
    /// As failed, because somebody wanted it.
    Cancelled,
}

impl Stage {
    /// Whether it is under way.
    pub(super) fn is_active(self) -> bool {
        match self {
            Self::Copying | Self::HandingOver => true,
            Self::Succeeded | Self::Failed | Self::Cancelled => false,
        }
    }

    fn of(state: &str) -> Self {
        match state {
            "failover-paused" | "failover-granted" => Self::HandingOver,
            "success" => Self::Succeeded,
            "failed" => Self::Failed,
            "cancelled" | "canceled" => Self::Cancelled,
            _ => Self::Copying,
        }
    }
}

impl Job {
    /// Reads CLUSTER GETSLOTMIGRATIONS, the latest first.
    pub(super) fn list(answer: &Value) -> Result<Vec<Self>, Unread> {
        answer.as_sequence().ok_or(Unread("no list of slot migrations"))?.iter().map(Self::of).collect()
    }

    fn of(value: &Value) -> Result<Self, Unread> {
        let fields = Fields::of(value)?;
        let operation = match fields.text("operation")? {
            "EXPORT" => Operation::Export,
            "IMPORT" => Operation::Import,
            _ => return Err(Unread("operation")),
        };
        let state = fields.text("state")?.to_owned();
        let unsent_bytes = fields.number("remaining_repl_size").filter(|_| operation == Operation::Export);
        Ok(Self {
            name: fields.text("name")?.to_owned(),
            operation,
            slots: ranges(fields.text("slot_ranges")?).ok_or(Unread("slot_ranges"))?,
            target: fields.text("target_node").unwrap_or_default().to_owned(),
            stage: Stage::of(&state),
            state,
            message: fields.text("message").unwrap_or_default().to_owned(),
            unsent_bytes,
        })
    }

    /// Whether this node is sending slots.
    pub(super) fn is_active_export(&self) -> bool {
        self.operation == Operation::Export && self.stage.is_active()
    }

    /// Whether it moves any slot of the bucket.
    pub(super) fn touches(&self, bucket: Bucket) -> bool {
        bucket.within(&self.slots) > 0
    }

    /// Whether it moves the bucket, and nothing else.
    pub(super) fn moves(&self, bucket: Bucket) -> bool {
        self.slots == [bucket.range()]
    }
}

/// Slots as `0-10 20 30-31`.
fn ranges(text: &str) -> Option<Vec<SlotRange>> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(SlotRange { first: first.parse().ok()?, last: last.parse().ok()? })
    };
    text.split_whitespace().map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(operation: &str, state: &str) -> Value {
        let word = |word: &str| Value::BulkString(word.into());
        Value::Array(vec![
            word("name"),
            word("8b1e"),
            word("operation"),
            word(operation),
            word("slot_ranges"),
            word("0-255 300"),
            word("target_node"),
            word("7159"),
            word("state"),
            word(state),
            word("message"),
            word(""),
            word("remaining_repl_size"),
            Value::Int(17),
        ])
    }

    /// The states of Valkey 9.1.2, as they were seen or are named in the server.
    #[test]
    fn only_the_hand_over_cannot_be_cancelled() {
        let stage = |state: &str| Job::list(&Value::Array(vec![raw("EXPORT", state)])).unwrap()[0].stage;
        for state in [
            "connecting",
            "authenticating",
            "waiting-to-snapshot",
            "snapshotting",
            "replicating",
            "waiting-to-pause",
        ] {
            assert_eq!(stage(state), Stage::Copying, "{state}");
        }
        assert_eq!([stage("failover-paused"), stage("failover-granted")], [Stage::HandingOver; 2]);
        assert_eq!(
            [stage("success"), stage("failed"), stage("cancelled")],
            [Stage::Succeeded, Stage::Failed, Stage::Cancelled]
        );
    }

    #[test]
    fn what_is_unsent_is_known_at_the_source_only() {
        let list = Value::Array(vec![raw("EXPORT", "replicating"), raw("IMPORT", "receiving-snapshot")]);
        let jobs = Job::list(&list).unwrap();
        assert_eq!([jobs[0].unsent_bytes, jobs[1].unsent_bytes], [Some(17), None]);
        assert_eq!(jobs[0].slots, [SlotRange { first: 0, last: 255 }, SlotRange { first: 300, last: 300 }]);
        assert!(jobs[0].touches(Bucket { first: 256, last: 511 }));
        assert!(!jobs[0].moves(Bucket { first: 0, last: 255 }));
        assert!(Job::list(&Value::Array(vec![raw("SIDEWAYS", "success")])).is_err());
    }
}
