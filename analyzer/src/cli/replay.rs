//! `isotherm replay`: the cycles of a recording again, as they were or with other settings.

mod course;
mod policy;
mod report;

use super::Failure;
use super::record::progress;
use super::time::{Moment, rfc3339};
use crate::recording::Recording;
use crate::writer::now;
use anyhow::Context;
use clap::{Args, ValueEnum};
use course::{Change, Course, Difference, Digest, called, difference};
use isotherm_cycle::cluster::Cluster;
use isotherm_cycle::frame::{Decided, Frame, Purpose};
use isotherm_cycle::record::Record;
use isotherm_cycle::{Settings, State};
use report::Report;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Decide again what a recording holds, and say what was found
///
/// Every minute of the file goes through the code of the cycle itself. Told are surges that begin and end, verdicts that
/// change, failures, and at the end the partitions with the highest risk and a digest of all decision records: the
/// same file has the same digest on every run of the same program, on any number of threads.
///
/// With --policy other settings decide by the same minutes, and what comes out otherwise is told: what would have been
/// if. Hazards were estimated when the file was made, so those cannot be changed by it.
///
///   isotherm replay incident.isorec
///   isotherm replay incident.isorec --partition 7 --at 2026-01-31T12:05:00Z
///   isotherm replay incident.isorec --policy strict.toml       # such as: gate = { trigger = "threshold" }
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(super) struct ReplayArgs {
    /// The recording
    file: PathBuf,
    /// Only this partition, SYSTEM/NAME or NAME, minute by minute
    #[arg(long, value_name = "NAME")]
    partition: Option<String>,
    /// Why the cycle of that moment said of the partition what it said, in words
    #[arg(long, value_name = "WHEN", requires = "partition")]
    at: Option<Moment>,
    /// Settings to compare with: fields of `[cycle.policy]` (TOML); those that are not given stay as recorded
    #[arg(long, value_name = "FILE", conflicts_with = "at")]
    policy: Option<PathBuf>,
    /// How many of the partitions with the highest risk are told
    #[arg(long, value_name = "N", default_value_t = 5)]
    top: usize,
    /// How to answer
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// How to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Lines for people.
    Table,
    /// One JSON document.
    Json,
    /// A JSON document for each cycle, and one for all at the end.
    Jsonl,
}

/// What a cycle found.
#[derive(Debug, Serialize)]
struct Told {
    at_ms: u64,
    /// Records whose entropy is known, and that surge.
    known: usize,
    surging: usize,
    /// What is other than in the cycle before.
    changes: Vec<Change>,
    /// With other settings; absent without.
    differences: Option<Vec<Difference>>,
    /// The partition that was asked for; absent if none was, or it was not counted.
    record: Option<Record>,
    /// Nodes that hold it, in the order of the record.
    holders: Option<Vec<String>>,
}

/// What all of it came to.
#[derive(Debug, Serialize)]
struct Summary {
    isotherm: String,
    recorded_by: String,
    source: String,
    since_ms: u64,
    until_ms: u64,
    without_topology: Vec<String>,
    cycles: u64,
    /// Minutes that were only taken in.
    learned_minutes: u64,
    partitions: usize,
    surges: u64,
    verdict_changes: u64,
    failures: usize,
    /// SHA-256 of all decision records.
    digest: String,
    top: Vec<Top>,
    /// With other settings; absent without.
    policy: Option<Compared>,
}

/// A partition at the end.
#[derive(Debug, Clone, Serialize)]
struct Top {
    partition: String,
    risk: f64,
    calibrated: Option<f64>,
    verdict: &'static str,
    reason: String,
}

/// What other settings came to.
#[derive(Debug, Serialize)]
struct Compared {
    file: String,
    digest: String,
    records: u64,
    verdicts_differ: u64,
    surges_differ: u64,
    risks_differ: u64,
}

pub(super) fn run(args: &ReplayArgs) -> Result<(), Failure> {
    let recording = Recording::open(&args.file)?;
    let settings = &recording.about.settings;
    settings.check().with_context(|| format!("the settings in {}", args.file.display()))?;
    let other = args.policy.as_deref().map(|file| policy::read(file, settings)).transpose()?;
    let at_ms = args.at.map(|at| at.ms(now().as_ms()));
    let mut replay = Replay::new(settings, other);
    let mut report = Report::new(args)?;
    let bar = progress(recording.frames, "minutes");
    let mut found = args.partition.is_none();
    for frame in recording.play()? {
        let frame = frame?;
        bar.inc(1);
        let Some((decided, told)) = replay.next(&frame, args.partition.as_deref())? else { continue };
        found |= told.record.is_some();
        if let Some(at_ms) = at_ms {
            if frame.end().as_ms() >= at_ms {
                bar.finish_and_clear();
                return explained(args, &decided, &frame.cluster, settings);
            }
            continue;
        }
        bar.suspend(|| report.cycle(told))?;
    }
    bar.finish_and_clear();
    if !found {
        return Err(missing(args));
    }
    if let Some(at_ms) = at_ms {
        let until = rfc3339(recording.about.until_ms);
        return Err(Failure::NotFound(format!("the recording ends at {until}, before {}", rfc3339(at_ms))));
    }
    report.end(replay.summary(&recording, args))
}

fn missing(args: &ReplayArgs) -> Failure {
    let name = args.partition.as_deref().unwrap_or_default();
    Failure::NotFound(format!("{} has no partition {name}", args.file.display()))
}

/// The words of the cycle itself.
fn explained(
    args: &ReplayArgs,
    decided: &Decided,
    cluster: &Cluster,
    settings: &Settings,
) -> Result<(), Failure> {
    let name = args.partition.as_deref().unwrap_or_default();
    let record = decided.records.iter().find(|record| called(record, name)).ok_or_else(|| missing(args))?;
    report::words(args, record, isotherm_cycle::explain::partition(record, cluster, settings.lead_min))
}

/// One course of decisions, and what is counted of it.
struct Replay<'a> {
    settings: &'a Settings,
    state: State,
    course: Course,
    digest: Digest,
    other: Option<Other>,
    cycles: u64,
    learned: u64,
    partitions: usize,
    surges: u64,
    verdicts: u64,
    failures: usize,
    last: Vec<Record>,
}

/// The course with other settings.
struct Other {
    settings: Settings,
    state: State,
    digest: Digest,
    differing: BTreeMap<(String, String), Difference>,
    counted: [u64; 4],
}

impl<'a> Replay<'a> {
    fn new(settings: &'a Settings, other: Option<Settings>) -> Self {
        let other = other.map(|settings| Other {
            settings,
            state: State::default(),
            digest: Digest::default(),
            differing: BTreeMap::new(),
            counted: [0; 4],
        });
        Self {
            settings,
            state: State::default(),
            course: Course::default(),
            digest: Digest::default(),
            other,
            cycles: 0,
            learned: 0,
            partitions: 0,
            surges: 0,
            verdicts: 0,
            failures: 0,
            last: Vec::new(),
        }
    }

    /// Takes a minute in; what was decided, if that is its purpose.
    fn next(&mut self, frame: &Frame, partition: Option<&str>) -> anyhow::Result<Option<(Decided, Told)>> {
        self.state.take_in(frame, self.settings);
        if let Some(other) = &mut self.other {
            other.state.take_in(frame, &other.settings);
        }
        if frame.purpose == Purpose::Learn {
            self.learned += 1;
            self.course.failures(frame);
            return Ok(None);
        }
        let decided = self.state.decide(frame, self.settings, |_| {})?;
        let records = &decided.records;
        self.digest.add(records)?;
        let mut changes = self.course.failures(frame);
        self.failures += changes.len();
        changes.extend(self.course.follow(records));
        self.count(&changes, records);
        let asked = partition.map(|name| move |record: &Record| called(record, name));
        let record = asked.and_then(|asked| records.iter().find(|record| asked(record)).cloned());
        let differences = match &mut self.other {
            Some(other) => Some(other.next(frame, records)?),
            None => None,
        };
        if let Some(name) = partition {
            changes.retain(|change| change.is_of(name));
        }
        let holder = |at: u32| frame.cluster.nodes[at as usize].name.clone();
        let told = Told {
            at_ms: frame.end().as_ms(),
            known: records.iter().filter(|record| record.node.h.is_some()).count(),
            surging: records.iter().filter(|record| course::surges(record)).count(),
            changes,
            differences,
            holders: record
                .as_ref()
                .map(|record| record.holders.iter().map(|one| holder(one.node)).collect()),
            record,
        };
        self.last.clone_from(records);
        Ok(Some((decided, told)))
    }

    fn count(&mut self, changes: &[Change], records: &[Record]) {
        self.cycles += 1;
        self.partitions = self.partitions.max(records.len());
        for change in changes {
            self.surges += u64::from(matches!(change, Change::SurgeBegins { .. }));
            self.verdicts += u64::from(matches!(change, Change::Verdict { .. }));
        }
    }

    fn summary(self, recording: &Recording, args: &ReplayArgs) -> Summary {
        let about = &recording.about;
        let mut last: Vec<&Record> = self.last.iter().filter(|record| record.exposure.is_some()).collect();
        let risk = |record: &Record| record.exposure.map_or(0.0, |exposed| exposed.risk);
        last.sort_by(|a, b| risk(b).total_cmp(&risk(a)));
        let top = |record: &&Record| Top {
            partition: format!("{}/{}", record.system, record.partition),
            risk: risk(record),
            calibrated: record.calibrated,
            verdict: record.verdict.as_str(),
            reason: record.reason.clone(),
        };
        let policy = self.other.zip(args.policy.as_ref()).map(|(other, file)| {
            let [records, verdicts_differ, surges_differ, risks_differ] = other.counted;
            let (file, digest) = (file.display().to_string(), other.digest.hex());
            Compared { file, digest, records, verdicts_differ, surges_differ, risks_differ }
        });
        Summary {
            isotherm: env!("CARGO_PKG_VERSION").to_owned(),
            recorded_by: about.isotherm.clone(),
            source: about.source.clone(),
            since_ms: about.since_ms,
            until_ms: about.until_ms,
            without_topology: about.without_topology.clone(),
            cycles: self.cycles,
            learned_minutes: self.learned,
            partitions: self.partitions,
            surges: self.surges,
            verdict_changes: self.verdicts,
            failures: self.failures,
            digest: self.digest.hex(),
            top: last.iter().take(args.top).map(top).collect(),
            policy,
        }
    }
}

impl Other {
    /// What comes out otherwise, and did not in the cycle before.
    fn next(&mut self, frame: &Frame, recorded: &[Record]) -> anyhow::Result<Vec<Difference>> {
        let decided = self.state.decide(frame, &self.settings, |_| {})?;
        self.digest.add(&decided.records)?;
        let mut fresh = Vec::new();
        for (ours, theirs) in recorded.iter().zip(&decided.records) {
            let risk = |record: &Record| record.exposure.map(|exposed| exposed.risk);
            let differ = [
                true,
                ours.verdict != theirs.verdict,
                course::surges(ours) != course::surges(theirs),
                risk(ours) != risk(theirs),
            ];
            self.counted.iter_mut().zip(differ).for_each(|(count, differs)| *count += u64::from(differs));
            let name = (ours.system.clone(), ours.partition.clone());
            match difference(ours, theirs) {
                Some(difference) if self.differing.get(&name) != Some(&difference) => {
                    self.differing.insert(name, difference.clone());
                    fresh.push(difference);
                }
                Some(_) => {}
                None => drop(self.differing.remove(&name)),
            }
        }
        Ok(fresh)
    }
}
