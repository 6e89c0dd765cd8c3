//! What the tests of several themes need: the reference values, an oracle, simulated series.

#![allow(dead_code, reason = "each file of tests is a crate of its own and needs some of it")]

pub(crate) mod dense;
pub(crate) mod fixtures;
pub(crate) mod simulate;

use isotherm_forecast::{Coefficients, Order};

/// What was found wrong. All of it is told at the end, as the first of many says little.
#[derive(Default)]
pub(crate) struct Findings {
    lines: Vec<String>,
    checked: usize,
}

impl Findings {
    /// Notes `what` unless `right`.
    pub(crate) fn check(&mut self, right: bool, what: impl FnOnce() -> String) {
        self.checked += 1;
        if !right {
            self.lines.push(what());
        }
    }

    /// Notes `what` unless the two differ by no more than `tolerance`; a NaN is wrong.
    pub(crate) fn near(&mut self, what: &str, have: f64, want: f64, tolerance: f64) {
        self.check((have - want).abs() <= tolerance, || {
            format!("{what}: {have} where {want} is right, {:+.3e} off, tolerance {tolerance:.1e}", have - want)
        });
    }

    /// The value, or a note why there is none.
    pub(crate) fn value<T, E: std::fmt::Display>(&mut self, what: &str, result: Result<T, E>) -> Option<T> {
        self.checked += 1;
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.lines.push(format!("{what}: {error}"));
                None
            }
        }
    }

    /// Fails if anything was wrong, or if less was checked than there is to check.
    pub(crate) fn conclude(self, least: usize) {
        assert!(self.checked >= least, "{} checks where at least {least} are to be made", self.checked);
        let (wrong, checked) = (self.lines.len(), self.checked);
        assert!(wrong == 0, "{wrong} of {checked} checks failed:\n{}", self.lines.join("\n"));
    }
}

/// ARIMA(p, d, q), with or without a constant.
pub(crate) fn order(p: usize, d: usize, q: usize, constant: bool) -> Order {
    let order = Order::new(p, d, q).expect("in range");
    if constant { order.with_constant().expect("d is below 2") } else { order }
}

/// All coefficients in the order of `Fitted::standard_errors`.
pub(crate) fn flat(coefficients: &Coefficients) -> Vec<f64> {
    let Coefficients { ar, ma, constant } = coefficients;
    ar.iter().chain(ma).chain(constant).copied().collect()
}
