//! The device layer: what is counted for a volume's device is what the kernel's own statistics of it say, and
//! the bytes of a file are the file's.

use crate::agent::{Agent, ROOM, files_of, row, targets};
use crate::files::volume;
use isotherm_agent_ebpf::{BlockCounters, BlockKey, BlockKind, DISCARD, READ, WRITE};
use isotherm_model::{Layer, Operation, OtherReason, Row, Subject, Window};
use isotherm_tests::io::{Aio, Engine, IoPlan, Job, Memory, Request, Uring};
use isotherm_tests::process::wait_for;
use isotherm_tests::volume::{Backing, DeviceStat, FileSystem, Spec, Volume};
use std::collections::BTreeMap;
use std::time::Duration;

const PAGE: u64 = 4096;
const SIZE: u64 = 1 << 20;
const CALLS: u32 = 40;
const STRIDE: u64 = 6 * PAGE;
const LIMIT: Duration = Duration::from_secs(5);
const REST: Duration = Duration::from_millis(20);

/// A device's number as the kernel holds it.
pub(crate) fn number_of(volume: &Volume) -> u32 {
    let number = volume.block_device();
    libc::major(number) << 20 | libc::minor(number)
}

/// What was counted for a device, by kind and operation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    parts: BTreeMap<(u8, u8), (u64, u64)>,
    /// Requests by operation and bucket.
    latency: BTreeMap<u8, [u64; 40]>,
    /// Runs of the programs that the kernel skipped, as a completion can interrupt another: each can be a latency
    /// that was not measured.
    skipped: u64,
}

impl Counted {
    /// Of all entries that a test takes for the device's.
    pub(crate) fn of(agent: &mut Agent, is_of: impl Fn(&BlockKey) -> bool) -> Self {
        let reading = agent.read();
        let mut counted = Self { skipped: reading.totals.recursion_misses, ..Self::default() };
        for (key, counters) in reading.blocks.iter().filter(|(key, _)| is_of(key)) {
            counted.add(key, counters);
        }
        counted
    }

    fn add(&mut self, key: &BlockKey, counters: &BlockCounters) {
        let (ops, bytes) = self.parts.entry((key.kind, key.operation)).or_default();
        *ops += counters.ops();
        *bytes += counters.bytes;
        let latency = self.latency.entry(key.operation).or_insert([0; 40]);
        latency.iter_mut().zip(counters.latency).for_each(|(sum, count)| *sum += count);
    }

    pub(crate) fn since(mut self, before: &Self) -> Self {
        self.skipped -= before.skipped;
        for (part, (ops, bytes)) in &before.parts {
            let now = self.parts.get_mut(part).unwrap();
            *now = (now.0 - ops, now.1 - bytes);
        }
        for (operation, latency) in &before.latency {
            let now = self.latency.get_mut(operation).unwrap();
            now.iter_mut().zip(latency).for_each(|(now, before)| *now -= before);
        }
        self
    }

    /// Operations and bytes of a kind.
    pub(crate) fn part(&self, kind: BlockKind, operation: u16) -> (u64, u64) {
        self.parts.get(&(kind as u8, operation as u8)).copied().unwrap_or_default()
    }

    fn bytes(&self, operation: u16) -> u64 {
        let parts = self.parts.iter().filter(|((_, code), _)| u16::from(*code) == operation);
        parts.map(|(_, (_, bytes))| bytes).sum()
    }

    fn ops(&self, operation: u16) -> u64 {
        let parts = self.parts.iter().filter(|((_, code), _)| u16::from(*code) == operation);
        parts.map(|(_, (ops, _))| ops).sum()
    }

    fn requests(&self, operation: u16) -> u64 {
        self.latency.get(&(operation as u8)).map_or(0, |latency| latency.iter().sum())
    }

    /// Whether the bytes, and the requests that were measured, are the device's own. Those that only flush its cache
    /// are writes to it that have no data, and no latency here.
    pub(crate) fn is(&self, stat: &DeviceStat) -> bool {
        let bytes = [self.bytes(READ), self.bytes(WRITE), self.bytes(DISCARD)];
        let measured = |operation: u16, requests: u64, others: u64| {
            let least = self.requests(operation);
            (least..=least + others + self.skipped).contains(&requests)
        };
        bytes == [stat.read_bytes, stat.write_bytes, stat.discard_bytes]
            && measured(READ, stat.reads, 0)
            && measured(DISCARD, stat.discards, 0)
            && measured(WRITE, stat.writes, stat.flushes)
    }
}

/// A volume whose device is compared from one moment to another.
pub(crate) struct Compared<F> {
    is_of: F,
    counted: Counted,
    stat: DeviceStat,
}

impl<F: Fn(&BlockKey) -> bool> Compared<F> {
    /// From now on. A request is accounted to its device a little after those who wait for its data are woken, so the
    /// device has to have been idle for a moment.
    pub(crate) fn begin(agent: &mut Agent, volume: &Volume, is_of: F) -> Self {
        volume.sync().unwrap();
        let stat = wait_for("the device to be idle", LIMIT, || {
            let before = volume.stat()?;
            std::thread::sleep(REST);
            Ok(Some(volume.stat()?).filter(|stat| *stat == before))
        });
        Self { counted: Counted::of(agent, &is_of), is_of, stat: stat.unwrap() }
    }

    /// Everything since then, when the device has done what it was given: reads ahead are still under way when
    /// nobody waits for them.
    pub(crate) fn end(self, what: &str, agent: &mut Agent, volume: &Volume) -> Counted {
        volume.sync().unwrap();
        let mut last = None;
        let agrees = wait_for("the device to be idle", LIMIT, || {
            let counted = Counted::of(agent, &self.is_of).since(&self.counted);
            let stat = volume.stat()?.since(&self.stat);
            let agrees = counted.is(&stat).then_some(counted.clone());
            last = Some((counted, stat));
            Ok(agrees)
        });
        let (counted, stat) = last.unwrap();
        println!("{what}: {stat:?}\n{counted:?}");
        agrees.unwrap_or_else(|_| panic!("{what}: {counted:#?}\nis not the device's {stat:#?}"))
    }
}

fn of_device(volume: &Volume) -> impl Fn(&BlockKey) -> bool + use<> {
    let dev = number_of(volume);
    move |key| key.dev == dev
}

/// Every way in which bytes come to a device. All of a file is read, then pages far apart are written.
fn ways() -> Vec<(&'static str, Job)> {
    let uring = Uring { depth: 8, ..Uring::default() };
    let aio = Engine::Aio(Aio { depth: 8, ..Aio::default() });
    let job = |name, engine| Job::new(name, SIZE, engine);
    let fixed = Engine::Uring(Uring { fixed_buffers: true, registered_files: true, ..uring });
    let polled = Engine::Uring(Uring { kernel_polls: true, ..uring });
    let worked = Engine::Uring(Uring { workers: true, ..uring });
    vec![
        ("buffered", job("buffered", Engine::Positioned)),
        ("mapped", job("mapped", Engine::Mapped)),
        ("ring", job("ring", Engine::Uring(uring))),
        ("direct", job("direct", Engine::Positioned).direct()),
        ("direct-vectored", job("direct-vectored", Engine::PositionedVectored).direct()),
        ("direct-shared", job("direct-shared", Engine::Positioned).direct().memory(Memory::Shared)),
        ("direct-memfd", job("direct-memfd", Engine::Positioned).direct().memory(Memory::Memfd)),
        ("direct-aio", job("direct-aio", aio).direct()),
        ("direct-aio-shared", job("direct-aio-shared", aio).direct().memory(Memory::Shared)),
        ("direct-ring", job("direct-ring", Engine::Uring(uring)).direct()),
        ("direct-fixed", job("direct-fixed", fixed).direct().memory(Memory::Shared)),
        ("direct-polled", job("direct-polled", polled).direct().memory(Memory::Memfd)),
        ("direct-worked", job("direct-worked", worked).direct()),
    ]
}

fn with_requests(job: Job) -> Job {
    let page = PAGE as u32;
    job.request(Request::read(0, page).times((SIZE / PAGE) as u32, PAGE))
        .request(Request::write(PAGE, page).times(CALLS, STRIDE))
}

fn device_row<'a>(window: &'a Window, operation: Operation, file: &str) -> &'a Row {
    row(&window.nodes[0], Layer::Device, operation, file)
        .unwrap_or_else(|| panic!("{operation} of {file} is nowhere"))
}

/// The device's bytes are counted, and those of each file for the file, although the process is dead when what it
/// wrote reaches the device.
fn every_way(name: &str, file_system: FileSystem) {
    let Some(volume) = volume(name, file_system) else { return };
    let Some(mut agent) = Agent::start(name, &targets(1, &[files_of(volume.path())]), ROOM) else { return };
    let mut plan = IoPlan::new(volume.path());
    for (_, job) in ways() {
        plan = plan.job(with_requests(job));
    }
    let mut generator = plan.spawn().unwrap();
    agent.watch(generator.pid(), 0);
    let compared = Compared::begin(&mut agent, &volume, of_device(&volume));
    agent.cut();
    let truth = generator.run().unwrap();
    agent.learn();
    generator.kill().unwrap();
    let counted = compared.end(name, &mut agent, &volume);
    let window = agent.cut();
    for (file, job) in ways() {
        let done = truth.file(file).unwrap();
        let (read, written) =
            (done.read.bytes + done.mapped_read_bytes, done.write.bytes + done.mapped_write_bytes);
        assert_eq!((read, written), (SIZE, u64::from(CALLS) * PAGE));
        let row = device_row(&window, Operation::Read, file);
        assert_eq!(row.counts.bytes, read, "{file}");
        if job.caching == isotherm_tests::io::Caching::Direct {
            assert_eq!((row.counts.ops, row.offsets), (done.read.ops, done.read.offsets()), "{file}");
        }
        let row = device_row(&window, Operation::Write, file);
        if file == "mapped" {
            // The kernel writes whole folios of what was changed in memory.
            assert!((written..=SIZE).contains(&row.counts.bytes), "{file}: {:?}", row.counts);
        } else {
            assert_eq!(row.counts.bytes, written, "{file}");
            assert_eq!((row.counts.ops, row.offsets), (done.write.ops, done.write.offsets()), "{file}");
        }
    }
    // Nothing was taken for unknown, and no file but these was touched.
    assert_eq!(counted.part(BlockKind::Unknown, READ), (0, 0));
    assert_eq!(counted.part(BlockKind::Unknown, WRITE), (0, 0));
    let files = |operation| window.nodes[0].totals[&(Layer::Device, operation)].bytes;
    assert_eq!(counted.part(BlockKind::File, READ).1, files(Operation::Read));
    assert_eq!(counted.part(BlockKind::File, WRITE).1, files(Operation::Write));
    for operation in [READ, WRITE] {
        assert!(counted.requests(operation) > 0 && counted.requests(operation) <= counted.ops(operation));
        // Nothing is done in less than a microsecond, nor takes more than 17 s.
        let latency = counted.latency[&(operation as u8)];
        assert_eq!(latency[..10].iter().chain(&latency[34..]).sum::<u64>(), 0, "{latency:?}");
    }
}

#[test]
fn every_way_to_an_ext4_device_is_counted_for_its_file() {
    every_way("every_way_to_an_ext4_device_is_counted_for_its_file", FileSystem::Ext4);
}

#[test]
fn every_way_to_an_xfs_device_is_counted_for_its_file() {
    every_way("every_way_to_an_xfs_device_is_counted_for_its_file", FileSystem::Xfs);
}

#[test]
fn metadata_and_journal_are_told_apart() {
    let name = "metadata_and_journal_are_told_apart";
    for file_system in [FileSystem::Ext4, FileSystem::Xfs] {
        let Some(mut volume) = volume(name, file_system) else { continue };
        let targets = targets(1, &[files_of(volume.path())]);
        let Some(mut agent) = Agent::start(name, &targets, ROOM) else { return };
        let compared = Compared::begin(&mut agent, &volume, of_device(&volume));
        for number in 0..200 {
            std::fs::write(volume.path().join(format!("empty-{number}")), b"").unwrap();
        }
        let logged = compared.end(name, &mut agent, &volume);
        assert!(logged.part(BlockKind::Journal, WRITE).1 >= 2 * PAGE, "{file_system:?}: {logged:?}");
        assert_eq!(logged.part(BlockKind::File, WRITE), (0, 0), "{file_system:?}: {logged:?}");
        let compared = Compared::begin(&mut agent, &volume, of_device(&volume));
        // A process that another test is just starting may hold a descriptor for a moment.
        wait_for("the volume to be unmounted", LIMIT, || Ok(volume.remount().ok())).unwrap();
        assert_eq!(std::fs::read_dir(volume.path()).unwrap().flatten().count() / 200, 1);
        let remounted = compared.end(name, &mut agent, &volume);
        // The directory's and the inodes' blocks, at least, at the latest when it was unmounted. Reading them again
        // is no file's either.
        let written = [&logged, &remounted].map(|counted| counted.part(BlockKind::Metadata, WRITE).1);
        assert!(written.iter().sum::<u64>() >= 2 * PAGE, "{file_system:?}: {written:?}");
        assert!(remounted.part(BlockKind::Metadata, READ).1 >= 2 * PAGE, "{file_system:?}: {remounted:?}");
        assert_eq!(remounted.part(BlockKind::File, READ), (0, 0), "{file_system:?}: {remounted:?}");
    }
}

#[test]
fn an_image_below_a_volume_is_nobodys_file() {
    let name = "an_image_below_a_volume_is_nobodys_file";
    if FileSystem::Ext4.lacking().is_some() {
        return drop(volume(name, FileSystem::Ext4));
    }
    for backing in [Backing::Direct, Backing::Cached] {
        let spec = Spec { backing, ..Spec::new(FileSystem::Ext4, 128 << 20) };
        let volume = spec.make().unwrap();
        let targets = targets(1, &[files_of(volume.path())]);
        let Some(mut agent) = Agent::start(name, &targets, ROOM) else { return };
        let job =
            Job::new("file", 4 * SIZE, Engine::Positioned).request(Request::write(0, 1 << 20).times(4, SIZE));
        let direct = Job::new("direct", 4 * SIZE, Engine::Positioned).direct();
        let direct = direct.request(Request::write(0, 1 << 20).times(4, SIZE));
        let mut generator = IoPlan::new(volume.path()).job(job).job(direct).spawn().unwrap();
        agent.watch(generator.pid(), 0);
        let compared = Compared::begin(&mut agent, &volume, of_device(&volume));
        let below = Counted::of(&mut agent, |key| key.kind == BlockKind::File as u8);
        agent.cut();
        generator.run().unwrap();
        let counted = compared.end(name, &mut agent, &volume);
        let window = agent.cut();
        let files = Counted::of(&mut agent, |key| key.kind == BlockKind::File as u8).since(&below);
        // Both files once, on the volume's device, although the image's own device has them, too.
        for file in ["file", "direct"] {
            assert_eq!(
                device_row(&window, Operation::Write, file).counts.bytes,
                4 * SIZE,
                "{backing:?}: {file}"
            );
        }
        assert_eq!(counted.part(BlockKind::File, WRITE).1, 8 * SIZE, "{backing:?}");
        assert_eq!(window.nodes[0].totals[&(Layer::Device, Operation::Write)].bytes, 8 * SIZE, "{backing:?}");
        let hosts: Vec<&Row> =
            window.nodes.iter().filter(|node| node.node.is_host()).flat_map(|node| &node.rows).collect();
        let nobodys: u64 = hosts
            .iter()
            .filter(|row| {
                row.operation == Operation::Write && row.subject == Subject::Other(OtherReason::NoTarget)
            })
            .map(|row| row.counts.bytes)
            .sum();
        if backing == Backing::Direct {
            assert!(nobodys >= 8 * SIZE, "{nobodys} bytes of files that are nobody's: {hosts:?}");
            assert!(files.part(BlockKind::File, WRITE).1 >= 16 * SIZE, "{files:?}");
        }
    }
}

#[test]
fn large_accesses_are_counted_where_they_begin() {
    const LARGE: u64 = 16 << 20;
    const EACH: u64 = 2 << 20;
    let name = "large_accesses_are_counted_where_they_begin";
    for file_system in [FileSystem::Ext4, FileSystem::Xfs] {
        let Some(volume) = volume(name, file_system) else { continue };
        let targets = targets(1, &[files_of(volume.path())]);
        let Some(mut agent) = Agent::start(name, &targets, ROOM) else { return };
        let whole = |request: Request| request.times((LARGE / EACH) as u32, EACH);
        for direct in [false, true] {
            let job = Job::new(if direct { "direct" } else { "cached" }, LARGE, Engine::Positioned);
            let job = if direct { job.direct() } else { job };
            let job = job
                .request(whole(Request::read(0, EACH as u32)))
                .request(whole(Request::write(0, EACH as u32)));
            let mut generator = IoPlan::new(volume.path()).job(job).spawn().unwrap();
            agent.watch(generator.pid(), 0);
            let compared = Compared::begin(&mut agent, &volume, of_device(&volume));
            agent.cut();
            generator.run().unwrap();
            compared.end(name, &mut agent, &volume);
            let window = agent.cut();
            for operation in [Operation::Read, Operation::Write] {
                let row = device_row(&window, operation, if direct { "direct" } else { "cached" });
                assert_eq!(row.counts.bytes, LARGE, "{file_system:?} {operation}");
                // An operation is in the bucket, here of 256 KiB, where it begins, however large it is: the page
                // cache hands over up to 16 MiB at once, direct I/O not more than a call asked for.
                let counts = row.offsets.counts();
                assert_eq!((row.offsets.shift(), counts[0] > 0), (18, true), "{file_system:?} {operation}");
                if direct {
                    assert!(
                        counts.iter().step_by(8).all(|ops| *ops > 0),
                        "{file_system:?} {operation}: {counts:?}"
                    );
                }
                assert_eq!(counts.iter().sum::<u64>(), row.counts.ops);
            }
            generator.leave().unwrap();
        }
    }
}
