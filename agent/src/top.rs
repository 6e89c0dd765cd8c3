//! `isotherm-agent top`: what the host's storage processes access, without configuration or analyzer.
//!
//! Partitions are those of the stores in [`crate::store`], or the groups of `--path`; files that are of no
//! partition are shown by their path.

use crate::attribution::Attribution;
use crate::config::Target;
use crate::discovery::{self, Candidate, Listeners, Selector};
use crate::locator::Located;
use crate::probe::{Capacity, Probe, ProbeError, TargetIndex};
use crate::rule::{Rule, RuleError};
use crate::store::KNOWN;
use crate::upkeep::Upkeep;
use crate::window::{Attribute, Cutter};
use isotherm_agent_ebpf::{FileCounters, FileKey, HOST_TARGET, SYNC, WRITE};
use isotherm_model::{
    Counts, InvalidName, NodeId, OffsetHistogram, OtherReason, Subject, SystemId, UnattributedReason, entropy,
};
use regex::Regex;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often /proc is looked at.
const DISCOVERY: Duration = Duration::from_secs(1);

/// A file may make room for others when it was idle for this many reports, five minutes of the live table.
const IDLE_REPORTS: u64 = 300;

/// Partitions that are told apart; further ones count as `(other partitions)`.
const MAX_PARTITIONS: usize = 10_000;

/// What to look at.
#[derive(Debug, Default)]
pub struct Query {
    /// Only files whose path matches; its first group, if it has one, is the partition.
    pub path: Option<String>,
    /// Only these processes; empty for all known stores.
    pub pids: Vec<u32>,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum TopError {
    /// Nothing to look at.
    #[error("no storage process found: {looked_for}\nname one with --pid, or its files with --path")]
    NoProcess {
        /// What would have been one.
        looked_for: String,
    },
    /// `--path` is no regular expression.
    #[error("--path")]
    Path(#[source] RuleError),
    /// /proc cannot be read.
    #[error("cannot list processes")]
    Processes(#[source] procfs::ProcError),
    /// A node's name cannot be one.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The kernel cannot be watched.
    #[error(transparent)]
    Probe(#[from] ProbeError),
}

/// One line: a partition or a file of a node.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// The store, or the name of the program.
    pub system: String,
    /// Address it listens on, or `pid N`.
    pub node: String,
    /// The partition, if the file is of one.
    pub partition: Option<String>,
    /// The file, or why it is not known, if it is of no partition.
    pub file: Option<String>,
    /// Completed reads.
    pub reads: u64,
    /// Bytes that they returned.
    pub read_bytes: u64,
    /// Completed writes.
    pub writes: u64,
    /// Bytes that they took.
    pub written_bytes: u64,
    /// Over 64 offset buckets, reads and writes together; absent with fewer than 30 accesses.
    pub offset_entropy_bits: Option<f64>,
}

/// Everything seen since the last look, or since the start.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// How long was watched.
    pub seconds: f64,
    /// Processes that are watched now, by id.
    pub processes: Vec<u32>,
    /// Busiest first.
    pub lines: Vec<Line>,
    /// Events that were seen and not counted.
    pub lost: u64,
    /// Accesses whose file is not known.
    pub unattributed: u64,
    /// What the kernel program cost; absent unless the kernel's `bpf_stats` are on.
    pub probe: Option<ProbeCost>,
}

/// Cost of the system call program since the last report, over all processes of the host.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ProbeCost {
    /// How often it ran: once per system call of the host.
    pub runs: u64,
    /// Mean time of a run, in nanoseconds.
    pub ns_per_run: f64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Partition(String),
    File(String),
}

/// Processes under watch, and what they did.
pub struct Top {
    probe: Probe,
    attribution: Attribution,
    cutter: Cutter,
    upkeep: Upkeep,
    targets: Vec<Target>,
    query: Query,
    known: BTreeMap<u32, usize>,
    path: Option<Regex>,
    looked: Instant,
    last: Instant,
    /// Time and runs of the kernel program by the last report.
    cost: (Duration, u64),
}

impl Top {
    /// Finds the processes and begins to count.
    pub fn start(query: Query) -> Result<Self, TopError> {
        let path = query
            .path
            .as_deref()
            .map(|path| Regex::new(path).map_err(|source| TopError::Path(RuleError::Path(source))))
            .transpose()?;
        let mut probe = Probe::attach(Capacity::default())?;
        let found = find(&query, path.as_ref())?;
        if found.is_empty() {
            let names: Vec<&str> = KNOWN.iter().map(|store| store.system).collect();
            let looked_for = match (&query.path, query.pids.is_empty()) {
                (_, false) => format!("process {:?} is not there", query.pids),
                (Some(path), true) => format!("no process has a file open whose path matches {path:?}"),
                (None, true) => format!("looked for {}", names.join(", ")),
            };
            return Err(TopError::NoProcess { looked_for });
        }
        let targets = targets(&found, path.as_ref())?;
        for index in 0..targets.len() {
            probe.add_target(TargetIndex::new(index).ok_or(ProbeError::TooManyTargets)?)?;
        }
        let mut top = Self {
            attribution: Attribution::new(&targets, MAX_PARTITIONS),
            cutter: Cutter::default(),
            upkeep: Upkeep::default(),
            probe,
            targets,
            query,
            known: BTreeMap::new(),
            path,
            looked: Instant::now(),
            last: Instant::now(),
            cost: (Duration::ZERO, 0),
        };
        top.watch(&found)?;
        top.last = Instant::now();
        top.cost = top.probe.cost()?;
        Ok(top)
    }

    fn watch(&mut self, found: &[Found]) -> Result<(), TopError> {
        for process in found {
            let name = process.node_name();
            let target = self.targets.iter().position(|target| {
                target.node.system().as_str() == process.system && target.node.name() == name
            });
            if let Some(index) = target.and_then(TargetIndex::new)
                && self.known.insert(process.pid, index.get()) != Some(index.get())
            {
                self.probe.watch(process.pid, index)?;
                tracing::info!("watching process {} as {} {name}", process.pid, process.system);
            }
        }
        Ok(())
    }

    /// Fetches the names of files; call it several times a second. Also finds processes of the same nodes that
    /// were restarted.
    pub fn poll(&mut self) -> Result<(), TopError> {
        self.attribution.learn(self.probe.take_names());
        if self.looked.elapsed() < DISCOVERY {
            return Ok(());
        }
        self.looked = Instant::now();
        let found = find(&self.query, self.path.as_ref())?;
        self.known.retain(|pid, _| discovery::is_alive(*pid));
        self.watch(&found)
    }

    /// What happened since the last report.
    pub fn report(&mut self) -> Result<Report, TopError> {
        let reading = self.probe.read()?;
        self.attribution.learn(self.probe.take_names());
        let seconds = self.last.elapsed().as_secs_f64();
        self.last = Instant::now();
        let mut changes = self.cutter.files.begin();
        for (key, counters) in &reading.files {
            changes.extend(self.cutter.files.tell(key, counters).map(|change| (*key, change)));
        }
        let mut lines: BTreeMap<(usize, Label), Sums> = BTreeMap::new();
        let mut unattributed = 0;
        for (key, change) in changes {
            let target = key.target as usize;
            if target >= self.targets.len() || key.operation == SYNC {
                continue;
            }
            let label = self.label(&key, &mut unattributed, change.ops());
            let Some(label) = label else { continue };
            lines.entry((target, label)).or_default().add(&key, &change);
        }
        let lost = self.cutter.take_lost(&reading.totals, self.targets.len() as u32);
        let Self { upkeep, probe, cutter, attribution, known, .. } = self;
        let process_of =
            |target| known.iter().find(|(_, index)| **index == target as usize).map(|(pid, _)| *pid);
        upkeep.run(probe, cutter, attribution, IDLE_REPORTS, process_of)?;
        let mut lines: Vec<Line> =
            lines.into_iter().map(|((target, label), sums)| self.line(target, label, &sums)).collect();
        lines.sort_by_key(|line| std::cmp::Reverse(line.reads + line.writes));
        let mut processes: Vec<u32> = self.probe.watched()?.into_iter().map(|(pid, _)| pid).collect();
        processes.sort_unstable();
        let probe = self.cost_since_last()?;
        Ok(Report { seconds, processes, lines, lost, unattributed, probe })
    }

    fn cost_since_last(&mut self) -> Result<Option<ProbeCost>, TopError> {
        let (time, runs) = self.probe.cost()?;
        let (time_before, runs_before) = std::mem::replace(&mut self.cost, (time, runs));
        let runs = runs.saturating_sub(runs_before);
        let ns = time.saturating_sub(time_before).as_nanos() as f64;
        Ok((runs > 0).then(|| ProbeCost { runs, ns_per_run: ns / runs as f64 }))
    }

    fn label(&mut self, key: &FileKey, unattributed: &mut u64, ops: u64) -> Option<Label> {
        match self.attribution.file(key) {
            Subject::Partition(id) => Some(Label::Partition(id.name().to_owned())),
            Subject::Other(OtherReason::NoRule) => {
                let path = self.attribution.path(key).map(|path| path.to_string_lossy().into_owned())?;
                match &self.path {
                    // A file that was not asked for; or one whose path is no name, as it is too long.
                    Some(wanted) => wanted.is_match(&path).then_some(Label::File(path)),
                    None => Some(Label::File(path)),
                }
            }
            // The first three are of the device layer, which `top` does not look at.
            Subject::Other(
                OtherReason::Metadata
                | OtherReason::Journal
                | OtherReason::NoTarget
                | OtherReason::PartitionLimit,
            ) => Some(Label::File("(other partitions)".to_owned())),
            Subject::Unattributed(reason) => {
                *unattributed += ops;
                let text = match reason {
                    UnattributedReason::NoPath => "(path not known)",
                    UnattributedReason::FilesFull => "(more files than are told apart)",
                    UnattributedReason::RulesDisagree => "(rules disagree)",
                    // Of the other layers.
                    UnattributedReason::NoFile
                    | UnattributedReason::SeveralTargets
                    | UnattributedReason::PeersFull => "(not told apart)",
                };
                Some(Label::File(text.to_owned()))
            }
        }
    }

    fn line(&self, target: usize, label: Label, sums: &Sums) -> Line {
        let node = &self.targets[target].node;
        let (partition, file) = match label {
            Label::Partition(id) => (Some(id), None),
            Label::File(path) => (None, Some(path)),
        };
        Line {
            system: node.system().to_string(),
            node: node.name().to_owned(),
            partition,
            file,
            reads: sums.reads.ops,
            read_bytes: sums.reads.bytes,
            writes: sums.writes.ops,
            written_bytes: sums.writes.bytes,
            offset_entropy_bits: sums.offsets.as_ref().and_then(entropy::over_offsets),
        }
    }
}

#[derive(Default)]
struct Sums {
    reads: Counts,
    writes: Counts,
    offsets: Option<OffsetHistogram>,
}

impl Sums {
    fn add(&mut self, key: &FileKey, change: &FileCounters) {
        let counts = if key.operation == WRITE { &mut self.writes } else { &mut self.reads };
        *counts = counts.plus(Counts { ops: change.ops(), bytes: change.bytes });
        let histogram =
            u8::try_from(key.shift).ok().and_then(|shift| OffsetHistogram::new(shift, change.offsets));
        if let Some(histogram) = histogram {
            self.offsets = Some(self.offsets.unwrap_or(OffsetHistogram::EMPTY).merge(&histogram));
        }
    }
}

/// A process to watch, and what it is.
#[derive(Debug)]
struct Found {
    pid: u32,
    system: String,
    /// Lowest address and port that it listens on.
    address: Option<std::net::SocketAddr>,
    rules: Vec<Rule>,
}

impl Found {
    fn node_name(&self) -> String {
        self.address.map_or_else(|| format!("pid {}", self.pid), |address| address.to_string())
    }
}

fn find(query: &Query, path: Option<&Regex>) -> Result<Vec<Found>, TopError> {
    let candidates = discovery::candidates().map_err(TopError::Processes)?;
    let selectors: Vec<Selector> = KNOWN.iter().map(crate::store::KnownStore::selector).collect();
    let stores: BTreeMap<u32, usize> =
        discovery::select(&candidates, &selectors.iter().collect::<Vec<_>>()).processes.into_iter().collect();
    let wanted = |process: &&Candidate| {
        if process.pid == std::process::id() {
            return false;
        }
        if !query.pids.is_empty() {
            return query.pids.contains(&process.pid);
        }
        stores.contains_key(&process.pid) || path.is_some_and(|path| has_open(process.pid, path))
    };
    let mut listeners = Listeners::of_all(&candidates);
    let found = candidates.iter().filter(wanted).map(|process| {
        let store = stores.get(&process.pid).map(|index| &KNOWN[*index]);
        let program = process.exe.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Found {
            pid: process.pid,
            system: store.map_or(program, |store| store.system.to_owned()),
            address: listeners.of(process).into_iter().min_by_key(|address| (address.port(), *address)),
            rules: store.map(crate::store::KnownStore::rules).unwrap_or_default(),
        }
    });
    // The self-test keeps one place; more processes than there are places are left out, the last ones.
    Ok(found.take(HOST_TARGET as usize).collect())
}

fn has_open(pid: u32, path: &Regex) -> bool {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors
        .filter_map(Result::ok)
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .any(|target: PathBuf| path.is_match(&target.to_string_lossy()))
}

/// One target per node; processes that listen on one address are one node.
fn targets(found: &[Found], path: Option<&Regex>) -> Result<Vec<Target>, TopError> {
    let mut targets: Vec<Target> = Vec::new();
    for process in found {
        let node = NodeId::new(SystemId::new(process.system.clone())?, process.node_name())?;
        if targets.iter().any(|target| target.node == node) {
            continue;
        }
        let rules = match path {
            Some(path) => vec![path_rule(path).map_err(TopError::Path)?],
            None => process.rules.clone(),
        };
        targets.push(Target { node, select: Selector::default(), rules, located: Located::default() });
    }
    Ok(targets)
}

/// The partition is the first group of the expression, or else the path itself.
fn path_rule(path: &Regex) -> Result<Rule, RuleError> {
    if path.captures_len() > 1 {
        Rule::path(path.as_str(), "$1")
    } else {
        Rule::path(&format!("^(?P<whole>.*(?:{}).*)$", path.as_str()), "$whole")
    }
}

/// Watches for a while, and reports once.
pub fn once(query: Query, duration: Duration) -> Result<Report, TopError> {
    let mut top = Top::start(query)?;
    let end = Instant::now() + duration;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::sleep(left.min(Duration::from_millis(200)));
        top.poll()?;
    }
    top.report()
}
