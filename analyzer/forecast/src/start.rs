//! Where a search starts.

/// Sample partial autocorrelations of a centred series, lags 1 to `lags` (Durbin-Levinson on the sample
/// autocovariances, so each lies within (-1, 1)); zeros where the series has no variance.
pub(crate) fn partial(x: &[f64], lags: usize) -> [f64; crate::polynomial::MAX] {
    let mut out = [0.0; crate::polynomial::MAX];
    let gamma: Vec<f64> = (0..=lags).map(|k| (k..x.len()).map(|t| x[t] * x[t - k]).sum()).collect();
    let mut variance = gamma[0];
    for k in 1..=lags {
        let shorter = crate::polynomial::coefficients(&out[..k - 1]);
        let mut r = gamma[k];
        for j in 1..k {
            r -= shorter[j - 1] * gamma[k - j];
        }
        if !(variance > 0.0) {
            break;
        }
        r /= variance;
        variance *= 1.0 - r * r;
        out[k - 1] = r;
    }
    out
}
