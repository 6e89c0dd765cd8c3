//! The cycle: every minute from what was counted to a decision record for every partition.
//!
//! One thread of its own makes a [frame](frames) from the store, takes it in, decides, has the rows kept, and publishes
//! what it found; nothing else changes its state. All that it decides with is in `isotherm_cycle`, which knows no clock
//! and no store. A cycle that fails is told and left out, and the next one goes on; one that takes too long makes
//! those after it be left out, never piled up. The state is written down now and then, so that a restart goes on warm.

mod checkpoint;
mod cluster;
mod counts;
pub(crate) mod frames;
mod schedule;
pub(crate) mod tables;

use crate::plan::Cordoned;
use crate::topology::kept::Log;
use crate::topology::{Origin, Source, Topologies, Topology};
use crate::writer::{Keep, now, with_causes};
use anyhow::{Context, Result};
use frames::{Frames, Made, Moment};
use isotherm_cycle::cluster::{Cluster, NodeState};
use isotherm_cycle::frame::{Decided, Frame, Purpose};
use isotherm_cycle::record::{Record, Status, Surging};
use isotherm_cycle::{Landscape, Settings, State};
use isotherm_model::{Layer, SystemId, Timestamp};
use isotherm_risk::HazardPolicy;
use isotherm_store::{Derived, EntropyRow, Reader, SystemLoad, Table};
use schedule::Next;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// Where readers take the last cycle.
pub(crate) type Cycles = watch::Receiver<Option<Arc<Cycled>>>;

/// Cycles from a checkpoint to the next: what a crash costs is read again from the store.
const CHECKPOINT_EVERY: u64 = 15;

/// How long adapters may take after a start.
const HEARD_WITHIN: Duration = Duration::from_secs(10);

/// What an operator may set.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    pub(crate) settings: Settings,
    pub(crate) hazard: HazardPolicy,
    /// How long windows may take to arrive. Default 20 s: two windows of the agents' default length.
    pub(crate) settle: Duration,
    /// Whose reads count, by system; those of the logical layer where a system is absent.
    pub(crate) layers: BTreeMap<SystemId, Layer>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            hazard: HazardPolicy::default(),
            settle: Duration::from_secs(20),
            layers: BTreeMap::new(),
        }
    }
}

/// What a cycle found.
#[derive(Debug)]
pub(crate) struct Cycled {
    pub(crate) number: u64,
    /// End of the step that was judged.
    pub(crate) at: Timestamp,
    pub(crate) took: Duration,
    /// The parts of that, in their order.
    pub(crate) stages: Vec<(&'static str, Duration)>,
    /// Cycles since the start that were left out.
    pub(crate) skipped: u64,
    pub(crate) judged_forecasts: u64,
    /// Incidents and their absence that calibration has seen.
    pub(crate) labels: u64,
    pub(crate) settings: Settings,
    pub(crate) cluster: Cluster,
    pub(crate) landscape: Landscape,
    /// By system and name.
    pub(crate) records: Vec<Record>,
    pub(crate) systems: Vec<SystemLoad>,
    pub(crate) nodes: Vec<isotherm_cycle::NodeView>,
}

impl Cycled {
    /// How many records are known, surging, and have a forecast.
    pub(crate) fn tallied(&self) -> [u64; 3] {
        let count =
            |which: fn(&Record) -> bool| self.records.iter().filter(|record| which(record)).count() as u64;
        [
            count(|record| record.status == Status::Known),
            count(|record| matches!(record.surge, Surging::Since(_))),
            count(|record| record.forecast.is_some()),
        ]
    }
}

/// What the cycles work with.
pub(crate) struct Cycle {
    pub(crate) reader: Reader,
    pub(crate) topologies: Topologies,
    pub(crate) keep: mpsc::Sender<Keep>,
    pub(crate) dir: PathBuf,
    pub(crate) config: Config,
    /// Nodes that are no destinations.
    pub(crate) cordoned: Cordoned,
}

/// A cycle that is to be made.
struct Due {
    /// End of the step to decide by.
    end: Timestamp,
    /// Ends of earlier steps that are only taken in.
    behind: Vec<Timestamp>,
    /// Steps before those that nobody reads.
    gaps: u64,
}

/// Runs cycles until `stop`, on a thread that may block.
pub(crate) fn run(cycle: &Cycle, publish: &watch::Sender<Option<Arc<Cycled>>>, stop: &CancellationToken) {
    let mut state = cycle.remembered();
    let mut frames = Frames::new(&cycle.reader, &cycle.config, &cycle.dir);
    let mut log = cycle.log();
    let (mut skipped, mut told) = (0, None);
    match cycle.again(&state, &mut frames, stop) {
        Ok(None) => {}
        Ok(cycled) => drop(publish.send_replace(cycled.map(Arc::new))),
        Err(error) => {
            tracing::warn!(error = %format!("{error:#}"), "nothing is known before the first cycle");
        }
    }
    let runtime = tokio::runtime::Handle::current();
    while !stop.is_cancelled() {
        match schedule::next(state.until(), now(), cycle.config.settle, cycle.config.settings.step_ms) {
            Next::Wait(time) => {
                let time = time.min(Duration::from_secs(60));
                let _ = runtime.block_on(tokio::time::timeout(time, stop.cancelled()));
            }
            Next::Run { end, behind, gaps } => {
                if state.cycles() > 0 && !behind.is_empty() {
                    skipped += behind.len() as u64 + gaps;
                    tracing::warn!(
                        left_out = behind.len() as u64 + gaps,
                        "cycles were left out: the one before took too long, or the analyzer was not running"
                    );
                }
                let topology = cycle.topologies.borrow().clone();
                cycle.keep_topology(&mut log, *behind.first().unwrap_or(&end), &topology);
                let due = Due { end, behind, gaps };
                match cycle.once(&mut state, &mut frames, &due, &topology, stop) {
                    Ok(Some(cycled)) => {
                        told = None;
                        publish.send_replace(Some(Arc::new(Cycled { skipped, ..cycled })));
                        if state.cycles().is_multiple_of(CHECKPOINT_EVERY) {
                            cycle.remember(&state);
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        let error = format!("{error:#}");
                        if told.as_ref() != Some(&error) {
                            tracing::error!(%error, "a cycle failed; the next one tries again");
                            told = Some(error);
                        }
                        state.give_up_until(end, &cycle.config.settings);
                    }
                }
            }
        }
    }
    cycle.remember(&state);
}

impl Cycle {
    /// The state of the last checkpoint, or one that begins with what is stored.
    fn remembered(&self) -> State {
        match checkpoint::read::<State>(&self.dir) {
            Ok(Some(state)) => {
                tracing::info!(
                    partitions = state.len(),
                    cycles = state.cycles(),
                    "cycles go on from a checkpoint"
                );
                state
            }
            Ok(None) => self.beginning(),
            Err(error) => {
                tracing::warn!(error = %format!("{error:#}"), "cycles begin anew: their habits need time to grow");
                self.beginning()
            }
        }
    }

    /// An empty state, before the oldest minute that is stored and would be caught up with after a pause.
    fn beginning(&self) -> State {
        let mut state = State::default();
        let settings = &self.config.settings;
        let since = now().as_ms().saturating_sub(schedule::CATCH_UP * settings.step_ms);
        match self.reader.stats() {
            Ok(stats) => {
                let windows = stats.of(Table::Windows);
                let recent = windows.newest.is_some_and(|newest| newest.as_ms() > since);
                if let Some(oldest) = windows.oldest.filter(|_| recent) {
                    let first = Timestamp::from_ms(oldest.as_ms().max(since)).align_down(settings.step_ms);
                    state.give_up_until(first, settings);
                }
            }
            Err(error) => tracing::warn!(%error, "cycles begin without what is stored of the past"),
        }
        state
    }

    /// Where topologies are kept; `None` if they cannot be, which costs recordings and nothing else.
    fn log(&self) -> Option<Log> {
        Log::open(&self.dir)
            .inspect_err(|error| {
                tracing::warn!(
                    error = %format!("{error:#}"),
                    "recordings will not have the topology that adapters tell; remove the file to begin anew"
                );
            })
            .ok()
    }

    fn keep_topology(&self, log: &mut Option<Log>, at: Timestamp, topology: &Topology) {
        let oldest = || self.reader.stats().ok()?.of(Table::Windows).oldest;
        if let Some(log) = log
            && let Err(error) = log.keep(at, topology, oldest)
        {
            tracing::warn!(error = %format!("{error:#}"), "this topology is not on record");
        }
    }

    fn remember(&self, state: &State) {
        if state.cycles() == 0 {
            return;
        }
        if let Err(error) = checkpoint::write(&self.dir, state) {
            tracing::warn!(error = %format!("{error:#}"), "a restart would begin with cold series");
        }
    }

    /// One cycle; `None` if it was stopped.
    fn once(
        &self,
        state: &mut State,
        frames: &mut Frames<'_>,
        due: &Due,
        topology: &Topology,
        stop: &CancellationToken,
    ) -> Result<Option<Cycled>> {
        let mut stages = Stages::begin();
        let settings = &self.config.settings;
        let records = self.reader.records().context("cannot read the failure history")?;
        let mut gaps = due.gaps;
        let mut moment = |end, purpose| Moment { end, purpose, gaps: std::mem::take(&mut gaps) };
        let mut kept = Ok(());
        for missed in &due.behind {
            if stop.is_cancelled() {
                return kept.map(|()| None);
            }
            let made = frames.make(moment(*missed, Purpose::Learn), topology, &records)?;
            state.take_in(&made.frame, settings);
            // Minute by minute: rows of two hours would be more than all else that is in memory. What cannot be kept
            // is taken in all the same, and told at the end.
            kept = kept.and(self.kept(entropies(made.entropy)));
        }
        let made = frames.make(moment(due.end, Purpose::Decide), topology, &records)?;
        let Made { mut frame, entropy, systems } = made;
        self.cordon(&mut frame.cluster);
        state.take_in(&frame, settings);
        frame.forget_counts();
        stages.end("read and take in");
        kept = kept.and(self.kept(entropies(entropy)));
        stages.end("keep entropies");
        let decided = state.decide(&frame, settings, |stage| stages.end(stage))?;
        let forecasts = tables::forecasts(&decided.records, settings.step_ms);
        let risks = tables::risks(&decided.records, &frame.cluster);
        kept.and(self.kept(Derived { forecasts, risks, ..Derived::default() }))?;
        stages.end("keep decisions");
        Ok(Some(self.found(state, stages, frame, decided, systems)))
    }

    /// What the last cycle before a restart found, so that nobody waits for the next one to know it; `None` before the
    /// first, or if an adapter does not tell of its cluster in time.
    fn again(
        &self,
        state: &State,
        frames: &mut Frames<'_>,
        stop: &CancellationToken,
    ) -> Result<Option<Cycled>> {
        let Some(end) = state.until().filter(|_| state.cycles() > 0) else { return Ok(None) };
        let Some(topology) = self.topology_heard(stop) else { return Ok(None) };
        let mut stages = Stages::begin();
        let records = self.reader.records().context("cannot read the failure history")?;
        let moment = Moment { end, purpose: Purpose::Decide, gaps: 0 };
        let Made { mut frame, systems, .. } = frames.make(moment, &topology, &records)?;
        self.cordon(&mut frame.cluster);
        stages.end("read");
        let decided = state.decided(&frame, &self.config.settings, |stage| stages.end(stage))?;
        Ok(Some(self.found(state, stages, frame, decided, systems)))
    }

    /// Nodes that take nothing more are no destinations of verdicts.
    fn cordon(&self, cluster: &mut Cluster) {
        for node in self.cordoned.borrow().iter() {
            if let Some(facts) = cluster.node(node).map(|at| &mut cluster.nodes[at])
                && facts.state == NodeState::Up
            {
                facts.state = NodeState::Cordoned;
            }
        }
    }

    /// The topology once every adapter has told of its cluster; `None` if one does not within [`HEARD_WITHIN`].
    fn topology_heard(&self, stop: &CancellationToken) -> Option<Arc<Topology>> {
        let told = |source: &Source| source.origin == Origin::Configuration || source.heard.is_some();
        let mut topologies = self.topologies.clone();
        let heard = topologies.wait_for(|topology| topology.sources.values().all(told));
        let heard = stop.run_until_cancelled(tokio::time::timeout(HEARD_WITHIN, heard));
        Some(tokio::runtime::Handle::current().block_on(heard)?.ok()?.ok()?.clone())
    }

    fn found(
        &self,
        state: &State,
        stages: Stages,
        frame: Frame,
        decided: Decided,
        systems: Vec<SystemLoad>,
    ) -> Cycled {
        Cycled {
            number: state.cycles(),
            at: frame.end(),
            took: stages.begun.elapsed(),
            stages: stages.taken,
            skipped: 0,
            judged_forecasts: state.judged_forecasts() as u64,
            labels: state.calibrator().standing().labels as u64,
            settings: self.config.settings.clone(),
            nodes: state.nodes_of(&frame.cluster),
            cluster: frame.cluster,
            landscape: decided.landscape,
            records: decided.records,
            systems,
        }
    }

    /// Has rows kept, and waits until they are.
    fn kept(&self, derived: Derived) -> Result<()> {
        if derived.is_empty() {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        self.keep.blocking_send(Keep { derived, reply }).ok().context("the writer has ended")?;
        match answer.blocking_recv().context("the writer has ended")? {
            Ok(()) => Ok(()),
            Err(error) => Err(anyhow::anyhow!(with_causes(&error)).context("cannot keep what was found")),
        }
    }
}

fn entropies(entropy: Vec<EntropyRow>) -> Derived {
    Derived { entropy, ..Derived::default() }
}

/// How long each part took.
struct Stages {
    begun: Instant,
    last: Instant,
    taken: Vec<(&'static str, Duration)>,
}

impl Stages {
    fn begin() -> Self {
        let now = Instant::now();
        Self { begun: now, last: now, taken: Vec::new() }
    }

    fn end(&mut self, name: &'static str) {
        let now = Instant::now();
        self.taken.push((name, now - self.last));
        self.last = now;
    }
}
