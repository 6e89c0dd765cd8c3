//! What plans must be, held against measures and bounds that share no code with the planner.

#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

#[path = "../support/mod.rs"]
mod support;

mod generator;
mod infeasible;
mod oracle;
mod properties;
mod rounds;
mod sweep;
