//! The one owner of the store: takes what streams submit, commits it in groups, and tells each its verdict.
//!
//! It runs on a thread of its own, because a commit waits for the disk. It answers through one-shot channels,
//! so that no slow reader can hold up a commit.

use crate::ingest::{Held, Queue};
use isotherm_model::Timestamp;
use isotherm_store::{
    ClockAhead, Derived, Entry, Merging, NodeContest, Outcome, Run, Store, Submission, Verdict, WriteError,
};
use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Submissions in one commit: enough to share its syncs and its segment among thousands of agents that all cut their
/// windows at the same time, few enough to answer soon.
const GROUP: usize = 256;

/// Rows at which a commit takes no more. One takes about 1 KB of columns, so these are 130 MB; the batch that
/// goes past it may add as many again as a batch may have.
const GROUP_ROWS: usize = 1 << 17;

/// Commits after which segments are merged although submissions wait: about as many as are merged into one.
const PATIENCE: u32 = 16;

/// Contested nodes and wrong clocks that are remembered, so that each is warned about once.
const WARNED: usize = 1_024;

/// How often is warned about windows that come late.
const LATE_EVERY: Duration = Duration::from_secs(60);

/// What was warned about.
#[derive(Default)]
struct Warned {
    contested: BTreeSet<NodeContest>,
    ahead: BTreeSet<Run>,
    merging: Option<String>,
    late: Option<Instant>,
}

/// A submission with whom to answer.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) submission: Submission,
    /// Its rows in a segment.
    pub(crate) rows: usize,
    /// Its part of the memory that submissions may take; given back when it is answered.
    pub(crate) memory: Option<Held>,
    pub(crate) reply: oneshot::Sender<Reply>,
}

/// Rows that a cycle computed, with whom to answer once they are kept.
#[derive(Debug)]
pub(crate) struct Keep {
    pub(crate) derived: Derived,
    pub(crate) reply: oneshot::Sender<Result<(), WriteError>>,
}

/// What comes next.
enum Next {
    Job(Job),
    Keep(Keep),
}

/// What became of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The store decided.
    Decided(Verdict),
    /// The store could not write, for this reason.
    Failed(String),
}

/// Commits until `done`, and then what is still queued. Ends early, with the reason, when the store will not
/// write again. To be called from a blocking thread of a runtime.
pub(crate) fn run(
    mut store: Store,
    mut jobs: Queue,
    mut keeps: mpsc::Receiver<Keep>,
    done: &CancellationToken,
) -> Result<(), WriteError> {
    let runtime = Handle::current();
    let mut warned = Warned::default();
    let mut unmerged = 0;
    while let Some(next) = runtime.block_on(next(&mut jobs, &mut keeps, done)) {
        let first = match next {
            Next::Job(job) => job,
            Next::Keep(Keep { derived, reply }) => {
                let kept = store.append(derived, now());
                let doubtful = matches!(kept, Err(WriteError::Doubtful(_)));
                // Who waits for it may have ended.
                let _ = reply.send(kept);
                if doubtful {
                    return Err(WriteError::Doubtful(None));
                }
                continue;
            }
        };
        let mut rows = first.rows;
        let mut group = vec![first];
        while group.len() < GROUP
            && rows < GROUP_ROWS
            && let Some(job) = jobs.try_next()
        {
            rows += job.rows;
            group.push(job);
        }
        commit(&mut store, group, &mut warned)?;
        unmerged += 1;
        // Who submits in the meantime waits for one merge at most.
        while jobs.is_empty() || unmerged >= PATIENCE {
            unmerged = 0;
            match store.maintain(now(), Instant::now()) {
                Ok(Merging::MoreToDo) => {}
                Ok(Merging::Done) => break,
                Err(doubtful @ WriteError::Doubtful(_)) => return Err(doubtful),
                Err(error) => {
                    warned.about_merging(with_causes(&error));
                    break;
                }
            }
        }
    }
    Ok(())
}

async fn next(jobs: &mut Queue, keeps: &mut mpsc::Receiver<Keep>, done: &CancellationToken) -> Option<Next> {
    tokio::select! {
        biased;
        Some(keep) = keeps.recv() => Some(Next::Keep(keep)),
        job = jobs.next() => Some(Next::Job(job)),
        () = done.cancelled() => None,
    }
}

fn commit(store: &mut Store, group: Vec<Job>, warned: &mut Warned) -> Result<(), WriteError> {
    let mut waiting = Vec::with_capacity(group.len());
    let mut submissions = Vec::with_capacity(group.len());
    for job in group {
        submissions.push(job.submission);
        waiting.push((job.reply, job.memory));
    }
    let Outcome { verdicts, failure, contested, ahead, late } = store.commit(&submissions, now());
    drop(submissions);
    let reason = failure.as_ref().map(|failure| with_causes(failure));
    if let Some(reason) = &reason {
        tracing::warn!(%reason, "cannot write; agents keep their batches and try again");
    }
    for ((reply, _memory), verdict) in waiting.into_iter().zip(verdicts) {
        let answer = match (verdict, &reason) {
            (Verdict::Retry, Some(reason)) => Reply::Failed(reason.clone()),
            (verdict, _) => Reply::Decided(verdict),
        };
        // A stream that has ended does not need its answer: the agent asks again by its next hello.
        let _ = reply.send(answer);
    }
    warned.about(contested, ahead);
    warned.about_late(late);
    match failure {
        Some(doubtful @ WriteError::Doubtful(_)) => Err(doubtful),
        Some(_) | None => Ok(()),
    }
}

impl Warned {
    /// Merging is tried again after every commit, and fails the same way until somebody does something.
    fn about_merging(&mut self, error: String) {
        if self.merging.as_ref() != Some(&error) {
            tracing::warn!(%error, "cannot merge, compact or retire segments");
            self.merging = Some(error);
        }
    }

    /// Who sends what was spooled for long sends much of it.
    fn about_late(&mut self, windows: u64) {
        if windows > 0 && self.late.is_none_or(|told| told.elapsed() >= LATE_EVERY) {
            tracing::warn!(
                windows,
                "windows came late; they are kept in the table late: isotherm store stats"
            );
            self.late = Some(Instant::now());
        }
    }

    fn about(&mut self, contested: Vec<NodeContest>, ahead: Vec<ClockAhead>) {
        for contest in contested {
            if self.contested.len() < WARNED && !self.contested.contains(&contest) {
                let [first, second] = &contest.agents;
                tracing::warn!(node = %contest.node, %first, %second, "two agents report this node; its accesses are counted twice");
                self.contested.insert(contest);
            }
        }
        for ClockAhead { run, ahead_ms } in ahead {
            if self.ahead.len() < WARNED && !self.ahead.contains(&run) {
                tracing::warn!(
                    agent = %run.agent, boot = %run.boot, ahead_ms,
                    "this agent sends windows of the future: its clock or this host's is wrong; they are kept, \
                     but its nodes look silent"
                );
                self.ahead.insert(run);
            }
        }
    }
}

/// Rows that an entry has in a segment.
pub(crate) fn rows_of(entry: &Entry) -> usize {
    match entry {
        Entry::Batch { windows, .. } => {
            let nodes = windows.iter().flat_map(|window| &window.nodes);
            nodes.map(|node| node.rows.len() + node.peers.len() + node.lost.len() + node.totals.len()).sum()
        }
        Entry::Gap(_) => 0,
    }
}

/// An error and its causes, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The wall clock. Before 1970 it is 1970.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
