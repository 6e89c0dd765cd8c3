//! Where a search starts.

use crate::descent::Point;
use crate::likelihood::Shape;
use crate::polynomial::{MAX, coefficients, partial};

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

/// Spread evenly over all models whose partial autocorrelations are below .9: the sequence of Weyl (1916) along the
/// square roots of the first primes.
pub(crate) fn spread(shape: Shape, count: usize) -> Vec<Point> {
    const PRIMES: [f64; 2 * MAX] = [2.0, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0, 19.0, 23.0, 29.0];
    let coordinate = |at: usize, i: usize| (0.5 + at as f64 * PRIMES[i].sqrt()).fract() * 1.8 - 0.9;
    let point = |at| std::array::from_fn(|i| if i < shape.parameters() { coordinate(at, i) } else { 0.0 });
    (1..=count).map(point).collect()
}

/// A point of one shape as one of another: terms are dropped from the end, or added as zeros.
pub(crate) fn embed(from: Shape, point: &Point, to: Shape) -> Point {
    let term = |at: usize, first: usize, count: usize| if at < count { point[first + at] } else { 0.0 };
    std::array::from_fn(|i| match i {
        i if i < to.p => term(i, 0, from.p),
        i if i < to.p + to.q => term(i - to.p, from.p, from.q),
        _ => 0.0,
    })
}

/// A point of one shape as the same model of a larger one: `1 - f_1 B - ...` multiplied to both parts, which have
/// as many terms more. Where that takes the search differs with the factor, as each is a ridge of its own.
pub(crate) fn with_factor(from: Shape, point: &Point, factor: &[f64]) -> Option<Point> {
    let mut larger = Point::default();
    let parts = [(&point[..from.p], 0), (&point[from.p..from.p + from.q], from.p + factor.len())];
    for (terms, at) in parts {
        let c = coefficients(terms);
        let count = terms.len() + factor.len();
        // 1 - sum c_k B^k, from lag 0.
        let mut product = [0.0; 2 * MAX];
        let lag = |c: &[f64], k: usize| if k == 0 { 1.0 } else { -c[k - 1] };
        for i in 0..=terms.len() {
            for j in 0..=factor.len() {
                product[i + j] += lag(&c[..terms.len()], i) * lag(factor, j);
            }
        }
        let turned: Vec<f64> = product[1..=count].iter().map(|c| -c).collect();
        larger[at..at + count].copy_from_slice(&partial(&turned)?[..count]);
    }
    Some(larger)
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
    fn a_factor_of_both_parts_leaves_the_model_as_it_is() {
        // (1 - .4 B)(1 + .5 B) = 1 + .1 B - .2 B^2 and (1 + .3 B)(1 + .5 B) = 1 + .8 B + .15 B^2.
        let shape = Shape { p: 1, q: 1, constant: false };
        let mut point = Point::default();
        (point[0], point[1]) = (0.4, -0.3);
        let larger = with_factor(shape, &point, &[-0.5]).expect("within the region");
        let (ar, ma) = (coefficients(&larger[..2]), coefficients(&larger[2..4]));
        for (have, want) in [(ar[0], -0.1), (ar[1], 0.2), (ma[0], -0.8), (ma[1], -0.15)] {
            assert!((have - want).abs() < 1e-12, "{larger:?}");
        }
        assert_eq!(with_factor(shape, &point, &[1.5]), None);
    }

    #[test]
    fn a_point_of_another_shape_keeps_its_terms() {
        let (from, to) = (Shape { p: 2, q: 1, constant: false }, Shape { p: 1, q: 2, constant: true });
        let mut point = Point::default();
        (point[0], point[1], point[2]) = (0.1, 0.2, 0.3);
        let embedded = embed(from, &point, to);
        assert_eq!(embedded[..4], [0.1, 0.3, 0.0, 0.0]);
    }

    #[test]
    fn spread_points_are_no_two_alike() {
        let points = spread(Shape { p: 1, q: 0, constant: false }, 16);
        for (at, point) in points.iter().enumerate() {
            assert!(point[0].abs() <= 0.9 && point[1] == 0.0);
            assert!(points[..at].iter().all(|other| (other[0] - point[0]).abs() > 0.01), "{points:?}");
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
