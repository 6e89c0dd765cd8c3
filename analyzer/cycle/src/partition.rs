//! What is remembered of a partition from cycle to cycle: its series, habits and shares.
//!
//! Shares are of counts that are forgotten by halves, so that a minute with ten reads moves them as little as it
//! should. They are those of nodes that may serve: who is no longer eligible is forgotten at once. A minute in which
//! any of them was not watched teaches nothing, as the share of the others would be too large; after an hour of such
//! minutes the shares are unknown.

use crate::band::Kind;
use crate::days::{Days, HOURS};
use crate::input::{PartitionStep, StepLength};
use crate::policy::Settings;
use crate::record::{Habitual, Judged, Status};
use crate::series::{Due, Series};
use isotherm_model::Timestamp;
use isotherm_model::entropy::NodeEntropy;
use isotherm_risk::class::{Class, Normalised};
use isotherm_risk::habit::{Baseline, Frozen, Habit, Source as HabitSource};
use isotherm_risk::surge::{Surge, Verdict as SurgeVerdict, Window};
use serde::{Deserialize, Serialize};

/// Values that the series keep: two hours of minutes, a day of quarters, a week of hours.
const KEPT: [u16; 3] = [120, 96, 168];

/// An entropy other than that over nodes: it is judged, but has no part in the exposure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Signal {
    pub(crate) habit: Habit,
    pub(crate) quarter: Series,
    pub(crate) judged: Judged,
}

/// How much a node served.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Slot {
    /// The node, by the number that the state gave its name.
    pub(crate) node: u32,
    /// Reads, forgotten by halves.
    pub(crate) reads: f64,
    /// The same, forgotten over a day: what is habitual.
    pub(crate) habitual: f64,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Partition {
    pub(crate) minute: Series,
    pub(crate) quarter: Series,
    pub(crate) hour: Series,
    pub(crate) habit: Habit,
    pub(crate) surge: Surge,
    pub(crate) class: Option<Class>,
    pub(crate) offset: Option<Box<Signal>>,
    pub(crate) peer: Option<Box<Signal>>,
    pub(crate) slots: Vec<Slot>,
    /// Steps that the reads of `slots` are of, forgotten alike.
    pub(crate) weight: f64,
    pub(crate) days: Days,
    /// Who holds it by the topology, the leader first, by the state's numbers; empty before that was known.
    pub(crate) holders: Vec<u32>,
    /// When the subset or the leader was last seen to change, milliseconds.
    pub(crate) changed_ms: Option<u64>,
    /// Minutes since all nodes were last watched.
    pub(crate) unmeasured_min: u32,
    /// When it was last counted, milliseconds.
    pub(crate) seen_ms: u64,
    pub(crate) last: Last,
}

/// What is known of the days to come.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ahead {
    /// Reads per second that each hour of the day (UTC) brings; `None` where nothing was counted in it yet.
    pub reads_per_s: [Option<f32>; HOURS],
    /// Rate per hour at which shares lose their meaning; `None` before two days in a row are known.
    pub drift_per_hour: Option<f64>,
    /// Hours since the subset or its leader was seen to change; `None` if it never was.
    pub changed_ago_h: Option<f64>,
}

/// What the last minute said.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Last {
    pub(crate) status: Status,
    pub(crate) bits: Option<f64>,
    pub(crate) effective: Option<f64>,
    pub(crate) judged: Judged,
}

const NOTHING: Judged = Judged { h: None, habitual: None, z: None };

/// What a step means beside its counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Circumstances {
    /// When it began.
    pub(crate) start: Timestamp,
    /// Why habits are not taught by it.
    pub(crate) frozen: Option<Frozen>,
    /// The holder, by the state's number, that serves nothing because its reads were shifted.
    pub(crate) drained: Option<u32>,
}

impl Circumstances {
    /// The same, frozen if a node that served is suspected of answering badly.
    pub(crate) fn among(self, step: Option<&PartitionStep>, suspected: &[bool]) -> Self {
        let any = step.is_some_and(|step| step.served.iter().any(|(node, _)| suspected[*node as usize]));
        Self { frozen: self.frozen.or(any.then_some(Frozen::Incident)), ..self }
    }
}

/// Which series wait for an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wants {
    pub(crate) node: bool,
    pub(crate) offset: bool,
    pub(crate) peer: bool,
}

impl Partition {
    /// Nothing is known of it. `turn` differs between partitions.
    pub(crate) fn new(turn: u32) -> Self {
        let [minute, quarter, hour] = KEPT.map(|most| Series::new(most, turn));
        Self {
            minute,
            quarter,
            hour,
            habit: Habit::default(),
            surge: Surge::default(),
            class: None,
            offset: None,
            peer: None,
            slots: Vec::new(),
            weight: 0.0,
            days: Days::default(),
            holders: Vec::new(),
            changed_ms: None,
            unmeasured_min: 0,
            seen_ms: 0,
            last: Last { status: Status::Unseen, bits: None, effective: None, judged: NOTHING },
        }
    }

    /// Takes in a step; `None` if the partition was not counted in it. Coefficients that are due are estimated
    /// here; what waits for an order is returned.
    pub(crate) fn absorb(
        &mut self,
        length: StepLength,
        step: Option<&PartitionStep>,
        numbers: &[u32],
        now: Circumstances,
        settings: &Settings,
    ) -> Wants {
        let h = step.and_then(|step| step.entropy.known()).map(|measured| measured.normalised);
        match length {
            StepLength::Minute => {
                self.minute_of(step, h, numbers, now, settings);
                Wants { node: follow(&mut self.minute, h), ..Wants::default() }
            }
            StepLength::Quarter => Wants {
                node: follow(&mut self.quarter, h),
                offset: quarter_of(&mut self.offset, step.and_then(|step| step.offset_h)),
                peer: quarter_of(&mut self.peer, step.and_then(|step| step.peer_h)),
            },
            StepLength::Hour => {
                if let Some(step) = step {
                    self.days.hour(now.start, step, numbers, now.frozen.is_none());
                }
                Wants { node: follow(&mut self.hour, h), ..Wants::default() }
            }
        }
    }

    /// Learns who holds it, the leader first; a holder whose number is not known says nothing.
    pub(crate) fn lies_on(&mut self, holders: impl Iterator<Item = Option<u32>> + Clone, now: Timestamp) {
        let known = holders.clone().all(|holder| holder.is_some());
        if !known || self.holders.iter().copied().map(Some).eq(holders.clone()) {
            return;
        }
        if !self.holders.is_empty() {
            self.changed_ms = Some(now.as_ms());
            self.days.held_by_others();
        }
        self.holders = holders.flatten().collect();
    }

    /// What is known of the days to come, as of a moment.
    pub(crate) fn ahead(&self, until_ms: Option<u64>) -> Ahead {
        let since = |(until, changed): (u64, u64)| until.saturating_sub(changed) as f64 / 3.6e6;
        Ahead {
            reads_per_s: self.days.by_hour,
            drift_per_hour: self.days.drift_per_hour(),
            changed_ago_h: until_ms.zip(self.changed_ms).map(since),
        }
    }

    fn minute_of(
        &mut self,
        step: Option<&PartitionStep>,
        h: Option<f64>,
        numbers: &[u32],
        now: Circumstances,
        settings: &Settings,
    ) {
        let h = h.and_then(Normalised::new);
        let seen = self.habit.observe(&settings.habit, now.start, h, now.frozen);
        if let Some(h) = h {
            self.class = Some(settings.class.class(h, self.class));
        }
        self.surge.observe(&settings.surge, now.start, Window::of(h, &seen));
        let measured = step.and_then(|step| step.entropy.known());
        self.last = Last {
            status: step.map_or(Status::Unseen, |step| status(&step.entropy)),
            bits: measured.map(|measured| measured.bits),
            effective: measured.map(|measured| measured.effective),
            judged: Judged { h: h.map(Normalised::get), habitual: seen.baseline.map(habitual), z: seen.z },
        };
        judge(&mut self.offset, step.and_then(|step| step.offset_h), now, settings);
        judge(&mut self.peer, step.and_then(|step| step.peer_h), now, settings);
        match step {
            Some(step) => {
                self.seen_ms = now.start.as_ms();
                self.serve(step, numbers, now, settings);
            }
            None => self.unmeasured_min = self.unmeasured_min.saturating_add(1),
        }
    }

    /// Counts who served.
    fn serve(&mut self, step: &PartitionStep, numbers: &[u32], now: Circumstances, settings: &Settings) {
        let reads: Option<Vec<(u32, u64)>> =
            step.served.iter().map(|(node, reads)| Some((numbers[*node as usize], (*reads)?))).collect();
        let Some(mut reads) = reads.filter(|reads| !reads.is_empty()) else {
            self.unmeasured_min = self.unmeasured_min.saturating_add(1);
            return;
        };
        reads.sort_unstable_by_key(|(node, _)| *node);
        self.unmeasured_min = 0;
        let kept = (-1.0 / settings.share_half_life_min).exp2();
        self.weight = self.weight * kept + 1.0;
        let before = std::mem::take(&mut self.slots);
        self.slots = reads
            .iter()
            .map(|(node, reads)| {
                let old = before.binary_search_by_key(node, |slot| slot.node).ok().map(|at| &before[at]);
                let (recent, habitual) = old.map_or((0.0, 0.0), |slot| (slot.reads, slot.habitual));
                Slot {
                    node: *node,
                    reads: recent * kept + *reads as f64,
                    habitual: if now.frozen.is_some() && habitual > 0.0 {
                        habitual
                    } else {
                        habitual * KEPT_OF_A_DAY + *reads as f64
                    },
                }
            })
            .collect();
        self.keep_habit(&before, now.drained);
    }

    /// A holder whose reads were shifted is not eligible, and serves nothing; what was habitual is so again when they
    /// come back.
    fn keep_habit(&mut self, before: &[Slot], drained: Option<u32>) {
        let Some(drained) = drained else { return };
        let Err(place) = self.slots.binary_search_by_key(&drained, |slot| slot.node) else { return };
        if let Ok(at) = before.binary_search_by_key(&drained, |slot| slot.node) {
            self.slots.insert(place, Slot { reads: 0.0, ..before[at].clone() });
        }
    }

    /// Reads per second; `None` if they are not known.
    pub(crate) fn reads_per_s(&self, settings: &Settings) -> Option<f64> {
        let known = self.weight > 0.0 && self.unmeasured_min < settings.share_expires_min;
        known.then(|| {
            self.slots.iter().map(|slot| slot.reads).sum::<f64>() / self.weight * 1_000.0
                / settings.step_ms as f64
        })
    }

    /// Share of a node; `None` if the shares are not known.
    pub(crate) fn share(&self, node: u32, settings: &Settings) -> Option<f64> {
        self.share_by(node, settings, |slot| slot.reads)
    }

    /// Habitual share of a node; `None` if it is not known.
    pub(crate) fn habitual_share(&self, node: u32, settings: &Settings) -> Option<f64> {
        self.share_by(node, settings, |slot| slot.habitual)
    }

    fn share_by(&self, node: u32, settings: &Settings, reads: fn(&Slot) -> f64) -> Option<f64> {
        let sum: f64 = self.slots.iter().map(reads).sum();
        if sum < 1.0 || self.unmeasured_min >= settings.share_expires_min {
            return None;
        }
        let own = self.slots.binary_search_by_key(&node, |slot| slot.node).ok();
        Some(own.map_or(0.0, |at| reads(&self.slots[at])) / sum)
    }

    /// What the last windows say of a surge.
    pub(crate) fn surging(&self, settings: &Settings) -> SurgeVerdict {
        self.surge.verdict(&settings.surge)
    }

    /// The series of a kind and length.
    pub(crate) fn series(&mut self, kind: Kind, length: StepLength) -> Option<&mut Series> {
        match (kind, length) {
            (Kind::Node, StepLength::Minute) => Some(&mut self.minute),
            (Kind::Node, StepLength::Quarter) => Some(&mut self.quarter),
            (Kind::Node, StepLength::Hour) => Some(&mut self.hour),
            (Kind::Offset, StepLength::Quarter) => self.offset.as_mut().map(|signal| &mut signal.quarter),
            (Kind::Peer, StepLength::Quarter) => self.peer.as_mut().map(|signal| &mut signal.quarter),
            (Kind::Offset | Kind::Peer, StepLength::Minute | StepLength::Hour) => None,
        }
    }
}

/// What is left of a read after a minute in what is habitual: half after a day.
const KEPT_OF_A_DAY: f64 = 0.999_518_765_1;

fn status(entropy: &NodeEntropy) -> Status {
    match entropy {
        NodeEntropy::Known(_) => Status::Known,
        NodeEntropy::Unknown { .. } => Status::Unknown,
        NodeEntropy::NotApplicable { .. } => Status::NotApplicable,
        NodeEntropy::Insufficient { .. } => Status::Insufficient,
    }
}

fn habitual(baseline: Baseline) -> Habitual {
    let weeks = match baseline.source {
        HabitSource::HourOfWeek { weeks } => weeks,
        HabitSource::Recent => 0,
    };
    Habitual { value: baseline.value, mad: baseline.mad, weeks }
}

/// Updates a series; whether it waits for an order.
fn follow(series: &mut Series, h: Option<f64>) -> bool {
    match series.update(h) {
        Due::Nothing => false,
        Due::Refit => !series.refit(),
        Due::Select => true,
    }
}

fn judge(signal: &mut Option<Box<Signal>>, h: Option<f64>, now: Circumstances, settings: &Settings) {
    let h = h.and_then(Normalised::new);
    if signal.is_none() {
        if h.is_none() {
            return;
        }
        let quarter = Series::new(KEPT[1], 0);
        *signal = Some(Box::new(Signal { habit: Habit::default(), quarter, judged: NOTHING }));
    }
    if let Some(signal) = signal {
        let seen = signal.habit.observe(&settings.habit, now.start, h, now.frozen);
        let habitual = seen.baseline.map(habitual);
        signal.judged = Judged { h: h.map(Normalised::get), habitual, z: seen.z };
    }
}

fn quarter_of(signal: &mut Option<Box<Signal>>, h: Option<f64>) -> bool {
    signal.as_mut().is_some_and(|signal| follow(&mut signal.quarter, h))
}
