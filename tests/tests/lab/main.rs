//! The lab itself: what it starts works, and ends with it.

#![allow(clippy::unwrap_used, reason = "the whole file is a test")]

mod fio;
mod io;
mod sockets;
mod volume;

use isotherm_tests::load::{Load, Skew, Truth};
use isotherm_tests::netns::Namespace;
use isotherm_tests::notify::Notify;
use isotherm_tests::process::{spawn, wait_for};
use isotherm_tests::seaweed::{Cluster, fill};
use isotherm_tests::skip::skipped;
use isotherm_tests::tools::Tools;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);

fn exists(pid: u32) -> bool {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), None).is_ok()
}

#[test]
fn a_child_dies_with_the_thread_that_spawned_it() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let spawned = thread::spawn(move || spawn("sleep", Command::new("sleep").arg("1000"), &log).unwrap());
    let mut child = spawned.join().unwrap();
    wait_for("the child to end", LIMIT, || child.ended()).unwrap();
}

#[test]
fn dropping_a_child_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let child = spawn("sleep", Command::new("sleep").arg("1000"), &folder.path().join("log")).unwrap();
    let pid = child.pid();
    assert!(exists(pid));
    drop(child);
    assert!(!exists(pid));
}

#[test]
fn a_child_that_fails_before_it_is_ready_shows_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut notify = Notify::bind(folder.path(), "child").unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "echo no such volume; exit 3"]);
    notify.announce(&mut command);
    let mut child = spawn("sh", &mut command, &folder.path().join("log")).unwrap();
    let error = notify.wait_ready(&mut child, LIMIT).unwrap_err().to_string();
    assert!(error.contains("no such volume") && error.contains('3'), "{error}");
}

#[test]
fn every_object_is_read_from_both_of_its_nodes() {
    let name = "every_object_is_read_from_both_of_its_nodes";
    let tools = Tools::locate();
    if let Err(missing) = tools.weed() {
        return skipped(name, &missing.to_string());
    }
    let namespace = match Namespace::new() {
        Ok(namespace) => namespace,
        Err(error) => return skipped(name, &format!("{error:#}")),
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_path_buf();
    let cluster = namespace.run(move || Cluster::start(&tools, &path, &path)).unwrap().unwrap();
    let racks: BTreeSet<(String, &str)> = cluster.nodes().iter().map(|n| (n.name.clone(), n.rack)).collect();
    let volumes: Arc<[_]> = {
        let nodes = cluster.nodes().to_vec();
        namespace.run(move || fill(&nodes, 1, 4, 5, 1_000))
    }
    .unwrap()
    .unwrap()
    .into();
    for volume in &*volumes {
        let homes: BTreeSet<_> =
            racks.iter().filter(|(node, _)| volume.nodes.contains(node)).map(|(_, rack)| rack).collect();
        assert_eq!(homes.len(), 2, "volume {} lies on one rack: {:?}", volume.id, volume.nodes);
    }
    // The store places volumes by chance, so that a node may have none.
    let used: BTreeSet<String> = volumes.iter().flat_map(|volume| &volume.nodes).cloned().collect();
    let truth = Truth::new(Arc::clone(&volumes)).unwrap();
    let put_every = NonZeroU64::new(10);
    let load =
        Load { volumes, skew: Skew::Vanished, seed: 1, requests: 400, put_every, rate_per_second: 1e6 };
    let seen = truth.clone();
    namespace.run(move || load.run(&seen, &Arc::new(AtomicBool::new(false)))).unwrap().unwrap();
    assert_eq!(truth.total(), 400);
    let rows = truth.rows();
    assert!(rows.iter().all(|row| row.gets > 0));
    assert_eq!(rows.iter().map(|row| row.puts).sum::<u64>(), 40);
    assert_eq!(rows.iter().map(|row| row.writes).sum::<u64>(), 80, "each on two nodes");
    let traffic = truth.traffic();
    // Whoever is free takes the next request, so a client need not have come to every node.
    let reached: BTreeSet<_> = traffic.iter().map(|traffic| &traffic.server).collect();
    assert_eq!(reached.len(), used.len(), "{used:?}: {traffic:?}");
    assert!(traffic.len() <= 4 * used.len(), "four clients: {traffic:?}");
    let sent: u64 = traffic.iter().map(|traffic| traffic.sent_bytes).sum();
    let received: u64 = traffic.iter().map(|traffic| traffic.received_bytes).sum();
    assert!(sent > 40 * 1_000 && received > 360 * 1_000, "{traffic:?}");
    drop(cluster);
}
