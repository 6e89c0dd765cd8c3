//! The real analyzer is killed, and finds the disk full, at the moments that matter.
//!
//! Needs `isotherm` built with the feature `failpoints`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use isotherm_proto::telemetry::v1::NackReason;
use isotherm_tests::process::wait_for;
use isotherm_tests::skip;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Instant;
use support::analyzer::{Analyzer, LIMIT, run, segments, serve};
use support::sample::ten_reads;
use support::telemetry::{Agent, Answer};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

fn dirs() -> (tempfile::TempDir, tempfile::TempDir) {
    (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap())
}

/// Polls until a new stream of the run is told that `seq` is committed.
async fn until_committed(analyzer: &Analyzer, seq: u64) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let agent = Agent::connect(&analyzer.url, "host", "boot").await.unwrap();
        if agent.welcome.committed_seq == seq {
            return;
        }
        assert!(Instant::now() < deadline, "batch {seq} was not committed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_catalog_knows_the_segment_it_starts_without_it() {
    let (data, scratch) = dirs();
    let failpoint = "store::segment_written=1*off->pause";
    let mut analyzer = Analyzer::start_with(data.path(), scratch.path(), failpoint).unwrap();
    let mut agent = Agent::connect(&analyzer.url, "host", "boot").await.unwrap();
    assert_eq!(agent.deliver(1, &[ten_reads(1)]).await.unwrap(), Answer::Ack(1));
    agent.send(2, &[ten_reads(2)]).await.unwrap();
    let two = || Ok((segments(data.path())? == 2).then_some(()));
    tokio::task::block_in_place(|| wait_for("the second segment", LIMIT, two)).unwrap();
    analyzer.child.kill();
    assert!(agent.answer().await.is_err(), "nothing was acknowledged");

    let analyzer = Analyzer::start(data.path(), scratch.path()).unwrap();
    assert_eq!(segments(data.path()).unwrap(), 1, "the orphan is gone");
    let mut agent = Agent::connect(&analyzer.url, "host", "boot").await.unwrap();
    assert_eq!(agent.welcome.committed_seq, 1);
    assert_eq!(agent.deliver(2, &[ten_reads(2)]).await.unwrap(), Answer::Ack(2));
    assert_eq!(analyzer.counted_reads().await.unwrap(), 20);
}

#[tokio::test]
async fn killed_before_the_acknowledgement_it_does_not_count_twice() {
    let (data, scratch) = dirs();
    let failpoint = "store::committed=1*off->pause";
    let mut analyzer = Analyzer::start_with(data.path(), scratch.path(), failpoint).unwrap();
    let mut agent = Agent::connect(&analyzer.url, "host", "boot").await.unwrap();
    assert_eq!(agent.deliver(1, &[ten_reads(1)]).await.unwrap(), Answer::Ack(1));
    agent.send(2, &[ten_reads(2)]).await.unwrap();
    until_committed(&analyzer, 2).await;
    analyzer.child.kill();
    assert!(agent.answer().await.is_err(), "nothing was acknowledged");

    let analyzer = Analyzer::start(data.path(), scratch.path()).unwrap();
    let mut agent = Agent::connect(&analyzer.url, "host", "boot").await.unwrap();
    assert_eq!(agent.welcome.committed_seq, 2);
    assert_eq!(agent.deliver(2, &[ten_reads(2)]).await.unwrap(), Answer::Ack(2));
    assert_eq!(agent.deliver(3, &[ten_reads(3)]).await.unwrap(), Answer::Ack(3));
    assert_eq!(analyzer.counted_reads().await.unwrap(), 30);
}

#[tokio::test]
async fn killed_again_and_again_it_loses_nothing_that_it_acknowledged() {
    let (data, scratch) = dirs();
    let mut next = 1;
    for _ in 0..5 {
        let mut analyzer = Analyzer::start(data.path(), scratch.path()).unwrap();
        let mut agent = Agent::connect(&analyzer.url, "host", "boot").await.unwrap();
        let committed = agent.welcome.committed_seq;
        assert!(committed + 1 >= next, "{committed} is less than what was acknowledged");
        next = committed + 1;
        for seq in next..next + u64::from(agent.credit) {
            agent.send(seq, &[ten_reads(seq)]).await.unwrap();
        }
        for _ in 0..3 {
            assert_eq!(agent.answer().await.unwrap(), Answer::Ack(next));
            next += 1;
        }
        analyzer.child.kill();
    }
    let analyzer = Analyzer::start(data.path(), scratch.path()).unwrap();
    let agent = Agent::connect(&analyzer.url, "host", "boot").await.unwrap();
    assert_eq!(analyzer.counted_reads().await.unwrap(), 10 * agent.welcome.committed_seq);
}

#[tokio::test]
async fn a_write_that_fails_is_retried_by_the_agent() {
    let (data, scratch) = dirs();
    let analyzer = Analyzer::start_with(data.path(), scratch.path(), "store::write=1*return->off").unwrap();
    let mut agent = Agent::connect(&analyzer.url, "host", "boot").await.unwrap();
    let Answer::Nack(1, NackReason::Retry, detail) = agent.deliver(1, &[ten_reads(1)]).await.unwrap() else {
        panic!("a write that fails is answered with RETRY");
    };
    assert!(detail.contains("cannot write") && detail.contains("store::write"), "{detail}");
    assert_eq!(agent.deliver(1, &[ten_reads(1)]).await.unwrap(), Answer::Ack(1));
    assert_eq!(analyzer.counted_reads().await.unwrap(), 10);
}

/// Takes all the room below `folder`.
fn fill(folder: &Path) -> PathBuf {
    let path = folder.join("filler");
    let mut file = File::create(&path).unwrap();
    for size in [1 << 16, 1 << 12, 1] {
        loop {
            match file.write(&vec![0; size]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    path
}

#[tokio::test]
async fn a_full_disk_is_waited_out() {
    if !caps::has_cap(None, caps::CapSet::Effective, caps::Capability::CAP_SYS_ADMIN).unwrap() {
        skip::skipped("a_full_disk_is_waited_out", "mounting a small disk takes CAP_SYS_ADMIN");
        return;
    }
    let (data, scratch) = dirs();
    let mut command = serve(data.path()).unwrap();
    let disk = data.path().to_owned();
    // SAFETY: the closure runs between fork and exec and makes only system calls; the paths are short enough
    // for nix to keep them on the stack.
    unsafe {
        command.pre_exec(move || {
            let none: Option<&str> = None;
            unshare(CloneFlags::CLONE_NEWNS)?;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
            mount(Some("tmpfs"), &disk, Some("tmpfs"), MsFlags::empty(), Some("size=4m"))?;
            Ok(())
        });
    }
    let analyzer = Analyzer::from_command(command, scratch.path()).unwrap();
    // The disk is the child's alone; its root leads there.
    let root = PathBuf::from(format!("/proc/{}/root", analyzer.child.pid()));
    let seen = root.join(data.path().strip_prefix("/").unwrap());
    let mut agent = Agent::connect(&analyzer.url, "host", "boot").await.unwrap();
    assert_eq!(agent.deliver(1, &[ten_reads(1)]).await.unwrap(), Answer::Ack(1));

    let filler = fill(&seen);
    for _ in 0..3 {
        let answer = agent.deliver(2, &[ten_reads(2)]).await.unwrap();
        assert!(matches!(&answer, Answer::Nack(2, NackReason::Retry, _)), "{answer:?}");
    }
    // A gap has no segment: here it is the catalog that finds the disk full.
    for _ in 0..3 {
        agent.send_gap(2, 2).await.unwrap();
        let Answer::Nack(2, NackReason::Retry, detail) = agent.answer().await.unwrap() else {
            panic!("a catalog that cannot be written is answered with RETRY");
        };
        assert!(detail.contains("cannot commit to the catalog"), "{detail}");
    }
    assert_eq!(segments(&seen).unwrap(), 1, "nothing half-written is left");
    assert_eq!(analyzer.counted_reads().await.unwrap(), 10, "questions are still answered");

    fs::remove_file(filler).unwrap();
    agent.send_gap(2, 2).await.unwrap();
    assert_eq!(agent.answer().await.unwrap(), Answer::Ack(2));
    assert_eq!(agent.deliver(3, &[ten_reads(3)]).await.unwrap(), Answer::Ack(3));
    assert_eq!(analyzer.counted_reads().await.unwrap(), 20);
    assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0, "the host never saw the disk");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_it_cleanly_though_agents_and_watchers_are_connected() {
    let (data, scratch) = dirs();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut analyzer = Analyzer::start(data.path(), scratch.path()).unwrap();
        let mut agent = Agent::connect(&analyzer.url, "host", "boot").await.unwrap();
        let seq = agent.welcome.committed_seq + 1;
        assert_eq!(agent.deliver(seq, &[ten_reads(seq)]).await.unwrap(), Answer::Ack(seq));
        let mut health = HealthClient::new(analyzer.channel().await.unwrap());
        let watch = HealthCheckRequest { service: String::new() };
        let _watching = health.watch(watch).await.unwrap();
        analyzer.child.signal(signal).unwrap();
        // The runtime of this test has to serve the connections that are being closed.
        let ended = tokio::task::block_in_place(|| wait_for("the end", LIMIT, || analyzer.child.ended()));
        assert_eq!(ended.unwrap().code(), Some(0), "{}", analyzer.child.log_tail());
    }
}

#[tokio::test]
async fn a_data_folder_has_one_analyzer() {
    let (data, scratch) = dirs();
    let analyzer = Analyzer::start(data.path(), scratch.path()).unwrap();
    let folder = data.path().to_str().unwrap();
    let second = run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", folder]).unwrap();
    let message = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{message}");
    let holder = format!("in use by another isotherm serve (process {})", analyzer.child.pid());
    assert!(message.contains(&holder), "{message}");
}
