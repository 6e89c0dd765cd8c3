//! Forecasts of values between 0 and 1, such as an entropy over its largest value.
//!
//! The values are forecast as `z = arcsin(sqrt(x))`, in [0, pi / 2]: the noise of a share has nearly the same
//! variance there wherever the share is (Anscombe 1948), and 0 and 1 are finite, which they are not for the
//! logit. What comes back is the distribution of `sin(z)^2` with `z` normal and held within [0, pi / 2]: beyond
//! its ends there is nothing more even than even, so what is beyond lies at the end. The other way,
//! letting `sin(z)^2` fold back, has a mean in closed form, `(1 - cos(2 m) exp(-2 s^2)) / 2`, but under it a
//! series that rises beyond its largest value would be forecast to fall. Both agree as long as the normal lies
//! well within the ends. Holding is monotone, so quantiles and intervals are those of `z`, brought back.

use crate::{Forecast, Interval};
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_PI_2, PI};
use thiserror::Error;

/// A value that is not between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[error("value {at} is {value}, not between 0 and 1")]
pub struct OutOfBounds {
    /// Its index, from 0.
    pub at: usize,
    /// What it is.
    pub value: f64,
}

/// A level that an interval cannot have, or a probability that no quantile can have.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[error("{0} is not between 0 and 1")]
pub struct NotBetween(pub f64);

/// How far rounding may have taken a value out of bounds.
const ROUNDING: f64 = 1e-9;

/// `arcsin(sqrt(x))` of each value, in [0, pi / 2]. A missing value stays missing; one that is out of bounds by
/// rounding, 1e-9, is the bound.
///
/// # Errors
/// The first value that is further out.
pub fn forward(values: &[f64]) -> Result<Vec<f64>, OutOfBounds> {
    let each = |(at, value): (usize, &f64)| match *value {
        value if value.is_nan() => Ok(f64::NAN),
        value if (-ROUNDING..=1.0 + ROUNDING).contains(&value) => {
            Ok(libm::asin(value.clamp(0.0, 1.0).sqrt()))
        }
        value => Err(OutOfBounds { at, value }),
    };
    values.iter().enumerate().map(each).collect()
}

/// `sin(z)^2`, where `z` below 0 is 0 and above pi / 2 is pi / 2: never falling in `z`. `NaN` is a value that is
/// missing, and stays so.
#[must_use]
pub fn back(z: f64) -> f64 {
    if z >= FRAC_PI_2 {
        return 1.0;
    }
    let sine = libm::sin(z.max(0.0));
    if z.is_nan() { f64::NAN } else { sine * sine }
}

/// The interval of the values whose `z` lie in an interval, such as a conformal one.
#[must_use]
pub fn back_interval(interval: Interval) -> Interval {
    Interval { low: back(interval.low), high: back(interval.high) }
}

/// A forecast of values in [0, 1], from one of their `z`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bounded {
    z: Forecast,
}

impl Bounded {
    /// Of a forecast of what [`forward`] gives. Its means and standard errors have to be finite, and the
    /// standard errors not below 0.
    #[must_use]
    pub fn new(z: Forecast) -> Self {
        Self { z }
    }

    /// The forecast of `z`.
    #[must_use]
    pub fn transformed(&self) -> &Forecast {
        &self.z
    }

    /// Expected values, one per step, in [0, 1]: of `sin(z)^2` with `z` held within its bounds, to 1e-11. Where
    /// the normal lies within them, that is `(1 - cos(2 m) exp(-2 s^2)) / 2`, which is nearer to a half than
    /// `sin(m)^2`.
    #[must_use]
    pub fn mean(&self) -> Vec<f64> {
        self.steps().map(|(mean, deviation)| held_mean(mean, deviation)).collect()
    }

    /// Medians, one per step, in [0, 1].
    #[must_use]
    pub fn median(&self) -> Vec<f64> {
        self.z.mean().iter().map(|mean| back(*mean)).collect()
    }

    /// The values that are exceeded with probability `1 - p`, one per step.
    ///
    /// # Errors
    /// A probability outside (0, 1).
    pub fn quantile(&self, p: f64) -> Result<Vec<f64>, NotBetween> {
        if !(p > 0.0 && p < 1.0) {
            return Err(NotBetween(p));
        }
        Ok(self.at(Normal::standard().inverse_cdf(p)))
    }

    /// Intervals with equal risk on either side, one per step.
    ///
    /// # Errors
    /// A level outside (0, 1).
    pub fn interval(&self, level: f64) -> Result<Vec<Interval>, NotBetween> {
        if !(level > 0.0 && level < 1.0) {
            return Err(NotBetween(level));
        }
        let deviations = Normal::standard().inverse_cdf(0.5 - level / 2.0);
        let (low, high) = (self.at(deviations), self.at(-deviations));
        Ok(std::iter::zip(low, high).map(|(low, high)| Interval { low, high }).collect())
    }

    /// What lies so many standard errors above the means, brought back.
    fn at(&self, deviations: f64) -> Vec<f64> {
        self.steps().map(|(mean, deviation)| back(mean + deviations * deviation)).collect()
    }

    fn steps(&self) -> impl Iterator<Item = (f64, f64)> {
        std::iter::zip(self.z.mean(), self.z.standard_error()).map(|(mean, deviation)| (*mean, *deviation))
    }
}

/// Standard deviations beyond which a normal has less than 1e-17.
const FAR: f64 = 8.6;

/// Mean of `back(z)` with `z` normal.
fn held_mean(mean: f64, deviation: f64) -> f64 {
    if deviation <= 0.0 {
        return back(mean);
    }
    if mean - FAR * deviation >= 0.0 && mean + FAR * deviation <= FRAC_PI_2 {
        // (1 - cos(2 m) exp(-2 s^2)) / 2 without the cancellation near 0.
        let (sine, variance) = (libm::sin(mean), deviation * deviation);
        return sine * sine - 0.5 * libm::cos(2.0 * mean) * libm::expm1(-2.0 * variance);
    }
    // In deviations from the mean, as a narrow normal is lost in the rounding of z.
    let (low, high) = ((0.0 - mean) / deviation, (FRAC_PI_2 - mean) / deviation);
    let term = |u: f64| back(mean + deviation * u) * libm::exp(-0.5 * u * u);
    let between = integral(low.max(-FAR), high.min(FAR), term) / (2.0 * PI).sqrt();
    let above = 0.5 * libm::erfc(high * FRAC_1_SQRT_2);
    (above + between).clamp(0.0, 1.0)
}

/// By Gauss's rule of eight points on panels of at most two deviations; 0 if the ends are in the wrong order.
fn integral(low: f64, high: f64, term: impl Fn(f64) -> f64) -> f64 {
    if low >= high {
        return 0.0;
    }
    let panels = ((high - low) / 2.0).ceil();
    let half = (high - low) / panels / 2.0;
    let mut sum = 0.0;
    for panel in 0..panels as usize {
        let middle = low + half * (2.0 * panel as f64 + 1.0);
        for (node, weight) in GAUSS {
            sum += weight * (term(middle - half * node) + term(middle + half * node));
        }
    }
    sum * half
}

/// Nodes and weights on [-1, 1], each node with its opposite (Abramowitz and Stegun 1964, table 25.4).
const GAUSS: [(f64, f64); 4] = [
    (0.183_434_642_495_649_8, 0.362_683_783_378_362),
    (0.525_532_409_916_329, 0.313_706_645_877_887_3),
    (0.796_666_477_413_626_7, 0.222_381_034_453_374_48),
    (0.960_289_856_497_536_3, 0.101_228_536_290_376_26),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_distr::{Distribution, StandardNormal};
    use rand_pcg::Pcg64;
    use rand_pcg::rand_core::SeedableRng;

    /// Mean of sin(min(max(z, 0), pi / 2))^2 with z normal, by mpmath 1.4.1 with 30 digits.
    const REFERENCE: &[(f64, f64, f64)] = &[
        (0.8, 0.05, 0.5145269445381236),
        (0.8, 0.2, 0.513477394250443),
        (0.8, 0.0935, 0.5143467103071432),
        (1.5, 0.2, 0.9675573178021992),
        (1.55, 0.1, 0.9931889168708947),
        (0.1, 0.3, 0.0669041260342236),
        (0.0, 0.01, 4.9995000333316665e-05),
        (-0.5, 0.2, 4.7406166787478285e-05),
        (2.0, 0.4, 0.9906426076757002),
        (3.0, 0.1, 1.0),
        (0.7, 5.0, 0.49320242447386486),
        (1.2, 1.0, 0.6524242526709074),
    ];

    fn bounded(mean: f64, deviation: f64) -> Bounded {
        Bounded::new(Forecast::new(vec![mean], vec![deviation]))
    }

    #[test]
    fn the_mean_is_that_by_numerical_integration() {
        for (mean, deviation, expected) in REFERENCE {
            let found = bounded(*mean, *deviation).mean()[0];
            assert!((found - expected).abs() < 1e-11, "{mean} {deviation}: {found} {expected}");
        }
        assert_eq!(REFERENCE.len(), 12);
    }

    #[test]
    fn the_mean_is_that_of_simulated_values() {
        let mut rng = Pcg64::seed_from_u64(1);
        for (mean, deviation) in [(0.8, 0.05), (1.5, 0.2), (0.1, 0.3), (2.0, 0.4)] {
            let draws = (0..200_000).map(|_| {
                let z: f64 = StandardNormal.sample(&mut rng);
                back(mean + deviation * z)
            });
            let simulated = draws.sum::<f64>() / 200_000.0;
            let found = bounded(mean, deviation).mean()[0];
            // Four standard errors of a mean of values that differ by .3 at most.
            assert!((found - simulated).abs() < 0.003, "{mean} {deviation}: {found} {simulated}");
        }
    }

    #[test]
    fn the_mean_is_in_closed_form_away_from_the_bounds_and_differs_at_them() {
        let folded = |m: f64, s: f64| (1.0 - (2.0 * m).cos() * (-2.0 * s * s).exp()) / 2.0;
        assert!((bounded(0.8, 0.085).mean()[0] - folded(0.8, 0.085)).abs() < 1e-14);
        // Both ways to compute it meet where one takes over.
        assert!((bounded(0.8, 0.094).mean()[0] - folded(0.8, 0.094)).abs() < 1e-11);
        // Beyond the end a folded mean falls.
        assert!(bounded(2.0, 0.1).mean()[0] > 0.999 && folded(2.0, 0.1) < 0.85);
    }

    #[test]
    fn values_go_forward_and_back() {
        let values = [0.0, 1e-300, 0.25, 0.5, 1.0 - 1e-12, 1.0];
        for (value, z) in values.iter().zip(forward(&values).expect("in bounds")) {
            assert!((back(z) - value).abs() <= 1e-15, "{value}");
        }
        assert_eq!(forward(&[0.0, 1.0]), Ok(vec![0.0, FRAC_PI_2]));
        let rounded = forward(&[-1e-10, 1.0 + 1e-10, f64::NAN]).expect("rounding");
        assert_eq!(rounded[..2], [0.0, FRAC_PI_2]);
        assert!(rounded[2].is_nan() && back(f64::NAN).is_nan());
        for value in [-0.01, 1.01, f64::INFINITY] {
            assert_eq!(forward(&[0.5, value]), Err(OutOfBounds { at: 1, value }));
        }
        assert_eq!(
            (back(-1.0), back(4.0), back(f64::INFINITY), back(f64::NEG_INFINITY)),
            (0.0, 1.0, 1.0, 0.0)
        );
    }

    /// sin(0.5)^2, and sin(0.5 + 1.95996 x 0.1)^2, by hand; the lower end of the last lies beyond the bound.
    #[test]
    fn medians_and_intervals_are_those_of_z_brought_back() {
        let forecast = Bounded::new(Forecast::new(vec![0.5, 0.1], vec![0.1, 0.1]));
        assert!((forecast.median()[0] - 0.229_848_847_065_930_14).abs() < 1e-15);
        let intervals = forecast.interval(0.95).expect("a level");
        assert!((intervals[0].low - 0.304_003_601_5f64.sin().powi(2)).abs() < 1e-9);
        assert!((intervals[0].high - 0.695_996_398_5f64.sin().powi(2)).abs() < 1e-9);
        assert_eq!(intervals[1].low, 0.0);
        assert_eq!(back_interval(Interval { low: -1.0, high: 9.0 }), Interval { low: 0.0, high: 1.0 });
        assert_eq!(forecast.interval(1.0), Err(NotBetween(1.0)));
        assert_eq!(forecast.quantile(0.0), Err(NotBetween(0.0)));
        assert!(
            forecast.interval(1.0 - f64::EPSILON / 2.0).is_ok()
                && forecast.interval(f64::NAN).is_err()
                && forecast.interval(-0.5).is_err()
        );
    }

    #[test]
    fn without_width_mean_and_median_are_one() {
        for mean in [-0.5, 0.0, 0.3, FRAC_PI_2, 3.0] {
            assert_eq!(bounded(mean, 0.0).mean(), bounded(mean, 0.0).median());
            assert!((bounded(mean, 1e-9).mean()[0] - bounded(mean, 0.0).mean()[0]).abs() < 1e-8);
        }
    }

    proptest! {
        #[test]
        fn a_higher_forecast_never_means_a_lower_value(
            mean in -3.0..4.0f64,
            rise in 0.0..1.0f64,
            deviation in 1e-6..30.0f64,
        ) {
            let (low, high) = (bounded(mean, deviation), bounded(mean + rise, deviation));
            prop_assert!(low.mean()[0] <= high.mean()[0] + 1e-11);
            prop_assert!((0.0..=1.0).contains(&low.mean()[0]));
            prop_assert!(low.median()[0] <= high.median()[0]);
        }

        #[test]
        fn finite_in_is_finite_out(mean in any::<f64>(), deviation in any::<f64>()) {
            prop_assume!(mean.is_finite() && deviation.is_finite());
            let forecast = bounded(mean, deviation.abs());
            prop_assert!((0.0..=1.0).contains(&forecast.mean()[0]), "{}", forecast.mean()[0]);
            let interval = forecast.interval(0.95).expect("a level")[0];
            prop_assert!(0.0 <= interval.low && interval.low <= interval.high && interval.high <= 1.0);
        }
    }
}
