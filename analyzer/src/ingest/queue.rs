//! The writer's queue: submissions that wait for a commit, in [turns](super::turns) by rows.
//!
//! It has no bound of its own. A stream has no more in it than its credit, and batches no more than the memory
//! that they hold a part of; a bound on their number would make agents wait in the order they came, and that is
//! what this is to prevent. The lock is held for a few operations on a map, never across a wait.

use super::turns::Turns;
use crate::writer::Job;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    turns: Turns<Job>,
    rows: usize,
    /// The writer is gone.
    closed: bool,
}

/// Where streams submit.
#[derive(Debug, Clone)]
pub(crate) struct Submitting(Arc<Shared>);

/// Where the writer takes from. What is left when it goes is dropped, and nothing comes any more.
#[derive(Debug)]
pub(crate) struct Queue(Arc<Shared>);

/// What waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Depth {
    pub(crate) submissions: usize,
    pub(crate) rows: usize,
}

/// The writer is gone, and what was to be submitted with it.
#[derive(Debug)]
pub(super) struct Closed;

/// A queue, from both sides.
pub(crate) fn queue() -> (Submitting, Queue) {
    let shared = Arc::new(Shared::default());
    (Submitting(Arc::clone(&shared)), Queue(shared))
}

impl Shared {
    /// No code that holds the lock can panic half-way through a change.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Submitting {
    /// Queues a job, if there is still somebody to take it.
    pub(super) fn submit(&self, job: Job) -> Result<(), Closed> {
        let mut state = self.0.state();
        if state.closed {
            return Err(Closed);
        }
        state.rows += job.rows;
        let agent = job.submission.run.agent.clone();
        state.turns.push(&agent, job.rows, job);
        drop(state);
        self.0.arrived.notify_one();
        Ok(())
    }

    pub(super) fn depth(&self) -> Depth {
        let state = self.0.state();
        Depth { submissions: state.turns.len(), rows: state.rows }
    }
}

impl Queue {
    /// The job whose turn it is, once there is one.
    pub(crate) async fn next(&mut self) -> Job {
        loop {
            if let Some(job) = self.try_next() {
                return job;
            }
            self.0.arrived.notified().await;
        }
    }

    /// The job whose turn it is, if there is one.
    pub(crate) fn try_next(&mut self) -> Option<Job> {
        let mut state = self.0.state();
        let job = state.turns.pop()?;
        state.rows -= job.rows;
        Some(job)
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.state().turns.len() == 0
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.closed = true;
        // Who waits for an answer learns that there will be none.
        let left = std::mem::take(&mut state.turns);
        drop(state);
        drop(left);
    }
}
