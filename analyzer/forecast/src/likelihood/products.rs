//! Sums of products of two series against each other, shifted by some steps.

use super::filter::dot;
use crate::lane::Real;
use crate::polynomial::MAX;

/// The largest shift between two series, in either direction.
const REACH: usize = 2 * MAX;

/// `sum_s a_s b_{s+m}` for a range of shifts `m`, from which follow all `sum_t a_{t-i} b_{t-j}` over the `n`
/// steps of a series, with zeros before the first value.
pub(crate) struct Products<'a, T> {
    a: &'a [T],
    b: &'a [T],
    n: usize,
    full: [T; 2 * REACH + 1],
}

impl<'a, T: Real> Products<'a, T> {
    /// Of series that are zero after their last value, for shifts `i - j` from `-back` to `ahead`.
    #[inline(always)]
    pub(crate) fn new(a: &'a [T], b: &'a [T], n: usize, back: usize, ahead: usize) -> Self {
        let mut full = [T::zero(); 2 * REACH + 1];
        for m in 0..=ahead {
            full[REACH + m] = dot(b, a, m);
        }
        for m in 1..=back {
            full[REACH - m] = dot(a, b, m);
        }
        Self { a, b, n, full }
    }

    /// `sum_t a_{t-i} b_{t-j}` for `t` from 0 to `n - 1`: the full sum without the steps that lie past the end.
    #[inline(always)]
    pub(crate) fn at(&self, i: usize, j: usize) -> T {
        let mut sum = self.full[REACH + i - j];
        let (later, earlier) = (i.max(j), i.min(j));
        let past_the_end = self.n.saturating_sub(later)..(self.n + earlier).saturating_sub(later);
        for s in past_the_end {
            let (in_a, in_b) = if i >= j { (s, s + i - j) } else { (s + j - i, s) };
            if in_a < self.a.len() && in_b < self.b.len() {
                sum = sum - self.a[in_a] * self.b[in_b];
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifted_products_are_those_of_the_definition() {
        let a: Vec<f64> = (0..20).map(|t| f64::from(t * 7 % 11) - 4.0).collect();
        let b: Vec<f64> = (0..20).map(|t| f64::from(t * 5 % 13) - 6.0).collect();
        for (a_len, b_len) in [(20, 20), (12, 20), (20, 9)] {
            let (a, b) = (&a[..a_len], &b[..b_len]);
            let products = Products::new(a, b, 20, 5, 10);
            for (i, j) in [(0, 0), (1, 1), (5, 5), (3, 1), (1, 4), (0, 5), (10, 0), (9, 4)] {
                let value = |x: &[f64], t: usize, lag: usize| {
                    t.checked_sub(lag).and_then(|at| x.get(at)).copied().unwrap_or(0.0)
                };
                let expected: f64 = (0..20).map(|t| value(a, t, i) * value(b, t, j)).sum();
                assert!((products.at(i, j) - expected).abs() < 1e-9, "{i} {j} {a_len} {b_len}");
            }
        }
    }
}
