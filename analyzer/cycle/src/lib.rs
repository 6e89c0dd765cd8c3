//! From what was counted in a step to decisions: the pure stages of every cycle.
//!
//! No clock, no file, no chance without a seed: the analyzer feeds it, and so do replay, backtest and simulation.

pub mod band;
pub mod horizon;
pub mod input;
pub mod series;
