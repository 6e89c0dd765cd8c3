//! btrfs, whose files are on no block device of their own number. The bytes of its devices are exact, what it
//! writes twice counted twice; whose file's they are is not told, neither of direct nor of cached accesses, and they
//! are nobody else's.

use crate::agent::{Agent, ROOM, files_of, row, targets};
use crate::device::{Compared, number_of};
use crate::files::{assert_truth, volume};
use isotherm_agent_ebpf::{BlockKind, READ, WRITE};
use isotherm_model::{Layer, Operation};
use isotherm_tests::io::{Engine, IoPlan, Job, Request};
use isotherm_tests::volume::FileSystem;

#[test]
fn the_device_of_btrfs_is_counted_and_its_files_are_not_told() {
    let name = "the_device_of_btrfs_is_counted_and_its_files_are_not_told";
    let Some(volume) = volume(name, FileSystem::Btrfs) else { return };
    let Some(mut agent) = Agent::start(name, &targets(1, &[files_of(volume.path())]), ROOM) else { return };
    let job = |file, engine| {
        Job::new(file, 1 << 20, engine)
            .request(Request::read(0, 4096).times(40, 6 * 4096))
            .request(Request::write(4096, 4096).times(40, 6 * 4096))
            .request(Request::sync())
    };
    let plan = IoPlan::new(volume.path()).job(job("cached", Engine::Positioned));
    let plan = plan.job(job("direct", Engine::Positioned).direct());
    let mut generator = plan.spawn().unwrap();
    let dev = number_of(&volume);
    let file_dev = volume.file_device().unwrap();
    let file_dev = libc::major(file_dev) << 20 | libc::minor(file_dev);
    let compared = Compared::begin(&mut agent, &volume, |key| key.dev == dev || key.dev == file_dev);
    agent.cut();
    agent.watch(generator.pid(), 0);
    let truth = generator.run().unwrap();
    let counted = compared.end(name, &mut agent, &volume);
    let window = agent.cut();
    assert_truth(name, &window, 0, &truth);
    let row = row(&window.nodes[0], Layer::Device, Operation::Write, "cached");
    assert!(row.is_none(), "{row:?}");
    for operation in [READ, WRITE] {
        let (ops, bytes) = counted.part(BlockKind::Unknown, operation);
        assert!((80..=82).contains(&ops) && bytes >= 80 * 4096, "{counted:?}");
        assert_eq!(counted.part(BlockKind::File, operation), (0, 0));
    }
    assert!(counted.part(BlockKind::Metadata, WRITE).1 > 0, "{counted:?}");
}
