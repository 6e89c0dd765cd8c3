//! Which crate may depend on which.
//!
//! Direct dependencies only: that is what people write, and what a reviewer should see refused.

use super::shell;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::path::Path;

/// Crates of definitions and decisions: no tasks, no wire, no tables, no clock, no files, no chance.
pub(super) const PURE: [&str; 7] = [
    "isotherm-model",
    "isotherm-forecast",
    "isotherm-risk",
    "isotherm-placement",
    "isotherm-migration",
    "isotherm-cycle",
    "isotherm-simulate",
];

/// What pure crates must not name; a family is named by its stem.
const IMPURE: [&str; 14] = [
    "tokio",
    "tonic",
    "polars",
    "rand",
    "fastrand",
    "getrandom",
    "chrono",
    "time",
    "uuid",
    "reqwest",
    "ureq",
    "hyper",
    "mio",
    "nix",
];

/// What makes a build slow. xtask and the lab are what a newcomer waits for first.
const HEAVY: [&str; 4] = ["tokio", "tonic", "polars", "aya"];

/// Crates of ours that a crate may depend on; crates that are not listed may use all but xtask.
const ALLOWED: [(&str, &[&str]); 12] = [
    ("isotherm-agent-ebpf", &[]),
    ("isotherm-model", &[]),
    // The contracts, in its tests.
    ("isotherm-gateway", &["isotherm-proto"]),
    ("isotherm-forecast", &["isotherm-model"]),
    ("isotherm-risk", &["isotherm-model"]),
    ("isotherm-placement", &["isotherm-model", "isotherm-risk"]),
    ("isotherm-migration", &["isotherm-model"]),
    ("isotherm-cycle", &["isotherm-model", "isotherm-forecast", "isotherm-risk", "isotherm-placement"]),
    (
        "isotherm-simulate",
        &["isotherm-model", "isotherm-forecast", "isotherm-risk", "isotherm-placement", "isotherm-cycle"],
    ),
    ("isotherm-proto", &["isotherm-model"]),
    ("isotherm-adapter", &["isotherm-model", "isotherm-proto", "isotherm-migration"]),
    ("isotherm-agent", &["isotherm-model", "isotherm-proto", "isotherm-agent-ebpf"]),
];

/// The part of `cargo metadata` that is used.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    /// Absent for normal ones, else `dev` or `build`.
    kind: Option<String>,
    optional: bool,
    /// Present for crates of the workspace.
    path: Option<String>,
}

impl Dependency {
    fn is_dev(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }

    fn is_normal(&self) -> bool {
        self.kind.is_none()
    }

    /// Whether it is `stem` or one of its family: `tokio`, `tokio-util`.
    fn belongs_to(&self, stem: &str) -> bool {
        self.name.strip_prefix(stem).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }
}

/// Asks cargo.
pub(super) fn read(root: &Path) -> Result<Metadata> {
    let mut cargo = shell::cargo();
    let text = shell::read(cargo.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(root))?;
    serde_json::from_str(&text).context("parse what cargo metadata says")
}

/// One sentence per dependency that must not be.
pub(super) fn violations(metadata: &Metadata) -> Vec<String> {
    let mut found = Vec::new();
    for package in &metadata.packages {
        for dependency in &package.dependencies {
            found.extend(violation(package, dependency));
        }
    }
    found
}

fn violation(package: &Package, dependency: &Dependency) -> Option<String> {
    let (name, on) = (package.name.as_str(), dependency.name.as_str());
    let refuse = |why: &str| Some(format!("{name}: must not depend on {on}: {why}"));
    if on == "xtask" {
        return refuse("nothing depends on xtask");
    }
    if dependency.belongs_to("polars") && name != "isotherm-store" {
        return refuse("only isotherm-store names polars");
    }
    if dependency.is_dev() {
        return None;
    }
    let allowed = ALLOWED.iter().find(|(of, _)| *of == name).map(|(_, allowed)| *allowed);
    if dependency.path.is_some() && allowed.is_some_and(|allowed| !allowed.contains(&on)) {
        return refuse("the layers of ARCHITECTURE.md");
    }
    if PURE.contains(&name) && dependency.is_normal() && IMPURE.iter().any(|stem| dependency.belongs_to(stem))
    {
        return refuse("the crate is pure");
    }
    if name == "isotherm-agent-ebpf" && !dependency.optional {
        return refuse("its library needs core only");
    }
    let light = name == "xtask" || name == "isotherm-tests";
    if light && HEAVY.iter().any(|stem| dependency.belongs_to(stem)) {
        return refuse("it has to build in seconds");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(package: &str, dependency: &str, kind: Option<&str>, ours: bool) -> Vec<String> {
        let dependency = Dependency {
            name: dependency.to_owned(),
            kind: kind.map(str::to_owned),
            optional: false,
            path: ours.then(|| "/somewhere".to_owned()),
        };
        violations(&Metadata {
            packages: vec![Package { name: package.to_owned(), dependencies: vec![dependency] }],
        })
    }

    #[test]
    fn each_rule_refuses_what_it_is_about() {
        for (package, dependency, ours) in [
            ("isotherm", "xtask", true),
            ("isotherm", "polars", false),
            ("isotherm-agent", "polars", false),
            ("isotherm-agent", "isotherm", true),
            ("isotherm-agent", "isotherm-store", true),
            ("isotherm-proto", "isotherm-agent-ebpf", true),
            ("isotherm-model", "isotherm-proto", true),
            ("isotherm-model", "tokio-util", false),
            ("isotherm-forecast", "rand", false),
            ("isotherm-agent-ebpf", "aya-ebpf", false),
            ("xtask", "tonic", false),
        ] {
            assert_eq!(one(package, dependency, None, ours).len(), 1, "{package} -> {dependency}");
        }
    }

    #[test]
    fn what_the_layers_need_is_allowed() {
        for (package, dependency, kind, ours) in [
            ("isotherm-store", "polars", None, false),
            ("isotherm-placement", "isotherm-risk", None, true),
            ("isotherm-agent", "isotherm-agent-ebpf", None, true),
            ("isotherm", "isotherm-store", None, true),
            ("isotherm-model", "proptest", Some("dev"), false),
            ("isotherm-model", "timeline", None, false),
            ("isotherm-tests", "tonic", Some("dev"), false),
        ] {
            assert!(one(package, dependency, kind, ours).is_empty(), "{package} -> {dependency}");
        }
    }
}
