use super::*;

/// A look at `keys` keys, of which the first hundred are the sample.
fn look(at_ms: u64, keys: u64) -> Look {
    let digests = (0..keys.min(100)).map(|key| (format!("{key:04x}"), key)).collect();
    Look { at_ms, keys, digests }
}

fn without(mut look: Look, count: usize) -> Look {
    for _ in 0..count {
        look.digests.pop_first();
    }
    look
}

fn rewritten(mut look: Look, count: usize, salt: u64) -> Look {
    look.digests.values_mut().take(count).for_each(|digest| *digest += 1_000 * salt);
    look
}

/// Looked at for ten seconds in which nothing happened.
fn idle() -> Baseline {
    let mut baseline = Baseline::new(look(0, 1_000), 100, 0);
    baseline.look(&look(10_000, 1_000));
    baseline
}

#[test]
fn an_equal_copy_has_no_fault() {
    let baseline = idle();
    let verdict = baseline.judge(&look(10_500, 1_000), baseline.pace().unwrap(), None);
    assert_eq!(verdict.faults, Vec::<String>::new());
    assert_eq!(
        verdict.evidence,
        "1000 keys, 1000 at the source 0.5 s before; of 100 sampled keys 100 are the same, 0 have another value, 0 \
         are gone; 0 more were being written"
    );
}

#[test]
fn one_key_that_is_gone_from_an_idle_bucket_is_a_fault() {
    let (baseline, pace) = (idle(), idle().pace().unwrap());
    assert_eq!(
        baseline.judge(&look(10_500, 999), pace, None).faults,
        ["there are 999 keys, 1 fewer than there were"]
    );
    let gone = baseline.judge(&without(look(10_500, 1_000), 1), pace, None);
    assert_eq!(gone.faults, ["1 of 100 sampled keys are gone"]);
}

#[test]
fn more_keys_are_no_fault() {
    assert!(idle().judge(&look(10_500, 2_000), Pace::default(), None).faults.is_empty());
}

#[test]
fn many_other_values_are_a_fault_and_a_stray_one_is_not() {
    let baseline = idle();
    assert!(baseline.judge(&rewritten(look(10_500, 1_000), 2, 1), Pace::default(), None).faults.is_empty());
    let faults = baseline.judge(&rewritten(look(10_500, 1_000), 3, 1), Pace::default(), None).faults;
    assert_eq!(faults, ["3 of 100 sampled keys have another value"]);
}

#[test]
fn as_much_is_forgiven_as_clients_were_seen_to_do() {
    let mut baseline = Baseline::new(look(0, 1_000), 100, 0);
    baseline.look(&without(rewritten(look(10_000, 990), 30, 1), 10));
    let pace = baseline.pace().unwrap();
    assert_eq!(pace, Pace { written_per_s: 2.0, removed_per_s: 1.0, shrunk_per_s: 1.0 });
    assert_eq!(baseline.keys().count(), 70, "what was written or removed is not compared");
    // In two seconds, threefold: 12 are written, 6 removed, and there are 6 fewer.
    let at = |gone: usize, keys| without(rewritten(look(12_000, keys), 42 + gone, 1), 30 + gone);
    assert!(baseline.judge(&at(6, 984), pace, None).faults.is_empty());
    assert_eq!(baseline.judge(&at(7, 984), pace, None).faults, ["7 of 70 sampled keys are gone"]);
    let faults = baseline.judge(&at(6, 983), pace, None).faults;
    assert_eq!(faults, ["there are 983 keys, 7 fewer than there were"]);
}

#[test]
fn what_goes_on_changing_at_the_target_is_in_the_hands_of_clients() {
    let (baseline, first) = (idle(), rewritten(look(10_500, 1_000), 40, 1));
    assert_eq!(baseline.judge(&first, Pace::default(), Some(&first)).faults.len(), 1, "it stays as it is");
    let second = rewritten(look(13_500, 1_000), 40, 2);
    let verdict = baseline.judge(&first, Pace::default(), Some(&second));
    assert!(verdict.faults.is_empty());
    assert!(verdict.evidence.contains("of 60 sampled keys 60 are the same"), "{}", verdict.evidence);
    let gone = baseline.judge(&without(first.clone(), 1), Pace::default(), Some(&without(second, 1)));
    assert_eq!(gone.faults, ["1 of 61 sampled keys are gone"], "what does not come back was lost");
}

#[test]
fn keys_that_expire_make_the_count_say_less() {
    let mut baseline = Baseline::new(look(0, 1_000), 200, 100);
    baseline.look(&look(1_000, 1_000));
    assert!(baseline.judge(&look(2_000, 500), Pace::default(), None).faults.is_empty());
    assert_eq!(baseline.judge(&look(2_000, 499), Pace::default(), None).faults.len(), 1);
    assert!(
        baseline
            .judge(&look(2_000, 500), Pace::default(), None)
            .evidence
            .ends_with("100 of 200 have a time to live and were not compared")
    );
}

#[test]
fn an_empty_bucket_is_compared_by_its_count() {
    let baseline = Baseline::new(look(0, 0), 0, 0);
    assert_eq!(baseline.pace(), None, "a single look has no pace");
    assert!(baseline.judge(&look(100, 0), Pace::default(), None).faults.is_empty());
}

#[test]
fn the_pace_at_the_target_is_that_between_two_looks() {
    let pace = Pace::between(&look(0, 1_000), &without(rewritten(look(2_000, 996), 5, 1), 1));
    assert_eq!(pace, Pace { written_per_s: 2.0, removed_per_s: 0.5, shrunk_per_s: 2.0 });
    assert_eq!(Pace::between(&look(5, 10), &look(5, 9)), Pace::default());
}

#[test]
fn what_is_noted_is_read_again() {
    let baseline = idle();
    let noted = serde_json::to_string(&baseline).unwrap();
    assert_eq!(serde_json::from_str::<Baseline>(&noted).unwrap(), baseline);
}
