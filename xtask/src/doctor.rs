//! `cargo xtask doctor`: what is here, what is missing, what it is needed for and how to get it.
//!
//! It changes nothing. What can be installed without asking, [`setup`](crate::setup) installs.

use crate::ebpf::{CORE_SOURCE_HINT, Missing, Nightly, holds_core};
use crate::peers;
use crate::rights::RIGHTS;
use crate::setup::{
    BUF, PARQUET_READERS, PROGRAMS, Packages, SEAWEEDFS, VALKEY, example_wheels, python_with_venv,
};
use crate::shell;
use anyhow::{Context, Result};
use clap::ValueEnum;
use comfy_table::{Table, presets};
use isotherm_tests::tools::Tools;
use isotherm_tests::volume::FileSystem;
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;

/// How a result is written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Whether a piece is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// It is.
    Ok,
    /// It is not, and something needed does not work.
    Missing,
    /// It is not, and only an extra does not work.
    Optional,
}

/// One line of the report.
#[derive(Debug, Serialize)]
struct Piece {
    name: String,
    state: State,
    needed_for: &'static str,
    /// How to get it; empty if it is there.
    remedy: String,
}

const BY_SETUP: &str = "`cargo xtask setup` installs it";

/// The Rust that the workspace asks for.
const RUST: &str = env!("CARGO_PKG_RUST_VERSION");

/// Prints the report; exits 1 if something needed is missing.
pub(crate) fn run(format: Format) -> Result<ExitCode> {
    let pieces = pieces();
    match format {
        Format::Json => println!("{}", serde_json::to_string_pretty(&pieces).context("write the report")?),
        Format::Table => println!("{}", table(&pieces)),
    }
    let missing = pieces.iter().any(|piece| piece.state == State::Missing);
    Ok(if missing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn table(pieces: &[Piece]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["PIECE", "STATE", "NEEDED FOR", "HOW TO GET IT"]);
    for piece in pieces {
        let state = match piece.state {
            State::Ok => "ok",
            State::Missing => "MISSING",
            State::Optional => "optional",
        };
        table.add_row([&piece.name, state, piece.needed_for, &piece.remedy]);
    }
    table
}

fn pieces() -> Vec<Piece> {
    let mut pieces = vec![needed(
        "kernel BTF",
        Path::new("/sys/kernel/btf/vmlinux").is_file(),
        "finding kernel fields (agent)",
        "a kernel built with CONFIG_DEBUG_INFO_BTF=y",
    )];
    pieces.extend(RIGHTS.iter().map(|right| {
        needed(&right.capability.to_string(), right.held(), right.needed_for, "run as root, or grant it")
    }));
    pieces.push(loop_device());
    pieces.extend(rust());
    pieces.extend(system());
    pieces.extend(tools());
    pieces.extend(forecast_peers());
    pieces.extend(kernel_object());
    pieces
}

fn loop_device() -> Piece {
    let lacking = FileSystem::Ext4.lacking();
    let remedy = lacking.clone().unwrap_or_default();
    needed("ext4 on a loop device", lacking.is_none(), "the demo's disk, tests of the device layer", &remedy)
}

fn rust() -> Vec<Piece> {
    let answers = |program: &str| shell::read(shell::clean(program).arg("--version"));
    let told = answers("rustc").unwrap_or_default();
    let found = told.split(' ').nth(1).unwrap_or("none");
    let update = format!("`rustup update stable` ({found} is here)");
    vec![
        needed(&format!("Rust {RUST}"), at_least(found, RUST), "building", &update),
        needed("rustfmt", answers("rustfmt").is_ok(), "`cargo xtask test`", "rustup component add rustfmt"),
        needed(
            "clippy",
            answers("clippy-driver").is_ok(),
            "`cargo xtask test`",
            "rustup component add clippy",
        ),
        needed("cc", on_path("cc"), "building", "apt-get install gcc libc6-dev"),
    ]
}

/// Whether one version, of numbers with dots, is another or newer.
fn at_least(found: &str, wanted: &str) -> bool {
    let numbers = |text: &str| -> Vec<u32> { text.split('.').map_while(|part| part.parse().ok()).collect() };
    numbers(found) >= numbers(wanted)
}

fn system() -> Vec<Piece> {
    let programs = PROGRAMS.iter().map(|program| {
        let remedy = format!("apt-get install {}", program.package);
        needed(program.name, on_path(program.name), program.needed_for, &remedy)
    });
    let python = needed(
        "python3 with venv",
        python_with_venv().is_some(),
        "the Python environment of the tools",
        "apt-get install python3-venv",
    );
    let deny =
        optional("cargo-deny", on_path("cargo-deny"), "checking licences, bans", "cargo install cargo-deny");
    programs.chain([python, deny]).collect()
}

fn tools() -> Vec<Piece> {
    let packages = Packages::locate(&Tools::locate().venv());
    let there = |wheel| packages.as_ref().is_some_and(|packages| packages.hold(wheel));
    let wheel = |wheel, uses| needed(wheel, there(wheel), uses, BY_SETUP);
    let readers = PARQUET_READERS.map(|reader| wheel(reader, "reading exported Parquet in tests"));
    let examples = Packages::locate(&Tools::locate().example_venv());
    let there = |wheel| examples.as_ref().is_some_and(|packages| packages.hold(wheel));
    let example = example_wheels()
        .into_iter()
        .map(|wheel| needed(wheel, there(wheel), "tests of the example of an adapter in Python", BY_SETUP));
    let seaweedfs = wheel(SEAWEEDFS, "SeaweedFS in demo and tests");
    [seaweedfs, wheel(VALKEY, "Valkey in tests"), wheel(BUF, "rules of the contracts in tests")]
        .into_iter()
        .chain(readers)
        .chain(example)
        .collect()
}

fn forecast_peers() -> Vec<Piece> {
    let uses = "a peer in `cargo xtask bench forecast` and `compare forecast`";
    let by_them = "they install it themselves";
    let packages = Packages::locate(&peers::venv(&Tools::locate()));
    let there = |wheel| packages.as_ref().is_some_and(|packages| packages.hold(wheel));
    let r = optional("R with forecast", peers::r_can_forecast(), uses, &peers::r_remedy());
    peers::WHEELS.map(|wheel| optional(wheel, there(wheel), uses, by_them)).into_iter().chain([r]).collect()
}

fn kernel_object() -> Vec<Piece> {
    let tools = Tools::locate();
    let uses = "rebuilding the kernel object";
    let nightly = Nightly::locate();
    let found = nightly.as_ref().ok().and_then(Option::as_ref);
    let core = found.is_some_and(|nightly| holds_core(&nightly.core_source()));
    let how = nightly.as_ref().map_or_else(|error| format!("{error:#}"), |_| Missing::Compiler.to_string());
    vec![
        optional("pinned nightly", found.is_some(), uses, &how),
        optional("core source", core, uses, CORE_SOURCE_HINT),
        optional("bpf-linker", tools.bpf_linker().is_ok(), uses, "`cargo xtask ebpf build` builds it"),
    ]
}

fn needed(name: &str, there: bool, needed_for: &'static str, remedy: &str) -> Piece {
    piece(name, there, State::Missing, needed_for, remedy)
}

fn optional(name: &str, there: bool, needed_for: &'static str, remedy: &str) -> Piece {
    piece(name, there, State::Optional, needed_for, remedy)
}

fn piece(name: &str, there: bool, absent: State, needed_for: &'static str, remedy: &str) -> Piece {
    let (state, remedy) = if there { (State::Ok, "") } else { (absent, remedy) };
    Piece { name: name.to_owned(), state, needed_for, remedy: remedy.to_owned() }
}

/// Whether a program is in one of PATH's folders.
fn on_path(program: &str) -> bool {
    shell::find(program).is_some()
}

#[cfg(test)]
mod tests {
    use super::at_least;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(at_least("1.95.0", "1.95") && at_least("1.100.0", "1.95") && at_least("2.0.0", "1.95"));
        assert!(!at_least("1.94.9", "1.95") && !at_least("none", "1.95"));
    }
}
