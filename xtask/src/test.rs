//! `cargo xtask test`: everything that has to pass, in one command, on a machine that has only Rust.
//!
//! Every step runs even if an earlier one failed, except that nothing follows a failed build: one run names
//! all that is wrong. All builds use the same features and the same packages, or cargo would build polars
//! once per combination.

use crate::ebpf::{self, Rebuild};
use crate::setup::{self, Purpose};
use crate::{shell, tidy};
use anyhow::{Context, Result, bail};
use std::env;
use std::io::{BufRead, BufReader, Write, stderr};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Every build of the tests has the points at which they stop the writer.
const FEATURES: [&str; 3] = ["--workspace", "--features", "isotherm/failpoints"];

/// How tests say that they did not run.
const SKIPPED: &str = "SKIPPED:";

/// What one step came to.
struct Outcome {
    name: &'static str,
    took: Duration,
    result: Result<()>,
}

/// Runs all steps and sums them up; exits 1 if one failed.
pub(crate) fn run() -> Result<ExitCode> {
    let mut skipped = Vec::new();
    let mut outcomes = vec![step("setup", || setup::run(Purpose::Tests)), step("build", build)];
    if outcomes.iter().all(|outcome| outcome.result.is_ok()) {
        outcomes.push(step("fmt", || shell::run(shell::cargo().args(["fmt", "--all", "--check"]))));
        outcomes.push(step("clippy", clippy));
        outcomes.push(step("ebpf verify", || verify(&mut skipped)));
        outcomes.push(step("tidy", tidy::check));
        outcomes.push(step("tests", || tests(&mut skipped)));
    }
    Ok(sum_up(&outcomes, &skipped))
}

fn step(name: &'static str, work: impl FnOnce() -> Result<()>) -> Outcome {
    eprintln!("\n=== {name}");
    let started = Instant::now();
    let result = work();
    if let Err(error) = &result {
        eprintln!("{name}: {error:#}");
    }
    Outcome { name, took: started.elapsed(), result }
}

fn build() -> Result<()> {
    shell::run(shell::cargo().args(["build", "--bins"]).args(FEATURES))
}

fn clippy() -> Result<()> {
    let mut cargo = shell::cargo();
    shell::run(cargo.args(["clippy", "--all-targets"]).args(FEATURES).args(["--", "-D", "warnings"]))
}

fn verify(skipped: &mut Vec<String>) -> Result<()> {
    ebpf::check_manifest(&isotherm_tests::workspace::root())?;
    match ebpf::rebuild()? {
        Rebuild::Identical => eprintln!("the object was rebuilt in another folder: identical"),
        Rebuild::Skipped(why) => skipped.push(format!("rebuild of the kernel object: {why}")),
    }
    Ok(())
}

/// Runs all tests. `--show-output` because libtest hides what passing tests print, and a skipped test
/// passes.
fn tests(skipped: &mut Vec<String>) -> Result<()> {
    let mut cargo = shell::cargo();
    cargo.args(["test", "--no-fail-fast"]).args(FEATURES).args(["--", "--show-output"]);
    let (lines, status) = run_and_show(&mut cargo, SKIPPED)?;
    let any_skipped = !lines.is_empty();
    skipped.extend(lines);
    if !status.success() {
        bail!("cargo test: {status}");
    }
    if any_skipped && env::var("CI").as_deref() == Ok("true") {
        bail!("tests were skipped, which is not allowed where CI=true");
    }
    Ok(())
}

/// Passes the program's output on, and collects the lines that begin with `prefix`.
fn run_and_show(command: &mut Command, prefix: &'static str) -> Result<(Vec<String>, ExitStatus)> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start cargo test")?;
    let errors = BufReader::new(child.stderr.take().context("stderr is piped")?);
    let output = BufReader::new(child.stdout.take().context("stdout is piped")?);
    let reader = thread::spawn(move || pass_on(errors, prefix));
    let mut found = pass_on(output, prefix);
    found.extend(reader.join().unwrap_or_default());
    found.sort();
    found.dedup();
    Ok((found, child.wait().context("wait for cargo test")?))
}

fn pass_on(mut from: impl BufRead, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
        let _ = stderr().write_all(&line);
        if let Some(rest) = String::from_utf8_lossy(&line).trim().strip_prefix(prefix) {
            found.push(rest.trim().to_owned());
        }
        line.clear();
    }
    found
}

fn sum_up(outcomes: &[Outcome], skipped: &[String]) -> ExitCode {
    eprintln!("\n=== summary");
    for Outcome { name, took, result } in outcomes {
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        eprintln!("{name:<12} {verdict:<7} {:>7.1} s", took.as_secs_f64());
    }
    for what in skipped {
        eprintln!("skipped      {what}");
    }
    if outcomes.iter().all(|outcome| outcome.result.is_ok()) {
        eprintln!("all passed, {} skipped", skipped.len());
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
