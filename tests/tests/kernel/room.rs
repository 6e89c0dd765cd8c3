//! What finds no room is counted all the same, and the memory does not grow.

use crate::agent::{Agent, FOREVER, ROOM, files_of, host, targets, unattributed};
use crate::files::{volume, watched};
use isotherm_agent::memory::{maps, memory};
use isotherm_agent::probe::Capacity;
use isotherm_model::{Counts, Layer, NodeWindow, Operation, OtherReason, Subject, UnattributedReason};
use isotherm_tests::io::{Engine, IoPlan, IoTruth, Job, Request};
use isotherm_tests::process::wait_for;
use isotherm_tests::volume::FileSystem;
use nix::unistd::syncfs;
use std::fs::{self, File};
use std::path::Path;
use std::sync::mpsc::{TryRecvError, channel};
use std::thread;
use std::time::Duration;

const PAGE: u32 = 4096;
const FILES: u32 = 400;
const LIMIT: Duration = Duration::from_secs(20);

/// New files, each written, synced and read.
fn burst(folder: &Path, prefix: &str) -> IoPlan {
    (0..FILES).fold(IoPlan::new(folder), |plan, number| {
        let job = Job::new(&format!("{prefix}-{number}"), 4 * u64::from(PAGE), Engine::Positioned);
        plan.job(
            job.request(Request::write(0, PAGE).times(3, 4096))
                .request(Request::read(0, PAGE).times(2, 4096))
                .request(Request::sync()),
        )
    })
}

fn sum(node: &NodeWindow, layer: Layer, operation: Operation, is: impl Fn(&Subject) -> bool) -> Counts {
    let rows =
        node.rows.iter().filter(|row| (row.layer, row.operation) == (layer, operation) && is(&row.subject));
    rows.fold(Counts::default(), |sum, row| sum.plus(row.counts))
}

fn assert_totals(node: &NodeWindow, truth: &IoTruth) {
    for operation in [Operation::Read, Operation::Write, Operation::Sync] {
        assert_eq!(node.totals[&(Layer::Logical, operation)], truth.counts(operation), "{operation}");
    }
}

fn is_partition(subject: &Subject) -> bool {
    matches!(subject, Subject::Partition(_))
}

#[test]
fn full_maps_lose_nothing_and_say_what_they_cannot_tell() {
    let name = "full_maps_lose_nothing_and_say_what_they_cannot_tell";
    let Some(volume) = volume(name, FileSystem::Ext4) else { return };
    let tiny = Capacity { files: 64, blocks: 64, ..ROOM };
    let Some(mut agent) = Agent::start(name, &targets(1, &[files_of(volume.path())]), tiny) else { return };
    let entries = |agent: &mut Agent| {
        let reading = agent.read();
        (reading.files.len(), reading.blocks.len())
    };
    for round in 0..2 {
        let mut generator = burst(volume.path(), &format!("burst-{round}")).spawn().unwrap();
        volume.sync().unwrap();
        agent.cut();
        agent.watch(generator.pid(), 0);
        let before = agent.read().totals.lost;
        let stat = volume.stat().unwrap();
        let truth = watched(&mut agent, &mut generator);
        volume.sync().unwrap();
        let written = volume.stat().unwrap().since(&stat).write_bytes;
        let lost = agent.read().totals.lost;
        let window = agent.cut();
        assert_totals(&window.nodes[0], &truth);
        let full = Subject::Unattributed(UnattributedReason::FilesFull);
        for operation in [Operation::Read, Operation::Write, Operation::Sync] {
            let told = sum(&window.nodes[0], Layer::Logical, operation, is_partition);
            let untold = sum(&window.nodes[0], Layer::Logical, operation, |subject| *subject == full);
            assert!(
                told.ops + untold.ops == truth.counts(operation).ops && untold.ops > 0,
                "{told:?} {untold:?}"
            );
        }
        let reasons = unattributed(&window, Layer::Logical);
        let told: u64 = reasons.iter().map(|(_, ops)| ops).sum();
        assert_eq!(lost[0].files_full - before[0].files_full, told);
        // The device's bytes are all there, too, if not by file; others' devices share the overflow.
        let host = host(&window);
        let counted: u64 = [&window.nodes[0], &host]
            .iter()
            .map(|node| sum(node, Layer::Device, Operation::Write, |_| true).bytes)
            .sum();
        assert!(counted >= written, "{counted} of {written}");
        let untold = sum(&host, Layer::Device, Operation::Write, |subject| *subject == full);
        assert!(untold.ops > 0, "{:?}", host.rows);
        agent.upkeep(FOREVER);
        let (files, blocks) = entries(&mut agent);
        // Room for what finds none is kept for 64 targets and each operation, beside the 64.
        assert!(files <= 64 + 256 && blocks <= 64 + 256, "{files} and {blocks} entries");
    }
    // Of the device layer's entries none is a file's that was idle, once there is need for room.
    agent.cut();
    agent.upkeep(1);
    let window = agent.cut();
    assert!(window.nodes[0].rows.iter().all(|row| row.layer != Layer::Logical));
}

#[test]
fn a_start_has_its_room_whatever_devices_do_meanwhile() {
    let name = "a_start_has_its_room_whatever_devices_do_meanwhile";
    let Some(volume) = volume(name, FileSystem::Ext4) else { return };
    let tiny = Capacity { blocks: 1, ..ROOM };
    thread::scope(|scope| {
        let (stop, stopped) = channel::<()>();
        let folder = volume.path();
        scope.spawn(move || {
            while stopped.try_recv() == Err(TryRecvError::Empty) {
                for file in 0..FILES {
                    fs::write(folder.join(format!("busy-{file}")), [1; PAGE as usize]).unwrap();
                }
                syncfs(File::open(folder).unwrap()).unwrap();
            }
        });
        for _ in 0..3 {
            let Some(mut agent) = Agent::start(name, &targets(1, &[]), tiny) else { break };
            wait_for("the map to be full", LIMIT, || Ok((agent.read().blocks.len() > 256).then_some(())))
                .unwrap();
        }
        drop(stop);
    });
}

#[test]
fn partitions_beyond_the_limit_are_other() {
    let name = "partitions_beyond_the_limit_are_other";
    let Some(volume) = volume(name, FileSystem::Ext4) else { return };
    let targets = targets(1, &[files_of(volume.path())]);
    let Some(mut agent) = Agent::with_limit(name, &targets, ROOM, 50) else { return };
    let mut generator = burst(volume.path(), "burst").spawn().unwrap();
    volume.sync().unwrap();
    agent.cut();
    agent.watch(generator.pid(), 0);
    let truth = watched(&mut agent, &mut generator);
    volume.sync().unwrap();
    let window = agent.cut();
    let node = &window.nodes[0];
    assert_totals(node, &truth);
    let limit = Subject::Other(OtherReason::PartitionLimit);
    for (operation, each) in [(Operation::Read, 2), (Operation::Write, 3), (Operation::Sync, 1)] {
        let told = sum(node, Layer::Logical, operation, is_partition);
        let beyond = sum(node, Layer::Logical, operation, |subject| *subject == limit);
        assert_eq!((told.ops, beyond.ops), (50 * each, 350 * each), "{operation}");
    }
    // The same partitions are told in the device layer, and the same are too many.
    let bytes = |is: &dyn Fn(&Subject) -> bool| sum(node, Layer::Device, Operation::Write, is).bytes;
    let page = u64::from(PAGE);
    assert_eq!((bytes(&is_partition), bytes(&|subject| *subject == limit)), (50 * 3 * page, 350 * 3 * page));
    assert_eq!(unattributed(&window, Layer::Logical), []);
}

#[test]
fn kernel_memory_is_known_before() {
    let bytes = |capacity| memory(&maps(capacity), &[], 2).kernel_bytes();
    let default = Capacity::default();
    let more = Capacity { files: default.files + 1_000, ..default };
    let each = (bytes(more) - bytes(default)) / 1_000;
    assert!((560..1_024).contains(&each), "{each} bytes for a file");
    assert!(bytes(default) < 64 << 20, "{}", bytes(default));
}
