//! The real agent against the real analyzer, which is killed again and again, or loses its data: nothing is
//! counted twice, and nothing is missing without a word.

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

/// More than a few of the longest pauses between an agent's attempts, 45 s.
const LIMIT: Duration = Duration::from_secs(180);

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

/// Agent, analyzer and a load under watch.
struct Scene {
    folder: TempDir,
    generator: Generator,
    analyzer: Child,
    address: String,
    agent: Child,
}

impl Scene {
    /// `None`, told as skipped, where the rights are missing.
    fn start(test: &str) -> Option<Self> {
        if let Err(missing) = rights::check() {
            skipped(test, &missing.to_string());
            return None;
        }
        let parent = target_dir().join("tmp");
        std::fs::create_dir_all(&parent).unwrap();
        let folder = TempDir::new_in(parent).unwrap();
        let truth = Path::new(env!("CARGO_BIN_EXE_truth"));
        let mut generator = Generator::start(truth, folder.path(), "steady").unwrap();
        let (analyzer, status) = analyzer(folder.path(), "127.0.0.1:0");
        let address = status.strip_prefix("listening on ").unwrap().to_owned();
        let config = folder.path().join("agent.toml");
        let text = format!(
            "[agent]\nwindow = \"200ms\"\n[analyzer]\nendpoint = \"http://{address}\"\n[spool]\ndir = \"{}\"\n\
             [[target]]\nsystem = \"truth\"\nnode = \"n\"\nselect = {{ pid = {} }}\n[[target.rule]]\n\
             path = '/(shared)$'\npartition = \"$1\"\n",
            folder.path().join("spool").display(),
            generator.pid()
        );
        std::fs::write(&config, text).unwrap();
        let mut run = command("isotherm-agent");
        let (agent, status) =
            started("isotherm-agent", folder.path(), run.arg("run").arg("--config").arg(&config));
        assert_eq!(status, "watching 1 processes of 1 targets");
        generator.go().unwrap();
        Some(Self { folder, generator, analyzer, address, agent })
    }

    /// Polls until the analyzer has more reads than before.
    fn more_than(&mut self, seen: u64) -> u64 {
        wait_for("new reads", LIMIT, || {
            self.analyzer.ensure_alive()?;
            Ok(reads(&self.address).filter(|now| *now > seen))
        })
        .unwrap()
    }

    fn restart_analyzer(&mut self) {
        self.analyzer.kill();
        self.analyzer = analyzer(self.folder.path(), &self.address).0;
    }

    /// Ends the load; returns the reads that were really done.
    fn end_load(&mut self) -> u64 {
        self.generator.go().unwrap();
        self.generator.done(|| Ok(())).unwrap().counts("shared", false).0
    }

    /// Ends the agent, which then delivers for a few seconds only.
    fn end_agent(&mut self) {
        self.agent.signal(nix::sys::signal::Signal::SIGTERM).unwrap();
        let status = wait_for("the agent to deliver the rest", LIMIT, || self.agent.ended()).unwrap();
        assert!(status.success(), "{status}\n{}", self.agent.log_tail());
    }
}

#[test]
fn an_analyzer_that_is_killed_again_and_again_counts_everything_once() {
    let name = "an_analyzer_that_is_killed_again_and_again_counts_everything_once";
    let Some(mut scene) = Scene::start(name) else { return };
    let mut seen = 0;
    for kill in 0..KILLS {
        // It has committed something new, and is in the middle of more.
        seen = scene.more_than(seen);
        let midway = Instant::now() + Duration::from_millis(70 * kill as u64);
        wait_for("a moment between windows", LIMIT, || Ok((Instant::now() >= midway).then_some(()))).unwrap();
        scene.restart_analyzer();
        assert!(reads(&scene.address).unwrap() >= seen, "what was answered before the kill is still there");
    }
    let truth = scene.end_load();
    assert!(truth > 500, "{truth} reads are too few to prove anything");
    scene.more_than(truth - 1);
    scene.end_agent();
    assert_eq!(reads(&scene.address), Some(truth), "{}", scene.agent.log_tail());
}

#[test]
fn an_analyzer_that_lost_its_data_goes_on_from_there() {
    let Some(mut scene) = Scene::start("an_analyzer_that_lost_its_data_goes_on_from_there") else { return };
    let lost = scene.more_than(200);
    scene.analyzer.kill();
    std::fs::remove_dir_all(scene.folder.path().join("data")).unwrap();
    scene.restart_analyzer();
    scene.more_than(200);
    let truth = scene.end_load();
    scene.end_agent();
    let counted = reads(&scene.address).unwrap();
    assert!(counted <= truth - lost, "{counted} of {truth}, of which at least {lost} are gone");
    let log = std::fs::read_to_string(scene.folder.path().join("isotherm-agent.log")).unwrap();
    assert!(log.contains("that it had acknowledged; a gap is recorded"), "{log}");
}
