//! The exact Gaussian likelihood of an ARMA model without missing values, with its gradient.
//!
//! Given the state before the first value, the innovations follow by the conditional recursion
//! `theta(B) e = phi(B) w`, and the likelihood is that of `n` independent innovations. The unknown state only adds
//! the impulse response of `1 / theta(B)`, shifted by 0 to `max(p, q) - 1` steps, so the exact likelihood is the
//! conditional sum of squares and a correction by matrices of that size (as in Ljung and Box 1979):
//! with `e` the innovations for a state of zero, `Z` the shifted impulse responses, `V` the state's covariance,
//! `S = e'e - b'Q b`, `b = Z'e`, `Q = (V^-1 + Z'Z)^-1`, `log det = log |I + V Z'Z|`.
//! All derivatives need one more pass, whatever the order: `u = w / theta(B)` and `v = e~ / theta(B)`, with `e~` the
//! innovations for the expected state. A constant is concentrated out by generalised least squares.
//!
//! The cost is a few passes over the values, against `max(p, q + 1)^2` operations a value in a Kalman filter,
//! which [`crate::state`] has for missing values.

#![expect(
    clippy::needless_range_loop,
    reason = "matrices and lags are written by their indices, as in the formulas"
)]

mod correction;
mod impulse;
mod initial;
mod matrix;
mod pass;

use crate::lane::{Dual, Lane, Real};
use crate::polynomial::{MAX, coefficients};
use correction::Correction;
pub(crate) use impulse::{Impulse, impulse_of};
use initial::{Initial, Square};
use matrix::{Column, inner};
pub(crate) use pass::{Levels, Passes, Slopes, Terms, levels_of, slopes_of};
use pass::{levels, slopes};

/// Most coefficients besides the constant.
pub(crate) const MAX_PARAMETERS: usize = 2 * MAX;

/// What the likelihood is computed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape {
    pub(crate) p: usize,
    pub(crate) q: usize,
    pub(crate) constant: bool,
}

impl Shape {
    /// Coefficients besides the constant.
    pub(crate) fn parameters(self) -> usize {
        self.p + self.q
    }
}

/// The likelihood at some partial autocorrelations: first those of the autoregressive part, then those of the
/// moving average with turned signs.
pub(crate) struct Evaluation<T: Lane> {
    /// `-2 L` without `n (ln 2 pi + 1)`: `n ln(S / n) + log det`.
    pub(crate) deviance: T,
    /// S.
    pub(crate) sum_of_squares: T,
    /// The best constant; 0 without one.
    pub(crate) constant: T,
    /// Derivatives of the deviance.
    pub(crate) gradient: [T; MAX_PARAMETERS],
    /// What its second derivatives are expected to be.
    pub(crate) curvature: [[T; MAX_PARAMETERS]; MAX_PARAMETERS],
}

impl<T: Lane> Evaluation<T> {
    pub(crate) fn new() -> Self {
        Self {
            deviance: T::zero(),
            sum_of_squares: T::zero(),
            constant: T::zero(),
            gradient: [T::zero(); MAX_PARAMETERS],
            curvature: [[T::zero(); MAX_PARAMETERS]; MAX_PARAMETERS],
        }
    }
}

/// What the passes leave behind, kept so that nothing is allocated or cleared from one evaluation to the next.
pub(crate) struct Scratch<T> {
    g: Vec<T>,
    impulse: Impulse<T>,
    levels: Levels<T>,
    slopes: Slopes<T>,
}

impl<T: Lane> Scratch<T> {
    /// For series of `n` values.
    pub(crate) fn new(n: usize) -> Self {
        Self {
            g: vec![T::zero(); n],
            impulse: Impulse::zero(),
            levels: Levels::zero(),
            slopes: Slopes::zero(),
        }
    }
}

/// The likelihood of `w`, a value of `W` series a step, none of them missing, more than `max(p, q)` of them. Of the
/// gradient and the curvature, what lies beyond the parameters of the shape is left as it was.
#[inline(always)]
pub(crate) fn evaluate<T: Passes>(
    shape: Shape,
    w: &[T],
    partial: &[T; MAX_PARAMETERS],
    scratch: &mut Scratch<T>,
    out: &mut Evaluation<T>,
) {
    let Shape { p, q, constant: with_constant } = shape;
    let (k, r, n) = (p + q, p.max(q), w.len());
    let count = T::splat(n as f64);
    let phi = coefficients(&partial[..p]);
    let c = coefficients(&partial[p..k]);
    let mut theta = [T::zero(); MAX];
    for j in 0..q {
        theta[j] = -c[j];
    }
    let (phi, c, theta) = (&phi[..p], &c[..q], &theta[..q]);

    // What the state adds to the innovations, and how large it can be.
    let Scratch { g, impulse, levels: sums, slopes: derivatives } = scratch;
    pass::impulse(phi, c, &mut g[..n], impulse);
    let initial = Initial::new(&partial[..p], phi, theta);
    let correction = Correction::new(&impulse.gram(r), &initial.covariance(), r);

    // The constant, the state and the deviance.
    let terms = &Terms { phi, c, g: &g[..n], support: impulse.support, last_g: &impulse.last_g };
    levels(w, with_constant, terms, sums);
    let mut b = sums.b;
    let mut products = sums.values;
    out.constant = T::zero();
    if with_constant {
        let both = sums.both - correction.taken_off(&b, &sums.b_ones);
        let ones = sums.ones - correction.taken_off(&sums.b_ones, &sums.b_ones);
        let constant = both / ones;
        products = products - (constant + constant) * sums.both + constant * constant * sums.ones;
        for i in 0..r {
            b[i] = b[i].minus(constant, sums.b_ones[i]);
        }
        out.constant = constant;
    }
    out.sum_of_squares = products - correction.taken_off(&b, &b);
    let weight = count / out.sum_of_squares;
    let mean_square = out.sum_of_squares / count;
    out.deviance = count * mean_square.ln() + correction.determinant.ln();
    if k == 0 {
        return;
    }

    // Derivatives with respect to the coefficients, at a given covariance of the state.
    slopes(w, out.constant, &correction.state(&b), terms, derivatives);
    let sums = &*derivatives;
    let twice = weight + weight;
    let lambda = correction.lambda(&b);
    let mut pull = [[T::zero(); MAX]; MAX];
    for i in 0..r {
        for j in 0..r {
            pull[i][j] = correction.w[i][j] - weight * lambda[i] * lambda[j];
        }
    }
    let pulled = initial.pull(&pull, phi, theta);
    let (mut of_phi, mut of_theta) = (pulled.phi, pulled.theta);
    for l in 0..p {
        of_phi[l] = of_phi[l].minus(twice, sums.eu[l]);
    }
    if q > 0 {
        let traces = impulse.traces(r, q, &correction.q);
        for l in 0..q {
            of_theta[l] = of_theta[l] - twice * sums.ev[l] - (traces[l] + traces[l]);
        }
    }

    // From coefficients to partial autocorrelations.
    let mut jacobian = [[T::zero(); MAX]; MAX_PARAMETERS];
    for parameter in 0..k {
        let own = if parameter < p { 0..p } else { p..k };
        let mut seed = [Dual::zero(); MAX];
        for (at, i) in own.clone().enumerate() {
            let slope = if i == parameter { T::one() } else { T::zero() };
            seed[at] = Dual { value: partial[i], slope };
        }
        let seed = &seed[..own.len()];
        let moved = coefficients(seed);
        let row = &mut jacobian[parameter];
        let mut slope = T::zero();
        if parameter < p {
            for i in 0..p {
                row[i] = moved[i].slope;
                slope = slope.plus(of_phi[i], row[i]);
            }
            slope = slope + pulled.through_autocovariances(seed, &moved[..p], k);
        } else {
            for i in 0..q {
                row[i] = -moved[i].slope;
                slope = slope.plus(of_theta[i], row[i]);
            }
        }
        out.gradient[parameter] = slope;
    }
    expected_curvature(shape, sums, &correction.q, &jacobian, twice, &mut out.curvature);
}

/// Products of the derivatives of the innovations, with what the state can explain of them taken off, in terms of
/// partial autocorrelations.
#[inline(always)]
fn expected_curvature<T: Lane>(
    Shape { p, q, .. }: Shape,
    sums: &Slopes<T>,
    weights: &Square<T>,
    jacobian: &[[T; MAX]; MAX_PARAMETERS],
    twice: T,
    out: &mut [[T; MAX_PARAMETERS]; MAX_PARAMETERS],
) {
    let (k, r) = (p + q, p.max(q));
    let mut explained: [Column<T>; MAX_PARAMETERS] = [[T::zero(); MAX]; MAX_PARAMETERS];
    for i in 0..k {
        for s in 0..r {
            explained[i][s] = if i < p { sums.ug(i + 1, s) } else { sums.vg(i - p + 1, s) };
        }
    }
    let mut products = [[T::zero(); MAX_PARAMETERS]; MAX_PARAMETERS];
    for i in 0..k {
        let mut through = [T::zero(); MAX];
        for s in 0..r {
            through[s] = inner(&weights[s], &explained[i], r);
        }
        for j in 0..=i {
            let product = match (i < p, j < p) {
                (true, _) => sums.uu(i + 1, j + 1),
                (false, true) => sums.vu(i - p + 1, j + 1),
                (false, false) => sums.vv(i - p + 1, j - p + 1),
            };
            products[i][j] = product - inner(&through, &explained[j], r);
            products[j][i] = products[i][j];
        }
    }
    // The jacobian is of two blocks.
    let block = |parameter: usize| if parameter < p { (0, p) } else { (p, q) };
    for i in 0..k {
        let (from_i, len_i) = block(i);
        let mut through = [T::zero(); MAX_PARAMETERS];
        for b in 0..k {
            for a in 0..len_i {
                through[b] = through[b].plus(jacobian[i][a], products[from_i + a][b]);
            }
        }
        for j in 0..=i {
            let (from_j, len_j) = block(j);
            let mut sum = T::zero();
            for b in 0..len_j {
                sum = sum.plus(through[from_j + b], jacobian[j][b]);
            }
            out[i][j] = twice * sum;
            out[j][i] = out[i][j];
        }
    }
}

/// `sum_t a_{t-i} b_{t-j}` over the steps of a series from the sum of all products with the same shift, by taking
/// off those that lie past the end; `a` and `b` are the last values, the newest first.
#[inline(always)]
fn truncated<T: Real>(full: T, a: &[T], b: &[T], i: usize, j: usize) -> T {
    let (ahead_a, ahead_b) = (i.saturating_sub(j), j.saturating_sub(i));
    let mut sum = full;
    for back in 0..i.min(j) {
        sum = sum.minus(a[back + ahead_a], b[back + ahead_b]);
    }
    sum
}

#[cfg(test)]
mod tests;
