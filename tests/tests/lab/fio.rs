//! fio's report is held against the device before anything is held against the report.

use crate::volume::exact;
use isotherm_tests::fio::{self, Fio};
use isotherm_tests::io::Caching;
use isotherm_tests::skip::skipped;
use isotherm_tests::volume::FileSystem;

#[test]
fn what_fio_reports_of_direct_io_reached_the_device() {
    let name = "what_fio_reports_of_direct_io_reached_the_device";
    if let Some(why) = FileSystem::Ext4.lacking().or_else(fio::lacking) {
        return skipped(name, &why);
    }
    let volume = exact();
    let engines: [(&str, &[&str]); 7] = [
        ("sync", &[]),
        ("psync", &[]),
        ("pvsync2", &[]),
        ("libaio", &["iodepth=16", "iodepth_batch=4"]),
        ("io_uring", &["iodepth=16"]),
        ("io_uring", &["iodepth=16", "fixedbufs", "registerfiles"]),
        ("io_uring", &["iodepth=16", "sqthread_poll", "registerfiles"]),
    ];
    for (engine, options) in engines {
        let fio = Fio::new(volume.path(), engine).caching(Caching::Direct).options(options);
        fio.lay_out().unwrap();
        let run = fio.start().unwrap();
        volume.sync().unwrap();
        let before = volume.stat().unwrap();
        let truth = run.finish().unwrap();
        let device = volume.stat().unwrap().since(&before);
        let what = format!("{engine} {options:?}");
        assert_eq!(truth.read.ops + truth.write.ops, truth.size_bytes / 4096, "{what}");
        assert!(truth.read.ops > 500 && truth.write.ops > 500, "{what}: {truth:?}");
        assert_eq!(truth.read.bytes, device.read_bytes, "{what}");
        assert_eq!(truth.write.bytes, device.write_bytes, "{what}");
    }
}

#[test]
fn fio_reports_the_syncs_that_it_was_asked_for() {
    let name = "fio_reports_the_syncs_that_it_was_asked_for";
    if let Some(why) = fio::lacking() {
        return skipped(name, &why);
    }
    let folder = tempfile::tempdir().unwrap();
    let fio = Fio::new(folder.path(), "psync").pattern("write").block_bytes(64 << 10).options(&["fsync=16"]);
    fio.lay_out().unwrap();
    let truth = fio.start().unwrap().finish().unwrap();
    assert_eq!((truth.write.ops, truth.read.ops), (128, 0));
    // After each 16 writes but, perhaps, the last.
    assert!((7..=8).contains(&truth.sync.ops), "{truth:?}");
}

#[test]
fn an_engine_that_fio_does_not_have_is_an_error() {
    if let Some(why) = fio::lacking() {
        return skipped("an_engine_that_fio_does_not_have_is_an_error", &why);
    }
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (Fio::new(folder.path(), "psync"), Fio::new(folder.path(), "abacus"));
    assert!(good.start().is_err(), "nothing is laid out");
    good.lay_out().unwrap();
    assert!(bad.start().unwrap().finish().is_err());
}
