//! What can be wrong with an order, a model, a series, a fit.

use crate::Line;
use thiserror::Error;

/// An order that is not offered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OrderError {
    /// More terms than are offered.
    #[error("{name} = {value} is more than {max}")]
    TooHigh {
        /// `p`, `d` or `q`.
        name: &'static str,
        /// What was asked for.
        value: usize,
        /// What is offered.
        max: usize,
    },
    /// A constant in a model of second differences would be a quadratic trend.
    #[error("with two differences there is no constant, as it would be a quadratic trend")]
    ConstantWithTwoDifferences,
}

/// Coefficients that are no model of their order.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ModelError {
    /// Their number is not the order's.
    #[error("{have} {kind} coefficients where the order has {need}")]
    Count {
        /// `ar`, `ma` or `constant`.
        kind: &'static str,
        /// How many were given.
        have: usize,
        /// How many the order has.
        need: usize,
    },
    /// A coefficient is not a number, or infinite.
    #[error("the {kind} coefficient number {index} is {value}")]
    NotFinite {
        /// `ar`, `ma` or `constant`.
        kind: &'static str,
        /// Its number, from 0.
        index: usize,
        /// What it is.
        value: f64,
    },
    /// A root of the autoregressive polynomial lies on or inside the unit circle.
    #[error("the autoregressive part is not stationary")]
    NotStationary,
    /// A root of the moving-average polynomial lies inside the unit circle.
    #[error("the moving-average part is not invertible")]
    NotInvertible,
}

/// A series that says nothing.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum SeriesError {
    /// No values, or none but missing ones.
    #[error("all {len} values are missing")]
    AllMissing {
        /// Its length.
        len: usize,
    },
    /// A value is infinite.
    #[error("value {at} is infinite")]
    Infinite {
        /// Its index, from 0.
        at: usize,
    },
    /// Values whose squares, or the squares of their differences, are no numbers of double precision.
    #[error("the values are too large or too small for double precision")]
    OutOfRange,
    /// Fewer values than the model needs.
    #[error("{have} values where {need} are needed")]
    TooShort {
        /// Values that are not missing.
        have: usize,
        /// Values that are needed.
        need: usize,
    },
}

/// Why there is no fit.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum FitError {
    /// The series.
    #[error(transparent)]
    Series(#[from] SeriesError),
    /// The series is a constant or a straight line: there is no noise whose variance could be estimated.
    #[error("the series has no noise: it is a line of slope {} per step", .0.slope)]
    NoNoise(Line),
    /// A missing value where none can be handled.
    #[error("value {at} is missing: the conditional sum of squares needs all, the exact likelihood does not")]
    Gap {
        /// Its index, from 0.
        at: usize,
    },
    /// The likelihood has no value anywhere it was looked for.
    #[error("the likelihood could not be computed")]
    NoLikelihood,
}
