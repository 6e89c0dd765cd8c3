//! A made-up cluster as it goes: who is up, who serves what, what clients lose.
//!
//! One tick after the other: nodes come back, reads go to who serves, losses are counted, nodes fail and go gray, what
//! was lost is made again, copies end. A policy looks at what can be seen between two ticks and commands.

mod losses;
mod nodes;
mod repair;

pub use losses::{Failed, Fault, Incident, Record, Toll};

use crate::world::{REPLICAS, Shares, TICK_MIN, World, normed};
use nodes::Nodes;
use repair::Repair;

/// What a policy can have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// A replica is copied to another node, which takes its slot.
    Copy {
        /// Of what.
        partition: usize,
        /// The slot that is taken over.
        slot: usize,
        /// Where to.
        to: u16,
    },
    /// The replica of a slot becomes the leader; it and slot 0 change places.
    Lead {
        /// Of what.
        partition: usize,
        /// The slot of the leader to be.
        slot: usize,
    },
    /// The replica of a slot serves next to nothing; at most one of each partition.
    Drain {
        /// Of what.
        partition: usize,
        /// Its slot.
        slot: usize,
    },
    /// All replicas serve.
    Undrain {
        /// Of what.
        partition: usize,
    },
}

/// A copy under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copying {
    /// Of what.
    pub partition: usize,
    /// The slot that is taken over.
    pub slot: usize,
    /// Its holder.
    pub from: u16,
    /// Its holder to be.
    pub to: u16,
    /// Tick at which it ends.
    pub ends: usize,
}

/// A cluster at a tick.
pub(crate) struct Cluster<'w> {
    pub(crate) world: &'w World,
    pub(crate) tick: usize,
    /// Holders of each partition by slot.
    pub(crate) holders: Vec<[u16; REPLICAS]>,
    /// The slot of each partition that is drained.
    pub(crate) drained: Vec<Option<u8>>,
    pub(crate) copies: Vec<Copying>,
    pub(crate) nodes: Nodes,
    repairs: Vec<Repair>,
    /// Reads per minute of each partition in this tick.
    pub(crate) rate: Vec<f64>,
    /// Shares of the slots in this tick; all 0 where nobody serves.
    pub(crate) served: Vec<Shares>,
    pub(crate) toll: Toll,
    pub(crate) record: Record,
}

impl<'w> Cluster<'w> {
    pub(crate) fn new(world: &'w World) -> Self {
        let partitions = world.start().len();
        Self {
            world,
            tick: 0,
            holders: world.start().to_vec(),
            drained: vec![None; partitions],
            copies: Vec::new(),
            nodes: Nodes::new(world.nodes().len()),
            repairs: Vec::new(),
            rate: vec![0.0; partitions],
            served: vec![[0.0; REPLICAS]; partitions],
            toll: Toll::default(),
            record: Record::default(),
        }
    }

    /// Lets a tick pass.
    pub(crate) fn pass(&mut self, tick: usize) {
        self.tick = tick;
        self.nodes.come_back(tick);
        self.serve();
        if tick < self.world.first_tick() {
            return;
        }
        self.count_losses();
        let failed = self.nodes.fail(self.world, tick);
        self.lose(&failed);
        self.nodes.turn_gray(self.world, tick);
        self.begin_repairs();
        self.repair();
        self.end_copies();
    }

    /// Does what a policy says. Whether it could be done: what is up, held and apart decides, not whether it is wise.
    pub(crate) fn obey(&mut self, command: Command) -> bool {
        match command {
            Command::Copy { partition, slot, to } => self.begin_copy(partition, slot, to),
            Command::Lead { partition, slot } => {
                if slot == 0 || slot >= REPLICAS || !self.is_up(partition, slot) {
                    return false;
                }
                self.pause(partition, 0);
                self.holders[partition].swap(0, slot);
                let swap = |at: u8| match usize::from(at) {
                    0 => slot as u8,
                    own if own == slot => 0,
                    _ => at,
                };
                self.drained[partition] = self.drained[partition].map(swap);
                // A copy goes on for the holder that it replaces, whose slot is another one by this.
                for copy in self.copies.iter_mut().filter(|copy| copy.partition == partition) {
                    copy.slot = usize::from(swap(copy.slot as u8));
                }
                self.record.shifts += 1;
                true
            }
            Command::Drain { partition, slot } => {
                if slot >= REPLICAS || self.drained[partition].is_some() {
                    return false;
                }
                self.pause(partition, slot);
                self.drained[partition] = Some(slot as u8);
                self.record.shifts += 1;
                true
            }
            Command::Undrain { partition } => self.drained[partition].take().is_some(),
        }
    }

    pub(crate) fn is_up(&self, partition: usize, slot: usize) -> bool {
        self.nodes.up[usize::from(self.holders[partition][slot])]
    }

    /// Whether a node lies in another rack than all holders but that of a slot.
    pub(crate) fn is_apart(&self, partition: usize, slot: usize, node: u16) -> bool {
        let rack = |node: u16| self.world.nodes()[usize::from(node)].rack;
        let others = (0..REPLICAS).filter(|at| *at != slot).map(|at| self.holders[partition][at]);
        others.into_iter().all(|other| other != node && rack(other) != rack(node))
    }

    fn serve(&mut self) {
        let gray = self.world.spec().gray;
        let drained_left = self.world.spec().copying.drained_left;
        self.nodes.load.fill(0.0);
        for partition in 0..self.holders.len() {
            let natural = self.world.shares(self.tick, partition);
            let rate = self.world.rate(self.tick, partition);
            let holders = self.holders[partition];
            let served: Shares = std::array::from_fn(|slot| {
                let node = usize::from(holders[slot]);
                let drained = self.drained[partition] == Some(slot as u8);
                let avoided = natural[0] <= LED && self.nodes.is_gray(node, self.tick);
                natural[slot]
                    * f64::from(u8::from(self.nodes.up[node]))
                    * if drained { drained_left } else { 1.0 }
                    * if avoided { gray.share_left } else { 1.0 }
            });
            let served = if served.iter().sum::<f64>() > 0.0 { normed(served) } else { [0.0; REPLICAS] };
            for (node, share) in holders.iter().zip(served) {
                self.nodes.load[usize::from(*node)] += share * rate;
            }
            self.served[partition] = served;
            self.rate[partition] = rate;
        }
        let of_copies = self.world.spec().copying.utilisation;
        for (at, truth) in self.world.nodes().iter().enumerate() {
            let left = if self.nodes.is_gray(at, self.tick) { gray.capacity_left } else { 1.0 };
            self.nodes.utilisation[at] =
                self.nodes.load[at] / (truth.capacity * left) + of_copies * f64::from(self.nodes.copies[at]);
        }
    }

    fn begin_copy(&mut self, partition: usize, slot: usize, to: u16) -> bool {
        let copied = self.copies.iter().any(|copy| copy.partition == partition);
        if slot >= REPLICAS
            || copied
            || !self.nodes.up[usize::from(to)]
            || !self.is_apart(partition, slot, to)
        {
            return false;
        }
        let from = self.holders[partition][slot];
        if from == to {
            return false;
        }
        let costs = self.world.spec().copying;
        let size = self.world.sizes()[partition];
        let minutes = size * costs.minutes;
        self.pause(partition, slot);
        self.toll.copy += costs.lost * self.rate[partition] * minutes;
        self.record.bytes += size;
        self.record.moves += 1;
        let ends = self.tick + ((minutes / TICK_MIN).round() as usize).max(1);
        self.nodes.copies[usize::from(from)] += 1;
        self.nodes.copies[usize::from(to)] += 1;
        self.copies.push(Copying { partition, slot, from, to, ends });
        true
    }

    fn end_copies(&mut self) {
        let (ended, open) = self.copies.drain(..).partition(|copy: &Copying| copy.ends <= self.tick);
        self.copies = open;
        let ended: Vec<Copying> = ended;
        for copy in ended {
            self.nodes.copies[usize::from(copy.from)] -= 1;
            self.nodes.copies[usize::from(copy.to)] -= 1;
            let held = self.holders[copy.partition][copy.slot] == copy.from;
            let fits =
                self.nodes.up[usize::from(copy.to)] && self.is_apart(copy.partition, copy.slot, copy.to);
            if held && fits {
                self.put(copy.partition, copy.slot, copy.to);
            } else {
                self.record.aborted += 1;
            }
        }
    }

    fn put(&mut self, partition: usize, slot: usize, node: u16) {
        self.holders[partition][slot] = node;
        if self.drained[partition] == Some(slot as u8) {
            self.drained[partition] = None;
        }
    }

    fn pause(&mut self, partition: usize, slot: usize) {
        let minutes = self.world.spec().copying.pause_s / 60.0;
        self.toll.copy += minutes * self.rate[partition] * self.served[partition][slot];
    }
}

/// Share of the leader from which on nobody else is asked.
const LED: f64 = 0.9;
