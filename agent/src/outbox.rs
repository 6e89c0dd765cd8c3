//! The sequence of one run: numbered, in order, kept until acknowledged.
//!
//! It says what comes next and what takes the place of what was given up, so that the analyzer knows what is
//! missing. Pure: it holds places, not payloads, and neither sends nor waits.

use isotherm_model::{Interval, Seq, Timestamp};
use isotherm_proto::{Gap, GapReason};
use std::collections::VecDeque;

/// Something to send. `P` says where its payload is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item<P> {
    /// An encoded window set, with the time it covers.
    Batch {
        /// Its number.
        seq: Seq,
        /// What goes missing if it is given up.
        time: Interval,
        /// Where its payload is.
        place: P,
    },
    /// What was given up.
    Gap(Gap),
}

impl<P> Item<P> {
    /// The first number that it stands for.
    #[must_use]
    pub fn first(&self) -> Seq {
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

    /// The time that it is about.
    #[must_use]
    pub fn time(&self) -> Interval {
        match self {
            Self::Batch { time, .. } => *time,
            Self::Gap(gap) => gap.time,
        }
    }
}

/// The queue. A gap is joined with the one before it, if they have one reason.
#[derive(Debug)]
pub struct Outbox<P> {
    items: VecDeque<Item<P>>,
    next: Seq,
    /// Items from the front that were sent on the present connection.
    sent: usize,
    /// How many of the items are batches.
    batches: usize,
    /// The last number that was acknowledged, and the time of all that were.
    acknowledged: Option<(Seq, Interval)>,
}

impl<P> Default for Outbox<P> {
    fn default() -> Self {
        Self { items: VecDeque::new(), next: Seq::FIRST, sent: 0, batches: 0, acknowledged: None }
    }
}

impl<P> Outbox<P> {
    /// What an earlier run left: items in order, each following on the one before. The numbers before the first
    /// were acknowledged; `before` is the time that they were about. `None` if a number is missing or repeated.
    #[must_use]
    pub fn restored(items: Vec<Item<P>>, before: Interval) -> Option<Self> {
        let mut outbox = Self::default();
        if let Some(first) = items.first().map(Item::first) {
            outbox.next = first;
            outbox.acknowledged = Seq::new(first.get() - 1).map(|last| (last, before));
        }
        for item in items {
            if item.first() != outbox.next || item.last() < item.first() {
                return None;
            }
            outbox.next = item.last().next();
            outbox.batches += usize::from(matches!(item, Item::Batch { .. }));
            outbox.items.push_back(item);
        }
        Some(outbox)
    }

    /// Adds a batch.
    pub fn push(&mut self, place: P, time: Interval) -> Seq {
        let seq = self.next;
        self.next = seq.next();
        self.batches += 1;
        self.items.push_back(Item::Batch { seq, time, place });
        seq
    }

    /// All that waits for an acknowledgement, in order.
    pub fn items(&self) -> impl DoubleEndedIterator<Item = &Item<P>> {
        self.items.iter()
    }

    /// The place of a batch; `None` if it is no batch, or not here.
    pub fn place_mut(&mut self, seq: Seq) -> Option<&mut P> {
        let index = self.position(seq.get())?;
        match &mut self.items[index] {
            Item::Batch { place, .. } => Some(place),
            Item::Gap(_) => None,
        }
    }

    /// The next item that was not sent on this connection.
    #[must_use]
    pub fn unsent(&self) -> Option<&Item<P>> {
        self.items.get(self.sent)
    }

    /// [`unsent`](Self::unsent) was sent.
    pub fn mark_sent(&mut self) {
        self.sent = (self.sent + 1).min(self.items.len());
    }

    /// Everything up to `seq` is committed. A number that was never given out is ignored.
    pub fn acknowledge(&mut self, seq: u64) {
        while let Some(item) = self.items.pop_front_if(|item| item.last().get() <= seq) {
            self.sent = self.sent.saturating_sub(1);
            self.batches -= usize::from(matches!(item, Item::Batch { .. }));
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

    /// A gap takes the place of a batch. `false` if `seq` is no batch, or not here.
    pub fn give_up(&mut self, seq: u64, reason: GapReason) -> bool {
        let Some(index) = self.position(seq) else { return false };
        let Item::Batch { seq, time, .. } = &self.items[index] else { return false };
        let gap = Gap { first: *seq, last: *seq, time: *time, reason };
        self.items[index] = Item::Gap(gap);
        self.batches -= 1;
        // What was sent as a batch has to be sent as a gap, should the batch not have arrived.
        self.sent = self.sent.min(index);
        let Some(previous) = index.checked_sub(1) else { return true };
        let Item::Gap(before) = &self.items[previous] else { return true };
        if before.reason == reason {
            let time = hull(before.time, gap.time);
            self.items[previous] = Item::Gap(Gap { first: before.first, last: gap.last, time, reason });
            self.items.remove(index);
            self.sent = self.sent.min(previous);
        }
        true
    }

    /// The end of what was acknowledged; `None` if nothing was.
    #[must_use]
    pub fn acknowledged_end(&self) -> Option<Timestamp> {
        self.acknowledged.map(|(_, time)| time.end())
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

    /// Batches that wait for an acknowledgement.
    #[must_use]
    pub fn batches(&self) -> usize {
        self.batches
    }

    /// Where the item with this number is.
    fn position(&self, seq: u64) -> Option<usize> {
        let index = self.items.partition_point(|item| item.last().get() < seq);
        self.items.get(index).filter(|item| item.first().get() <= seq).map(|_| index)
    }
}

/// The shortest interval that holds both.
#[must_use]
pub fn hull(a: Interval, b: Interval) -> Interval {
    Interval::new(a.start().min(b.start()), a.end().max(b.end())).expect("both have a length")
}

#[cfg(test)]
mod tests;
