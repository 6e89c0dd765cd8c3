//! Whether what isotherm does turns out as it said, with the real programs: scores, rollbacks that cost trust, others who
//! move partitions, and comparisons on demand.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../migrate/scene.rs"]
#[allow(dead_code, reason = "each test binary uses its part")]
mod scene;

mod watched;

use scene::Scene;
use serde_json::Value;
use std::cell::Cell;
use std::time::{Duration, Instant};
use support::analyzer::program;
use support::command::{code, parsed, stderr, stdout};
use watched::Watched;

/// Everything is judged by the second, and whatever has a risk is moved.
fn acting(mode: &str, more: &str) -> String {
    format!(
        "probation = \"300ms\"\n{more}\n[migrate.limits]\nbytes_share_per_day = 1.0\n[cycle]\nsettle = \"3s\"\n[cycle.policy]\nstep_ms = 1000\nmode = \"{mode}\"\n\
         [cycle.policy.gate]\ntrigger = \"threshold\"\nrisk_threshold = 0.01\n"
    )
}

/// A cluster whose capacities are known, with copies that take a moment.
const STORE: &str = "load_capacity = 1000\nlatency = \"1ms\"\nblocks = 8\n";

fn json(scene: &Scene, args: &[&str]) -> Value {
    parsed(&scene.ask(&[args, &["-o", "json"]].concat()))
}

fn status(scene: &Scene, id: &str) -> Value {
    json(scene, &["migrate", "status", id])
}

/// Lines of the diary of this kind.
fn lines(scene: &Scene, kind: &str) -> Vec<Value> {
    let all = json(scene, &["diary", "--limit", "5000"]);
    let of_kind = |line: &&Value| line["kind"] == kind;
    all["lines"].as_array().unwrap().iter().filter(of_kind).cloned().collect()
}

fn says(line: &Value, words: &str) -> bool {
    ["what", "why"].iter().any(|key| line[key].as_str().unwrap().contains(words))
}

/// Somebody knows that a node is about to die.
fn about_to_die(scene: &Scene, node: &str) {
    let set = scene.ask(&[
        "node",
        "hazard",
        "set",
        node,
        "--per-hour",
        "0.5",
        "--until",
        "2h",
        "--reason",
        "smart",
    ]);
    assert!(set.status.success(), "{}", stderr(&set));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_move_was_to_bring_and_what_it_brought_stand_beside_each_other() {
    let scene = Scene::new("at_switch", STORE, &acting("auto", "score_after = \"8s\""));
    about_to_die(&scene, "n1");
    let mut watched = Watched::connect(&scene).await;
    let scored = watched
        .until(&scene, "a score", |scene| {
            let told = json(scene, &["migrate", "scores"]);
            let scores = told["scores"].as_array().unwrap();
            scores.iter().find(|score| score["scorecard"]["measured"].is_object()).cloned()
        })
        .await;
    assert_eq!((&scored["phase"], &scored["trigger"]), (&"COMPLETED".into(), &"threshold".into()));
    assert_eq!(scored["source"], "seaweedfs/n1");
    let card = &scored["scorecard"];
    let (predicted, measured) = (&card["predicted"], &card["measured"]);
    let number = |of: &Value, key: &str| of[key].as_f64().unwrap_or_else(|| panic!("{key}: {card:#}"));
    // Away from the node that is about to die the risk is less, and so is what is lost.
    assert!(number(predicted, "risk") > 0.01, "{card:#}");
    assert!(number(measured, "risk") < number(predicted, "risk"), "{card:#}");
    assert!(number(measured, "loss_per_hour") < number(predicted, "loss_per_hour"), "{card:#}");
    assert!(number(predicted, "loss_there_per_hour") < number(predicted, "loss_per_hour"), "{card:#}");
    assert!(number(predicted, "benefit_lower") <= number(predicted, "benefit_upper"), "{card:#}");
    let saved = number(card, "saved");
    let interval = number(predicted, "benefit_lower")..=number(predicted, "benefit_upper");
    assert_eq!(card["within"].as_bool(), Some(interval.contains(&saved)), "{card:#}");
    // Requests to the disks were timed, each between 2^20 and 2^21 ns; calls were not.
    assert_eq!(measured["p99_layer"], "device");
    assert_eq!(measured["p99_after_ns"], 1 << 21);
    assert!(number(measured, "pause_ms") < 10_000.0 && number(measured, "duration_ms") > 0.0, "{card:#}");
    assert_eq!(predicted["bytes"], measured["bytes"]);
    assert_eq!(measured["gap"], "");

    let id = scored["migration_id"].as_str().unwrap();
    assert_eq!(&status(&scene, id)["scorecard"], card, "the same is told with the migration");
    let words = stdout(&scene.ask(&["migrate", "status", id]));
    assert!(words.contains("score:") && words.contains("client-minutes saved"), "{words}");
    let diary = stdout(&scene.ask(&["diary", "--migration", id, "--limit", "500"]));
    assert!(diary.contains("scored: ") && diary.contains("reads took 2.10 ms"), "{diary}");
    let summary = stdout(&scene.ask(&["migrate", "scores"]));
    assert!(summary.contains("seaweedfs: ") && summary.contains("after 20 approved moves"), "{summary}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_makes_isotherm_ask_until_somebody_promotes_the_system() {
    let mut scene = Scene::new("at_switch", STORE, &acting("auto", "").replace("300ms", "10m"));
    let (source, target) = scene.way("p5");
    let id = scene.begin("p5", &source, &target, &[]);
    scene.reaches(&id, "SWITCHED");
    // What cannot be done is refused, and written down.
    let late = scene.ask(&["migrate", "cancel", &id, "--who", "ann"]);
    assert_eq!(code(&late), Some(4), "{}", stderr(&late));
    let refused = lines(&scene, "refused");
    assert!(refused.len() == 1 && refused[0]["who"] == "ann" && says(&refused[0], "cancel: "), "{refused:?}");

    assert_eq!(code(&scene.ask(&["migrate", "reverse", &id, "--yes"])), Some(0));
    scene.reaches(&id, "REVERSED");
    let demoted = |scene: &Scene| {
        let told = json(scene, &["migrate", "scores"]);
        assert_eq!(told["systems"][0]["rollbacks"], 1, "{told:#}");
        told["systems"][0]["distrust"].as_array().unwrap().iter().any(|one| one["cause"] == "demoted")
    };
    assert!(demoted(&scene));
    assert!(stdout(&scene.ask(&["migrate", "status"])).contains("isotherm migrate promote seaweedfs"));
    scene.kill_analyzer();
    scene.restore();
    assert!(demoted(&scene), "a restart forgives nothing");

    // In the mode that acts by itself, isotherm asks.
    about_to_die(&scene, "n1");
    let mut watched = Watched::connect(&scene).await;
    let waits = watched
        .until(&scene, "a migration of isotherm's own", |scene| {
            let all = json(scene, &["migrate", "status", "--all"]);
            let own = |one: &&Value| one["trigger"] == "threshold";
            all["migrations"].as_array().unwrap().iter().find(own).cloned()
        })
        .await;
    assert_eq!(waits["phase"], "AWAITING_APPROVAL", "{waits:#}");

    assert_eq!(code(&scene.ask(&["migrate", "promote", "seaweedfs"])), Some(2), "without a reason");
    let promote = ["migrate", "promote", "seaweedfs", "--reason", "the disk was changed"];
    assert!(stdout(&scene.ask(&promote)).contains("as far as its mode allows"));
    assert!(!demoted(&scene));
    let again = scene.ask(&promote);
    assert_eq!((code(&again), stderr(&again).contains("is not demoted")), (Some(4), true));
    assert!(lines(&scene, "wanted").iter().any(|line| says(line, "the disk was changed")));
    assert_eq!(
        lines(&scene, "noticed").iter().filter(|line| says(line, "waits for approval")).count(),
        1,
        "it is told once"
    );
}

/// Somebody moves a replica by the store's own means.
fn moved_by_hand(scene: &Scene, partition: &str, from: &str, to: &str) {
    let cluster = scene.cluster();
    for table in ["block", "replica"] {
        let sql = format!("UPDATE {table} SET node = ?3 WHERE part = ?1 AND node = ?2");
        assert!(cluster.execute(&sql, [partition, from, to]).unwrap() > 0, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_somebody_else_moves_partitions_isotherm_begins_nothing() {
    let scene = Scene::new("at_switch", STORE, &acting("auto", "other_movers_quiet = \"12s\""));
    // Its own move is no other mover's.
    let (source, target) = scene.way("p1");
    let id = scene.begin("p1", &source, &target, &[]);
    scene.reaches(&id, "COMPLETED");
    let movers = |scene: &Scene| -> Vec<Value> {
        json(scene, &["migrate", "status"])["distrust"].as_array().unwrap().clone()
    };
    moved_by_hand(&scene, "p6", "n2", "n4");
    scene.until("somebody else is seen", || !movers(&scene).is_empty());
    let seen = &movers(&scene)[0];
    assert_eq!((&seen["system"], &seen["cause"]), (&"seaweedfs".into(), &"other_mover".into()));
    assert_eq!(seen["why"], "seaweedfs/p6 went from n2 to n4");
    let first_ms = seen["at_ms"].as_u64().unwrap();
    moved_by_hand(&scene, "p6", "n4", "n2");
    scene.until("what is seen last counts", || movers(&scene)[0]["at_ms"].as_u64() > Some(first_ms));
    assert!(stdout(&scene.ask(&["migrate", "status"])).contains("begins nothing there by itself until"));
    let told = |scene: &Scene| {
        let noticed = lines(scene, "noticed");
        noticed
            .iter()
            .filter(|line| says(line, "somebody else moves partitions of seaweedfs: isotherm"))
            .count()
    };
    assert_eq!(told(&scene), 1, "it is told once");

    about_to_die(&scene, "n1");
    let mut watched = Watched::connect(&scene).await;
    let own = |scene: &Scene| {
        let all = json(scene, &["migrate", "status", "--all"]);
        all["migrations"].as_array().unwrap().iter().any(|one| one["trigger"] == "threshold")
    };
    let (moved, way) = (Cell::new(Instant::now()), Cell::new(("n2", "n4")));
    watched
        .until(&scene, "what is not done is told", |scene| {
            // Whoever it is goes on with it.
            if moved.get().elapsed() > Duration::from_secs(3) {
                let (from, to) = way.replace((way.get().1, way.get().0));
                moved_by_hand(scene, "p6", from, to);
                moved.set(Instant::now());
            }
            let held = |line: &Value| {
                says(line, "would move it") && says(line, "somebody else moves partitions of seaweedfs: ")
            };
            lines(scene, "noticed").iter().any(held).then_some(())
        })
        .await;
    assert!(!own(&scene), "isotherm has begun something");
    watched.until(&scene, "isotherm goes on once it is quiet", |scene| own(scene).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_recommended_is_told_once_and_not_begun() {
    let scene = Scene::new("at_switch", STORE, &acting("recommend", ""));
    let lies = || (1..=8).map(|number| scene.holders(&format!("p{number}"))).collect::<Vec<_>>();
    let before = lies();
    about_to_die(&scene, "n1");
    let mut watched = Watched::connect(&scene).await;
    let recommended = |scene: &Scene| -> Vec<Value> {
        let is =
            |line: &Value| says(line, "would move it from n1 to") && says(line, "the mode is to recommend");
        lines(scene, "noticed").into_iter().filter(is).collect()
    };
    watched.until(&scene, "a recommendation", |scene| (!recommended(scene).is_empty()).then_some(())).await;
    // Cycles of several seconds more come to the same.
    let since = Instant::now();
    watched.until(&scene, "more cycles", |_| (since.elapsed() > Duration::from_secs(4)).then_some(())).await;
    let told = recommended(&scene);
    for line in &told {
        let same = |other: &&Value| other["partition"] == line["partition"] && other["what"] == line["what"];
        assert_eq!(told.iter().filter(same).count(), 1, "it is told once: {told:#?}");
    }
    assert_eq!(json(&scene, &["migrate", "status", "--all"])["migrations"], Value::Array(Vec::new()));
    assert_eq!(lies(), before, "nothing has moved");
}

#[test]
fn a_copy_is_compared_again_whenever_somebody_asks() {
    let scene = Scene::new("at_switch", "blocks = 8\nlatency = \"1ms\"\n", "probation = \"10m\"");
    let (source, target) = scene.way("p1");
    let id = scene.begin("p1", &source, &target, &["--gated"]);
    scene.reaches(&id, "READY");
    let equal = scene.ask(&["migrate", "verify", &id, "--reason", "to be sure"]);
    let words = stdout(&equal);
    assert!(words.starts_with("equal: 8 blocks, sum ") && words.contains("(count, checksum)"), "{words}");
    let told = status(&scene, &id);
    let comparisons = told["comparisons"].as_array().unwrap();
    assert_eq!((comparisons.len(), &told["migration"]["phase"]), (2, &"READY".into()));
    assert_eq!(comparisons[0]["evidence"], comparisons[1]["evidence"]);
    assert!(comparisons[1]["at_ms"].as_u64() > comparisons[0]["at_ms"].as_u64());
    let evidence = comparisons[0]["evidence"].as_str().unwrap();
    assert_eq!(lines(&scene, "outcome").iter().filter(|line| says(line, evidence)).count(), 2);

    // Somebody writes to the copy behind everybody's back.
    let cluster = scene.cluster();
    let spoil = "UPDATE block SET data = zeroblob(4096) WHERE part = 'p1' AND node = ?1 AND number = 3";
    assert_eq!(cluster.execute(spoil, [&target]).unwrap(), 1);
    let differs = scene.ask(&["migrate", "verify", &id]);
    assert_eq!((code(&differs), stderr(&differs).contains("copy and source differ")), (Some(5), true));
    scene.reaches(&id, "FAILED");
    let last = status(&scene, &id)["comparisons"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["equal"], false, "{last:#}");
    scene.ended_well("p1", &source);
    let late = scene.ask(&["migrate", "verify", &id]);
    assert_eq!((code(&late), stderr(&late).contains("has ended")), (Some(4), true));

    // After a switch clients write to the copy, so there is nothing to compare it with.
    let (source, target) = scene.way("p2");
    let id = scene.begin("p2", &source, &target, &[]);
    scene.reaches(&id, "SWITCHED");
    let refused = scene.ask(&["migrate", "verify", &id]);
    assert_eq!((code(&refused), stderr(&refused).contains("written to the copy")), (Some(4), true));
}

#[test]
fn what_an_engine_switched_to_is_compared_again_in_probation() {
    let scene = Scene::new("engine_atomic", "blocks = 8\nlatency = \"1ms\"\n", "probation = \"10m\"");
    let (source, target) = scene.way("p1");
    let id = scene.begin("p1", &source, &target, &[]);
    scene.until("the copy is verified", || {
        let told = status(&scene, &id);
        told["migration"]["phase"] == "SWITCHED" && !told["comparisons"].as_array().unwrap().is_empty()
    });
    assert!(stdout(&scene.ask(&["migrate", "verify", &id])).starts_with("equal: "));
    assert_eq!(code(&scene.ask(&["migrate", "complete", &id, "--yes"])), Some(0));
    scene.reaches(&id, "COMPLETED");
    scene.ended_well("p1", &target);
}

#[test]
fn a_cluster_that_nobody_counts_is_listed_and_whoever_asks_has_a_name() {
    let scene = Scene::new("at_switch", STORE, "");
    let told = json(&scene, &["get", "partitions"]);
    let partitions = told["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), 8);
    for partition in partitions {
        let nodes = partition["nodes"].as_array().unwrap();
        assert!(nodes.len() == 2 && nodes.iter().all(|node| node["reads"].is_null()), "{partition:#}");
    }
    let table = stdout(&scene.ask(&["get", "partitions"]));
    let row = table.lines().find(|line| line.contains(" p1 ")).unwrap_or_else(|| panic!("{table}"));
    assert!(row.split_whitespace().skip(3).all(|column| column == "-"), "unknown, and not zero: {row}");

    let mut freeze = std::process::Command::new(program().unwrap());
    freeze.args(["freeze", "--server", scene.url()]).env_remove("USER").env_remove("LOGNAME");
    assert!(freeze.output().unwrap().status.success());
    let who = lines(&scene, "wanted")[0]["who"].as_str().unwrap().to_owned();
    let user = who.split('@').next().unwrap();
    assert!(!user.is_empty() && user != "?", "{who}");
}
