use super::*;

use crate::processor::Computed;

fn series(n: usize) -> Vec<f64> {
    let mut state = 7_u64;
    let mut level = 0.0;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let noise = (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5;
            level = 0.7 * level + noise;
            level + 0.3
        })
        .collect()
}

fn at(shape: Shape, w: &[f64], partial: &[f64]) -> Evaluation<f64> {
    let partial = std::array::from_fn(|i| partial.get(i).copied().unwrap_or(0.0));
    let mut out = Evaluation::new();
    f64::evaluate(shape, w, &partial, &mut Scratch::new(w.len()), &mut out);
    out
}

/// `-2 L` without `n (ln 2 pi + 1)`, from the covariance matrix of all values.
fn dense(shape: Shape, w: &[f64], partial: &[f64]) -> (f64, f64) {
    let phi = coefficients(&partial[..shape.p]);
    let theta = coefficients(&partial[shape.p..]).map(|c| -c);
    let n = w.len();
    // Enough of the infinite moving average.
    let mut psi = vec![0.0; 6000];
    for k in 0..psi.len() {
        psi[k] = if k == 0 {
            1.0
        } else if k <= shape.q {
            theta[k - 1]
        } else {
            0.0
        };
        for l in 1..=shape.p.min(k) {
            psi[k] += phi[l - 1] * psi[k - l];
        }
    }
    let gamma: Vec<f64> = (0..n).map(|lag| (lag..psi.len()).map(|k| psi[k] * psi[k - lag]).sum()).collect();
    let mut c = vec![vec![0.0; n]; n];
    let mut log_det = 0.0;
    let (mut y, mut ones) = (vec![0.0; n], vec![0.0; n]);
    for i in 0..n {
        for j in 0..=i {
            let sum: f64 = (0..j).map(|k| c[i][k] * c[j][k]).sum();
            let value: f64 = gamma[i - j] - sum;
            c[i][j] = if i == j { value.sqrt() } else { value / c[j][j] };
        }
        log_det += 2.0 * f64::ln(c[i][i]);
        y[i] = (w[i] - (0..i).map(|k| c[i][k] * y[k]).sum::<f64>()) / c[i][i];
        ones[i] = (1.0 - (0..i).map(|k| c[i][k] * ones[k]).sum::<f64>()) / c[i][i];
    }
    let inner = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mu = if shape.constant { inner(&y, &ones) / inner(&ones, &ones) } else { 0.0 };
    let s = inner(&y, &y) - 2.0 * mu * inner(&y, &ones) + mu * mu * inner(&ones, &ones);
    (n as f64 * (s / n as f64).ln() + log_det, mu)
}

const PARTIAL: [f64; 10] = [0.6, -0.4, 0.3, 0.2, -0.1, -0.5, 0.35, -0.2, 0.15, 0.25];

#[test]
fn the_likelihood_is_that_of_the_dense_covariance() {
    for (p, q) in (0..=5).flat_map(|p| (0..=5).map(move |q| (p, q))) {
        for (constant, n) in [(false, 40), (true, 23), (true, 12)] {
            let shape = Shape { p, q, constant };
            let partial: Vec<f64> = PARTIAL[..p].iter().chain(&PARTIAL[5..5 + q]).copied().collect();
            let w = series(n);
            let evaluation = at(shape, &w, &partial);
            let (deviance, mu) = dense(shape, &w, &partial);
            assert!((evaluation.deviance - deviance).abs() < 1e-9, "{shape:?} {n}");
            assert!((evaluation.constant - mu).abs() < 1e-9, "{shape:?} {n}");
        }
    }
}

#[test]
fn the_gradient_is_that_of_differences() {
    let w = series(60);
    for (p, q) in (0..=5).flat_map(|p| (0..=5).map(move |q| (p, q))) {
        for (constant, scale) in [(false, 1.0), (true, 1.0), (true, 1.9)] {
            let shape = Shape { p, q, constant };
            let partial: Vec<f64> = PARTIAL[..p]
                .iter()
                .chain(&PARTIAL[5..5 + q])
                .map(|r: &f64| (r * scale).clamp(-0.98, 0.98))
                .collect();
            let evaluation = at(shape, &w, &partial);
            for i in 0..p + q {
                let moved = |by: f64| {
                    let mut partial = partial.clone();
                    partial[i] += by;
                    at(shape, &w, &partial).deviance
                };
                let step = 1e-6;
                let expected = (moved(step) - moved(-step)) / (2.0 * step);
                let gradient = evaluation.gradient[i];
                let tolerance = 1e-4 * (1.0 + expected.abs());
                assert!((gradient - expected).abs() < tolerance, "{shape:?} {i}: {gradient} {expected}");
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn of_lanes(value: impl Fn(usize) -> f64) -> crate::avx::Four {
    use crate::lane::Lane;

    let mut lanes = crate::avx::Four::zero();
    for lane in 0..crate::avx::Four::WIDTH {
        lanes.set(lane, value(lane));
    }
    lanes
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_lane_does_not_depend_on_the_lanes_beside_it() {
    use crate::avx::Four;
    use crate::lane::Lane;

    if !std::arch::is_x86_feature_detected!("avx2") {
        eprintln!("skipped: this processor has no AVX2");
        return;
    }
    let w = series(90);
    let other: Vec<f64> = w.iter().rev().map(|value| value * 3.0).collect();
    let lanes: Vec<Four> =
        (0..w.len()).map(|t| of_lanes(|lane| if lane == 2 { w[t] } else { other[t] })).collect();
    for (p, q) in (0..=5).flat_map(|p| (0..=5).map(move |q| (p, q))) {
        let shape = Shape { p, q, constant: (p + q) % 2 == 0 };
        let own: Vec<f64> = PARTIAL[..p].iter().chain(&PARTIAL[5..5 + q]).copied().collect();
        let beside: Vec<f64> = own.iter().map(|r| (1.9 * r).clamp(-0.999_999, 0.999_999)).collect();
        let of = |row: &[f64], i: usize| row.get(i).copied().unwrap_or(0.0);
        let partial =
            std::array::from_fn(|i| of_lanes(|lane| if lane == 2 { of(&own, i) } else { of(&beside, i) }));
        let mut together = Evaluation::new();
        Four::evaluate(shape, &lanes, &partial, &mut Scratch::new(w.len()), &mut together);
        let same: Vec<Four> = w.iter().map(|value| Four::splat(*value)).collect();
        let own_lanes = std::array::from_fn(|i| Four::splat(of(&own, i)));
        let mut alike = Evaluation::new();
        Four::evaluate(shape, &same, &own_lanes, &mut Scratch::new(w.len()), &mut alike);
        let alone = at(shape, &w, &own);
        assert!((alike.deviance.get(0) - alone.deviance).abs() < 1e-9, "{shape:?}");
        assert_eq!(together.deviance.get(2).to_bits(), alike.deviance.get(0).to_bits(), "{shape:?}");
        for i in 0..p + q {
            assert_eq!(
                together.gradient[i].get(2).to_bits(),
                alike.gradient[i].get(0).to_bits(),
                "{shape:?}"
            );
            for j in 0..p + q {
                let (wide, one) = (together.curvature[i][j].get(2), alike.curvature[i][j].get(0));
                assert_eq!(wide.to_bits(), one.to_bits(), "{shape:?}");
            }
        }
    }
}
