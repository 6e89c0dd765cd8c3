//! What is told of failures in the diary.

use super::book::{Book, Breaker};
use crate::migrate::Migrations;
use isotherm_model::{PartitionId, SystemId};
use isotherm_runner::{Kind, Line};
use std::collections::{BTreeMap, BTreeSet};

/// What was told of failures that were not acted on, so that it is told once for as long as nothing changes.
#[derive(Default)]
pub(super) struct Told(BTreeMap<Subject, String>);

/// What a line is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Subject {
    pub(super) system: SystemId,
    /// A node that failed.
    pub(super) node: String,
    /// Of its partitions, one; absent for the node itself.
    pub(super) partition: Option<PartitionId>,
}

impl Told {
    /// Tells what was detected and is not acted on, and why, unless that was told last.
    pub(super) async fn tell(
        &mut self,
        migrations: &Migrations,
        subject: Subject,
        now_ms: u64,
        what: String,
        why: String,
    ) {
        let text = format!("{what}: {why}");
        if self.0.get(&subject) == Some(&text) {
            return;
        }
        let mut line = Line::own(now_ms, Kind::Noticed, what);
        line.partition = subject.partition.as_ref().map(ToString::to_string);
        line.why = why;
        migrations.handle.note(line).await;
        self.0.insert(subject, text);
    }

    /// Forgets what is not the case any more.
    pub(super) fn retain(&mut self, system: &SystemId, still: &BTreeSet<Subject>) {
        self.0.retain(|subject, _| subject.system != *system || still.contains(subject));
    }

    /// Forgets all of a system.
    pub(super) fn forget(&mut self, system: &SystemId) {
        self.0.retain(|subject, _| subject.system != *system);
    }
}

/// Lines of what has changed in a book.
pub(super) fn changes(system: &SystemId, before: &Book, book: &Book, now_ms: u64) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut tell = |what: String, why: String| {
        let mut line = Line::own(now_ms, Kind::Noticed, what);
        line.why = why;
        lines.push(line);
    };
    for (node, failure) in book.failures.iter().filter(|(node, _)| !before.failures.contains_key(*node)) {
        let lost = failure.lost.len();
        let partitions = if lost == 1 { "partition" } else { "partitions" };
        tell(format!("{system}/{node} is down"), format!("{lost} {partitions} had a replica on it"));
    }
    for node in before.failures.keys().filter(|node| !book.failures.contains_key(*node)) {
        tell(format!("the failure of {system}/{node} is over"), "nothing of it is missing".to_owned());
    }
    match (&before.breaker, &book.breaker) {
        (Breaker::Closed { .. }, Breaker::Open { cause, .. }) => {
            tell(format!("the breaker of repairs of {system} opens: none is begun"), cause.clone());
        }
        (Breaker::Closed { .. }, Breaker::Closed { .. }) | (Breaker::Open { .. }, _) => {}
    }
    lines
}
