//! What actions cost, in client-minutes, once.

use super::RiskPolicy;
use crate::bounds::{self, Must, OutOfRange};
use crate::exposure::{Redundancy, Surroundings};
use crate::field::Holding;
use serde::{Deserialize, Serialize};

/// What moving and shifting cost clients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CostPolicy {
    /// Seconds that clients of the share that is moved wait when a copy takes over. 2: one switch; measured later.
    pub move_pause_s: f64,
    /// Seconds that clients of the share that is shifted wait. 2 alike.
    pub shift_pause_s: f64,
    /// Bytes per second that a copy goes at. 30 MB/s: throttled, so that clients hardly feel it.
    pub copy_bytes_per_s: f64,
    /// Share of the partition's reads that count as failed while it is copied, for their latency. .001.
    pub disturbed_share: f64,
    /// Probability that a copy is aborted. .02.
    pub abort_probability: f64,
    /// Share of the copying that an abort has cost and that must be done again. 1: all.
    pub abort_share: f64,
    /// Whether a replica is given up before its copy serves, so that the partition is short of one meanwhile. Off:
    /// the copy serves first.
    pub gives_up_first: bool,
}

impl Default for CostPolicy {
    fn default() -> Self {
        Self {
            move_pause_s: 2.0,
            shift_pause_s: 2.0,
            copy_bytes_per_s: 30e6,
            disturbed_share: 0.001,
            abort_probability: 0.02,
            abort_share: 1.0,
            gives_up_first: false,
        }
    }
}

impl CostPolicy {
    /// Checks the numbers.
    ///
    /// # Errors
    /// The first field that cannot be.
    pub fn check(&self) -> Result<(), OutOfRange> {
        bounds::check(&[
            ("cost.move_pause_s", self.move_pause_s, Must::NotNegative),
            ("cost.shift_pause_s", self.shift_pause_s, Must::NotNegative),
            ("cost.copy_bytes_per_s", self.copy_bytes_per_s, Must::Positive),
            ("cost.disturbed_share", self.disturbed_share, Must::Probability),
            ("cost.abort_probability", self.abort_probability, Must::Probability),
            ("cost.abort_share", self.abort_share, Must::Probability),
        ])
    }

    /// Hours that copying takes.
    #[must_use]
    pub fn copy_h(&self, bytes: u64) -> f64 {
        bytes as f64 / self.copy_bytes_per_s / 3600.0
    }
}

/// What a copy costs, in client-minutes.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct CopyCost {
    /// Clients that wait when it takes over.
    pub pause: f64,
    /// Latency while it is copied.
    pub latency: f64,
    /// What an abort would waste, times its probability.
    pub abort: f64,
    /// What fewer holders meanwhile risk; 0 where the copy serves before the replica is given up.
    pub redundancy: f64,
}

impl CopyCost {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.pause + self.latency + self.abort + self.redundancy
    }
}

impl Surroundings<'_> {
    /// What copying so many bytes of a partition costs, of which the share `moved` of its reads moves along (1 where
    /// it is not known which).
    ///
    /// # Panics
    /// If a holder is no node of the field, or there are more than 64.
    #[must_use]
    pub fn cost_of_copy(
        &self,
        held: &Holding<'_>,
        moved: f64,
        bytes: u64,
        redundancy: Redundancy,
        policy: &RiskPolicy,
    ) -> CopyCost {
        let (cost, clients) = (&policy.cost, policy.loss.clients(held.reads_per_s));
        let copy_h = cost.copy_h(bytes);
        let latency = clients * cost.disturbed_share * copy_h * 60.0;
        let short = if cost.gives_up_first {
            let less = Redundancy { missing: redundancy.missing.saturating_add(1), ..redundancy };
            let share = |redundancy| self.quorum_loss(held, redundancy, &policy.exposure).share_of_time;
            (share(less) - share(redundancy)) * clients * copy_h * 60.0
        } else {
            0.0
        };
        CopyCost {
            pause: clients * moved * cost.move_pause_s / 60.0,
            latency,
            abort: cost.abort_probability * cost.abort_share * latency,
            redundancy: short,
        }
    }
}

impl RiskPolicy {
    /// What shifting a share of a partition's reads to other holders costs, in client-minutes: the pause.
    #[must_use]
    pub fn cost_of_shift(&self, reads_per_s: f64, shifted: f64) -> f64 {
        self.loss.clients(reads_per_s) * shifted * self.cost.shift_pause_s / 60.0
    }
}
