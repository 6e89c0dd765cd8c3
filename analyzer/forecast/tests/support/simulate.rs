//! Seeded chance, random coefficients, simulated series.

use isotherm_forecast::Coefficients;
use rand_distr::{Distribution, StandardNormal, StandardUniform};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::SeedableRng;

/// Chance from a seed.
pub(crate) struct Chance(Pcg64Mcg);

impl Chance {
    /// The same seed gives the same chance.
    pub(crate) fn new(seed: u64) -> Self {
        Self(Pcg64Mcg::seed_from_u64(seed))
    }

    /// Standard normal.
    pub(crate) fn normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.0)
    }

    /// Uniform in `low..high`.
    pub(crate) fn uniform(&mut self, low: f64, high: f64) -> f64 {
        let unit: f64 = StandardUniform.sample(&mut self.0);
        low + (high - low) * unit
    }

    /// Coefficients of a stationary autoregression, from partial autocorrelations uniform in `-limit..limit` by
    /// the recursion of Durbin (1960) and Levinson (1947).
    pub(crate) fn stationary(&mut self, p: usize, limit: f64) -> Vec<f64> {
        let mut ar: Vec<f64> = Vec::new();
        for _ in 0..p {
            let partial = self.uniform(-limit, limit);
            let updated = ar.iter().zip(ar.iter().rev()).map(|(a, mirrored)| a - partial * mirrored);
            ar = updated.chain([partial]).collect();
        }
        ar
    }

    /// Coefficients of an invertible moving average: the polynomial is that of an autoregression, with a plus.
    pub(crate) fn invertible(&mut self, q: usize, limit: f64) -> Vec<f64> {
        self.stationary(q, limit).into_iter().map(|value| -value).collect()
    }

    /// Some `count` of the values, but never the first `keep` ones, become missing.
    pub(crate) fn with_gaps(&mut self, series: &[f64], keep: usize, count: usize) -> Vec<f64> {
        let mut with = series.to_vec();
        for _ in 0..count {
            let at = self.uniform(keep as f64, series.len() as f64) as usize;
            with[at.min(series.len() - 1)] = f64::NAN;
        }
        with
    }

    /// `n` values of ARIMA(p, d, q) with innovations of variance 1, run in from 600 steps before; the sums of
    /// d > 0 start at zero.
    pub(crate) fn series(&mut self, coefficients: &Coefficients, d: usize, n: usize) -> Vec<f64> {
        let Coefficients { ar, ma, constant } = coefficients;
        let run_in = 600;
        let mut noise: Vec<f64> = Vec::with_capacity(n + run_in);
        let mut values: Vec<f64> = Vec::with_capacity(n + run_in);
        for at in 0..n + run_in {
            let e = self.normal();
            let past: f64 = (1..=ar.len().min(at)).map(|i| ar[i - 1] * values[at - i]).sum();
            let moved: f64 = (1..=ma.len().min(at)).map(|j| ma[j - 1] * noise[at - j]).sum();
            noise.push(e);
            values.push(past + e + moved);
        }
        let mut series: Vec<f64> =
            values.split_off(run_in).into_iter().map(|value| value + constant.unwrap_or(0.0)).collect();
        for _ in 0..d {
            let mut sum = 0.0;
            for value in &mut series {
                sum += *value;
                *value = sum;
            }
        }
        series
    }
}

/// Coefficients.
pub(crate) fn coefficients(ar: &[f64], ma: &[f64], constant: Option<f64>) -> Coefficients {
    Coefficients { ar: ar.to_vec(), ma: ma.to_vec(), constant }
}
