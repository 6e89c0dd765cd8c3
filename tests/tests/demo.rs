//! The demo as a user runs it: it ends with counts equal to the truth, and leaves nothing behind however it
//! ends.
//!
//! These tests take the programs as they were built: `cargo xtask test` builds them, so does
//! `cargo build --workspace --bins`.

#![allow(clippy::unwrap_used, reason = "the whole file is a test")]

use isotherm_tests::kernel::{orphaned_programs, programs};
use isotherm_tests::process::{Child, spawn, wait_for};
use isotherm_tests::skip::skipped;
use isotherm_tests::workspace;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// From the start to the first phase, and from a signal to the end; a debug build on two busy cores.
const LIMIT: Duration = Duration::from_secs(90);

/// The exit code for want of rights.
const DENIED: i32 = 7;

/// What the story must show at its end.
const CHECKS: usize = 9;

/// What the names of the agent's kernel programs begin with.
const PROGRAM_PREFIX: &str = "iso_";

/// Clusters share two cores with nobody, least of all with each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A demo in a folder of its own, whose processes are known by a mark in their environment.
struct Demo {
    _turn: MutexGuard<'static, ()>,
    folder: tempfile::TempDir,
    mark: String,
}

impl Demo {
    fn new(name: &str) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let mark = format!("ISOTHERM_LAB={name}-{}", std::process::id());
        Self { _turn: turn, folder: tempfile::tempdir().unwrap(), mark }
    }

    fn command(&self, args: &[&str]) -> Command {
        let (name, value) = self.mark.split_once('=').unwrap();
        let mut command = Command::new(workspace::program("xtask"));
        command.args(["demo", "--no-build", "--dir"]).arg(self.folder.path().join("demo")).args(args);
        command.env(name, value).current_dir(workspace::root()).stdin(Stdio::null());
        command
    }

    fn start(&self) -> Child {
        spawn("demo", &mut self.command(&[]), &self.folder.path().join("log")).expect("xtask was built")
    }

    /// Processes with the mark, as `PID NAME`; the demo itself and all that it started.
    fn processes(&self) -> Vec<String> {
        let pids = fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter_map(|pid| self.describe(pid)).collect()
    }

    fn describe(&self, pid: u32) -> Option<String> {
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let marked = environment.split(|byte| *byte == 0).any(|entry| entry == self.mark.as_bytes());
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        marked.then(|| format!("{pid} {}", name.trim()))
    }

    /// Waits until cluster, analyzer and agent run and kernel programs are loaded. `None` where the rights are missing.
    fn wait_until_set(&self, child: &mut Child) -> Option<()> {
        wait_for("the demo to run everything", LIMIT, || {
            if let Some(status) = child.ended()? {
                return Ok(Some(if status.code() == Some(DENIED) {
                    None
                } else {
                    panic!("ended: {status}\n{}", child.log_tail())
                }));
            }
            let running = self.processes();
            let count = |name: &str| running.iter().filter(|process| process.ends_with(name)).count();
            let all = count(" weed") == 5 && count(" isotherm") == 1 && count(" isotherm-agent") == 1;
            // Looking at the kernel's programs takes a right that a demo which refuses to start lacks, too.
            let set = all && programs()?.iter().any(|program| program.name.starts_with(PROGRAM_PREFIX));
            Ok(set.then_some(Some(())))
        })
        .unwrap()
    }

    fn wait_until_gone(&self) {
        let gone = wait_for("every process to end", LIMIT, || Ok(self.processes().is_empty().then_some(())));
        assert!(gone.is_ok(), "left behind: {:?}", self.processes());
    }

    /// The kernel clears a loop device when its last user is gone. The images of others lie elsewhere.
    fn assert_no_disk_left(&self) {
        let images = workspace::target_dir().join("tmp");
        let images = images.canonicalize().unwrap_or(images);
        let left = || -> Vec<String> {
            let devices = fs::read_dir("/sys/block").unwrap().flatten();
            let backed =
                devices.filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok());
            backed.filter(|file| file.starts_with(&*images.to_string_lossy())).collect()
        };
        let gone = wait_for("the disk to go", LIMIT, || Ok(left().is_empty().then_some(())));
        assert!(gone.is_ok(), "left behind: {:?}", left());
    }

    /// The kernel frees a program a moment after the last descriptor of it is closed. Programs of agents
    /// that others run are held by those agents.
    fn assert_no_program_left(&self) {
        let orphans = || orphaned_programs(PROGRAM_PREFIX);
        let gone = wait_for("kernel programs to be freed", LIMIT, || Ok(orphans()?.is_empty().then_some(())));
        assert!(gone.is_ok(), "left in the kernel: {:?}", orphans());
    }
}

fn ended_for_want_of_rights(name: &str, output: &Output) -> bool {
    let denied = output.status.code() == Some(DENIED);
    if denied {
        skipped(name, String::from_utf8_lossy(&output.stderr).trim());
    }
    denied
}

fn counted(compared: &Value) -> u64 {
    compared["counted"].as_u64().unwrap()
}

#[test]
fn counts_and_entropies_equal_the_truth() {
    let demo = Demo::new("once");
    let output = demo.command(&["--once", "-o", "json"]).output().expect("xtask was built");
    if ended_for_want_of_rights("counts_and_entropies_equal_the_truth", &output) {
        return;
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{errors}\n{said}", output.status);
    let report: Value = serde_json::from_slice(&output.stdout).expect("stdout is one JSON document");
    assert_eq!(report["equal"], true, "{said}");
    let phases = report["phases"].as_array().unwrap();
    assert_eq!(phases.len(), 2, "{said}");
    for phase in phases {
        for layer in ["logical", "device", "network"] {
            assert_eq!(phase[layer]["equal"], true, "{layer}: {said}");
        }
        let volumes = phase["logical"]["volumes"].as_array().unwrap();
        assert_eq!(volumes.len(), 16, "eight volumes, two nodes each: {said}");
        let sum = |what: &str| volumes.iter().map(|line| counted(&line[what])).sum::<u64>();
        let (reads, writes) = (sum("reads"), sum("writes"));
        assert!(reads > 10_000 && writes > 1_000, "{said}");
        assert!(reads.abs_diff(writes / 2 * 19) <= 19, "a PUT, on two nodes, for 19 GETs: {said}");
        let [read, written] = ["read", "written"].map(|way| counted(&phase["device"][way]["bytes"]));
        assert!(read > 0 && written >= 600 * 16_384, "the disk did nothing: {said}");
        let clients = phase["network"]["clients"].as_array().unwrap();
        assert_eq!(clients.len(), 16, "four clients, four nodes: {said}");
        assert!(clients.iter().all(|line| counted(&line["accepts"]) > 0), "{said}");
        assert!(!phase["network"]["replication"].as_array().unwrap().is_empty(), "{said}");
    }
    let risks = report["risks"].as_array().unwrap();
    assert_eq!(risks.len(), 8, "one for each volume: {said}");
    for risk in risks {
        let exposure: f64 = risk["holders"]
            .as_array()
            .unwrap()
            .iter()
            .map(|holder| {
                let [share, hazard, overload] =
                    ["share", "hazard", "overload"].map(|key| holder[key].as_f64().unwrap_or(0.0));
                hazard * (share / 0.2).min(1.0) * (1.0 + overload)
            })
            .sum();
        let said = risk["exposure_per_hour"].as_f64().unwrap();
        assert!(said >= exposure * (1.0 - 1e-9), "domains may add to it: {risk}");
        assert!(risk["forecast"].is_object() && risk["risk"].as_f64().unwrap() > 0.0, "{risk}");
    }
    assert_eq!(
        (&report["acked_writes_lost"], &report["client_errors_moved"]),
        (&0.into(), &0.into()),
        "{said}"
    );
    assert!(report["client_errors_held_out"].as_u64().unwrap() > 0, "{said}");
    let checks = report["checks"].as_array().unwrap();
    assert_eq!(checks.len(), CHECKS, "{said}");
    for check in checks {
        assert!(check["ok"] == true && !check["found"].as_str().unwrap().is_empty(), "{check}\n{said}");
    }
    let story = &report["story"];
    assert!(story["acked_writes"].as_u64().unwrap() > 100, "{said}");
    let count = |list: &Value| list.as_array().unwrap().len();
    let (moved, held_out) = (count(&story["moved"]), count(&story["held_out"]));
    let migrations = story["migrations"].as_array().unwrap();
    let repairs = migrations.iter().filter(|one| one["repair"] == true).count();
    assert_eq!((migrations.len() - repairs, repairs), (moved, held_out), "{said}");
    demo.wait_until_gone();
    demo.assert_no_disk_left();
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    ended_by(Signal::SIGINT, "an_interrupted_demo_leaves_nothing_behind");
}

#[test]
fn a_killed_demo_leaves_nothing_behind() {
    ended_by(Signal::SIGKILL, "a_killed_demo_leaves_nothing_behind");
}

fn ended_by(signal: Signal, name: &str) {
    let demo = Demo::new(signal.as_str());
    let mut child = demo.start();
    if demo.wait_until_set(&mut child).is_none() {
        return skipped(name, "the rights for eBPF or namespaces are missing");
    }
    child.signal(signal).unwrap();
    let status = wait_for("the demo to end", LIMIT, || child.ended()).unwrap();
    assert_eq!(status.success(), signal == Signal::SIGINT, "{status}");
    demo.wait_until_gone();
    demo.assert_no_disk_left();
    demo.assert_no_program_left();
}

#[test]
fn a_second_demo_in_the_same_folder_names_the_first() {
    let demo = Demo::new("second");
    let mut first = demo.start();
    if demo.wait_until_set(&mut first).is_none() {
        return skipped("a_second_demo_in_the_same_folder_names_the_first", "rights are missing");
    }
    let second = demo.command(&["--once"]).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("process {}", first.pid())), "{said}");
    first.signal(Signal::SIGTERM).unwrap();
    wait_for("the first demo to end", LIMIT, || first.ended()).unwrap();
    demo.wait_until_gone();
}
