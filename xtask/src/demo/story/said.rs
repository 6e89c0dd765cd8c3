//! What the command line answers about what isotherm does, and the words that the story gives it.

use crate::demo::command::ask;
use crate::shell;
use anyhow::{Context, Result, ensure};
use isotherm_tests::workspace;
use serde::{Deserialize, Serialize};

/// A migration, as `isotherm migrate status` has it.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(in crate::demo) struct Migration {
    pub(super) id: String,
    pub(super) partition: String,
    pub(super) source: String,
    pub(super) target: String,
    pub(super) repair: bool,
    pub(super) phase: String,
    pub(super) trigger: String,
    pub(super) cause: String,
    pub(super) created_ms: u64,
    pub(super) ended_ms: Option<u64>,
}

impl Migration {
    /// Whether it is of a volume.
    pub(super) fn is_of(&self, volume: &str) -> bool {
        names(&self.partition, volume)
    }

    /// Whether it goes to a node.
    pub(super) fn is_to(&self, node: &str) -> bool {
        names(&self.target, node)
    }

    /// Whether it is over, and did what it was for.
    pub(super) fn completed(&self) -> bool {
        self.phase == "COMPLETED"
    }
}

#[derive(Deserialize)]
struct Migrations {
    migrations: Vec<Migration>,
}

/// All migrations there ever were.
pub(super) fn migrations(endpoint: &str) -> Result<Vec<Migration>> {
    let answer: Migrations = ask(endpoint, &["migrate", "status", "--all"])?;
    Ok(answer.migrations)
}

/// Reads that were shifted, as `isotherm reads status` has it.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(in crate::demo) struct Shift {
    pub(super) partition: String,
    pub(super) node: String,
    pub(super) state: String,
    pub(super) created_ms: u64,
}

impl Shift {
    /// Whether it is of a volume.
    pub(super) fn is_of(&self, volume: &str) -> bool {
        names(&self.partition, volume)
    }

    /// Whether the reads go elsewhere now.
    pub(super) fn in_force(&self) -> bool {
        self.state == "IN_FORCE"
    }
}

#[derive(Deserialize)]
struct Shifts {
    shifts: Vec<Shift>,
}

/// Shifts that are in force or on their way.
pub(super) fn shifts(endpoint: &str) -> Result<Vec<Shift>> {
    let answer: Shifts = ask(endpoint, &["reads", "status"])?;
    Ok(answer.shifts)
}

/// All shifts there ever were.
pub(super) fn all_shifts(endpoint: &str) -> Result<Vec<Shift>> {
    let answer: Shifts = ask(endpoint, &["reads", "status", "--all", "--limit", "10000"])?;
    Ok(answer.shifts)
}

/// Whether a partition or node is called so, with or without its system.
fn names(called: &str, name: &str) -> bool {
    called.rsplit('/').next() == Some(name)
}

/// A plan, as `isotherm plan create` has it.
#[derive(Deserialize)]
pub(super) struct Plan {
    pub(super) id: String,
    pub(super) move_count: u64,
}

/// What `isotherm plan create` exits with where it refuses a part of what was asked for: here, what is held out.
const REFUSED_IN_PART: i32 = 4;

/// A plan that empties a node, as far as it may.
pub(super) fn plan_to_empty(endpoint: &str, node: &str) -> Result<Plan> {
    let mut command = shell::clean(workspace::program("isotherm"));
    command.args(["plan", "create", "--drain", node, "--reason", "it fails every week", "-o", "json"]);
    let output = command.args(["--server", endpoint]).output().context("start isotherm")?;
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(
        output.status.success() || output.status.code() == Some(REFUSED_IN_PART),
        "isotherm plan create: {}: {errors}",
        output.status
    );
    serde_json::from_str(&said).with_context(|| format!("parse the plan: {said}"))
}

/// A line of the diary.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Line {
    pub(super) who: String,
    pub(super) partition: String,
    pub(super) kind: String,
    pub(super) what: String,
    pub(super) why: String,
}

#[derive(Deserialize)]
struct Diary {
    lines: Vec<Line>,
}

/// The last lines of the diary, for a failure.
pub(super) fn diary(endpoint: &str) -> Result<String> {
    let diary: Diary = ask(endpoint, &["diary", "--limit", "30"])?;
    let line = |line: &Line| {
        let Line { who, partition, kind, what, why } = line;
        format!("{who} {partition} {kind}: {what} {why}")
    };
    Ok(diary.lines.iter().map(line).collect::<Vec<_>>().join("\n"))
}
