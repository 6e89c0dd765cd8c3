//! A series through the filter.

use super::State;
use super::factor::{collapse, gain, grow, stationary};
use super::system::{LANES, Lanes, System};
use std::array::from_fn;

/// The exact Gaussian likelihood of a series, but for the variance of the innovations and the constant.
///
/// With `S(c) = s_yy - 2 (c - c0) s_yx + (c - c0)^2 s_xx`, where c0 is the constant the filter ran with, the
/// log-likelihood is `-n/2 ln(2 pi sigma2) - S(c) / (2 sigma2) - log_det / 2`; it is largest over c at
/// `c0 + s_yx / s_xx`, and over sigma2 at `S(c) / n`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Filtered {
    /// `sum v_t^2 / F_t`.
    pub(crate) s_yy: f64,
    /// `sum v_t x_t / F_t`, where x are the innovations of the constant's column; 0 without a constant.
    pub(crate) s_yx: f64,
    /// `sum x_t^2 / F_t`; 0 without a constant.
    pub(crate) s_xx: f64,
    /// `sum ln F_t`.
    pub(crate) log_det: f64,
    /// Values that are there, less d.
    pub(crate) n: usize,
}

/// Runs the filter over a series, whose missing values are `NaN`. The gains do not depend on the values, so a
/// second column, that of the constant (ones for `d = 0`, the time for `d = 1`), goes with the same ones.
///
/// At most 5, 5 and 2 coefficients and differences. `None` if the autoregressive part is not stationary, if
/// there are not more than d values, or if something is not finite.
pub(crate) fn deviance(
    ar: &[f64],
    ma: &[f64],
    d: usize,
    constant: Option<f64>,
    series: &[f64],
) -> Option<Filtered> {
    let system = System::new(ar, ma, d, constant.unwrap_or(0.0));
    if constant.is_none() {
        return run(&system, series, |_, _, _| {}).map(|(_, filtered)| filtered);
    }
    let (mut state, from) = begin(&system, series)?;
    let first = series.iter().position(|value| !value.is_nan())?;
    let mut column = [0.0; LANES];
    let mut sums = Sums::new();
    for (at, &value) in series.iter().enumerate().skip(from) {
        if value.is_nan() {
            state.skip(&system);
            column = system.carry(&column, column[0]);
            continue;
        }
        let (variance, gain) = gain(&system, &mut state.columns);
        let value = value - state.origin;
        let error = value - (system.intercept() + state.mean[0]);
        state.mean = system.advance(&state.mean, value, &gain, error);
        let x = if d == 0 { 1.0 } else { (at - first) as f64 };
        let x_error = x - column[0];
        column = system.advance(&column, x, &gain, x_error);
        sums.determinant(variance);
        sums.s_yy += error * error / variance;
        sums.s_yx += error * x_error / variance;
        sums.s_xx += x_error * x_error / variance;
    }
    sums.finish()
}

/// Runs the filter over a series, tells of each value its index, innovation and the innovation's variance in
/// units of sigma2, and returns the state after the last. `None` as for [`deviance`].
pub(crate) fn run(
    system: &System,
    series: &[f64],
    mut visit: impl FnMut(usize, f64, f64),
) -> Option<(State, Filtered)> {
    let (mut state, mut at) = begin(system, series)?;
    let mut sums = Sums::new();
    while let Some(&value) = series.get(at) {
        if state.is_certain() {
            let tell = |later: usize, error| visit(at + later, error, 1.0);
            let (steps, squares) = state.follow(system, &series[at..], tell);
            sums.s_yy += squares;
            sums.n += steps;
            at += steps;
            if at < series.len() {
                state.skip(system);
                at += 1;
            }
            continue;
        }
        if value.is_nan() {
            state.skip(system);
        } else {
            let (error, variance) = state.observe(system, value);
            sums.determinant(variance);
            sums.s_yy += error * error / variance;
            visit(at, error, variance);
        }
        at += 1;
    }
    Some((state, sums.finish()?))
}

impl State {
    /// Takes values up to the next missing one, from a state that is certain: how many, and the sum of their
    /// squared innovations. The same as observing each, in as few dimensions as the model has.
    fn follow(&mut self, system: &System, values: &[f64], visit: impl FnMut(usize, f64)) -> (usize, f64) {
        match system.size() {
            0 | 1 => self.follow_in::<1>(system, values, visit),
            2 => self.follow_in::<2>(system, values, visit),
            3 => self.follow_in::<3>(system, values, visit),
            4 => self.follow_in::<4>(system, values, visit),
            _ => self.follow_in::<LANES>(system, values, visit),
        }
    }

    #[inline]
    fn follow_in<const N: usize>(
        &mut self,
        system: &System,
        values: &[f64],
        mut visit: impl FnMut(usize, f64),
    ) -> (usize, f64) {
        let (level, ma): ([f64; N], [f64; N]) =
            (from_fn(|lane| system.level()[lane]), from_fn(|lane| system.ma()[lane]));
        let mut state: [f64; N] = from_fn(|lane| self.mean[lane]);
        let (mut steps, mut squares) = (0, 0.0);
        for &value in values {
            if value.is_nan() {
                break;
            }
            let value = value - self.origin;
            let error = value - (system.intercept() + state[0]);
            state = from_fn(|lane| {
                let ahead = if lane + 1 < N { state[lane + 1] } else { 0.0 };
                ahead + level[lane] * value + ma[lane] * error
            });
            squares += error * error;
            visit(steps, error);
            steps += 1;
        }
        self.mean[..N].copy_from_slice(&state);
        (steps, squares)
    }
}

/// The state after the first d values that are there, and the index of what comes next.
///
/// From the state of the ARMA process to that of the level: `a^y[i] = a^w[i] + c_i y_(t-1)` with c the
/// coefficients of `phi(B)`, and as the first value is the origin, `y_(t-1)` is 0.
fn begin(system: &System, series: &[f64]) -> Option<(State, usize)> {
    let first = series.iter().position(|value| !value.is_nan())?;
    let columns = stationary(system)?;
    if system.d() == 0 {
        return Some((State { origin: system.constant(), mean: [0.0; LANES], columns }, first));
    }
    let mut state = State { origin: series[first], mean: drift(system), columns };
    if system.d() == 1 {
        return Some((state, first + 1));
    }
    // The slope is unknown: its effect on the state is carried until a second value tells it.
    let mut slope = *system.stationary();
    for (at, &value) in series.iter().enumerate().skip(first + 1) {
        if value.is_nan() {
            slope = system.carry(&slope, slope[0]);
            grow(system, &mut state.columns);
            continue;
        }
        let value = value - state.origin;
        let level = slope.map(|effect| effect / slope[0] * value);
        state.mean = system.carry(&level, value);
        collapse(system, &mut state.columns, &slope);
        return Some((state, at + 1));
    }
    None
}

/// The mean of the state of an ARMA process whose past values are expected at the drift.
fn drift(system: &System) -> Lanes {
    let mut mean = [0.0; LANES];
    let mut later = 0.0;
    for lane in (0..LANES - 1).rev() {
        later -= system.stationary()[lane + 1];
        mean[lane] = later * system.constant();
    }
    mean
}

/// What adds up to the likelihood.
struct Sums {
    s_yy: f64,
    s_yx: f64,
    s_xx: f64,
    log_det: f64,
    /// A product of variances whose logarithm is not taken yet: none is below 1.
    product: f64,
    n: usize,
}

impl Sums {
    fn new() -> Self {
        Self { s_yy: 0.0, s_yx: 0.0, s_xx: 0.0, log_det: 0.0, product: 1.0, n: 0 }
    }

    #[inline]
    fn determinant(&mut self, variance: f64) {
        self.n += 1;
        self.product *= variance;
        if self.product > 1e100 {
            self.log_det += self.product.ln();
            self.product = 1.0;
        }
    }

    fn finish(self) -> Option<Filtered> {
        let log_det = self.log_det + self.product.ln();
        let all = [self.s_yy, self.s_yx, self.s_xx, log_det];
        let Self { s_yy, s_yx, s_xx, n, .. } = self;
        (n > 0 && all.iter().all(|sum| sum.is_finite())).then_some(Filtered { s_yy, s_yx, s_xx, log_det, n })
    }
}
