//! How far the state before the first value can be from zero.

use crate::lane::{Dual, Real};
use crate::polynomial::{MAX, coefficients};

/// A small symmetric matrix.
pub(crate) type Square<T> = [[T; MAX]; MAX];

/// Values of the autoregressive process that the state is made of, at most.
const PAST: usize = 2 * MAX;

/// The state before the first value. Component `i` is what the past contributes to the value `i` steps ahead:
/// `sum_{l > i} phi_l w_{1+i-l} + theta_l e_{1+i-l}`, for `i < max(p, q)`. With the autoregressive process
/// `x = e / phi(B)`, of which `w = theta(B) x` and `e = phi(B) x`, it is a linear function of `p + q` values of `x`,
/// whose autocovariances follow from the partial autocorrelations without a division by a small difference.
pub(crate) struct Initial<T> {
    p: usize,
    q: usize,
    /// Row i: the coefficients of x at 0, -1, ..., 1 - p - q.
    rows: [[T; PAST]; MAX],
    /// Rows times autocovariances.
    with_x: [[T; PAST]; MAX],
}

/// Derivatives with respect to the coefficients at given autocovariances, and to these.
pub(crate) struct Pulled<T> {
    pub(crate) phi: [T; MAX],
    pub(crate) theta: [T; MAX],
    gamma: [T; PAST],
}

impl<T: Real> Initial<T> {
    #[inline(always)]
    pub(crate) fn new(partial: &[T], phi: &[T], theta: &[T]) -> Self {
        let (p, q) = (phi.len(), theta.len());
        let (r, m) = (p.max(q), p + q);
        let gamma = autocovariances(partial, phi, m);
        let mut rows = [[T::zero(); PAST]; MAX];
        for (i, row) in rows.iter_mut().enumerate().take(r) {
            for l in i + 1..=r {
                let at = l - i - 1;
                if l <= p {
                    row[at] = row[at] + phi[l - 1];
                    for j in 1..=q {
                        row[at + j] = row[at + j].plus(phi[l - 1], theta[j - 1]);
                    }
                }
                if l <= q {
                    row[at] = row[at] + theta[l - 1];
                    for j in 1..=p {
                        row[at + j] = row[at + j].minus(theta[l - 1], phi[j - 1]);
                    }
                }
            }
        }
        let mut with_x = [[T::zero(); PAST]; MAX];
        for i in 0..r {
            for a in 0..m {
                let mut sum = T::zero();
                // Row i has nothing farther back than that.
                for b in 0..m - i {
                    sum = sum + rows[i][b] * gamma[a.abs_diff(b)];
                }
                with_x[i][a] = sum;
            }
        }
        Self { p, q, rows, with_x }
    }

    /// Its covariance, in units of the innovations' variance.
    #[inline(always)]
    pub(crate) fn covariance(&self) -> Square<T> {
        let (r, m) = (self.p.max(self.q), self.p + self.q);
        let mut v = [[T::zero(); MAX]; MAX];
        for i in 0..r {
            for j in 0..=i {
                let mut sum = T::zero();
                for a in 0..m - j {
                    sum = sum.plus(self.with_x[i][a], self.rows[j][a]);
                }
                v[i][j] = sum;
                v[j][i] = sum;
            }
        }
        v
    }

    /// The derivatives of `sum_ij pull_ij V_ij` (reverse-mode differentiation by hand).
    #[inline(always)]
    pub(crate) fn pull(&self, pull: &Square<T>, phi: &[T], theta: &[T]) -> Pulled<T> {
        let (p, q) = (self.p, self.q);
        let (r, m) = (p.max(q), p + q);
        let mut out = Pulled { phi: [T::zero(); MAX], theta: [T::zero(); MAX], gamma: [T::zero(); PAST] };
        for i in 0..r {
            // Derivatives with respect to row i, halved, and the row that meets it in the covariance.
            let (mut of_row, mut met) = ([T::zero(); PAST], [T::zero(); PAST]);
            for a in 0..m {
                for j in 0..r {
                    of_row[a] = of_row[a].plus(pull[i][j], self.with_x[j][a]);
                    met[a] = met[a].plus(pull[i][j], self.rows[j][a]);
                }
            }
            for a in 0..m {
                for b in 0..m - i {
                    let lag = a.abs_diff(b);
                    out.gamma[lag] = out.gamma[lag].plus(met[a], self.rows[i][b]);
                }
                of_row[a] = of_row[a] + of_row[a];
            }
            for l in i + 1..=r {
                let at = l - i - 1;
                if l <= p {
                    let mut sum = of_row[at];
                    for j in 1..=q {
                        sum = sum.plus(of_row[at + j], theta[j - 1]);
                        out.theta[j - 1] = out.theta[j - 1].plus(of_row[at + j], phi[l - 1]);
                    }
                    out.phi[l - 1] = out.phi[l - 1] + sum;
                }
                if l <= q {
                    let mut sum = of_row[at];
                    for j in 1..=p {
                        sum = sum.minus(of_row[at + j], phi[j - 1]);
                        out.phi[j - 1] = out.phi[j - 1].minus(of_row[at + j], theta[l - 1]);
                    }
                    out.theta[l - 1] = out.theta[l - 1] + sum;
                }
            }
        }
        out
    }
}

impl<T: Real> Pulled<T> {
    /// What the autocovariances add to the derivative with respect to the parameter that `partial` and `phi` are
    /// differentiated by.
    #[inline(always)]
    pub(crate) fn through_autocovariances(&self, partial: &[Dual<T>], phi: &[Dual<T>], lags: usize) -> T {
        let gamma = autocovariances(partial, phi, lags);
        let mut sum = T::zero();
        for k in 0..lags {
            sum = sum.plus(self.gamma[k], gamma[k].slope);
        }
        sum
    }
}

/// Autocovariances of an autoregressive process with innovations of variance 1, lags 0 to `lags - 1`.
#[inline(always)]
fn autocovariances<T: Real>(partial: &[T], phi: &[T], lags: usize) -> [T; PAST] {
    let mut gamma = [T::zero(); PAST];
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
                sum = sum.plus(shorter[j - 1], gamma[k - j]);
            }
            let r = partial[k - 1];
            sum = sum.plus(r, variance);
            variance = variance * (T::one() - r * r);
        } else {
            for (j, &phi) in phi.iter().enumerate() {
                sum = sum.plus(phi, gamma[k - 1 - j]);
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
        let v = Initial::new(&[phi], &[phi], &[theta]).covariance()[0][0];
        // Var(w) = (1 + 2 phi theta + theta^2) / (1 - phi^2), and w = state + e.
        let w = (1.0 + 2.0 * phi * theta + theta * theta) / (1.0 - phi * phi);
        assert!((v - (w - 1.0)).abs() < 1e-14, "{v} {w}");
    }

    #[test]
    fn the_state_of_a_moving_average_needs_no_solving() {
        let v = Initial::new(&[], &[], &[0.5, -0.4]).covariance();
        assert!((v[0][0] - 0.41).abs() < 1e-15 && (v[1][1] - 0.16).abs() < 1e-15);
        assert!((v[0][1] + 0.2).abs() < 1e-15);
    }
}
