//! The probability of an incident over a horizon, R = 1 - E[exp(-X)], X the exposure integrated over it.
//!
//! X is uncertain, as the future shares are: it is one number for each simulated path. What is kept of them for good
//! is their mean m and variance v, from which R = 1 - exp(-m + v/2) to the second order (the first two cumulants).
//! What that leaves out is bounded: see [`second_order_error`].

use serde::{Deserialize, Serialize};

/// An integrated exposure over many paths.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Horizon {
    /// Mean over the paths: expected incidents.
    pub mean: f64,
    /// Their variance (over their number, not one less: the paths are all there is).
    pub variance: f64,
    /// R over exactly these paths. 0 to 1.
    pub risk: f64,
}

impl Horizon {
    /// Of each path's integrated exposure. `None` without a path, or if one is not a number of 0 or more.
    #[must_use]
    pub fn of(integrated: &[f64]) -> Option<Self> {
        if integrated.is_empty() || integrated.iter().any(|x| !(x.is_finite() && *x >= 0.0)) {
            return None;
        }
        let count = integrated.len() as f64;
        let mean = integrated.iter().sum::<f64>() / count;
        let variance = integrated.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
        let risk = integrated.iter().map(|x| -(-x).exp_m1()).sum::<f64>() / count;
        Some(Self { mean, variance, risk })
    }

    /// Of exposures per hour on each path, step by step of so many hours. `None` as above, or if the step is not
    /// above 0.
    #[must_use]
    pub fn of_paths<'a>(per_hour: impl IntoIterator<Item = &'a [f64]>, step_h: f64) -> Option<Self> {
        let integrated: Vec<f64> =
            per_hour.into_iter().map(|path| path.iter().sum::<f64>() * step_h).collect();
        (step_h > 0.0).then(|| Self::of(&integrated)).flatten()
    }

    /// R to the second order, 1 - exp(-m + v/2), kept from 0 to 1: what can be found again from what is kept.
    #[must_use]
    pub fn second_order(mean: f64, variance: f64) -> f64 {
        (-(0.5 * variance - mean).exp_m1()).clamp(0.0, 1.0)
    }
}

/// How far R to the second order can be from R over paths of which none is farther than `spread` from the mean:
/// exp(-m) (v c exp(c) / 6 + v^2 exp(v/2) / 8), c the spread.
///
/// From |exp(-y) - 1 + y - y^2/2| <= |y|^3 exp(|y|) / 6 with E|y|^3 <= c v, and 0 <= exp(u) - 1 - u <= u^2 exp(u) / 2
/// with u = v/2.
#[must_use]
pub fn second_order_error(mean: f64, variance: f64, spread: f64) -> f64 {
    let cubic = variance * spread * spread.exp() / 6.0;
    let square = variance * variance * (0.5 * variance).exp() / 8.0;
    (-mean).exp() * (cubic + square)
}
