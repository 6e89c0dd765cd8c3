//! Isotherm's own tasks. `cargo xtask help` lists them.
//!
//! Progress and explanations go to stderr, results to stdout, so that `-o json` can be piped.

mod bench;
mod compare;
mod demo;
mod doctor;
mod ebpf;
mod peers;
mod rights;
mod setup;
mod shell;
mod soak;
mod test;
mod tidy;

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
    /// Run a real SeaweedFS cluster under a load whose truth is known, watched by agent and analyzer.
    ///
    /// Installs what it needs, starts a master and four volume servers in a network namespace, and shows
    /// what was counted beside what happened, and the entropy computed from it, until Ctrl-C. Data and
    /// logs stay in the target folder's `demo`, nothing else is left behind. Exits 7 without the capabilities
    /// it needs.
    Demo(demo::Options),
    /// Say what is here, what is missing, what it is needed for and how to get it.
    ///
    /// Changes nothing. Exits 1 if something needed is missing.
    Doctor {
        /// How to write the report.
        #[arg(short, long, default_value = "table")]
        output: doctor::Format,
    },
    /// Install what demo and tests need: Debian packages (as root, with apt) and Python wheels.
    Setup,
    /// Run everything that has to pass: setup, build, fmt, clippy, kernel object, tidy, all tests.
    ///
    /// Ends with the time of each step, what was skipped, and on stdout `N passed, M failed`. With CI=true
    /// anything skipped is a failure, except a rebuild of the kernel object without its nightly toolchain.
    Test,
    /// Run what takes many minutes and is no part of `test`.
    Soak {
        #[command(subcommand)]
        what: Option<soak::Soak>,
    },
    /// Check the workspace's own rules: dependencies, file lengths, the kernel object's manifest, README.
    Tidy,
    /// Measure, each benchmark beside its peer in the same run.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Check results against those of other programs, on seeded cases that are in no test.
    #[command(subcommand)]
    Compare(compare::Compare),
    /// Build or verify the kernel object that the agent includes.
    #[command(subcommand)]
    Ebpf(ebpf::Command),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Demo(options) => demo::run(&options),
        Task::Doctor { output } => doctor::run(output),
        Task::Setup => setup::run(setup::Purpose::Tests).map(|()| ExitCode::SUCCESS),
        Task::Test => test::run(),
        Task::Soak { what } => soak::run(what.as_ref()),
        Task::Tidy => tidy::check().map(|()| ExitCode::SUCCESS),
        Task::Bench(bench) => bench::run(&bench),
        Task::Compare(compare) => compare::run(&compare),
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
