//! What an agent has to send: batches whose numbers are made up, and gaps.

use super::super::sample::{START_MS, system};
use super::{Plan, Truth};
use isotherm_model::{
    BUCKETS, Completeness, Counts, Layer, NodeId, NodeWindow, OffsetHistogram, Operation, PartitionId, Row,
    Subject, Timestamp, Window,
};
use isotherm_proto::telemetry::v1::{Batch, Encoding, Gap, GapReason, stream_request};
use isotherm_proto::{compressed, window_set_to_payload};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Windows of all agents.
pub(super) const WINDOW_MS: u32 = 1_000;

/// How often what goes wrong, in thousandths of what is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Disorder {
    /// A batch is sent twice.
    pub(crate) duplicate: u32,
    /// A batch is sent before the one that must come first.
    pub(crate) reorder: u32,
    /// One to three batches are a gap, and said to be one.
    pub(crate) gap: u32,
    /// A batch is left out, and said to be a gap only after the next one was refused.
    pub(crate) hole: u32,
    /// A payload is noise.
    pub(crate) garbage: u32,
    /// A payload holds more hours than are accepted.
    pub(crate) oversized: u32,
    /// The stream is cut, with answers under way, and another one opened.
    pub(crate) cut: u32,
    /// The agent starts anew when all is delivered, as another run.
    pub(crate) reboot: u32,
}

impl Disorder {
    pub(crate) const NONE: Self =
        Self { duplicate: 0, reorder: 0, gap: 0, hole: 0, garbage: 0, oversized: 0, cut: 0, reboot: 0 };
    pub(crate) const ALL: Self = Self {
        duplicate: 60,
        reorder: 60,
        gap: 40,
        hole: 30,
        garbage: 20,
        oversized: 5,
        cut: 40,
        reboot: 20,
    };
}

/// How an agent differs from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Ordinary,
    /// Its clock is off by so much, ahead if positive.
    Skewed {
        ms: i64,
    },
    /// Every window has so many rows, and there are so many batches, sent as fast as they are taken.
    Greedy {
        rows: usize,
        batches: u64,
    },
    /// It sends all that it has credit for at once, and never reads an answer.
    Deaf,
}

/// What takes places in the sequence.
#[derive(Debug, Clone)]
pub(super) enum Item {
    /// A batch with so many rows and reads.
    Batch { seq: u64, rows: u64, reads: u64 },
    /// A batch that must be refused for good.
    Bad { seq: u64, payload: Vec<u8> },
    /// Places that stay empty; `said` is whether the agent says so before anything after them.
    Gap { first: u64, last: u64, said: bool },
}

/// All that an agent has to send in one run.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) name: String,
    pub(super) role: Role,
    pub(super) rng: fastrand::Rng,
    pub(super) items: Vec<Item>,
    seed: u64,
}

impl Item {
    pub(super) fn last(&self) -> u64 {
        match self {
            Self::Batch { seq, .. } | Self::Bad { seq, .. } => *seq,
            Self::Gap { last, .. } => *last,
        }
    }
}

impl Script {
    /// The script of the agent with this number.
    pub(crate) fn new(plan: &Plan, number: usize) -> Self {
        let seed = plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number as u64);
        let mut rng = fastrand::Rng::with_seed(seed);
        let role = (plan.roles)(number);
        let (batches, rows, disorder) = match role {
            Role::Ordinary => (plan.batches, plan.rows, plan.disorder),
            Role::Skewed { .. } => (plan.batches, plan.rows, Disorder::NONE),
            Role::Greedy { rows, batches } => (batches, rows, Disorder::NONE),
            // As many as there may be credit for.
            Role::Deaf => (16, plan.rows, Disorder::NONE),
        };
        let mut items = Vec::new();
        let mut seq = 1;
        while seq <= batches {
            let of = rng.u32(0..1_000);
            let mut edge = 0;
            let mut falls_within = |thousandths: u32| {
                edge += thousandths;
                of < edge
            };
            let item = if falls_within(disorder.gap) {
                Item::Gap { first: seq, last: seq + rng.u64(0..3), said: true }
            } else if falls_within(disorder.hole) {
                Item::Gap { first: seq, last: seq, said: false }
            } else if falls_within(disorder.garbage) {
                Item::Bad { seq, payload: (0..rng.usize(1..200)).map(|_| rng.u8(..) | 0x80).collect() }
            } else if falls_within(disorder.oversized) {
                Item::Bad { seq, payload: many_hours() }
            } else {
                let rows = match role {
                    Role::Greedy { .. } => rows,
                    Role::Ordinary | Role::Skewed { .. } | Role::Deaf => rng.usize(1..=rows),
                };
                Item::Batch { seq, rows: rows as u64, reads: rng.u64(rows as u64..=rows as u64 * 50) }
            };
            seq = item.last() + 1;
            items.push(item);
        }
        Self { name: format!("agent-{number:05}"), role, rng, items, seed }
    }

    /// What must be known when all is delivered.
    pub(super) fn truth(&self) -> Truth {
        let mut truth = Truth { name: self.name.clone(), ..Truth::default() };
        for item in &self.items {
            match item {
                Item::Batch { rows, reads, .. } => {
                    truth.rows += rows;
                    truth.reads += reads;
                }
                Item::Bad { .. } => truth.missing += 1,
                Item::Gap { first, last, .. } => truth.missing += last - first + 1,
            }
        }
        truth
    }

    /// The message for an item. Its window is of the present if the agent keeps pace with time, else of the past.
    pub(super) fn message(&self, item: &Item, live: bool) -> stream_request::Message {
        match item {
            Item::Batch { seq, rows, reads } => {
                let payload = compressed(&window_set_to_payload(&[self.window(*seq, *rows, *reads, live)]));
                let encoding = Encoding::Zstd.into();
                stream_request::Message::Batch(Batch { seq: *seq, payload, encoding })
            }
            Item::Bad { seq, payload } => {
                let encoding = Encoding::Unspecified.into();
                stream_request::Message::Batch(Batch { seq: *seq, payload: payload.clone(), encoding })
            }
            Item::Gap { first, last, .. } => gap(*first, *last),
        }
    }

    fn window(&self, seq: u64, rows: u64, reads: u64, live: bool) -> Window {
        let start_ms = if live {
            let skew_ms = match self.role {
                Role::Skewed { ms } => ms,
                Role::Ordinary | Role::Greedy { .. } | Role::Deaf => 0,
            };
            now_ms().saturating_add_signed(skew_ms) - u64::from(WINDOW_MS)
        } else {
            // Half an hour of them is one hour of the store.
            START_MS + seq % 1_800 * u64::from(WINDOW_MS)
        };
        let mut rng = fastrand::Rng::with_seed(self.seed ^ (seq << 32));
        let mut left = reads;
        let each = |number: u64| {
            let ops = if number + 1 == rows { left } else { (reads / rows).min(left) };
            left -= ops;
            read(number, ops, rng.u32(..))
        };
        let rows: Vec<Row> = (0..rows).map(each).collect();
        let watched = [Operation::Read, Operation::Write].map(|operation| (Layer::Logical, operation));
        let mut totals: std::collections::BTreeMap<_, Counts> =
            watched.into_iter().map(|place| (place, Counts::default())).collect();
        for row in &rows {
            let total = totals.entry((row.layer, row.operation)).or_default();
            *total = total.plus(row.counts);
        }
        let node = NodeWindow {
            node: NodeId::new(system(), &*self.name).unwrap(),
            processes: 1,
            listening: Vec::new(),
            totals,
            rows,
            peers: Vec::new(),
            lost: std::collections::BTreeMap::new(),
        };
        let completeness = Completeness::Complete;
        Window { start: Timestamp::from_ms(start_ms), length_ms: WINDOW_MS, completeness, nodes: vec![node] }
    }
}

/// Reads of the partition with this number, over as many of its file's buckets as they reach.
fn read(partition: u64, ops: u64, noise: u32) -> Row {
    let mut counts = [0; BUCKETS];
    for op in 0..ops {
        counts[(op as usize * 7 + noise as usize) % BUCKETS] += 1;
    }
    Row {
        subject: Subject::Partition(PartitionId::new(system(), partition.to_string()).unwrap()),
        layer: Layer::Logical,
        operation: Operation::Read,
        counts: Counts { ops, bytes: ops * 4_096 },
        offsets: OffsetHistogram::new(20, counts).unwrap(),
        latency: None,
    }
}

pub(super) fn gap(first_seq: u64, last_seq: u64) -> stream_request::Message {
    let (start_ms, end_ms) = (START_MS, START_MS + u64::from(WINDOW_MS));
    let reason = GapReason::Refused.into();
    stream_request::Message::Gap(Gap { first_seq, last_seq, start_ms, end_ms, reason })
}

/// Windows of more hours than a batch may have.
fn many_hours() -> Vec<u8> {
    let windows: Vec<Window> = (0..25).map(|hour| super::super::sample::ten_reads(hour * 3_600)).collect();
    window_set_to_payload(&windows)
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}
