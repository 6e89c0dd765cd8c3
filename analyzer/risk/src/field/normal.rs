//! The standard normal distribution, as far as overload needs it.

use statrs::function::erf::erfc;
use std::f64::consts::{PI, SQRT_2};

/// Below so many standard deviations an excess counts as none: there it is 6e-12 of one.
pub(super) const NEGLIGIBLE: f64 = -6.5;

/// Probability of less than `z`.
pub(super) fn below(z: f64) -> f64 {
    0.5 * erfc(-z / SQRT_2)
}

/// Expected value of max(0, z + Z), Z standard normal: z times the probability of less than `z`, plus the density
/// there. 0 below [`NEGLIGIBLE`].
pub(super) fn excess(z: f64) -> f64 {
    if z <= NEGLIGIBLE {
        0.0
    } else if z >= -NEGLIGIBLE {
        z
    } else {
        z * below(z) + (-0.5 * z * z).exp() / (2.0 * PI).sqrt()
    }
}
