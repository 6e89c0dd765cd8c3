//! The generator of file accesses: what it says it did, the kernel's own accounts, the device and the files
//! themselves say, too.

use crate::volume::{each, exact};
use isotherm_model::{BUCKETS, Counts, Operation};
use isotherm_tests::generator::Generator;
use isotherm_tests::io::{
    Actors, Aio, Append, Engine, Fault, FileTruth, IoPlan, IoTruth, Job, Memory, Request, Uring,
};
use isotherm_tests::pattern;
use isotherm_tests::skip::skipped;
use isotherm_tests::volume::{FileSystem, Volume};
use std::collections::BTreeMap;
use std::fs;

const PAGE: u64 = 4096;
const SIZE: u64 = 1 << 20;
/// A file whose end is in the middle of a page.
const TAIL: u64 = 100;
const CALLS: u32 = 40;
/// Reads and writes are in pages of their own.
const STRIDE: u64 = 6 * PAGE;

fn calls() -> [Engine; 5] {
    use Engine::{Plain, Positioned, PositionedVectored, PositionedVectored2, Vectored};
    [Plain, Positioned, Vectored, PositionedVectored, PositionedVectored2]
}

fn queues() -> Vec<Engine> {
    let aio = |depth, vectored, pgetevents| Engine::Aio(Aio { depth, vectored, pgetevents });
    let uring = |uring| Engine::Uring(uring);
    let deep = Uring { depth: 16, ..Uring::default() };
    vec![
        aio(1, false, false),
        aio(64, false, true),
        aio(16, true, false),
        uring(Uring::default()),
        uring(deep),
        uring(Uring { vectored: true, ..deep }),
        uring(Uring { fixed_buffers: true, ..deep }),
        uring(Uring { fixed_buffers: true, registered_files: true, ..deep }),
        uring(Uring { kernel_polls: true, ..deep }),
        uring(Uring { kernel_polls: true, fixed_buffers: true, registered_files: true, depth: 64, ..deep }),
        uring(Uring { linked: true, ..deep }),
        uring(Uring { workers: true, ..deep }),
    ]
}

fn engines() -> Vec<Engine> {
    calls().into_iter().chain(queues()).collect()
}

fn is_call(engine: Engine) -> bool {
    calls().contains(&engine)
}

fn is_linked(engine: Engine) -> bool {
    matches!(engine, Engine::Uring(Uring { linked: true, .. }))
}

fn volume(test: &str) -> Option<Volume> {
    match FileSystem::Ext4.lacking() {
        Some(why) => {
            skipped(test, &why);
            None
        }
        None => Some(exact()),
    }
}

/// A line of `/proc/PID/io`: calls' bytes, and the block layer's.
fn account(pid: u32) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let fields = text.lines().map(|line| line.split_once(": ").unwrap());
    fields.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

/// Runs a plan, and returns its truth with what the process's account grew by. The line that it reads and
/// the truth that it writes are not in it.
fn run(plan: &IoPlan) -> (IoTruth, BTreeMap<String, u64>) {
    let mut generator = plan.spawn().unwrap();
    let before = account(generator.pid());
    let truth = generator.run().unwrap();
    let mut grown = account(generator.pid());
    for (name, value) in &mut grown {
        *value -= before[name];
    }
    *grown.get_mut("rchar").unwrap() -= "go\n".len() as u64;
    *grown.get_mut("wchar").unwrap() -= serde_json::to_string(&truth).unwrap().len() as u64 + 1;
    generator.leave().unwrap();
    (truth, grown)
}

/// Buckets of `1 << shift` bytes that pages at these offsets fall into.
fn pages(offsets: impl Iterator<Item = u64>, shift: u8) -> Vec<u64> {
    let mut buckets = vec![0; BUCKETS];
    offsets.for_each(|offset| buckets[(offset >> shift) as usize] += 1);
    buckets
}

fn strided(from: u64) -> impl Iterator<Item = u64> {
    (0..u64::from(CALLS)).map(move |call| from + call * STRIDE)
}

/// The marks in the file are what was written, each page once.
fn assert_marked(path: &std::path::Path, truth: &FileTruth) {
    let marked = pattern::marked(path, truth.write.shift).unwrap();
    let bytes: Vec<u64> = truth.write.buckets.iter().map(|ops| ops * PAGE).collect();
    assert_eq!(marked.counts().to_vec(), bytes);
    assert_eq!(marked.total(), truth.write.bytes);
}

/// All there is to ask for, with pages that are read and pages that are written once each.
fn everything(file: &str, engine: Engine) -> Job {
    let page = PAGE as u32;
    Job::new(file, SIZE + TAIL, engine)
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

fn assert_everything(what: &str, truth: &FileTruth) {
    let calls = u64::from(CALLS);
    assert_eq!(truth.read.counts(), Counts { ops: calls + 6, bytes: calls * PAGE + TAIL }, "{what}");
    assert_eq!(truth.write.counts(), Counts { ops: calls, bytes: calls * PAGE }, "{what}");
    assert_eq!((truth.sync.ops, truth.sync.bytes, truth.read.empty_ops), (5, 0, 5), "{what}");
    assert_eq!(truth.size_bytes, SIZE + TAIL, "{what}");
    // The short read and the empty ones at the last byte are in the last bucket that the file has.
    let ends = [SIZE, SIZE + TAIL - 1, SIZE + TAIL - 1, SIZE + TAIL - 1, SIZE + TAIL - 1, SIZE + TAIL - 1];
    assert_eq!(truth.read.shift, 15, "{what}");
    assert_eq!(truth.read.buckets, pages(strided(0).chain(ends), 15), "{what}");
    assert_eq!(truth.write.buckets, pages(strided(PAGE), 15), "{what}");
}

#[test]
fn every_engine_tells_the_truth_through_the_page_cache() {
    let Some(volume) = volume("every_engine_tells_the_truth_through_the_page_cache") else { return };
    for (number, engine) in engines().into_iter().enumerate() {
        let (what, name) = (format!("{engine:?}"), format!("file-{number}"));
        let (truth, account) = run(&IoPlan::new(volume.path()).job(everything(&name, engine)));
        let file = truth.file(&name).unwrap();
        assert_marked(&volume.path().join(&name), file);
        if is_linked(engine) {
            // What was to follow a request that fell short did not happen.
            assert!(file.failed.contains_key(&libc::ECANCELED), "{what}: {:?}", file.failed);
            let all = file.read.ops + file.write.ops + file.sync.ops + file.failed.values().sum::<u64>();
            assert_eq!(all, 2 * u64::from(CALLS) + 5 + 1 + 5 + 9, "{what}");
            continue;
        }
        assert_everything(&what, file);
        let failed = BTreeMap::from([(libc::EBADF, 4), (libc::EFAULT, 3), (libc::EINVAL, 2)]);
        assert_eq!(file.failed, failed, "{what}");
        if is_call(engine) {
            assert_eq!((account["rchar"], account["wchar"]), (file.read.bytes, file.write.bytes), "{what}");
        }
    }
}

#[test]
fn direct_io_of_every_engine_reaches_the_device() {
    let Some(volume) = volume("direct_io_of_every_engine_reaches_the_device") else { return };
    let page = PAGE as u32;
    for (number, engine) in engines().into_iter().enumerate() {
        let memory = [Memory::Private, Memory::Shared, Memory::Memfd][number % 3];
        let (what, name) = (format!("{engine:?} {memory:?}"), format!("file-{number}"));
        let job = Job::new(&name, SIZE, engine).direct().memory(memory);
        let job = job
            .request(Request::read(0, page).times(CALLS, STRIDE))
            .request(Request::write(PAGE, page).times(CALLS, STRIDE))
            .request(Request::read(0, page).faulty(Fault::Misaligned));
        let plan = IoPlan::new(volume.path()).job(job);
        let mut generator = plan.spawn().unwrap();
        volume.sync().unwrap();
        let (device, before) = (volume.stat().unwrap(), account(generator.pid()));
        let truth = generator.run().unwrap();
        let (device, after) = (volume.stat().unwrap().since(&device), account(generator.pid()));
        let file = truth.file(&name).unwrap();
        let bytes = u64::from(CALLS) * PAGE;
        assert_eq!((file.read.bytes, file.write.bytes), (bytes, bytes), "{what}");
        assert_eq!(file.failed, BTreeMap::from([(libc::EINVAL, 1)]), "{what}");
        assert_eq!((device.read_bytes, device.write_bytes), (bytes, bytes), "{what}");
        let grown = |field: &str| after[field] - before[field];
        assert_eq!((grown("read_bytes"), grown("write_bytes")), (bytes, bytes), "{what}");
        assert_marked(&volume.path().join(&name), file);
    }
}

#[test]
fn direct_io_works_on_every_file_system() {
    each("direct_io_works_on_every_file_system", |file_system, volume| {
        let engines = [Engine::Positioned, Engine::Aio(Aio::default()), Engine::Uring(Uring::default())];
        for (number, engine) in engines.into_iter().enumerate() {
            let job = everything(&format!("file-{number}"), engine).direct().memory(Memory::Shared);
            let (truth, _) = run(&IoPlan::new(volume.path()).job(job));
            assert_everything(&format!("{file_system:?} {engine:?}"), truth.files.values().next().unwrap());
        }
    });
}

#[test]
fn requests_at_the_position_of_the_descriptor_follow_each_other() {
    let Some(volume) = volume("requests_at_the_position_of_the_descriptor_follow_each_other") else { return };
    let uring = Uring { depth: 8, ..Uring::default() };
    let engines = [
        Engine::Plain,
        Engine::Vectored,
        Engine::PositionedVectored2,
        Engine::Uring(uring),
        Engine::Uring(Uring { linked: true, ..uring }),
        Engine::Uring(Uring { registered_files: true, fixed_buffers: true, kernel_polls: true, ..uring }),
    ];
    for (number, engine) in engines.into_iter().enumerate() {
        let name = format!("file-{number}");
        let job = Job::new(&name, SIZE, engine)
            .request(Request::read(0, 4 * PAGE as u32).here().times(20, 0))
            .request(Request::write(0, PAGE as u32).here().times(20, 0))
            .request(Request::read(0, 2 * SIZE as u32).here().times(2, 0));
        let (truth, _) = run(&IoPlan::new(volume.path()).job(job));
        let file = truth.file(&name).unwrap();
        // In a chain, nothing follows the read that falls short.
        let empty = (!is_linked(engine)).then_some(SIZE - 1);
        let reads = (0..20).map(|call| call * 4 * PAGE).chain([100 * PAGE]).chain(empty);
        assert_eq!(file.read.buckets, pages(reads, 14), "{engine:?}");
        assert_eq!(file.write.buckets, pages((80..100).map(|page| page * PAGE), 14), "{engine:?}");
        assert_eq!(file.read.bytes, SIZE - 20 * PAGE, "{engine:?}");
        assert_eq!(file.read.empty_ops, u64::from(!is_linked(engine)), "{engine:?}");
        assert_marked(&volume.path().join(&name), file);
    }
}

#[test]
fn appending_writes_go_to_the_end() {
    let Some(volume) = volume("appending_writes_go_to_the_end") else { return };
    let (aio, uring) = (Aio { depth: 8, ..Aio::default() }, Uring { depth: 8, ..Uring::default() });
    let deep = [
        Engine::Aio(aio),
        Engine::Uring(uring),
        Engine::Uring(Uring { linked: true, vectored: true, ..uring }),
    ];
    let opened = calls().into_iter().chain(deep).map(|engine| (engine, Append::Opened));
    let flagged =
        deep.into_iter().chain([Engine::PositionedVectored2]).map(|engine| (engine, Append::Flagged));
    for (number, (engine, append)) in opened.chain(flagged).enumerate() {
        let name = format!("file-{number}");
        let job = Job::new(&name, SIZE, engine).append(append);
        let job =
            job.request(Request::write(0, PAGE as u32).times(CALLS, 0)).request(Request::read(SIZE, 50));
        let (truth, _) = run(&IoPlan::new(volume.path()).job(job));
        let file = truth.file(&name).unwrap();
        assert_eq!(file.size_bytes, SIZE + file.write.bytes, "{engine:?} {append:?}");
        let ends = (0..u64::from(CALLS)).map(|call| SIZE + call * PAGE);
        assert_eq!(file.write.buckets, pages(ends, 15), "{engine:?} {append:?}");
        assert_marked(&volume.path().join(&name), file);
    }
}

#[test]
fn threads_and_children_work_at_the_same_time() {
    let Some(volume) = volume("threads_and_children_work_at_the_same_time") else { return };
    let job = |name: &str, engine, actors| {
        Job::new(name, 4 * SIZE, engine)
            .actors(actors, SIZE)
            .request(Request::read(0, PAGE as u32).times(CALLS, STRIDE))
            .request(Request::write(PAGE, PAGE as u32).times(CALLS, STRIDE))
            .request(Request::sync())
    };
    let uring = Engine::Uring(Uring { depth: 8, ..Uring::default() });
    let plan = IoPlan::new(volume.path())
        .job(job("threads", Engine::Positioned, Actors::Threads(4)))
        .job(job("children", Engine::Vectored, Actors::Children(3)))
        .job(job("main", Engine::Plain, Actors::Main))
        .job(job("rings", uring, Actors::Threads(2)))
        .job(job("rings of children", uring, Actors::Children(2)))
        .job(job("queues of children", Engine::Aio(Aio::default()), Actors::Children(2)));
    let (truth, _) = run(&plan);
    let actors = |count| Counts { ops: count * u64::from(CALLS), bytes: count * u64::from(CALLS) * PAGE };
    for (name, count) in
        [("threads", 4), ("children", 3), ("main", 1), ("rings", 2), ("rings of children", 2)]
    {
        let file = truth.file(name).unwrap();
        assert_eq!((file.read.counts(), file.write.counts()), (actors(count), actors(count)), "{name}");
        assert_eq!(file.sync.ops, count, "{name}");
        assert_marked(&volume.path().join(name), file);
    }
    assert_eq!(truth.counts(Operation::Read), actors(14));
    assert_eq!(truth.counts(Operation::Sync).ops, 14);
}

#[test]
fn pages_that_a_dead_process_wrote_reach_the_device_later() {
    each("pages_that_a_dead_process_wrote_reach_the_device_later", |file_system, volume| {
        let job = |name, engine| {
            Job::new(name, SIZE, engine).request(Request::write(0, PAGE as u32).times(64, 2 * PAGE))
        };
        let plan = IoPlan::new(volume.path())
            .job(job("file", Engine::Positioned))
            .job(job("mapped", Engine::Mapped));
        let mut generator = plan.spawn().unwrap();
        volume.sync().unwrap();
        let before = volume.stat().unwrap();
        let truth = generator.run().unwrap();
        generator.kill().unwrap();
        let bytes = 64 * PAGE;
        assert_eq!(truth.counts(Operation::Write), Counts { ops: 64, bytes }, "{file_system:?}");
        assert_eq!(truth.file("mapped").unwrap().mapped_write_bytes, bytes, "{file_system:?}");
        volume.sync().unwrap();
        let written = volume.stat().unwrap().since(&before).write_bytes;
        assert!((2 * bytes..2 * bytes + 4 * SIZE).contains(&written), "{file_system:?}: {written}");
        assert_marked(&volume.path().join("file"), truth.file("file").unwrap());
        assert_eq!(pattern::marked(&volume.path().join("mapped"), 15).unwrap().total(), bytes);
    });
}

#[test]
fn cold_pages_that_are_read_come_from_the_device_by_calls_or_not() {
    let Some(volume) = volume("cold_pages_that_are_read_come_from_the_device_by_calls_or_not") else {
        return;
    };
    for (name, engine) in [("calls", Engine::Positioned), ("mapped", Engine::Mapped)] {
        let job = Job::new(name, 8 * SIZE, engine).request(Request::read(0, SIZE as u32).times(8, SIZE));
        let mut generator = IoPlan::new(volume.path()).job(job).spawn().unwrap();
        volume.drop_caches().unwrap();
        let before = volume.stat().unwrap();
        let truth = generator.run().unwrap();
        let file = truth.file(name).unwrap();
        assert_eq!(file.read.bytes + file.mapped_read_bytes, 8 * SIZE);
        assert_eq!(volume.stat().unwrap().since(&before).read_bytes, 8 * SIZE, "{name}");
    }
}

#[test]
fn a_truth_that_is_not_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let job = |engine| Job::new("file", SIZE, engine);
    let run = |job: Job| -> anyhow::Result<IoTruth> {
        let mut generator: Generator<IoTruth> = IoPlan::new(folder.path()).job(job).spawn()?;
        generator.run()
    };
    let read = Request::read(0, 100);
    assert!(run(job(Engine::Positioned).request(read)).is_ok());
    assert!(run(job(Engine::Positioned).request(read.here())).is_err(), "pread has no position -1");
    assert!(run(job(Engine::Mapped).request(Request::sync())).is_err());
    assert!(run(job(Engine::Plain).request(Request::read(1 << 63, 100))).is_err(), "it fails unasked");
    let append = job(Engine::Plain).append(Append::Opened).request(Request::write(0, 100));
    assert!(run(append.clone().actors(Actors::Threads(2), 0)).is_err(), "nobody knows where they wrote");
    let both = IoPlan::new(folder.path()).job(append).job(job(Engine::Plain));
    assert!(both.spawn().is_err(), "nor here");
    // What is read is compared with what belongs there.
    fs::write(folder.path().join("file"), vec![1; SIZE as usize]).unwrap();
    assert!(run(job(Engine::Positioned).request(read)).is_err());
}

#[test]
fn syncs_flush_the_device() {
    let Some(volume) = volume("syncs_flush_the_device") else { return };
    for (number, engine) in engines().into_iter().enumerate() {
        let name = format!("file-{number}");
        let job = Job::new(&name, SIZE, engine).request(Request::write(0, PAGE as u32));
        let job = job.request(Request::sync().times(2, 0)).request(Request::data_sync().times(3, 0));
        let mut generator = IoPlan::new(volume.path()).job(job).spawn().unwrap();
        volume.sync().unwrap();
        let before = volume.stat().unwrap();
        let truth = generator.run().unwrap();
        assert_eq!(truth.counts(Operation::Sync), Counts { ops: 5, bytes: 0 }, "{engine:?}");
        let flushes = volume.stat().unwrap().since(&before).flushes;
        // The kernel makes one flush of those that are asked for at the same time.
        assert!(flushes >= if is_call(engine) { 5 } else { 1 }, "{engine:?}: {flushes} flushes");
    }
}
