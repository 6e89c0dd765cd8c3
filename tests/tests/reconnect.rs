//! The real agent against the real analyzer, which is killed again and again: nothing is counted twice, and
//! nothing is missing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use isotherm_agent::rights;
use isotherm_tests::notify::Notify;
use isotherm_tests::process::{Child, spawn, wait_for};
use isotherm_tests::skip::skipped;
use isotherm_tests::truth::Generator;
use isotherm_tests::workspace::{program, target_dir};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(30);

/// How often the analyzer is killed.
const KILLS: usize = 4;

fn command(name: &str) -> Command {
    let path = program(name);
    assert!(path.exists(), "{} is not built: cargo build --workspace --bins", path.display());
    Command::new(path)
}

/// Starts a program that tells when it is ready, and what it then says of itself.
fn started(name: &str, folder: &Path, command: &mut Command) -> (Child, String) {
    let mut notify = Notify::bind(folder, name).unwrap();
    notify.announce(command);
    let mut child = spawn(name, command, &folder.join(format!("{name}.log"))).unwrap();
    notify.wait_ready(&mut child, LIMIT).unwrap();
    (child, notify.status().unwrap_or_default().to_owned())
}

fn analyzer(folder: &Path, listen: &str) -> (Child, String) {
    let data = folder.join("data");
    started(
        "isotherm",
        folder,
        command("isotherm").args(["serve", "--listen", listen, "--data-dir"]).arg(data),
    )
}

fn reads(address: &str) -> Option<u64> {
    let output = command("isotherm")
        .args(["get", "partitions", "-o", "json", "--server", &format!("http://{address}")])
        .output()
        .unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).ok()?;
    let partitions = answer["partitions"].as_array()?;
    Some(
        partitions
            .iter()
            .flat_map(|partition| partition["nodes"].as_array())
            .flatten()
            .filter_map(|node| node["reads"].as_u64())
            .sum(),
    )
}

#[test]
fn an_analyzer_that_is_killed_again_and_again_counts_everything_once() {
    let name = "an_analyzer_that_is_killed_again_and_again_counts_everything_once";
    if let Err(missing) = rights::check() {
        return skipped(name, &missing.to_string());
    }
    let parent = target_dir().join("tmp");
    std::fs::create_dir_all(&parent).unwrap();
    let folder = TempDir::new_in(parent).unwrap();
    let mut generator =
        Generator::start(Path::new(env!("CARGO_BIN_EXE_truth")), folder.path(), "steady").unwrap();

    let (mut running, status) = analyzer(folder.path(), "127.0.0.1:0");
    let address = status.strip_prefix("listening on ").unwrap().to_owned();
    let config = folder.path().join("agent.toml");
    let text = format!(
        "[agent]\nwindow = \"200ms\"\n[analyzer]\nendpoint = \"http://{address}\"\n[[target]]\nsystem = \"truth\"\n\
         node = \"n\"\nselect = {{ pid = {} }}\n[[target.rule]]\npath = '/(shared)$'\npartition = \"$1\"\n",
        generator.pid()
    );
    std::fs::write(&config, text).unwrap();
    let (mut agent, status) = started(
        "isotherm-agent",
        folder.path(),
        command("isotherm-agent").arg("run").arg("--config").arg(&config),
    );
    assert_eq!(status, "watching 1 processes of 1 targets");

    generator.go().unwrap();
    let mut seen = 0;
    for kill in 0..KILLS {
        // It has committed something new, and is in the middle of more.
        wait_for("new reads", LIMIT, || {
            running.ensure_alive()?;
            Ok(reads(&address).filter(|now| *now > seen).map(|now| seen = now))
        })
        .unwrap();
        let midway = Instant::now() + Duration::from_millis(70 * kill as u64);
        wait_for("a moment between windows", LIMIT, || Ok((Instant::now() >= midway).then_some(()))).unwrap();
        running.kill();
        (running, _) = analyzer(folder.path(), &address);
        assert!(reads(&address).unwrap() >= seen, "what was answered before the kill is still there");
    }

    generator.go().unwrap();
    let truth = generator.done(|| Ok(())).unwrap();
    agent.signal(nix::sys::signal::Signal::SIGTERM).unwrap();
    let status = wait_for("the agent to deliver the rest", LIMIT, || agent.ended()).unwrap();
    assert!(status.success(), "{status}\n{}", agent.log_tail());
    let (ops, _) = truth.counts("shared", false);
    assert!(ops > 500, "{ops} reads are too few to prove anything");
    assert_eq!(reads(&address), Some(ops), "{}", agent.log_tail());
    drop(running);
}
