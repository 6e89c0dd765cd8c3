//! The analyzer: `isotherm serve` takes in what agents count and answers questions about it; the other
//! commands ask them.

mod accept;
mod api;
mod cli;
mod config;
mod cycle;
mod http;
mod ingest;
mod locators;
mod migrate;
mod plan;
mod query;
mod recording;
mod serve;
mod topology;
mod writer;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: query::allocator::Allocator = query::allocator::Allocator;

fn main() -> ExitCode {
    // Failpoints are named in the environment of tests; without the feature this reads nothing.
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    cli::main()
}
