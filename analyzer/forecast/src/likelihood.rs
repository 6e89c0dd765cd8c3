//! The exact Gaussian likelihood of an ARMA model without missing values, with its gradient.
//!
//! Given the state before the first value, the innovations follow by the conditional recursion
//! `theta(B) e = phi(B) w`, and the likelihood is that of `n` independent innovations. The unknown state only adds
//! the impulse response of `1 / theta(B)`, shifted by 0 to `max(p, q) - 1` steps, so the exact likelihood is the
//! conditional sum of squares and a correction by matrices of that size (as in Ljung and Box 1979):
//! with `e` the innovations for a state of zero, `Z` the shifted impulse responses, `V` the state's covariance,
//! `S = e'e - b'Q b`, `b = Z'e`, `Q = (V^-1 + Z'Z)^-1`, `log det = log |I + V Z'Z|`.
//! All derivatives need two more passes, whatever the order: `u = w / theta(B)` and `v = e~ / theta(B)`, with `e~` the
//! innovations for the expected state. A constant is concentrated out by generalised least squares.
//!
//! The cost is a few passes over the values, against `max(p, q + 1)^2` operations a value in a Kalman filter,
//! which [`crate::state`] has for missing values.

mod filter;
mod initial;
mod matrix;
mod products;

use crate::lane::{Dual, Lanes, Real};
use crate::polynomial::{MAX, coefficients};
use filter::{divide, divide_both, dot, multiply};
use initial::{Square, covariance};
use matrix::{Column, apply, apply_transposed, cholesky, inner, solve, solve_transposed, unit};
use products::Products;

/// Most coefficients besides the constant.
pub(crate) const MAX_PARAMETERS: usize = 2 * MAX;

/// What is below this is no longer a part of an impulse response.
const NEGLIGIBLE: f64 = 1e-14;

/// What the likelihood is computed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
pub(crate) struct Evaluation<const W: usize> {
    /// `-2 L` without `n (ln 2 pi + 1)`: `n ln(S / n) + log det`.
    pub(crate) deviance: Lanes<W>,
    /// S.
    pub(crate) sum_of_squares: Lanes<W>,
    /// The best constant; 0 without one.
    pub(crate) constant: Lanes<W>,
    /// Derivatives of the deviance.
    pub(crate) gradient: [Lanes<W>; MAX_PARAMETERS],
    /// What its second derivatives are expected to be.
    pub(crate) curvature: [[Lanes<W>; MAX_PARAMETERS]; MAX_PARAMETERS],
}

/// Passes over the values, kept so that nothing is allocated from one evaluation to the next.
pub(crate) struct Scratch<const W: usize> {
    ones: Vec<Lanes<W>>,
    u: Vec<Lanes<W>>,
    u_ones: Vec<Lanes<W>>,
    e: Vec<Lanes<W>>,
    e_ones: Vec<Lanes<W>>,
    g: Vec<Lanes<W>>,
    h: Vec<Lanes<W>>,
    v: Vec<Lanes<W>>,
}

impl<const W: usize> Scratch<W> {
    pub(crate) fn new(n: usize) -> Self {
        let zeros = || vec![Lanes::zero(); n];
        Self {
            ones: vec![Lanes::one(); n],
            u: zeros(),
            u_ones: zeros(),
            e: zeros(),
            e_ones: zeros(),
            g: zeros(),
            h: zeros(),
            v: zeros(),
        }
    }
}

/// The likelihood of `w`, a value of `W` series a step, none of them missing, more than `max(p, q)` of them.
#[inline(always)]
pub(crate) fn evaluate<const W: usize>(
    shape: Shape,
    w: &[Lanes<W>],
    partial: &[Lanes<W>; MAX_PARAMETERS],
    scratch: &mut Scratch<W>,
) -> Evaluation<W> {
    let Shape { p, q, constant: with_constant } = shape;
    let (r, n) = (p.max(q), w.len());
    let count = Lanes::splat(n as f64);
    let phi = coefficients(&partial[..p]);
    // 1 - c(B) = theta(B).
    let c = coefficients(&partial[p..p + q]);
    let (phi, c) = (&phi[..p], &c[..q]);
    let Scratch { ones, u, u_ones, e, e_ones, g, h, v } = scratch;
    let ones = &ones[..n];
    let (u, u_ones, e, e_ones) = (&mut u[..n], &mut u_ones[..n], &mut e[..n], &mut e_ones[..n]);

    // Innovations for a state of zero.
    if with_constant {
        divide_both(c, [w, ones], [u, u_ones]);
        multiply(phi, u_ones, e_ones);
    } else {
        divide(c, w, u);
    }
    multiply(phi, u, e);

    // What the state adds to them.
    let support = impulse_response(c, &mut g[..n]);
    let g = &g[..support];
    let own = Products::new(g, g, n, 0, r.saturating_sub(1));
    let mut a: Square<Lanes<W>> = [[Lanes::zero(); MAX]; MAX];
    for i in 0..r {
        for j in 0..=i {
            a[i][j] = own.at(i, j);
            a[j][i] = a[i][j];
        }
    }
    let theta: [Lanes<W>; MAX] = std::array::from_fn(|j| if j < q { -c[j] } else { Lanes::zero() });
    let covariance_of_state = covariance(&partial[..p], phi, &theta[..q]);
    let correction = Correction::new(&a, &covariance_of_state, r);

    let mut b = shifted_dots(e, g, r);
    let mut best_constant = Lanes::zero();
    if with_constant {
        let b_ones = shifted_dots(e_ones, g, r);
        let both = dot(e, e_ones, 0) - correction.taken_off(&b, &b_ones);
        let own = dot(e_ones, e_ones, 0) - correction.taken_off(&b_ones, &b_ones);
        best_constant = both / own;
        for t in 0..n {
            u[t] = u[t] - best_constant * u_ones[t];
            e[t] = e[t] - best_constant * e_ones[t];
        }
        for i in 0..r {
            b[i] = b[i] - best_constant * b_ones[i];
        }
    }
    let sum_of_squares = dot(e, e, 0) - correction.taken_off(&b, &b);
    let weight = count / sum_of_squares;
    let deviance = count * (sum_of_squares / count).map(f64::ln) + correction.determinant.map(f64::ln);

    // Innovations for the expected state, and their derivatives.
    let state = correction.state(&b);
    for (i, &state) in state.iter().enumerate().take(r) {
        for t in i..n.min(support + i) {
            e[t] = e[t] - state * g[t - i];
        }
    }
    let reach = n.min(support + 2 * MAX);
    let (h, v) = (&mut h[..reach], &mut v[..n]);
    divide(c, e, v);
    impulse_response_of(c, g, h);

    let mut slopes = [Lanes::zero(); MAX_PARAMETERS];
    for l in 1..=p {
        slopes[l - 1] = -(weight + weight) * dot(e, u, l);
    }
    for l in 1..=q {
        slopes[p + l - 1] = -(weight + weight) * dot(e, v, l);
    }
    if q > 0 {
        let products = Products::new(h, g, n, r.saturating_sub(2), q + r - 1);
        for l in 1..=q {
            let mut trace = Lanes::zero();
            for i in 0..r {
                for j in 0..r {
                    trace = trace + correction.q[i][j] * products.at(l + i, j);
                }
            }
            slopes[p + l - 1] = slopes[p + l - 1] - (trace + trace);
        }
    }
    let curvatures = expected_curvature(shape, n, u, v, g, &correction.q);

    // From coefficients to partial autocorrelations, and what the state's covariance adds.
    let lambda = correction.lambda(&b);
    let k = p + q;
    let mut gradient = [Lanes::zero(); MAX_PARAMETERS];
    let mut jacobian = [[Lanes::zero(); MAX_PARAMETERS]; MAX_PARAMETERS];
    for parameter in 0..k {
        let seed: [Dual<Lanes<W>>; MAX_PARAMETERS] = std::array::from_fn(|i| Dual {
            value: partial[i],
            slope: if i == parameter { Lanes::one() } else { Lanes::zero() },
        });
        let phi = coefficients(&seed[..p]);
        let c = coefficients(&seed[p..k]);
        let theta: [Dual<Lanes<W>>; MAX] = std::array::from_fn(|j| if j < q { -c[j] } else { Dual::zero() });
        let moved = covariance(&seed[..p], &phi[..p], &theta[..q]);
        let mut slope = Lanes::zero();
        for i in 0..r {
            for j in 0..r {
                let pull = correction.w[i][j] - weight * lambda[i] * lambda[j];
                slope = slope + pull * moved[i][j].slope;
            }
        }
        for i in 0..k {
            let to = if i < p { phi[i].slope } else { theta[i - p].slope };
            jacobian[parameter][i] = to;
            slope = slope + slopes[i] * to;
        }
        gradient[parameter] = slope;
    }
    let curvature = congruence(&jacobian, &curvatures, weight, shape);
    Evaluation { deviance, sum_of_squares, constant: best_constant, gradient, curvature }
}

/// The impulse response of `1 / (1 - c(B))`, and its length: in each lane, what is negligible is zero, and so is
/// all that follows it.
#[inline(always)]
fn impulse_response<const W: usize>(c: &[Lanes<W>], g: &mut [Lanes<W>]) -> usize {
    let q = c.len();
    g[0] = Lanes::one();
    if q == 0 {
        return 1;
    }
    for t in 1..g.len() {
        let mut sum = Lanes::zero();
        for j in 0..q.min(t) {
            sum = sum + c[j] * g[t - 1 - j];
        }
        g[t] = sum;
        if t % 8 == 0 {
            let mut largest = Lanes::<W>::zero();
            for back in 0..q {
                let value = g[t - back];
                largest = Lanes(std::array::from_fn(|lane| largest.0[lane].max(value.0[lane].abs())));
            }
            for back in 0..q {
                for lane in 0..W {
                    if largest.0[lane] < NEGLIGIBLE {
                        g[t - back].0[lane] = 0.0;
                    }
                }
            }
            if largest.0.iter().all(|&largest| largest < NEGLIGIBLE) {
                return t + 1;
            }
        }
    }
    g.len()
}

/// `h = g / (1 - c(B))`, past the end of `g`.
#[inline(always)]
fn impulse_response_of<const W: usize>(c: &[Lanes<W>], g: &[Lanes<W>], h: &mut [Lanes<W>]) {
    let within = g.len().min(h.len());
    divide(c, &g[..within], &mut h[..within]);
    for t in within..h.len() {
        let mut sum = Lanes::zero();
        for j in 0..c.len().min(t) {
            sum = sum + c[j] * h[t - 1 - j];
        }
        h[t] = sum;
    }
}

/// `Z' e`.
#[inline(always)]
fn shifted_dots<const W: usize>(e: &[Lanes<W>], g: &[Lanes<W>], r: usize) -> Column<Lanes<W>> {
    std::array::from_fn(|i| if i < r { dot(e, g, i) } else { Lanes::zero() })
}

/// The correction for a state that is not known: with `A = Z'Z = C C'` and `K = I + C'V C`, whose eigenvalues are
/// not below 1, so that nothing is divided by a small number even if `V` is singular.
struct Correction<const W: usize> {
    r: usize,
    c: Square<Lanes<W>>,
    /// `K = R R'`.
    root: Square<Lanes<W>>,
    /// `|K|`.
    determinant: Lanes<W>,
    /// `Q = (V^-1 + A)^-1 = C'^-1 (I - K^-1) C^-1`.
    q: Square<Lanes<W>>,
    /// `(A^-1 + V)^-1 = C K^-1 C'`.
    w: Square<Lanes<W>>,
}

impl<const W: usize> Correction<W> {
    #[inline(always)]
    fn new(a: &Square<Lanes<W>>, covariance: &Square<Lanes<W>>, r: usize) -> Self {
        let c = cholesky(a, r);
        let mut k = [[Lanes::zero(); MAX]; MAX];
        for j in 0..r {
            let column = apply(&c, &unit(j), r);
            let mut through = [Lanes::zero(); MAX];
            for i in 0..r {
                through[i] = inner(&covariance[i], &column, r);
            }
            let column = apply_transposed(&c, &through, r);
            for i in 0..r {
                k[i][j] = column[i];
            }
            k[j][j] = k[j][j] + Lanes::one();
        }
        let root = cholesky(&k, r);
        let mut determinant = Lanes::one();
        for (i, row) in root.iter().enumerate().take(r) {
            determinant = determinant * row[i] * row[i];
        }
        let (mut q, mut w) = ([[Lanes::zero(); MAX]; MAX], [[Lanes::zero(); MAX]; MAX]);
        for j in 0..r {
            let column = solve(&c, &unit(j), r);
            let inverse = solve_transposed(&root, &solve(&root, &column, r), r);
            let rest = std::array::from_fn(|i| column[i] - inverse[i]);
            let of_q = solve_transposed(&c, &rest, r);
            let through = apply_transposed(&c, &unit(j), r);
            let of_w = apply(&c, &solve_transposed(&root, &solve(&root, &through, r), r), r);
            for i in 0..r {
                q[i][j] = of_q[i];
                w[i][j] = of_w[i];
            }
        }
        Self { r, c, root, determinant, q, w }
    }

    /// `x'Q y`.
    #[inline(always)]
    fn taken_off(&self, x: &Column<Lanes<W>>, y: &Column<Lanes<W>>) -> Lanes<W> {
        let (x, y) = (solve(&self.c, x, self.r), solve(&self.c, y, self.r));
        let (rest_x, rest_y) = (solve(&self.root, &x, self.r), solve(&self.root, &y, self.r));
        inner(&x, &y, self.r) - inner(&rest_x, &rest_y, self.r)
    }

    /// The expected state, `Q b`.
    #[inline(always)]
    fn state(&self, b: &Column<Lanes<W>>) -> Column<Lanes<W>> {
        std::array::from_fn(|i| inner(&self.q[i], b, self.r))
    }

    /// `V^-1 Q b = C K^-1 C^-1 b`.
    #[inline(always)]
    fn lambda(&self, b: &Column<Lanes<W>>) -> Column<Lanes<W>> {
        let y = solve(&self.c, b, self.r);
        apply(&self.c, &solve_transposed(&self.root, &solve(&self.root, &y, self.r), self.r), self.r)
    }
}

/// Products of the derivatives of the innovations, with what the state can explain of them taken off.
#[inline(always)]
fn expected_curvature<const W: usize>(
    Shape { p, q, .. }: Shape,
    n: usize,
    u: &[Lanes<W>],
    v: &[Lanes<W>],
    g: &[Lanes<W>],
    weights: &Square<Lanes<W>>,
) -> [[Lanes<W>; MAX_PARAMETERS]; MAX_PARAMETERS] {
    let r = p.max(q);
    let mut curvature = [[Lanes::zero(); MAX_PARAMETERS]; MAX_PARAMETERS];
    let mut explained = [[Lanes::zero(); MAX]; MAX_PARAMETERS];
    if p > 0 {
        let own = Products::new(u, u, n, 0, p - 1);
        let state = Products::new(u, g, n, r - 1, p);
        for i in 0..p {
            for j in 0..=i {
                curvature[i][j] = own.at(i + 1, j + 1);
            }
            for s in 0..r {
                explained[i][s] = state.at(i + 1, s);
            }
        }
    }
    if q > 0 {
        let own = Products::new(v, v, n, 0, q - 1);
        let state = Products::new(v, g, n, r - 1, q);
        for i in 0..q {
            for j in 0..=i {
                curvature[p + i][p + j] = own.at(i + 1, j + 1);
            }
            for s in 0..r {
                explained[p + i][s] = state.at(i + 1, s);
            }
        }
    }
    if p > 0 && q > 0 {
        let both = Products::new(v, u, n, p - 1, q - 1);
        for i in 0..q {
            for j in 0..p {
                curvature[p + i][j] = both.at(i + 1, j + 1);
            }
        }
    }
    for i in 0..p + q {
        let through: Column<Lanes<W>> = std::array::from_fn(|s| inner(&weights[s], &explained[i], r));
        for j in 0..=i {
            curvature[i][j] = curvature[i][j] - inner(&through, &explained[j], r);
            curvature[j][i] = curvature[i][j];
        }
    }
    curvature
}

/// `2 weight J M J'`.
#[inline(always)]
fn congruence<const W: usize>(
    jacobian: &[[Lanes<W>; MAX_PARAMETERS]; MAX_PARAMETERS],
    matrix: &[[Lanes<W>; MAX_PARAMETERS]; MAX_PARAMETERS],
    weight: Lanes<W>,
    shape: Shape,
) -> [[Lanes<W>; MAX_PARAMETERS]; MAX_PARAMETERS] {
    let k = shape.parameters();
    let mut out = [[Lanes::zero(); MAX_PARAMETERS]; MAX_PARAMETERS];
    for i in 0..k {
        let mut through = [Lanes::zero(); MAX_PARAMETERS];
        for b in 0..k {
            for a in 0..k {
                through[b] = through[b] + jacobian[i][a] * matrix[a][b];
            }
        }
        for j in 0..=i {
            let mut sum = Lanes::zero();
            for b in 0..k {
                sum = sum + through[b] * jacobian[j][b];
            }
            out[i][j] = (weight + weight) * sum;
            out[j][i] = out[i][j];
        }
    }
    out
}

#[cfg(test)]
mod tests;
