//! Who is connected, and what is remembered of whom: the account of every agent, against its limits.
//!
//! One lock guards it all. It is taken a few times for each batch, for a look at a map and a few hashes of each
//! name, and never held across a wait.

use super::clock::{Clock, ClockState};
use super::limits::{Exceeded, Limits};
use super::memory::{Memory, Share};
use super::names::{Names, Recent};
use isotherm_model::{AgentId, BootId, Timestamp};
use isotherm_proto::Watching;
use isotherm_store::Run;
use std::collections::BTreeMap;
use std::hash::RandomState;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// An agent without a stream is remembered for so long, even where others need its place.
const REMEMBERED: Duration = Duration::from_secs(3_600);

/// Refusals of one agent that are told in [`TELLING`], so that none can fill the log.
const TOLD: u32 = 5;
const TELLING: Duration = Duration::from_secs(60);

/// All agents. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Agents(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    memory: Memory,
    /// Of the hashes of names.
    keys: RandomState,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    agents: BTreeMap<AgentId, Agent>,
    /// Open streams, those that have not said hello among them.
    streams: usize,
    /// Sum of all agents'.
    partitions: usize,
    entered: u64,
    refused_streams: u64,
}

#[derive(Debug)]
struct Agent {
    /// The oldest first.
    open: Vec<Open>,
    share: Share,
    nodes: Recent,
    partitions: Recent,
    clock: Clock,
    counted: Counted,
    last_refusal: Option<String>,
    locators: Locators,
    told: (Instant, u32),
    seen: Instant,
    arrived: Option<Timestamp>,
}

#[derive(Debug)]
struct Open {
    number: u64,
    boot: BootId,
    replaced: CancellationToken,
}

/// What an agent sent since the analyzer started, or since it was forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Batches and gaps that were acknowledged, those that came twice twice.
    pub(crate) acknowledged: u64,
    /// Batches and gaps that were not.
    pub(crate) refused: u64,
    /// Rows of batches that were queued for a commit.
    pub(crate) rows: u64,
}

/// What an agent was told of locators, and what it says of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Locators {
    /// The revision that it was told last; 0 for none.
    pub(crate) told: u64,
    /// What it said last; `None` for one that says nothing of them.
    pub(crate) watching: Option<Watching>,
}

/// What is known of an agent.
#[derive(Debug, Clone)]
pub(crate) struct AgentStatus {
    pub(crate) agent: AgentId,
    pub(crate) streams: usize,
    pub(crate) counted: Counted,
    pub(crate) nodes: usize,
    pub(crate) partitions: usize,
    pub(crate) lag_ms: Option<i64>,
    pub(crate) clock: ClockState,
    pub(crate) last_refusal: Option<String>,
    pub(crate) locators: Locators,
    pub(crate) last_arrival: Option<Timestamp>,
}

/// How near the limits everything is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Totals {
    pub(crate) agents: usize,
    pub(crate) streams: usize,
    pub(crate) partitions: usize,
    pub(crate) refused_streams: u64,
}

/// A stream that counts until this is dropped.
#[derive(Debug)]
pub(super) struct Arrival(Agents);

/// A stream that has said whose it is.
#[derive(Debug)]
pub(super) struct Visit {
    agents: Agents,
    pub(super) run: Run,
    number: u64,
    pub(super) share: Share,
    /// Cancelled when a newer stream of the run took its place.
    pub(super) replaced: CancellationToken,
    _arrival: Arrival,
}

impl Agents {
    pub(super) fn new(limits: Limits, memory: Memory) -> Self {
        let (keys, state) = (RandomState::new(), Mutex::default());
        Self(Arc::new(Shared { limits, memory, keys, state }))
    }

    /// No code that holds the lock can panic half-way through a change.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Of the hashes of names.
    pub(super) fn keys(&self) -> &RandomState {
        &self.0.keys
    }

    /// Counts a stream.
    pub(super) fn arrive(&self) -> Result<Arrival, Exceeded> {
        let (mut state, limit) = (self.state(), self.0.limits.max_streams);
        if state.streams >= limit {
            state.refused_streams += 1;
            return Err(Exceeded { what: "this stream".to_owned(), key: "max_streams", limit });
        }
        state.streams += 1;
        Ok(Arrival(self.clone()))
    }

    /// Counts it for its agent. Where that has as many as it may, the oldest of the same run gives way: a run has
    /// one stream, and what it left has broken without a word. Another run's does not.
    pub(super) fn enter(&self, arrival: Arrival, run: Run, now: Instant) -> Result<Visit, Exceeded> {
        let limits = &self.0.limits;
        let mut guard = self.state();
        let state = &mut *guard;
        if !state.agents.contains_key(&run.agent) && state.agents.len() >= limits.max_agents {
            state.forget(now);
        }
        if !state.agents.contains_key(&run.agent) && state.agents.len() >= limits.max_agents {
            state.refused_streams += 1;
            let what = format!("agent {}", run.agent);
            return Err(Exceeded { what, key: "max_agents", limit: limits.max_agents });
        }
        let agent =
            state.agents.entry(run.agent.clone()).or_insert_with(|| Agent::new(self.0.memory.share(), now));
        if agent.open.len() >= limits.max_streams_per_agent {
            let Some(oldest) = agent.open.iter().position(|open| open.boot == run.boot) else {
                state.refused_streams += 1;
                let what = format!("this stream of agent {}", run.agent);
                let (key, limit) = ("max_streams_per_agent", limits.max_streams_per_agent);
                return Err(Exceeded { what, key, limit });
            };
            agent.open.remove(oldest).replaced.cancel();
        }
        state.entered += 1;
        let (number, replaced) = (state.entered, CancellationToken::new());
        agent.open.push(Open { number, boot: run.boot.clone(), replaced: replaced.clone() });
        agent.seen = now;
        let share = agent.share.clone();
        drop(guard);
        Ok(Visit { agents: self.clone(), run, number, share, replaced, _arrival: arrival })
    }

    /// Every agent that is remembered, by name.
    pub(crate) fn statuses(&self) -> Vec<AgentStatus> {
        let state = self.state();
        let status = |(name, agent): (&AgentId, &Agent)| AgentStatus {
            agent: name.clone(),
            streams: agent.open.len(),
            counted: agent.counted,
            nodes: agent.nodes.len(),
            partitions: agent.partitions.len(),
            lag_ms: agent.clock.lag_ms(),
            clock: agent.clock.state(),
            last_refusal: agent.last_refusal.clone(),
            locators: agent.locators.clone(),
            last_arrival: agent.arrived,
        };
        state.agents.iter().map(status).collect()
    }

    pub(crate) fn totals(&self) -> Totals {
        let state = self.state();
        let (agents, streams) = (state.agents.len(), state.streams);
        Totals { agents, streams, partitions: state.partitions, refused_streams: state.refused_streams }
    }
}

impl State {
    /// Forgets the agents that were gone for longest enough.
    fn forget(&mut self, now: Instant) {
        self.agents.retain(|_, agent| {
            !agent.open.is_empty() || now.saturating_duration_since(agent.seen) < REMEMBERED
        });
        self.partitions = self.agents.values().map(|agent| agent.partitions.len()).sum();
    }
}

impl Agent {
    fn new(share: Share, now: Instant) -> Self {
        Self {
            open: Vec::new(),
            share,
            nodes: Recent::new(now),
            partitions: Recent::new(now),
            clock: Clock::default(),
            counted: Counted::default(),
            last_refusal: None,
            locators: Locators::default(),
            told: (now, 0),
            seen: now,
            arrived: None,
        }
    }
}

impl Visit {
    fn with<T>(&self, change: impl FnOnce(&mut Agent, &mut usize, &Limits) -> T) -> T {
        let mut guard = self.agents.state();
        let state = &mut *guard;
        // It is not forgotten while it has a stream; one that was replaced is about to end.
        let agent = state
            .agents
            .entry(self.run.agent.clone())
            .or_insert_with(|| Agent::new(self.share.clone(), Instant::now()));
        change(agent, &mut state.partitions, &self.agents.0.limits)
    }

    /// Remembers the names of a batch; none of them if there are too many.
    pub(super) fn admit(&self, names: &Names, now: Instant) -> Result<(), Exceeded> {
        self.with(|agent, all, limits| {
            let before = agent.partitions.len();
            let nodes = agent.nodes.new_among(now, &names.nodes);
            let partitions = agent.partitions.new_among(now, &names.partitions);
            *all -= before - agent.partitions.len();
            let check = |new: usize, have: usize, what: &str, key, limit| {
                if new == 0 || have + new <= limit {
                    return Ok(());
                }
                let which = limit.saturating_sub(have) + 1;
                let what = format!("{what} {which} of {new} in this batch that were not seen before");
                Err(Exceeded { what, key, limit })
            };
            let (nodes_limit, partitions_limit) =
                (limits.max_nodes_per_agent, limits.max_partitions_per_agent);
            check(nodes, agent.nodes.len(), "node", "max_nodes_per_agent", nodes_limit)?;
            let have = agent.partitions.len();
            check(partitions, have, "partition", "max_partitions_per_agent", partitions_limit)?;
            check(partitions, *all, "partition", "max_partitions", limits.max_partitions)?;
            agent.nodes.remember(&names.nodes);
            agent.partitions.remember(&names.partitions);
            *all += agent.partitions.len() - have;
            Ok(())
        })
    }

    /// Counts a batch that came; says whether the agent's clock is judged otherwise now, and its lag.
    pub(super) fn batch(
        &self,
        rows: usize,
        arrival: Timestamp,
        newest_end: Timestamp,
        window_ms: u32,
    ) -> Option<(ClockState, i64)> {
        let lag_ms = arrival.as_ms().cast_signed() - newest_end.as_ms().cast_signed();
        self.with(|agent, _, _| {
            agent.counted.rows += rows as u64;
            agent.arrived = Some(arrival);
            let state = agent.clock.observe(lag_ms, window_ms)?;
            Some((state, agent.clock.lag_ms().unwrap_or(lag_ms)))
        })
    }

    pub(super) fn acknowledged(&self) {
        self.with(|agent, _, _| agent.counted.acknowledged += 1);
    }

    /// Remembers what the agent says of itself.
    pub(super) fn watching(&self, watching: Watching) {
        self.with(|agent, _, _| agent.locators.watching = Some(watching));
    }

    /// Counts a refusal; says whether to tell it in the log.
    pub(super) fn refused(&self, detail: &str, now: Instant) -> bool {
        self.with(|agent, _, _| {
            agent.counted.refused += 1;
            if now.saturating_duration_since(agent.told.0) > TELLING {
                agent.told = (now, 0);
            }
            agent.told.1 += 1;
            agent.last_refusal = Some(detail.to_owned());
            agent.told.1 <= TOLD
        })
    }
}

/// The account of what one agent is told of locators.
pub(crate) struct Told<'a>(pub(super) &'a Visit);

impl Told<'_> {
    pub(crate) fn agent(&self) -> &AgentId {
        &self.0.run.agent
    }

    /// This revision is under way.
    pub(crate) fn revision(&self, revision: u64) {
        self.0.with(|agent, _, _| agent.locators.told = revision);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.with(|agent, _, _| {
            agent.open.retain(|open| open.number != self.number);
            agent.seen = Instant::now();
        });
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.0.state().streams -= 1;
    }
}

#[cfg(test)]
mod tests;
