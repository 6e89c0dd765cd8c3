//! Frames from the store: what a minute brings, read as it was known when the minute had passed.
//!
//! The analyzer makes them as time goes by, a recording and a backtest make them again, by the same code. So that the
//! same comes out, nothing here depends on when it is asked: of the failure history counts what was on record when the
//! minute was due, and what was observed counts with a delay that leaves time to write it down. The topology is
//! [kept](crate::topology::kept). What cannot be made again: a minute without windows that came later than they are
//! waited for.

use super::cluster::Coming;
use super::{Config, cluster, counts, schedule, tables};
use crate::topology::Topology;
use anyhow::{Context, Result};
use isotherm_cycle::frame::{Frame, Incident, Purpose};
use isotherm_cycle::input::StepLength;
use isotherm_model::{NodeId, Timestamp};
use isotherm_proto::Health;
use isotherm_runner::JournalError;
use isotherm_runner::journal::{FILE, Reading};
use isotherm_runner::shift::{Shift, What};
use isotherm_store::{
    EligibleSource, EntropyRow, Excluded, Histories, OutageCause, Reader, Records, RunningSteps, StepCounts,
    StepQuery, Subsets, SystemLoad,
};
use std::num::NonZeroU64;
use std::path::Path;

/// How old a failure may be when it is told to the calibration.
const RECENT_MS: u64 = 3_600_000;

/// What was observed in so many milliseconds before a minute's end counts later: agents tell of windows after their
/// end, and it is written down every ten seconds.
const OBSERVED_LATE_MS: u64 = 120_000;

/// The minute that a frame is of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// The first moment after it.
    pub(crate) end: Timestamp,
    pub(crate) purpose: Purpose,
    /// Minutes before it that nobody reads.
    pub(crate) gaps: u64,
}

/// A frame, and what else the store said of the same time.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) frame: Frame,
    /// Entropies of its steps, as they are kept.
    pub(crate) entropy: Vec<EntropyRow>,
    /// How the reads of each system were spread over the minute.
    pub(crate) systems: Vec<SystemLoad>,
}

/// Makes frames, one after the other.
pub(crate) struct Frames<'a> {
    config: &'a Config,
    /// Where moves and shifts of reads are.
    journal: Reading,
    /// What was seen to serve partitions, so that a node that falls silent is not forgotten.
    seen: Subsets,
    /// What was counted, so that longer steps need not be read again.
    steps: RunningSteps,
}

impl<'a> Frames<'a> {
    /// `dir` is the data folder.
    pub(crate) fn new(reader: &Reader, config: &'a Config, dir: &Path) -> Self {
        let length = |length: &StepLength| NonZeroU64::new(length.ms(config.settings.step_ms));
        let lengths: Vec<NonZeroU64> = StepLength::ALL.iter().filter_map(length).collect();
        let steps = RunningSteps::new(reader.clone(), &lengths).expect("a quarter divides an hour");
        Self { config, journal: Reading::new(dir.join(FILE)), seen: Subsets::new(), steps }
    }

    /// Reads a minute, and the longer steps that end with it.
    ///
    /// # Errors
    /// A store or a journal that cannot be read, a hazard policy or an operator's word that cannot be.
    pub(crate) fn make(&mut self, moment: Moment, topology: &Topology, records: &Records) -> Result<Made> {
        let end = moment.end;
        let shifts =
            self.journal.shifts_in_force(end.as_ms()).context("cannot read which reads are shifted")?;
        let coming = self.coming(end).context("cannot read what is being moved")?;
        let minute = self.counts(StepLength::Minute, end, topology, &shifts)?;
        self.remember(&minute);
        let settle_ms = u64::try_from(self.config.settle.as_millis()).unwrap_or(u64::MAX);
        let observed = Timestamp::from_ms(end.as_ms().saturating_sub(OBSERVED_LATE_MS));
        let histories = records.histories(end.plus_ms(settle_ms), observed);
        let words: Vec<_> = records.words(end).collect();
        let cluster = cluster::assemble(&cluster::Sources {
            topology,
            histories: &histories,
            words: &words,
            counts: &minute,
            shifts: &shifts,
            coming: &coming,
            policy: &self.config.hazard,
            now: end,
        })
        .context("cannot estimate hazards")?;
        let layers = &self.config.layers;
        let (mut longer, mut entropy) = (Vec::new(), Vec::new());
        for length in schedule::longer(end, self.config.settings.step_ms) {
            let counted = self.counts(length, end, topology, &shifts)?;
            entropy.extend(tables::entropies(&counted, layers));
            longer.push(counts::step(&counted, length));
        }
        entropy.extend(tables::entropies(&minute, layers));
        let frame = Frame {
            gaps: moment.gaps,
            incidents: incidents(&histories, end),
            longer,
            minute: counts::step(&minute, StepLength::Minute),
            cluster,
            purpose: moment.purpose,
        };
        Ok(Made { frame, entropy, systems: minute.systems })
    }

    /// What had been begun when the minute ended, and is in no count yet.
    fn coming(&self, end: Timestamp) -> Result<Vec<Coming>, JournalError> {
        let moves = self.journal.migrations_open(end.as_ms())?;
        let shifts = self.journal.shifts_coming(end.as_ms())?;
        let moves = moves.into_iter().map(|entry| Coming::Move(entry.migration.spec().clone()));
        Ok(moves.chain(shifts.into_iter().map(Coming::Shift)).collect())
    }

    /// Who is drained does not serve, for all of a step that ends while it is.
    fn counts(
        &mut self,
        length: StepLength,
        end: Timestamp,
        topology: &Topology,
        shifts: &[Shift],
    ) -> Result<StepCounts> {
        let length_ms = length.ms(self.config.settings.step_ms);
        let gone = |health: Option<Health>| matches!(health, Some(Health::Down | Health::Draining));
        let nodes = topology.nodes.keys().filter(|node| gone(topology.health(node)));
        let mut excluded = Excluded { nodes: nodes.cloned().collect(), ..Excluded::default() };
        for shift in shifts {
            if let What::Drain { node } = &shift.what {
                excluded.of.entry(shift.partition.clone()).or_default().insert(node.clone());
            }
        }
        let query = StepQuery {
            length_ms: NonZeroU64::new(length_ms).expect("steps have a length"),
            number: (end.as_ms() / length_ms).saturating_sub(1),
            layers: &self.config.layers,
            subsets: &topology.subsets,
            seen: &self.seen,
            excluded: &excluded,
        };
        self.steps.steps(&query).context("cannot read the step")
    }

    /// Who served what, as far as the topology does not say so.
    fn remember(&mut self, counts: &StepCounts) {
        for partition in &counts.partitions {
            if partition.source == EligibleSource::Observed {
                let nodes = counts.shares_of(partition).iter();
                let nodes = nodes.map(|share| counts.nodes[share.node as usize].node.clone());
                self.seen.insert(partition.partition.clone(), nodes.collect());
            }
        }
    }
}

/// Failures of the hour before `end`: of whole domains as one, and of single nodes. Those that are recorded late, as by
/// an operator, are among them once they are known.
fn incidents(histories: &Histories, end: Timestamp) -> Vec<Incident> {
    let since = end.as_ms().saturating_sub(RECENT_MS);
    let recent = |from: Timestamp| from.as_ms() >= since && from < end;
    let name = |node: &NodeId| (node.system().to_string(), node.name().to_owned());
    let domains = histories.domain_events.iter().filter(|event| recent(event.from));
    let domains = domains
        .map(|event| Incident { at_ms: event.from.as_ms(), nodes: event.nodes.iter().map(name).collect() });
    let single = histories.nodes.iter().flat_map(|(node, history)| {
        let outages = history.outages.iter().filter(|outage| {
            recent(outage.from) && outage.cause == OutageCause::Failure && outage.domain.is_none()
        });
        outages.map(|outage| Incident { at_ms: outage.from.as_ms(), nodes: vec![name(node)] })
    });
    domains.chain(single).collect()
}
