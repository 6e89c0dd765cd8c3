//! The events: copies start, end, and wake what waits for what they held.
//!
//! A job that cannot start waits in the queue of one thing that holds it back at its target (slots and budget, or
//! room), or else in those of what holds back each of its sources. Whatever ends frees some of these, and their queues
//! are tried, most urgent first over all of them. Every queue's thing is held by copies that run, so each queue is
//! tried again; when nothing runs, all that wait are tried once more, and if none starts they are stuck.

use super::jobs::{Ends, Job, Jobs};
use super::least::least_ms;
use super::network::{Network, UNBOUNDED, duration_ms};
use super::{Doing, Schedule, Span, Step, Stuck, StuckCause, Times};
use crate::hash::draw;
use crate::ids::Node;
use crate::plan::PlanHash;
use crate::snapshot::Snapshot;
use crate::topology::NodeState;
use std::cmp::Ordering;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A heap with the least on top.
type Least<T> = BinaryHeap<Reverse<T>>;

pub(super) struct Run<'a> {
    snapshot: &'a Snapshot,
    jobs: &'a Jobs,
    network: &'a Network<'a>,
    now_ms: u64,
    left_in: Vec<u64>,
    left_out: Vec<u64>,
    lanes: Vec<u64>,
    slots: Vec<Slots>,
    room: Vec<Room>,
    /// Bytes that each node has fed.
    fed: Vec<u128>,
    /// Ranks of jobs that wait, and their tickets; see [`Run::queue`].
    queues: Vec<Least<(u32, u32)>>,
    /// For each job, how often it was tried: an entry of a queue with another ticket is of the past.
    tickets: Vec<u32>,
    started: Vec<Option<Started>>,
    /// The wave after the partition's move before.
    after: Vec<u32>,
    ends: Least<(u64, u32)>,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, Copy)]
struct Started {
    source: Node,
    wave: u32,
    rate: u64,
}

/// The copies a node may take part in.
#[derive(Clone, Default)]
struct Slots {
    /// Slots never used.
    fresh: u16,
    /// Slots that are free again, by the wave that may use them.
    used: Least<u32>,
}

/// The bytes a node may take.
#[derive(Clone, Copy)]
struct Room {
    /// As it is.
    left: i128,
    /// As if nothing had left. Below 0, room that others left is used.
    unfreed: i128,
    /// The first wave in which all that has left is gone.
    freed_in: u32,
}

/// What a job waits for.
#[derive(Clone, Copy)]
enum Wait {
    In(Node),
    Out(Node),
    Room(Node),
    Lane(u32),
}

impl Slots {
    fn free(&self) -> bool {
        self.fresh > 0 || !self.used.is_empty()
    }

    /// Takes the slot that the earliest wave may use, and names that wave.
    fn take(&mut self) -> u32 {
        if self.fresh > 0 {
            self.fresh -= 1;
            return 0;
        }
        self.used.pop().map_or(0, |Reverse(wave)| wave)
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, jobs: &'a Jobs, network: &'a Network<'a>) -> Self {
        let nodes = snapshot.topology().nodes().len();
        let copies = snapshot.policy().node_copies;
        let mut slots = vec![Slots { fresh: copies, used: Least::new() }; nodes];
        for copy in snapshot.in_flight() {
            let live = |node: &Node| snapshot.topology().node(*node).state != NodeState::Down;
            for node in [Some(copy.to), copy.from.filter(live)].into_iter().flatten() {
                slots[node.at()].fresh = slots[node.at()].fresh.saturating_sub(1);
            }
        }
        let known = |rates: &[u64]| if jobs.timed { rates.to_vec() } else { vec![UNBOUNDED; rates.len()] };
        Self {
            snapshot,
            jobs,
            network,
            now_ms: 0,
            left_in: known(&network.left_in),
            left_out: known(&network.left_out),
            lanes: known(&network.lanes),
            slots,
            room: room(snapshot),
            fed: vec![0; nodes],
            queues: vec![Least::new(); 3 * nodes + network.lanes.len()],
            tickets: vec![0; jobs.all.len()],
            started: vec![None; jobs.all.len()],
            after: vec![0; jobs.all.len()],
            ends: Least::new(),
            steps: Vec::with_capacity(jobs.all.len()),
        }
    }

    /// Runs to the end.
    pub(super) fn finish(mut self, plan: PlanHash) -> Schedule {
        let firsts = |shift: bool| {
            let all = self.jobs.all.iter().enumerate();
            let firsts = all.filter(move |(_, job)| job.first && job.copy.is_none() == shift);
            firsts.map(|(rank, _)| rank as u32).collect::<Vec<u32>>()
        };
        let (shifts, copies) = (firsts(true), firsts(false));
        let mut ready: Vec<u32> = shifts.into_iter().filter_map(|rank| self.shift(rank)).collect();
        ready.extend(copies);
        ready.sort_unstable();
        loop {
            for rank in ready.drain(..) {
                self.attempt(rank);
            }
            while let Some(Reverse((end_ms, _))) = self.ends.peek().copied() {
                self.now_ms = end_ms;
                self.end_all();
            }
            let waits =
                |rank: &u32| self.tickets[*rank as usize] > 0 && self.started[*rank as usize].is_none();
            let waiting: Vec<u32> = (0..self.jobs.all.len() as u32).filter(waits).collect();
            let mut any = false;
            for rank in waiting {
                any |= self.attempt(rank);
            }
            if !any {
                break;
            }
        }
        self.report(plan)
    }

    /// Does a move without bytes and those that follow it, and gives the copy after them.
    fn shift(&mut self, mut rank: u32) -> Option<u32> {
        loop {
            let job = &self.jobs.all[rank as usize];
            if job.copy.is_some() {
                return Some(rank);
            }
            let wave = self.after[rank as usize];
            self.started[rank as usize] = Some(Started { source: Node(0), wave, rate: 0 });
            let at_ms = self.jobs.timed.then_some(self.now_ms);
            self.steps.push(Step { position: job.position, wave, doing: Doing::Shift { at_ms } });
            let next = job.next?;
            self.after[next as usize] = wave;
            rank = next;
        }
    }

    /// Starts a copy if that is possible; if not, it waits. Whether it started.
    fn attempt(&mut self, rank: u32) -> bool {
        let jobs = self.jobs;
        let job = &jobs.all[rank as usize];
        let Some(ends) = &job.copy else { return false };
        self.tickets[rank as usize] += 1;
        let to = ends.to.at();
        if !self.slots[to].free() || self.left_in[to] < ends.least_rate {
            self.wait(rank, Wait::In(ends.to));
            return false;
        }
        if job.bytes > 0 && self.room[to].left < i128::from(job.bytes) {
            self.wait(rank, Wait::Room(ends.to));
            return false;
        }
        let able = |source: &Node| Some((*source, self.rate(*source, ends).ok()?));
        let best = jobs.sources(ends).iter().filter_map(able).min_by(|a, b| self.prefer(job, *a, *b));
        let Some((source, rate)) = best else {
            for source in jobs.sources(ends) {
                if let Err(wait) = self.rate(*source, ends) {
                    self.wait(rank, wait);
                }
            }
            return false;
        };
        self.start(rank, job, ends, source, rate);
        true
    }

    /// Which of two sources, with the rates they could feed at, is to feed a copy: the faster, else the one that fed
    /// less, else by the draw.
    fn prefer(&self, job: &Job, a: (Node, u64), b: (Node, u64)) -> Ordering {
        let drawn = |node: Node| {
            let key = self.snapshot.partitions().key[job.partition.at()];
            (draw(key, self.snapshot.topology().node(node).key), node)
        };
        let faster = b.1.cmp(&a.1).then_with(|| self.fed[a.0.at()].cmp(&self.fed[b.0.at()]));
        faster.then_with(|| drawn(a.0).cmp(&drawn(b.0)))
    }

    /// How fast a source could feed a copy at once, or what it waits for.
    fn rate(&self, source: Node, ends: &Ends) -> Result<u64, Wait> {
        let out = self.left_out[source.at()];
        if !self.slots[source.at()].free() || out < ends.least_rate {
            return Err(Wait::Out(source));
        }
        let mut rate = out.min(self.left_in[ends.to.at()]);
        for lane in self.network.crossed(source, ends.to) {
            let left = self.lanes[lane as usize];
            if left < ends.least_rate && self.jobs.timed {
                return Err(Wait::Lane(lane));
            }
            rate = rate.min(left);
        }
        Ok(rate)
    }

    fn wait(&mut self, rank: u32, wait: Wait) {
        let queue = self.queue(wait);
        self.queues[queue].push(Reverse((rank, self.tickets[rank as usize])));
    }

    fn queue(&self, wait: Wait) -> usize {
        let nodes = self.slots.len();
        match wait {
            Wait::In(node) => node.at(),
            Wait::Out(node) => nodes + node.at(),
            Wait::Room(node) => 2 * nodes + node.at(),
            Wait::Lane(lane) => 3 * nodes + lane as usize,
        }
    }

    fn start(&mut self, rank: u32, job: &Job, ends: &Ends, source: Node, rate: u64) {
        let to = ends.to.at();
        let mut wave = self.after[rank as usize];
        wave = wave.max(self.slots[to].take()).max(self.slots[source.at()].take());
        let room = &mut self.room[to];
        room.left -= i128::from(job.bytes);
        room.unfreed -= i128::from(job.bytes);
        if room.unfreed < 0 {
            wave = wave.max(room.freed_in);
        }
        self.fed[source.at()] += u128::from(job.bytes.max(1));
        self.spend(source, ends.to, |left| *left -= rate);
        self.started[rank as usize] = Some(Started { source, wave, rate });
        let duration_ms = if self.jobs.timed { duration_ms(job.bytes, rate) } else { 1 };
        let end_ms = self.now_ms.saturating_add(duration_ms);
        self.ends.push(Reverse((end_ms, rank)));
        let span = Span { start_ms: self.now_ms, end_ms, bytes_per_s: rate };
        let doing = Doing::Copy { source, span: self.jobs.timed.then_some(span) };
        self.steps.push(Step { position: job.position, wave, doing });
    }

    /// Changes what is left of all that a copy takes.
    fn spend(&mut self, source: Node, to: Node, change: impl Fn(&mut u64)) {
        let lanes = &mut self.lanes;
        let bounded = |left: &mut u64| {
            if *left != UNBOUNDED {
                change(left);
            }
        };
        bounded(&mut self.left_out[source.at()]);
        bounded(&mut self.left_in[to.at()]);
        for lane in self.network.crossed(source, to) {
            bounded(&mut lanes[lane as usize]);
        }
    }

    /// Ends all copies that end at this moment, then starts what they made possible.
    fn end_all(&mut self) {
        let mut freed: Vec<usize> = Vec::new();
        let mut ready: Vec<u32> = Vec::new();
        while let Some(Reverse((end_ms, rank))) = self.ends.peek().copied() {
            if end_ms > self.now_ms {
                break;
            }
            self.ends.pop();
            ready.extend(self.end(rank, &mut freed));
        }
        let mut active: Least<(u32, usize)> = Least::new();
        for rank in ready {
            // A job that has just become ready is tried in its turn among those that waited.
            active.push(Reverse((rank, usize::MAX)));
        }
        freed.sort_unstable();
        freed.dedup();
        for queue in freed {
            active.extend(self.top(queue).map(|rank| Reverse((rank, queue))));
        }
        while let Some(Reverse((rank, queue))) = active.pop() {
            if queue == usize::MAX {
                self.attempt(rank);
                continue;
            }
            if !self.usable(queue, rank) {
                continue;
            }
            let top = self.top(queue);
            if top == Some(rank) {
                self.queues[queue].pop();
                let held = !self.attempt(rank) && self.top(queue) == Some(rank);
                if held {
                    continue;
                }
            }
            active.extend(self.top(queue).map(|rank| Reverse((rank, queue))));
        }
    }

    /// Ends a copy, names what that frees, and gives the partition's next copy.
    fn end(&mut self, rank: u32, freed: &mut Vec<usize>) -> Option<u32> {
        let jobs = self.jobs;
        let job = &jobs.all[rank as usize];
        let (Some(ends), Some(started)) = (&job.copy, self.started[rank as usize]) else { return None };
        let next_wave = started.wave + 1;
        self.spend(started.source, ends.to, |left| *left += started.rate);
        for node in [started.source, ends.to] {
            self.slots[node.at()].used.push(Reverse(next_wave));
            freed.extend([self.queue(Wait::In(node)), self.queue(Wait::Out(node))]);
        }
        freed.extend(self.network.crossed(started.source, ends.to).map(|lane| self.queue(Wait::Lane(lane))));
        if let Some(from) = ends.from {
            let room = &mut self.room[from.at()];
            room.left += i128::from(job.bytes);
            room.freed_in = room.freed_in.max(next_wave);
            freed.push(self.queue(Wait::Room(from)));
        }
        let next = job.next?;
        self.after[next as usize] = next_wave;
        self.shift(next)
    }

    /// The most urgent of a queue.
    fn top(&mut self, queue: usize) -> Option<u32> {
        while let Some(Reverse((rank, ticket))) = self.queues[queue].peek().copied() {
            if self.tickets[rank as usize] == ticket && self.started[rank as usize].is_none() {
                return Some(rank);
            }
            self.queues[queue].pop();
        }
        None
    }

    /// Whether what a queue waits for may have enough left for a job. If not for the most urgent, the queue rests.
    fn usable(&self, queue: usize, rank: u32) -> bool {
        let nodes = self.slots.len();
        if queue >= 2 * nodes {
            return true;
        }
        let (node, left) =
            if queue < nodes { (queue, &self.left_in) } else { (queue - nodes, &self.left_out) };
        let least_rate = self.jobs.all[rank as usize].copy.as_ref().map_or(0, |ends| ends.least_rate);
        self.slots[node].free() && left[node] >= least_rate
    }

    fn report(self, plan: PlanHash) -> Schedule {
        let done = |rank: usize| self.started[rank].is_some();
        let mut stuck = self.jobs.stuck.clone();
        let mut before: Vec<Option<u32>> = vec![None; self.jobs.all.len()];
        for job in &self.jobs.all {
            if let Some(next) = job.next {
                before[next as usize] = Some(job.position);
            }
        }
        for (rank, job) in self.jobs.all.iter().enumerate().filter(|(rank, _)| !done(*rank)) {
            let never_tried = self.tickets[rank] == 0;
            let cause = match (before[rank], &job.copy) {
                (Some(position), _) if never_tried => StuckCause::After { position },
                (_, Some(ends)) => self.cause(job, ends),
                (_, None) => StuckCause::DoesNotFit,
            };
            stuck.push(Stuck { position: job.position, cause });
        }
        stuck.sort_unstable_by_key(|stuck| stuck.position);
        debug_assert_eq!(self.steps.len() + stuck.len(), self.jobs.moves, "every move is done or stuck");
        let times = self
            .jobs
            .timed
            .then(|| Times { makespan_ms: self.now_ms, bound_ms: least_ms(self.jobs, self.network, &done) });
        let waves = self.steps.iter().map(|step| step.wave + 1).max().unwrap_or(0);
        Schedule { plan, steps: self.steps, stuck, waves, times }
    }

    fn cause(&self, job: &Job, ends: &Ends) -> StuckCause {
        let room = self.room[ends.to.at()].left;
        if !self.slots[ends.to.at()].free() {
            StuckCause::Busy { node: ends.to }
        } else if job.bytes > 0 && room < i128::from(job.bytes) {
            let room_bytes = u64::try_from(room.max(0)).unwrap_or(u64::MAX);
            StuckCause::Room { node: ends.to, needs_bytes: job.bytes, room_bytes }
        } else {
            StuckCause::Busy { node: self.jobs.sources(ends).first().copied().unwrap_or(ends.to) }
        }
    }
}

/// What each node may take yet: what it holds and what is on its way to it counted.
fn room(snapshot: &Snapshot) -> Vec<Room> {
    let sizes = &snapshot.partitions().size_bytes;
    let mut held = vec![0i128; snapshot.topology().nodes().len()];
    for (partition, size) in snapshot.partitions().all().zip(sizes) {
        for node in snapshot.assignment().subset(partition) {
            held[node.at()] += i128::from(*size);
        }
    }
    for copy in snapshot.in_flight() {
        held[copy.to.at()] += i128::from(sizes[copy.partition.at()]);
    }
    let nodes = snapshot.topology().nodes().iter().zip(held);
    nodes
        .map(|(node, held)| {
            let limit = (node.capacity_bytes as f64 * snapshot.policy().fill_limit) as i128;
            Room { left: limit - held, unfreed: limit - held, freed_in: 0 }
        })
        .collect()
}
