//! Where a search starts.

use crate::descent::Point;
use crate::likelihood::Shape;
use crate::polynomial::{MAX, coefficients};

/// Starts for a series without gaps, or with `NaN` in them, the most promising first, at most `count`. The
/// likelihood of a mixed model often has a second maximum where its two parts nearly cancel, which is why the
/// later ones are far from each other.
pub(crate) fn starts(shape: Shape, w: &[f64], count: usize) -> Vec<Point> {
    let Shape { p, q, .. } = shape;
    if p + q == 0 {
        return vec![Point::default()];
    }
    let sample = sample_partial(shape, w, p.max(q));
    let first = |value: f64| move |i: usize| if i == 0 { value } else { 0.0 };
    let point = |ar: &dyn Fn(usize) -> f64, ma: &dyn Fn(usize) -> f64| -> Point {
        std::array::from_fn(|i| match i {
            i if i < p => ar(i),
            i if i < p + q => ma(i - p),
            _ => 0.0,
        })
    };
    let own = point(&|i| sample[i], &|_| 0.0);
    let turned = point(&|_| 0.0, &|i| -sample[i]);
    if q == 0 {
        // The likelihood of an autoregressive model has rarely more than one maximum.
        return [own, Point::default()].into_iter().take(count).collect();
    }
    if p == 0 {
        let over_differenced = point(&|_| 0.0, &first(0.9));
        return [turned, Point::default(), over_differenced].into_iter().take(count).collect();
    }
    let starts = [
        point(&|i| 0.5 * sample[i], &|i| -0.5 * sample[i]),
        own,
        point(&first(0.9), &first(0.6)),
        point(&|i| [0.5, -0.5, 0.3, -0.3, 0.2][i], &|i| [-0.5, 0.5, -0.3, 0.3, -0.2][i]),
        turned,
        point(&first(-0.6), &first(-0.3)),
        point(&|i| [0.3, 0.6, -0.3, -0.5, 0.3][i], &|i| [0.6, -0.6, 0.4, 0.4, -0.3][i]),
        Point::default(),
    ];
    starts.into_iter().take(count).collect()
}

/// Sample partial autocorrelations, lags 1 to `lags`, by Durbin-Levinson on the sample autocovariances, so that
/// each lies within (-1, 1). Products with a missing value are left out; zeros where there is no variance.
pub(crate) fn sample_partial(shape: Shape, w: &[f64], lags: usize) -> [f64; MAX] {
    let there = |x: &&f64| !x.is_nan();
    let observed = w.iter().filter(there).count().max(1) as f64;
    let mean = if shape.constant { w.iter().filter(there).sum::<f64>() / observed } else { 0.0 };
    let product = |a: f64, b: f64| if a.is_nan() || b.is_nan() { 0.0 } else { (a - mean) * (b - mean) };
    let mut gamma = [0.0; MAX + 1];
    for (k, gamma) in gamma.iter_mut().enumerate().take(lags + 1) {
        *gamma = w.iter().skip(k).zip(w).map(|(a, b)| product(*a, *b)).sum();
    }
    let mut partial = [0.0; MAX];
    let mut variance = gamma[0];
    for k in 1..=lags {
        let shorter = coefficients(&partial[..k - 1]);
        let mut r = gamma[k];
        for j in 1..k {
            r -= shorter[j - 1] * gamma[k - j];
        }
        // Also true of what is not a number.
        if !(variance > 0.0 && r.abs() < variance) {
            break;
        }
        partial[k - 1] = (r / variance).clamp(-0.99, 0.99);
        variance *= 1.0 - partial[k - 1] * partial[k - 1];
    }
    partial
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_within_the_box_and_few_where_few_do() {
        let w: Vec<f64> = (0..40).map(|t| f64::from(t * t % 17)).collect();
        for (p, q) in (0..=5).flat_map(|p| (0..=5).map(move |q| (p, q))) {
            let starts = starts(Shape { p, q, constant: true }, &w, 8);
            assert!(starts.iter().flatten().all(|r| r.abs() < 1.0));
            assert_eq!(starts.len() > 3, p > 0 && q > 0);
            assert!(starts.iter().all(|start| start[p + q..].iter().all(|&r| r == 0.0)));
        }
    }

    #[test]
    fn sample_partial_autocorrelations_are_those_of_the_definition() {
        // Deviations -1.5, -.5, .5, 1.5: gamma 5, 1.25, -1.5; r_1 = .25, r_2 = (-1.5 - .25 1.25) / (5 15/16).
        let partial = sample_partial(Shape { p: 2, q: 0, constant: true }, &[1.0, 2.0, 3.0, 4.0], 2);
        assert!((partial[0] - 0.25).abs() < 1e-15);
        assert!((partial[1] - (-1.8125 / 4.6875)).abs() < 1e-15, "{partial:?}");
    }
}
