use super::*;
use isotherm_model::{AgentId, BootId, NodeId, SystemId};
use proptest::prelude::*;
use tempfile::TempDir;

fn second(n: u64) -> Interval {
    Interval::new(Timestamp::from_ms(n * 1_000), Timestamp::from_ms((n + 1) * 1_000)).unwrap()
}

fn hello(boot: &str) -> Hello {
    let node = NodeId::new(SystemId::new("s").unwrap(), "n").unwrap();
    let (agent, boot) = (AgentId::new("host").unwrap(), BootId::new(boot).unwrap());
    Hello { agent, boot, version: "1".to_owned(), window_ms: 1_000, targets: vec![node] }
}

fn bounds(folder: &TempDir) -> Bounds {
    Bounds { dir: folder.path().join("spool"), max_bytes: 64 << 10, max_batches: 1_000 }
}

fn open(folder: &TempDir, boot: &str) -> Spool {
    Spool::open(bounds(folder), hello(boot), Timestamp::from_ms(0)).unwrap()
}

/// A payload that names its batch.
fn payload(n: u64, len: usize) -> Vec<u8> {
    let mut payload = vec![7; len];
    payload[..8].copy_from_slice(&n.to_le_bytes());
    payload
}

fn fill(spool: &mut Spool, batches: u64, len: usize) {
    for n in 1..=batches {
        spool.push(payload(n, len), second(n));
    }
}

/// All that a run sends: number, or first and last of a gap.
fn sent(spool: &mut Spool, run: RunNumber) -> Vec<(u64, u64)> {
    spool.resend(run);
    let mut all = Vec::new();
    while spool.has_unsent(run) {
        match spool.take_unsent(run) {
            Some(Sending::Batch { seq, payload: found }) => {
                assert_eq!(found[..8], seq.get().to_le_bytes());
                all.push((seq.get(), seq.get()));
            }
            Some(Sending::Gap(gap)) => all.push((gap.first.get(), gap.last.get())),
            None => {}
        }
    }
    all
}

fn folders(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path().join("spool")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names.retain(|name| name != "lock");
    names
}

fn files(folder: &TempDir, run: &str, ending: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder.path().join("spool").join(run)) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == ending));
    paths.sort();
    paths
}

#[test]
fn what_was_not_delivered_is_delivered_first_by_the_next_run_under_its_own_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = open(&folder, "one");
    fill(&mut first, 5, 100);
    let run = first.turn();
    first.acknowledge(run, 2);
    assert_eq!(first.close(), (3, 0));

    let mut second = open(&folder, "two");
    fill(&mut second, 2, 100);
    let old = second.turn();
    assert!(!second.is_own(old));
    assert_eq!(second.hello(old), Some(&hello("one")));
    assert_eq!(second.batches(), 7, "the first segment has acknowledged batches, too");
    assert_eq!(second.welcome(old, 2), 0);
    assert_eq!(sent(&mut second, old), [(3, 3), (4, 4), (5, 5)]);
    second.acknowledge(old, 5);
    assert!(second.is_delivered(old));
    assert_eq!(folders(&folder), ["00000002-two"], "what is delivered is gone");
    let own = second.turn();
    assert!(second.is_own(own));
    assert_eq!(sent(&mut second, own), [(1, 1), (2, 2)]);
    second.acknowledge(own, 2);
    assert_eq!(second.close(), (0, 0));
    assert!(folders(&folder).is_empty());
}

#[test]
fn the_oldest_batches_make_room_for_new_ones_and_a_gap_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(&folder, "one");
    // 1 KiB each into 64 KiB, in segments of 4 KiB.
    fill(&mut spool, 200, 1_024);
    let on_disk: u64 =
        files(&folder, "00000001-one", "seg").iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(on_disk <= 64 << 10, "{on_disk}");
    let run = spool.turn();
    let all = sent(&mut spool, run);
    let (gap_first, gap_last) = all[0];
    assert_eq!(gap_first, 1);
    assert_eq!(all.len() as u64, 1 + 200 - gap_last);
    assert!(spool.batches() >= 48, "{} are left of 60", spool.batches());
    drop(spool);

    // The gap outlives a crash.
    let mut again = open(&folder, "two");
    let old = again.turn();
    assert_eq!(sent(&mut again, old), all);
    // It is of the same bound as what comes now, and older.
    fill(&mut again, 100, 1_024);
    let left = sent(&mut again, old);
    assert_eq!((left.len(), left[0]), (1, (1, 200)), "all of the older run gave way");
}

#[test]
fn the_number_of_batches_is_bounded_too() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Bounds { max_batches: 3, ..bounds(&folder) };
    let mut spool = Spool::open(limits, hello("one"), Timestamp::from_ms(0)).unwrap();
    fill(&mut spool, 10, 100);
    let run = spool.turn();
    assert_eq!(sent(&mut spool, run), [(1, 7), (8, 8), (9, 9), (10, 10)]);
}

#[test]
fn a_batch_that_is_larger_than_the_spool_is_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(&folder, "one");
    spool.push(payload(1, 70 << 10), second(1));
    spool.push(payload(2, 100), second(2));
    let run = spool.turn();
    assert_eq!(sent(&mut spool, run), [(1, 1), (2, 2)]);
    assert_eq!(spool.batches(), 1);
}

#[test]
fn what_the_disk_does_not_take_waits_in_memory_and_becomes_a_gap_when_that_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Bounds { max_bytes: 64 << 20, ..bounds(&folder) };
    let mut spool = Spool::open(limits, hello("one"), Timestamp::from_ms(0)).unwrap();
    // In the way of the folder of this run.
    let obstacle = folder.path().join("spool").join(UNFINISHED);
    fs::write(&obstacle, "").unwrap();
    fill(&mut spool, 20, 1 << 20);
    let run = spool.turn();
    assert!(spool.is_waiting());
    assert!(spool.unwritten_bytes() <= MEMORY_BYTES);
    assert_eq!(sent(&mut spool, run), [(1, 5)], "nothing is sent that is not on the disk; a gap is");
    assert_eq!(spool.batches(), 15);

    fs::remove_file(&obstacle).unwrap();
    spool.flush();
    assert!(!spool.is_waiting());
    let expected: Vec<(u64, u64)> = [(1, 5)].into_iter().chain((6..=20).map(|n| (n, n))).collect();
    assert_eq!(sent(&mut spool, run), expected);
    drop(spool);
    let mut again = open(&folder, "two");
    let old = again.turn();
    assert_eq!(sent(&mut again, old), expected, "the gap was noted, too");
}

#[test]
fn acknowledged_segments_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(&folder, "one");
    fill(&mut spool, 20, 1_024);
    let before = files(&folder, "00000001-one", "seg").len();
    let run = spool.turn();
    spool.acknowledge(run, 18);
    let after = files(&folder, "00000001-one", "seg").len();
    assert!(before >= 5 && after <= 2, "{before} segments became {after}");
    assert_eq!(sent(&mut spool, run), [(19, 19), (20, 20)]);
}

#[test]
fn a_spool_has_one_agent() {
    let folder = tempfile::tempdir().unwrap();
    let _first = open(&folder, "one");
    let error = Spool::open(bounds(&folder), hello("two"), Timestamp::from_ms(0)).unwrap_err().to_string();
    let holder = format!("in use by another isotherm-agent (process {})", std::process::id());
    assert!(error.contains(&holder) && error.contains("dir in [spool]"), "{error}");
    assert!(error.contains(&folder.path().display().to_string()), "{error}");
}

#[test]
fn a_folder_that_does_not_say_whose_it_is_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = open(&folder, "one");
    fill(&mut first, 2, 100);
    drop(first);
    let path = folder.path().join("spool/00000001-one/hello");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 6;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    let second = open(&folder, "two");
    assert_eq!(second.batches(), 0);
    assert_eq!(folders(&folder), ["damaged-00000001-one"]);
}

#[test]
fn what_is_damaged_while_it_waits_becomes_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(&folder, "one");
    fill(&mut spool, 3, 100);
    let path = &files(&folder, "00000001-one", "seg")[0];
    let mut bytes = fs::read(path).unwrap();
    bytes[230] ^= 1;
    fs::write(path, bytes).unwrap();
    let run = spool.turn();
    assert_eq!(sent(&mut spool, run), [(1, 1), (2, 2), (3, 3)]);
    assert_eq!(spool.batches(), 2);
}

#[test]
fn an_analyzer_that_lost_what_an_earlier_run_had_delivered_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = open(&folder, "one");
    fill(&mut first, 20, 1_024);
    let run = first.turn();
    first.acknowledge(run, 18);
    drop(first);
    let mut second = open(&folder, "two");
    let old = second.turn();
    let lost = second.welcome(old, 0);
    let all = sent(&mut second, old);
    assert_eq!(all[0], (1, lost));
    assert_eq!(all.last(), Some(&(20, 20)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happens_to_the_files_every_number_before_the_damage_comes_back(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        damage in 0..4_u8,
        garbage in prop::collection::vec(any::<u8>(), 1..300),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = open(&folder, "one");
        fill(&mut spool, 30, 500);
        drop(spool);
        let paths = files(&folder, "00000001-one", "seg");
        let which = which.index(paths.len());
        let mut bytes = fs::read(&paths[which]).unwrap();
        let at = at.index(bytes.len());
        let other = fs::read(&paths[0]).unwrap();
        match damage {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= garbage[0] | 1,
            2 => { bytes.splice(at..at, garbage.iter().copied()); }
            _ => { bytes.splice(at..at, other.iter().copied()); }
        }
        fs::write(&paths[which], &bytes).unwrap();

        let mut again = open(&folder, "two");
        let old = again.turn();
        // What is missing at the very beginning might have been acknowledged; the analyzer says that it was not.
        again.welcome(old, 0);
        let all = sent(&mut again, old);
        // Segments of 4 KiB hold eight records of 556 bytes.
        let before = (which * 8 + at / 556) as u64;
        prop_assert!(again.batches() as u64 >= before);
        let mut expected = 1;
        for (first, last) in &all {
            prop_assert_eq!(*first, expected, "each number is there once: {:?}", &all);
            expected = last + 1;
        }
        // Only what was at the very end may be missing without a gap: nobody knows that there was more.
        let in_last_record = which + 1 == paths.len() && (damage == 0 || before == 29);
        let end = if in_last_record { before } else { 30 };
        prop_assert!(expected > end, "{:?}", all);
        drop(again);
        // What was put right stays so.
        let mut third = open(&folder, "three");
        let old = third.turn();
        third.welcome(old, 0);
        prop_assert_eq!(sent(&mut third, old), all);
    }
}
