//! The cycle: every minute from what was counted to a decision record for every partition.
//!
//! One thread of its own reads the store, takes the step in, assesses, decides, has the rows kept, and publishes what
//! it found; nothing else changes its state. All that it decides with is in `isotherm_cycle`, which knows no clock
//! and no store. A cycle that fails is told and left out, and the next one goes on; one that takes too long makes
//! those after it be left out, never piled up. The state is written down now and then, so that a restart goes on warm.

mod checkpoint;
mod cluster;
mod counts;
mod schedule;
pub(crate) mod tables;

use crate::topology::Topologies;
use crate::writer::{Keep, now, with_causes};
use anyhow::{Context, Result};
use isotherm_cycle::cluster::Cluster;
use isotherm_cycle::input::StepLength;
use isotherm_cycle::record::{Record, Status, Surging};
use isotherm_cycle::{Landscape, Settings, State, assess, decide_all};
use isotherm_model::{Layer, SystemId, Timestamp};
use isotherm_proto::Health;
use isotherm_risk::HazardPolicy;
use isotherm_store::{
    Derived, Excluded, Histories, OutageCause, Reader, RunningSteps, StepCounts, StepQuery, Subsets,
};
use schedule::Next;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// How old a failure may be when it is told to the calibration.
const RECENT_MS: u64 = 3_600_000;

/// Where readers take the last cycle.
pub(crate) type Cycles = watch::Receiver<Option<Arc<Cycled>>>;

/// Cycles from a checkpoint to the next: what a crash costs is read again from the store.
const CHECKPOINT_EVERY: u64 = 15;

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
    pub(crate) systems: Vec<isotherm_store::SystemLoad>,
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
}

/// What is remembered of the store from one cycle to the next.
struct Seen {
    /// What was seen to serve partitions, so that a node that falls silent is not forgotten.
    served: Subsets,
    /// What was counted, so that longer steps need not be read again.
    steps: RunningSteps,
}

/// Runs cycles until `stop`, on a thread that may block.
pub(crate) fn run(cycle: &Cycle, publish: &watch::Sender<Option<Arc<Cycled>>>, stop: &CancellationToken) {
    let mut state = cycle.remembered();
    let (mut seen, mut skipped, mut told) = (cycle.nothing_seen(), 0, None);
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
                match cycle.once(&mut state, &mut seen, end, &behind, gaps, stop) {
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
                        state.skip(StepLength::Minute, 1, &cycle.config.settings);
                        state.give_up(end);
                    }
                }
            }
        }
    }
    cycle.remember(&state);
}

impl Cycle {
    fn nothing_seen(&self) -> Seen {
        let length = |length: StepLength| {
            NonZeroU64::new(length.ms(self.config.settings.step_ms)).expect("steps have a length")
        };
        let lengths = StepLength::ALL.map(length);
        let steps = RunningSteps::new(self.reader.clone(), &lengths).expect("each length divides the next");
        Seen { served: Subsets::new(), steps }
    }

    /// The state of the last checkpoint, or an empty one.
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
            Ok(None) => State::default(),
            Err(error) => {
                tracing::warn!(error = %format!("{error:#}"), "cycles begin anew: their series need time to grow");
                State::default()
            }
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
        seen: &mut Seen,
        end: Timestamp,
        behind: &[Timestamp],
        gaps: u64,
        stop: &CancellationToken,
    ) -> Result<Option<Cycled>> {
        let begun = Instant::now();
        let mut stages = Stages { last: begun, taken: Vec::new() };
        let topology = self.topologies.borrow().clone();
        let settings = &self.config.settings;
        if gaps > 0 {
            state.skip(StepLength::Minute, gaps, settings);
        }
        let mut derived = Derived::default();
        for missed in behind {
            if stop.is_cancelled() {
                return Ok(None);
            }
            self.take_in(state, seen, *missed, &topology, &mut derived)?;
        }
        let (counts, cluster) = self.take_in(state, seen, end, &topology, &mut derived)?;
        stages.end("read and take in");
        let (landscape, mut records) = assess(state, &cluster, settings, end)?;
        state.predicted(&records, settings);
        stages.end("assess");
        decide_all(&mut records, &landscape, &cluster, settings);
        stages.end("decide");
        derived.forecasts = tables::forecasts(&records, settings.step_ms);
        derived.risks = tables::risks(&records, &cluster);
        self.kept(derived)?;
        stages.end("keep");
        Ok(Some(Cycled {
            number: state.cycled(),
            at: end,
            took: begun.elapsed(),
            stages: stages.taken,
            skipped: 0,
            judged_forecasts: state.judged_forecasts() as u64,
            labels: state.calibrator().standing().labels as u64,
            settings: settings.clone(),
            nodes: state.nodes_of(&cluster),
            cluster,
            landscape,
            records,
            systems: counts.systems,
        }))
    }

    /// Reads the minute that ends then, and the longer steps that end with it, and takes them in.
    fn take_in(
        &self,
        state: &mut State,
        seen: &mut Seen,
        end: Timestamp,
        topology: &crate::topology::Topology,
        derived: &mut Derived,
    ) -> Result<(StepCounts, Cluster)> {
        let minute = self.counts(StepLength::Minute, end, topology, seen)?;
        remember(seen, &minute);
        let histories = self.reader.histories(None).context("cannot read the failure history")?;
        let overrides = self.reader.hazard_overrides(Some(end)).context("cannot read operators' words")?;
        let cluster = cluster::assemble(&cluster::Sources {
            topology,
            histories: &histories,
            overrides: &overrides,
            counts: &minute,
            policy: &self.config.hazard,
            now: end,
        })
        .context("cannot estimate hazards")?;
        let (settings, layers) = (&self.config.settings, &self.config.layers);
        mark(state, &histories, end, settings);
        for length in schedule::longer(end, settings.step_ms) {
            let counts = self.counts(length, end, topology, seen)?;
            derived.entropy.extend(tables::entropies(&counts, layers));
            state.absorb(&counts::step(&counts, length), &cluster, settings);
        }
        derived.entropy.extend(tables::entropies(&minute, layers));
        state.absorb(&counts::step(&minute, StepLength::Minute), &cluster, settings);
        Ok((minute, cluster))
    }

    fn counts(
        &self,
        length: StepLength,
        end: Timestamp,
        topology: &crate::topology::Topology,
        seen: &mut Seen,
    ) -> Result<StepCounts> {
        let length_ms = length.ms(self.config.settings.step_ms);
        let gone = |health: Option<Health>| matches!(health, Some(Health::Down | Health::Draining));
        let nodes = topology.nodes.keys().filter(|node| gone(topology.health(node)));
        let excluded = Excluded { nodes: nodes.cloned().collect(), ..Excluded::default() };
        let query = StepQuery {
            length_ms: NonZeroU64::new(length_ms).expect("steps have a length"),
            number: (end.as_ms() / length_ms).saturating_sub(1),
            layers: &self.config.layers,
            subsets: &topology.subsets,
            seen: &seen.served,
            excluded: &excluded,
        };
        seen.steps.steps(&query).context("cannot read the step")
    }

    /// Has rows kept, and waits until they are.
    fn kept(&self, derived: Derived) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.keep.blocking_send(Keep { derived, reply }).ok().context("the writer has ended")?;
        match answer.blocking_recv().context("the writer has ended")? {
            Ok(()) => Ok(()),
            Err(error) => Err(anyhow::anyhow!(with_causes(&error)).context("cannot keep what was found")),
        }
    }
}

/// Tells the state of failures in the minute that ends at `end`: of single nodes, and of whole domains as one. Those
/// that are recorded later, as by an operator, are told when they are found, if they are of the last hour.
fn mark(state: &mut State, histories: &Histories, end: Timestamp, settings: &Settings) {
    let since = end.as_ms().saturating_sub(RECENT_MS);
    let recent = |from: Timestamp| from.as_ms() >= since && from < end;
    for event in histories.domain_events.iter().filter(|event| recent(event.from)) {
        let nodes: Vec<(&str, &str)> =
            event.nodes.iter().map(|node| (node.system().as_str(), node.name())).collect();
        state.incident(&nodes, event.from, settings);
    }
    for (node, history) in &histories.nodes {
        for outage in history.outages.iter().filter(|outage| recent(outage.from)) {
            if outage.cause == OutageCause::Failure && outage.domain.is_none() {
                state.incident(&[(node.system().as_str(), node.name())], outage.from, settings);
            }
        }
    }
}

/// Who served what, as far as the topology does not say so.
fn remember(seen: &mut Seen, counts: &StepCounts) {
    for partition in &counts.partitions {
        if partition.source == isotherm_store::EligibleSource::Observed {
            let nodes = counts.shares_of(partition).iter();
            let nodes = nodes.map(|share| counts.nodes[share.node as usize].node.clone());
            seen.served.insert(partition.partition.clone(), nodes.collect());
        }
    }
}

/// How long each part took.
struct Stages {
    last: Instant,
    taken: Vec<(&'static str, Duration)>,
}

impl Stages {
    fn end(&mut self, name: &'static str) {
        let now = Instant::now();
        self.taken.push((name, now - self.last));
        self.last = now;
    }
}
