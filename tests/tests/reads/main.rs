//! Shifts of reads from the command line and from verdicts to a store, with the real programs: the analyzer, its CLI,
//! and an adapter whose cluster is simulated and outlives it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

#[allow(dead_code, reason = "each test program uses a part")]
#[path = "../migrate/scene.rs"]
mod scene;

mod verdicts;

use scene::Scene;
use serde_json::Value;
use support::command::{code, parsed, stderr, stdout};

/// Long enough to be caught in the middle.
const SLOW: &str = "latency = \"300ms\"\nblocks = 8\n";

/// The nodes of a partition that are drained, and the one that leads.
fn truth(scene: &Scene, partition: &str) -> (Vec<String>, String) {
    let cluster = scene.cluster();
    let names = |sql: &str| -> Vec<String> {
        let mut rows = cluster.prepare(sql).unwrap();
        rows.query_map([partition], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let drained = names("SELECT node FROM replica WHERE part = ?1 AND drained ORDER BY node");
    let leads = names("SELECT node FROM replica WHERE part = ?1 AND serves AND NOT drained ORDER BY rank");
    (drained, leads.first().cloned().unwrap_or_default())
}

/// All shifts that there were of a partition, the newest first.
fn shifts(scene: &Scene, partition: &str) -> Vec<Value> {
    let all = parsed(&scene.ask(&["reads", "status", "--all", "-o", "json"]));
    let name = format!("seaweedfs/{partition}");
    let of_it = all["shifts"].as_array().unwrap().iter().filter(|shift| shift["partition"] == name.as_str());
    of_it.cloned().collect()
}

fn reaches(scene: &Scene, partition: &str, state: &str) {
    scene.until(&format!("the shift of {partition} is {state}"), || {
        shifts(scene, partition).first().is_some_and(|shift| shift["state"] == state)
    });
}

#[test]
fn reads_are_shifted_and_restored_by_hand_and_everything_is_told() {
    for (shape, flag, node) in [("drain", "--drain", "n1"), ("leader", "--lead", "n2")] {
        let store = format!("shift_reads = \"{shape}\"\nblocks = 8\n");
        let scene = Scene::new("at_switch", &store, "never_touch = [\"seaweedfs/p8\"]\n");
        let shift = ["reads", "shift", "p1", flag, node, "--reason", "smoke", "--who", "ann"];
        let tried = scene.ask(&shift);
        assert!(stdout(&tried).contains("nothing was done"), "{}{}", stdout(&tried), stderr(&tried));
        assert_eq!((truth(&scene, "p1"), shifts(&scene, "p1").len()), ((vec![], "n1".to_owned()), 0));

        let done = scene.ask(&[&shift[..], &["--yes"]].concat());
        assert_eq!(code(&done), Some(0), "{}", stderr(&done));
        assert!(stdout(&done).contains("IN_FORCE"), "{}", stdout(&done));
        let drained = if shape == "drain" { vec!["n1".to_owned()] } else { vec![] };
        assert_eq!(truth(&scene, "p1"), (drained, "n2".to_owned()));
        let told = &shifts(&scene, "p1")[0];
        let fields = ["who", "reason", "trigger", "undo"].map(|field| told[field].as_str().unwrap());
        assert_eq!(fields, ["ann", "smoke", "manual", "seaweedfs/n1"]);

        let again = scene.ask(&[&shift[..], &["--yes"]].concat());
        assert_eq!((code(&again), stderr(&again).contains("shifted already")), (Some(4), true));
        let never = scene.ask(&["reads", "shift", "p8", flag, "n1", "--yes"]);
        assert_eq!((code(&never), stderr(&never).contains("never touched")), (Some(4), true));
        let other = if shape == "drain" { "--lead" } else { "--drain" };
        let cannot = scene.ask(&["reads", "shift", "p2", other, "n3", "--yes"]);
        assert_eq!(code(&cannot), Some(4), "{}", stderr(&cannot));
        assert_eq!(code(&scene.ask(&["reads", "restore", "nonsense", "--yes"])), Some(3));

        assert!(stdout(&scene.ask(&["reads", "restore", "p1"])).contains("nothing was done"));
        let back = scene.ask(&["reads", "restore", "p1", "--yes", "--reason", "mended", "--who", "ann"]);
        assert_eq!(code(&back), Some(0), "{}", stderr(&back));
        assert_eq!(truth(&scene, "p1"), (vec![], "n1".to_owned()));
        let diary = stdout(&scene.ask(&["diary", "--partition", "seaweedfs/p1"]));
        for line in ["smoke", "IN_FORCE", "mended", "undone by seaweedfs/n1", "ENDED, undone"] {
            assert!(diary.contains(line), "{line}: {diary}");
        }
    }
}

#[test]
fn whatever_is_killed_reads_are_shifted_and_restored() {
    for (shape, flag) in [("drain", "--drain"), ("leader", "--lead")] {
        let mut scene = Scene::new("at_switch", &format!("{SLOW}shift_reads = \"{shape}\"\n"), "");
        for (partition, first, second, delay_ms) in
            [("p1", "n1", "n2", 0), ("p2", "n2", "n3", 150), ("p3", "n3", "n4", 301), ("p4", "n4", "n1", 450)]
        {
            let node = if shape == "drain" { first } else { second };
            let shift = ["reads", "shift", partition, flag, node, "--yes", "--timeout", "1ms"];
            let begun = scene.ask(&shift);
            assert!(matches!(code(&begun), Some(0 | 6)), "{}", stderr(&begun));
            die(&mut scene, delay_ms);
            reaches(&scene, partition, "IN_FORCE");
            let drained = if shape == "drain" { vec![first.to_owned()] } else { vec![] };
            assert_eq!(truth(&scene, partition), (drained, second.to_owned()), "{shape} {delay_ms}");

            let undone = scene.ask(&["reads", "restore", partition, "--yes", "--timeout", "1ms"]);
            assert!(matches!(code(&undone), Some(0 | 6)), "{}", stderr(&undone));
            die(&mut scene, delay_ms + 1);
            reaches(&scene, partition, "ENDED");
            assert_eq!(truth(&scene, partition), (vec![], first.to_owned()), "{shape} {delay_ms}");
        }
    }
}

/// The analyzer, the adapter or both are killed after a while, and come back.
fn die(scene: &mut Scene, delay_ms: u64) {
    std::thread::sleep(std::time::Duration::from_millis(delay_ms));
    match delay_ms % 3 {
        0 => scene.kill_analyzer(),
        1 => scene.kill_adapter(),
        _ => {
            scene.kill_analyzer();
            scene.kill_adapter();
        }
    }
    scene.restore();
}

#[test]
fn a_drained_replica_serves_again_before_it_is_moved() {
    let scene = Scene::new("before_copy", "shift_reads = \"drain\"\nblocks = 8\n", "");
    let drained = scene.ask(&["reads", "shift", "p1", "--drain", "n1", "--yes"]);
    assert_eq!(code(&drained), Some(0), "{}", stderr(&drained));
    let id = scene.begin("p1", "n1", "n3", &[]);
    scene.reaches(&id, "COMPLETED");
    let shift = &shifts(&scene, "p1")[0];
    assert_eq!((&shift["state"], &shift["how"]), (&"ENDED".into(), &"undone".into()));
    assert_eq!(truth(&scene, "p1").0, Vec::<String>::new());
    scene.ended_well("p1", "n3");
    let diary = stdout(&scene.ask(&["diary", "--partition", "seaweedfs/p1"]));
    let at = |what: &str| diary.find(what).unwrap_or_else(|| panic!("{what}: {diary}"));
    assert!(at("ENDED, undone: the partition is to be moved") < at("PREFLIGHT"), "{diary}");
}
