//! `isotherm simulate` and `isotherm backtest` as they are run, on clusters that take a second.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use isotherm_tests::workspace;
use serde_json::{Value, json};
use std::process::{Command, Output};

const SMALL: [&str; 6] = ["--nodes", "18", "--partitions", "150", "--days", "3"];

fn isotherm(command: &str, args: &[&str]) -> Output {
    let mut run = Command::new(workspace::program("isotherm"));
    run.arg(command).args(args).output().expect("`cargo build -p isotherm` has been run")
}

fn stdout(command: &str, args: &[&str]) -> String {
    let output = isotherm(command, &[&SMALL, args].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    // The standard error is no terminal here: nothing is written over and over.
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
    String::from_utf8(output.stdout).unwrap()
}

fn answer(command: &str, args: &[&str]) -> Value {
    serde_json::from_str(&stdout(command, &[args, &["-o", "json"]].concat())).unwrap()
}

/// What is said when arguments are refused, which is exit code 2.
fn refused(command: &str, args: &[&str]) -> String {
    let output = isotherm(command, args);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_seed_is_a_cluster_and_another_is_another() {
    let of = |seed: &str| stdout("simulate", &["--seed", seed, "-o", "json"]);
    assert_eq!(of("7"), of("7"));
    assert_ne!(of("7"), of("8"));
}

#[test]
fn what_happened_adds_up() {
    let found = answer("simulate", &["--seed", "7"]);
    assert_eq!((&found["seed"], &found["spec"]["nodes"]), (&json!(7), &json!(18)));
    for run in ["reactive", "full"] {
        let run = &found[run];
        let kinds = run["failures_by_kind"].as_object().unwrap();
        let sum: u64 = kinds.values().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(sum as usize, run["failures"].as_array().unwrap().len());
        let lost = &run["lost_client_minutes"];
        let part = |name: &str| lost[name].as_f64().unwrap();
        let parts = part("failover") + part("overload") + part("gray") + part("copy");
        assert!((parts - part("total")).abs() < 1e-6 * (1.0 + parts), "{lost}");
        let mean = run["loads"]["mean"].as_f64().unwrap();
        // The spec asks for .42 over all days, learning included.
        assert!((mean - 0.42).abs() < 0.06, "{mean}");
        assert!(run["loads"]["peak"].as_f64() >= run["loads"]["busiest_mean"].as_f64());
    }
    assert_eq!((&found["reactive"]["moves"], &found["reactive"]["gray"]), (&json!(0), &Value::Null));
}

#[test]
fn a_healthy_cluster_loses_nothing() {
    let found = answer("simulate", &["--healthy", "--seed", "2"]);
    let run = &found["reactive"];
    assert_eq!(run["lost_client_minutes"]["total"], json!(0.0));
    assert_eq!((&run["failures"], &run["incidents"]), (&json!([]), &json!([])));
    assert_eq!((&found["ratio"], &found["changes"]), (&Value::Null, &json!(0)));
    assert!(
        stdout("simulate", &["--healthy", "--seed", "2"]).contains("Nothing was lost without the model.")
    );
}

#[test]
fn a_spec_is_read_and_flags_win_over_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "nodes = 24\nlearning_days = 2\n[gray]\nlost = 0.5\n").unwrap();
    let found = answer("simulate", &["--spec", file.path().to_str().unwrap()]);
    let spec = &found["spec"];
    assert_eq!(
        [&spec["nodes"], &spec["learning_days"], &spec["gray"]["lost"], &spec["gray"]["dies"]],
        [&json!(18), &json!(2), &json!(0.5), &json!(0.25)]
    );
}

#[test]
fn what_cannot_be_is_told_with_its_line_and_key() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    for (text, part) in [
        ("nodes = 18\n[demand]\nskewed = 1.0\n", ":3: skewed: unknown field `skewed`"),
        ("\nnodes = \"many\"\n", ":2: nodes: invalid type"),
        ("[gray]\n\ndies = 1.5\n", ":3: gray.dies is 1.5, and must be from 0 to 1"),
        ("racks = 4\n\nnodes = 18\n", ":3: nodes is 18, and must be a multiple of the racks"),
        (
            "[[classes]]\nname = \"a\"\nshare = 1.0\nfailures_per_day = 0.0\nshape = 1.0\ncapacity = 1.0\n",
            ":4: classes.failures_per_day is 0",
        ),
        ("learning_days = 4000000000\n", "learning_days fit"),
    ] {
        std::fs::write(file.path(), text).unwrap();
        for command in ["simulate", "backtest"] {
            let said = refused(command, &["--spec", path]);
            assert!(said.contains(part), "{text}: {said}");
        }
    }
    assert!(refused("simulate", &["--nodes", "61"]).contains("--nodes: nodes is 61"));
    assert!(refused("backtest", &["--days", "0"]).contains("--days: days is 0"));
    assert!(refused("backtest", &["--policies", "oracle"]).contains("none of reactive-only"));
    assert!(refused("backtest", &["--seeds", "3..1"]).contains("1 is before 3"));
}

#[test]
fn with_five_seeds_a_ratio_has_an_interval() {
    let found = answer("backtest", &["--seeds", "5", "--policies", "full-model"]);
    let certain = json!({"mean": 1.0, "interval": {"low": 1.0, "high": 1.0}});
    assert_eq!(found["policies"][0]["total"], certain);
    for row in found["policies"].as_array().unwrap() {
        let (mean, interval) = (row["total"]["mean"].as_f64(), &row["total"]["interval"]);
        assert!(interval["low"].as_f64() <= mean && mean <= interval["high"].as_f64(), "{row}");
    }
}

#[test]
fn a_backtest_has_policies_a_healthy_month_predictions_and_goals() {
    let args = ["--seeds", "3..5", "--policies", "full-model,hazard-only"];
    let found = answer("backtest", &args);
    assert_eq!(found, answer("backtest", &args), "the same again");
    assert_eq!((&found["seeds"], &found["tuned_seeds"]), (&json!([3, 4, 5]), &json!([3, 4])));
    let names = |key: &str| {
        let rows = found[key].as_array().unwrap().iter();
        rows.map(|row| row["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let expected = ["reactive only", "hazard only", "full model"];
    assert_eq!(
        (names("policies"), names("healthy")),
        (expected.map(String::from).to_vec(), expected.map(String::from).to_vec())
    );
    assert_eq!(
        found["policies"][0]["total"],
        json!({"mean": 1.0, "interval": null}),
        "three seeds are too few"
    );
    assert_eq!((&found["healthy"][0]["moves"], &found["healthy"][0]["shifts"]), (&json!(0.0), &json!(0.0)));
    for (key, first) in [("incidents", "risk"), ("surges", "forecast")] {
        let rows = found["predictions"][key].as_array().unwrap();
        assert_eq!((rows.len(), &rows[0]["name"]), (4, &json!(first)));
        for row in rows {
            let judged = row["measured"].as_object();
            assert!(judged.is_some() != row["not_judged"].is_string(), "{row}");
            assert!(judged.is_none_or(|judged| judged["brier"].as_f64().unwrap() <= 1.0));
        }
    }
    // The goals are of another cluster and a month.
    for goal in found["goals"].as_array().unwrap() {
        assert!(goal["found"].is_number() && goal["verdict"] == json!("not_judged"), "{goal}");
    }
}

#[test]
fn the_tables_say_what_was_found_and_what_flatters_it() {
    let table = stdout("backtest", &["--seeds", "4..5", "--policies", "full-model"]);
    for part in [
        "Seeds 4 to 5: 18 nodes, 150 partitions, 3 days; failures are never made from entropy",
        "tuned on seeds 1 to 4",
        "FAILOVER PART",
        "nothing should be done",
        "PR-AUC",
        "per healthy partition-day",
        "not judged",
    ] {
        assert!(table.contains(part), "{part}\n{table}");
    }
    let healthy = stdout("backtest", &["--seeds", "1", "--healthy"]);
    assert!(!healthy.contains("PR-AUC") && healthy.contains("entropy over a level"), "{healthy}");
}
