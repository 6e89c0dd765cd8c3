//! What the check found.

use super::{Verdict, Why};
use comfy_table::{Table, presets};
use isotherm_proto::Capabilities;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// What was found of an adapter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Where it is.
    pub endpoint: String,
    /// Its name and version, in its own words.
    pub adapter: String,
    /// The system it adapts.
    pub system: String,
    /// What was checked, in order.
    pub checks: Vec<Checked>,
}

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Checked {
    /// Its name.
    pub check: &'static str,
    /// What must hold.
    pub holds: &'static str,
    /// What was found.
    #[serde(flatten)]
    pub finding: Finding,
    /// How long it took.
    pub seconds: f64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "result", content = "why", rename_all = "snake_case")]
pub enum Finding {
    /// It holds.
    Ok,
    /// It does not.
    Failed(String),
    /// It could not be tried.
    Skipped(String),
}

impl Report {
    pub(super) fn new(endpoint: &str, capabilities: &Capabilities) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            adapter: capabilities.adapter.clone(),
            system: capabilities.system.to_string(),
            checks: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, check: &'static str, holds: &'static str, verdict: Verdict, took: Duration) {
        let finding = match verdict {
            Ok(()) => Finding::Ok,
            Err(Why::Failed(what)) => Finding::Failed(what),
            Err(Why::Skipped(why)) => Finding::Skipped(why),
        };
        let seconds = (took.as_secs_f64() * 1e3).round() / 1e3;
        self.checks.push(Checked { check, holds, finding, seconds });
    }

    /// Whether nothing failed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        !self.checks.iter().any(|checked| matches!(checked.finding, Finding::Failed(_)))
    }

    /// Names of what failed.
    #[must_use]
    pub fn failures(&self) -> Vec<&'static str> {
        let failed = self.checks.iter().filter(|checked| matches!(checked.finding, Finding::Failed(_)));
        failed.map(|checked| checked.check).collect()
    }
}

impl fmt::Display for Report {
    /// A table, and how many failed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} at {}, system {}\n", self.adapter, self.endpoint, self.system)?;
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["CHECK", "RESULT", "SECONDS", "WHAT"]);
        for checked in &self.checks {
            let (result, what) = match &checked.finding {
                Finding::Ok => ("ok", checked.holds),
                Finding::Failed(what) => ("FAILED", what.as_str()),
                Finding::Skipped(why) => ("skipped", why.as_str()),
            };
            table.add_row([checked.check, result, &format!("{:.1}", checked.seconds), what]);
        }
        writeln!(f, "{table}\n")?;
        let count =
            |of: fn(&Finding) -> bool| self.checks.iter().filter(|checked| of(&checked.finding)).count();
        write!(
            f,
            "{} ok, {} failed, {} skipped",
            count(|finding| matches!(finding, Finding::Ok)),
            count(|finding| matches!(finding, Finding::Failed(_))),
            count(|finding| matches!(finding, Finding::Skipped(_)))
        )
    }
}
