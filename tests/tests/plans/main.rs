//! Plans of a cluster with the real programs: the analyzer, its CLI, and an adapter whose cluster is simulated and outlives
//! it. Eight partitions lie on two of four nodes each: p1 on n1 and n2, p2 on n2 and n3, and so on around.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../migrate/scene.rs"]
#[allow(dead_code, reason = "it has more than is needed here")]
mod scene;

use scene::Scene;
use serde_json::Value;
use support::command::{code, parsed, stderr, stdout};

/// About two seconds for each copy, with writers beside: long enough to be caught in the middle.
const SLOW: &str = "blocks = 400\nlatency = \"15ms\"\nwrites_per_s = 60\n";

const QUICK: &str = "blocks = 16\nlatency = \"1ms\"\nwrites_per_s = 60\n";

const ALL: [&str; 8] = ["p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8"];

/// Makes a plan, and says it.
fn create(scene: &Scene, asked: &[&str]) -> Value {
    let made = scene.ask(&[&["plan", "create", "-o", "json"], asked].concat());
    assert_eq!(code(&made), Some(0), "{}{}", stderr(&made), scene.logs());
    parsed(&made)
}

/// Makes a plan that cannot do all of what is asked for, and says it.
fn create_in_part(scene: &Scene, asked: &[&str]) -> Value {
    let made = scene.ask(&[&["plan", "create", "-o", "json"], asked].concat());
    assert_eq!(code(&made), Some(4), "{}{}", stderr(&made), scene.logs());
    serde_json::from_slice(&made.stdout).unwrap()
}

fn id(plan: &Value) -> &str {
    plan["id"].as_str().unwrap()
}

fn show(scene: &Scene, id: &str) -> Value {
    parsed(&scene.ask(&["plan", "show", id, "-o", "json"]))
}

/// What a plan moves, by name.
fn partitions(plan: &Value) -> Vec<&str> {
    let mut moved: Vec<&str> =
        plan["moves"].as_array().unwrap().iter().map(|one| one["partition"].as_str().unwrap()).collect();
    moved.sort_unstable();
    moved
}

/// Partitions with a replica on a node, by the cluster's own word.
fn on(scene: &Scene, node: &str) -> Vec<&'static str> {
    let holds = |partition: &&str| scene.holders(partition).iter().any(|(holder, _)| holder == node);
    ALL.into_iter().filter(holds).collect()
}

fn begun(scene: &Scene, asked: &[&str]) -> String {
    let plan = create(scene, asked);
    let id = id(&plan).to_owned();
    assert_eq!(code(&scene.ask(&["plan", "approve", &id, "--reason", "yes"])), Some(0));
    let begun = scene.ask(&["plan", "execute", &id, "--yes"]);
    assert_eq!(code(&begun), Some(0), "{}", stderr(&begun));
    id
}

/// The standing of a plan's first move whose migration has begun.
fn under_way(scene: &Scene, id: &str) -> Option<String> {
    let plan = show(scene, id);
    let copies = |one: &&Value| one["phase"] == "REPLICATING" || one["phase"] == "PREPARING";
    let found = plan["moves"].as_array().unwrap().iter().find(copies)?;
    Some(found["migration"].as_str().unwrap().to_owned())
}

#[test]
fn a_plan_is_made_shown_compared_agreed_to_and_carried_out() {
    let scene = Scene::new("at_switch", QUICK, "never_touch = [\"seaweedfs/p8\"]\n");
    let whole = create_in_part(&scene, &["--drain", "n1", "--reason", "disk", "--who", "ann"]);
    assert_eq!(partitions(&whole), ["p1", "p4", "p5"], "{whole:#}");
    assert_eq!((&whole["state"], &whole["who"]), (&"DRAFT".into(), &"ann".into()));
    assert_eq!(whole["refusals"][0].as_str().unwrap().split(' ').next(), Some("p8"), "{whole:#}");
    assert!(whole["moves"].as_array().unwrap().iter().all(|one| one["source"] == "n1"));
    let part = create(&scene, &["--relieve", "n1=0"]);
    assert_eq!(partitions(&part), ["p1", "p4", "p5"], "{part:#}");
    let some = create_in_part(&scene, &["--drain", "n1", "--max-moves", "1"]);
    let beyond = |line: &Value| line.as_str().unwrap().starts_with("2 moves more");
    assert!(partitions(&some).len() == 1 && some["refusals"].as_array().unwrap().iter().any(beyond));
    assert_eq!(create_in_part(&scene, &["--drain", "n1", "--dry-run"])["id"], "");

    let (all, one) = (id(&whole), id(&some));
    let listed = parsed(&scene.ask(&["plan", "list", "-o", "json"]));
    assert_eq!(listed["plans"].as_array().unwrap().len(), 3);
    let text = stdout(&scene.ask(&["plan", "show", &all[..6]]));
    assert!(text.contains("drain n1") && text.contains("never touched"), "{text}");
    let why = stdout(&scene.ask(&["plan", "show", all, "--explain", "1"]));
    assert!(why.contains("because its holder is draining"), "{why}");
    assert_eq!(code(&scene.ask(&["plan", "show", all, "--explain", "9"])), Some(3));
    let diff = stdout(&scene.ask(&["plan", "diff", all, one]));
    assert_eq!(diff.lines().filter(|line| line.starts_with("- p")).count(), 2, "{diff}");
    assert_eq!(stdout(&scene.ask(&["plan", "diff", all, all])), "");

    // Nobody has agreed, and a dry run is none.
    let early = scene.ask(&["plan", "execute", all, "--yes"]);
    assert_eq!(code(&early), Some(4), "{}", stderr(&early));
    assert_eq!(code(&scene.ask(&["plan", "approve", all, "--reason", "yes", "--who", "bob"])), Some(0));
    let tried = scene.ask(&["plan", "execute", all]);
    assert!(stdout(&tried).contains("nothing was begun"), "{}", stdout(&tried));
    assert_eq!(show(&scene, all)["state"], "APPROVED");
    let done = scene.ask(&["plan", "execute", all, "--yes", "--watch"]);
    assert_eq!(code(&done), Some(0), "{}{}{}", stdout(&done), stderr(&done), scene.logs());
    assert!(stdout(&done).trim_end().ends_with("is DONE"), "{}", stdout(&done));
    assert_eq!(on(&scene, "n1"), ["p8"]);
    for moved in show(&scene, all)["moves"].as_array().unwrap() {
        scene.ended_well(moved["partition"].as_str().unwrap(), moved["target"].as_str().unwrap());
    }
    let first = &parsed(&scene.ask(&["migrate", "status", "--all", "-o", "json"]))["migrations"][0];
    assert_eq!((&first["trigger"], &first["who"]), (&"plan".into(), &"bob".into()), "{first:#}");
    assert!(first["reason"].as_str().unwrap().contains(all), "{first:#}");

    let diary = stdout(&scene.ask(&["diary", "--limit", "500"]));
    for line in ["approve plan", "execute plan", "is done"] {
        assert!(diary.contains(line), "{line}: {diary}");
    }
    assert_eq!(code(&scene.ask(&["plan", "rm", all])), Some(0));
    assert_eq!(code(&scene.ask(&["plan", "show", all])), Some(3));
    scene.nothing_is_lost();
}

#[test]
fn a_node_is_emptied_although_the_analyzer_is_killed_in_the_middle() {
    let mut scene = Scene::new("at_switch", SLOW, "");
    let shown = scene.ask(&["node", "drain", "n2"]);
    assert!(stdout(&shown).contains("nothing was done"), "{}{}", stdout(&shown), stderr(&shown));
    assert!(parsed(&scene.ask(&["plan", "list", "-o", "json"]))["plans"].as_array().unwrap().is_empty());
    let begun = scene.ask(&["node", "drain", "n2", "--yes", "--reason", "disk", "-o", "json"]);
    assert_eq!(code(&begun), Some(0), "{}", stderr(&begun));
    let plan = parsed(&begun);
    assert_eq!((partitions(&plan), &plan["state"]), (vec!["p1", "p2", "p5", "p6"], &"EXECUTING".into()));
    scene.until("a copy runs", || under_way(&scene, id(&plan)).is_some());
    scene.kill_analyzer();
    scene.restore();
    scene.until("the next copy runs", || show(&scene, id(&plan))["done"].as_u64() >= Some(1));
    scene.kill_analyzer();
    scene.kill_adapter();
    scene.restore();
    let watched = scene.ask(&["plan", "watch", id(&plan), "--timeout", "90s"]);
    assert_eq!(code(&watched), Some(0), "{}{}", stderr(&watched), scene.logs());
    assert!(on(&scene, "n2").is_empty(), "it holds {:?}", on(&scene, "n2"));
    let all = parsed(&scene.ask(&["migrate", "status", "--all", "-o", "json"]));
    assert_eq!(all["migrations"].as_array().unwrap().len(), 4, "each move is one migration: {all:#}");

    // It takes nothing more, over restarts too, until somebody says so.
    let nodes = stdout(&scene.ask(&["get", "nodes"]));
    assert!(nodes.contains("cordoned"), "{nodes}");
    let refused = scene.ask(&["node", "fill", "n2", "--yes"]);
    assert_eq!((code(&refused), stderr(&refused).contains("cordoned")), (Some(4), true));
    let others = create(&scene, &["--drain", "n1"]);
    assert!(others["moves"].as_array().unwrap().iter().all(|one| one["target"] != "n2"), "{others:#}");
    assert_eq!(code(&scene.ask(&["node", "uncordon", "n2"])), Some(0));
    assert_eq!(code(&scene.ask(&["node", "uncordon", "n2"])), Some(3));
    let filled = scene.ask(&["node", "fill", "n2", "--yes", "--watch"]);
    assert!(code(&filled) == Some(0) || stderr(&filled).contains("pressure"), "{}", stderr(&filled));
    assert!(!on(&scene, "n2").is_empty(), "{}", stdout(&filled));
    scene.nothing_is_lost();
}

#[test]
fn a_plan_of_a_cluster_that_is_not_so_any_more_is_refused() {
    let scene = Scene::new("at_switch", QUICK, "");
    let plan = create(&scene, &["--drain", "n1"]);
    assert_eq!(code(&scene.ask(&["plan", "approve", id(&plan)])), Some(0));
    let (source, target) = scene.way("p1");
    let other = scene.begin("p1", &source, &target, &[]);
    scene.reaches(&other, "COMPLETED");
    scene.until("the topology follows", || {
        let refused = scene.ask(&["plan", "execute", id(&plan)]);
        code(&refused) == Some(4) && stderr(&refused).contains("plan again")
    });
    let refused = scene.ask(&["plan", "execute", id(&plan), "--yes"]);
    assert_eq!(code(&refused), Some(4), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("of p1"), "{}", stderr(&refused));
    scene.until("the refusal is in the diary", || {
        let diary = stdout(&scene.ask(&["diary", "--limit", "500"]));
        diary.lines().any(|line| line.contains("refused") && line.contains("execute plan"))
    });
    // Approvals end, freezes hold, and what does not exist is not found.
    let plan = create(&scene, &["--drain", "n3"]);
    assert_eq!(code(&scene.ask(&["plan", "approve", id(&plan), "--within", "1ms"])), Some(0));
    let late = scene.ask(&["plan", "execute", id(&plan), "--yes"]);
    assert_eq!((code(&late), stderr(&late).contains("expired")), (Some(4), true), "{}", stderr(&late));
    assert_eq!(code(&scene.ask(&["plan", "approve", id(&plan)])), Some(0));
    assert_eq!(code(&scene.ask(&["freeze", "--reason", "the fair"])), Some(0));
    let frozen = scene.ask(&["plan", "execute", id(&plan), "--yes"]);
    assert_eq!((code(&frozen), stderr(&frozen).contains("the fair")), (Some(4), true), "{}", stderr(&frozen));
    assert_eq!(code(&scene.ask(&["plan", "create", "--drain", "n9"])), Some(3));
    assert_eq!(code(&scene.ask(&["plan", "create"])), Some(2));
}

#[test]
fn what_fails_is_told_and_begun_again_and_what_is_cancelled_leaves_nothing() {
    let scene = Scene::new("at_switch", SLOW, "");
    let plan = begun(&scene, &["--drain", "n1"]);
    scene.until("a copy runs", || under_way(&scene, &plan).is_some());
    let migration = under_way(&scene, &plan).unwrap();
    assert_eq!(code(&scene.ask(&["migrate", "cancel", &migration])), Some(0));
    assert_eq!(code(&scene.ask(&["plan", "rm", &plan])), Some(4), "it is being carried out");
    let watched = scene.ask(&["plan", "watch", &plan, "--timeout", "90s"]);
    assert_eq!(code(&watched), Some(1), "{}{}", stdout(&watched), scene.logs());
    assert!(stderr(&watched).contains("1 of 4 moves failed"), "{}", stderr(&watched));
    let failed = show(&scene, &plan);
    assert_eq!((&failed["state"], &failed["done"]), (&"FAILED".into(), &3.into()), "{failed:#}");
    let tried = scene.ask(&["plan", "retry", &plan]);
    assert_eq!((code(&tried), stdout(&tried).contains("Give --yes")), (Some(0), true), "{}", stdout(&tried));
    assert_eq!(show(&scene, &plan)["state"], "FAILED", "without --yes nothing is begun");
    assert_eq!(code(&scene.ask(&["plan", "retry", &plan, "--yes"])), Some(0));
    let watched = scene.ask(&["plan", "watch", &plan, "--timeout", "90s"]);
    assert_eq!(code(&watched), Some(0), "{}{}", stderr(&watched), scene.logs());
    assert!(on(&scene, "n1").is_empty());
    for yes in [&[][..], &["--yes"]] {
        let retried = scene.ask(&[&["plan", "retry", &plan], yes].concat());
        assert_eq!(code(&retried), Some(4), "nothing has failed");
    }

    let held = on(&scene, "n3").len();
    let plan = begun(&scene, &["--drain", "n3"]);
    scene.until("a copy runs", || under_way(&scene, &plan).is_some());
    assert_eq!(code(&scene.ask(&["plan", "cancel", &plan, "--reason", "no"])), Some(0));
    scene.until("nothing is under way", || {
        let plan = show(&scene, &plan);
        plan["state"] == "CANCELLED" && plan["under_way"] == 0
    });
    assert_eq!(on(&scene, "n3").len(), held, "nothing has switched");
    assert!(stdout(&scene.ask(&["migrate", "orphans"])).contains("nothing is left"));
    scene.nothing_is_lost();
}
