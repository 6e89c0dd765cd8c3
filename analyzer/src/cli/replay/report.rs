//! What a replay found, as lines for people and as JSON.

use super::course::{Change, Difference};
use super::{Output, ReplayArgs, Summary, Told};
use crate::cli::Failure;
use crate::cli::print;
use crate::cli::time::rfc3339;
use anyhow::Context;
use isotherm_cycle::record::Record;
use serde::Serialize;

/// Answers as it goes, or all at once.
pub(super) struct Report {
    output: Output,
    /// Whether a partition is followed minute by minute.
    one: bool,
    /// What one document is made from.
    cycles: Vec<Told>,
}

#[derive(Serialize)]
struct Document {
    summary: Summary,
    cycles: Vec<Told>,
}

#[derive(Serialize)]
struct Explained<'a> {
    record: &'a Record,
    words: Vec<String>,
}

/// What the words say of a partition at a moment.
pub(super) fn words(args: &ReplayArgs, record: &Record, words: Vec<String>) -> Result<(), Failure> {
    match args.output {
        Output::Table => print::out(&(words.join("\n") + "\n")),
        Output::Json | Output::Jsonl => print::json(&Explained { record, words }),
    }
}

impl Report {
    pub(super) fn new(args: &ReplayArgs) -> Result<Self, Failure> {
        let one = args.partition.is_some();
        if args.output == Output::Table && args.at.is_none() && one {
            let names = ["READS/S", "H", "HABIT", "Z", "SURGE", "FORECAST", "RISK %"];
            let names: String = names.iter().map(|name| format!("{name:>9}")).collect();
            print::out(&format!("{:<20}{names}  VERDICT\n", "TIME"))?;
        }
        Ok(Self { output: args.output, one, cycles: Vec::new() })
    }

    pub(super) fn cycle(&mut self, told: Told) -> Result<(), Failure> {
        match self.output {
            Output::Json => {
                self.cycles.push(told);
                Ok(())
            }
            Output::Jsonl => line(&told),
            Output::Table => print::out(&self.lines(&told)),
        }
    }

    pub(super) fn end(self, summary: Summary) -> Result<(), Failure> {
        match self.output {
            Output::Json => print::json(&Document { summary, cycles: self.cycles }),
            Output::Jsonl => line(&summary),
            Output::Table => print::out(&told(&summary)),
        }
    }

    fn lines(&self, told: &Told) -> String {
        let at = rfc3339(told.at_ms);
        let mut text = match (&told.record, self.one) {
            (Some(record), _) => format!("{at:<20}{}\n", row(record)),
            (None, true) => format!("{at:<20}  not counted\n"),
            (None, false) => String::new(),
        };
        let changes =
            told.changes.iter().filter(|change| !self.one || matches!(change, Change::Failure { .. }));
        text.extend(changes.map(|change| format!("{at}  {}\n", change_words(change))));
        let differences = told.differences.iter().flatten();
        text.extend(differences.map(|one| format!("{at}  {}\n", difference_words(one))));
        text
    }
}

fn line(value: &impl Serialize) -> Result<(), Failure> {
    print::out(&(serde_json::to_string(value).context("cannot render JSON")? + "\n"))
}

/// A record in the columns of the header.
fn row(record: &Record) -> String {
    let number = |value: Option<f64>, digits: usize| {
        let text = value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"));
        format!("{text:>9}")
    };
    [
        number(record.reads_per_s, 1),
        number(record.node.h, 3),
        number(record.node.habitual.map(|habitual| habitual.value), 3),
        number(record.node.z, 1),
        format!("{:>9}", record.surge.as_str()),
        number(record.forecast.map(|forecast| forecast.h), 3),
        number(record.exposure.map(|exposed| 100.0 * exposed.risk), 3),
        format!("  {}", record.verdict.as_str()),
    ]
    .concat()
}

fn change_words(change: &Change) -> String {
    let percent = |value: Option<f64>| {
        value.map_or_else(|| "unknown".to_owned(), |value| format!("{:.0} %", 100.0 * value))
    };
    match change {
        Change::Failure { at_ms, nodes } => {
            format!("{:<9}{} failed at {}", "failure", nodes.join(", "), rfc3339(*at_ms))
        }
        Change::SurgeBegins { partition, h, habitual, z } => format!(
            "{:<9}{partition} begins to surge: entropy {}, habitual {}, {} deviations",
            "surge",
            percent(*h),
            percent(*habitual),
            z.map_or_else(|| "unknown".to_owned(), |z| format!("{z:.1}"))
        ),
        Change::SurgeEnds { partition } => format!("{:<9}{partition} does not surge any more", "surge"),
        Change::Verdict { partition, before, now, reason } => {
            format!("{:<9}{partition}: {now} (was {before}): {reason}", "verdict")
        }
    }
}

fn difference_words(one: &Difference) -> String {
    let (recorded, other) = (one.recorded, one.with_policy);
    format!(
        "{:<9}{}: {}, {} as recorded; {}, {} with the policy",
        "differs", one.partition, recorded.verdict, recorded.surge, other.verdict, other.surge
    )
}

fn told(summary: &Summary) -> String {
    let mut text = format!(
        "{} cycles from {} to {} ({} more minutes were only taken in), {} partitions: {} surges, {} changes of \
         verdicts, {} failures\n",
        summary.cycles,
        rfc3339(summary.since_ms),
        rfc3339(summary.until_ms),
        summary.learned_minutes,
        summary.partitions,
        summary.surges,
        summary.verdict_changes,
        summary.failures
    );
    for system in &summary.without_topology {
        text += &format!("The topology of {system} was an adapter's and is not in the recording.\n");
    }
    for top in &summary.top {
        let calibrated = top.calibrated.map_or_else(
            || "uncalibrated".to_owned(),
            |calibrated| format!("{:.2} % after calibration", 100.0 * calibrated),
        );
        text += &format!(
            "at the end: {} has an incident with probability {:.3} % ({calibrated}): {}\n",
            top.partition,
            100.0 * top.risk,
            top.verdict
        );
    }
    if let Some(policy) = &summary.policy {
        text += &format!(
            "with {}: of {} decisions {} have another verdict, {} another surge, {} another risk; digest {}\n",
            policy.file,
            policy.records,
            policy.verdicts_differ,
            policy.surges_differ,
            policy.risks_differ,
            policy.digest
        );
    }
    text + &format!("digest {}\n", summary.digest)
}
