//! Coefficients and partial autocorrelations.
//!
//! An autoregressive polynomial is stationary exactly if all its partial autocorrelations lie within (-1, 1)
//! (Barndorff-Nielsen and Schou 1973), and so is it for the invertibility of a moving average, with the signs
//! turned. Estimation therefore works on partial autocorrelations: a box instead of a region that is hard to
//! describe, and a model of a lower order is the same with zeros at the end.

use crate::lane::Real;

/// Terms of the longer polynomial.
pub(crate) const MAX: usize = 5;

/// Coefficients `c` of `1 - c_1 B - ... - c_k B^k` from its partial autocorrelations (Durbin-Levinson).
#[inline(always)]
pub(crate) fn coefficients<T: Real>(partial: &[T]) -> [T; MAX] {
    let mut c = [T::zero(); MAX];
    for (k, &r) in partial.iter().enumerate() {
        let shorter = c;
        for j in 0..k {
            c[j] = shorter[j] - r * shorter[k - 1 - j];
        }
        c[k] = r;
    }
    c
}

/// The partial autocorrelations of `1 - c_1 B - ... - c_k B^k` (the step-down recursion), or nothing if it has
/// a root on or inside the unit circle.
pub(crate) fn partial(c: &[f64]) -> Option<[f64; MAX]> {
    let mut a = [0.0; MAX];
    a[..c.len()].copy_from_slice(c);
    let mut partial = [0.0; MAX];
    for k in (0..c.len()).rev() {
        let r = a[k];
        partial[k] = r;
        if r.is_nan() || r.abs() >= 1.0 {
            return None;
        }
        let longer = a;
        for j in 0..k {
            a[j] = (longer[j] + r * longer[k - 1 - j]) / (1.0 - r * r);
        }
    }
    Some(partial)
}

/// Whether all roots of `1 - c_1 B - ... - c_k B^k` are farther from zero than `radius`.
pub(crate) fn roots_beyond(c: &[f64], radius: f64) -> bool {
    let mut scaled = [0.0; MAX];
    let mut power = 1.0;
    for (scaled, c) in scaled.iter_mut().zip(c) {
        power *= radius;
        *scaled = c * power;
    }
    partial(&scaled[..c.len()]).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_autocorrelations_and_coefficients_are_each_others_inverse() {
        let partial_of = [0.3, -0.9, 0.99, 0.0, -0.5];
        for k in 0..=MAX {
            let c = coefficients(&partial_of[..k]);
            let back = partial(&c[..k]).expect("it is stationary");
            for (one, other) in back.iter().zip(&partial_of[..k]) {
                assert!((one - other).abs() < 1e-12, "{one} {other}");
            }
        }
    }

    #[test]
    fn a_root_on_the_circle_or_inside_is_seen() {
        assert!(partial(&[1.0]).is_none() && partial(&[1.3, -0.3]).is_none());
        assert!(partial(&[f64::NAN]).is_none());
        // Roots 1.25 and 2: (1 - .8 B)(1 - .5 B).
        assert!(roots_beyond(&[1.3, -0.4], 1.24) && !roots_beyond(&[1.3, -0.4], 1.26));
        assert!(roots_beyond(&[], 9.0));
    }
}
