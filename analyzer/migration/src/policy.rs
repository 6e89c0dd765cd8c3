//! Limits and waiting times of a migration. All are data; none is a clock.

use serde::{Deserialize, Serialize};

/// The longest back-off doubles so often before it is certainly at its bound.
const MOST_DOUBLINGS: u32 = 32;

/// Limits and waiting times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Whether somebody must agree first.
    pub approval: Approval,
    /// Who opens the gate before the switch (before the fence, where that comes before the copy).
    pub switch: SwitchWhen,
    /// The longest that writes may be stopped at the switch.
    pub fence_budget_ms: u64,
    /// The longest that writes may be stopped for a copy, where the fence comes before it; absent for as long as the
    /// copy makes progress.
    pub copy_fence_budget_ms: Option<u64>,
    /// The most that the target may lag behind when the switch begins.
    pub max_lag_bytes: u64,
    /// The longest that a step may run without any progress, throttling and pauses not counted.
    pub no_progress_ms: u64,
    /// How long the source is kept after the switch.
    pub probation_ms: u64,
    /// The rate of copying that the adapter is told; absent for no bound.
    pub bytes_per_s: Option<u64>,
    /// After so long a call's outcome is unknown.
    pub call_timeout_ms: u64,
    /// The longest between two questions to a step that runs, or to an adapter that does not answer.
    pub poll_ms: u64,
    /// What is tried again, and how.
    pub retry: Retry,
}

/// Whether a migration waits for approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Approval {
    /// It begins by itself.
    NotNeeded,
    /// It waits, and expires if nobody agrees in time.
    Within {
        /// For how long.
        ms: u64,
    },
}

/// Who opens the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SwitchWhen {
    /// It is open.
    AtOnce,
    /// An operator, or a window that opens.
    Told,
}

/// Bounds of what is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// So many refusals for the moment are a refusal. Throttling is not counted.
    pub most_refusals: u32,
    /// So many questions in a row without an answer, and the adapter is out of reach.
    pub most_silent: u32,
    /// So many fences that did not lead to the switch, and somebody should look.
    pub most_fences: u32,
    /// The first back-off; each one after it is twice as long.
    pub first_ms: u64,
    /// The longest back-off.
    pub longest_ms: u64,
}

impl Retry {
    /// The back-off after so many failures in a row, from 1 on: `min(first * 2^(n - 1), longest)`.
    ///
    /// Without jitter: a runner that has many migrations on one adapter bounds how many calls it has under way.
    #[must_use]
    pub fn backoff_ms(&self, failures: u32) -> u64 {
        let doublings = failures.saturating_sub(1).min(MOST_DOUBLINGS);
        self.first_ms.saturating_mul(1 << doublings).min(self.longest_ms)
    }
}

/// A limit with which a migration could never end, or never begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} must be more than 0")]
pub struct PolicyError {
    /// The field of [`Policy`] or [`Retry`].
    pub field: &'static str,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            approval: Approval::NotNeeded,
            switch: SwitchWhen::AtOnce,
            // A pause that clients' own time-outs, 30 s and more, survive.
            fence_budget_ms: 10_000,
            copy_fence_budget_ms: None,
            // A tenth of the fence's budget at 16 MiB/s, which slow disks have.
            max_lag_bytes: 16 << 20,
            no_progress_ms: 600_000,
            probation_ms: 3_600_000,
            bytes_per_s: None,
            call_timeout_ms: 30_000,
            poll_ms: 2_000,
            retry: Retry::default(),
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        // Eight refusals are a minute; twenty questions seven minutes if connections are refused, seventeen if nothing
        // comes back: longer than the restart of an adapter, and of a host.
        Self { most_refusals: 8, most_silent: 20, most_fences: 3, first_ms: 500, longest_ms: 30_000 }
    }
}

impl Policy {
    pub(crate) fn check(&self) -> Result<(), PolicyError> {
        let numbers = [
            ("fence_budget_ms", self.fence_budget_ms),
            ("copy_fence_budget_ms", self.copy_fence_budget_ms.unwrap_or(1)),
            ("no_progress_ms", self.no_progress_ms),
            ("bytes_per_s", self.bytes_per_s.unwrap_or(1)),
            ("call_timeout_ms", self.call_timeout_ms),
            ("poll_ms", self.poll_ms),
            ("retry.most_refusals", self.retry.most_refusals.into()),
            ("retry.most_silent", self.retry.most_silent.into()),
            ("retry.most_fences", self.retry.most_fences.into()),
            ("retry.first_ms", self.retry.first_ms),
            ("retry.longest_ms", self.retry.longest_ms),
        ];
        numbers
            .into_iter()
            .find(|(_, value)| *value == 0)
            .map_or(Ok(()), |(field, _)| Err(PolicyError { field }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_up_to_its_bound() {
        let retry = Retry { first_ms: 500, longest_ms: 3_000, ..Retry::default() };
        let waits: Vec<u64> = (1..=5).map(|n| retry.backoff_ms(n)).collect();
        assert_eq!(waits, [500, 1_000, 2_000, 3_000, 3_000]);
        assert_eq!(retry.backoff_ms(u32::MAX), 3_000);
    }

    #[test]
    fn limits_of_zero_are_refused_by_name() {
        assert_eq!(Policy::default().check(), Ok(()));
        let policy = Policy { retry: Retry { most_fences: 0, ..Retry::default() }, ..Policy::default() };
        assert_eq!(policy.check(), Err(PolicyError { field: "retry.most_fences" }));
    }
}
