//! What isotherm does by itself after a node has failed, with the real programs: the analyzer, its CLI, an adapter whose
//! cluster is simulated and outlives it, and an agent's telemetry. What a test asks in the end is the cluster itself.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod scene;

use scene::Scene;
use serde_json::Value;
use support::command::{code, stderr, stdout};

/// Acts two seconds after a node went down.
const AUTO: &str = "mode = \"auto\"\nwait = \"2s\"\n";

/// Long enough to be caught in the middle of a copy.
const SLOW: &str = "blocks = 200\nlatency = \"25ms\"\nwrites_per_s = 40\n";

fn failure<'a>(status: &'a Value, node: &str) -> Option<&'a Value> {
    let name = format!("seaweedfs/{node}");
    status["failures"].as_array().into_iter().flatten().find(|failure| failure["node"] == name)
}

fn stands(scene: &Scene, node: &str) -> String {
    let status = scene.status();
    let standing = failure(&status, node).map(|failure| failure["standing"].as_str().unwrap().to_owned());
    standing.unwrap_or_default()
}

/// Waits until an agent has been heard of all nodes, as otherwise nobody could say that one of them has no process any more.
fn heard(scene: &Scene, nodes: usize) {
    scene.until("all nodes are reported", || {
        let nodes_now: Value =
            serde_json::from_str(&stdout(&scene.ask(&["get", "nodes", "-o", "json"]))).unwrap();
        let all = nodes_now["nodes"].as_array().unwrap();
        all.iter().filter(|node| node["processes"] == 1).count() >= nodes
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_held_is_made_again_also_if_the_analyzer_dies_meanwhile() {
    let mut scene = Scene::new(4, SLOW, AUTO);
    scene.watch();
    heard(&scene, 4);
    let held: Vec<String> =
        Scene::partitions().filter(|partition| scene.holders(partition).contains("n1")).collect();
    assert_eq!(held.len(), 4);
    scene.set_up("n1", false);
    scene.until("a repair is under way", || !scene.migrations().is_empty());
    scene.kill_analyzer();
    scene.restore();
    scene.until("all is made again", || scene.is_whole_without(&["n1"]));
    for migration in scene.migrations() {
        assert_eq!((&migration["repair"], &migration["trigger"]), (&true.into(), &"failure".into()));
        assert_eq!((&migration["who"], &migration["source"]), (&"isotherm".into(), &"seaweedfs/n1".into()));
        let reason = migration["reason"].as_str().unwrap();
        assert!(
            reason.contains("the topology says that it is down, and its agent sees no process"),
            "{reason}"
        );
    }
    scene.until("all have ended", || scene.migrations().iter().all(|one| one["phase"] == "COMPLETED"));
    assert_eq!(scene.migrations().len(), held.len(), "each is made again once");
    // Nodes 1 and 4 share a rack. What lay in two racks does again.
    for partition in held {
        let holders = scene.holders(&partition);
        let racks: std::collections::BTreeSet<u32> =
            holders.iter().map(|node| node[1..].parse::<u32>().unwrap() % 3).collect();
        assert_eq!(racks.len(), 2, "{partition} on {holders:?}");
    }
    scene.until("nothing is missing", || {
        let status = scene.status();
        failure(&status, "n1").is_some_and(|n1| (&n1["lost"], &n1["missing"]) == (&4.into(), &0.into()))
    });
    scene.told(&["seaweedfs/n1 is down", "4 partitions had a replica on it"]);
    // It comes back with what it had: those replicas are none any more, and its failure is over.
    scene.set_up("n1", true);
    scene.told(&["the failure of seaweedfs/n1 is over"]);
    scene.copies_are_equal();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_back_within_the_wait_needs_nothing() {
    let scene = Scene::new(4, "", "mode = \"auto\"\nwait = \"8s\"\n");
    scene.watch();
    heard(&scene, 4);
    scene.set_up("n2", false);
    scene.until("it is known to be down", || stands(&scene, "n2") == "waits");
    scene.told(&["does not make again what seaweedfs/n2 held", "it has to be down for 8s"]);
    scene.set_up("n2", true);
    scene.told(&["the failure of seaweedfs/n2 is over"]);
    std::thread::sleep(std::time::Duration::from_secs(8));
    assert_eq!(scene.migrations(), Vec::<Value>::new());
    assert!(stdout(&scene.ask(&["repair", "status"])).contains("no node has failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_failures_open_the_breaker_until_somebody_closes_it() {
    let mut scene = Scene::new(6, "", AUTO);
    scene.watch();
    heard(&scene, 6);
    scene.set_up("n1", false);
    scene.set_up("n4", false);
    scene.until("the breaker is open", || scene.status()["breaker"]["open"] == true);
    scene.told(&["the breaker of repairs of seaweedfs opens", "2 nodes have failed"]);
    scene.until("both are confirmed", || {
        stands(&scene, "n1") == "confirmed" && stands(&scene, "n4") == "confirmed"
    });
    // It is as open after a start.
    scene.kill_analyzer();
    scene.restore();
    scene.until("it is known again", || scene.status()["breaker"]["open"] == true);
    scene.told(&["would make again what seaweedfs/n4 held", "the breaker of repairs is open"]);
    assert_eq!(scene.migrations(), Vec::<Value>::new(), "{}", scene.logs());

    let mute = scene.ask(&["repair", "resume", "--yes"]);
    assert_eq!(code(&mute), Some(2), "{}", stderr(&mute));
    let resume = ["repair", "resume", "--reason", "a switch was replaced", "--who", "ann"];
    let tried = stdout(&scene.ask(&resume));
    assert!(tried.contains("repairs of seaweedfs would begin again; nothing was done"), "{tried}");
    assert_eq!(scene.status()["breaker"]["open"], true, "without --yes it stays open");
    let elsewhere = scene.ask(&[&resume[..], &["--system", "nobody"]].concat());
    assert_eq!(code(&elsewhere), Some(3), "{}", stderr(&elsewhere));
    scene.done(&[&resume[..], &["--yes"]].concat());
    scene.until("all is made again", || scene.is_whole_without(&["n1", "n4"]));
    scene.told(&["ann", "resume repairs of seaweedfs", "a switch was replaced"]);
    for yes in [&[][..], &["--yes"]] {
        let again = scene.ask(&[&["repair", "resume", "--reason", "again"], yes].concat());
        assert_eq!(code(&again), Some(4), "{}", stderr(&again));
        assert!(stderr(&again).contains("closed already"), "{}", stderr(&again));
    }
    scene.copies_are_equal();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_begun_on_one_signal_nor_on_purpose_nor_while_it_is_paused() {
    let scene = Scene::new(4, "", AUTO);
    // Nobody watches the nodes: the topology alone is not enough.
    scene.tell_up("n1", false);
    scene.until("only one says so", || stands(&scene, "n1") == "one signal");
    scene.told(&["does not make again what seaweedfs/n1 held", "only the topology says so"]);
    scene.tell_up("n1", true);
    scene.told(&["the failure of seaweedfs/n1 is over"]);

    scene.watch();
    heard(&scene, 4);
    // The agent sees it running.
    scene.tell_up("n1", false);
    scene.until("the agent says no", || stands(&scene, "n1") == "contradicted");
    scene.set_up("n1", true);
    scene.told(&["does not make again what seaweedfs/n1 held", "its agent sees it running"]);

    scene.done(&["node", "fail", "n2", "--maintenance", "--reason", "new disks"]);
    scene.set_up("n2", false);
    scene.until("it is on purpose", || stands(&scene, "n2") == "maintenance");
    scene.done(&["repair", "pause", "--reason", "the fair"]);
    scene.done(&["node", "recover", "n2"]);
    scene.until("it has failed", || stands(&scene, "n2") == "confirmed");
    scene.told(&["would make again what seaweedfs/n2 held", "paused: the fair"]);
    assert_eq!(scene.migrations(), Vec::<Value>::new(), "{}", scene.logs());
    scene.done(&["repair", "resume", "--reason", "it is over", "--yes"]);
    scene.until("all is made again", || scene.is_whole_without(&["n2"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_is_cancelled_if_its_node_is_back_with_its_replica() {
    let scene =
        Scene::new(4, "blocks = 1000\nblock_bytes = 256\nlatency = \"40ms\"\nmax_concurrent = 1\n", AUTO);
    scene.watch();
    heard(&scene, 4);
    let before: Vec<_> = Scene::partitions().map(|partition| scene.holders(&partition)).collect();
    scene.set_up("n1", false);
    let copies = |one: &Value| one["phase"] == "REPAIRING";
    scene.until("one is being copied", || scene.migrations().iter().any(copies));
    scene.set_up("n1", true);
    scene.until("all are cancelled", || scene.migrations().iter().all(|one| one["phase"] == "CANCELLED"));
    scene.told(&["isotherm", "cancel", "its node is back with its replica"]);
    scene.told(&["the failure of seaweedfs/n1 is over"]);
    let after: Vec<_> = Scene::partitions().map(|partition| scene.holders(&partition)).collect();
    assert_eq!(after, before);
    scene.copies_are_equal();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_mode_it_is_only_told_and_a_cluster_that_is_not_seen_opens_the_breaker() {
    let mut scene = Scene::new(4, "", "wait = \"2s\"\n");
    scene.watch();
    heard(&scene, 4);
    scene.set_up("n3", false);
    scene.told(&["would make again what seaweedfs/n3 held", "the mode of repairs is to observe"]);
    assert_eq!(scene.migrations(), Vec::<Value>::new());
    scene.kill_adapter();
    scene.until("the breaker is open", || scene.status()["breaker"]["open"] == true);
    scene.told(&["the breaker of repairs of seaweedfs opens", "not of this moment"]);
    scene.restore();
    assert_eq!(scene.status()["breaker"]["open"], true, "never by itself");
}
