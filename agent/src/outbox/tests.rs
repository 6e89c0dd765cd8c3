use super::*;
use isotherm_model::Timestamp;
use proptest::prelude::*;

fn second(n: u64) -> Interval {
    Interval::new(Timestamp::from_ms(n * 1_000), Timestamp::from_ms((n + 1) * 1_000)).unwrap()
}

fn shape(outbox: &Outbox<u64>) -> Vec<(u64, u64, bool)> {
    let items = outbox.items();
    items.map(|item| (item.first().get(), item.last().get(), matches!(item, Item::Gap(_)))).collect()
}

/// Batches whose place is their own number.
fn filled(batches: u64) -> Outbox<u64> {
    let mut outbox = Outbox::default();
    for n in 0..batches {
        outbox.push(n + 1, second(n));
    }
    outbox
}

fn send(outbox: &mut Outbox<u64>) -> Option<u64> {
    let last = outbox.unsent()?.last().get();
    outbox.mark_sent();
    Some(last)
}

fn in_flight(outbox: &Outbox<u64>) -> usize {
    outbox.sent
}

#[test]
fn batches_that_are_given_up_one_after_the_other_become_one_gap() {
    let mut outbox = filled(5);
    for seq in 1..=3 {
        assert!(outbox.give_up(seq, GapReason::QueueFull));
    }
    assert_eq!(shape(&outbox), [(1, 3, true), (4, 4, false), (5, 5, false)]);
    assert_eq!(outbox.batches(), 2);
    let Item::Gap(gap) = &outbox.items[0] else { panic!() };
    assert_eq!((gap.time.start().as_ms(), gap.time.end().as_ms()), (0, 3_000));
}

#[test]
fn what_is_acknowledged_is_forgotten_and_the_rest_is_sent_once_per_connection() {
    let mut outbox = filled(3);
    let sent: Vec<u64> = std::iter::from_fn(|| send(&mut outbox)).collect();
    assert_eq!(sent, [1, 2, 3]);
    outbox.acknowledge(2);
    assert_eq!((shape(&outbox), in_flight(&outbox)), (vec![(3, 3, false)], 1));
    assert_eq!(send(&mut outbox), None);
    outbox.resend();
    assert_eq!(send(&mut outbox), Some(3));
}

#[test]
fn only_batches_are_given_up_and_each_for_its_own_reason() {
    let mut outbox = filled(3);
    assert!(outbox.give_up(1, GapReason::QueueFull));
    assert!(outbox.give_up(3, GapReason::Refused));
    for seq in [0, 1, 3, 9] {
        assert!(!outbox.give_up(seq, GapReason::Refused));
    }
    assert!(outbox.give_up(2, GapReason::Refused));
    assert_eq!(shape(&outbox), [(1, 1, true), (2, 2, true), (3, 3, true)]);
}

#[test]
fn a_place_is_found_by_its_number() {
    let mut outbox = filled(4);
    outbox.give_up(2, GapReason::QueueFull);
    outbox.acknowledge(1);
    let place = |outbox: &mut Outbox<u64>, seq| outbox.place_mut(Seq::new(seq).unwrap()).copied();
    assert_eq!([1, 2, 3, 4, 5].map(|seq| place(&mut outbox, seq)), [None, None, Some(3), Some(4), None]);
}

#[test]
fn a_gap_shrinks_when_its_first_batches_turn_out_to_be_committed() {
    let mut outbox = filled(4);
    (1..=3).for_each(|seq| assert!(outbox.give_up(seq, GapReason::QueueFull)));
    outbox.acknowledge(2);
    assert_eq!(shape(&outbox), [(3, 3, true), (4, 4, false)]);
}

#[test]
fn an_analyzer_that_lost_what_it_had_is_told_so_once() {
    let mut outbox = filled(5);
    outbox.acknowledge(3);
    assert_eq!(outbox.welcome(1), 2);
    assert_eq!(shape(&outbox), [(2, 3, true), (4, 4, false), (5, 5, false)]);
    let Item::Gap(gap) = &outbox.items[0] else { panic!() };
    assert_eq!(
        (gap.reason, gap.time.start().as_ms(), gap.time.end().as_ms()),
        (GapReason::AnalyzerLost, 0, 3_000)
    );
    // The next connection finds it as far as it was.
    assert_eq!(outbox.welcome(1), 0);
    assert_eq!(outbox.welcome(4), 0);
    assert_eq!(shape(&outbox), [(5, 5, false)]);
    outbox.acknowledge(5);
    assert_eq!(outbox.welcome(0), 5);
    assert_eq!(shape(&outbox), [(1, 5, true)]);
}

#[test]
fn what_an_earlier_run_left_goes_on_where_it_was() {
    let items = |seqs: &[u64]| -> Vec<Item<u64>> {
        let batch = |seq: &u64| Item::Batch { seq: Seq::new(*seq).unwrap(), time: second(*seq), place: *seq };
        seqs.iter().map(batch).collect()
    };
    let mut outbox = Outbox::restored(items(&[4, 5]), second(0)).unwrap();
    assert_eq!((outbox.batches(), outbox.welcome(3)), (2, 0));
    assert_eq!(shape(&outbox), [(4, 4, false), (5, 5, false)]);
    assert_eq!(outbox.welcome(1), 2);
    assert_eq!(shape(&outbox), [(2, 3, true), (4, 4, false), (5, 5, false)]);
    assert!(Outbox::restored(items(&[4, 6]), second(0)).is_none());
    assert!(Outbox::restored(items(&[4, 4]), second(0)).is_none());
    assert!(Outbox::restored(items(&[]), second(0)).unwrap().is_empty());
}

proptest! {
    #[test]
    fn every_number_is_in_exactly_one_item(steps in prop::collection::vec((0..5u8, 0..40u64), 1..80)) {
        let mut outbox = Outbox::default();
        let mut acknowledged = 0;
        for (step, n) in steps {
            match step {
                0 | 1 => { outbox.push(n, second(n)); }
                2 => {
                    let n = n.min(outbox.next.get() - 1);
                    outbox.acknowledge(n);
                    acknowledged = acknowledged.max(n);
                }
                3 => { outbox.give_up(n, GapReason::Refused); }
                _ => { outbox.give_up(n, GapReason::QueueFull); }
            }
            while in_flight(&outbox) < 2 && send(&mut outbox).is_some() {}
            let mut expected = acknowledged + 1;
            for (first, last, _) in shape(&outbox) {
                prop_assert_eq!(first, expected);
                expected = last + 1;
            }
            prop_assert_eq!(expected, outbox.next.get());
            let batches = shape(&outbox).iter().filter(|(_, _, gap)| !gap).count();
            prop_assert_eq!(outbox.batches(), batches);
        }
    }
}
