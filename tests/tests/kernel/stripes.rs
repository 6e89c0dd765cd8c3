//! Rules over devices: what a store does to a device without a file system is its partitions'.

use crate::agent::{Agent, ROOM, row, targets};
use isotherm_agent::mounts::block_device;
use isotherm_agent::rule::{DeviceRule, Rule};
use isotherm_model::{Layer, Operation, OtherReason, Subject, UnattributedReason};
use isotherm_tests::skip::skipped;
use isotherm_tests::volume::{Backing, FileSystem, LoopDevice};
use isotherm_tests::workspace::target_dir;
use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

const MIB: u64 = 1 << 20;
const PAGE: usize = 4096;

fn rule(device: &Path, from: u64, to: Option<u64>, stripe: Option<u64>, partition: &str) -> Rule {
    Rule::Device(DeviceRule::new(device, from, to, stripe, partition).unwrap())
}

/// Memory that direct I/O takes.
fn page(space: &mut [u8; 2 * PAGE]) -> &mut [u8] {
    let start = space.as_ptr().align_offset(PAGE);
    &mut space[start..start + PAGE]
}

#[test]
fn the_parts_of_a_device_are_partitions() {
    let name = "the_parts_of_a_device_are_partitions";
    if let Some(why) = FileSystem::Ext4.lacking() {
        return skipped(name, &why);
    }
    let device = LoopDevice::new(16 * MIB, Backing::Cached).unwrap();
    let missing = Path::new("/dev/no-such-device");
    let rules = [
        rule(device.path(), 0, Some(4 * MIB), None, "log"),
        rule(device.path(), 4 * MIB, Some(12 * MIB), Some(MIB), "data-$stripe"),
        rule(missing, 0, None, None, "nothing"),
    ];
    // A second node with the same rules comes too late.
    let targets = targets(2, &rules);
    let Some(mut agent) = Agent::start(name, &targets, ROOM) else { return };
    let found = agent.attribution.find_devices(block_device, &BTreeSet::new());
    let number = block_device(device.path()).unwrap();
    assert_eq!(
        found.claims.iter().map(|(dev, stripes)| (*dev, stripes.shift)).collect::<Vec<_>>(),
        [(number, 20)]
    );
    assert_eq!(found.missing.iter().map(|(_, path)| path.as_path()).collect::<Vec<_>>(), [missing; 2]);
    assert_eq!(found.disputed, [(number, targets[0].node.clone(), targets[1].node.clone())]);
    for (dev, stripes) in found.claims {
        agent.probe.claim_device(dev, stripes).unwrap();
    }

    let direct =
        File::options().read(true).write(true).custom_flags(libc::O_DIRECT).open(device.path()).unwrap();
    let cached = File::options().read(true).write(true).open(device.path()).unwrap();
    // SAFETY: an advice on an open descriptor. Reads ahead would be in other stripes.
    assert_eq!(unsafe { libc::posix_fadvise(cached.as_raw_fd(), 0, 0, libc::POSIX_FADV_RANDOM) }, 0);
    let before = device.stat().unwrap();
    agent.cut();
    let mut space = [0; 2 * PAGE];
    let page = page(&mut space);
    // Directly: 4 in the log, 2 in the third stripe, 1 behind all rules. Cached: 3 in the first stripe.
    for offset in [0, MIB, 2 * MIB, 4 * MIB - PAGE as u64, 6 * MIB, 7 * MIB - PAGE as u64, 12 * MIB] {
        direct.write_all_at(page, offset).unwrap();
    }
    direct.read_exact_at(page, 6 * MIB + 64 * 1024).unwrap();
    for offset in [4 * MIB, 4 * MIB + 512 * 1024, 5 * MIB - PAGE as u64] {
        cached.write_all_at(page, offset).unwrap();
    }
    cached.read_exact_at(page, 11 * MIB).unwrap();
    cached.sync_all().unwrap();
    let window = agent.cut();
    let node = &window.nodes[0];
    let counted = |operation, partition: &str| {
        let row = row(node, Layer::Device, operation, partition);
        row.map_or((0, 0, Vec::new()), |row| {
            let buckets = row.offsets.counts().iter().enumerate().filter(|(_, ops)| **ops > 0);
            (row.counts.ops, row.counts.bytes, buckets.map(|(bucket, _)| bucket).collect())
        })
    };
    let bytes = PAGE as u64;
    // Buckets are a 64th of a MiB, which the kernel counts in; the log's four MiB lie over each other.
    assert_eq!(counted(Operation::Write, "log"), (4, 4 * bytes, vec![0, 63]));
    assert_eq!(counted(Operation::Write, "data-0"), (3, 3 * bytes, vec![0, 32, 63]));
    assert_eq!(counted(Operation::Write, "data-2"), (2, 2 * bytes, vec![0, 63]));
    assert_eq!(counted(Operation::Read, "data-2"), (1, bytes, vec![4]));
    assert_eq!(counted(Operation::Read, "data-7"), (1, bytes, vec![0]));
    let no_rule = node.rows.iter().find(|row| row.subject == Subject::Other(OtherReason::NoRule)).unwrap();
    assert_eq!((no_rule.counts.ops, no_rule.counts.bytes), (1, bytes));
    assert!(window.nodes[1].rows.is_empty());
    let stat = device.stat().unwrap().since(&before);
    for (operation, done) in [(Operation::Read, stat.read_bytes), (Operation::Write, stat.write_bytes)] {
        assert_eq!(node.totals[&(Layer::Device, operation)].bytes, done, "{operation}");
    }
    let latencies = node.rows.iter().filter_map(|row| row.latency.as_ref()).map(|latency| latency.total());
    assert_eq!(latencies.sum::<u64>(), stat.reads + stat.writes - flushes(&stat));

    // What is not claimed any more is of no file.
    agent.probe.release_device(number).unwrap();
    direct.write_all_at(page, 0).unwrap();
    let window = agent.cut();
    assert!(window.nodes[0].rows.is_empty());
    let no_file = Subject::Unattributed(UnattributedReason::NoFile);
    let hosts = window.nodes.iter().filter(|node| node.node.is_host()).flat_map(|node| &node.rows);
    let row = hosts
        .into_iter()
        .find(|row| row.subject == no_file && row.operation == Operation::Write && row.counts.bytes >= bytes)
        .unwrap();
    assert!(row.counts.bytes >= bytes, "{row:?}");
}

/// A node for a block device whose number a file of sysfs has.
fn make_node(path: &Path, number: &str) {
    let text = std::fs::read_to_string(number).unwrap();
    let (major, minor) = text.trim().split_once(':').unwrap();
    let device = libc::makedev(major.parse().unwrap(), minor.parse().unwrap());
    let name = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: a plain call with a valid string.
    assert_eq!(unsafe { libc::mknod(name.as_ptr(), libc::S_IFBLK | 0o600, device) }, 0);
}

/// Writes that only flush the cache: one for the fsync.
fn flushes(stat: &isotherm_tests::volume::DeviceStat) -> u64 {
    assert_eq!(stat.flushes, 1);
    1
}

#[test]
fn places_on_a_partition_of_a_disk_count_from_its_beginning() {
    let name = "places_on_a_partition_of_a_disk_count_from_its_beginning";
    if let Some(why) = FileSystem::Ext4.lacking() {
        return skipped(name, &why);
    }
    // Not a multiple of a stripe.
    let disk = LoopDevice::partitioned(9 * MIB, MIB + 300 * 512, Backing::Cached).unwrap();
    // A node of its own: not every machine makes them for partitions of loop devices.
    let nodes = tempfile::TempDir::new_in(target_dir().join("tmp")).unwrap();
    let path = nodes.path().join("partition");
    make_node(&path, &format!("/sys/block/{0}/{0}p1/dev", disk.name()));
    let rules = [rule(&path, 0, None, Some(MIB), "part-$stripe")];
    let Some(mut agent) = Agent::start(name, &targets(1, &rules), ROOM) else { return };
    let found = agent.attribution.find_devices(block_device, &BTreeSet::new());
    for (dev, stripes) in found.claims {
        agent.probe.claim_device(dev, stripes).unwrap();
    }
    let direct = File::options().read(true).write(true).custom_flags(libc::O_DIRECT).open(&path).unwrap();
    agent.cut();
    let mut space = [0; 2 * PAGE];
    let page = page(&mut space);
    for stripe in 0..7 {
        direct.write_all_at(page, stripe * MIB).unwrap();
    }
    let window = agent.cut();
    let node = &window.nodes[0];
    assert_eq!(node.totals[&(Layer::Device, Operation::Write)].ops, 7);
    for stripe in 0..7 {
        let row = row(node, Layer::Device, Operation::Write, &format!("part-{stripe}")).unwrap();
        assert_eq!((row.counts.bytes, row.offsets.counts()[0]), (PAGE as u64, 1), "stripe {stripe}");
        assert_eq!(row.latency.as_ref().unwrap().total(), 1, "stripe {stripe}");
    }
}
