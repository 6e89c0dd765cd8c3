//! What the kernel programs count is what the truth generator did: calls, bytes and offsets.

use crate::agent::{Agent, FOREVER, ROOM, escaped, files_of, row, targets, unattributed};
use isotherm_agent::config::Config;
use isotherm_agent::probe::{Capacity, Probe, Reading};
use isotherm_agent::rights;
use isotherm_agent::watch::Watcher;
use isotherm_agent_ebpf::{READ, Slot, WRITE, tally_index};
use isotherm_model::{
    Completeness, Counts, Layer, LostReason, NodeWindow, OffsetHistogram, Operation, Subject,
    UnattributedReason, Window, shift_for,
};
use isotherm_tests::process::wait_for;
use isotherm_tests::skip::skipped;
use isotherm_tests::truth::{Access, Generator, Truth};
use isotherm_tests::workspace::target_dir;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// A folder on a real disk, because memory file systems have no direct I/O.
fn folder() -> TempDir {
    let parent = target_dir().join("tmp");
    std::fs::create_dir_all(&parent).unwrap();
    TempDir::new_in(parent).unwrap()
}

/// An agent for so many targets, to each of which every file of the folder is a partition.
fn start(test: &str, folder: &TempDir, files: u32, count: usize) -> Option<Agent> {
    Agent::start(test, &targets(count, &[files_of(folder.path())]), Capacity { files, ..ROOM })
}

/// Runs the generator to its end, and cuts everything it did into one window.
fn run(agent: &mut Agent, generator: &mut Generator) -> (Truth, Window) {
    generator.go().unwrap();
    let truth = generator.done(|| {
        agent.learn();
        Ok(())
    });
    (truth.unwrap(), agent.cut())
}

/// When nobody is at work, the kernel's totals and the files agree exactly.
fn assert_settled(reading: &Reading) {
    for operation in [READ, WRITE] {
        let tally = reading.totals.after[tally_index(0, Slot::Calls, operation) as usize];
        let sum = reading
            .files
            .iter()
            .filter(|(key, _)| key.target == 0 && key.operation == operation)
            .fold((0, 0), |(ops, bytes), (_, counters)| (ops + counters.ops(), bytes + counters.bytes));
        assert_eq!(sum, (tally.seen_ops, tally.seen_bytes));
        assert_eq!(sum, (tally.settled_ops, tally.settled_bytes));
    }
}

fn generator(folder: &TempDir, scenario: &str) -> Generator {
    Generator::start(Path::new(env!("CARGO_BIN_EXE_truth")), folder.path(), scenario).unwrap()
}

/// Whether no process of the node accessed a file. Its device may still be writing.
fn is_idle(node: &NodeWindow) -> bool {
    node.rows.iter().all(|row| row.layer != Layer::Logical)
}

fn direction(write: bool) -> Operation {
    if write { Operation::Write } else { Operation::Read }
}

fn assert_equal(truth: &Truth, window: &Window, node: usize, folder: &TempDir) {
    for (file, accesses) in &truth.files {
        // Files only grow, so the layout is that of their size at the end; a deleted one had a MiB.
        let size = std::fs::metadata(folder.path().join(file)).map_or(1 << 20, |metadata| metadata.len());
        for write in [false, true] {
            let (ops, bytes) = truth.counts(file, write);
            let counted = row(&window.nodes[node], Layer::Logical, direction(write), file);
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
        .filter(|row| row.layer == Layer::Logical && matches!(row.subject, Subject::Partition(_)))
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

#[test]
fn every_call_is_counted_with_its_bytes_and_offset() {
    let folder = folder();
    let mut generator = generator(&folder, "all");
    let Some(mut agent) = start("every_call_is_counted_with_its_bytes_and_offset", &folder, ROOM.files, 1)
    else {
        return;
    };
    agent.watch(generator.pid(), 0);
    let (truth, window) = run(&mut agent, &mut generator);
    assert!(truth.files.len() > 300, "the generator did {} files", truth.files.len());
    assert_equal(&truth, &window, 0, &folder);
    assert_settled(&agent.read());
    assert_eq!(unattributed(&window, Layer::Logical), []);
    assert!(truth.compat_calls > 0);
    assert_eq!(window.nodes[0].lost.get(&LostReason::Compat), Some(&truth.compat_calls));
    assert_eq!(window.nodes[0].lost.len(), 1, "{:?}", window.nodes[0].lost);
}

#[test]
fn a_full_map_of_files_loses_nothing_and_says_so() {
    let folder = folder();
    let mut generator = generator(&folder, "burst");
    let Some(mut agent) = start("a_full_map_of_files_loses_nothing_and_says_so", &folder, 64, 1) else {
        return;
    };
    agent.watch(generator.pid(), 0);
    let (truth, window) = run(&mut agent, &mut generator);
    let done: u64 = truth.files.values().map(|accesses| accesses.len() as u64).sum();
    let totals = window.nodes[0].totals.iter().filter(|((layer, _), _)| *layer == Layer::Logical);
    let counted: u64 = totals.map(|(_, counts)| counts.ops).sum();
    assert_eq!(counted, done);
    let full: u64 = unattributed(&window, Layer::Logical).iter().map(|(_, ops)| ops).sum();
    assert!(
        unattributed(&window, Layer::Logical)
            .iter()
            .all(|(reason, _)| *reason == UnattributedReason::FilesFull)
    );
    assert!(full > 0 && full < done, "{full} of {done} found no room");
    assert_eq!(agent.probe.read().unwrap().totals.lost[0].files_full, full);
}

#[test]
fn files_that_made_room_are_counted_again_when_they_come_back() {
    let folder = folder();
    let (mut first, mut second) = (generator(&folder, "burst"), generator(&folder, "burst"));
    let name = "files_that_made_room_are_counted_again_when_they_come_back";
    // The 600 entries of a burst fit, and are more than three quarters of the room.
    let Some(mut agent) = start(name, &folder, 640, 1) else { return };
    agent.watch(first.pid(), 0);
    agent.watch(second.pid(), 0);
    let (truth, window) = run(&mut agent, &mut first);
    assert_equal(&truth, &window, 0, &folder);
    assert!(is_idle(&agent.cut().nodes[0]));
    agent.upkeep(1);
    let files = agent.probe.read().unwrap().files;
    let left = files.iter().filter(|(key, _)| !key.is_overflow()).count();
    assert!(left < 500, "{left} entries are left of 600");
    let (truth, window) = run(&mut agent, &mut second);
    assert_equal(&truth, &window, 0, &folder);
    assert_eq!(unattributed(&window, Layer::Logical), []);
    assert!(is_idle(&agent.cut().nodes[0]));
}

#[test]
fn two_nodes_on_one_file_are_counted_apart() {
    let folder = folder();
    let (mut one, mut two) = (generator(&folder, "shared"), generator(&folder, "shared"));
    let Some(mut agent) = start("two_nodes_on_one_file_are_counted_apart", &folder, ROOM.files, 2) else {
        return;
    };
    agent.watch(one.pid(), 0);
    agent.watch(two.pid(), 1);
    let (first, window) = run(&mut agent, &mut one);
    assert_equal(&first, &window, 0, &folder);
    assert!(is_idle(&window.nodes[1]));
    let (second, window) = run(&mut agent, &mut two);
    assert_equal(&second, &window, 1, &folder);
    assert!(is_idle(&window.nodes[0]));
}

#[test]
fn an_unwatched_process_is_not_counted_and_an_ended_one_is_forgotten() {
    let folder = folder();
    let (mut watched, mut unwatched) = (generator(&folder, "shared"), generator(&folder, "shared"));
    let name = "an_unwatched_process_is_not_counted_and_an_ended_one_is_forgotten";
    let Some(mut agent) = start(name, &folder, ROOM.files, 1) else { return };
    agent.watch(watched.pid(), 0);
    run(&mut agent, &mut watched);
    let (_, window) = run(&mut agent, &mut unwatched);
    assert!(is_idle(&window.nodes[0]));
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
    let Some(mut agent) = start("a_renamed_file_is_named_anew", &folder, ROOM.files, 1) else {
        return;
    };
    agent.watch(generator.pid(), 0);
    generator.go().unwrap();
    let counted = |agent: &mut Agent, file: &str| {
        wait_for(&format!("accesses of {file}"), Duration::from_secs(10), || {
            let window = agent.cut();
            agent.upkeep(FOREVER);
            Ok(row(&window.nodes[0], Layer::Logical, Operation::Read, file).map(|_| ()))
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
    for field in isotherm_agent_ebpf::FIELDS {
        let path = field.path;
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
                || declaration.trim_end().ends_with(&format!("*{last}"))
                || declaration.trim_end().ends_with(&format!("}}{last}"));
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
        escaped(&marker)
    );
    let config = Config::parse(Path::new("agent.toml"), &text).unwrap();
    let watcher = Watcher::new(Probe::attach(ROOM).unwrap(), &config).unwrap();
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
