//! Truth and counts side by side, and whether they are equal.

use super::answer::{EntropyAnswer, NodeAnswer};
use super::phase::Measured;
use comfy_table::{CellAlignment, Table, presets};
use isotherm_model::entropy::{NodeEntropy, over_nodes};
use isotherm_tests::load::TrueReads;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Bits by which two computations of one entropy may differ: they sum in different orders.
const TOLERANCE_BITS: f64 = 1e-9;

/// The result of `--once`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Whether all counts and all entropies equal the truth.
    pub(super) equal: bool,
    phases: Vec<PhaseReport>,
}

/// One phase.
#[derive(Debug, Serialize)]
struct PhaseReport {
    name: &'static str,
    equal: bool,
    since_ms: u64,
    until_ms: u64,
    /// By node and volume.
    reads: Vec<Reads>,
    entropies: Vec<Entropies>,
    /// Events that the agent missed; absent if a node was not watched.
    lost: Option<u64>,
    /// Reads of files that nobody could name; likewise.
    unattributed: Option<u64>,
    /// Reads of files that are no volume's; likewise.
    other: Option<u64>,
}

/// Reads of one volume on one node.
#[derive(Debug, PartialEq, Serialize)]
struct Reads {
    node: String,
    volume: String,
    #[serde(rename = "true")]
    truth: u64,
    counted: u64,
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
    pub(super) fn of(phases: Vec<Measured>) -> Self {
        let phases: Vec<_> = phases.into_iter().map(PhaseReport::of).collect();
        Self { equal: phases.iter().all(|phase| phase.equal), phases }
    }
}

impl PhaseReport {
    fn of(measured: Measured) -> Self {
        let counted = measured.partitions.iter().flat_map(|partition| {
            partition.nodes.iter().map(|part| (part.node.clone(), partition.partition.clone(), part.reads))
        });
        let reads = reads(&measured.truth, counted);
        let entropies = entropies(&measured.truth, &measured.entropies);
        let sum = |of: &dyn Fn(&NodeAnswer) -> Option<u64>| measured.nodes.iter().map(of).sum();
        Self {
            name: measured.name,
            equal: reads.iter().all(|reads| reads.truth == reads.counted)
                && entropies.iter().all(Entropies::equal),
            since_ms: measured.since_ms,
            until_ms: measured.until_ms,
            reads,
            entropies,
            lost: sum(&|node| node.lost),
            unattributed: sum(&|node| Some(node.unattributed.as_ref()?.reads)),
            other: sum(&|node| Some(node.other.as_ref()?.reads)),
        }
    }
}

/// One line per node and volume that the truth or the counts name; who is not named has 0.
fn reads(truth: &[TrueReads], counted: impl Iterator<Item = (String, String, u64)>) -> Vec<Reads> {
    let mut lines: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    for row in truth {
        lines.entry((row.node.clone(), row.volume.to_string())).or_default().0 += row.reads;
    }
    for (node, volume, reads) in counted {
        lines.entry((node, volume)).or_default().1 += reads;
    }
    let line = |((node, volume), (truth, counted))| Reads { node, volume, truth, counted };
    lines.into_iter().map(line).collect()
}

/// One line per volume that the truth or the analyzer names.
fn entropies(truth: &[TrueReads], answers: &[EntropyAnswer]) -> Vec<Entropies> {
    let mut by_volume: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for row in truth {
        by_volume.entry(row.volume.to_string()).or_default().push(row.reads);
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

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for phase in &self.phases {
            writeln!(f, "phase {}: {}", phase.name, if phase.equal { "equal" } else { "NOT EQUAL" })?;
            let reads = phase.reads.iter().map(|reads| {
                [reads.volume.clone(), reads.node.clone(), reads.truth.to_string(), reads.counted.to_string()]
            });
            writeln!(f, "{}\n", table(["VOLUME", "NODE", "TRUE READS", "COUNTED"], reads))?;
            let entropies = phase.entropies.iter().map(|entropy| {
                [
                    entropy.volume.clone(),
                    entropy.status.to_owned(),
                    shown(entropy.true_bits),
                    shown(entropy.computed_bits),
                ]
            });
            writeln!(f, "{}\n", table(["VOLUME", "NODE ENTROPY", "TRUE BITS", "COMPUTED"], entropies))?;
            writeln!(
                f,
                "lost events {}, reads of files nobody could name {}, of files that are no volume's {}\n",
                count(phase.lost),
                count(phase.unattributed),
                count(phase.other)
            )?;
        }
        write!(f, "{}", if self.equal { "everything equals the truth" } else { "something differs" })
    }
}

fn table<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table.add_rows(rows);
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn count(events: Option<u64>) -> String {
    events.map_or_else(|| "unknown".to_owned(), |events| events.to_string())
}

fn shown(bits: Option<f64>) -> String {
    bits.map_or_else(|| "-".to_owned(), |bits| format!("{bits:.6}"))
}

#[cfg(test)]
mod tests {
    use super::super::answer::NodeEntropyAnswer;
    use super::*;

    fn row(volume: u32, node: &str, reads: u64) -> TrueReads {
        TrueReads { volume, node: node.to_owned(), reads }
    }

    #[test]
    fn a_count_that_the_truth_does_not_know_is_a_difference() {
        let counted = [("a".to_owned(), "1".to_owned(), 5), ("b".to_owned(), "9".to_owned(), 1)];
        let lines = reads(&[row(1, "a", 5), row(1, "b", 0)], counted.into_iter());
        let differing: Vec<_> = lines.iter().filter(|line| line.truth != line.counted).collect();
        assert_eq!(differing, [&Reads { node: "b".into(), volume: "9".into(), truth: 0, counted: 1 }]);
        assert_eq!(lines.len(), 3);
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
