//! A fleet: thousands of agents that speak the real protocol, behave as badly as they are told to, and know what must
//! be stored of what they sent.
//!
//! What an agent sends follows from the seed, the plan and its number alone; when it sends it, and what is lost on
//! the way, does not, and must not matter. The truth is made up with the batches, never read from the analyzer.

mod agent;
mod script;

pub(crate) use script::{Disorder, Role, Script};

use anyhow::{Context, Result};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

/// What a fleet does.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) agents: usize,
    /// Batches of an ordinary agent, gaps among them.
    pub(crate) batches: u64,
    /// Rows of an ordinary agent's window at most.
    pub(crate) rows: usize,
    /// HTTP/2 connections that the streams share; 0 for one each.
    pub(crate) connections: usize,
    /// Time between two windows, which are then of the present; without it everything is sent as fast as it is
    /// taken, and is of the past.
    pub(crate) pace: Option<Duration>,
    pub(crate) disorder: Disorder,
    /// Who is not ordinary, by number.
    pub(crate) roles: fn(usize) -> Role,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            seed: 1,
            agents: 10,
            batches: 10,
            rows: 10,
            connections: 0,
            pace: None,
            disorder: Disorder::NONE,
            roles: |_| Role::Ordinary,
        }
    }
}

/// What an agent did, and what must be known of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Truth {
    /// Name of the agent, and of its node.
    pub(crate) name: String,
    /// Reads that must be stored of its node.
    pub(crate) reads: u64,
    /// Rows of the same batches.
    pub(crate) rows: u64,
    /// Batches of which the analyzer must know that they will never come.
    pub(crate) missing: u64,
    /// Times from sending a batch to its acknowledgement, where nothing went wrong in between.
    pub(crate) waits: Vec<Duration>,
    /// What was done to it.
    pub(crate) mishaps: Mishaps,
}

/// How often what happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mishaps {
    pub(crate) duplicates: u64,
    pub(crate) reordered: u64,
    pub(crate) out_of_order: u64,
    pub(crate) garbage: u64,
    pub(crate) retries: u64,
    pub(crate) cuts: u64,
    pub(crate) reboots: u64,
}

/// A fleet that has delivered everything.
pub(crate) struct Fleet {
    pub(crate) truths: Vec<Truth>,
    pub(crate) took: Duration,
    /// Streams that are held open until they are dropped.
    pub(crate) open: Vec<agent::Stream>,
}

impl Mishaps {
    fn plus(self, other: Self) -> Self {
        Self {
            duplicates: self.duplicates + other.duplicates,
            reordered: self.reordered + other.reordered,
            out_of_order: self.out_of_order + other.out_of_order,
            garbage: self.garbage + other.garbage,
            retries: self.retries + other.retries,
            cuts: self.cuts + other.cuts,
            reboots: self.reboots + other.reboots,
        }
    }
}

impl Fleet {
    pub(crate) fn rows(&self) -> u64 {
        self.truths.iter().map(|truth| truth.rows).sum()
    }

    pub(crate) fn mishaps(&self) -> Mishaps {
        self.truths.iter().fold(Mishaps::default(), |sum, truth| sum.plus(truth.mishaps))
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.truths.iter().map(|truth| truth.waits.len()).sum()
    }

    /// The wait that so many hundredths of all acknowledged batches did not exceed, of agents chosen by number.
    pub(crate) fn wait(&self, percent: usize, of: impl Fn(usize) -> bool) -> Duration {
        let mut waits: Vec<Duration> = (0..self.truths.len())
            .filter(|number| of(*number))
            .flat_map(|number| self.truths[number].waits.iter().copied())
            .collect();
        waits.sort_unstable();
        waits
            .get((waits.len() * percent / 100).min(waits.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }
}

/// Lets a fleet deliver everything, and holds its streams open.
pub(crate) async fn run(url: &str, plan: &Plan) -> Result<Fleet> {
    let endpoint = Endpoint::new(url.to_owned())?.tcp_nodelay(true);
    let shared: Vec<Channel> = (0..plan.connections).map(|_| endpoint.connect_lazy()).collect();
    let started = Instant::now();
    let mut agents = JoinSet::new();
    for number in 0..plan.agents {
        let channel = match shared.len() {
            0 => endpoint.connect_lazy(),
            connections => shared[number % connections].clone(),
        };
        let (script, plan) = (Script::new(plan, number), plan.clone());
        agents.spawn(async move {
            let name = script.name.clone();
            let done = agent::deliver(channel, script, &plan).await;
            done.map(|done| (number, done)).with_context(|| format!("agent {name}"))
        });
    }
    let mut done = Vec::with_capacity(plan.agents);
    while let Some(ended) = agents.join_next().await {
        done.push(ended??);
    }
    let took = started.elapsed();
    done.sort_unstable_by_key(|(number, _)| *number);
    let (truths, open) = done.into_iter().map(|(_, (truth, stream))| (truth, stream)).unzip();
    Ok(Fleet { truths, took, open })
}
