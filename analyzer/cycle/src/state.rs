//! Everything that is remembered from cycle to cycle, and how a step enters it.
//!
//! Partitions are independent of each other, so a step is taken in by all cores; what becomes of one does not depend
//! on the others, except that only so many orders are selected in a cycle, in turn.

use crate::band::{Bands, Kind};
use crate::calibrate::Calibrator;
use crate::cluster::{Cluster, NodeFacts, NodeState, PartitionFacts};
use crate::input::{PartitionStep, Step, StepLength};
use crate::names::{ByName, Named};
use crate::nodes::{self, Memory};
use crate::partition::{Circumstances, Partition, Wants};
use crate::policy::{LONGEST_LEAD, Settings};
use isotherm_forecast::{Select, batch};
use isotherm_model::{NodeId, Timestamp};
use isotherm_risk::habit::Frozen;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Terms of each kind that a model has at most. More do not forecast an entropy better, and take longer.
const MOST_TERMS: usize = 3;

/// Of so many partitions one has a forecast kept in a cycle, to learn how wrong forecasts are.
const SAMPLED: u32 = 8;

/// Steps ahead that intervals of quarters and hours are made for.
const LONGER_LEAD: usize = 8;

/// A partition that neither the cluster nor a step has named for so long is forgotten.
const FORGOTTEN_MS: u64 = 14 * 24 * 3_600_000;

/// System and name.
pub(crate) type Name = (String, String);

/// What is remembered. Made by [`State::default`], or read back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Cycles so far.
    pub(crate) cycles: u64,
    /// End of the last minute that was taken in, milliseconds.
    pub(crate) until_ms: Option<u64>,
    /// Boxed, as half of a tree's places are empty where names came in their order.
    pub(crate) partitions: BTreeMap<Name, Box<Partition>>,
    /// Numbers of nodes' names, never used twice.
    pub(crate) nodes: BTreeMap<Name, u32>,
    /// What is remembered of them, by number.
    pub(crate) memories: BTreeMap<u32, Memory>,
    /// For minutes, quarters, hours.
    pub(crate) bands: [Bands; 3],
    /// Where the turn of selections is.
    turn: u32,
    /// What risks turned out to mean.
    pub(crate) calibrator: Calibrator,
}

impl Default for State {
    fn default() -> Self {
        let bands = [LONGEST_LEAD as usize, LONGER_LEAD, LONGER_LEAD].map(Bands::new);
        Self {
            cycles: 0,
            until_ms: None,
            partitions: BTreeMap::new(),
            nodes: BTreeMap::new(),
            memories: BTreeMap::new(),
            bands,
            turn: 0,
            calibrator: Calibrator::default(),
        }
    }
}

/// What is remembered of a node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NodeView {
    /// Reads per second of the last minute; `None` if it was not watched all the time.
    pub reads_per_s: Option<f64>,
    /// Whether it answers badly; `None` before the first minute.
    pub gray: Option<isotherm_risk::gray::Verdict>,
}

/// What taking in a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Absorbed {
    /// Partitions that were counted in it.
    pub partitions: usize,
    /// Orders that were selected.
    pub selected: usize,
    /// Series that wait for one.
    pub waiting: usize,
    /// Partitions that were forgotten.
    pub forgotten: usize,
}

impl State {
    /// End of the last minute that was taken in.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        self.until_ms.map(Timestamp::from_ms)
    }

    /// Cycles so far.
    #[must_use]
    pub fn cycles(&self) -> u64 {
        self.cycles
    }

    /// How many partitions are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.partitions.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// Counts a cycle, and says its number.
    pub fn cycled(&mut self) -> u64 {
        self.cycles += 1;
        self.cycles
    }

    /// What is remembered of the nodes of a cluster, in their order.
    #[must_use]
    pub fn nodes_of(&self, cluster: &Cluster) -> Vec<NodeView> {
        let view = |node: &NodeFacts| {
            let memory = self.memory(&(node.system.clone(), node.name.clone()));
            NodeView {
                reads_per_s: memory.and_then(|memory| memory.reads_per_s),
                gray: memory.and_then(|memory| memory.gray),
            }
        };
        cluster.nodes.iter().map(view).collect()
    }

    /// Forecasts of minutes that were judged.
    #[must_use]
    pub fn judged_forecasts(&self) -> usize {
        self.bands[0].judged()
    }

    /// Takes in a step. Steps of a length come in the order of time; one that was left out is a gap, see
    /// [`Self::skip`].
    pub fn absorb(&mut self, step: &Step, cluster: &Cluster, settings: &Settings) -> Absorbed {
        let numbers: Vec<u32> = step.nodes.iter().map(|node| self.number(&node.node)).collect();
        self.meet(&step.partitions);
        let start = Timestamp::from_ms(step.end.as_ms().saturating_sub(step.length.ms(settings.step_ms)));
        if step.length == StepLength::Minute {
            let mut counted = ByName::new(&step.partitions);
            let known = self.partitions.iter();
            let known = known.filter_map(|(name, known)| Some((&**known, counted.find(name.name())?)));
            nodes::judge(&mut self.memories, step, &numbers, known, settings);
        }
        let suspected: Vec<bool> = numbers
            .iter()
            .map(|number| self.memories.get(number).is_some_and(Memory::is_suspected))
            .collect();
        let mut work = self.joined(step, cluster, start);
        let wants: Vec<Wants> = work
            .par_iter_mut()
            .map(|(partition, counted, now)| {
                let now = now.among(*counted, &suspected);
                partition.absorb(step.length, *counted, &numbers, now, settings)
            })
            .collect();
        drop(work);
        let (selected, waiting) = self.select(step.length, &wants, settings.selections);
        self.judge(step.length);
        let mut forgotten = 0;
        if step.length == StepLength::Minute {
            self.until_ms = Some(step.end.as_ms());
            self.follow_predictions(step.end, step.length.ms(settings.step_ms), cluster, settings);
            forgotten = self.forget(cluster, step.end);
        }
        Absorbed { partitions: step.partitions.len(), selected, waiting, forgotten }
    }

    /// Makes gaps of so many steps that nobody has counts of.
    pub fn skip(&mut self, length: StepLength, steps: u64, settings: &Settings) {
        // A gap longer than the window of a series leaves nothing of it, however long it is.
        let steps = steps.min(400);
        let at = Timestamp::from_ms(self.until_ms.unwrap_or(0));
        let now = Circumstances { start: at, frozen: None, drained: None };
        let mut all: Vec<&mut Box<Partition>> = self.partitions.values_mut().collect();
        all.par_iter_mut().for_each(|partition| {
            for _ in 0..steps {
                let _ = partition.absorb(length, None, &[], now, settings);
            }
        });
    }

    fn number(&mut self, node: &NodeId) -> u32 {
        let next = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        *self.nodes.entry((node.system().to_string(), node.name().to_owned())).or_insert(next)
    }

    /// Begins to remember the partitions that were not known.
    fn meet(&mut self, counted: &[PartitionStep]) {
        let mut known = ByName::new(self.partitions.keys());
        let strangers: Vec<Name> = counted
            .iter()
            .filter(|one| known.find(one.name()).is_none())
            .map(|one| (one.partition.system().to_string(), one.partition.name().to_owned()))
            .collect();
        for name in strangers {
            self.partitions.insert(name, Box::new(Partition::new(self.turn)));
            self.turn = self.turn.wrapping_add(1);
        }
    }

    /// Every partition with its counts and circumstances: three lists by name, side by side.
    fn joined<'a>(
        &'a mut self,
        step: &'a Step,
        cluster: &Cluster,
        start: Timestamp,
    ) -> Vec<(&'a mut Partition, Option<&'a PartitionStep>, Circumstances)> {
        let numbers: Vec<Option<u32>> = cluster
            .nodes
            .iter()
            .map(|node| self.nodes.get(&(node.system.clone(), node.name.clone())).copied())
            .collect();
        let (mut counted, mut known) = (ByName::new(&step.partitions), ByName::new(&cluster.partitions));
        let join = |(name, partition): (&Name, &'a mut Box<Partition>)| {
            let counts = counted.find(name.name());
            let facts = known.find(name.name());
            if let Some(facts) = facts {
                partition.lies_on(facts.holders.iter().map(|node| numbers[*node as usize]), step.end);
            }
            let drained = facts.and_then(PartitionFacts::drained).and_then(|node| numbers[node as usize]);
            let frozen = facts.and_then(|facts| {
                let down = |node: &u32| cluster.nodes[*node as usize].state == NodeState::Down;
                match facts.moving || facts.shift.is_some() {
                    true => Some(Frozen::Moving),
                    false => facts.holders.iter().any(down).then_some(Frozen::Incident),
                }
            });
            (&mut **partition, counts, Circumstances { start, frozen, drained })
        };
        self.partitions.iter_mut().map(join).collect()
    }

    /// Selects orders for those that wait, as many as are allowed, beginning where the last time ended.
    fn select(&mut self, length: StepLength, wants: &[Wants], most: usize) -> (usize, usize) {
        let mut places: Vec<(usize, Kind)> = Vec::new();
        for (at, wants) in wants.iter().enumerate() {
            for (kind, wanted) in
                [(Kind::Node, wants.node), (Kind::Offset, wants.offset), (Kind::Peer, wants.peer)]
            {
                if wanted {
                    places.push((at, kind));
                }
            }
        }
        let all = places.len();
        if all > most {
            let from = (self.cycles as usize).wrapping_mul(most) % all;
            places.rotate_left(from);
            places.truncate(most);
            places.sort_unstable();
        }
        let mut partitions: Vec<&mut Box<Partition>> = self.partitions.values_mut().collect();
        let values: Vec<Vec<f64>> = places
            .iter()
            .map(|(at, kind)| {
                partitions[*at].series(*kind, length).map_or_else(Vec::new, |series| series.values())
            })
            .collect();
        let select = Select::new().quick().max_p(MOST_TERMS).max_q(MOST_TERMS);
        for ((at, kind), selection) in places.iter().zip(batch::select(&values, &select)) {
            if let Some(series) = partitions[*at].series(*kind, length) {
                series.selected(selection);
            }
        }
        (places.len(), all - places.len())
    }

    /// Learns from forecasts whose outcome is known, and keeps some more.
    fn judge(&mut self, length: StepLength) {
        let bands = &mut self.bands[length as usize];
        let due = (self.cycles % u64::from(SAMPLED)) as u32;
        for (at, partition) in (0_u32..).zip(self.partitions.values_mut()) {
            let keep = at % SAMPLED == due;
            for kind in [Kind::Node, Kind::Offset, Kind::Peer] {
                if let Some(series) = partition.series(kind, length) {
                    bands.judge(kind, series, keep);
                }
            }
        }
    }

    /// What is remembered of a node, by its name.
    pub(crate) fn memory(&self, name: &Name) -> Option<&Memory> {
        self.memories.get(self.nodes.get(name)?)
    }

    fn forget(&mut self, cluster: &Cluster, now: Timestamp) -> usize {
        let before = self.partitions.len();
        let oldest = now.as_ms().saturating_sub(FORGOTTEN_MS);
        if self.partitions.values().all(|partition| partition.seen_ms >= oldest) {
            return 0;
        }
        let named: std::collections::BTreeSet<(&str, &str)> =
            cluster.partitions.iter().map(|one| (one.system.as_str(), one.name.as_str())).collect();
        self.partitions.retain(|name, partition| {
            partition.seen_ms >= oldest || named.contains(&(name.0.as_str(), name.1.as_str()))
        });
        before - self.partitions.len()
    }
}
