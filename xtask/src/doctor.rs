//! `cargo xtask doctor`: what is here, what is missing, what it is needed for and how to get it.
//!
//! It changes nothing. What can be installed without asking, [`setup`](crate::setup) installs.

use crate::ebpf::{CORE_SOURCE_HINT, Nightly, holds_core};
use crate::rights::RIGHTS;
use crate::setup::{PARQUET_READERS, SEAWEEDFS, has_wheel, python_with_venv};
use crate::shell;
use anyhow::{Context, Result};
use clap::ValueEnum;
use comfy_table::{Table, presets};
use isotherm_tests::tools::Tools;
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
    pieces.extend(system());
    pieces.extend(tools());
    pieces.extend(kernel_object());
    pieces
}

fn system() -> Vec<Piece> {
    vec![
        needed("cc", on_path("cc"), "building crates with C in them", "apt-get install gcc libc6-dev"),
        needed("ip", on_path("ip"), "the lab's network namespace", "apt-get install iproute2"),
        needed(
            "python3 with venv",
            python_with_venv().is_some(),
            "the Python environment of the tools",
            "apt-get install python3-venv",
        ),
        optional(
            "cargo-nextest",
            on_path("cargo-nextest"),
            "`cargo nextest run`",
            "cargo install cargo-nextest",
        ),
        optional("cargo-deny", on_path("cargo-deny"), "checking licences, bans", "cargo install cargo-deny"),
    ]
}

fn tools() -> Vec<Piece> {
    let tools = Tools::locate();
    let wheel = |wheel, uses| needed(wheel, has_wheel(&tools, wheel), uses, BY_SETUP);
    let readers = PARQUET_READERS.map(|reader| wheel(reader, "reading exported Parquet in tests"));
    [wheel(SEAWEEDFS, "SeaweedFS in demo and tests")].into_iter().chain(readers).collect()
}

fn kernel_object() -> Vec<Piece> {
    let tools = Tools::locate();
    let uses = "rebuilding the kernel object";
    let nightly = Nightly::locate();
    let core = nightly.as_ref().is_ok_and(|nightly| holds_core(&nightly.core_source()));
    let how = nightly.as_ref().err().map(ToString::to_string).unwrap_or_default();
    vec![
        optional("pinned nightly", nightly.is_ok(), uses, &how),
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
pub(crate) fn on_path(program: &str) -> bool {
    shell::find(program).is_some()
}
