//! The failure history as it comes about: when nodes go down and come back, and how long they were seen to be up.
//!
//! One task looks every [`TICK`] at the topology's health, at what agents report and, if it is allowed to, at whether
//! nodes [answer](probe). What that says of a node is [judged](detect) by pure functions; what they decide is written to
//! the record before it is believed, so that a write that fails is tried again. A silent agent alone is never a failure:
//! it needs a second signal.

mod account;
mod detect;
mod probe;
mod signals;
mod witness;

use super::{Topologies, Topology};
use crate::config::FailureConfig;
use crate::writer::{now, with_causes};
use account::Account;
use anyhow::Context;
use detect::{Command, Machine};
use isotherm_model::{NodeId, SystemId, Timestamp};
use isotherm_store::{
    Cause, Changed, DomainSize, DownInterval, History, HistoryError, Keep, QueryError, Reader, Recorder,
};
use probe::Probes;
use signals::Signals;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
pub(crate) use witness::{AgentSays, ProbeSays, Witness, Witnesses};

/// How often nodes are looked at. Less than a window of agents.
const TICK: Duration = Duration::from_secs(2);

/// Sources that belong to this task; what people recorded is theirs to end.
const DETECTED: [Recorder; 2] = [Recorder::Topology, Recorder::Agent];

/// What is known of every node, between two looks.
struct Tracker {
    reader: Reader,
    history: History,
    account: Account,
    machines: BTreeMap<NodeId, Machine>,
    hold_ms: u64,
    started: Timestamp,
    told: Option<String>,
    /// Nodes that an agent reports.
    watched: BTreeSet<NodeId>,
    /// What is said of nodes beside the topology.
    witnesses: Arc<BTreeMap<NodeId, Witness>>,
}

/// Looks until `stop`, and tells what is said of nodes beside the topology.
pub(crate) async fn run(
    reader: Reader,
    topologies: Topologies,
    config: FailureConfig,
    publish: tokio::sync::watch::Sender<Arc<BTreeMap<NodeId, Witness>>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let opened = tokio::task::spawn_blocking(move || Tracker::open(reader, &config).map(|it| (it, config)));
    let (mut tracker, config) = opened.await?.context("cannot use the failure history")?;
    let mut probes = Probes::new(config.probe);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let topology = topologies.borrow().clone();
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = probes.refresh(&topology, &tracker.watched) => {}
        }
        let answers = probes.clone();
        tracker = tokio::task::spawn_blocking(move || {
            let looked = tracker.look(&topology, &answers, now());
            tracker.tell(looked.err());
            tracker
        })
        .await?;
        publish.send_replace(Arc::clone(&tracker.witnesses));
    }
}

/// Why a look was not finished; the next tries again.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("cannot read what is known")]
    Read(#[from] QueryError),
    #[error("cannot record it")]
    Record(#[from] HistoryError),
}

impl Tracker {
    fn open(reader: Reader, config: &FailureConfig) -> Result<Self, LookError> {
        let history = History::open(&reader)?;
        let mut machines: BTreeMap<NodeId, Machine> = BTreeMap::new();
        let open = reader.down_intervals(None)?.into_iter();
        for interval in open.filter(|interval| interval.to.is_none() && DETECTED.contains(&interval.source)) {
            machines.entry(interval.node.clone()).or_default().resume(interval.cause, interval.from);
        }
        Ok(Self {
            account: Account::open(&reader)?,
            reader,
            history,
            machines,
            hold_ms: u64::try_from(config.hold_down.as_millis()).unwrap_or(u64::MAX),
            started: now(),
            told: None,
            watched: BTreeSet::new(),
            witnesses: Arc::default(),
        })
    }

    fn look(&mut self, topology: &Topology, probes: &Probes, now: Timestamp) -> Result<(), LookError> {
        let reports = self.reader.nodes()?;
        let signals = Signals::new(topology, &reports, probes, self.started, now);
        self.watched = reports.iter().map(|report| report.node.clone()).collect();
        self.witnesses = Arc::new(witness::witnesses(&signals, probes));
        let nodes: BTreeSet<&NodeId> = signals.nodes().chain(self.machines.keys()).collect();
        let nodes: Vec<NodeId> = nodes.into_iter().cloned().collect();
        for node in nodes {
            let known = self.machines.get(&node).cloned().unwrap_or_default();
            let seen = signals.of(&node, known.was_up());
            let gone = signals.is_gone(&node);
            let (next, commands) = known.step(&seen, gone, self.hold_ms, now);
            for command in commands {
                self.perform(topology, &node, command, now)?;
            }
            if gone && next.is_idle() {
                self.machines.remove(&node);
            } else {
                self.machines.insert(node, next);
            }
        }
        self.account.look(&self.reader, &mut self.history, topology, &reports, now)?;
        Ok(())
    }

    fn perform(
        &mut self,
        topology: &Topology,
        node: &NodeId,
        command: Command,
        now: Timestamp,
    ) -> Result<(), LookError> {
        match command {
            Command::Open { from, cause, source, note } => {
                tracing::warn!(%node, cause = cause.as_str(), source = source.as_str(), %note, "down");
                let interval = DownInterval {
                    node: node.clone(),
                    from,
                    to: None,
                    cause,
                    source,
                    domains: Domains::new(topology).of(node),
                    note,
                    who: String::new(),
                    recorded: now,
                };
                match self.history.record(&[interval]) {
                    // It is on record, and a person has ended it.
                    Ok(_) | Err(HistoryError::Differs { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Command::Close { at, cause } => {
                tracing::info!(%node, cause = cause.as_str(), "up again");
                let causes: &[Cause] = match cause {
                    Cause::AgentLoss => &[Cause::AgentLoss],
                    Cause::Failure | Cause::Maintenance => &[Cause::Failure, Cause::Maintenance],
                };
                let end = |history: &mut History, at| {
                    let ended = Changed { at, who: String::new(), reason: String::new() };
                    history.end(node, causes, &DETECTED, &ended, Keep::Yes)
                };
                // Where a person has ended it already, nothing is left to end.
                match end(&mut self.history, at) {
                    // The clock was set back meanwhile.
                    Err(HistoryError::Backwards { from, .. }) => {
                        end(&mut self.history, from.plus_ms(1))?;
                    }
                    ended => drop(ended?),
                }
            }
            Command::LossWasFailure { from, note } => {
                tracing::warn!(%node, %note, "down, not only its agent");
                match self.history.failed_after_all(node, from, &note) {
                    Ok(()) | Err(HistoryError::Nothing { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// The same trouble is told once.
    fn tell(&mut self, error: Option<LookError>) {
        let told = error.map(|error| with_causes(&error));
        if let Some(error) = told.as_ref().filter(|error| self.told.as_ref() != Some(error)) {
            tracing::warn!(%error, "the failure history stands still; trying again");
        }
        self.told = told;
    }
}

/// Failure domains of nodes, with how many nodes lie in each. Sizes are counted once for each system.
pub(crate) struct Domains<'a> {
    topology: &'a Topology,
    sizes: BTreeMap<&'a SystemId, BTreeMap<&'a [String], u64>>,
}

impl<'a> Domains<'a> {
    pub(crate) fn new(topology: &'a Topology) -> Self {
        Self { topology, sizes: BTreeMap::new() }
    }

    /// The domains of a node, outermost first; none if the topology does not name it.
    pub(crate) fn of(&mut self, node: &NodeId) -> Vec<DomainSize> {
        let Some((node, facts)) = self.topology.nodes.get_key_value(node) else { return Vec::new() };
        let topology = self.topology;
        let sizes = self.sizes.entry(node.system()).or_insert_with(|| topology.domain_sizes(node.system()));
        let size = |depth: usize| sizes.get(&facts.domains[..=depth]).copied().unwrap_or(1);
        let named = facts.domains.iter().enumerate();
        named.map(|(depth, name)| DomainSize { name: name.clone(), nodes: size(depth) }).collect()
    }
}
