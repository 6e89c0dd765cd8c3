//! Isotherm's own tasks. `cargo xtask help` lists them.
//!
//! Progress and explanations go to stderr, results to stdout, so that `-o json` can be piped.

mod ebpf;
mod shell;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Isotherm's own tasks: build the kernel object, check the workspace, run the demo and the tests.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build or verify the kernel object that the agent includes.
    #[command(subcommand)]
    Ebpf(ebpf::Command),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Ebpf(command) => ebpf::run(command),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
