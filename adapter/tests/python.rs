//! The example of an adapter in Python: it passes the whole check, killed in every phase, while clients write and read,
//! and no write that was acknowledged is lost.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/running.rs"]
#[expect(dead_code, reason = "it also starts adapters of this crate")]
mod running;

use isotherm_adapter::check::{Finding, Options};
use isotherm_tests::skip::skipped;
use isotherm_tests::tools::Tools;
use isotherm_tests::workspace;
use running::{Running, free_port};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// The example, its interpreter, and a cluster of four nodes with three partitions that have two replicas each.
struct Example {
    python: PathBuf,
    folder: TempDir,
}

impl Example {
    /// With stubs that are made from the contract of this workspace; says that it is skipped where there is no gRPC.
    fn make(test: &str) -> Option<Self> {
        let python = Tools::locate().example_python();
        let python = python.inspect_err(|error| skipped(test, &format!("{error:#}"))).ok()?;
        let example = Self { python, folder: TempDir::new().unwrap() };
        let stubs = example.path("stubs");
        fs::create_dir(&stubs).unwrap();
        let mut protoc = example.python(&["-m", "grpc_tools.protoc", "-I"]);
        protoc.arg(workspace::root().join("proto")).arg(format!("--python_out={}", stubs.display()));
        protoc.arg(format!("--grpc_python_out={}", stubs.display()));
        protoc.args(["isotherm/adapter/v1/adapter.proto", "isotherm/adapter/v1/migration.proto"]);
        assert!(protoc.status().unwrap().success());
        assert!(example.client(&["create", "--bytes", "20000"]).status().unwrap().success());
        Some(example)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The interpreter; what it compiles does not go to the sources.
    fn python(&self, args: &[&str]) -> Command {
        let mut python = Command::new(&self.python);
        python.args(args).env("PYTHONPYCACHEPREFIX", self.path("compiled"));
        python
    }

    fn client(&self, args: &[&str]) -> Command {
        let mut client = self.python(&[]);
        client.arg(source("client.py")).arg(self.path("cluster")).args(args);
        client
    }

    fn adapter(&self, listen: &str) -> Command {
        let mut adapter = self.python(&[]);
        adapter.arg(source("adapter.py")).arg(self.path("cluster")).arg("--data").arg(self.path("data"));
        adapter.args(["--listen", listen]).env("PYTHONPATH", self.path("stubs"));
        adapter
    }

    /// Clients that write and read until they are asked what came of it.
    fn load(&self) -> Child {
        let mut load = self.client(&["load"]);
        load.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }

    /// Serves; the folder goes with what serves.
    fn serve(self) -> Running {
        let port = free_port();
        let adapter = self.adapter(&format!("127.0.0.1:{port}"));
        let variables: String = adapter
            .get_envs()
            .map(|(name, value)| format!("{}={:?} ", name.display(), value.unwrap_or_default()))
            .collect();
        let args: Vec<String> = adapter.get_args().map(|arg| format!("{arg:?}")).collect();
        let command = format!("{variables}{:?} {}", self.python, args.join(" "));
        Running::launch(self.folder, port, &command)
    }
}

fn source(name: &str) -> PathBuf {
    workspace::root().join("examples/adapter-python").join(name)
}

fn listed(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn it_passes_the_whole_check_under_clients_and_loses_no_write() {
    let Some(example) = Example::make("it_passes_the_whole_check_under_clients_and_loses_no_write") else {
        return;
    };
    // A replica of p3 is lost with its node, for the repair.
    fs::rename(example.path("cluster/nodes/n4"), example.path("n4-is-away")).unwrap();
    let load = example.load();
    let running = example.serve();
    let report = running.check(Options::default());
    let whole = report.checks.iter().all(|checked| checked.finding == Finding::Ok);
    assert!(whole, "{report}\n{}", running.log());

    // Its stdin is closed by this.
    let told = load.wait_with_output().unwrap().stdout;
    let told: Value = serde_json::from_slice(&told).unwrap();
    assert!(told["acknowledged"].as_u64() > Some(100), "{told}");
    assert!(told["refused"].as_u64() > Some(0), "writes were stopped, and no client saw it: {told}");
    assert_eq!((&told["lost"], &told["bad_reads"]), (&Value::from(0), &Value::from(0)), "{told}");

    let cluster = running.folder.path().join("cluster");
    let replicas: usize =
        ["n1", "n2", "n3"].map(|node| listed(&cluster.join("nodes").join(node)).len()).iter().sum();
    assert_eq!(replicas, 6, "three partitions have two replicas each, and nothing else is there");
    for partition in ["p1", "p2", "p3"] {
        assert_eq!(listed(&cluster.join("partitions").join(partition)), ["lock", "map.json"]);
    }
}

#[test]
fn what_cannot_be_served_is_refused_with_the_reason() {
    let Some(example) = Example::make("what_cannot_be_served_is_refused_with_the_reason") else { return };
    let refused = |adapter: &mut Command| {
        let output = adapter.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let open = refused(&mut example.adapter("0.0.0.0:7710"));
    assert!(open.contains("0.0.0.0:7710 is not an address of this host"), "{open}");
    let mut second = example.adapter("127.0.0.1:0");
    let running = example.serve();
    let second = refused(&mut second);
    assert!(second.contains("is another adapter running with this folder?"), "{second}");
    drop(running);
}
