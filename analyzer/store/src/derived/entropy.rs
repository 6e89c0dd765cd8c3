//! The table `entropy`: how evenly each partition was read in each step.

use super::cell::Word;
use super::record;
use isotherm_model::{Layer, Timestamp};

record! {
    /// A partition in one step and layer. Steps of different lengths stand beside each other; each is computed from
    /// counts, never from shorter steps' entropies.
    pub struct EntropyRow in "entropy" by [step_start, step_ms, system, partition, layer] {
        /// When the step starts; a multiple of its length.
        pub step_start: Timestamp,
        /// Length of the step: 60,000, 900,000 or 3,600,000 ms.
        pub step_ms: u32,
        /// The system of the partition.
        pub system: String,
        /// The partition's name in it.
        pub partition: String,
        /// What is counted.
        pub layer: Layer,
        /// Reads by clients; `None` where nobody watched.
        pub reads: Option<u64>,
        /// Writes by clients; `None` where nobody watched.
        pub writes: Option<u64>,
        /// Nodes that could have served reads.
        pub eligible: u32,
        /// Whether the entropy over nodes is known, and if not, why.
        pub status: EntropyStatus,
        /// Entropy over nodes, Miller-Madow, in bits; known if `status` is.
        pub node_bits: Option<f64>,
        /// The same over the largest it could be, 0 to 1.
        pub node_h: Option<f64>,
        /// 2 to the power of `node_bits`: nodes whose loss clients would feel.
        pub n_eff: Option<f64>,
        /// Entropy over offsets, Grassberger, in bits; `None` without offsets.
        pub offset_bits: Option<f64>,
        /// Entropy over peers, Grassberger, in bits; `None` without peers.
        pub peer_bits: Option<f64>,
        /// The eligible nodes, by name.
        pub nodes: Vec<String>,
        /// Reads that each of `nodes` served; `None` for those that were not watched.
        pub served: Vec<Option<u64>>,
    }
}

/// What is known of an entropy over nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntropyStatus {
    /// It is known.
    Known,
    /// A node did not report.
    Unknown,
    /// Fewer than two nodes are eligible.
    NotApplicable,
    /// Too few reads.
    Insufficient,
}

impl EntropyStatus {
    const ALL: [Self; 4] = [Self::Known, Self::Unknown, Self::NotApplicable, Self::Insufficient];

    /// The word in the column.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Unknown => "unknown",
            Self::NotApplicable => "not_applicable",
            Self::Insufficient => "insufficient",
        }
    }
}

impl Word for EntropyStatus {
    fn word(self) -> &'static str {
        self.as_str()
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

impl EntropyRow {
    pub(super) fn time_end(&self) -> Timestamp {
        self.step_start.plus_ms(u64::from(self.step_ms))
    }
}
