//! The conditional sum of squares: `sum_{t > p} e_t^2`, with `phi(B)(w_t - c) = theta(B) e_t` and zeros for the
//! innovations up to the p-th value (Box and Jenkins 1976, section 7.1).

use crate::descent::{Curvature, Descent, Point};
use crate::fit::THOROUGH;
use crate::lane::{Dual, Real};
use crate::likelihood::{MAX_PARAMETERS, Shape};
use crate::polynomial::{MAX, coefficients};
use crate::search::Minimum;

/// The least sum of squares from the best of some starts; `None` if there are not more values than p.
pub(crate) fn minimise(shape: Shape, w: &[f64], starts: &[Point]) -> Option<Minimum> {
    if w.len() <= shape.p {
        return None;
    }
    starts.iter().filter_map(|start| descend(shape, w, *start)).min_by(Minimum::compare)
}

fn descend(shape: Shape, w: &[f64], start: Point) -> Option<Minimum> {
    let mut way = Descent::new(shape.parameters(), start, THOROUGH);
    let mut best = None;
    while let Some(&at) = way.next() {
        let (found, minimum) = look(shape, w, &at);
        if way.take(found.deviance, &found.gradient, |curvature| *curvature = found.curvature) {
            best = Some(minimum);
        }
    }
    best
}

/// Innovations and their derivatives with respect to the coefficients. The constant is concentrated out: the
/// innovations of a column of ones go along.
struct Pass {
    e: Vec<f64>,
    ones: Vec<f64>,
    slopes: [Vec<f64>; MAX_PARAMETERS],
}

/// What was found at a point.
struct Found {
    deviance: f64,
    gradient: Point,
    curvature: Curvature,
}

fn look(shape: Shape, w: &[f64], at: &Point) -> (Found, Minimum) {
    let Shape { p, q, constant } = shape;
    let k = p + q;
    let phi = coefficients(&at[..p]);
    let theta = coefficients(&at[p..k]).map(|c| -c);
    let pass = |level: f64| innovations(w, level, &phi[..p], &theta[..q]);
    let Pass { e, ones, .. } = pass(0.0);
    let inner = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let level = if constant { inner(&e, &ones) / inner(&ones, &ones) } else { 0.0 };
    let Pass { e, slopes, .. } = pass(level);
    let sum_of_squares = inner(&e, &e);
    let n = e.len() as f64;
    let weight = n / sum_of_squares;
    let jacobian = jacobian(at, p, q);
    let mut gradient = Point::default();
    let mut curvature = Curvature::default();
    // Derivatives with respect to the partial autocorrelations.
    let moved: Vec<Vec<f64>> = (0..k)
        .map(|i| (0..e.len()).map(|t| (0..k).map(|j| jacobian[i][j] * slopes[j][t]).sum()).collect())
        .collect();
    for i in 0..k {
        gradient[i] = 2.0 * weight * inner(&e, &moved[i]);
        for j in 0..=i {
            curvature[i][j] = 2.0 * weight * inner(&moved[i], &moved[j]);
            curvature[j][i] = curvature[i][j];
        }
    }
    let deviance = n * (sum_of_squares / n).ln();
    let found = Found { deviance, gradient, curvature };
    (found, Minimum { at: *at, deviance, sum_of_squares, constant: level })
}

/// Row i: the derivatives of all coefficients with respect to partial autocorrelation i.
fn jacobian(at: &Point, p: usize, q: usize) -> Curvature {
    let mut jacobian = Curvature::default();
    for (i, row) in jacobian.iter_mut().enumerate().take(p + q) {
        let seed: [Dual<f64>; MAX_PARAMETERS] =
            std::array::from_fn(|j| Dual { value: at[j], slope: if i == j { 1.0 } else { 0.0 } });
        let phi: [Dual<f64>; MAX] = coefficients(&seed[..p]);
        let c: [Dual<f64>; MAX] = coefficients(&seed[p..p + q]);
        for (to, from) in row.iter_mut().zip(&phi[..p]) {
            *to = from.slope;
        }
        for (to, from) in row[p..].iter_mut().zip(&c[..q]) {
            *to = -from.slope;
        }
    }
    jacobian
}

fn innovations(w: &[f64], level: f64, phi: &[f64], theta: &[f64]) -> Pass {
    let (p, q) = (phi.len(), theta.len());
    let filtered = |x: &dyn Fn(usize) -> f64| {
        let mut out: Vec<f64> = Vec::with_capacity(w.len() - p);
        for t in p..w.len() {
            let past: f64 = (1..=q.min(t - p)).map(|j| theta[j - 1] * out[t - p - j]).sum();
            out.push(x(t) - past);
        }
        out
    };
    let x = |t: usize| w[t] - level;
    let e = filtered(&|t| x(t) - (1..=p).map(|i| phi[i - 1] * x(t - i)).sum::<f64>());
    let rest = f64::one() - phi.iter().sum::<f64>();
    let ones = filtered(&|_| rest);
    let slopes = std::array::from_fn(|i| match i {
        i if i < p => filtered(&|t| -x(t - 1 - i)),
        i if i < p + q => {
            let lag = i - p + 1;
            filtered(&|t| if t >= p + lag { -e[t - p - lag] } else { 0.0 })
        }
        _ => Vec::new(),
    });
    Pass { e, ones, slopes }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series() -> Vec<f64> {
        let mut level = 0.0;
        (0..80)
            .map(|t| {
                level = 0.6 * level + f64::from(t * 37 % 23) - 11.0;
                level + 4.0
            })
            .collect()
    }

    /// Least squares on the value before, by its own formula.
    #[test]
    fn without_moving_average_it_is_least_squares() {
        let w = series();
        let shape = Shape { p: 1, q: 0, constant: true };
        let found = minimise(shape, &w, &[Point::default()]).expect("it has a minimum");
        let pairs: Vec<(f64, f64)> = w.windows(2).map(|pair| (pair[0], pair[1])).collect();
        let n = pairs.len() as f64;
        let (mx, my) = pairs.iter().fold((0.0, 0.0), |m, pair| (m.0 + pair.0 / n, m.1 + pair.1 / n));
        let sxy: f64 = pairs.iter().map(|(x, y)| (x - mx) * (y - my)).sum();
        let sxx: f64 = pairs.iter().map(|(x, _)| (x - mx) * (x - mx)).sum();
        let slope = sxy / sxx;
        assert!((found.at[0] - slope).abs() < 1e-5, "{} {slope}", found.at[0]);
        assert!((found.constant - (my - slope * mx) / (1.0 - slope)).abs() < 1e-3);
    }

    #[test]
    fn the_gradient_is_that_of_differences() {
        let w = series();
        for (p, q) in [(1, 1), (2, 1), (0, 3), (3, 2)] {
            let shape = Shape { p, q, constant: true };
            let at: Point =
                std::array::from_fn(|i| if i < p + q { [0.4, -0.3, 0.5, 0.2, -0.4][i] } else { 0.0 });
            let (found, _) = look(shape, &w, &at);
            for i in 0..p + q {
                let moved = |by: f64| {
                    let mut at = at;
                    at[i] += by;
                    look(shape, &w, &at).0.deviance
                };
                let expected = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                assert!(
                    (found.gradient[i] - expected).abs() < 1e-4 * (1.0 + expected.abs()),
                    "{shape:?} {i}"
                );
            }
        }
    }
}
