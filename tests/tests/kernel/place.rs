//! Which file it is: names, links, mounts, overlays, and inodes that come and go.

use crate::agent::{Agent, ROOM, escaped, files_of, host, row, targets, unattributed};
use crate::files::{assert_truth, run, volume};
use isotherm_agent::rule::Rule;
use isotherm_model::{Counts, Layer, OffsetHistogram, Operation, OtherReason, Row, Subject};
use isotherm_tests::io::{Engine, IoPlan, Job, Request};
use isotherm_tests::process::wait_for;
use isotherm_tests::volume::{FileSystem, Mount, Volume};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const PAGE: u32 = 4096;
const SIZE: u64 = 1 << 20;

fn start(test: &str, rules: impl Fn(&Volume) -> Vec<Rule>) -> Option<(Volume, Agent)> {
    let volume = volume(test, FileSystem::Ext4)?;
    let agent = Agent::start(test, &targets(1, &rules(&volume)), ROOM)?;
    Some((volume, agent))
}

/// Ten reads and six writes.
fn job(file: &str, size_bytes: u64) -> Job {
    let stride = size_bytes / 16 / u64::from(PAGE) * u64::from(PAGE);
    let job = Job::new(file, size_bytes, Engine::Positioned);
    job.request(Request::read(0, PAGE).times(10, stride)).request(Request::write(0, PAGE).times(6, stride))
}

fn reads(agent_window: &isotherm_model::Window, file: &str) -> u64 {
    row(&agent_window.nodes[0], Layer::Logical, Operation::Read, file).map_or(0, |row| row.counts.ops)
}

#[test]
fn a_hard_link_is_the_file_that_was_seen_first() {
    let name = "a_hard_link_is_the_file_that_was_seen_first";
    let Some((volume, mut agent)) = start(name, |volume| vec![files_of(volume.path())]) else { return };
    let (_, window) = run(&mut agent, &IoPlan::new(volume.path()).job(job("one", SIZE)));
    assert_eq!((reads(&window, "one"), reads(&window, "two")), (10, 0));
    fs::hard_link(volume.path().join("one"), volume.path().join("two")).unwrap();
    let (_, window) = run(&mut agent, &IoPlan::new(volume.path()).job(job("two", SIZE)));
    assert_eq!((reads(&window, "one"), reads(&window, "two")), (10, 0));
}

#[test]
fn an_inode_number_that_is_used_again_is_another_file() {
    let name = "an_inode_number_that_is_used_again_is_another_file";
    let Some((volume, mut agent)) = start(name, |volume| vec![files_of(volume.path())]) else { return };
    let (old, window) = run(&mut agent, &IoPlan::new(volume.path()).job(job("old", SIZE)));
    assert_eq!(reads(&window, "old"), 10);
    fs::remove_file(volume.path().join("old")).unwrap();
    volume.sync().unwrap();
    let (new, window) = run(&mut agent, &IoPlan::new(volume.path()).job(job("new", SIZE)));
    assert_eq!(old.file("old").unwrap().inode, new.file("new").unwrap().inode, "the number is used again");
    assert_eq!((reads(&window, "old"), reads(&window, "new")), (0, 10));
    volume.sync().unwrap();
    let window = agent.cut();
    let written =
        |file| row(&window.nodes[0], Layer::Device, Operation::Write, file).map(|row| row.counts.bytes);
    assert_eq!((written("old"), written("new")), (None, Some(6 * u64::from(PAGE))));
}

#[test]
fn a_file_that_was_deleted_while_open_keeps_its_name() {
    let name = "a_file_that_was_deleted_while_open_keeps_its_name";
    let Some((volume, mut agent)) = start(name, |volume| vec![files_of(volume.path())]) else { return };
    let mut generator = IoPlan::new(volume.path()).job(job("file", SIZE)).spawn().unwrap();
    fs::write(volume.path().join("another"), vec![0; SIZE as usize]).unwrap();
    volume.sync().unwrap();
    agent.cut();
    agent.watch(generator.pid(), 0);
    // The generator looks for a file of this name in the end; it is another one.
    fs::rename(volume.path().join("another"), volume.path().join("file")).unwrap();
    let truth = generator.run().unwrap();
    volume.sync().unwrap();
    let window = agent.cut();
    assert_truth(name, &window, 0, &truth);
    let written = row(&window.nodes[0], Layer::Device, Operation::Write, "file").unwrap();
    assert_eq!(written.counts.bytes, 6 * u64::from(PAGE));
}

#[test]
fn a_file_that_shrank_has_narrower_buckets() {
    let name = "a_file_that_shrank_has_narrower_buckets";
    let Some((volume, mut agent)) = start(name, |volume| vec![files_of(volume.path())]) else { return };
    for (size, shift) in [(SIZE, 14), (16 * u64::from(PAGE), 12), (64 * SIZE, 20)] {
        // The generator lays it out anew, in the same inode.
        let (truth, window) = run(&mut agent, &IoPlan::new(volume.path()).job(job("file", size)));
        assert_truth(name, &window, 0, &truth);
        let read = row(&window.nodes[0], Layer::Logical, Operation::Read, "file").unwrap();
        assert_eq!((read.offsets.shift(), read.offsets), (shift, truth.file("file").unwrap().read.offsets()));
    }
}

#[test]
fn the_offsets_of_a_partitions_files_lie_over_each_other() {
    let name = "the_offsets_of_a_partitions_files_lie_over_each_other";
    let all = |volume: &Volume| {
        let folder = volume.path().to_string_lossy().into_owned();
        vec![Rule::path(&format!("^{}/(all)-", escaped(&folder)), "$1").unwrap()]
    };
    let Some((volume, mut agent)) = start(name, all) else { return };
    let mut plan = IoPlan::new(volume.path());
    for number in 0..40 {
        plan = plan.job(job(&format!("all-{number}"), (number + 1) * 64 * 1024));
    }
    let (truth, window) = run(&mut agent, &plan);
    for (operation, ops) in [(Operation::Read, 400), (Operation::Write, 240)] {
        let row = row(&window.nodes[0], Layer::Logical, operation, "all").unwrap();
        assert_eq!(row.counts, truth.counts(operation));
        assert_eq!(row.counts, Counts { ops, bytes: ops * u64::from(PAGE) });
        let files = truth.files.values().map(|file| file.operation(operation).unwrap().offsets());
        assert_eq!(row.offsets, files.fold(OffsetHistogram::EMPTY, |sum, file| sum.merge(&file)));
    }
    assert_eq!(unattributed(&window, Layer::Logical), []);
}

#[test]
fn a_bind_mount_gives_its_files_their_path() {
    let name = "a_bind_mount_gives_its_files_their_path";
    let Some(volume) = volume(name, FileSystem::Ext4) else { return };
    let folder = volume.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let bound = Mount::bind(&folder).unwrap();
    let Some(mut agent) = Agent::start(name, &targets(1, &[files_of(bound.path())]), ROOM) else { return };
    let (truth, window) = run(&mut agent, &IoPlan::new(bound.path()).job(job("file", SIZE)));
    assert_truth(name, &window, 0, &truth);
    // It is the same file by the other path, and the smaller mount tells more.
    let (truth, window) = run(&mut agent, &IoPlan::new(&folder).job(job("file", SIZE)));
    assert_truth(name, &window, 0, &truth);
    // Its blocks are the same file's, too, whoever writes them back.
    volume.sync().unwrap();
    let window = agent.cut();
    let written = row(&window.nodes[0], Layer::Device, Operation::Write, "file").unwrap();
    assert_eq!(written.counts.bytes, 6 * u64::from(PAGE));
}

#[test]
fn an_overlays_file_is_one_before_and_after_its_copy_and_its_blocks_are_the_layers() {
    let name = "an_overlays_file_is_one_before_and_after_its_copy_and_its_blocks_are_the_layers";
    let Some(volume) = volume(name, FileSystem::Ext4) else { return };
    let (lower, upper) = (volume.path().join("lower"), volume.path().join("upper"));
    fs::create_dir(&lower).unwrap();
    fs::write(lower.join("file"), vec![7; SIZE as usize]).unwrap();
    let overlay = Mount::overlay(&lower, &upper).unwrap();
    let copies = format!("^{}/upper/changes/(file)$", escaped(&volume.path().to_string_lossy()));
    let rules = [files_of(overlay.path()), Rule::path(&copies, "blocks of $1").unwrap()];
    let Some(mut agent) = Agent::start(name, &targets(1, &rules), ROOM) else { return };
    let mut shell = Shell::start(&overlay.path().join("file"));
    agent.watch(shell.pid(), 0);
    volume.sync().unwrap();
    agent.cut();
    // Reads of the lower layer, writes that copy the file, and reads of the copy.
    shell.run();
    let window = agent.cut();
    let node = &window.nodes[0];
    let counts = |operation| row(node, Layer::Logical, operation, "file").map(|row| row.counts);
    assert_eq!(counts(Operation::Read), Some(Counts { ops: 17, bytes: 17 * 4096 }));
    assert_eq!(counts(Operation::Write), Some(Counts { ops: 5, bytes: 5 * 4096 }));
    assert_eq!(row(node, Layer::Logical, Operation::Write, "blocks of file"), None);
    assert!(row(node, Layer::Device, Operation::Write, "file").is_none());
    volume.sync().unwrap();
    let later = agent.cut();
    // The kernel copies into a file that has no name yet, so the copy is nobody's; what comes later has a name.
    let changed = row(&later.nodes[0], Layer::Device, Operation::Write, "blocks of file").unwrap();
    assert_eq!(changed.counts.bytes, 5 * 4096);
    let nobodys = |row: &&Row| {
        row.operation == Operation::Write && row.subject == Subject::Other(OtherReason::NoTarget)
    };
    let copied: u64 = host(&window).rows.iter().filter(nobodys).map(|row| row.counts.bytes).sum();
    assert!(copied >= SIZE, "{copied}");
}

/// A shell whose children read, write and read a file.
struct Shell {
    child: std::process::Child,
}

impl Shell {
    fn start(file: &Path) -> Self {
        let script = "read go; dd if=$0 of=/dev/null bs=4096 count=10 2>&1 && \
                      dd if=/dev/zero of=$0 bs=4096 count=5 seek=20 conv=notrunc 2>&1 && \
                      dd if=$0 of=/dev/null bs=4096 count=7 skip=18 2>&1 && echo done; read end";
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg(file).stdin(Stdio::piped()).stdout(Stdio::piped());
        Self { child: command.spawn().unwrap() }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn run(&mut self) {
        writeln!(self.child.stdin.as_mut().unwrap(), "go").unwrap();
        let output = BufReader::new(self.child.stdout.take().unwrap());
        assert!(output.lines().map_while(Result::ok).any(|line| line == "done"));
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let ended = wait_for("the shell to end", Duration::from_secs(5), || Ok(self.child.try_wait()?));
        if ended.is_err() {
            let _ = self.child.kill();
        }
    }
}
