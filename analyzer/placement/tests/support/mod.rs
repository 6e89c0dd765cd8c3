//! What tests of plans are made with: clusters of the benchmark, events, and measures that share no code with the
//! crate under test.

pub(crate) mod draws;
pub(crate) mod events;
pub(crate) mod flow;
pub(crate) mod generator;
pub(crate) mod judge;
pub(crate) mod measures;
pub(crate) mod recipe;
pub(crate) mod room;
