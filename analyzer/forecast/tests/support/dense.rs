//! The likelihood and the forecast of an ARIMA model, the long way: the covariance matrix of all values at once,
//! from the autocovariances, and its Cholesky factor. Cubic in the length and without a state, a filter or a
//! recursion in time, so it shares no mistake with one.
//!
//! With d differences the values are `y = X b + u`, where the columns of `X` are the polynomials of degree below d,
//! and `u` is the stationary process summed d times from zeros. A flat prior on `b` makes the density of the values
//! given the first d observed ones that of the contrasts `z_i = y_i - X_i X_1^-1 y_1`, where `X_1` and `y_1` are the
//! rows of those d, as `z` is free of `b` and has unit Jacobian. If nothing is missing, `z` is a unit lower
//! triangular transform of the differences, so its density is theirs.

use isotherm_forecast::Coefficients;

/// What the dense way says.
pub(crate) struct Dense {
    /// With the variance at its maximum.
    pub(crate) log_likelihood: f64,
    /// Variance of the innovations, of maximum likelihood.
    pub(crate) sigma2: f64,
    /// Observed values less d.
    pub(crate) n: usize,
    /// Index, one-step error given what was observed before, and the variance of that error in units of
    /// sigma2, for each observed value but the first d.
    pub(crate) innovations: Vec<(usize, f64, f64)>,
    /// Expected values of the steps after the last.
    pub(crate) mean: Vec<f64>,
    /// Their standard errors, with the variance of maximum likelihood.
    pub(crate) standard_error: Vec<f64>,
}

/// Of a series, with `NaN` where a value is missing. More than d values must be there.
pub(crate) fn dense(coefficients: &Coefficients, d: usize, series: &[f64], horizon: usize) -> Dense {
    let total = series.len() + horizon;
    let covariance = summed(&autocovariances(&coefficients.ar, &coefficients.ma, total), d, total);
    let expected = |at: usize| coefficients.constant.map_or(0.0, |c| if d == 0 { c } else { c * at as f64 });
    let observed: Vec<usize> = (0..series.len()).filter(|&at| !series[at].is_nan()).collect();
    let (first, rest) = observed.split_at(d);
    let n = rest.len();
    assert!(n > 0, "more than {d} values are needed");
    let rows: Vec<usize> = rest.iter().copied().chain(series.len()..total).collect();
    // Of each row: the combination of rows of `u` that is its contrast.
    let contrasts: Vec<Vec<(usize, f64)>> = rows
        .iter()
        .map(|&at| {
            let weights = polynomial_weights(first, at);
            first.iter().copied().zip(weights.into_iter().map(|weight| -weight)).chain([(at, 1.0)]).collect()
        })
        .collect();
    let of_contrasts: Vec<Vec<f64>> = contrasts
        .iter()
        .map(|left| {
            contrasts
                .iter()
                .map(|right| {
                    let pairs = left.iter().flat_map(|a| right.iter().map(move |b| (a, b)));
                    pairs.map(|(a, b)| a.1 * b.1 * covariance[a.0][b.0]).sum()
                })
                .collect()
        })
        .collect();
    let factor = cholesky(of_contrasts);
    let centred = |at: usize| series[at] - expected(at);
    // Solved forwards: the standardised innovations.
    let mut scaled: Vec<f64> = Vec::with_capacity(n);
    for row in 0..n {
        let contrast: f64 = contrasts[row].iter().map(|&(at, weight)| weight * centred(at)).sum();
        let known: f64 = (0..row).map(|column| factor[row][column] * scaled[column]).sum();
        scaled.push((contrast - known) / factor[row][row]);
    }
    let count = n as f64;
    let sigma2 = scaled.iter().map(|e| e * e).sum::<f64>() / count;
    let log_determinant: f64 = (0..n).map(|row| 2.0 * factor[row][row].ln()).sum();
    let log_likelihood =
        -0.5 * (count * ((2.0 * std::f64::consts::PI * sigma2).ln() + 1.0) + log_determinant);
    let future = n..rows.len();
    let mean = future.clone().map(|row| {
        let given_past: f64 = (0..n).map(|column| factor[row][column] * scaled[column]).sum();
        let (_, known) = contrasts[row].split_last().expect("the row itself");
        let polynomial: f64 = known.iter().map(|&(at, weight)| -weight * centred(at)).sum();
        expected(rows[row]) + given_past + polynomial
    });
    let standard_error = future
        .clone()
        .map(|row| (sigma2 * (n..=row).map(|column| factor[row][column].powi(2)).sum::<f64>()).sqrt());
    Dense {
        log_likelihood,
        sigma2,
        n,
        innovations: (0..n)
            .map(|row| (rows[row], scaled[row] * factor[row][row], factor[row][row].powi(2)))
            .collect(),
        mean: mean.collect(),
        standard_error: standard_error.collect(),
    }
}

/// The log-likelihood. Of differences where nothing is missing, which is the better conditioned way.
pub(crate) fn log_likelihood(coefficients: &Coefficients, d: usize, series: &[f64]) -> f64 {
    if series.iter().any(|value| value.is_nan()) {
        return dense(coefficients, d, series, 0).log_likelihood;
    }
    let mut differenced = series.to_vec();
    for _ in 0..d {
        differenced = differenced.windows(2).map(|pair| pair[1] - pair[0]).collect();
    }
    dense(coefficients, 0, &differenced, 0).log_likelihood
}

/// Autocovariances at lags 0 to `count - 1` of an ARMA process whose innovations have variance 1: the linear
/// equations of McLeod (1975) for the first p + 1, the recursion for the others.
pub(crate) fn autocovariances(ar: &[f64], ma: &[f64], count: usize) -> Vec<f64> {
    let (p, q) = (ar.len(), ma.len());
    let mut psi = vec![1.0];
    for lag in 1..=q {
        let past: f64 = (1..=lag.min(p)).map(|i| ar[i - 1] * psi[lag - i]).sum();
        psi.push(ma[lag - 1] + past);
    }
    let theta = |lag: usize| if lag == 0 { 1.0 } else { ma[lag - 1] };
    let with_noise = |lag: usize| (lag..=q).map(|j| theta(j) * psi[j - lag]).sum::<f64>();
    let mut system = vec![vec![0.0; p + 2]; p + 1];
    for (lag, row) in system.iter_mut().enumerate() {
        row[lag] += 1.0;
        for i in 1..=p {
            row[lag.abs_diff(i)] -= ar[i - 1];
        }
        row[p + 1] = with_noise(lag);
    }
    let mut gamma = solve(system);
    for lag in p + 1..count {
        let past: f64 = (1..=p).map(|i| ar[i - 1] * gamma[lag - i]).sum();
        gamma.push(past + with_noise(lag));
    }
    gamma.truncate(count);
    gamma
}

/// Covariance of the process summed d times from zeros.
fn summed(gamma: &[f64], d: usize, total: usize) -> Vec<Vec<f64>> {
    let of = |i: usize, j: usize| if i < d || j < d { 0.0 } else { gamma[i.abs_diff(j)] };
    let mut covariance: Vec<Vec<f64>> = (0..total).map(|i| (0..total).map(|j| of(i, j)).collect()).collect();
    for _ in 0..d {
        for row in &mut covariance {
            for j in 1..total {
                row[j] += row[j - 1];
            }
        }
        for i in 1..total {
            let (before, from) = covariance.split_at_mut(i);
            for (value, above) in from[0].iter_mut().zip(&before[i - 1]) {
                *value += above;
            }
        }
    }
    covariance
}

/// Weights of the values at `known` in the value at `at` of the polynomial through them.
fn polynomial_weights(known: &[usize], at: usize) -> Vec<f64> {
    match *known {
        [] => Vec::new(),
        [_] => vec![1.0],
        [a, b] => {
            let (a, b, at) = (a as f64, b as f64, at as f64);
            vec![(b - at) / (b - a), (at - a) / (b - a)]
        }
        _ => unreachable!("at most two differences"),
    }
}

/// Lower triangular factor. Panics if the matrix is not positive definite.
fn cholesky(mut matrix: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    for row in 0..matrix.len() {
        let (done, from) = matrix.split_at_mut(row);
        let current = &mut from[0];
        for column in 0..row {
            let other = &done[column];
            let dot: f64 = current[..column].iter().zip(&other[..column]).map(|(a, b)| a * b).sum();
            current[column] = (current[column] - dot) / other[column];
        }
        let left = current[row] - current[..row].iter().map(|a| a * a).sum::<f64>();
        assert!(left > 0.0, "the covariance is not positive definite: {left} in row {row}");
        current[row] = left.sqrt();
    }
    matrix
}

/// Gaussian elimination with partial pivoting; the last column is the right-hand side.
fn solve(mut system: Vec<Vec<f64>>) -> Vec<f64> {
    let size = system.len();
    for column in 0..size {
        let pivot = (column..size)
            .max_by(|&a, &b| system[a][column].abs().total_cmp(&system[b][column].abs()))
            .expect("a row is left");
        system.swap(column, pivot);
        let (above, below) = system.split_at_mut(column + 1);
        let lead = &above[column];
        for row in below {
            let factor = row[column] / lead[column];
            for (value, of_lead) in row.iter_mut().zip(lead).skip(column) {
                *value -= factor * of_lead;
            }
        }
    }
    let mut solution = vec![0.0; size];
    for row in (0..size).rev() {
        let known: f64 = (row + 1..size).map(|column| system[row][column] * solution[column]).sum();
        solution[row] = (system[row][size] - known) / system[row][row];
    }
    solution
}
