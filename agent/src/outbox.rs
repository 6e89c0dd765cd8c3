//! Batches on their way to the analyzer: numbered, kept until acknowledged, bounded.
//!
//! When too many wait, the oldest is given up and a gap takes its place in the sequence, so that the analyzer
//! knows what is missing. Pure: it neither sends nor waits.

use isotherm_model::{Interval, Seq};
use isotherm_proto::{Gap, GapReason};
use std::collections::VecDeque;

/// Payload bytes that may wait, whatever their number. A batch has 8 MiB at most.
const MAX_BYTES: usize = 64 << 20;

/// Something to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An encoded window set, with the time it covers.
    Batch {
        /// Its number.
        seq: Seq,
        /// Encoded.
        payload: Vec<u8>,
        /// What goes missing if it is given up.
        time: Interval,
    },
    /// What was given up.
    Gap(Gap),
}

impl Item {
    fn first(&self) -> Seq {
        match self {
            Self::Batch { seq, .. } => *seq,
            Self::Gap(gap) => gap.first,
        }
    }

    /// The last number that it stands for.
    #[must_use]
    pub fn last(&self) -> Seq {
        match self {
            Self::Batch { seq, .. } => *seq,
            Self::Gap(gap) => gap.last,
        }
    }

    fn time(&self) -> Interval {
        match self {
            Self::Batch { time, .. } => *time,
            Self::Gap(gap) => gap.time,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Batch { payload, .. } => payload.len(),
            Self::Gap(_) => 0,
        }
    }
}

/// The queue. Holds at most `limit` batches and [`MAX_BYTES`], plus gaps; a gap is joined with the one before
/// it, if they have one reason.
#[derive(Debug)]
pub struct Outbox {
    items: VecDeque<Item>,
    next: Seq,
    limit: usize,
    /// Items from the front that were sent on the present connection.
    sent: usize,
    /// The last number that was acknowledged, and the time of all that were.
    acknowledged: Option<(Seq, Interval)>,
}

impl Outbox {
    /// For at most `limit` batches.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { items: VecDeque::new(), next: Seq::FIRST, limit, sent: 0, acknowledged: None }
    }

    /// Adds a batch. Gives up the oldest ones if there is no room; returns how many.
    pub fn push(&mut self, payload: Vec<u8>, time: Interval) -> usize {
        let seq = self.next;
        self.next = seq.next();
        self.items.push_back(Item::Batch { seq, payload, time });
        let mut given_up = 0;
        while self.batches() > self.limit || self.bytes() > MAX_BYTES {
            let Some(oldest) = self.items.iter().position(|item| matches!(item, Item::Batch { .. })) else {
                break;
            };
            self.give_up(oldest, GapReason::QueueFull);
            given_up += 1;
        }
        given_up
    }

    /// The next item that was not sent on this connection, which is then taken as sent.
    pub fn next_to_send(&mut self) -> Option<Item> {
        let item = self.items.get(self.sent).cloned()?;
        self.sent += 1;
        Some(item)
    }

    /// Whether [`next_to_send`](Self::next_to_send) has something.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        self.sent < self.items.len()
    }

    /// Everything up to `seq` is committed. A number that was never given out is ignored.
    pub fn acknowledge(&mut self, seq: u64) {
        while let Some(item) = self.items.pop_front_if(|item| item.last().get() <= seq) {
            self.sent = self.sent.saturating_sub(1);
            let time = match self.acknowledged {
                Some((_, before)) => hull(before, item.time()),
                None => item.time(),
            };
            self.acknowledged = Some((item.last(), time));
        }
        // The analyzer may have a part of a gap already: it got the batches before they were given up.
        if let Some(Item::Gap(gap)) = self.items.front_mut()
            && let Some(committed) = Seq::new(seq)
            && gap.first <= committed
        {
            gap.first = committed.next();
        }
    }

    /// The analyzer says, at the start of a connection, what it has. Should that be less than it once
    /// acknowledged, a gap tells it what it lost, as it takes nothing that does not follow on.
    /// Returns how many batches that is.
    pub fn welcome(&mut self, committed_seq: u64) -> u64 {
        self.resend();
        if let Some((acknowledged, time)) = self.acknowledged
            && committed_seq < acknowledged.get()
            && let Some(first) = Seq::new(committed_seq + 1)
        {
            let reason = GapReason::AnalyzerLost;
            self.items.push_front(Item::Gap(Gap { first, last: acknowledged, time, reason }));
            self.acknowledged = None;
            return acknowledged.get() - committed_seq;
        }
        self.acknowledge(committed_seq);
        0
    }

    /// The analyzer will never take `seq`: a gap takes its place. `false` if it is not here.
    pub fn refuse(&mut self, seq: u64) -> bool {
        let found = self.items.iter().position(|item| item.first().get() <= seq && seq <= item.last().get());
        match found {
            Some(index) if matches!(self.items[index], Item::Batch { .. }) => {
                self.give_up(index, GapReason::Refused);
                self.resend();
                true
            }
            _ => false,
        }
    }

    /// All that is not acknowledged has to be sent again: the connection is new, or was told to go back.
    pub fn resend(&mut self) {
        self.sent = 0;
    }

    /// Whether everything is acknowledged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Items that were sent and not acknowledged.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.sent
    }

    /// Batches that wait for an acknowledgement.
    #[must_use]
    pub fn batches(&self) -> usize {
        self.items.iter().filter(|item| matches!(item, Item::Batch { .. })).count()
    }

    fn bytes(&self) -> usize {
        self.items.iter().map(Item::bytes).sum()
    }

    /// Replaces a batch by a gap, and joins it with a gap before it that was not sent.
    fn give_up(&mut self, index: usize, reason: GapReason) {
        let Item::Batch { seq, time, .. } = &self.items[index] else { return };
        let gap = Gap { first: *seq, last: *seq, time: *time, reason };
        self.items[index] = Item::Gap(gap);
        // What was sent as a batch has to be sent as a gap, should the batch not have arrived.
        self.sent = self.sent.min(index);
        let Some(previous) = index.checked_sub(1) else { return };
        let Item::Gap(before) = &self.items[previous] else { return };
        if before.reason != reason {
            return;
        }
        let time = hull(before.time, gap.time);
        self.items[previous] = Item::Gap(Gap { first: before.first, last: gap.last, time, reason });
        self.items.remove(index);
        self.sent = self.sent.min(previous);
    }
}

/// The shortest interval that holds both.
fn hull(a: Interval, b: Interval) -> Interval {
    Interval::new(a.start().min(b.start()), a.end().max(b.end())).expect("both have a length")
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_model::Timestamp;
    use proptest::prelude::*;

    fn second(n: u64) -> Interval {
        Interval::new(Timestamp::from_ms(n * 1_000), Timestamp::from_ms((n + 1) * 1_000)).unwrap()
    }

    fn shape(outbox: &Outbox) -> Vec<(u64, u64, bool)> {
        outbox
            .items
            .iter()
            .map(|item| (item.first().get(), item.last().get(), matches!(item, Item::Gap(_))))
            .collect()
    }

    fn filled(limit: usize, batches: u64) -> Outbox {
        let mut outbox = Outbox::new(limit);
        for n in 0..batches {
            outbox.push(vec![1], second(n));
        }
        outbox
    }

    #[test]
    fn the_oldest_batches_become_one_gap() {
        let outbox = filled(2, 5);
        assert_eq!(shape(&outbox), [(1, 3, true), (4, 4, false), (5, 5, false)]);
        let Item::Gap(gap) = &outbox.items[0] else { panic!() };
        assert_eq!((gap.time.start().as_ms(), gap.time.end().as_ms()), (0, 3_000));
    }

    #[test]
    fn what_is_acknowledged_is_forgotten_and_the_rest_is_sent_once_per_connection() {
        let mut outbox = filled(10, 3);
        let sent: Vec<u64> =
            std::iter::from_fn(|| outbox.next_to_send()).map(|item| item.last().get()).collect();
        assert_eq!(sent, [1, 2, 3]);
        outbox.acknowledge(2);
        assert_eq!((shape(&outbox), outbox.in_flight()), (vec![(3, 3, false)], 1));
        assert_eq!(outbox.next_to_send(), None);
        outbox.resend();
        assert_eq!(outbox.next_to_send().map(|item| item.last().get()), Some(3));
    }

    #[test]
    fn a_refused_batch_becomes_a_gap_of_its_own_kind() {
        let mut outbox = filled(2, 3);
        assert!(outbox.refuse(3));
        assert!(!outbox.refuse(9));
        assert_eq!(shape(&outbox), [(1, 1, true), (2, 2, false), (3, 3, true)]);
    }

    #[test]
    fn a_gap_shrinks_when_its_first_batches_turn_out_to_be_committed() {
        let mut outbox = filled(1, 4);
        outbox.acknowledge(2);
        assert_eq!(shape(&outbox), [(3, 3, true), (4, 4, false)]);
    }

    #[test]
    fn an_analyzer_that_lost_what_it_had_is_told_so_once() {
        let mut outbox = filled(10, 5);
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
    fn bytes_are_bounded_too() {
        let mut outbox = Outbox::new(1_000);
        for n in 0..10 {
            outbox.push(vec![0; 8 << 20], second(n));
        }
        assert!(outbox.bytes() <= MAX_BYTES);
        assert_eq!(shape(&outbox)[0], (1, 2, true));
    }

    proptest! {
        #[test]
        fn every_number_is_in_exactly_one_item(steps in prop::collection::vec((0..4u8, 0..40u64), 1..80)) {
            let mut outbox = Outbox::new(3);
            let mut acknowledged = 0;
            for (step, n) in steps {
                match step {
                    0 | 1 => { outbox.push(vec![0], second(n)); }
                    2 => {
                        let n = n.min(outbox.next.get() - 1);
                        outbox.acknowledge(n);
                        acknowledged = acknowledged.max(n);
                    }
                    _ => { outbox.refuse(n); }
                }
                while outbox.in_flight() < 2 && outbox.next_to_send().is_some() {}
                let mut expected = acknowledged + 1;
                for (first, last, _) in shape(&outbox) {
                    prop_assert_eq!(first, expected);
                    expected = last + 1;
                }
                prop_assert_eq!(expected, outbox.next.get());
                prop_assert!(outbox.batches() <= 3);
            }
        }
    }
}
