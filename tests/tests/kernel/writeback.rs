//! What a process wrote reaches the device when it has long ended, by a thread of the kernel: it is the file's, the
//! file's partition's, and the node's that uses the file.

use crate::agent::{Agent, FOREVER, ROOM, files_of, host, row, targets};
use crate::files::volume;
use isotherm_model::{Layer, Operation, Row, Subject, UnattributedReason, Window};
use isotherm_tests::io::{Engine, IoPlan, IoTruth, Job, Request};
use isotherm_tests::volume::FileSystem;

const SIZE: u64 = 1 << 20;
const PAGE: u64 = 4096;

fn writes(file: &str, engine: Engine) -> Job {
    Job::new(file, SIZE, engine).request(Request::write(0, PAGE as u32).times(20, 8 * PAGE))
}

fn written(window: &Window, node: usize, file: &str) -> Option<u64> {
    row(&window.nodes[node], Layer::Device, Operation::Write, file).map(|row| row.counts.bytes)
}

fn several(window: &Window) -> u64 {
    let reason = Subject::Unattributed(UnattributedReason::SeveralTargets);
    let is = |row: &&Row| row.subject == reason && row.operation == Operation::Write;
    host(window).rows.iter().filter(is).map(|row| row.counts.bytes).sum()
}

#[test]
fn what_a_dead_process_wrote_is_its_nodes_unless_two_use_the_file() {
    let name = "what_a_dead_process_wrote_is_its_nodes_unless_two_use_the_file";
    for file_system in [FileSystem::Ext4, FileSystem::Xfs] {
        let Some(volume) = volume(name, file_system) else { continue };
        let targets = targets(2, &[files_of(volume.path())]);
        let Some(mut agent) = Agent::start(name, &targets, ROOM) else { return };
        let plan = |own: &str| {
            let plan = IoPlan::new(volume.path()).job(writes(own, Engine::Positioned));
            plan.job(writes("shared", Engine::Positioned))
        };
        let (mut one, mut two) = (plan("one").spawn().unwrap(), plan("two").spawn().unwrap());
        volume.sync().unwrap();
        agent.cut();
        agent.watch(one.pid(), 0);
        agent.watch(two.pid(), 1);
        let truth: IoTruth = one.run().unwrap();
        assert_eq!(truth.file("one").unwrap().write.bytes, 20 * PAGE);
        two.run().unwrap();
        one.kill().unwrap();
        two.leave().unwrap();
        let before = agent.cut();
        assert_eq!((written(&before, 0, "one"), written(&before, 1, "two")), (None, None));
        volume.sync().unwrap();
        let window = agent.cut();
        assert_eq!((written(&window, 0, "one"), written(&window, 1, "one")), (Some(20 * PAGE), None));
        assert_eq!((written(&window, 0, "two"), written(&window, 1, "two")), (None, Some(20 * PAGE)));
        // The second run wrote the same pages before they left the cache.
        assert_eq!((written(&window, 0, "shared"), written(&window, 1, "shared")), (None, None));
        assert_eq!(several(&window), 20 * PAGE);
    }
}

#[test]
fn a_file_that_is_only_mapped_is_its_rules() {
    let name = "a_file_that_is_only_mapped_is_its_rules";
    let Some(volume) = volume(name, FileSystem::Ext4) else { return };
    let Some(mut agent) = Agent::start(name, &targets(1, &[files_of(volume.path())]), ROOM) else { return };
    let mut generator = IoPlan::new(volume.path()).job(writes("mapped", Engine::Mapped)).spawn().unwrap();
    // Its pages are in memory, so that nobody but the kernel's thread brings them to the device.
    std::fs::read(volume.path().join("mapped")).unwrap();
    volume.sync().unwrap();
    agent.cut();
    agent.watch(generator.pid(), 0);
    // Its mounts are its own: files that were seen before are named anew.
    agent.upkeep(FOREVER);
    generator.run().unwrap();
    generator.kill().unwrap();
    volume.sync().unwrap();
    let window = agent.cut();
    let bytes = written(&window, 0, "mapped").unwrap();
    assert!((20 * PAGE..=SIZE).contains(&bytes), "{bytes}");
}
