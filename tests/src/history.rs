//! What clients of a store did and saw, and what must not be in it.
//!
//! A key has one writer, which writes 1, 2, 3, ... one after the other; whoever reads it meanwhile must find no less than
//! what was acknowledged before the read began, and no more than what was tried before it ended. A write that failed may
//! have happened all the same. That is a register's linearizability, as far as one writer can see it: two reads that
//! overlap the same write may disagree.

use serde::Serialize;
use std::collections::BTreeMap;

/// One attempt of one client. Times are microseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Who.
    pub client: usize,
    /// Of what.
    pub key: u64,
    /// What.
    pub action: Action,
    /// When it was begun.
    pub begun_us: u64,
    /// When its answer came, or it was given up.
    pub ended_us: u64,
}

/// What was tried, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A value that was written, and whether that was acknowledged or why not.
    Write(u64, Result<(), String>),
    /// The value that was found, 0 for none, or why nothing was read.
    Read(Result<u64, String>),
}

impl Operation {
    /// Why it came to nothing.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        match &self.action {
            Action::Write(_, Err(error)) | Action::Read(Err(error)) => Some(error),
            Action::Write(_, Ok(())) | Action::Read(Ok(_)) => None,
        }
    }
}

/// What one key may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Register {
    /// The last value that was acknowledged, 0 before the first.
    pub acknowledged: u64,
    /// The last value that was tried.
    pub tried: u64,
}

impl Register {
    /// Whether a value may be found when nobody writes.
    #[must_use]
    pub fn allows(self, found: u64) -> bool {
        (self.acknowledged..=self.tried).contains(&found)
    }
}

/// Registers by their keys.
pub type Registers = BTreeMap<u64, Register>;

/// A read that found too little or too much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What was read, and what would have been right.
    pub what: String,
    /// For how long, when the read began, the least that it had to find had been acknowledged; `None` if it found what
    /// nobody had tried to write.
    pub stale_us: Option<u64>,
    /// What was read; 0 for nothing.
    pub found: u64,
    /// When it was begun.
    pub begun_us: u64,
    /// When its answer came.
    pub ended_us: u64,
}

/// Reads that found too little or too much, given what every key held before.
#[must_use]
pub fn violations(before: &Registers, operations: &[Operation]) -> Vec<Violation> {
    let mut writes: BTreeMap<u64, Vec<(&Operation, u64, bool)>> = BTreeMap::new();
    for operation in operations {
        if let Action::Write(value, result) = &operation.action {
            writes.entry(operation.key).or_default().push((operation, *value, result.is_ok()));
        }
    }
    let judge = |operation: &Operation| {
        let Action::Read(Ok(found)) = operation.action else { return None };
        let held = before.get(&operation.key).copied().unwrap_or_default();
        let writes = writes.get(&operation.key).map_or(&[][..], Vec::as_slice);
        let acknowledged = writes.iter().filter(|(write, _, ok)| *ok && write.ended_us <= operation.begun_us);
        let tried = writes.iter().filter(|(write, ..)| write.begun_us <= operation.ended_us);
        let (least, since_us) = acknowledged
            .map(|(write, value, _)| (*value, write.ended_us))
            .max()
            .filter(|(value, _)| *value >= held.acknowledged)
            .unwrap_or((held.acknowledged, 0));
        let most = tried.map(|(_, value, _)| *value).max().unwrap_or(0).max(held.tried);
        let (client, key) = (operation.client, operation.key);
        let stale_us = (found < least).then(|| operation.begun_us - since_us);
        let what = format!(
            "client {client} read {found} from key {key}, which had {least} to {most}, for {} us",
            operation.begun_us - since_us
        );
        let (begun_us, ended_us) = (operation.begun_us, operation.ended_us);
        let violation = Violation { what, stale_us, found, begun_us, ended_us };
        (!(least..=most).contains(&found)).then_some(violation)
    };
    operations.iter().filter_map(judge).collect()
}

/// What the clients of a test felt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Felt {
    /// Attempts.
    pub operations: u64,
    /// Attempts that failed.
    pub errors: u64,
    /// The longest that any client waited for an acknowledgement, from the first attempt that failed on.
    pub write_pause_ms: u64,
    /// The longest that any client waited for an answer to a read, counted alike.
    pub read_pause_ms: u64,
}

/// Sums operations up. Those of one client must be in their order.
#[must_use]
pub fn felt(operations: &[Operation]) -> Felt {
    let mut felt = Felt::default();
    let mut waiting: BTreeMap<(usize, bool), u64> = BTreeMap::new();
    for operation in operations {
        felt.operations += 1;
        let writes = matches!(operation.action, Action::Write(..));
        let since = *waiting.entry((operation.client, writes)).or_insert(operation.begun_us);
        let pause_ms = operation.ended_us.saturating_sub(since) / 1_000;
        let longest = if writes { &mut felt.write_pause_ms } else { &mut felt.read_pause_ms };
        *longest = (*longest).max(pause_ms);
        if operation.error().is_some() {
            felt.errors += 1;
        } else {
            waiting.remove(&(operation.client, writes));
        }
    }
    felt
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(value: u64, from: u64, to: u64, acknowledged: bool) -> Operation {
        let result = if acknowledged { Ok(()) } else { Err("no".to_owned()) };
        Operation { client: 0, key: 1, action: Action::Write(value, result), begun_us: from, ended_us: to }
    }

    fn read(found: u64, from: u64, to: u64) -> Operation {
        Operation { client: 1, key: 1, action: Action::Read(Ok(found)), begun_us: from, ended_us: to }
    }

    #[test]
    fn a_read_finds_what_was_acknowledged_before_it_or_tried_during_it() {
        let done = [write(1, 0, 10, true), write(2, 20, 40, false)];
        for (found, from, to, good) in [
            (0, 0, 5, true),
            (0, 10, 11, false),
            (1, 10, 11, true),
            (2, 10, 19, false),
            (2, 10, 20, true),
            (1, 50, 51, true),
            (2, 50, 51, true),
            (3, 50, 51, false),
        ] {
            let operations = [&done[..], &[read(found, from, to)]].concat();
            let violations = violations(&Registers::new(), &operations);
            assert_eq!(violations.is_empty(), good, "{found} from {from} to {to}: {violations:?}");
        }
        let before = Registers::from([(1, Register { acknowledged: 7, tried: 8 })]);
        assert_eq!(violations(&before, &[read(7, 0, 1), read(8, 0, 1)]), []);
        let wrong = violations(&before, &[read(6, 5, 6), read(9, 0, 1)]);
        assert_eq!(wrong.iter().map(|wrong| wrong.stale_us).collect::<Vec<_>>(), [Some(5), None]);
    }

    #[test]
    fn a_pause_lasts_from_the_first_failure_to_the_next_success() {
        let operations = [
            write(1, 0, 1_000, true),
            write(2, 5_000, 6_000, false),
            read(1, 6_000, 8_000),
            write(3, 7_000, 8_000, false),
            write(4, 9_000, 10_000, true),
            write(5, 20_000, 22_000, true),
        ];
        let expected = Felt { operations: 6, errors: 2, write_pause_ms: 5, read_pause_ms: 2 };
        assert_eq!(felt(&operations), expected);
        assert_eq!(felt(&operations[..2]).write_pause_ms, 1, "one that has not ended counts, too");
    }
}
