//! Migrations from the command line to a store, with the real programs: the analyzer, its CLI, and an adapter whose
//! cluster is simulated and outlives it. Whatever is killed, they come to their end and leave nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod check;
mod scene;

use isotherm_model::{Operation, Timestamp, Window};
use scene::Scene;
use serde_json::Value;
use std::time::Duration;
use support::command::{code, parsed, stderr, stdout};
use support::sample::{node, row, window};
use support::telemetry::Agent;

/// Long enough to be caught in the middle: about two seconds of copying, with writers beside.
const SLOW: &str = "blocks = 400\nlatency = \"15ms\"\nwrites_per_s = 60\n";

/// Phases of a migration, as they are told.
fn phases(scene: &Scene, id: &str) -> Vec<String> {
    let lines = parsed(&scene.ask(&["diary", "--migration", id, "-o", "json"]));
    let lines = lines["lines"].as_array().unwrap();
    let phase = |line: &&Value| line["kind"] == "phase";
    lines.iter().filter(phase).map(|line| line["what"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_partition_is_moved_and_everything_is_told() {
    let scene = Scene::new("at_switch", SLOW, "");
    let (source, target) = scene.way("p1");
    let start = ["migrate", "start", "p1", "--from", &source, "--to", &target, "--reason", "a try"];

    let tried = scene.ask(&start);
    assert!(stdout(&tried).contains("nothing was begun"), "without --yes the adapter is only asked");
    assert!(
        parsed(&scene.ask(&["migrate", "status", "--all", "-o", "json"]))["migrations"]
            .as_array()
            .unwrap()
            .is_empty()
    );

    let done = scene.ask(&[&start[..], &["--yes", "--watch", "--who", "ann"]].concat());
    let told = stdout(&done);
    assert!(told.contains("REPLICATING") && told.trim_end().ends_with("COMPLETED"), "{told}");
    let all = parsed(&scene.ask(&["migrate", "status", "--all", "-o", "json"]));
    let migration = &all["migrations"][0];
    assert_eq!((&migration["phase"], &migration["who"]), (&"COMPLETED".into(), &"ann".into()));
    let id = migration["id"].as_str().unwrap();
    let order = [
        "PREFLIGHT",
        "PREPARING",
        "REPLICATING",
        "CATCHING_UP",
        "VERIFYING",
        "READY",
        "FENCING",
        "COMMITTING",
        "SWITCHED",
        "RETIRING",
        "COMPLETED",
    ];
    assert_eq!(phases(&scene, id), order);
    let words = stdout(&scene.ask(&["migrate", "status", &id[..8]]));
    assert!(words.contains("ann: a try") && words.contains("in store:  nothing"), "{words}");
    scene.ended_well("p1", &target);
    let url = format!("{}/v1/migrations/{id}:watch", scene.url());
    let told = |accept| {
        ureq::get(&url).header("accept", accept).call().unwrap().into_body().read_to_string().unwrap()
    };
    let events = told("text/event-stream");
    assert!(events.starts_with("data: {") && events.ends_with("event: end\ndata: {}\n\n"), "{events}");
    let line: Value = serde_json::from_str(&told("*/*")).unwrap();
    assert_eq!((&line["migration"]["id"], &line["migration"]["phase"]), (&id.into(), &"COMPLETED".into()));

    // The topology follows, so the way there is no way any more.
    let again = scene.ask(&[&start[..], &["--yes"]].concat());
    assert_eq!(code(&again), Some(4), "{}", stderr(&again));
    assert!(stderr(&again).contains("lies on"), "{}", stderr(&again));
}

#[test]
fn whatever_is_killed_migrations_come_to_their_end() {
    for (kind, extra) in [("at_switch", "refuse_percent = 10\n"), ("before_copy", ""), ("engine_atomic", "")]
    {
        let mut scene = Scene::new(kind, &format!("{SLOW}{extra}"), "");
        for (partition, delay_ms) in [("p1", 150), ("p2", 900), ("p3", 1_701), ("p4", 2_600)] {
            let (source, target) = scene.way(partition);
            let id = scene.begin(partition, &source, &target, &[]);
            std::thread::sleep(Duration::from_millis(delay_ms));
            match delay_ms % 4 {
                0 => scene.kill_analyzer(),
                2 => scene.kill_adapter(),
                _ => {
                    scene.kill_analyzer();
                    scene.kill_adapter();
                }
            }
            scene.restore();
            let watched = scene.ask(&["migrate", "watch", &id, "--timeout", "90s"]);
            assert_eq!(code(&watched), Some(0), "{kind} {partition}: {}{}", stderr(&watched), scene.logs());
            scene.ended_well(partition, &target);
        }
        assert!(stdout(&scene.ask(&["migrate", "orphans"])).contains("nothing is left"));
        scene.nothing_is_lost();
    }
}

#[test]
fn what_nobody_remembers_is_named_as_an_orphan() {
    for (kind, stopped) in [("at_switch", false), ("before_copy", true)] {
        let mut scene = Scene::new(kind, SLOW, "");
        let orphans = |scene: &Scene| {
            let told = parsed(&scene.ask(&["migrate", "orphans", "-o", "json"]));
            assert_eq!(told["unasked"], Value::Array(Vec::new()), "{told:#}");
            told["orphans"].as_array().unwrap().clone()
        };
        let (source, target) = scene.way("p1");
        let id = scene.begin("p1", &source, &target, &[]);
        let copied = |scene: &Scene| -> i64 {
            let blocks = "SELECT count(*) FROM block WHERE part = 'p1' AND node = ?1";
            scene.cluster().query_row(blocks, [&target], |row| row.get(0)).unwrap()
        };
        scene.until("some of it is copied", || copied(&scene) > 0);
        assert!(orphans(&scene).is_empty(), "{kind}: the analyzer has it in its journal");

        scene.forget();
        scene.restore();
        let all = parsed(&scene.ask(&["migrate", "status", "--all", "-o", "json"]));
        assert_eq!(all["migrations"], Value::Array(Vec::new()), "{kind}: nobody remembers it");
        let found = orphans(&scene);
        let [orphan] = &found[..] else { panic!("{kind}: {found:#?}{}", scene.logs()) };
        let text = |field: &str| orphan[field].as_str().unwrap();
        assert_eq!(
            ["system", "migration_id", "partition", "source", "target"].map(text),
            ["seaweedfs", &id, "p1", &source, &target],
            "{kind}"
        );
        assert_eq!(orphan["writes_stopped"], stopped, "{kind}: {orphan:#}");
        let objects = orphan["objects"].as_array().unwrap();
        assert!(objects.iter().any(|one| one.as_str().unwrap().contains(&target)), "{kind}: {orphan:#}");
        assert!(copied(&scene) > 0, "{kind}: it is there, as the cluster itself says");

        // The adapter knows it from its ledger and its store, not from its memory.
        scene.kill_adapter();
        scene.restore();
        scene.until("the adapter has looked", || orphans(&scene).len() == 1);
        let words = stdout(&scene.ask(&["migrate", "orphans"]));
        assert!(words.contains(&id) && words.contains("stopped") == stopped, "{kind}: {words}");
    }
}

#[test]
fn people_hold_it_up_take_it_back_and_give_it_up() {
    let scene = Scene::new("at_switch", SLOW, "probation = \"10m\"");
    let act = |verb: &str, id: &str, more: &[&str]| scene.ask(&[&["migrate", verb, id], more].concat());

    // Gated: it waits before the switch, and a switch without --yes is none.
    let (source, target) = scene.way("p1");
    let id = scene.begin("p1", &source, &target, &["--gated"]);
    scene.reaches(&id, "READY");
    assert!(stdout(&act("switch", &id, &[])).contains("nothing was done"));
    let early = act("complete", &id, &["--yes"]);
    assert_eq!((code(&early), stderr(&early).contains("not in probation")), (Some(4), true));
    act("switch", &id, &["--yes", "--reason", "now"]);
    scene.reaches(&id, "SWITCHED");
    assert_eq!(code(&act("reverse", &id, &["--yes"])), Some(0));
    scene.reaches(&id, "REVERSED");
    scene.ended_well("p1", &source);

    // Given up in the middle of the copy.
    let (source, target) = scene.way("p2");
    let id = scene.begin("p2", &source, &target, &[]);
    scene.reaches(&id, "REPLICATING");
    // The same partition cannot be moved twice at a time.
    let other = scene.ask(&["migrate", "start", "p2", "--from", &source, "--to", &target, "--yes"]);
    assert_eq!((code(&other), stderr(&other).contains("is being moved already")), (Some(4), true));
    assert_eq!(code(&act("cancel", &id, &["--reason", "no"])), Some(0));
    scene.reaches(&id, "CANCELLED");
    scene.ended_well("p2", &source);

    // Probation is ended early.
    let (source, target) = scene.way("p3");
    let id = scene.begin("p3", &source, &target, &[]);
    scene.reaches(&id, "SWITCHED");
    assert_eq!(code(&act("complete", &id, &["--yes"])), Some(0));
    scene.reaches(&id, "COMPLETED");
    scene.ended_well("p3", &target);
    let unknown = act("cancel", "nonsense", &[]);
    assert_eq!(code(&unknown), Some(3), "{}", stderr(&unknown));
    scene.nothing_is_lost();
}

#[test]
fn limits_freezes_and_partitions_that_are_never_touched_are_kept() {
    let mut scene =
        Scene::new("at_switch", SLOW, "never_touch = [\"seaweedfs/p8\"]\n[migrate.limits]\nmigrations = 1\n");
    let never = scene.ask(&["migrate", "start", "p8", "--from", "n4", "--to", "n2", "--yes"]);
    assert_eq!(
        (code(&never), stderr(&never).contains("never touched")),
        (Some(4), true),
        "{}",
        stderr(&never)
    );

    let (source, target) = scene.way("p1");
    let first = scene.begin("p1", &source, &target, &[]);
    let (source, target) = scene.way("p2");
    let second = scene.begin("p2", &source, &target, &[]);
    let waits = stdout(&scene.ask(&["migrate", "status", &second]));
    assert!(waits.contains("PLANNED") && waits.contains("as many as may be"), "{waits}");
    // Frozen, the one that waits goes on waiting, the one under way ends, and nobody begins another.
    assert_eq!(code(&scene.ask(&["freeze", "--reason", "the fair"])), Some(0));
    scene.kill_analyzer();
    scene.restore();
    scene.reaches(&first, "COMPLETED");
    let refused = scene.ask(&["migrate", "start", "p3", "--from", "n3", "--to", "n1", "--yes"]);
    let dry = scene.ask(&["migrate", "start", "p3", "--from", "n3", "--to", "n1"]);
    for refused in [refused, dry] {
        assert_eq!(code(&refused), Some(4), "{}", stderr(&refused));
        let told = stderr(&refused);
        assert!(told.contains("frozen") && told.contains("the fair"), "{told}");
    }
    std::thread::sleep(Duration::from_millis(300));
    assert!(stdout(&scene.ask(&["migrate", "status", &second])).contains("PLANNED"));
    assert_eq!(code(&scene.ask(&["unfreeze"])), Some(0));
    scene.reaches(&second, "COMPLETED");
    let diary = stdout(&scene.ask(&["diary", "--limit", "500"]));
    for line in ["freeze", "the fair", "unfreeze", "move seaweedfs/p1"] {
        assert!(diary.contains(line), "{line}: {diary}");
    }
    scene.nothing_is_lost();
}

#[test]
fn while_the_freeze_file_is_there_what_waits_goes_on_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("freeze");
    let config = format!("freeze_file = {file:?}\n[migrate.limits]\nmigrations = 1\n");
    let scene = Scene::new("at_switch", SLOW, &config);
    let (source, target) = scene.way("p1");
    let first = scene.begin("p1", &source, &target, &[]);
    let (source, target) = scene.way("p2");
    let second = scene.begin("p2", &source, &target, &[]);
    assert!(!stdout(&scene.ask(&["migrate", "status"])).contains("frozen"));

    std::fs::write(&file, "").unwrap();
    let words = format!("frozen as long as {} is there", file.display());
    // It is told at once, though nothing has happened to any migration.
    let status = stdout(&scene.ask(&["migrate", "status"]));
    assert!(status.contains(&words), "{status}");
    scene.reaches(&first, "COMPLETED");
    std::thread::sleep(Duration::from_millis(1_500));
    let waits = stdout(&scene.ask(&["migrate", "status", &second]));
    assert!(waits.contains("PLANNED") && waits.contains(&words), "{waits}");
    let refused = scene.ask(&["migrate", "start", "p3", "--from", "n3", "--to", "n1", "--yes"]);
    assert_eq!((code(&refused), stderr(&refused).contains(&words)), (Some(4), true), "{}", stderr(&refused));

    std::fs::remove_file(&file).unwrap();
    scene.reaches(&second, "COMPLETED");
    assert!(!stdout(&scene.ask(&["migrate", "status"])).contains("frozen"));
    scene.nothing_is_lost();
}

#[test]
fn what_the_adapter_finds_in_the_way_is_said_and_nothing_is_begun() {
    let scene = Scene::new("at_switch", "down = [\"n4\"]\n", "");
    let tried = scene.ask(&["migrate", "start", "p1", "--from", "n1", "--to", "n4"]);
    assert_eq!(code(&tried), Some(4), "{}", stdout(&tried));
    assert!(stderr(&tried).contains("n4"), "{}", stderr(&tried));
    // Begun all the same, it ends before it has an effect.
    let id = scene.begin("p1", "n1", "n4", &[]);
    scene.reaches(&id, "FAILED");
    scene.ended_well("p1", "n1");
}

#[test]
fn whoever_stops_watching_changes_nothing() {
    let scene = Scene::new("at_switch", SLOW, "");
    let (source, target) = scene.way("p1");
    let id = scene.begin("p1", &source, &target, &[]);
    let watched = scene.ask(&["migrate", "watch", &id, "--timeout", "300ms"]);
    assert_eq!(
        (code(&watched), stderr(&watched).contains("it is only not watched any more")),
        (Some(6), true)
    );
    let told = parsed(&scene.ask(&["migrate", "status", &id, "-o", "json"]));
    assert!(told["migration"]["ended_ms"].is_null(), "it is under way: {told:#}");
    let watched = scene.ask(&["migrate", "watch", &id, "--timeout", "90s", "-o", "json"]);
    assert_eq!(code(&watched), Some(0), "{}", stderr(&watched));
    scene.ended_well("p1", &target);

    // While it copied, its end was foretold.
    let told = stdout(&watched);
    let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let foretold: Vec<(u64, u64)> = told
        .iter()
        .filter(|line| line["phase"] == "REPLICATING")
        .filter_map(|line| Some((line["eta_least_ms"].as_u64()?, line["eta_most_ms"].as_u64()?)))
        .collect();
    let sound = |(least, most): &(u64, u64)| least <= most && *most < 600_000;
    assert!(!foretold.is_empty() && foretold.iter().all(sound), "{foretold:?}");
    assert!(foretold.iter().any(|(_, most)| *most > 0), "{foretold:?}");
}

#[test]
fn a_wrong_copy_that_waits_for_an_operator_is_told_apart_and_tried_again_with_yes_alone() {
    let scene = Scene::new("engine_atomic", "blocks = 8\nlatency = \"1ms\"\n", "probation = \"10m\"");
    let (source, target) = scene.way("p1");
    let id = scene.begin("p1", &source, &target, &[]);
    let told = || parsed(&scene.ask(&["migrate", "status", &id, "-o", "json"]));
    scene.until("the copy is verified", || {
        let told = told();
        told["migration"]["phase"] == "SWITCHED" && !told["comparisons"].as_array().unwrap().is_empty()
    });
    // Somebody writes to the copy behind everybody's back.
    let write = |data: &str| {
        let sql = format!("UPDATE block SET data = {data} WHERE part = 'p1' AND node = ?1 AND number = 3");
        assert_eq!(scene.cluster().execute(&sql, [&target]).unwrap(), 1);
    };
    let right: Vec<u8> = scene
        .cluster()
        .query_row(
            "SELECT data FROM block WHERE part = 'p1' AND node = ?1 AND number = 3",
            [&target],
            |row| row.get(0),
        )
        .unwrap();
    write("zeroblob(4096)");
    assert_eq!(code(&scene.ask(&["migrate", "verify", &id])), Some(5));
    scene.reaches(&id, "NEEDS_OPERATOR");
    let watched = scene.ask(&["migrate", "watch", &id]);
    assert_eq!((code(&watched), stderr(&watched).contains("copy and source differ")), (Some(5), true));
    let comparisons = || told()["comparisons"].as_array().unwrap().clone();
    let before = comparisons().len();

    let hex: String = right.iter().map(|byte| format!("{byte:02x}")).collect();
    write(&format!("x'{hex}'"));
    let tried = scene.ask(&["migrate", "retry", &id]);
    assert_eq!((code(&tried), stdout(&tried).contains("Give --yes")), (Some(0), true), "{}", stdout(&tried));
    assert_eq!(told()["migration"]["phase"], "NEEDS_OPERATOR", "without --yes nothing is done");
    assert_eq!(code(&scene.ask(&["migrate", "retry", &id, "--yes"])), Some(0));
    scene.until("it is compared again, and equal", || {
        let comparisons = comparisons();
        comparisons.len() > before && comparisons.last().unwrap()["equal"] == true
    });
    assert_eq!(code(&scene.ask(&["migrate", "complete", &id, "--yes"])), Some(0));
    scene.reaches(&id, "COMPLETED");
    scene.ended_well("p1", &target);
}

/// What a node serves in a second: its share of the reads of each partition.
fn reads(node: &str) -> Vec<isotherm_model::Row> {
    let number: u64 = node[1..].parse().unwrap();
    let rows = (1..=8_u64).filter_map(|partition| {
        // As the simulated cluster lays them out: on the node of its number, and on the next.
        let first = (partition - 1) % 4 + 1;
        let holds = number == first || number == first % 4 + 1;
        holds.then(|| row(&format!("p{partition}"), Operation::Read, 20))
    });
    rows.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cycle_finds_is_done_as_far_as_the_mode_allows() {
    for (mode, phase) in [("approve", "AWAITING_APPROVAL"), ("auto", "COMPLETED")] {
        let cycle = format!(
            "[cycle]\nsettle = \"3s\"\n[cycle.policy]\nstep_ms = 1000\nmode = \"{mode}\"\n\
             [cycle.policy.gate]\ntrigger = \"threshold\"\nrisk_threshold = 0.01\n"
        );
        let scene = Scene::new(
            "at_switch",
            "load_capacity = 1000\nlatency = \"1ms\"\nblocks = 8\n",
            &format!("probation = \"300ms\"\n{cycle}"),
        );
        // Somebody knows that n1 is about to die.
        let hazard =
            ["node", "hazard", "set", "n1", "--per-hour", "0.5", "--until", "2h", "--reason", "smart"];
        let set = scene.ask(&hazard);
        assert!(set.status.success(), "{}", stderr(&set));
        let mut agent = Agent::connect(scene.url(), "host", "boot").await.unwrap();
        let now_ms = || {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            u64::try_from(now.as_millis()).unwrap()
        };
        let (begun, mut seq, mut sent_ms) = (std::time::Instant::now(), 0, now_ms() / 1_000 * 1_000);
        let found = loop {
            while sent_ms + 1_000 <= now_ms() {
                seq += 1;
                let nodes = ["n1", "n2", "n3", "n4"].map(|name| node(name, reads(name)));
                let second = Window { start: Timestamp::from_ms(sent_ms), ..window(0, nodes.into()) };
                agent.deliver_all(seq, &[second]).await.unwrap();
                sent_ms += 1_000;
            }
            let all = parsed(&scene.ask(&["migrate", "status", "--all", "-o", "json"]));
            let reached = |one: &&Value| one["phase"] == phase && one["trigger"] == "threshold";
            if let Some(one) = all["migrations"].as_array().unwrap().iter().find(reached) {
                break one.clone();
            }
            let risks = || stdout(&scene.ask(&["analyze", "risk", "--top", "8"]));
            assert!(
                begun.elapsed().as_secs() < 60,
                "{mode}: nothing came of it\n{all:#}\n{}{}",
                risks(),
                scene.logs()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        assert_eq!(
            (&found["source"], &found["who"]),
            (&"seaweedfs/n1".into(), &"isotherm".into()),
            "{found:#}"
        );
        let partition = found["partition"].as_str().unwrap().strip_prefix("seaweedfs/").unwrap();
        let target = found["target"].as_str().unwrap().strip_prefix("seaweedfs/").unwrap();
        if mode == "auto" {
            scene.ended_well(partition, target);
        } else {
            let id = found["id"].as_str().unwrap();
            let approve = ["migrate", "approve", id, "--reason", "yes"];
            let tried = scene.ask(&approve);
            assert_eq!((code(&tried), stdout(&tried).contains("nothing was done")), (Some(0), true));
            let told = parsed(&scene.ask(&["migrate", "status", id, "-o", "json"]));
            assert_eq!(told["migration"]["phase"], phase, "without --yes it goes on waiting");
            assert_eq!(code(&scene.ask(&[&approve[..], &["--yes"]].concat())), Some(0));
            scene.reaches(id, "COMPLETED");
            scene.ended_well(partition, target);
        }
    }
}
