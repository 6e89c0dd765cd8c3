//! The check against the simulated store: an adapter that is right passes in all its shapes, also when it is killed
//! in every phase, and each flaw is found.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/running.rs"]
mod running;

use isotherm_adapter::check::{Finding, Options};
use running::{ADAPTER, Running};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A simulated cluster of three small partitions.
fn simulated(store: &str) -> Running {
    let table =
        format!("{store}\nstate = \"cluster.sqlite\"\nlatency = \"1ms\"\npartitions = 3\nblocks = 24\n");
    Running::start("simulated", &table)
}

fn passes(store: &str, skipped: &[&str]) {
    let running = simulated(store);
    let report = running.check(Options::default());
    assert!(report.is_good(), "{report}\n{}", running.log());
    let left_out: Vec<&str> = report
        .checks
        .iter()
        .filter(|checked| matches!(checked.finding, Finding::Skipped(_)))
        .map(|checked| checked.check)
        .collect();
    assert_eq!(left_out, skipped, "{report}");
}

#[test]
fn an_adapter_that_fences_at_the_switch_passes_with_clients_and_faults() {
    passes("kind = \"at_switch\"\nwrites_per_s = 100\nrefuse_percent = 8\nseed = 3", &["repair"]);
}

#[test]
fn an_adapter_that_fences_before_the_copy_passes_and_repairs() {
    let store = "kind = \"before_copy\"\nshift_reads = \"drain\"\ndown = [\"n4\"]\nwrites_per_s = 100";
    passes(store, &[]);
}

#[test]
fn an_engine_that_switches_by_itself_passes() {
    passes("kind = \"engine_atomic\"\nwrites_per_s = 100", &["warrant", "fence", "repair"]);
}

#[test]
fn every_flaw_is_found_by_the_story_that_is_about_it() {
    for (flaw, found_by) in [
        ("forgets-requests", "other content"),
        ("skips-terms", "stale term"),
        ("skips-epochs", "stale epoch"),
        ("commits-blindly", "warrant"),
        ("hides-fence", "fence"),
        ("progress-falls", "progress"),
        ("abort-leaves-copy", "abort"),
        ("retire-leaves-source", "move"),
        ("forgets-at-start", "crash"),
    ] {
        let running = simulated(&format!("kind = \"at_switch\"\nflaw = {flaw:?}"));
        let report = running.check(Options { only: vec![found_by.to_owned()], ..Options::default() });
        assert_eq!(report.failures(), [found_by], "{flaw} is not found:\n{report}");
    }
}

#[test]
fn a_second_adapter_of_the_same_folder_is_told_so() {
    let running = simulated("kind = \"at_switch\"");
    let folder = running.folder.path();
    let config = fs::read_to_string(folder.join("adapter.toml")).unwrap();
    let listen = config.lines().find(|line| line.starts_with("listen")).unwrap();
    fs::write(folder.join("second.toml"), config.replace(listen, "listen = \"127.0.0.1:0\"")).unwrap();
    let (code, error) = refused(&folder.join("second.toml"));
    assert_eq!(code, Some(1));
    assert!(error.contains("is in use by process"), "{error}");
}

#[test]
fn a_wrong_file_is_refused_with_line_and_key() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("adapter.toml");
    let head = "system = \"demo\"\ndata = \"data\"\n";
    for (rest, says) in [
        ("[store]\nkind = \"at_once\"\n", "adapter.toml:4: kind: unknown variant"),
        ("[store]\ncolour = 1\n", "adapter.toml:4: colour: unknown field"),
        ("[store]\nnodes = 3\nreplicas = 3\n", "adapter.toml:5: store.replicas: 3 is not within 1 and 2"),
        ("[store]\ndown = [\"n9\"]\n", "adapter.toml:4: store.down: \"n9\" is no node"),
        ("listen = \"0.0.0.0:7700\"\n[store]\n", "adapter.toml:3: listen: 0.0.0.0:7700 can be reached"),
        ("", "adapter.toml:1: system: missing field `store`"),
    ] {
        fs::write(&file, format!("{head}{rest}")).unwrap();
        let (code, error) = refused(&file);
        assert_eq!(code, Some(1), "{rest}");
        assert!(error.contains(says), "{rest} is refused with {error}");
    }
}

fn refused(config: &Path) -> (Option<i32>, String) {
    let mut adapter = Command::new(ADAPTER);
    let adapter: &mut Command = adapter.args(["simulated", "--config"]).arg(config);
    let child: Child = adapter.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}
