//! What is believed of one subject's rate.

use super::{ClassPrior, OverrideRate, Tally};
use statrs::function::gamma::gamma_lr;

/// What a hazard rests on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Basis {
    /// The stated prior, as there are hardly any records.
    Prior,
    /// Records of its class; it has not failed itself as far as is known.
    Class,
    /// Its own failures too.
    Own,
    /// An operator's word.
    Override(OverrideRate),
}

/// A failure rate: a Gamma distribution, or a number that was given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hazard {
    /// Shape of the Gamma distribution: pseudo-failures and failures.
    shape: f64,
    /// Its rate: pseudo-hours and hours.
    hours: f64,
    class_per_hour: f64,
    /// What it rests on.
    pub basis: Basis,
}

impl Hazard {
    pub(super) fn estimate(tally: Tally, prior: &ClassPrior, class_per_hour: f64) -> Self {
        let basis = match (prior.is_stated, tally.failures > 0.0) {
            (true, _) => Basis::Prior,
            (false, true) => Basis::Own,
            (false, false) => Basis::Class,
        };
        Self {
            shape: prior.pseudo_count + tally.failures,
            hours: prior.pseudo_hours + tally.exposure_h,
            class_per_hour,
            basis,
        }
    }

    pub(super) fn hold(&mut self, rate: OverrideRate) {
        self.basis = Basis::Override(rate);
    }

    /// Failures per hour: the posterior mean, or what an override makes of it.
    #[must_use]
    pub fn per_hour(&self) -> f64 {
        self.scaled(self.shape / self.hours)
    }

    /// Failures per hour of its class without it.
    #[must_use]
    pub const fn class_per_hour(&self) -> f64 {
        self.class_per_hour
    }

    /// How many times its class's it is, its class's being that of the others in it.
    #[must_use]
    pub fn over_class(&self) -> f64 {
        self.per_hour() / self.class_per_hour
    }

    /// Standard deviation of what is believed, per hour; 0 if it was given.
    #[must_use]
    pub fn sd_per_hour(&self) -> f64 {
        match self.basis {
            Basis::Override(OverrideRate::PerHour(_)) => 0.0,
            Basis::Override(OverrideRate::Factor(_)) | Basis::Prior | Basis::Class | Basis::Own => {
                self.scaled(self.shape.sqrt() / self.hours)
            }
        }
    }

    /// The rate per hour below which it is believed to be with a probability. Not a number for what is no
    /// probability; infinite for 1, unless it was given.
    #[must_use]
    pub fn quantile_per_hour(&self, probability: f64) -> f64 {
        if !(0.0..=1.0).contains(&probability) {
            return f64::NAN;
        }
        self.scaled(unit_quantile(self.shape, probability) / self.hours)
    }

    fn scaled(&self, estimate: f64) -> f64 {
        match self.basis {
            Basis::Override(OverrideRate::PerHour(given)) => given,
            Basis::Override(OverrideRate::Factor(factor)) => factor * estimate,
            Basis::Prior | Basis::Class | Basis::Own => estimate,
        }
    }
}

/// Quantile of the Gamma distribution of a shape and the rate 1, by halving over the logarithm: with the small
/// shapes here low quantiles are tiny, and only a relative error means anything.
fn unit_quantile(shape: f64, probability: f64) -> f64 {
    if probability == 0.0 {
        return 0.0;
    }
    if probability == 1.0 {
        return f64::INFINITY;
    }
    let (mut low, mut high) = (-690.0_f64, (shape + 40.0 * (1.0 + shape.sqrt())).ln());
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if gamma_lr(shape, middle.exp()) < probability {
            low = middle;
        } else {
            high = middle;
        }
    }
    (0.5 * (low + high)).exp()
}
