//! From merged counts to answers: eligibility, coverage, and which of the entropies can be told.

use super::{EligibleSource, PartitionEntropy, PeerEntropy, Share, Step};
use crate::coverage::Coverage;
use crate::error::QueryError;
use crate::estimate::{Estimate, estimates};
use isotherm_model::entropy::{MIN_ACCESSES, NodeEntropy, grassberger, over_offsets};
use isotherm_model::{Interval, NodeId, OffsetHistogram, PartitionId, SystemId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// A system, the time it is answered for, and its partitions that are asked for.
#[derive(Debug)]
pub(super) struct System {
    pub(super) id: SystemId,
    pub(super) partitions: BTreeMap<PartitionId, Candidate>,
    /// Numbers of the steps; `0..1` for the whole.
    pub(super) steps: Range<u64>,
    time: Interval,
    step: Step,
}

/// A partition that is asked for.
#[derive(Debug)]
pub(super) struct Candidate {
    eligible: BTreeSet<NodeId>,
    source: EligibleSource,
    reads: u64,
    cells: BTreeMap<u64, Cell>,
}

/// What happened to a partition in a step.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) offsets: OffsetHistogram,
    reads: BTreeMap<NodeId, u64>,
    writes: u64,
    /// Operations received by each peer that is told apart.
    remotes: Vec<u64>,
    /// By all others together.
    not_told_apart: u64,
}

impl Cell {
    const EMPTY: Self = Self {
        offsets: OffsetHistogram::EMPTY,
        reads: BTreeMap::new(),
        writes: 0,
        remotes: Vec::new(),
        not_told_apart: 0,
    };

    /// Adds what was received from one remote address, or from all that are not told apart. Each comes once.
    pub(super) fn receive(&mut self, remote: Option<&str>, ops: u64) {
        match remote {
            Some(_) if ops > 0 => self.remotes.push(ops),
            Some(_) => {}
            None => self.not_told_apart = self.not_told_apart.saturating_add(ops),
        }
    }

    pub(super) fn add(&mut self, node: NodeId, reads: u64, writes: u64) {
        let sum = self.reads.entry(node).or_default();
        *sum = sum.saturating_add(reads);
        self.writes = self.writes.saturating_add(writes);
    }
}

impl Candidate {
    fn new(source: EligibleSource, eligible: BTreeSet<NodeId>) -> Self {
        Self { eligible, source, reads: 0, cells: BTreeMap::new() }
    }
}

impl System {
    pub(super) fn new(id: SystemId, time: Interval, step: Step, steps: Range<u64>) -> Self {
        Self { id, partitions: BTreeMap::new(), steps, time, step }
    }

    /// The time that is answered for: all steps, without the odd ends.
    pub(super) fn asked(&self) -> Interval {
        match self.step {
            Step::Whole => self.time,
            Step::EachMs(step_ms) => {
                let at = |step: u64| Timestamp::from_ms(step.saturating_mul(step_ms.get()));
                Interval::new(at(self.steps.start), at(self.steps.end)).unwrap_or(self.time)
            }
        }
    }

    /// Takes a partition from the topology.
    pub(super) fn name(&mut self, partition: PartitionId, nodes: BTreeSet<NodeId>) {
        self.partitions.insert(partition, Candidate::new(EligibleSource::Topology, nodes));
    }

    /// Takes what was seen of a partition. A row that counts nothing makes nobody eligible.
    pub(super) fn observe(&mut self, partition: PartitionId, node: NodeId, reads: u64, writes: u64) {
        let candidate = self
            .partitions
            .entry(partition)
            .or_insert_with(|| Candidate::new(EligibleSource::Observed, BTreeSet::new()));
        candidate.reads = candidate.reads.saturating_add(reads);
        if candidate.source == EligibleSource::Observed && (reads > 0 || writes > 0) {
            candidate.eligible.insert(node);
        }
    }

    pub(super) fn reads_by_partition(&self) -> impl Iterator<Item = (u64, PartitionId)> {
        self.partitions.iter().map(|(id, candidate)| (candidate.reads, id.clone()))
    }

    pub(super) fn cell(&mut self, partition: PartitionId, step: u64) -> &mut Cell {
        let candidate = self
            .partitions
            .entry(partition)
            .or_insert_with(|| Candidate::new(EligibleSource::Observed, BTreeSet::new()));
        candidate.cells.entry(step).or_insert(Cell::EMPTY)
    }

    /// One answer per partition and step.
    pub(super) fn answers(self, coverage: &Coverage) -> Result<Vec<PartitionEntropy>, QueryError> {
        let mut answers = Vec::new();
        let mut counts = Vec::new();
        for (partition, mut candidate) in self.partitions {
            for step in self.steps.clone() {
                let time = match self.step {
                    Step::Whole => self.time,
                    Step::EachMs(step_ms) => {
                        let start = Timestamp::from_ms(step.saturating_mul(step_ms.get()));
                        match Interval::new(start, start.plus_ms(step_ms.get())) {
                            Some(time) => time,
                            None => continue,
                        }
                    }
                };
                let cell = candidate.cells.remove(&step).unwrap_or(Cell::EMPTY);
                let answer = undecided(partition.clone(), time, &candidate, cell, coverage);
                counts.push(answer.shares.iter().map(|share| share.reads.unwrap_or(0)).collect::<Vec<_>>());
                answers.push(answer);
            }
        }
        for (answer, estimate) in answers.iter_mut().zip(estimates(&counts)?) {
            if let NodeEntropy::Insufficient { .. } = answer.node_entropy
                && let Some(known) = estimate.and_then(Estimate::measured)
            {
                answer.node_entropy = NodeEntropy::Known(known);
            }
        }
        Ok(answers)
    }
}

/// The answer as far as coverage and eligibility decide it; otherwise `Insufficient` until it is estimated.
fn undecided(
    partition: PartitionId,
    time: Interval,
    candidate: &Candidate,
    cell: Cell,
    coverage: &Coverage,
) -> PartitionEntropy {
    let shares: Vec<Share> = candidate
        .eligible
        .iter()
        .map(|node| {
            let counted = cell.reads.get(node).copied().unwrap_or(0);
            let watched = counted > 0 || coverage.touches(node, time);
            Share { node: node.clone(), reads: watched.then_some(counted) }
        })
        .collect();
    let silent: Vec<String> = candidate
        .eligible
        .iter()
        .filter(|node| !coverage.covers(node, time))
        .map(|node| node.name().to_owned())
        .collect();
    let sum = |counts: &mut dyn Iterator<Item = u64>| counts.fold(0, u64::saturating_add);
    let looked =
        cell.reads.values().any(|reads| *reads > 0) || shares.iter().any(|share| share.reads.is_some());
    let node_entropy = if shares.len() < 2 {
        NodeEntropy::NotApplicable { eligible: shares.len() }
    } else if !silent.is_empty() {
        NodeEntropy::Unknown { silent: silent.clone() }
    } else {
        let have = sum(&mut shares.iter().filter_map(|share| share.reads));
        NodeEntropy::Insufficient { have, need: MIN_ACCESSES }
    };
    PartitionEntropy {
        partition,
        time,
        reads: looked.then(|| sum(&mut cell.reads.values().copied())),
        writes: (looked || cell.writes > 0).then_some(cell.writes),
        shares,
        source: candidate.source,
        node_entropy,
        offset_bits: over_offsets(&cell.offsets),
        peer_entropy: if silent.is_empty() {
            PeerEntropy::of(cell.remotes, cell.not_told_apart)
        } else {
            None
        },
    }
}

impl PeerEntropy {
    /// Of what was received from each peer that is told apart, and from all others together.
    pub(crate) fn of(mut received: Vec<u64>, not_told_apart: u64) -> Option<Self> {
        let remotes = received.len() as u64;
        match received.iter_mut().max() {
            Some(busiest) => *busiest = busiest.saturating_add(not_told_apart),
            None => received.push(not_told_apart),
        }
        let sum = received.iter().fold(0u64, |sum, ops| sum.saturating_add(*ops));
        let bits = (sum >= MIN_ACCESSES).then(|| grassberger(&received))??;
        Some(Self { bits, remotes, not_told_apart })
    }
}
