//! What the agent cut arrives exactly once, whatever is killed, cut, full or set: real agent, real analyzer.
//!
//! Needs root, and `isotherm` and `isotherm-agent` built with failpoints. The agent tells each window that it
//! cuts before it hands it to the spool, so what it had cut by its death is known.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use isotherm_model::{Completeness, Layer, Operation, Subject, Window};
use isotherm_tests::process::wait_for;
use isotherm_tests::skip::skipped;
use isotherm_tests::usage::memory_kib;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::analyzer::LIMIT;
use support::recorder::Recorder;
use support::scene::{Behind, Running, Watch, folder};

const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// All reads that the analyzer stored.
fn stored(behind: &Behind) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(behind.analyzer.counted_reads()).unwrap()
}

/// Batches that are missing, which may have told of any node of the agent.
fn gaps(behind: &Behind) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(behind.analyzer.nodes()).unwrap().iter().map(|node| node.gaps).max().unwrap_or(0)
}

fn empty(spool: &Path) -> bool {
    let names = fs::read_dir(spool).unwrap().map(|entry| entry.unwrap().file_name());
    names.into_iter().all(|name| name == "lock")
}

/// Stops an agent after its load. It then delivers for a few seconds only; what it had no time for, agents without
/// a load do, until nothing is left.
fn stop(agent: &mut Running, watch: &mut Watch) {
    agent.stop();
    for _ in 0..5 {
        if empty(&watch.spool()) {
            return;
        }
        let command = watch.command();
        let mut next = watch.start(command);
        next.until_says("had left is delivered");
        next.stop();
    }
    panic!("{}: something stays of what is delivered", watch.spool().display());
}

#[test]
fn an_agent_killed_at_any_step_of_its_spool_delivers_what_it_had_written_once() {
    let name = "an_agent_killed_at_any_step_of_its_spool_delivers_what_it_had_written_once";
    for (step, written) in [
        ("spool::append=6*off->return", false),
        ("spool::appended=6*off->return", true),
        ("spool::synced=6*off->return", true),
        ("spool::acknowledged=6*off->return", true),
    ] {
        let Some(folder) = folder(name) else { return };
        let behind = Behind::start(folder.path());
        let mut watch = Watch::prepare(folder, &behind.endpoint(), "");
        let mut command = watch.command();
        command.env("FAILPOINTS", step);
        let mut first = watch.start(command);
        watch.go();
        first.until_dead();
        let cut = first.cut();
        let mut known: u64 = cut.iter().sum();
        if !written {
            // It died before the last window was on the disk.
            known -= cut.last().unwrap();
        }
        assert!(known > 0, "{step}: {}", first.log());

        let command = watch.command();
        let mut second = watch.start(command);
        second.until("a window", |running| running.cut().iter().sum::<u64>() > 0);
        watch.end();
        stop(&mut second, &mut watch);
        let known = known + second.cut().iter().sum::<u64>();
        assert_eq!((stored(&behind), gaps(&behind)), (known, 0), "{step}\n{}", second.log());
    }
}

#[test]
fn a_link_that_stalls_and_is_cut_and_an_analyzer_that_is_killed_lose_and_double_nothing() {
    let name = "a_link_that_stalls_and_is_cut_and_an_analyzer_that_is_killed_lose_and_double_nothing";
    let Some(folder) = folder(name) else { return };
    let mut behind = Behind::start(folder.path());
    let mut watch = Watch::prepare(folder, &behind.endpoint(), "");
    let command = watch.command();
    let mut agent = watch.start(command);
    watch.go();
    let mut windows = 0;
    let mut more = |agent: &mut Running, number| {
        windows += number;
        let want = windows;
        agent.until("more windows", |running| running.cut().len() >= want);
    };
    for round in 0..4_u64 {
        more(&mut agent, 4);
        // In the middle of a message: each is some hundred bytes.
        let cuts = behind.proxy.cuts();
        behind.proxy.cut_after(700 + 333 * round);
        agent.until("the link to be cut", |_| behind.proxy.cuts() > cuts);
        more(&mut agent, 2);
        behind.proxy.stall(true);
        more(&mut agent, 3);
        behind.proxy.stall(false);
        // Killed before and after its commit, it leaves batches without an answer, which come again.
        let point = ["store::segment_written", "store::committed"][round as usize % 2];
        behind.restart(&format!("{point}=2*off->pause"));
        more(&mut agent, 5);
        behind.restart("");
    }
    let truth = watch.end();
    stop(&mut agent, &mut watch);
    assert!(truth > 500, "{truth} reads are too few to prove anything");
    assert_eq!((stored(&behind), gaps(&behind)), (truth, 0), "{}", agent.log());
}

#[test]
fn agents_and_analyzers_killed_at_any_moment_lose_only_what_was_not_cut() {
    let name = "agents_and_analyzers_killed_at_any_moment_lose_only_what_was_not_cut";
    let Some(folder) = folder(name) else { return };
    let mut behind = Behind::start(folder.path());
    let mut watch = Watch::prepare(folder, &behind.endpoint(), "");
    watch.go();
    // A window that was cut may not have been written by the time of the kill.
    let mut possible = vec![0_u64];
    for round in 0..4_usize {
        let command = watch.command();
        let mut agent = watch.start(command);
        agent.until("some windows", |running| running.cut().len() >= 3 + round);
        let moment = Instant::now() + Duration::from_millis(37 * round as u64);
        agent.until("the moment", |_| Instant::now() >= moment);
        if round % 2 == 0 {
            behind.restart("");
        }
        agent.child.kill();
        let cut = agent.cut();
        let (all, last): (u64, u64) = (cut.iter().sum(), *cut.last().unwrap());
        possible = possible.iter().flat_map(|sum| [sum + all, sum + all - last]).collect();
    }
    let command = watch.command();
    let mut agent = watch.start(command);
    watch.end();
    stop(&mut agent, &mut watch);
    let last: u64 = agent.cut().iter().sum();
    let stored = stored(&behind);
    assert!(possible.iter().any(|sum| sum + last == stored), "{stored} of {possible:?} + {last}");
    assert_eq!(gaps(&behind), 0);
}

#[test]
fn a_stopped_agent_leaves_what_it_could_not_deliver_to_the_next() {
    let Some(folder) = folder("a_stopped_agent_leaves_what_it_could_not_deliver_to_the_next") else { return };
    let mut behind = Behind::start(folder.path());
    behind.analyzer.child.kill();
    let mut watch = Watch::prepare(folder, &behind.endpoint(), "");
    let command = watch.command();
    let mut first = watch.start(command);
    watch.go();
    first.until("some windows", |running| running.cut().len() >= 5);
    let second = watch.command().output().unwrap();
    let message = String::from_utf8_lossy(&second.stderr).into_owned();
    let says = format!("in use by another isotherm-agent (process {})", first.child.pid());
    assert!(!second.status.success() && message.contains(&says), "{message}");
    let truth = watch.end();
    first.stop();
    assert!(first.log().contains("they stay in the spool for the next start"), "{}", first.log());
    assert_eq!(first.cut().iter().sum::<u64>(), truth);

    behind.restart("");
    let command = watch.command();
    let mut second = watch.start(command);
    second.until_says("had left is delivered");
    second.stop();
    assert_eq!((stored(&behind), gaps(&behind)), (truth, 0));
}

/// Takes all the room below `folder`.
fn fill(folder: &Path) -> PathBuf {
    use std::io::Write;
    let path = folder.join("filler");
    let mut file = fs::File::create(&path).unwrap();
    for size in [1 << 16, 1 << 12, 1] {
        while file.write(&vec![0; size]).is_ok() {}
    }
    path
}

#[test]
fn a_full_disk_is_waited_out_and_told_once() {
    let name = "a_full_disk_is_waited_out_and_told_once";
    let Some(folder) = folder(name) else { return };
    if !caps::has_cap(None, caps::CapSet::Effective, caps::Capability::CAP_SYS_ADMIN).unwrap() {
        return skipped(name, "mounting a small disk takes CAP_SYS_ADMIN");
    }
    let behind = Behind::start(folder.path());
    let mut watch = Watch::prepare(folder, &behind.endpoint(), "");
    let mut command = watch.command();
    let disk = watch.spool();
    // SAFETY: the closure runs between fork and exec and makes only system calls; the paths are short enough
    // for nix to keep them on the stack.
    unsafe {
        command.pre_exec(move || {
            let none: Option<&str> = None;
            unshare(CloneFlags::CLONE_NEWNS)?;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
            mount(Some("tmpfs"), &disk, Some("tmpfs"), MsFlags::empty(), Some("size=256k"))?;
            Ok(())
        });
    }
    let mut agent = watch.start(command);
    // The disk is the child's alone; its root leads there.
    let root = PathBuf::from(format!("/proc/{}/root", agent.child.pid()));
    let seen = root.join(watch.spool().strip_prefix("/").unwrap());
    watch.go();
    agent.until("some windows", |running| running.cut().len() >= 3);
    let filler = fill(&seen);
    agent.until_says("batches wait in memory");
    let windows = agent.cut().len();
    agent.until("more windows", |running| running.cut().len() >= windows + 8);
    assert_eq!(agent.log().matches("batches wait in memory").count(), 1, "{}", agent.log());
    fs::remove_file(filler).unwrap();
    agent.until_says("can be written again");
    let truth = watch.end();
    // Its disk goes with it.
    agent.until("every read to be stored", |_| stored(&behind) >= truth);
    agent.stop();
    assert_eq!((stored(&behind), gaps(&behind)), (truth, 0), "{}", agent.log());
}

fn reads(windows: &[Window]) -> u64 {
    let rows = windows.iter().flat_map(|window| &window.nodes).flat_map(|node| &node.rows);
    let rows = rows.filter(|row| (row.layer, row.operation) == (Layer::Logical, Operation::Read));
    rows.filter(|row| matches!(row.subject, Subject::Partition(_))).map(|row| row.counts.ops).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_keeps_to_its_credit_and_its_memory_however_slow_the_analyzer() {
    let name = "an_agent_keeps_to_its_credit_and_its_memory_however_slow_the_analyzer";
    let Some(folder) = folder(name) else { return };
    let (recorder, url) = Recorder::start(3, false).await.unwrap();
    let (truth, log) = tokio::task::block_in_place(|| {
        let mut watch = Watch::prepare(folder, &url, "");
        let command = watch.command();
        let mut agent = watch.start(command);
        watch.go();
        agent.until("as many as it has credit for", |_| recorder.kept.lock().unwrap().unanswered == 3);
        let before = memory_kib(agent.child.pid(), "VmRSS").unwrap();
        let windows = agent.cut().len();
        agent.until("many more windows", |running| running.cut().len() >= windows + 30);
        assert_eq!(recorder.kept.lock().unwrap().unanswered, 3);
        let after = memory_kib(agent.child.pid(), "VmRSS").unwrap();
        assert!(after < before + 4_096, "{before} KiB became {after} KiB");
        recorder.answer();
        let truth = watch.end();
        agent.stop();
        (truth, agent.log())
    });
    let kept = recorder.kept.lock().unwrap();
    assert_eq!(kept.most_unanswered, 3);
    let all: Vec<Window> = kept.batches.values().flatten().cloned().collect();
    assert_eq!(reads(&all), truth, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_makes_partial_windows_and_no_other_counts() {
    let name = "a_clock_that_is_set_makes_partial_windows_and_no_other_counts";
    let Some(folder) = folder(name) else { return };
    if !Path::new(FAKETIME).exists() {
        return skipped(name, "libfaketime is not installed (Debian package faketime)");
    }
    let (recorder, url) = Recorder::start(16, true).await.unwrap();
    let (truth, log) = tokio::task::block_in_place(|| {
        let clock = folder.path().join("clock");
        fs::write(&clock, "+0\n").unwrap();
        let mut watch = Watch::prepare(folder, &url, "");
        let mut command = watch.command();
        command
            .env("LD_PRELOAD", FAKETIME)
            .env("FAKETIME_TIMESTAMP_FILE", &clock)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        let mut agent = watch.start(command);
        watch.go();
        for offset in ["+3600\n", "-3600\n", "+0\n"] {
            let windows = agent.cut().len();
            agent.until("some windows", |running| running.cut().len() >= windows + 6);
            // Never read half-written.
            let new = clock.with_extension("new");
            fs::write(&new, offset).unwrap();
            fs::rename(&new, &clock).unwrap();
        }
        let windows = agent.cut().len();
        agent.until("some windows", |running| running.cut().len() >= windows + 6);
        let truth = watch.end();
        agent.stop();
        (truth, agent.log())
    });
    let kept = recorder.kept.lock().unwrap();
    let windows: Vec<Window> = kept.batches.values().flatten().cloned().collect();
    assert_eq!(reads(&windows), truth, "{log}");
    let hour = |window: &Window| window.start.as_ms() / 1_800_000;
    let steps: Vec<&[Window]> =
        windows.windows(2).filter(|pair| hour(&pair[0]).abs_diff(hour(&pair[1])) > 0).collect();
    assert!(steps.len() >= 3, "the clock was set three times, and seen {} times\n{log}", steps.len());
    for pair in steps {
        if pair[0].end().as_ms().abs_diff(pair[1].start.as_ms()) > 1_000 {
            assert_eq!(pair[1].completeness, Completeness::Partial, "{pair:?}");
        }
    }
    let complete = windows.iter().filter(|window| window.completeness == Completeness::Complete).count();
    assert!(complete >= 8, "{complete} of {} windows are complete\n{log}", windows.len());
}

#[test]
fn what_does_not_fit_becomes_a_gap_and_the_rest_arrives_once() {
    let Some(folder) = folder("what_does_not_fit_becomes_a_gap_and_the_rest_arrives_once") else { return };
    let mut behind = Behind::start(folder.path());
    behind.analyzer.child.kill();
    let mut watch = Watch::prepare(folder, &behind.endpoint(), "[limits]\nunacked_batches = 10\n");
    let command = watch.command();
    let mut agent = watch.start(command);
    watch.go();
    agent.until("more windows than fit", |running| running.cut().len() >= 25);
    behind.restart("");
    agent.until_says("connected to");
    let truth = watch.end();
    agent.stop();
    let cut = agent.cut();
    assert_eq!(cut.iter().sum::<u64>(), truth);
    let dropped = usize::try_from(gaps(&behind)).unwrap();
    assert!(dropped >= 15, "{dropped} of {}", cut.len());
    let arrived: u64 = cut[dropped..].iter().sum();
    assert_eq!(stored(&behind), arrived, "{dropped} dropped\n{}", agent.log());
    wait_for("an empty spool", LIMIT, || Ok(empty(&watch.spool()).then_some(()))).unwrap();
}
