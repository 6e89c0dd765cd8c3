//! What the unknown state adds to the innovations: the impulse response of `1 / theta(B)`, shifted.

use super::initial::Square;
use super::pass::{Past, fixed, push};
use super::truncated;
use crate::lane::Lane;
use crate::polynomial::MAX;

/// What is below this is no longer a part of an impulse response.
const NEGLIGIBLE: f64 = 1e-14;

/// Steps from one look at what is negligible to the next.
const STRIDE: usize = 8;

/// Sums of products of `g = 1 / theta(B)` and `h = g / theta(B)`, and what of them lies before the end of the series.
pub(crate) struct Impulse<T> {
    /// From here on g is zero. In each lane, what is negligible is zero, and so is all that follows it, so that a
    /// lane does not depend on how long the others are.
    pub(crate) support: usize,
    /// The last values of g, the newest first; zeros where it has ended before the series.
    pub(crate) last_g: Past<T>,
    last_h: [T; 2 * MAX],
    /// `sum_s g_s g_{s+m}`.
    gg: [T; MAX],
    /// `sum_s h_s g_{s+m}`.
    hg: [T; 2 * MAX],
    /// `sum_s g_s h_{s+m}`.
    gh: [T; MAX],
}

impl<T: Lane> Impulse<T> {
    pub(crate) fn zero() -> Self {
        let zero = T::zero();
        Self {
            support: 0,
            last_g: [zero; MAX + 1],
            last_h: [zero; 2 * MAX],
            gg: [zero; MAX],
            hg: [zero; 2 * MAX],
            gh: [zero; MAX],
        }
    }

    /// `Z'Z`, for `r` shifts of g.
    #[inline(always)]
    pub(crate) fn gram(&self, r: usize) -> Square<T> {
        let mut a = [[T::zero(); MAX]; MAX];
        for i in 0..r {
            for j in 0..=i {
                a[i][j] = truncated(self.gg[i - j], &self.last_g, &self.last_g, i, j);
                a[j][i] = a[i][j];
            }
        }
        a
    }

    /// For each `l` from 1 to `q`: `sum_ij Q_ij sum_t h_{t-l-i} g_{t-j}`.
    #[inline(always)]
    pub(crate) fn traces(&self, r: usize, q: usize, weights: &Square<T>) -> [T; MAX] {
        let mut traces = [T::zero(); MAX];
        for l in 1..=q {
            let mut sum = T::zero();
            for i in 0..r {
                for j in 0..r {
                    let full = if l + i >= j { self.hg[l + i - j] } else { self.gh[j - l - i] };
                    let value = truncated(full, &self.last_h, &self.last_g, l + i, j);
                    sum = sum.plus(weights[i][j], value);
                }
            }
            traces[l - 1] = sum;
        }
        traces
    }
}

/// Of a model of `P` and `Q` terms at most, with `1 - c(B) = theta(B)`. Fills `g`, which is as long as the series.
#[inline(always)]
pub(crate) fn impulse_of<const P: usize, const Q: usize, T: Lane>(
    c: &[T],
    g: &mut [T],
    out: &mut Impulse<T>,
) {
    let c: [T; Q] = fixed(c);
    let r = P.max(Q);
    let zero = T::zero();
    let (mut gg, mut gh, mut hg) = ([zero; MAX], [zero; MAX], [zero; 2 * MAX]);
    let (mut past, mut past_h) = ([zero; MAX + 1], [zero; 2 * MAX]);
    let n = g.len();
    let (mut support, mut end) = (n, n);
    let mut t = 0;
    while t < end {
        let mut g_next = if t == 0 { T::one() } else { zero };
        for j in (0..Q).rev() {
            g_next = g_next.plus(c[j], past[j]);
        }
        let mut h_next = g_next;
        for j in (0..Q).rev() {
            h_next = h_next.plus(c[j], past_h[j]);
        }
        push(&mut past, g_next, r);
        for i in (1..Q + r).rev() {
            past_h[i] = past_h[i - 1];
        }
        past_h[0] = h_next;
        g[t] = g_next;
        for m in 0..r {
            gg[m] = gg[m].plus(g_next, past[m]);
        }
        if Q > 0 {
            for m in 0..Q + r {
                hg[m] = hg[m].plus(g_next, past_h[m]);
            }
            for m in 1..r {
                gh[m] = gh[m].plus(h_next, past[m]);
            }
        }
        if (Q == 0 || t % STRIDE == STRIDE - 1) && support == n && end_of(&mut past, Q) {
            // The products with h last a little longer.
            support = t + 1;
            end = n.min(t + 1 + r);
        }
        t += 1;
    }
    let to_the_end = t == n;
    out.support = support;
    for i in 0..=r {
        out.last_g[i] = if to_the_end { past[i] } else { zero };
    }
    for i in 0..Q + r {
        out.last_h[i] = if to_the_end { past_h[i] } else { zero };
        out.hg[i] = hg[i];
    }
    for i in 0..r {
        (out.gg[i], out.gh[i]) = (gg[i], gh[i]);
    }
}

/// Sets to zero what is negligible in each lane; whether it is in all of them.
#[inline(always)]
fn end_of<T: Lane>(past: &mut Past<T>, q: usize) -> bool {
    let mut all = true;
    for lane in 0..T::WIDTH {
        let largest = past[..q].iter().fold(0.0, |largest: f64, past| largest.max(past.get(lane).abs()));
        if largest < NEGLIGIBLE {
            for past in &mut past[..q] {
                past.set(lane, 0.0);
            }
        } else {
            all = false;
        }
    }
    all
}
