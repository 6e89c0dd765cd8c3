//! Rules over parts of block devices, for stores that use them without a file system.

use super::RuleError;
use isotherm_agent_ebpf::{MAX_STRIPE_SHIFT, MIN_STRIPE_SHIFT};
use std::path::{Path, PathBuf};

/// A part of a device: one partition, or one for each stripe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRule {
    device: PathBuf,
    from: u64,
    to: Option<u64>,
    stripe_shift: Option<u8>,
    partition: String,
}

impl DeviceRule {
    /// The bytes `from .. to` of a device, to its end without `to`; divided into stripes of `stripe` bytes if that
    /// is given. `partition` may refer to the number of the stripe, counted from `from`, as `$stripe`.
    pub fn new(
        device: &Path,
        from: u64,
        to: Option<u64>,
        stripe: Option<u64>,
        partition: &str,
    ) -> Result<Self, RuleError> {
        if let Some(to) = to.filter(|to| *to <= from) {
            return Err(RuleError::Empty { from, to });
        }
        for bytes in [Some(from), to, stripe].into_iter().flatten() {
            if bytes % (1 << MIN_STRIPE_SHIFT) != 0 {
                return Err(RuleError::Alignment { bytes });
            }
        }
        if let Some(bytes) = stripe.filter(|bytes| !bytes.is_power_of_two()) {
            return Err(RuleError::Stripe { bytes });
        }
        super::check_references(partition, if stripe.is_some() { "stripe" } else { "" })?;
        Ok(Self {
            device: device.to_owned(),
            from,
            to,
            stripe_shift: stripe.map(|stripe| stripe.trailing_zeros() as u8),
            partition: partition.to_owned(),
        })
    }

    /// Path of the device.
    #[must_use]
    pub fn device(&self) -> &Path {
        &self.device
    }

    /// Whether both name some byte of one device, by the same path.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let before = |one: &Self, other: &Self| one.to.is_some_and(|to| to <= other.from);
        self.device == other.device && !before(self, other) && !before(other, self)
    }

    /// What it claims, and for whom, in words.
    #[must_use]
    pub fn summary(&self) -> String {
        let to = self.to.map_or_else(|| "the end".to_owned(), |to| format!("byte {to}"));
        let stripes = self.stripe_shift.map(|shift| format!(", in stripes of {} bytes,", 1u64 << shift));
        let stripes = stripes.unwrap_or_default();
        format!("byte {} to {to}{stripes} for partition {:?}", self.from, self.partition)
    }

    /// log2 of the largest stripe that no part of the rule cuts.
    #[must_use]
    pub fn granularity(&self) -> u8 {
        let ends = [Some(self.from), self.to].into_iter().flatten();
        let ends = ends.filter(|bytes| *bytes > 0).map(|bytes| bytes.trailing_zeros() as u8);
        ends.chain(self.stripe_shift).min().unwrap_or(MAX_STRIPE_SHIFT).min(MAX_STRIPE_SHIFT)
    }

    /// The partition's id, if the rule claims the byte at an address.
    #[must_use]
    pub fn claim(&self, address: u64) -> Option<String> {
        if address < self.from || self.to.is_some_and(|to| address >= to) {
            return None;
        }
        let stripe = self.stripe_shift.map_or(0, |shift| (address - self.from) >> shift);
        Some(super::expand(&self.partition, "stripe", &stripe.to_string()))
    }
}
