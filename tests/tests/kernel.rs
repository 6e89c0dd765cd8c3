//! What the kernel programs count is what the truth generator did: calls, bytes and offsets.

#![allow(clippy::unwrap_used, reason = "the whole file is a test")]

use isotherm_agent::attribution::Attribution;
use isotherm_agent::config::{Config, Target};
use isotherm_agent::discovery::Selector;
use isotherm_agent::probe::{Probe, Reading, TargetIndex};
use isotherm_agent::rights;
use isotherm_agent::rule::Rule;
use isotherm_agent::upkeep::Upkeep;
use isotherm_agent::watch::Watcher;
use isotherm_agent::window::{Cutter, Span};
use isotherm_agent_ebpf::{READ, WRITE, tally_index};
use isotherm_model::{
    Completeness, Counts, LostReason, NodeId, OffsetHistogram, Operation, Row, Subject, SystemId, Timestamp,
    UnattributedReason, Window, shift_for,
};
use isotherm_tests::process::wait_for;
use isotherm_tests::skip::skipped;
use isotherm_tests::truth::{Access, Generator, Truth};
use isotherm_tests::workspace::target_dir;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const FILES: u32 = 4_096;

/// No file is idle for so many readings.
const FOREVER: u64 = 1_000_000;

/// A folder on a real disk, because memory file systems have no direct I/O.
fn folder() -> TempDir {
    let parent = target_dir().join("tmp");
    std::fs::create_dir_all(&parent).unwrap();
    TempDir::new_in(parent).unwrap()
}

/// An agent's inner parts, with every file of a folder as a partition of its own.
struct Agent {
    probe: Probe,
    attribution: Attribution,
    cutter: Cutter,
    upkeep: Upkeep,
    /// The kernel's totals then have more than the files that are left.
    evicted: bool,
    nodes: Vec<(NodeId, u32)>,
}

impl Agent {
    /// `None`, told as skipped, where the rights are missing.
    fn start(test: &str, folder: &Path, files: u32, targets: usize) -> Option<Self> {
        if let Err(missing) = rights::check() {
            skipped(test, &missing.to_string());
            return None;
        }
        let pattern =
            format!("^{}/([^/]+)$", regex_escape(&folder.canonicalize().unwrap().to_string_lossy()));
        let targets: Vec<Target> = (0..targets)
            .map(|index| Target {
                node: NodeId::new(SystemId::new("truth").unwrap(), format!("node-{index}")).unwrap(),
                select: Selector::default(),
                rules: vec![Rule::new(&pattern, "$1").unwrap()],
            })
            .collect();
        let mut probe = Probe::attach(files).unwrap();
        for index in 0..targets.len() {
            probe.add_target(TargetIndex::new(index).unwrap()).unwrap();
        }
        let nodes = targets.iter().map(|target| (target.node.clone(), 1)).collect();
        Some(Self {
            probe,
            attribution: Attribution::new(&targets, 10_000),
            cutter: Cutter::default(),
            upkeep: Upkeep::default(),
            evicted: false,
            nodes,
        })
    }

    fn watch(&mut self, generator: &Generator, target: usize) {
        self.probe.watch(generator.pid(), TargetIndex::new(target).unwrap()).unwrap();
    }

    fn learn(&mut self) {
        self.attribution.learn(self.probe.take_names());
    }

    /// Runs the generator to its end, and cuts everything it did into one window.
    fn run(&mut self, generator: &mut Generator) -> (Truth, Window) {
        generator.go().unwrap();
        let truth = generator
            .done(|| {
                self.learn();
                Ok(())
            })
            .unwrap();
        (truth, self.cut())
    }

    fn upkeep(&mut self, idle_readings: u64) {
        let Self { probe, attribution, cutter, upkeep, .. } = self;
        upkeep.run(probe, cutter, attribution, idle_readings, |_| None).unwrap();
        self.evicted = idle_readings != FOREVER;
    }

    fn cut(&mut self) -> Window {
        let reading = self.probe.read().unwrap();
        self.learn();
        assert_eq!(self.cutter.reconcile(&reading, self.nodes.len()), []);
        if !self.evicted {
            assert_settled(&reading);
        }
        let span =
            Span { start: Timestamp::from_ms(0), length_ms: 1_000, completeness: Completeness::Complete };
        let attribution = &mut self.attribution;
        let window = self.cutter.cut(&reading, span, &self.nodes, |key| attribution.subject(key));
        for node in &window.nodes {
            node.check_conserved().unwrap();
        }
        window
    }
}

/// When nobody is at work, the kernel's totals and the files agree exactly.
fn assert_settled(reading: &Reading) {
    for operation in [READ, WRITE] {
        let tally = reading.after[tally_index(0, operation) as usize];
        let sum = reading
            .files
            .iter()
            .filter(|(key, _)| key.target == 0 && key.operation == operation)
            .fold((0, 0), |(ops, bytes), (_, counters)| (ops + counters.ops(), bytes + counters.bytes));
        assert_eq!(sum, (tally.seen_ops, tally.seen_bytes));
        assert_eq!(sum, (tally.settled_ops, tally.settled_bytes));
    }
}

fn regex_escape(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_alphanumeric() || c == '/' { vec![c] } else { vec!['\\', c] }).collect()
}

fn generator(folder: &TempDir, scenario: &str) -> Generator {
    Generator::start(Path::new(env!("CARGO_BIN_EXE_truth")), folder.path(), scenario).unwrap()
}

fn row<'a>(window: &'a Window, node: usize, file: &str, write: bool) -> Option<&'a Row> {
    let operation = if write { Operation::Write } else { Operation::Read };
    window.nodes[node].rows.iter().find(|row| {
        row.operation == operation && matches!(&row.subject, Subject::Partition(id) if id.name() == file)
    })
}

fn assert_equal(truth: &Truth, window: &Window, node: usize, folder: &TempDir) {
    for (file, accesses) in &truth.files {
        // Files only grow, so the layout is that of their size at the end; a deleted one had a MiB.
        let size = std::fs::metadata(folder.path().join(file)).map_or(1 << 20, |metadata| metadata.len());
        for write in [false, true] {
            let (ops, bytes) = truth.counts(file, write);
            let counted = row(window, node, file, write);
            let counts = counted.map(|row| row.counts).unwrap_or_default();
            assert_eq!(counts, Counts { ops, bytes }, "{file}, write: {write}");
            if let Some(row) = counted {
                let expected = histogram(accesses, write, shift_for(size));
                assert_eq!(row.offsets, expected, "{file}, write: {write}");
            }
        }
    }
    let partitions: u64 = window.nodes[node]
        .rows
        .iter()
        .filter(|row| matches!(row.subject, Subject::Partition(_)))
        .map(|row| row.counts.ops)
        .sum();
    assert_eq!(partitions, truth.files.values().map(|accesses| accesses.len() as u64).sum::<u64>());
}

fn histogram(accesses: &[Access], write: bool, shift: u8) -> OffsetHistogram {
    let mut counts = [0; 64];
    for access in accesses.iter().filter(|access| access.write == write) {
        counts[(access.offset >> shift) as usize] += 1;
    }
    OffsetHistogram::new(shift, counts).unwrap()
}

fn unattributed(window: &Window) -> Vec<(UnattributedReason, u64)> {
    let rows = window.nodes.iter().flat_map(|node| &node.rows);
    rows.filter_map(|row| match row.subject {
        Subject::Unattributed(reason) => Some((reason, row.counts.ops)),
        Subject::Partition(_) | Subject::Other(_) => None,
    })
    .collect()
}

#[test]
fn every_call_is_counted_with_its_bytes_and_offset() {
    let folder = folder();
    let mut generator = generator(&folder, "all");
    let Some(mut agent) =
        Agent::start("every_call_is_counted_with_its_bytes_and_offset", folder.path(), FILES, 1)
    else {
        return;
    };
    agent.watch(&generator, 0);
    let (truth, window) = agent.run(&mut generator);
    assert!(truth.files.len() > 300, "the generator did {} files", truth.files.len());
    assert_equal(&truth, &window, 0, &folder);
    assert_eq!(unattributed(&window), []);
    assert!(truth.compat_calls > 0);
    assert_eq!(window.nodes[0].lost.get(&LostReason::Compat), Some(&truth.compat_calls));
    assert_eq!(window.nodes[0].lost.len(), 1, "{:?}", window.nodes[0].lost);
}

#[test]
fn a_full_map_of_files_loses_nothing_and_says_so() {
    let folder = folder();
    let mut generator = generator(&folder, "burst");
    let Some(mut agent) = Agent::start("a_full_map_of_files_loses_nothing_and_says_so", folder.path(), 64, 1)
    else {
        return;
    };
    agent.watch(&generator, 0);
    let (truth, window) = agent.run(&mut generator);
    let done: u64 = truth.files.values().map(|accesses| accesses.len() as u64).sum();
    let counted: u64 = window.nodes[0].totals.values().map(|counts| counts.ops).sum();
    assert_eq!(counted, done);
    let full: u64 = unattributed(&window).iter().map(|(_, ops)| ops).sum();
    assert!(unattributed(&window).iter().all(|(reason, _)| *reason == UnattributedReason::FilesFull));
    assert!(full > 0 && full < done, "{full} of {done} found no room");
    assert_eq!(agent.probe.read().unwrap().lost[0].files_full, full);
}

#[test]
fn files_that_made_room_are_counted_again_when_they_come_back() {
    let folder = folder();
    let (mut first, mut second) = (generator(&folder, "burst"), generator(&folder, "burst"));
    let name = "files_that_made_room_are_counted_again_when_they_come_back";
    // The 600 entries of a burst fit, and are more than three quarters of the room.
    let Some(mut agent) = Agent::start(name, folder.path(), 640, 1) else { return };
    agent.watch(&first, 0);
    agent.watch(&second, 0);
    let (truth, window) = agent.run(&mut first);
    assert_equal(&truth, &window, 0, &folder);
    assert!(agent.cut().nodes[0].rows.is_empty());
    agent.upkeep(1);
    let left = agent.probe.read().unwrap().files.len();
    assert!(left < 500, "{left} entries are left of 600");
    let (truth, window) = agent.run(&mut second);
    assert_equal(&truth, &window, 0, &folder);
    assert_eq!(unattributed(&window), []);
    assert!(agent.cut().nodes[0].rows.is_empty());
}

#[test]
fn two_nodes_on_one_file_are_counted_apart() {
    let folder = folder();
    let (mut one, mut two) = (generator(&folder, "shared"), generator(&folder, "shared"));
    let Some(mut agent) = Agent::start("two_nodes_on_one_file_are_counted_apart", folder.path(), FILES, 2)
    else {
        return;
    };
    agent.watch(&one, 0);
    agent.watch(&two, 1);
    let (first, window) = agent.run(&mut one);
    assert_equal(&first, &window, 0, &folder);
    assert!(window.nodes[1].rows.is_empty());
    let (second, window) = agent.run(&mut two);
    assert_equal(&second, &window, 1, &folder);
    assert!(window.nodes[0].rows.is_empty());
}

#[test]
fn an_unwatched_process_is_not_counted_and_an_ended_one_is_forgotten() {
    let folder = folder();
    let (mut watched, mut unwatched) = (generator(&folder, "shared"), generator(&folder, "shared"));
    let name = "an_unwatched_process_is_not_counted_and_an_ended_one_is_forgotten";
    let Some(mut agent) = Agent::start(name, folder.path(), FILES, 1) else { return };
    agent.watch(&watched, 0);
    agent.run(&mut watched);
    let (_, window) = agent.run(&mut unwatched);
    assert!(window.nodes[0].rows.is_empty());
    let pid = watched.pid();
    assert_eq!(agent.probe.watched().unwrap(), [(pid, 0)]);
    drop(watched);
    wait_for("the kernel to forget the process", Duration::from_secs(5), || {
        Ok(agent.probe.watched()?.is_empty().then_some(()))
    })
    .unwrap();
}

#[test]
fn a_renamed_file_is_named_anew() {
    let folder = folder();
    let mut generator = generator(&folder, "steady");
    let Some(mut agent) = Agent::start("a_renamed_file_is_named_anew", folder.path(), FILES, 1) else {
        return;
    };
    agent.watch(&generator, 0);
    generator.go().unwrap();
    let counted = |agent: &mut Agent, file: &str| {
        wait_for(&format!("accesses of {file}"), Duration::from_secs(10), || {
            let reading = agent.probe.read()?;
            agent.learn();
            let attribution = &mut agent.attribution;
            let span =
                Span { start: Timestamp::from_ms(0), length_ms: 1, completeness: Completeness::Partial };
            let window = agent.cutter.cut(&reading, span, &agent.nodes, |key| attribution.subject(key));
            agent.upkeep(FOREVER);
            Ok(row(&window, 0, file, false).map(|_| ()))
        })
        .unwrap();
    };
    counted(&mut agent, "shared");
    std::fs::rename(folder.path().join("shared"), folder.path().join("renamed")).unwrap();
    counted(&mut agent, "renamed");
}

#[test]
fn the_fields_offsets_are_those_of_pahole() {
    let name = "the_fields_offsets_are_those_of_pahole";
    if std::process::Command::new("pahole").arg("--version").output().is_err() {
        return skipped(name, "pahole is not installed (Debian package dwarves)");
    }
    let btf = isotherm_agent::probe::btf::Btf::of_running_kernel().unwrap();
    let mut compared = 0;
    for (_, path) in isotherm_agent_ebpf::FIELDS {
        let (structure, member) = path.split_once('.').unwrap();
        // Members of members are in the expanded form; offsets there are relative to the whole.
        let output = std::process::Command::new("pahole")
            .args(["-E", "-C", structure, "/sys/kernel/btf/vmlinux"])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let offset = btf.offset(path, "logical").unwrap();
        let last = member.rsplit('.').next().unwrap();
        let mine = text.lines().any(|line| {
            let Some((declaration, comment)) = line.split_once(';') else { return false };
            let named = declaration.trim_end().ends_with(&format!(" {last}"))
                || declaration.trim_end().ends_with(&format!("*{last}"));
            let at = comment.trim_start().trim_start_matches("/*").split_whitespace().next();
            named && at.and_then(|at| at.parse::<u64>().ok()) == Some(offset)
        });
        assert!(mine, "{path}: {offset} is not an offset of {last} in pahole's struct {structure}");
        compared += 1;
    }
    assert_eq!(compared, isotherm_agent_ebpf::FIELDS.len());
}

#[test]
fn a_window_in_which_a_process_was_found_is_not_complete() {
    let name = "a_window_in_which_a_process_was_found_is_not_complete";
    if let Err(missing) = rights::check() {
        return skipped(name, &missing.to_string());
    }
    let folder = folder();
    // Matches the generator's command line, which ends with folder and scenario.
    let marker = folder.path().file_name().unwrap().to_string_lossy().into_owned();
    let text = format!(
        "[agent]\nwindow = \"300ms\"\n[[target]]\nsystem = \"s\"\nnode = \"n\"\n\
         select = {{ cmdline = '{} shared$' }}\n",
        regex_escape(&marker)
    );
    let config = Config::parse(Path::new("agent.toml"), &text).unwrap();
    let watcher = Watcher::new(Probe::attach(FILES).unwrap(), &config).unwrap();
    let (stop, stopped) = std::sync::mpsc::channel();
    let (sender, mut windows) = tokio::sync::mpsc::channel(64);
    let watching = std::thread::spawn(move || watcher.run(&stopped, &sender, |_| ()));
    let mut until = |what: &str, holds: &dyn Fn(&Window) -> bool| {
        let windows = &mut windows;
        wait_for(what, Duration::from_secs(20), move || {
            Ok(std::iter::from_fn(|| windows.try_recv().ok()).find(|window| holds(window)))
        })
        .unwrap()
    };
    until("a complete window without a process", &|window| {
        window.completeness == Completeness::Complete && window.nodes[0].processes == 0
    });
    let generator = generator(&folder, "shared");
    let found = until("the process to be found", &|window| window.nodes[0].processes == 1);
    assert_eq!(found.completeness, Completeness::Partial);
    until("a complete window with the process", &|window| {
        window.completeness == Completeness::Complete && window.nodes[0].processes == 1
    });
    drop(stop);
    watching.join().unwrap().unwrap();
    drop(generator);
}
