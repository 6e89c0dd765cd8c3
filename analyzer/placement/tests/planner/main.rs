//! What plans must be, held against measures and bounds that share no code with the planner.

#[path = "../support/mod.rs"]
mod support;

mod generator;
mod infeasible;
mod oracle;
mod properties;
mod rounds;
