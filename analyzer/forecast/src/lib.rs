//! ARIMA for many short series: exact likelihood, order selection, intervals that hold what they say.
//!
//! Values in, values out: no clock, no file, no unseeded chance, no thread whose timing could reach a result.
//! A series is a `&[f64]`, oldest first, one value per step; `NaN` is a value that is missing, and is handled
//! exactly. Nothing that is finite in ever becomes `NaN` out: what cannot be said is an error or another type.
//!
//! The way of a series: [`Order`] (what kind of model) -> [`Fit`] (how to estimate it) -> [`Fitted`] (a
//! [`Model`] and where the series left it) -> [`Forecast`]. [`Select`] finds the order; [`Tracker`] follows a
//! series that goes on; [`batch`] does it for many; [`backtest`] says how good it was.

#[cfg(target_arch = "x86_64")]
mod avx;
pub mod backtest;
pub mod batch;
mod conditional;
pub mod conformal;
mod cusum;
mod descent;
mod error;
mod estimate;
mod fit;
mod fitted;
mod forecast;
mod gaps;
pub mod kpss;
mod ladder;
mod lane;
mod likelihood;
mod model;
mod online;
mod order;
mod paths;
mod polynomial;
mod processor;
mod search;
mod select;
mod series;
mod standard_error;
mod start;
mod state;
pub mod transform;

pub use cusum::Cusum;
pub use error::{FitError, ModelError, OrderError, SeriesError};
pub use fit::{Fit, Method};
pub use fitted::{Fitted, Line};
pub use forecast::{Forecast, ForecastError, Interval};
pub use model::{Coefficients, Model};
pub use online::{Advice, Innovation, Policy, Reason, Tracker};
pub use order::Order;
pub use paths::{Paths, PathsError, Side};
pub use select::{Select, Selection, Tried};
pub use state::State;
