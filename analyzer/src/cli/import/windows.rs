//! From accesses to windows, as an agent would have cut them.
//!
//! A node is watched from its first access to the end of the last file that has it: a window without accesses says that
//! nothing happened. The windows in which a node's trace begins or ends are partial. Two windows are open at a time,
//! so lines may be out of order by one. Offsets are counted in the buckets of a file that grows: the smallest width that
//! reached all that was accessed so far.

use super::layout::Op;
use super::merge::Access;
use isotherm_model::{
    BUCKETS, Completeness, Counts, Layer, NodeId, NodeWindow, OffsetHistogram, Operation, PartitionId, Row,
    Subject, SystemId, Timestamp, Window, shift_for,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Windows that are open at a time.
const OPEN: usize = 2;

/// The longest that nothing may happen, in milliseconds: beyond that a time is wrong, or nobody watched.
const QUIET_MS: u64 = 7 * 86_400_000;

/// Accesses of one kind to one volume.
struct Tally {
    counts: Counts,
    shift: u8,
    buckets: [u64; BUCKETS],
}

/// Node, volume and operation.
type Key = (Arc<str>, Arc<str>, Operation);

/// When a node was watched, in numbers of windows.
struct Watched {
    first: u64,
    /// Of its last access so far.
    last: u64,
    /// Files that have it and have not ended.
    files: BTreeSet<usize>,
    ended: bool,
}

/// What was counted in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) reads: u64,
    pub(super) writes: u64,
    pub(super) nodes: usize,
    pub(super) partitions: usize,
}

/// Cuts windows.
pub(super) struct Cutter {
    system: SystemId,
    window_ms: u64,
    /// Number of the first open window.
    number: Option<u64>,
    open: VecDeque<BTreeMap<Key, Tally>>,
    nodes: BTreeMap<Arc<str>, Watched>,
    shifts: BTreeMap<(Arc<str>, Arc<str>), u8>,
    told: Told,
}

impl Cutter {
    pub(super) fn new(system: SystemId, window_ms: u32) -> Self {
        Self {
            system,
            window_ms: u64::from(window_ms),
            number: None,
            open: VecDeque::new(),
            nodes: BTreeMap::new(),
            shifts: BTreeMap::new(),
            told: Told::default(),
        }
    }

    /// Counts an access.
    pub(super) fn add(&mut self, access: &Access) -> Result<(), String> {
        NodeId::new(self.system.clone(), &*access.node).map_err(|error| error.to_string())?;
        PartitionId::new(self.system.clone(), &*access.volume).map_err(|error| error.to_string())?;
        let window = access.at_ms / self.window_ms;
        let first = *self.number.get_or_insert(window);
        let newest = first + (self.open.len() as u64).saturating_sub(1);
        if window < first {
            let window_ms = self.window_ms;
            return Err(format!("it is more than a window of {window_ms} ms earlier than a line before it"));
        }
        if (window - newest.min(window)) * self.window_ms > QUIET_MS {
            return Err(
                "nothing happened for more than a week before it: its time is wrong, or these are two traces"
                    .into(),
            );
        }
        let place = usize::try_from(window - first).map_err(|_| "its time is too far".to_owned())?;
        if self.open.len() <= place {
            self.open.resize_with(place + 1, BTreeMap::new);
        }
        let watched = self.nodes.entry(access.node.clone()).or_insert_with(|| Watched {
            first: window,
            last: window,
            files: BTreeSet::new(),
            ended: false,
        });
        watched.first = watched.first.min(window);
        watched.last = watched.last.max(window);
        watched.ended = false;
        watched.files.insert(access.file);
        self.count(place, access);
        Ok(())
    }

    fn count(&mut self, place: usize, access: &Access) {
        let end = access.offset.saturating_add(access.bytes.max(1));
        let volume = (access.node.clone(), access.volume.clone());
        let shift = self.shifts.entry(volume).or_insert(0);
        *shift = shift_for(end).max(*shift);
        let operation = match access.op {
            Op::Read => Operation::Read,
            Op::Write => Operation::Write,
            Op::Discard => Operation::Discard,
        };
        self.told.reads += u64::from(access.op == Op::Read);
        self.told.writes += u64::from(access.op == Op::Write);
        let key = (access.node.clone(), access.volume.clone(), operation);
        let empty = || Tally { counts: Counts::default(), shift: *shift, buckets: [0; BUCKETS] };
        let tally = self.open[place].entry(key).or_insert_with(empty);
        tally.counts = tally.counts.plus(Counts { ops: 1, bytes: access.bytes });
        tally.widen(*shift);
        tally.buckets[((access.offset >> tally.shift) as usize).min(BUCKETS - 1)] += 1;
    }

    /// A file has ended: nodes that no other has are not watched any more.
    pub(super) fn leave(&mut self, file: usize) {
        for watched in self.nodes.values_mut() {
            if watched.files.remove(&file) && watched.files.is_empty() {
                watched.ended = true;
            }
        }
    }

    /// Windows that nothing can be added to any more, in order.
    pub(super) fn closed(&mut self) -> Vec<Window> {
        self.close(OPEN)
    }

    /// All that are left.
    pub(super) fn finish(&mut self) -> Vec<Window> {
        self.nodes.values_mut().for_each(|watched| watched.ended = true);
        self.close(0)
    }

    /// What was counted in all.
    pub(super) fn told(&self) -> Told {
        Told { nodes: self.nodes.len(), partitions: self.shifts.len(), ..self.told }
    }

    fn close(&mut self, left: usize) -> Vec<Window> {
        let mut windows = Vec::new();
        while self.open.len() > left {
            let (Some(tallies), Some(number)) = (self.open.pop_front(), self.number) else { break };
            windows.push(self.window(number, tallies));
            self.number = Some(number + 1);
        }
        windows
    }

    fn window(&self, number: u64, tallies: BTreeMap<Key, Tally>) -> Window {
        let mut rows: BTreeMap<Arc<str>, Vec<Row>> = BTreeMap::new();
        for ((node, volume, operation), tally) in tallies {
            rows.entry(node).or_default().push(self.row(&volume, operation, &tally));
        }
        let there = |watched: &Watched| watched.first <= number && (!watched.ended || number <= watched.last);
        let begins_or_ends =
            |watched: &Watched| watched.first == number || (watched.ended && watched.last == number);
        let watched: Vec<_> = self.nodes.iter().filter(|(_, watched)| there(watched)).collect();
        let partial = watched.iter().any(|(_, watched)| begins_or_ends(watched));
        let node = |name: &Arc<str>| self.node(name, rows.get(name).cloned().unwrap_or_default());
        Window {
            start: Timestamp::from_ms(number * self.window_ms),
            length_ms: u32::try_from(self.window_ms).expect("it was one"),
            completeness: if partial { Completeness::Partial } else { Completeness::Complete },
            nodes: watched.iter().map(|(name, _)| node(name)).collect(),
        }
    }

    fn node(&self, name: &str, rows: Vec<Row>) -> NodeWindow {
        let watched = [Operation::Read, Operation::Write].map(|operation| (Layer::Device, operation));
        let mut totals: BTreeMap<(Layer, Operation), Counts> =
            watched.into_iter().map(|place| (place, Counts::default())).collect();
        for row in &rows {
            let total = totals.entry((row.layer, row.operation)).or_default();
            *total = total.plus(row.counts);
        }
        NodeWindow {
            node: NodeId::new(self.system.clone(), name).expect("it was checked when it was counted"),
            processes: 1,
            listening: Vec::new(),
            totals,
            rows,
            peers: Vec::new(),
            lost: BTreeMap::new(),
        }
    }

    fn row(&self, volume: &str, operation: Operation, tally: &Tally) -> Row {
        let partition = PartitionId::new(self.system.clone(), volume);
        Row {
            subject: Subject::Partition(partition.expect("it was checked when it was counted")),
            layer: Layer::Device,
            operation,
            counts: tally.counts,
            offsets: OffsetHistogram::new(tally.shift, tally.buckets).expect("shifts are those of the model"),
            latency: None,
        }
    }
}

impl Tally {
    fn widen(&mut self, shift: u8) {
        if shift > self.shift {
            let fine = OffsetHistogram::new(self.shift, self.buckets).expect("shifts are those of the model");
            (self.shift, self.buckets) = (shift, *fine.coarsened(shift).counts());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(at_ms: u64, op: Op, offset: u64, name: &str) -> Access {
        let name: Arc<str> = Arc::from(name);
        Access { at_ms, op, bytes: 4_096, offset, node: name.clone(), volume: name, file: 0 }
    }

    fn cutter() -> Cutter {
        Cutter::new(SystemId::new("trace").unwrap(), 1_000)
    }

    #[test]
    fn accesses_are_counted_in_the_window_and_bucket_they_are_in() {
        let mut cutter = cutter();
        // Four buckets of 4 KiB, then an access that makes them wider, and a quiet window.
        for at in 0..4_u64 {
            cutter.add(&access(1_000 + at, Op::Read, at * 4_096, "d")).unwrap();
        }
        cutter.add(&access(1_900, Op::Write, (512 << 10) - 4_096, "d")).unwrap();
        cutter.add(&access(1_950, Op::Read, 4_096, "d")).unwrap();
        cutter.add(&access(3_500, Op::Discard, 0, "d")).unwrap();
        cutter.add(&access(2_999, Op::Read, 0, "d")).expect("one window late is not too late");
        assert!(cutter.add(&access(999, Op::Read, 0, "d")).unwrap_err().contains("earlier"));
        let mut windows = cutter.closed();
        assert_eq!(windows.len(), 1);
        windows.extend(cutter.finish());
        let rows = |window: &Window| -> Vec<(Operation, u64, u8, u64)> {
            let node = &window.nodes[0];
            node.check_conserved().unwrap();
            assert!(node.totals.contains_key(&(Layer::Device, Operation::Write)), "it was watched");
            let row =
                |row: &Row| (row.operation, row.counts.ops, row.offsets.shift(), row.offsets.counts()[0]);
            node.rows.iter().map(row).collect()
        };
        let found: Vec<_> = windows.iter().map(rows).collect();
        assert_eq!(found[0], [(Operation::Read, 5, 13, 3), (Operation::Write, 1, 13, 0)]);
        assert_eq!(windows[0].nodes[0].rows[0].offsets.counts()[1], 2);
        assert_eq!(windows[0].nodes[0].rows[1].offsets.counts()[63], 1);
        assert_eq!(found[1], [(Operation::Read, 1, 13, 1)]);
        assert_eq!(found[2], [(Operation::Discard, 1, 13, 1)]);
        let whole: Vec<_> = windows.iter().map(|window| window.completeness).collect();
        assert_eq!(whole, [Completeness::Partial, Completeness::Complete, Completeness::Partial]);
        assert_eq!(cutter.told(), Told { reads: 6, writes: 1, nodes: 1, partitions: 1 });
    }

    #[test]
    fn a_node_is_watched_as_long_as_its_trace_lasts() {
        let mut cutter = cutter();
        let other = |at| Access { file: 1, ..access(at, Op::Read, 0, "e") };
        cutter.add(&access(0, Op::Read, 0, "d")).unwrap();
        cutter.add(&other(1_000)).unwrap();
        cutter.add(&access(3_000, Op::Read, 0, "d")).unwrap();
        cutter.leave(0);
        let mut windows = cutter.closed();
        cutter.add(&other(5_000)).unwrap();
        windows.extend(cutter.finish());
        let nodes: Vec<usize> = windows.iter().map(|window| window.nodes.len()).collect();
        assert_eq!(nodes, [1, 2, 2, 2, 1, 1]);
        let week = other(5_000 + QUIET_MS + 2_000);
        let mut cutter = self::cutter();
        cutter.add(&access(0, Op::Read, 0, "d")).unwrap();
        assert!(cutter.add(&week).unwrap_err().contains("more than a week"));
    }
}
