//! `isotherm forecast` as it is run: the numbers of R, the terminal's table, what is refused and how.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use isotherm_tests::workspace;
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Runs it with a text as its standard input.
fn forecast(input: &str, args: &[&str]) -> Output {
    let mut command = Command::new(workspace::program("isotherm"));
    command.args(["forecast", "-"]).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("`cargo build -p isotherm` has been run");
    // A command that refuses its arguments reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn answer(input: &str, args: &[&str]) -> Value {
    serde_json::from_str(&stdout(&forecast(input, &[args, &["-o", "json"]].concat()))).unwrap()
}

/// The exit code and what was said about it.
fn refused(input: &str, args: &[&str]) -> (i32, String) {
    let output = forecast(input, args);
    assert!(output.stdout.is_empty());
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn nile() -> String {
    std::fs::read_to_string(workspace::root().join("docs/examples/nile.csv")).unwrap()
}

fn near(found: &Value, expected: f64, tolerance: f64) {
    let found = found.as_f64().unwrap_or_else(|| panic!("{found} where {expected} was expected"));
    assert!((found - expected).abs() <= tolerance, "{found} {expected}");
}

fn reference() -> Value {
    let path = workspace::root().join("analyzer/forecast/tests/fixtures/r_reference.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// R 4.2.2, forecast 8.20. Optimisers end at coefficients that differ in the fifth digit.
#[test]
fn a_given_order_has_the_numbers_of_r() {
    let found = answer(&nile(), &["--column", "flow", "--order", "1,1,1"]);
    let reference = reference();
    let rows = reference["arima_ml"].as_array().unwrap();
    let expected = rows.iter().find(|row| row["series"] == "Nile" && row["order"] == json!([1, 1, 1]));
    let expected = expected.unwrap();
    let model = &found["model"];
    assert_eq!(model["order"], json!({"p": 1, "d": 1, "q": 1, "constant": false}));
    assert_eq!((&found["observations"], &found["missing"]), (&json!(100), &json!(0)));
    near(&model["ar"][0], expected["coef"]["ar1"].as_f64().unwrap(), 5e-5);
    near(&model["ma"][0], expected["coef"]["ma1"].as_f64().unwrap(), 5e-5);
    // R takes the curvature by differences.
    near(&model["standard_errors"][0], expected["se"][0].as_f64().unwrap(), 1e-3);
    near(&model["standard_errors"][1], expected["se"][1].as_f64().unwrap(), 1e-3);
    near(&model["sigma2"], expected["sigma2"].as_f64().unwrap(), 0.5);
    near(&model["log_likelihood"], expected["loglik"].as_f64().unwrap(), 1e-4);
    near(&model["aicc"], 1267.507, 1e-3);
    near(&model["bic"], expected["bic"].as_f64().unwrap(), 1e-3);
    let steps = found["forecast"].as_array().unwrap();
    assert_eq!(steps.len(), 12);
    for (step, mean) in steps.iter().zip(expected["forecast"].as_array().unwrap()) {
        near(&step["mean"], mean.as_f64().unwrap(), 0.01);
        assert_eq!((&step["reached"], &found["threshold"]), (&Value::Null, &Value::Null));
    }
}

#[test]
fn the_automatic_order_and_its_limits_are_those_of_r() {
    let found = answer(&nile(), &["--column", "2"]);
    let reference = reference();
    let rows = reference["auto_arima"].as_array().unwrap();
    let expected =
        rows.iter().find(|row| row["series"] == "Nile" && row["mode"] == "exhaustive_exact").unwrap();
    assert_eq!(found["model"]["name"], json!("ARIMA(1,1,1)"));
    assert!(found["tried"].as_array().unwrap().len() > 50);
    for (at, step) in found["forecast"].as_array().unwrap().iter().enumerate() {
        assert_eq!(step["step"], json!(at + 1));
        for (key, of_r) in [("mean", "forecast"), ("low", "lo95"), ("high", "hi95")] {
            near(&step[key], expected[of_r][at].as_f64().unwrap(), 0.02);
        }
    }
}

#[test]
fn the_table_says_what_was_fitted_and_draws_it() {
    let table = stdout(&forecast(&nile(), &["--column", "flow", "--threshold", "1200", "--horizon", "5"]));
    assert!(table.starts_with("the standard input, column flow: 100 steps, none missing\nARIMA(1,1,1), "));
    for part in [
        "ma1",
        "STANDARD ERROR",
        "0.119",
        "AICc 1267.507",
        "95 % Gaussian intervals",
        "rises to 1200",
        "REACHED",
        "816.2",
        "┴",
    ] {
        assert!(table.contains(part), "{part}\n{table}");
    }
    assert!(!table.contains('\u{1b}'), "no colour where there is no terminal");
    assert!(table.lines().all(|line| !line.contains('░') || line.chars().count() <= 80));
    let without = stdout(&forecast(&nile(), &["--column", "flow", "--no-plot"]));
    assert!(!without.contains('┴') && without.lines().last().unwrap().trim_start().starts_with("12 "));
}

#[test]
fn the_probability_of_a_threshold_never_falls_and_has_a_seed() {
    let ask = |seed: &str| answer(&nile(), &["--column", "flow", "--threshold", "1000", "--seed", seed]);
    let found = ask("7");
    assert_eq!(found["threshold"], json!({"value": 1000.0, "side": "above", "paths": 10000, "seed": 7}));
    let reached = |found: &Value| -> Vec<f64> {
        let steps = found["forecast"].as_array().unwrap();
        steps.iter().map(|step| step["reached"].as_f64().unwrap()).collect()
    };
    let reached_first = reached(&found);
    assert!(reached_first.is_sorted() && reached_first[11] < 1.0);
    // Of one step the normal says it: 1000 is 1.294 standard errors of 142.04 above 816.18.
    assert!((reached_first[0] - 0.0978).abs() < 0.012, "{reached_first:?}");
    assert_eq!(reached(&ask("7")), reached_first);
    assert_ne!(reached(&ask("8")), reached_first);
}

#[test]
fn a_series_without_noise_is_its_own_forecast() {
    let constant = answer("y\n5\nNA\n5\n5\n5\n", &["--horizon", "2"]);
    assert_eq!((&constant["model"], &constant["line"]), (&Value::Null, &json!({"last": 5.0, "slope": 0.0})));
    let step = |step: u32, value: f64, reached: Value| json!({"step": step, "mean": value, "standard_error": 0.0, "low": value, "high": value, "reached": reached});
    assert_eq!(constant["forecast"], json!([step(1, 5.0, Value::Null), step(2, 5.0, Value::Null)]));
    // The last two values are missing: the first step is the one after them.
    let rows: String = (0..30).map(|t| format!("{}\n", 2 * t)).collect();
    let args = ["--order", "0,1,0", "--horizon", "2", "--threshold", "64"];
    let line = answer(&format!("{rows}NA\nNA\n"), &args);
    assert_eq!(line["forecast"], json!([step(1, 64.0, json!(1.0)), step(2, 66.0, json!(1.0))]));
    assert!(stdout(&forecast("y\n5\n5\n5\n", &[])).contains("No noise: all values are the same"));
}

/// A share that is nearly whole: what lies above 1 is no value.
#[test]
fn a_bounded_series_has_a_bounded_forecast() {
    let rows: String = (0..80).map(|t| format!("{}\n", 1.0 - 0.01 * f64::from(t * 37 % 11))).collect();
    let bounded = answer(&rows, &["--bounded", "--level", "99.9"]);
    let plain = answer(&rows, &["--level", "99.9"]);
    let highest = |found: &Value| {
        let steps = found["forecast"].as_array().unwrap().iter();
        steps.map(|step| step["high"].as_f64().unwrap()).fold(0.0, f64::max)
    };
    assert!(highest(&bounded) <= 1.0 && highest(&plain) > 1.0);
    let (code, said) = refused("y\n.5\n1.5\n.7\n", &["--bounded"]);
    assert!(code == 1 && said.contains("number 2 is 1.5"), "{said}");
}

#[test]
fn conformal_intervals_say_how_many_errors_they_need() {
    let rows: String = (0..120).map(|t| format!("{}\n", t * 37 % 101)).collect();
    let found = answer(&rows, &["--intervals", "conformal", "--order", "0,0,0", "--horizon", "3"]);
    // The first of them is after 20 values, and the last has three after it.
    assert_eq!((&found["intervals"], &found["conformal_errors"]), (&json!("conformal"), &json!(98)));
    let low = found["forecast"][0]["low"].as_f64().unwrap();
    let (mean, high) =
        (found["forecast"][0]["mean"].as_f64().unwrap(), found["forecast"][0]["high"].as_f64());
    assert!((high.unwrap() + low - 2.0 * mean).abs() < 1e-9, "as wide on both sides");
    let (code, said) = refused(&rows, &["--intervals", "conformal", "--level", ".995", "--order", "0,0,0"]);
    assert_eq!(code, 1);
    assert!(said.contains("need 199 errors") && said.contains("there are 89 at step 1"), "{said}");
}

#[test]
fn what_is_refused_is_told_with_its_place() {
    for (input, args, code, part) in [
        ("y\n1\nx\n", &[][..], 1, "line 3, column y: \"x\" is not a number"),
        ("y\n1\ninf\n", &[], 1, "line 3, column y: \"inf\" is infinite"),
        ("a,b\n1,2\n", &[], 1, "several columns hold numbers: a, b; name one with --column"),
        ("a,b\n1,2\n", &["--column", "c"], 3, "there is no column \"c\" among a, b"),
        ("y\n1\n2\n", &[], 1, "are needed"),
        ("y\nNA\nNA\n", &[], 1, "all 2 values are missing"),
        ("", &[], 1, "has no rows"),
        ("y\n1\n2\n3\n", &["--order", "1,2,1", "--constant", "with"], 2, "quadratic trend"),
        ("y\n1\n2\n3\n", &["--order", "1,1,1", "--differences", "1"], 2, "automatic order"),
        ("y\n1\n2\n4\n", &["--threshold", "4"], 1, "reached already"),
        ("y\n1\n", &["--horizon", "10001"], 2, "10001 is not in 1..=10000"),
        ("y\n1\n", &["--level", "100"], 2, "without the ends"),
    ] {
        let (found, said) = refused(input, args);
        assert!(found == code && said.contains(part), "{input:?} {args:?}: {found} {said}");
    }
    let nowhere =
        Command::new(workspace::program("isotherm")).args(["forecast", "/nowhere.csv"]).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(String::from_utf8(nowhere.stderr).unwrap().contains("cannot open /nowhere.csv"));
}
