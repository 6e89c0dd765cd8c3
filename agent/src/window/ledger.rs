//! What was told of every counter: cumulative values in, differences out.
//!
//! Why differences of counters that only grow: a reading that is late or missing loses nothing, its accesses
//! are in the next one.

use isotherm_agent_ebpf::{
    BUCKETS, BlockCounters, BlockKey, FileCounters, FileKey, LATENCY_BUCKETS, PeerCounters, PeerKey,
};
use isotherm_model::{Counts, Layer};
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Counters of a kind of key. They only grow.
pub trait Counters: Copy {
    /// The key.
    type Key: Copy + Eq + Hash;
    /// What is kept of them, in little room: histograms as their low 32 bits, whose differences are exact as
    /// long as a bucket grows by less than 2^32 between two readings.
    type Memory;
    /// Where they are counted.
    const LAYER: Layer;

    /// Nothing counted.
    const ZERO: Self;
    /// Accesses and bytes.
    fn counts(&self) -> Counts;
    /// To compare with later.
    fn memory(&self) -> Self::Memory;
    /// What was added since.
    fn since(&self, memory: &Self::Memory) -> Self;
    /// Whether nothing is counted at all.
    fn is_zero(&self) -> bool;
    /// Target and operation of a key.
    fn place(key: &Self::Key) -> (u32, u16);
    /// Whether a key takes what finds no room.
    fn is_overflow(key: &Self::Key) -> bool;
}

fn low<const N: usize>(counts: &[u64; N]) -> [u32; N] {
    counts.map(|count| count as u32)
}

fn grown<const N: usize>(now: &[u64; N], before: &[u32; N]) -> [u64; N] {
    std::array::from_fn(|index| u64::from((now[index] as u32).wrapping_sub(before[index])))
}

/// See [`Counters::Memory`].
pub struct FileMemory {
    unplaced_ops: u64,
    bytes: u64,
    offsets: [u32; BUCKETS],
}

impl Counters for FileCounters {
    type Key = FileKey;
    type Memory = FileMemory;
    const LAYER: Layer = Layer::Logical;
    const ZERO: Self = Self::ZERO;

    fn counts(&self) -> Counts {
        Counts { ops: self.ops(), bytes: self.bytes }
    }

    fn memory(&self) -> FileMemory {
        FileMemory { unplaced_ops: self.unplaced_ops, bytes: self.bytes, offsets: low(&self.offsets) }
    }

    fn since(&self, memory: &FileMemory) -> Self {
        Self {
            unplaced_ops: self.unplaced_ops.saturating_sub(memory.unplaced_ops),
            bytes: self.bytes.saturating_sub(memory.bytes),
            named: self.named,
            offsets: grown(&self.offsets, &memory.offsets),
        }
    }

    fn is_zero(&self) -> bool {
        self.counts() == Counts::default()
    }

    fn place(key: &FileKey) -> (u32, u16) {
        (key.target, key.operation)
    }

    fn is_overflow(key: &FileKey) -> bool {
        key.is_overflow()
    }
}

/// See [`Counters::Memory`].
pub struct BlockMemory {
    unplaced_ops: u64,
    bytes: u64,
    offsets: [u32; BUCKETS],
    latency: [u32; LATENCY_BUCKETS],
}

impl Counters for BlockCounters {
    type Key = BlockKey;
    type Memory = BlockMemory;
    const LAYER: Layer = Layer::Device;
    const ZERO: Self = Self::ZERO;

    fn counts(&self) -> Counts {
        Counts { ops: self.ops(), bytes: self.bytes }
    }

    fn memory(&self) -> BlockMemory {
        BlockMemory {
            unplaced_ops: self.unplaced_ops,
            bytes: self.bytes,
            offsets: low(&self.offsets),
            latency: low(&self.latency),
        }
    }

    fn since(&self, memory: &BlockMemory) -> Self {
        Self {
            unplaced_ops: self.unplaced_ops.saturating_sub(memory.unplaced_ops),
            bytes: self.bytes.saturating_sub(memory.bytes),
            named: self.named,
            offsets: grown(&self.offsets, &memory.offsets),
            latency: grown(&self.latency, &memory.latency),
        }
    }

    fn is_zero(&self) -> bool {
        self.counts() == Counts::default() && self.latency.iter().all(|count| *count == 0)
    }

    fn place(key: &BlockKey) -> (u32, u16) {
        (key.target, u16::from(key.operation))
    }

    fn is_overflow(key: &BlockKey) -> bool {
        key.is_overflow()
    }
}

impl Counters for PeerCounters {
    type Key = PeerKey;
    type Memory = Self;
    const LAYER: Layer = Layer::Network;
    const ZERO: Self = Self { ops: 0, bytes: 0 };

    fn counts(&self) -> Counts {
        Counts { ops: self.ops, bytes: self.bytes }
    }

    fn memory(&self) -> Self {
        *self
    }

    fn since(&self, memory: &Self) -> Self {
        Self { ops: self.ops.saturating_sub(memory.ops), bytes: self.bytes.saturating_sub(memory.bytes) }
    }

    fn is_zero(&self) -> bool {
        self.counts() == Counts::default()
    }

    fn place(key: &PeerKey) -> (u32, u16) {
        (key.target, key.operation)
    }

    fn is_overflow(key: &PeerKey) -> bool {
        key.is_overflow()
    }
}

struct Told<M> {
    memory: M,
    changed_at: u64,
}

/// Remembers what was told of every key.
pub struct Ledger<C: Counters> {
    told: HashMap<C::Key, Told<C::Memory>>,
    /// Readings told so far.
    readings: u64,
    /// Sums over keys that were evicted from the kernel's map, by target and operation.
    evicted: BTreeMap<(u32, u16), Counts>,
    /// Accesses of evicted keys that no window has told yet.
    carried: Vec<(C::Key, C)>,
    /// Sums over the present reading.
    sums: BTreeMap<(u32, u16), Counts>,
}

impl<C: Counters> Default for Ledger<C> {
    fn default() -> Self {
        Self {
            told: HashMap::new(),
            readings: 0,
            evicted: BTreeMap::new(),
            carried: Vec::new(),
            sums: BTreeMap::new(),
        }
    }
}

impl<C: Counters> Ledger<C> {
    /// Begins a reading. Returns what evicted keys had that was not told.
    #[must_use]
    pub fn begin(&mut self) -> Vec<(C::Key, C)> {
        self.readings += 1;
        self.sums.clone_from(&self.evicted);
        std::mem::take(&mut self.carried)
    }

    /// Takes a key's counters of the present reading as told. Returns what is new; `None` if nothing is.
    pub fn tell(&mut self, key: &C::Key, now: &C) -> Option<C> {
        let sum = self.sums.entry(C::place(key)).or_default();
        *sum = sum.plus(now.counts());
        let changed_at = self.readings;
        let change = match self.told.get_mut(key) {
            Some(told) => {
                let change = now.since(&told.memory);
                if !change.is_zero() {
                    *told = Told { memory: now.memory(), changed_at };
                }
                change
            }
            None => {
                self.told.insert(*key, Told { memory: now.memory(), changed_at });
                *now
            }
        };
        (!change.is_zero()).then_some(change)
    }

    /// Sums over the present reading and all that was evicted before, by target and operation.
    #[must_use]
    pub fn sum(&self, target: u32, operation: u16) -> Counts {
        self.sums.get(&(target, operation)).copied().unwrap_or_default()
    }

    /// Keys that changed in the last reading.
    pub fn active(&self) -> impl Iterator<Item = &C::Key> {
        self.told.iter().filter(|(_, told)| told.changed_at == self.readings).map(|(key, _)| key)
    }

    /// At most `limit` keys that have not changed in the last `readings`, the longest idle first. Those that take
    /// what finds no room stay.
    #[must_use]
    pub fn idle(&self, readings: u64, limit: usize) -> Vec<C::Key> {
        let mut idle: Vec<(u64, &C::Key)> = self
            .told
            .iter()
            .filter(|(key, told)| told.changed_at + readings <= self.readings && !C::is_overflow(key))
            .map(|(key, told)| (told.changed_at, key))
            .collect();
        idle.sort_by_key(|(changed_at, _)| *changed_at);
        idle.into_iter().take(limit).map(|(_, key)| *key).collect()
    }

    /// Forgets a key whose entry was removed from the kernel's map, `last` being what it then held. What was not
    /// told of it yet, the next reading begins with.
    pub fn evict(&mut self, key: &C::Key, last: &C) {
        let rest = self.told.remove(key).map_or(*last, |told| last.since(&told.memory));
        if !rest.is_zero() {
            self.carried.push((*key, rest));
        }
        let sum = self.evicted.entry(C::place(key)).or_default();
        *sum = sum.plus(last.counts());
    }

    /// Keys that are remembered.
    pub fn keys(&self) -> impl Iterator<Item = &C::Key> {
        self.told.keys()
    }

    /// How many keys are remembered, without those that take what finds no room.
    #[must_use]
    pub fn len(&self) -> usize {
        self.told.keys().filter(|key| !C::is_overflow(key)).count()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_agent_ebpf::{READ, SYNC, WRITE};

    fn key(ino: u64) -> FileKey {
        FileKey { ino, dev: 1, generation: 1, target: 0, operation: READ, shift: 12 }
    }

    fn counters(bytes: u64, bucket: usize, ops: u64) -> FileCounters {
        let mut counters = FileCounters { bytes, ..FileCounters::ZERO };
        counters.offsets[bucket] = ops;
        counters
    }

    #[test]
    fn only_what_is_new_is_told() {
        let mut ledger = Ledger::default();
        assert!(ledger.begin().is_empty());
        assert_eq!(
            ledger.tell(&key(1), &counters(100, 3, 1)).unwrap().counts(),
            Counts { ops: 1, bytes: 100 }
        );
        assert!(ledger.begin().is_empty());
        let change = ledger.tell(&key(1), &counters(300, 3, 4)).unwrap();
        assert_eq!((change.bytes, change.offsets[3]), (200, 3));
        assert!(ledger.tell(&key(1), &counters(300, 3, 4)).is_none());
        assert!(ledger.begin().is_empty());
        assert!(ledger.tell(&key(1), &counters(300, 3, 4)).is_none());
        assert_eq!(ledger.active().count(), 0);
        assert_eq!(ledger.sum(0, READ), Counts { ops: 4, bytes: 300 });
        assert_eq!(ledger.sum(0, WRITE), Counts::default());
    }

    #[test]
    fn a_bucket_may_pass_32_bits() {
        let mut ledger = Ledger::default();
        let _first = ledger.begin();
        ledger.tell(&key(1), &counters(1, 0, u64::from(u32::MAX) - 1));
        let _second = ledger.begin();
        let change = ledger.tell(&key(1), &counters(2, 0, u64::from(u32::MAX) + 5)).unwrap();
        assert_eq!(change.offsets[0], 6);
    }

    #[test]
    fn idle_keys_are_found_oldest_first() {
        let mut ledger = Ledger::default();
        let overflow = FileKey::overflow(0, SYNC);
        for (bytes_a, bytes_b) in [(1, 1), (1, 2), (1, 2), (1, 2)] {
            let _carried = ledger.begin();
            ledger.tell(&key(2), &counters(bytes_b, 0, 0));
            ledger.tell(&key(1), &counters(bytes_a, 0, 0));
            ledger.tell(&overflow, &FileCounters::ZERO);
        }
        assert_eq!(ledger.idle(3, 9), [key(1)]);
        assert_eq!(ledger.idle(2, 9), [key(1), key(2)]);
        assert_eq!(ledger.idle(2, 1), [key(1)]);
    }

    #[test]
    fn an_evicted_key_stays_in_the_sum_and_its_rest_is_told() {
        let mut ledger = Ledger::default();
        let _first = ledger.begin();
        ledger.tell(&key(1), &counters(7, 0, 1));
        ledger.evict(&key(1), &counters(9, 0, 2));
        let carried = ledger.begin();
        assert_eq!(carried[0].1.counts(), Counts { ops: 1, bytes: 2 });
        assert_eq!(ledger.sum(0, READ), Counts { ops: 2, bytes: 9 });
        assert!(ledger.is_empty() && ledger.begin().is_empty());
    }

    #[test]
    fn a_latency_alone_is_a_change() {
        let mut ledger = Ledger::default();
        let key = BlockKey::overflow(0, READ);
        let mut counters = BlockCounters::ZERO;
        let _first = ledger.begin();
        assert!(ledger.tell(&key, &counters).is_none());
        counters.latency[4] = 1;
        assert_eq!(ledger.tell(&key, &counters).unwrap().latency[4], 1);
    }
}
