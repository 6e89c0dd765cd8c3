//! The probability of an incident over a horizon, R = 1 - E[exp(-X)], X the exposure integrated over it.
//!
//! X is uncertain, as the future shares are: it is one number for each simulated path. What is kept of them for good
//! is their mean m and variance v (over their number, not one less: the paths are all there is), from which
//! R = 1 - exp(-m + v/2) to the second order (the first two cumulants). What that leaves out is bounded by
//! exp(-m) (v c exp(c) / 6 + v^2 exp(v/2) / 8), c the farthest that a path is from the mean.

/// R to the second order, 1 - exp(-m + v/2), kept from 0 to 1: what can be found again from what is kept.
#[must_use]
pub fn second_order(mean: f64, variance: f64) -> f64 {
    (-(0.5 * variance - mean).exp_m1()).clamp(0.0, 1.0)
}
