//! Truth and counts side by side, layer by layer, and whether they are equal.

mod compared;
mod device;
mod logical;
mod network;
mod table;

pub(super) use compared::Compared;
pub(super) use device::Direction;
pub(super) use network::with_clients;
pub(super) use table::columns;

use super::answer::EntropyAnswer;
use super::phase::Measured;
use super::risk::Risk;
use super::story::{Check, Story};
use device::Device;
use isotherm_model::entropy::{NodeEntropy, over_nodes};
use isotherm_tests::load::TrueRequests;
use logical::Logical;
use network::Network;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Bits by which two computations of one entropy may differ: they sum in different orders.
const TOLERANCE_BITS: f64 = 1e-9;

/// The result of `--once`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Whether all counts and all entropies equal the truth.
    pub(super) equal: bool,
    /// Acknowledged writes that are gone; absent without a story, as what follows.
    acked_writes_lost: Option<usize>,
    /// Errors that clients of the volumes saw which were taken off the weak server in time.
    client_errors_moved: Option<u64>,
    /// Errors that clients of the volumes saw which were not.
    client_errors_held_out: Option<u64>,
    /// What the story must show, each with what was found; none without a story.
    pub(super) checks: Vec<Check>,
    /// In the order in which they were played.
    pub(super) phases: Vec<PhaseReport>,
    /// What a cycle made of the volumes; without a truth to hold it against.
    pub(super) risks: Vec<Risk>,
    /// The server that fails.
    pub(super) story: Option<Story>,
}

/// One phase.
#[derive(Debug, Serialize)]
pub(super) struct PhaseReport {
    name: &'static str,
    equal: bool,
    since_ms: u64,
    until_ms: u64,
    /// What the servers asked of the volumes' files.
    pub(super) logical: Logical,
    /// What their disk was given to do.
    pub(super) device: Device,
    /// What they exchanged with clients and with each other.
    pub(super) network: Network,
    entropies: Vec<Entropies>,
    /// Events that the agent missed, in all layers; absent if a node was not watched.
    lost: Option<u64>,
}

/// Node entropy of one volume.
#[derive(Debug, Serialize)]
struct Entropies {
    volume: String,
    /// From the truth; absent with too few reads.
    true_bits: Option<f64>,
    /// As the analyzer computed it; absent if it did not.
    computed_bits: Option<f64>,
    /// What the analyzer says of it: known, or why not.
    status: &'static str,
}

impl Entropies {
    fn equal(&self) -> bool {
        match (self.true_bits, self.computed_bits) {
            (Some(truth), Some(computed)) => (truth - computed).abs() <= TOLERANCE_BITS,
            (truth, computed) => truth.is_none() && computed.is_none(),
        }
    }
}

impl Report {
    /// Compares.
    pub(super) fn of(phases: Vec<Measured>, risks: Vec<Risk>, story: Option<Story>) -> Self {
        let phases: Vec<_> = phases.into_iter().map(PhaseReport::of).collect();
        Self {
            equal: phases.iter().all(|phase| phase.equal),
            acked_writes_lost: story.as_ref().map(Story::acked_writes_lost),
            client_errors_moved: story.as_ref().map(Story::client_errors_moved),
            client_errors_held_out: story.as_ref().map(Story::client_errors_held_out),
            checks: story.as_ref().map(|story| story.checks().to_vec()).unwrap_or_default(),
            phases,
            risks,
            story,
        }
    }

    /// Whether all is equal, and the story showed all that it must.
    pub(super) fn went_well(&self) -> bool {
        self.equal && self.checks.iter().all(|check| check.ok)
    }
}

impl PhaseReport {
    fn of(measured: Measured) -> Self {
        let Measured { name, since_ms, until_ms, device, truth, counted } = measured;
        let logical = Logical::of(&truth, &counted);
        let device = Device::of(&device, &truth.device, &counted);
        let network = Network::of(&truth, &counted.peers);
        let entropies = entropies(&truth.requests, &counted.entropies);
        let layers = [logical.equal, device.equal, network.equal];
        Self {
            name,
            equal: layers == [true; 3] && entropies.iter().all(Entropies::equal),
            since_ms,
            until_ms,
            logical,
            device,
            network,
            entropies,
            lost: counted.nodes.iter().map(|node| node.lost).sum(),
        }
    }
}

/// One line per volume that the truth or the analyzer names.
fn entropies(truth: &[TrueRequests], answers: &[EntropyAnswer]) -> Vec<Entropies> {
    let mut by_volume: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for row in truth {
        by_volume.entry(row.volume.to_string()).or_default().push(row.gets);
    }
    let answered = answers.iter().map(|answer| answer.partition.clone());
    let volumes: BTreeSet<String> = by_volume.keys().cloned().chain(answered).collect();
    let line = |volume: String| {
        let answer = answers.iter().find(|answer| answer.partition == volume);
        Entropies {
            true_bits: by_volume.get(&volume).and_then(|reads| bits(&over_nodes(reads))),
            computed_bits: answer.and_then(|answer| answer.node_entropy.bits()),
            status: answer.map_or("absent", |answer| answer.node_entropy.status()),
            volume,
        }
    };
    volumes.into_iter().map(line).collect()
}

/// The bits of an entropy that is known.
fn bits(entropy: &NodeEntropy) -> Option<f64> {
    match entropy {
        NodeEntropy::Known(known) => Some(known.bits),
        NodeEntropy::Unknown { .. }
        | NodeEntropy::NotApplicable { .. }
        | NodeEntropy::Insufficient { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::NodeEntropyAnswer;
    use super::*;

    fn row(volume: u32, node: &str, gets: u64) -> TrueRequests {
        TrueRequests { volume, node: node.to_owned(), gets, get_bytes: 0, puts: 0, writes: 0 }
    }

    #[test]
    fn one_check_that_fails_is_enough() {
        let check = |ok| Check { name: "something", ok, found: "nothing".to_owned() };
        let mut report = Report::of(Vec::new(), Vec::new(), None);
        report.checks = vec![check(true), check(true)];
        assert!(report.went_well(), "{report}");
        report.checks[1] = check(false);
        assert!(!report.went_well(), "{report}");
        let told = report.to_string();
        assert!(told.contains("NO") && told.contains("1 of 2 checks failed"), "{told}");
    }

    #[test]
    fn an_entropy_is_equal_within_rounding_only() {
        let truth = [row(1, "a", 900), row(1, "b", 100)];
        let same = |node_entropy| {
            let answer = EntropyAnswer { partition: "1".to_owned(), shares: vec![], node_entropy };
            entropies(&truth, &[answer]).iter().all(Entropies::equal)
        };
        let known = |bits| NodeEntropyAnswer::Known { bits, normalised: bits };
        // Miller-Madow of 900 and 100, from the model's reference.
        assert!(same(known(0.469_716_941_109_725_7)));
        assert!(!same(known(0.469_716_95)));
        assert!(!same(NodeEntropyAnswer::Unknown {}));
        assert!(!entropies(&truth, &[]).iter().all(Entropies::equal));
    }
}
