//! `cargo xtask test`: everything that has to pass, in one command, on a machine that has only Rust and a C
//! compiler.
//!
//! Every step runs even if an earlier one failed, except that nothing follows a failed build: one run names
//! all that is wrong. All builds use the same features and the same packages, or cargo would build polars
//! once per combination.

mod tally;

use crate::ebpf::{self, Rebuild};
use crate::setup::{self, Purpose};
use crate::{shell, tidy};
use anyhow::{Context, Result, bail};
use std::env;
use std::io::{BufRead, BufReader, Write, stderr};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tally::Tally;

/// Every build of the tests has the points at which they stop the writer.
const FEATURES: [&str; 3] = ["--workspace", "--features", "isotherm/failpoints"];

/// What one step came to.
struct Outcome {
    name: &'static str,
    took: Duration,
    result: Result<()>,
}

/// Something that did not run here.
struct Skip {
    what: String,
    /// Why a run that allows no skips may go without it.
    exempt: Option<&'static str>,
}

/// The rebuild is the one thing that a machine with nothing but Rust and a C compiler cannot do.
const NO_NIGHTLY: &str = "exempt: the manifest's nightly toolchain is not on this machine";

/// Runs all steps and sums them up; exits 1 if one failed.
pub(crate) fn run() -> Result<ExitCode> {
    let (mut skips, mut tally) = (Vec::new(), Tally::default());
    let mut outcomes = vec![step("setup", || setup::run(Purpose::Tests)), step("build", build)];
    if outcomes.iter().all(|outcome| outcome.result.is_ok()) {
        outcomes.push(step("fmt", || shell::run(shell::cargo().args(["fmt", "--all", "--check"]))));
        outcomes.push(step("clippy", clippy));
        outcomes.push(step("ebpf verify", || verify(&mut skips)));
        outcomes.push(step("tidy", tidy::check));
        outcomes.push(step("tests", || tests(&mut tally)));
    }
    skips.extend(tally.skipped().map(|what| Skip { what: what.to_owned(), exempt: None }));
    outcomes.push(step("skips", || judge(&skips, env::var("CI").as_deref() == Ok("true"))));
    let all_passed = outcomes.iter().all(|outcome| outcome.result.is_ok());
    show(&outcomes, &skips);
    println!("{tally}");
    Ok(if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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

fn verify(skips: &mut Vec<Skip>) -> Result<()> {
    ebpf::check_manifest(&isotherm_tests::workspace::root())?;
    let (why, exempt) = match ebpf::rebuild()? {
        Rebuild::Identical => {
            eprintln!("the object was rebuilt in another folder: identical");
            return Ok(());
        }
        Rebuild::Lacking(missing) => (missing.to_string(), Some(NO_NIGHTLY)),
        Rebuild::Incomparable(other) => (format!("the bytes differ, but so does {other}"), None),
    };
    skips.push(Skip { what: format!("rebuild of the kernel object: {why}"), exempt });
    Ok(())
}

fn tests(tally: &mut Tally) -> Result<()> {
    let mut cargo = shell::cargo();
    cargo.args(["test", "--no-fail-fast"]).args(FEATURES);
    let status = run_and_count(&mut cargo, tally)?;
    if !status.success() {
        bail!("cargo test: {status}");
    }
    Ok(())
}

/// The one place that decides whether what was skipped makes the run fail: with `CI=true` it does, unless
/// it is exempt.
fn judge(skips: &[Skip], ci: bool) -> Result<()> {
    let refused = skips.iter().filter(|skip| skip.exempt.is_none()).count();
    if ci && refused > 0 {
        bail!("{refused} skipped, which is not allowed where CI=true");
    }
    Ok(())
}

/// Passes the program's output on, and counts what it says of tests.
fn run_and_count(command: &mut Command, tally: &mut Tally) -> Result<ExitStatus> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start cargo test")?;
    let errors = BufReader::new(child.stderr.take().context("stderr is piped")?);
    let output = BufReader::new(child.stdout.take().context("stdout is piped")?);
    let reader = thread::spawn(move || pass_on(errors));
    tally.add(pass_on(output));
    tally.add(reader.join().map_err(|_| anyhow::anyhow!("reading the output of cargo test panicked"))?);
    child.wait().context("wait for cargo test")
}

fn pass_on(mut from: impl BufRead) -> Tally {
    let mut tally = Tally::default();
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
        let _ = stderr().write_all(&line);
        tally.take_in(&String::from_utf8_lossy(&line));
        line.clear();
    }
    tally
}

fn show(outcomes: &[Outcome], skips: &[Skip]) {
    eprintln!("\n=== summary");
    for Outcome { name, took, result } in outcomes {
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        eprintln!("{name:<12} {verdict:<7} {:>7.1} s", took.as_secs_f64());
    }
    for Skip { what, exempt } in skips {
        let exempt = exempt.map(|why| format!(" ({why})")).unwrap_or_default();
        eprintln!("skipped      {what}{exempt}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_fails_only_where_no_skips_are_allowed_and_it_is_not_exempt() {
        let skip = |exempt| [Skip { what: "x".to_owned(), exempt }];
        assert!(judge(&[], true).is_ok());
        assert!(judge(&skip(None), false).is_ok());
        assert!(judge(&skip(None), true).is_err());
        assert!(judge(&skip(Some(NO_NIGHTLY)), true).is_ok());
    }
}
