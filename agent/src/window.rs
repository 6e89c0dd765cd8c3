//! Cuts windows: cumulative readings in, differences by subject out.
//!
//! Why differences of counters that only grow: a reading that is late or missing loses nothing, its accesses
//! are in the next one. Pure; readings, claims and the time come as arguments.

mod clock;

pub use clock::{Span, WindowClock};

use crate::probe::Reading;
use isotherm_agent_ebpf::{FileCounters, FileKey, Lost, READ, Tally, WRITE, tally_index};
use isotherm_model::{
    Counts, Layer, LostReason, NodeId, NodeWindow, OffsetHistogram, Operation, Row, Subject, Window,
};
use std::collections::{BTreeMap, HashMap, HashSet};

/// The kernel's own totals contradict the files'.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "target {target} {operation}: the files sum to {files} {unit}, but {settled} were settled before and {seen} seen \
     after they were read"
)]
pub struct Unbalanced {
    /// Index of the target.
    pub target: usize,
    /// Direction.
    pub operation: Operation,
    /// What is counted.
    pub unit: &'static str,
    /// Lower bound.
    pub settled: i128,
    /// Sum over the files, with what was found missing before.
    pub files: i128,
    /// Upper bound.
    pub seen: i128,
}

/// What was told of a file, and when it last changed.
struct Told {
    counters: FileCounters,
    changed_at: u64,
}

/// Remembers what the last window has already told.
#[derive(Default)]
pub struct Cutter {
    told: HashMap<FileKey, Told>,
    /// Readings told so far.
    readings: u64,
    /// Sums over files that were evicted from the kernel's map, by target and direction.
    evicted: BTreeMap<(u32, u16), Counts>,
    /// Accesses of evicted files that no window has told yet.
    carried: Vec<(FileKey, FileCounters)>,
    /// What the kernel's totals have more (or less) than the files, found and told once, by target and
    /// direction: calls, bytes.
    absorbed: BTreeMap<(u32, u16), [i128; 2]>,
    /// Calls among them that the next window tells as lost, by target.
    miscounted: BTreeMap<u32, u64>,
    lost: Vec<Lost>,
    recursion_misses: u64,
}

impl Cutter {
    /// What changed since the last reading, by file. Files without a change are left out.
    #[must_use]
    pub fn changes(&self, reading: &Reading) -> Vec<(FileKey, FileCounters)> {
        let changed = reading.files.iter().filter_map(|(key, now)| {
            let change = difference(now, self.told.get(key).map(|told| &told.counters));
            (!is_zero(&change)).then_some((*key, change))
        });
        changed.chain(self.carried.iter().copied()).collect()
    }

    /// Takes a reading as told.
    pub fn tell(&mut self, reading: &Reading) {
        self.readings += 1;
        self.carried.clear();
        self.miscounted.clear();
        self.lost.clone_from(&reading.lost);
        self.recursion_misses = reading.recursion_misses;
        for (key, counters) in &reading.files {
            let told = self.told.entry(*key).or_insert(Told { counters: FileCounters::ZERO, changed_at: 0 });
            if !is_zero(&difference(counters, Some(&told.counters))) {
                told.changed_at = self.readings;
            }
            told.counters = *counters;
        }
    }

    /// Files that changed in the last reading.
    pub fn active(&self) -> impl Iterator<Item = &FileKey> {
        self.told.iter().filter(|(_, told)| told.changed_at == self.readings).map(|(key, _)| key)
    }

    /// Files that have not changed in the last `readings`, the longest idle first. Overflow entries stay.
    #[must_use]
    pub fn idle(&self, readings: u64) -> Vec<FileKey> {
        let mut idle: Vec<(u64, FileKey)> = self
            .told
            .iter()
            .filter(|(key, told)| told.changed_at + readings <= self.readings && !key.is_overflow())
            .map(|(key, told)| (told.changed_at, *key))
            .collect();
        idle.sort_unstable_by_key(|(changed_at, key)| (*changed_at, key.ino, key.shift, key.operation));
        idle.into_iter().map(|(_, key)| key).collect()
    }

    /// Events that were lost by the end of the last reading told, over the first `targets`.
    #[must_use]
    pub fn lost_total(&self, targets: usize) -> u64 {
        let events = |lost: &Lost| lost.compat + lost.closed_descriptor + lost.unwatched_processes;
        let lost: u64 = self.lost.iter().take(targets).map(events).sum();
        lost + self.recursion_misses
    }

    /// The files that are remembered.
    #[must_use]
    pub fn keys(&self) -> HashSet<FileKey> {
        self.told.keys().copied().collect()
    }

    /// How many files are remembered.
    #[must_use]
    pub fn files(&self) -> usize {
        self.told.len()
    }

    /// The window between the last reading and this one. `nodes` are the targets by index, with the number
    /// of their processes; `subject` says whose a file's accesses are.
    pub fn cut(
        &mut self,
        reading: &Reading,
        span: Span,
        nodes: &[(NodeId, u32)],
        mut subject: impl FnMut(&FileKey) -> Subject,
    ) -> Window {
        let mut rows: Vec<BTreeMap<(Subject, Operation), (Counts, OffsetHistogram)>> =
            vec![BTreeMap::new(); nodes.len()];
        for (key, change) in self.changes(reading) {
            let Some(rows) = rows.get_mut(key.target as usize) else { continue };
            let entry = rows.entry((subject(&key), operation(key.operation)));
            let (counts, offsets) = entry.or_insert((Counts::default(), OffsetHistogram::EMPTY));
            *counts = counts.plus(Counts { ops: change.ops(), bytes: change.bytes });
            *offsets = offsets.merge(&histogram(&key, &change));
        }
        let mut lost = self.lost_since(reading, nodes.len()).into_iter();
        let nodes = nodes
            .iter()
            .zip(rows)
            .map(|((node, processes), rows)| {
                node_window(node, *processes, rows, lost.next().unwrap_or_default())
            })
            .collect();
        self.tell(reading);
        Window { start: span.start, length_ms: span.length_ms, completeness: span.completeness, nodes }
    }

    fn lost_since(&self, reading: &Reading, nodes: usize) -> Vec<BTreeMap<LostReason, u64>> {
        // The kernel does not say whose run it skipped, so each node may have lost it.
        let recursion = reading.recursion_misses.saturating_sub(self.recursion_misses);
        let at = |lost: &[Lost], node: usize| lost.get(node).copied().unwrap_or_default();
        let miscounted = |node: usize| self.miscounted.get(&(node as u32)).copied().unwrap_or_default();
        (0..nodes)
            .map(|node| {
                let (now, before) = (at(&reading.lost, node), at(&self.lost, node));
                [
                    (LostReason::Recursion, recursion),
                    (LostReason::Compat, now.compat.saturating_sub(before.compat)),
                    (
                        LostReason::ClosedDescriptor,
                        now.closed_descriptor.saturating_sub(before.closed_descriptor),
                    ),
                    (LostReason::Miscounted, miscounted(node)),
                    (
                        LostReason::UnwatchedProcess,
                        now.unwatched_processes.saturating_sub(before.unwatched_processes),
                    ),
                ]
                .into_iter()
                .filter(|(_, events)| *events > 0)
                .collect()
            })
            .collect()
    }

    /// Forgets a file whose entry was removed from the kernel's map, `last` being what it then held. What no
    /// window has told of it yet, the next one will.
    pub fn evict(&mut self, key: &FileKey, last: &FileCounters) {
        let told = self.told.remove(key);
        let rest = difference(last, told.as_ref().map(|told| &told.counters));
        if !is_zero(&rest) {
            self.carried.push((*key, rest));
        }
        let sum = self.evicted.entry((key.target, key.operation)).or_default();
        *sum = sum.plus(Counts { ops: last.ops(), bytes: last.bytes });
    }

    /// Holds the files against the kernel's own totals: what had settled before they were read must be in
    /// them, and nothing may be in them that had not been seen when they had been read.
    ///
    /// What disagrees is returned, told as lost by the next window, and not found again by later readings.
    /// A window cut from such a reading should be partial.
    pub fn reconcile(&mut self, reading: &Reading, targets: usize) -> Vec<Unbalanced> {
        let mut sums = self.evicted.clone();
        for (key, counters) in &reading.files {
            let sum = sums.entry((key.target, key.operation)).or_default();
            *sum = sum.plus(Counts { ops: counters.ops(), bytes: counters.bytes });
        }
        let mut found = Vec::new();
        let places = (0..targets as u32).flat_map(|target| [READ, WRITE].map(|code| (target, code)));
        for (target, code) in places {
            let sum = sums.get(&(target, code)).copied().unwrap_or_default();
            let index = tally_index(target, code) as usize;
            let at = |tallies: &[Tally]| tallies.get(index).copied().unwrap_or_default();
            let (before, after) = (at(&reading.before), at(&reading.after));
            let absorbed = self.absorbed.entry((target, code)).or_default();
            for (slot, unit, settled, files, seen) in [
                (0, "calls", before.settled_ops, sum.ops, after.seen_ops),
                (1, "bytes", before.settled_bytes, sum.bytes, after.seen_bytes),
            ] {
                let (settled, seen) = (i128::from(settled), i128::from(seen));
                let files = i128::from(files) + absorbed[slot];
                let missing = (settled - files).max(0) - (files - seen).max(0);
                if missing == 0 {
                    continue;
                }
                absorbed[slot] += missing;
                if slot == 0 {
                    let calls = u64::try_from(missing.unsigned_abs()).unwrap_or(u64::MAX);
                    *self.miscounted.entry(target).or_default() += calls;
                }
                let target = target as usize;
                found.push(Unbalanced { target, operation: operation(code), unit, settled, files, seen });
            }
        }
        found
    }
}

fn node_window(
    node: &NodeId,
    processes: u32,
    rows: BTreeMap<(Subject, Operation), (Counts, OffsetHistogram)>,
    lost: BTreeMap<LostReason, u64>,
) -> NodeWindow {
    let mut totals: BTreeMap<(Layer, Operation), Counts> =
        [READ, WRITE].map(|code| ((Layer::Logical, operation(code)), Counts::default())).into();
    let rows = rows
        .into_iter()
        .map(|((subject, operation), (counts, offsets))| {
            let total = totals.entry((Layer::Logical, operation)).or_default();
            *total = total.plus(counts);
            // A mixture with calls whose offset is not known would claim a place for them.
            let offsets = if offsets.total() == counts.ops { offsets } else { OffsetHistogram::EMPTY };
            Row { subject, layer: Layer::Logical, operation, counts, offsets, latency: None }
        })
        .collect();
    NodeWindow { node: node.clone(), processes, listening: Vec::new(), totals, rows, peers: Vec::new(), lost }
}

fn operation(code: u16) -> Operation {
    if code == WRITE { Operation::Write } else { Operation::Read }
}

fn histogram(key: &FileKey, change: &FileCounters) -> OffsetHistogram {
    let shift = u8::try_from(key.shift).unwrap_or(isotherm_model::MAX_SHIFT);
    OffsetHistogram::new(shift, change.offsets).unwrap_or(OffsetHistogram::EMPTY)
}

fn is_zero(change: &FileCounters) -> bool {
    change.ops() == 0 && change.bytes == 0
}

fn difference(now: &FileCounters, before: Option<&FileCounters>) -> FileCounters {
    let Some(before) = before else { return *now };
    let mut change = FileCounters {
        overflow_ops: now.overflow_ops.saturating_sub(before.overflow_ops),
        bytes: now.bytes.saturating_sub(before.bytes),
        named: now.named,
        offsets: now.offsets,
    };
    for (count, before) in change.offsets.iter_mut().zip(before.offsets) {
        *count = count.saturating_sub(before);
    }
    change
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_agent_ebpf::OPERATIONS;
    use isotherm_model::{Completeness, OtherReason, SystemId, Timestamp, UnattributedReason};

    fn key(ino: u64, target: u32, operation: u16, shift: u16) -> FileKey {
        FileKey { ino, dev: 1, generation: 1, target, operation, shift }
    }

    fn counters(bytes: u64, buckets: &[(usize, u64)]) -> FileCounters {
        let mut counters = FileCounters { bytes, ..FileCounters::ZERO };
        for (bucket, count) in buckets {
            counters.offsets[*bucket] = *count;
        }
        counters
    }

    fn reading(files: &[(FileKey, FileCounters)]) -> Reading {
        let mut tallies = vec![Tally::default(); (2 * OPERATIONS) as usize];
        for (key, counters) in files {
            let tally = &mut tallies[tally_index(key.target, key.operation) as usize];
            tally.seen_ops += counters.ops();
            tally.seen_bytes += counters.bytes;
            tally.settled_ops += counters.ops();
            tally.settled_bytes += counters.bytes;
        }
        Reading { files: files.to_vec(), before: tallies.clone(), after: tallies, ..Reading::default() }
    }

    const SPAN: Span =
        Span { start: Timestamp::from_ms(0), length_ms: 1_000, completeness: Completeness::Complete };

    fn nodes() -> Vec<(NodeId, u32)> {
        let system = SystemId::new("s").unwrap();
        vec![(NodeId::new(system.clone(), "a").unwrap(), 1), (NodeId::new(system, "b").unwrap(), 0)]
    }

    fn other(_: &FileKey) -> Subject {
        Subject::Other(OtherReason::NoRule)
    }

    #[test]
    fn a_window_tells_only_what_is_new_and_merges_files_of_a_subject() {
        let mut cutter = Cutter::default();
        let first = [(key(1, 0, READ, 12), counters(100, &[(3, 1)]))];
        cutter.cut(&reading(&first), SPAN, &nodes(), other);
        let second = [
            (key(1, 0, READ, 12), counters(300, &[(3, 2), (60, 1)])),
            (key(1, 0, READ, 13), counters(50, &[(7, 1)])),
        ];
        let window = cutter.cut(&reading(&second), SPAN, &nodes(), other);
        let node = &window.nodes[0];
        node.check_conserved().unwrap();
        assert_eq!(node.totals[&(Layer::Logical, Operation::Read)], Counts { ops: 3, bytes: 250 });
        assert_eq!(node.rows.len(), 1);
        let offsets = &node.rows[0].offsets;
        assert_eq!(
            (offsets.shift(), offsets.counts()[1], offsets.counts()[30], offsets.counts()[7]),
            (13, 1, 1, 1)
        );
        assert!(window.nodes[1].rows.is_empty());
        assert_eq!(window.nodes[1].totals.len(), 2, "a node that did nothing says so");
        let quiet = cutter.cut(&reading(&second), SPAN, &nodes(), other);
        assert!(quiet.nodes[0].rows.is_empty());
    }

    #[test]
    fn what_found_no_room_is_counted_without_an_offset() {
        let mut cutter = Cutter::default();
        let overflow = FileCounters { overflow_ops: 4, bytes: 40, ..FileCounters::ZERO };
        let files = [(FileKey::overflow(1, WRITE), overflow)];
        let full = |_: &FileKey| Subject::Unattributed(UnattributedReason::FilesFull);
        let window = cutter.cut(&reading(&files), SPAN, &nodes(), full);
        let row = &window.nodes[1].rows[0];
        assert_eq!((row.counts, row.offsets), (Counts { ops: 4, bytes: 40 }, OffsetHistogram::EMPTY));
        window.nodes[1].check_conserved().unwrap();
    }

    #[test]
    fn lost_events_are_told_once() {
        let mut cutter = Cutter::default();
        let lost = Lost { compat: 2, closed_descriptor: 1, unwatched_processes: 3, files_full: 0 };
        let reading =
            Reading { lost: vec![Lost::default(), lost], recursion_misses: 1, ..Reading::default() };
        let window = cutter.cut(&reading, SPAN, &nodes(), other);
        assert_eq!(window.nodes[0].lost, BTreeMap::from([(LostReason::Recursion, 1)]));
        assert_eq!(window.nodes[1].lost[&LostReason::Compat], 2);
        assert_eq!(window.nodes[1].lost[&LostReason::UnwatchedProcess], 3);
        assert!(cutter.cut(&reading, SPAN, &nodes(), other).nodes.iter().all(|node| node.lost.is_empty()));
    }

    #[test]
    fn idle_files_are_found_oldest_first() {
        let mut cutter = Cutter::default();
        let (a, b) = (key(1, 0, READ, 12), key(2, 0, READ, 12));
        let overflow = (FileKey::overflow(0, READ), FileCounters::ZERO);
        for (bytes_a, bytes_b) in [(1, 1), (1, 2), (1, 2), (1, 2)] {
            cutter.tell(&reading(&[(b, counters(bytes_b, &[])), (a, counters(bytes_a, &[])), overflow]));
        }
        assert_eq!(cutter.idle(3), [a]);
        assert_eq!(cutter.idle(2), [a, b]);
        assert_eq!(cutter.active().count(), 0);
    }

    #[test]
    fn an_evicted_file_stays_in_the_sum_and_its_last_accesses_are_told() {
        let mut cutter = Cutter::default();
        let files =
            [(key(1, 0, READ, 12), counters(100, &[(3, 5)])), (key(2, 0, READ, 12), counters(7, &[(0, 1)]))];
        cutter.cut(&reading(&files), SPAN, &nodes(), other);
        let last = counters(9, &[(0, 2)]);
        cutter.evict(&files[1].0, &last);
        // The kernel's totals go on from where they were.
        let mut later = reading(&[files[0], (files[1].0, last)]);
        later.files.pop();
        assert_eq!(cutter.reconcile(&later, 2), []);
        let window = cutter.cut(&later, SPAN, &nodes(), other);
        assert_eq!(window.nodes[0].rows[0].counts, Counts { ops: 1, bytes: 2 });
        assert!(cutter.changes(&later).is_empty());
    }

    #[test]
    fn what_disagrees_with_the_kernels_totals_is_told_once() {
        let mut cutter = Cutter::default();
        let files = [(key(1, 0, READ, 12), counters(100, &[(3, 5)]))];
        let mut reading = reading(&files);
        // A call under way: seen, not settled, perhaps counted.
        reading.after[0].seen_ops += 1;
        assert_eq!(cutter.reconcile(&reading, 2), []);
        // Two calls that settled and are in no file.
        reading.before[0].settled_ops += 2;
        reading.after[0].seen_ops += 1;
        let found = cutter.reconcile(&reading, 2);
        assert_eq!(
            found.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "target 0 read: the files sum to 5 calls, but 7 were settled before and 7 seen after they were read"
            ]
        );
        let window = cutter.cut(&reading, SPAN, &nodes(), other);
        assert_eq!(window.nodes[0].lost, BTreeMap::from([(LostReason::Miscounted, 2)]));
        assert_eq!(cutter.reconcile(&reading, 2), []);
        assert!(cutter.cut(&reading, SPAN, &nodes(), other).nodes[0].lost.is_empty());
    }
}
