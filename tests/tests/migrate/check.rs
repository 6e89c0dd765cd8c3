//! `isotherm adapter check`, as whoever writes an adapter runs it.

use super::scene::Scene;
use super::support::analyzer::run;
use super::support::command::{code, parsed, stderr};
use serde_json::Value;
use std::process::Output;

/// Stories that are over in a moment, the first about what a switch is founded on.
const STORIES: [&str; 4] = ["--only", "warrant", "--only", "fence"];

fn checked(store: &str, more: &[&str]) -> (Output, Scene) {
    let mut scene = Scene::new("at_switch", &format!("blocks = 8\nlatency = \"1ms\"\n{store}"), "");
    // The check is a newer controller, beside which there must be no other.
    scene.kill_analyzer();
    let output = run(&[&["adapter", "check", &scene.adapter_url()], &STORIES[..], more].concat()).unwrap();
    (output, scene)
}

/// The result of each story, by name.
fn results(report: &Value) -> Vec<(&str, &str)> {
    let checks = report["checks"].as_array().unwrap().iter();
    checks.map(|check| (check["check"].as_str().unwrap(), check["result"].as_str().unwrap())).collect()
}

#[test]
fn an_adapter_that_keeps_the_contract_passes_with_code_0() {
    let (output, scene) = checked("", &["-o", "json"]);
    assert_eq!(code(&output), Some(0), "{}{}", stderr(&output), scene.logs());
    let report = parsed(&output);
    assert_eq!(results(&report), [("warrant", "ok"), ("fence", "ok")], "{report:#}");
    let endpoint = report["endpoint"].as_str().unwrap().trim_end_matches('/');
    assert_eq!((report["system"].as_str(), endpoint), (Some("seaweedfs"), &*scene.adapter_url()));
    assert_eq!(stderr(&output), "", "a good report is all there is to say");
}

#[test]
fn a_flaw_ends_it_with_code_1_and_is_named_in_the_report_and_beside_it() {
    let (output, scene) = checked("flaw = \"commits-blindly\"\n", &["-o", "json"]);
    assert_eq!(code(&output), Some(1), "{}{}", stderr(&output), scene.logs());
    let report = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(results(&report), [("warrant", "failed"), ("fence", "ok")], "{report:#}");
    assert!(!report["checks"][0]["why"].as_str().unwrap().is_empty(), "{report:#}");
    assert!(stderr(&output).contains("does not keep the contract: warrant"), "{}", stderr(&output));

    let unknown = run(&["adapter", "check", &scene.adapter_url(), "--only", "nonsense"]).unwrap();
    assert_eq!(code(&unknown), Some(2), "{}", stderr(&unknown));
    assert!(
        stderr(&unknown).contains("nonsense") && stderr(&unknown).contains("warrant"),
        "{}",
        stderr(&unknown)
    );

    let nobody = run(&["adapter", "check", "http://127.0.0.1:1"]).unwrap();
    assert_eq!((code(&nobody), &*nobody.stdout), (Some(1), &b""[..]), "{}", stderr(&nobody));
}
