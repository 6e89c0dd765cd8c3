//! What may be said on the command line, as types.

use super::ForecastArgs;
use crate::cli::Failure;
use clap::ValueEnum;
use isotherm_forecast::{Order, Select};
use std::str::FromStr;

/// The order: found, or given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrderArg {
    Auto,
    Given(Order),
}

/// How to look for an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Search {
    /// Try all orders
    Exhaustive,
    /// Start with four, and go on with the neighbours of the best (Hyndman and Khandakar 2008)
    Stepwise,
}

/// Whether the model has a mean or a drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Constant {
    /// Whichever is better; for a given order, a mean if it takes no differences
    Auto,
    /// With one, in an order that is given
    With,
    /// Without
    Without,
}

/// What intervals are made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Intervals {
    /// The model: its noise is normal, and nothing but noise
    Gaussian,
    /// The errors of earlier forecasts of as many steps of this series; a level of 95 needs 19 of them
    Conformal,
}

/// A probability between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Level(pub(super) f64);

/// What is asked, once everything fits together.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Question {
    pub(super) model: ModelQuestion,
    pub(super) horizon: usize,
    pub(super) level: f64,
    pub(super) intervals: Intervals,
    pub(super) bounded: bool,
    pub(super) threshold: Option<f64>,
    pub(super) seed: u64,
}

/// How the model is found.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ModelQuestion {
    Find(Select),
    Fit(Order),
}

impl FromStr for OrderArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("auto") {
            return Ok(Self::Auto);
        }
        let parts: Result<Vec<usize>, _> = text.split(',').map(|part| part.trim().parse()).collect();
        match parts.as_deref() {
            Ok([p, d, q]) => Order::new(*p, *d, *q).map(Self::Given).map_err(|error| error.to_string()),
            Ok(_) | Err(_) => Err("an order is auto, or three numbers p,d,q such as 1,1,1".to_owned()),
        }
    }
}

impl FromStr for Level {
    type Err = String;

    /// Above 1 it is in per cent.
    fn from_str(text: &str) -> Result<Self, String> {
        let number: f64 = text.trim().trim_end_matches('%').parse().map_err(|_| "not a number".to_owned())?;
        let level = if number > 1.0 || text.contains('%') { number / 100.0 } else { number };
        if level > 0.0 && level < 1.0 {
            Ok(Self(level))
        } else {
            Err("a level lies between 0 and 1, or between 1 and 100 per cent, without the ends".to_owned())
        }
    }
}

impl ForecastArgs {
    pub(super) fn question(&self) -> Result<Question, Failure> {
        if let Some(threshold) = self.threshold.filter(|threshold| !threshold.is_finite()) {
            return Err(Failure::Usage(format!("a threshold of {threshold} is never reached")));
        }
        Ok(Question {
            model: self.model().map_err(Failure::Usage)?,
            horizon: usize::from(self.horizon),
            level: self.level.0,
            intervals: self.intervals,
            bounded: self.bounded,
            threshold: self.threshold,
            seed: self.seed,
        })
    }

    fn model(&self) -> Result<ModelQuestion, String> {
        match (self.order, self.constant, self.differences) {
            (OrderArg::Given(_), _, Some(_)) => {
                Err("--differences is for an automatic order: a given one names its own".to_owned())
            }
            (OrderArg::Given(order), Constant::With, None) => {
                order.with_constant().map(ModelQuestion::Fit).map_err(|error| error.to_string())
            }
            (OrderArg::Given(order), Constant::Auto, None) if order.d() == 0 => {
                order.with_constant().map(ModelQuestion::Fit).map_err(|error| error.to_string())
            }
            (OrderArg::Given(order), Constant::Auto | Constant::Without, None) => {
                Ok(ModelQuestion::Fit(order))
            }
            (OrderArg::Auto, Constant::With, _) => {
                Err("--constant with is for a given order: an automatic one has a constant if it helps"
                    .to_owned())
            }
            (OrderArg::Auto, constant, differences) => {
                let select = match self.search {
                    Search::Exhaustive => Select::new().exhaustive(),
                    Search::Stepwise => Select::new(),
                };
                let select = differences.map_or(select, |d| select.differences(usize::from(d)));
                let without = constant == Constant::Without;
                Ok(ModelQuestion::Find(if without { select.without_constant() } else { select }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_a_share_or_in_per_cent() {
        let level = |text: &str| text.parse::<Level>().map(|Level(level)| level).ok();
        assert_eq!(
            ["95", ".95", "95%", "0.5", "99.9"].map(level),
            [Some(0.95), Some(0.95), Some(0.95), Some(0.5), Some(99.9 / 100.0)]
        );
        assert_eq!(["0", "1", "100", "-5", "nan", "inf", "x", "0%"].map(level), [None; 8]);
    }

    #[test]
    fn an_order_is_auto_or_three_numbers() {
        let order = |text: &str| text.parse::<OrderArg>();
        assert_eq!(order("auto"), Ok(OrderArg::Auto));
        assert_eq!(order("1, 1,2"), Ok(OrderArg::Given(Order::new(1, 1, 2).expect("an order"))));
        for wrong in ["", "1,1", "1,1,1,1", "1,1,x", "-1,0,0", "1.0,0,0"] {
            assert!(order(wrong).is_err_and(|error| error.contains("three numbers")), "{wrong}");
        }
        assert!(order("6,0,0").is_err_and(|error| error.contains("p = 6 is more than 5")));
    }
}
