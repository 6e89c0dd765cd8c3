//! What tests of plans are made with: clusters of the benchmark, events, and measures that share no code with the
//! crate under test.

pub mod draws;
pub mod events;
pub mod flow;
pub mod generator;
pub mod judge;
pub mod measures;
pub mod recipe;
pub mod room;
