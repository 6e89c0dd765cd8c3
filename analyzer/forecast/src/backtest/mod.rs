//! How good forecasts were: series whose truth is known, and numbers that compare with it.

pub mod baseline;
pub mod isotonic;
pub mod origin;
pub mod reliability;
pub mod score;
pub mod synthetic;
