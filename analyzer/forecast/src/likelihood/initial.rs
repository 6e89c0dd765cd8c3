//! How far the state before the first value can be from zero.

use crate::lane::Real;
use crate::polynomial::{MAX, coefficients};

/// A small symmetric matrix.
pub(crate) type Square<T> = [[T; MAX]; MAX];

/// The covariance, in units of the innovations' variance, of the state before the first value.
///
/// Component `i` of the state is what the past contributes to the value `i` steps ahead:
/// `sum_{l > i} phi_l w_{1+i-l} + theta_l e_{1+i-l}`, for `i < max(p, q)`. With the autoregressive process
/// `x = e / phi(B)`, of which `w = theta(B) x` and `e = phi(B) x`, it is a linear function of `p + q` values of `x`,
/// whose autocovariances follow from the partial autocorrelations without a division by a small difference.
#[inline(always)]
pub(crate) fn covariance<T: Real>(partial: &[T], phi: &[T], theta: &[T]) -> Square<T> {
    let (p, q) = (phi.len(), theta.len());
    let (r, m) = (p.max(q), p + q);
    let gamma = autocovariances(partial, phi, m);
    // Row i: the coefficients of x at 0, -1, ..., 1 - m.
    let mut rows = [[T::zero(); 2 * MAX]; MAX];
    for (i, row) in rows.iter_mut().enumerate().take(r) {
        for l in i + 1..=r {
            let at = l - i - 1;
            if l <= p {
                row[at] = row[at] + phi[l - 1];
                for j in 1..=q {
                    row[at + j] = row[at + j] + phi[l - 1] * theta[j - 1];
                }
            }
            if l <= q {
                row[at] = row[at] + theta[l - 1];
                for j in 1..=p {
                    row[at + j] = row[at + j] - theta[l - 1] * phi[j - 1];
                }
            }
        }
    }
    let mut v = [[T::zero(); MAX]; MAX];
    for i in 0..r {
        let mut with_x = [T::zero(); 2 * MAX];
        for (a, with_x) in with_x.iter_mut().enumerate().take(m) {
            for b in 0..m - i {
                *with_x = *with_x + rows[i][b] * gamma[a.abs_diff(b)];
            }
        }
        for j in 0..=i {
            let mut sum = T::zero();
            for a in 0..m - j {
                sum = sum + with_x[a] * rows[j][a];
            }
            v[i][j] = sum;
            v[j][i] = sum;
        }
    }
    v
}

/// Autocovariances of an autoregressive process with innovations of variance 1, lags 0 to `lags - 1`.
#[inline(always)]
fn autocovariances<T: Real>(partial: &[T], phi: &[T], lags: usize) -> [T; 2 * MAX] {
    let mut gamma = [T::zero(); 2 * MAX];
    let mut variance = T::one();
    for &r in partial {
        variance = variance / (T::one() - r * r);
    }
    gamma[0] = variance;
    for k in 1..lags {
        let mut sum = T::zero();
        if k <= partial.len() {
            let shorter = coefficients(&partial[..k - 1]);
            for j in 1..k {
                sum = sum + shorter[j - 1] * gamma[k - j];
            }
            let r = partial[k - 1];
            sum = sum + r * variance;
            variance = variance * (T::one() - r * r);
        } else {
            for (j, &phi) in phi.iter().enumerate() {
                sum = sum + phi * gamma[k - 1 - j];
            }
        }
        gamma[k] = sum;
    }
    gamma
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ARMA(1,1): the state is what the past contributes to the first value, `phi w_0 + theta e_0`.
    #[test]
    fn the_state_of_arma_1_1_has_its_known_variance() {
        let (phi, theta) = (0.8, -0.3);
        let v = covariance(&[phi], &[phi], &[theta])[0][0];
        // Var(w) = (1 + 2 phi theta + theta^2) / (1 - phi^2), and w = state + e.
        let w = (1.0 + 2.0 * phi * theta + theta * theta) / (1.0 - phi * phi);
        assert!((v - (w - 1.0)).abs() < 1e-14, "{v} {w}");
    }

    #[test]
    fn the_state_of_a_moving_average_needs_no_solving() {
        let v = covariance(&[], &[], &[0.5, -0.4]);
        assert!((v[0][0] - 0.41).abs() < 1e-15 && (v[1][1] - 0.16).abs() < 1e-15);
        assert!((v[0][1] + 0.2).abs() < 1e-15);
    }
}
