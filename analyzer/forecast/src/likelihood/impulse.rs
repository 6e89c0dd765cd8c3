//! What the unknown state adds to the innovations: the impulse response of `1 / theta(B)`, shifted.

use super::initial::Square;
use super::pass::fixed;
use super::truncated;
use crate::lane::Lane;
use crate::polynomial::MAX;

/// What is below this is no longer a part of an impulse response.
const NEGLIGIBLE: f64 = 1e-14;

/// `g = 1 / theta(B)`, with `1 - c(B) = theta(B)`, and its length: in each lane, what is negligible is zero, and
/// so is all that follows it, so that a lane does not depend on how long the others are.
#[inline(always)]
pub(crate) fn response<T: Lane>(c: &[T], g: &mut [T]) -> usize {
    match c.len() {
        0 => {
            g[0] = T::one();
            1
        }
        1 => response_of::<1, T>(c, g),
        2 => response_of::<2, T>(c, g),
        3 => response_of::<3, T>(c, g),
        4 => response_of::<4, T>(c, g),
        _ => response_of::<5, T>(c, g),
    }
}

#[inline(always)]
fn response_of<const Q: usize, T: Lane>(c: &[T], g: &mut [T]) -> usize {
    let c: [T; Q] = fixed(c);
    let mut past = [T::zero(); Q];
    past[0] = T::one();
    g[0] = T::one();
    let len = g.len();
    for t in 1..len {
        let mut next = T::zero();
        for j in (0..Q).rev() {
            next = next + c[j] * past[j];
        }
        for j in (1..Q).rev() {
            past[j] = past[j - 1];
        }
        past[0] = next;
        g[t] = next;
        if t % 8 == 0 {
            let mut going = false;
            for lane in 0..T::WIDTH {
                let largest = past.iter().fold(0.0, |largest: f64, past| largest.max(past.get(lane).abs()));
                if largest < NEGLIGIBLE {
                    for past in &mut past {
                        past.set(lane, 0.0);
                    }
                } else {
                    going = true;
                }
            }
            if !going {
                return t + 1;
            }
        }
    }
    len
}

/// `h = g / theta(B)`, past the end of `g`.
#[inline(always)]
pub(crate) fn response_again<T: Lane>(c: &[T], g: &[T], h: &mut [T]) {
    match c.len() {
        0 => {}
        1 => response_again_of::<1, T>(c, g, h),
        2 => response_again_of::<2, T>(c, g, h),
        3 => response_again_of::<3, T>(c, g, h),
        4 => response_again_of::<4, T>(c, g, h),
        _ => response_again_of::<5, T>(c, g, h),
    }
}

#[inline(always)]
fn response_again_of<const Q: usize, T: Lane>(c: &[T], g: &[T], h: &mut [T]) {
    let c: [T; Q] = fixed(c);
    let mut past = [T::zero(); Q];
    for (t, h) in h.iter_mut().enumerate() {
        let mut next = if t < g.len() { g[t] } else { T::zero() };
        for j in (0..Q).rev() {
            next = next + c[j] * past[j];
        }
        for j in (1..Q).rev() {
            past[j] = past[j - 1];
        }
        past[0] = next;
        *h = next;
    }
}

/// `Z'Z`, for `r` shifts of `g` over `n` steps.
#[inline(always)]
pub(crate) fn gram<T: Lane>(g: &[T], n: usize, r: usize) -> Square<T> {
    let mut a = [[T::zero(); MAX]; MAX];
    let last: [T; MAX] = last(g, n);
    for m in 0..r {
        let full = shifted(g, g, m);
        for j in 0..r - m {
            let value = truncated(full, &last, &last, j + m, j);
            a[j + m][j] = value;
            a[j][j + m] = value;
        }
    }
    a
}

/// For each `l` from 1 to `q`: `sum_ij Q_ij sum_t h_{t-l-i} g_{t-j}`.
#[inline(always)]
pub(crate) fn traces<T: Lane>(
    g: &[T],
    h: &[T],
    n: usize,
    r: usize,
    q: usize,
    weights: &Square<T>,
) -> [T; MAX] {
    let last_g: [T; 2 * MAX] = last(g, n);
    let last_h: [T; 2 * MAX] = last(h, n);
    let mut traces = [T::zero(); MAX];
    // l + i - j lies between 2 - r and q + r - 1.
    for m in 0..q + r {
        let full = shifted(h, g, m);
        for i in 0..r {
            for l in 1..=q {
                let j = l + i;
                if j >= m && j - m < r {
                    let value = truncated(full, &last_h, &last_g, l + i, j - m);
                    traces[l - 1] = traces[l - 1] + weights[i][j - m] * value;
                }
            }
        }
    }
    for m in 1..r.saturating_sub(1) {
        let full = shifted(g, h, m);
        for i in 0..r {
            for l in 1..=q {
                let j = l + i + m;
                if j < r {
                    let value = truncated(full, &last_h, &last_g, l + i, j);
                    traces[l - 1] = traces[l - 1] + weights[i][j] * value;
                }
            }
        }
    }
    traces
}

/// `sum_s a_s b_{s+m}`, of series that are zero after their last value.
#[inline(always)]
fn shifted<T: Lane>(a: &[T], b: &[T], m: usize) -> T {
    let mut sum = T::zero();
    if m < b.len() {
        let b = &b[m..];
        let len = a.len().min(b.len());
        let (a, b) = (&a[..len], &b[..len]);
        for s in 0..len {
            sum = sum + a[s] * b[s];
        }
    }
    sum
}

/// The last of `n` steps, the newest first; zeros where the response has ended before.
#[inline(always)]
pub(crate) fn last<const N: usize, T: Lane>(x: &[T], n: usize) -> [T; N] {
    let mut last = [T::zero(); N];
    for (k, last) in last.iter_mut().enumerate() {
        if k < n && n - 1 - k < x.len() {
            *last = x[n - 1 - k];
        }
    }
    last
}
