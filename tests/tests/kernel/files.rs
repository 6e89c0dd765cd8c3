//! The logical layer: every way to access a file is counted as its generator says, to the operation, the byte
//! and the bucket.

use crate::agent::{Agent, ROOM, files_of, row, targets, unattributed};
use isotherm_model::{Counts, Layer, NodeWindow, Operation, Window};
use isotherm_tests::fio::{self, Fio};
use isotherm_tests::generator::Generator;
use isotherm_tests::io::{
    Actors, Aio, Append, Caching, Engine, Fault, FileTruth, IoPlan, IoTruth, Job, Memory, Request, Uring,
};
use isotherm_tests::skip::skipped;
use isotherm_tests::volume::{FileSystem, Spec, Volume, enter_private_namespace};
use std::path::Path;

const PAGE: u64 = 4096;
const SIZE: u64 = 1 << 20;
const CALLS: u32 = 40;
const STRIDE: u64 = 6 * PAGE;

pub(crate) fn engines() -> Vec<Engine> {
    use Engine::{Plain, Positioned, PositionedVectored, PositionedVectored2, Vectored};
    let aio = |depth, vectored, pgetevents| Engine::Aio(Aio { depth, vectored, pgetevents });
    let uring = |uring| Engine::Uring(uring);
    let deep = Uring { depth: 16, ..Uring::default() };
    vec![
        Plain,
        Positioned,
        Vectored,
        PositionedVectored,
        PositionedVectored2,
        aio(1, false, false),
        aio(64, false, true),
        aio(16, true, false),
        uring(Uring::default()),
        uring(deep),
        uring(Uring { vectored: true, ..deep }),
        uring(Uring { fixed_buffers: true, ..deep }),
        uring(Uring { registered_files: true, ..deep }),
        uring(Uring { kernel_polls: true, ..deep }),
        uring(Uring { kernel_polls: true, fixed_buffers: true, registered_files: true, depth: 64, ..deep }),
        uring(Uring { linked: true, ..deep }),
        uring(Uring { workers: true, ..deep }),
    ]
}

pub(crate) fn volume(test: &str, file_system: FileSystem) -> Option<Volume> {
    let size_bytes = if file_system == FileSystem::Xfs { 320 << 20 } else { 128 << 20 };
    match file_system.lacking() {
        Some(why) => {
            skipped(&format!("{test} ({})", file_system.name()), &why);
            None
        }
        None => Some(Spec::new(file_system, size_bytes).make().unwrap()),
    }
}

/// What a window says of a file, against what was done to it; no row where nothing was done.
pub(crate) fn assert_file(what: &str, node: &NodeWindow, name: &str, truth: &FileTruth) {
    for operation in [Operation::Read, Operation::Write, Operation::Sync] {
        let done = truth.operation(operation).unwrap();
        let row = row(node, Layer::Logical, operation, name);
        let counts = row.map(|row| row.counts).unwrap_or_default();
        assert_eq!(counts, done.counts(), "{what}: {name}: {operation}");
        if let Some(row) = row.filter(|_| operation != Operation::Sync) {
            assert!(
                done.same_offsets(&row.offsets),
                "{what}: {name}: {operation}: {:?} were done, {:?} counted",
                done.offsets(),
                row.offsets
            );
        }
    }
}

/// The window has all of the truth, and nothing else in the logical layer.
pub(crate) fn assert_truth(what: &str, window: &Window, target: usize, truth: &IoTruth) {
    let node = &window.nodes[target];
    for (name, file) in &truth.files {
        assert_file(what, node, name, file);
    }
    for operation in [Operation::Read, Operation::Write, Operation::Sync] {
        let total = node.totals[&(Layer::Logical, operation)];
        assert_eq!(total, truth.counts(operation), "{what}: {operation} of all files");
    }
    assert_eq!(unattributed(window, Layer::Logical), [], "{what}");
    assert!(node.lost.is_empty(), "{what}: {:?}", node.lost);
}

/// Runs a generator, while names are taken in: the whole host's files share the room that they travel in.
pub(crate) fn watched(agent: &mut Agent, generator: &mut Generator<IoTruth>) -> IoTruth {
    generator.go().unwrap();
    let done = generator.done(|| {
        agent.learn();
        Ok(())
    });
    done.unwrap()
}

/// Does a plan under the agent's eyes.
pub(crate) fn run(agent: &mut Agent, plan: &IoPlan) -> (IoTruth, Window) {
    let mut generator = plan.spawn().unwrap();
    agent.cut();
    agent.watch(generator.pid(), 0);
    let truth = watched(agent, &mut generator);
    let window = agent.cut();
    generator.leave().unwrap();
    (truth, window)
}

/// All there is to ask for, the failing included.
fn everything(file: &str, engine: Engine) -> Job {
    let page = PAGE as u32;
    Job::new(file, SIZE + 100, engine)
        .request(Request::read(0, page).times(CALLS, STRIDE))
        .request(Request::write(PAGE, page).times(CALLS, STRIDE))
        .request(Request::sync().times(2, 0))
        .request(Request::data_sync().times(3, 0))
        .request(Request::read(SIZE, page))
        .request(Request::read(4 * SIZE, page).times(5, PAGE))
        .request(Request::read(0, page).faulty(Fault::BadDescriptor))
        .request(Request::write(0, page).faulty(Fault::BadDescriptor).times(2, 0))
        .request(Request::sync().faulty(Fault::BadDescriptor))
        .request(Request::read(0, page).faulty(Fault::BadAddress).times(3, 0))
        .request(Request::read(0, page).faulty(Fault::NegativeOffset).times(2, 0))
}

/// One plan per engine and caching: what fails is in no count.
fn every_engine(agent: &mut Agent, folder: &Path, label: &str) {
    let memories = [Memory::Private, Memory::Shared, Memory::Memfd];
    let mut did = Counts::default();
    for (number, engine) in engines().into_iter().enumerate() {
        for caching in [Caching::Buffered, Caching::Direct] {
            let name = format!("file-{number}-{caching:?}");
            let job = everything(&name, engine).memory(memories[number % 3]);
            let job = if caching == Caching::Direct { job.direct() } else { job };
            let (truth, window) = run(agent, &IoPlan::new(folder).job(job));
            assert_truth(&format!("{label} {engine:?} {caching:?}"), &window, 0, &truth);
            did = did.plus(truth.counts(Operation::Read));
            std::fs::remove_file(folder.join(&name)).unwrap();
        }
    }
    assert!(did.ops >= 2 * 16 * u64::from(CALLS), "{label}: {did:?}");
}

#[test]
fn every_engine_is_counted_on_ext4() {
    let name = "every_engine_is_counted_on_ext4";
    let Some(volume) = volume(name, FileSystem::Ext4) else { return };
    let targets = targets(1, &[files_of(volume.path())]);
    let Some(mut agent) = Agent::start(name, &targets, ROOM) else { return };
    every_engine(&mut agent, volume.path(), "ext4");
}

#[test]
fn every_engine_is_counted_on_xfs() {
    let name = "every_engine_is_counted_on_xfs";
    let Some(volume) = volume(name, FileSystem::Xfs) else { return };
    let targets = targets(1, &[files_of(volume.path())]);
    let Some(mut agent) = Agent::start(name, &targets, ROOM) else { return };
    every_engine(&mut agent, volume.path(), "xfs");
}

#[test]
fn every_engine_is_counted_on_tmpfs() {
    let name = "every_engine_is_counted_on_tmpfs";
    // The private namespace has a tmpfs to mount on. It takes O_DIRECT since Linux 6.6.
    let Ok(folder) = enter_private_namespace() else {
        return skipped(name, "a mount namespace needs root");
    };
    let targets = targets(1, &[files_of(&folder)]);
    let Some(mut agent) = Agent::start(name, &targets, ROOM) else { return };
    every_engine(&mut agent, &folder, "tmpfs");
}

#[test]
fn appends_threads_and_children_are_counted_where_they_were() {
    let name = "appends_threads_and_children_are_counted_where_they_were";
    let Some(volume) = volume(name, FileSystem::Ext4) else { return };
    let targets = targets(1, &[files_of(volume.path())]);
    let Some(mut agent) = Agent::start(name, &targets, ROOM) else { return };
    let aio = Engine::Aio(Aio { depth: 8, ..Aio::default() });
    let uring = Engine::Uring(Uring { depth: 8, ..Uring::default() });
    let page = PAGE as u32;
    let mut plan = IoPlan::new(volume.path());
    for (number, (engine, append)) in [
        (Engine::Plain, Append::Opened),
        (Engine::Positioned, Append::Opened),
        (Engine::PositionedVectored, Append::Opened),
        (Engine::PositionedVectored2, Append::Flagged),
        (aio, Append::Opened),
        (aio, Append::Flagged),
        (uring, Append::Opened),
        (uring, Append::Flagged),
    ]
    .into_iter()
    .enumerate()
    {
        let job = Job::new(&format!("append-{number}"), SIZE, engine).append(append);
        plan =
            plan.job(job.request(Request::write(0, page).times(CALLS, 0)).request(Request::read(SIZE, 50)));
    }
    for (file, engine, actors) in [
        ("threads", Engine::Positioned, Actors::Threads(4)),
        ("children", Engine::Vectored, Actors::Children(3)),
        ("rings", uring, Actors::Threads(2)),
        ("rings of children", uring, Actors::Children(2)),
        ("queues of children", aio, Actors::Children(2)),
    ] {
        plan = plan.job(
            Job::new(file, 4 * SIZE, engine)
                .actors(actors, SIZE)
                .request(Request::read(0, page).times(CALLS, STRIDE))
                .request(Request::write(PAGE, page).times(CALLS, STRIDE))
                .request(Request::sync()),
        );
    }
    for (number, engine) in [Engine::Plain, Engine::PositionedVectored2, uring].into_iter().enumerate() {
        let job = Job::new(&format!("here-{number}"), SIZE, engine)
            .request(Request::read(0, 4 * page).here().times(20, 0))
            .request(Request::write(0, page).here().times(20, 0))
            .request(Request::read(0, 2 * SIZE as u32).here().times(2, 0));
        plan = plan.job(job);
    }
    let (truth, window) = run(&mut agent, &plan);
    // The kernel tells where an append ended, of several at once the last: the bucket may be a neighbour.
    let concurrent: Vec<String> = ["append-4", "append-5"].map(ToOwned::to_owned).into();
    for (file, done) in &truth.files {
        if concurrent.contains(file) {
            let row = row(&window.nodes[0], Layer::Logical, Operation::Write, file).unwrap();
            assert_eq!(row.counts, done.write.counts(), "{file}");
        } else {
            assert_file("one plan", &window.nodes[0], file, done);
        }
    }
    assert_eq!(unattributed(&window, Layer::Logical), []);
}

#[test]
fn fio_is_counted_as_it_reports() {
    let name = "fio_is_counted_as_it_reports";
    if let Some(why) = fio::lacking() {
        return skipped(name, &why);
    }
    let Some(volume) = volume(name, FileSystem::Ext4) else { return };
    let targets = targets(1, &[files_of(volume.path())]);
    let Some(mut agent) = Agent::start(name, &targets, ROOM) else { return };
    let engines: [(&str, &[&str]); 8] = [
        ("sync", &[]),
        ("psync", &[]),
        ("pvsync2", &[]),
        ("libaio", &["iodepth=16", "iodepth_batch=4"]),
        ("io_uring", &["iodepth=16", "fsync=64"]),
        ("io_uring", &["iodepth=16", "fixedbufs", "registerfiles"]),
        ("io_uring", &["iodepth=16", "sqthread_poll", "registerfiles"]),
        ("io_uring", &["iodepth=16", "force_async=1"]),
    ];
    for (engine, options) in engines {
        for caching in [Caching::Buffered, Caching::Direct] {
            let what = format!("{engine} {options:?} {caching:?}");
            let fio = Fio::new(volume.path(), engine).caching(caching).options(options);
            fio.lay_out().unwrap();
            let run = fio.start().unwrap();
            agent.cut();
            agent.watch(run.pid(), 0);
            let truth = run.finish().unwrap();
            let window = agent.cut();
            for (operation, done) in [
                (Operation::Read, truth.read),
                (Operation::Write, truth.write),
                (Operation::Sync, truth.sync),
            ] {
                let row = row(&window.nodes[0], Layer::Logical, operation, "fio");
                let counted = row.map(|row| row.counts).unwrap_or_default();
                assert_eq!(counted, done, "{what}: {operation}");
            }
        }
    }
}
