//! When repairs are not begun any more: so much has failed that the cause is likely another than nodes that die one by
//! one, and copying would make it worse. Pure. An open breaker is closed by an operator and never by itself.

use super::book::Book;
use super::decide::Standing;
use super::settings::{Settings, ms};
use isotherm_migration::{End, Phase};
use isotherm_runner::Entry;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

/// What the breaker looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Nodes that failed within the window, by name, and that nobody has acknowledged.
    pub(super) failed: Vec<String>,
    /// Nodes of the system.
    pub(super) nodes: usize,
    /// Repairs that failed since the last one that did not.
    pub(super) in_a_row: u32,
}

/// Why the breaker opens.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum Trip {
    #[error("{} nodes have failed within {}, more than {most}: {}", .failed.len(), words(.within), .failed.join(", "))]
    Nodes { failed: Vec<String>, most: u32, within: Duration },
    #[error(
        "{} of {nodes} nodes have failed within {}, a larger share than {most}: {}",
        .failed.len(), words(.within), .failed.join(", ")
    )]
    Share { failed: Vec<String>, nodes: usize, most: f64, within: Duration },
    #[error("{failed} repairs have failed in a row")]
    Repairs { failed: u32 },
    #[error("nodes have failed, and what is known of the cluster is not of this moment: {problem}")]
    Stale { problem: String },
}

fn words(duration: &Duration) -> humantime::FormattedDuration {
    humantime::format_duration(*duration)
}

/// Whether the breaker must open.
pub(super) fn trips(counted: &Counted, settings: &Settings) -> Option<Trip> {
    let Counted { failed, nodes, in_a_row } = counted;
    let within = settings.breaker_window;
    if failed.len() > settings.most_nodes as usize {
        return Some(Trip::Nodes { failed: failed.clone(), most: settings.most_nodes, within });
    }
    let most = settings.most_share;
    if failed.len() > 1 && failed.len() as f64 > most * *nodes as f64 {
        return Some(Trip::Share { failed: failed.clone(), nodes: *nodes, most, within });
    }
    (*in_a_row >= settings.most_failed).then_some(Trip::Repairs { failed: *in_a_row })
}

/// Nodes that count: down for at least the hold-down, since the window began, not on purpose and not acknowledged; and
/// those whose failures are over by repair.
pub(super) fn failed(
    book: &Book,
    standings: &BTreeMap<String, Standing>,
    settings: &Settings,
    hold_ms: u64,
    now_ms: u64,
) -> Vec<String> {
    let recent = |since_ms: u64| since_ms.saturating_add(ms(settings.breaker_window)) > now_ms;
    let present = book.failures.iter().filter(|(node, failure)| {
        let counts = standings.get(*node).is_some_and(Standing::counts);
        counts
            && !failure.acknowledged
            && recent(failure.since_ms)
            && failure.since_ms.saturating_add(hold_ms) <= now_ms
    });
    let past = book.past.iter().filter(|past| recent(past.since_ms)).map(|past| &past.node);
    let mut failed: Vec<String> = present.map(|(node, _)| node).chain(past).cloned().collect();
    failed.sort();
    failed.dedup();
    failed
}

/// Repairs that failed since the last one that came to its end, of those begun since the breaker was closed. What was
/// cancelled or never began says nothing.
pub(super) fn in_a_row(repairs: &[Entry], closed_ms: u64) -> u32 {
    let mut ends: Vec<(Reverse<u64>, bool)> = repairs
        .iter()
        .filter(|entry| entry.about.created_ms >= closed_ms)
        .filter_map(|entry| {
            Some((Reverse(entry.about.ended_ms.unwrap_or(u64::MAX)), failed_by_itself(entry)?))
        })
        .collect();
    ends.sort();
    u32::try_from(ends.iter().take_while(|(_, failed)| *failed).count()).unwrap_or(u32::MAX)
}

/// Whether it failed; `None` where that cannot be said.
fn failed_by_itself(entry: &Entry) -> Option<bool> {
    match entry.migration.end() {
        Some(End::Completed) => Some(false),
        Some(End::Failed(_) | End::Reversed) => Some(true),
        Some(End::Cancelled | End::Expired(_)) => None,
        None => (entry.migration.phase() == Phase::NeedsOperator).then_some(true),
    }
}

#[cfg(test)]
mod tests;
