//! Volumes: real file systems, of which nothing is left behind.

use isotherm_tests::pattern::{self, Mark};
use isotherm_tests::process::wait_for;
use isotherm_tests::skip::skipped;
use isotherm_tests::volume::{Backing, FileSystem, Mount, Spec, Volume};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);
const MIB: u64 = 1 << 20;

/// One of each file system that the machine can have; those that it cannot are told as skipped.
pub(crate) fn each(test: &str, mut check: impl FnMut(FileSystem, Volume)) {
    for file_system in FileSystem::ALL {
        match file_system.lacking() {
            Some(why) => skipped(&format!("{test} ({})", file_system.name()), &why),
            None => check(file_system, Spec::new(file_system, 320 * MIB).make().unwrap()),
        }
    }
}

/// A volume whose device does nothing by itself for a while: ext4 commits its journal after ten minutes.
pub(crate) fn exact() -> Volume {
    let spec = Spec { options: "commit=600".to_owned(), ..Spec::new(FileSystem::Ext4, 128 * MIB) };
    spec.make().unwrap()
}

fn cleared(device: &str) -> bool {
    !Path::new(&format!("/sys/block/{device}/loop/backing_file")).exists()
}

fn wait_until_cleared(device: &str) {
    wait_for("the loop device to be cleared", LIMIT, || Ok(cleared(device).then_some(()))).unwrap();
}

#[test]
fn what_is_written_and_read_reaches_the_device() {
    each("what_is_written_and_read_reaches_the_device", |file_system, volume| {
        let path = volume.path().join("file");
        let file = File::create(&path).unwrap();
        volume.sync().unwrap();
        let before = volume.stat().unwrap();
        let mut buffer = vec![0; 8 * MIB as usize];
        pattern::fill(&mut buffer, 0, Mark::Set);
        file.write_all_at(&buffer, 0).unwrap();
        volume.sync().unwrap();
        let written = volume.stat().unwrap().since(&before);
        // Besides the data, at most 2 MiB of the file system's own.
        assert!((8 * MIB..10 * MIB).contains(&written.write_bytes), "{file_system:?}: {written:?}");
        assert!(written.flushes > 0, "{file_system:?}: {written:?}");

        let cached = volume.stat().unwrap();
        assert_eq!(fs::read(&path).unwrap(), buffer);
        let read = volume.stat().unwrap().since(&cached).read_bytes;
        assert_eq!(read, 0, "{file_system:?}: it is in the page cache");
        volume.drop_caches().unwrap();
        let dropped = volume.stat().unwrap();
        assert_eq!(fs::read(&path).unwrap(), buffer);
        let read = volume.stat().unwrap().since(&dropped);
        assert!((8 * MIB..9 * MIB).contains(&read.read_bytes), "{file_system:?}: {read:?}");
        assert_eq!(read.write_bytes, 0, "{file_system:?}: reading writes nothing");
    });
}

#[test]
fn only_btrfs_has_files_on_no_block_device() {
    each("only_btrfs_has_files_on_no_block_device", |file_system, volume| {
        fs::write(volume.path().join("file"), "x").unwrap();
        let file = fs::metadata(volume.path().join("file")).unwrap().dev();
        assert_eq!(volume.file_device().unwrap(), file);
        assert_eq!(file == volume.block_device(), file_system != FileSystem::Btrfs);
        assert_eq!(fs::metadata(volume.device_path()).unwrap().rdev(), volume.block_device());
    });
}

#[test]
fn a_remounted_volume_has_its_files_and_nothing_cached() {
    each("a_remounted_volume_has_its_files_and_nothing_cached", |file_system, mut volume| {
        fs::create_dir(volume.path().join("folder")).unwrap();
        fs::write(volume.path().join("folder/file"), vec![7; MIB as usize]).unwrap();
        let open = File::open(volume.path().join("folder/file")).unwrap();
        assert!(volume.remount().is_err(), "{file_system:?}: a file of it is open");
        drop(open);
        volume.sync().unwrap();
        let before = volume.stat().unwrap();
        // A process that another test is just starting may hold a copy of the descriptor until it runs its program.
        wait_for("an unmount", LIMIT, || Ok(volume.remount().ok())).unwrap();
        assert_eq!(fs::read(volume.path().join("folder/file")).unwrap().len() as u64, MIB);
        let read = volume.stat().unwrap().since(&before).read_bytes;
        assert!(read > MIB, "{file_system:?}: {read} bytes are not data and metadata");
    });
}

#[test]
fn a_volume_can_have_a_device_past_the_page_cache() {
    if let Some(why) = FileSystem::Ext4.lacking() {
        return skipped("a_volume_can_have_a_device_past_the_page_cache", &why);
    }
    let spec = Spec { backing: Backing::Direct, ..Spec::new(FileSystem::Ext4, 64 * MIB) };
    let volume = spec.make().unwrap();
    fs::write(volume.path().join("file"), "x").unwrap();
    volume.sync().unwrap();
    let dio = fs::read_to_string(format!("/sys/block/{}/loop/dio", volume.device_name())).unwrap();
    assert_eq!(dio.trim(), "1");
}

#[test]
fn others_do_not_see_a_volume() {
    if let Some(why) = FileSystem::Ext4.lacking() {
        return skipped("others_do_not_see_a_volume", &why);
    }
    let volume = Volume::ext4(64 * MIB).unwrap();
    let mounted = |process: &str| {
        let mounts = fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap();
        mounts.contains(&volume.path().to_string_lossy().into_owned())
    };
    assert!(mounted("thread-self") && !mounted("1"));
    let seen = Command::new("ls").arg(volume.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&seen.stdout).trim(), "lost+found", "what we start sees it");
}

#[test]
fn a_dropped_volume_leaves_nothing_even_while_in_use() {
    if let Some(why) = FileSystem::Ext4.lacking() {
        return skipped("a_dropped_volume_leaves_nothing_even_while_in_use", &why);
    }
    let volume = Volume::ext4(64 * MIB).unwrap();
    let (path, device) = (volume.path().to_path_buf(), volume.device_name().to_owned());
    let open = File::create(path.join("file")).unwrap();
    drop(volume);
    assert!(!path.join("file").exists() && !cleared(&device));
    open.write_all_at(b"still there", 0).unwrap();
    drop(open);
    wait_until_cleared(&device);
}

#[test]
fn a_panicking_test_leaves_no_volume() {
    if let Some(why) = FileSystem::Ext4.lacking() {
        return skipped("a_panicking_test_leaves_no_volume", &why);
    }
    let (tell, told) = std::sync::mpsc::channel();
    let test = thread::spawn(move || {
        let volume = Volume::ext4(64 * MIB).unwrap();
        tell.send(volume.device_name().to_owned()).unwrap();
        // As in a failed assertion, without its message.
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(test.join().is_err());
    wait_until_cleared(&told.recv().unwrap());
}

/// The test runs itself as a process of its own, which makes a volume and is killed.
#[test]
fn a_killed_process_leaves_no_volume() {
    const NAME: &str = "volume::a_killed_process_leaves_no_volume";
    const HELD: &str = "ISOTHERM_LAB_HOLDS_A_VOLUME";
    if let Some(why) = FileSystem::Ext4.lacking() {
        return skipped(NAME, &why);
    }
    if std::env::var_os(HELD).is_some() {
        let volume = Volume::ext4(64 * MIB).unwrap();
        println!("\nheld {}", volume.device_name());
        thread::sleep(LIMIT);
        panic!("nobody killed it");
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", NAME, "--nocapture"]).env(HELD, "yes").stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let device = lines.filter_map(|line| Some(line.strip_prefix("held ")?.to_owned())).next().unwrap();
    assert!(!cleared(&device));
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until_cleared(&device);
}

#[test]
fn an_overlay_takes_writes_and_leaves_what_is_below() {
    if let Some(why) = FileSystem::Ext4.lacking() {
        return skipped("an_overlay_takes_writes_and_leaves_what_is_below", &why);
    }
    let (lower, upper) = (Volume::ext4(64 * MIB).unwrap(), Volume::ext4(64 * MIB).unwrap());
    fs::write(lower.path().join("file"), "below").unwrap();
    let overlay = Mount::overlay(lower.path(), upper.path()).unwrap();
    assert_eq!(fs::read_to_string(overlay.path().join("file")).unwrap(), "below");
    fs::write(overlay.path().join("file"), "above").unwrap();
    assert_eq!(fs::read_to_string(lower.path().join("file")).unwrap(), "below");
    assert_eq!(fs::read_to_string(overlay.path().join("file")).unwrap(), "above");
    drop(overlay);
}

#[test]
fn a_bind_mount_is_a_second_way_to_the_same_files() {
    if let Some(why) = FileSystem::Ext4.lacking() {
        return skipped("a_bind_mount_is_a_second_way_to_the_same_files", &why);
    }
    let volume = Volume::ext4(64 * MIB).unwrap();
    fs::create_dir(volume.path().join("folder")).unwrap();
    let bound = Mount::bind(&volume.path().join("folder")).unwrap();
    fs::write(bound.path().join("file"), "x").unwrap();
    let inode = |path: &Path| (fs::metadata(path).unwrap().dev(), fs::metadata(path).unwrap().ino());
    assert_eq!(inode(&bound.path().join("file")), inode(&volume.path().join("folder/file")));
    let elsewhere = bound.path().to_path_buf();
    drop(bound);
    assert!(!elsewhere.exists());
}
