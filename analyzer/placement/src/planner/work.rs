//! The cluster as it will be when what was decided so far is done.
//!
//! A node's *pressure* is the higher of its shares of size and load over the mean of the nodes that are up: 1 is
//! even. Bytes are counted twice: as they will be at the end, for pressure; and as they can be at worst on the way,
//! with all that comes and without what leaves, for capacity. So every order of doing is feasible.

use super::choose::Choice;
use super::ways::Ways;
use crate::bound;
use crate::ids::{Level, Node, Partition};
use crate::partitions::{Assignment, NONE};
use crate::plan::{Action, Gain, Move, Plan, Pressure, Reason, Restore, Totals};
use crate::refusal::Refusal;
use crate::snapshot::Snapshot;
use crate::topology::{NodeState, Topology};

/// A snapshot, and what has been decided about it.
pub(crate) struct Work<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) assignment: Assignment,
    /// Nodes that are up: they count for the mean.
    pub(crate) up: Vec<bool>,
    /// Nodes that may take something.
    pub(crate) target: Vec<bool>,
    /// Bytes and load that each node will hold.
    pub(crate) bytes: Vec<f64>,
    pub(crate) load: Vec<f64>,
    /// Bytes it may take yet, what is on its way counted, what leaves not.
    pub(crate) room: Vec<f64>,
    /// Pressure of one byte, of one unit of load; 0 for a node that is not up.
    pub(crate) per_byte: Vec<f64>,
    pub(crate) per_load: Vec<f64>,
    /// Partitions decided about; nothing is moved twice by choice.
    pub(crate) moved: Vec<bool>,
    pub(crate) moves: Vec<Move>,
    pub(crate) refusals: Vec<Refusal>,
    /// Nodes that the plan is to fill.
    pub(crate) filling: Vec<Node>,
    /// Whether what is decided is advice for what is lost, and no move.
    pub(crate) restoring: bool,
    pub(crate) restores: Vec<Restore>,
    /// Bytes of moves by choice, which a budget bounds.
    pub(crate) chosen_bytes: u64,
    pub(crate) chosen_moves: u32,
    pub(crate) least_bytes: u64,
    /// One over the size and the load pressure that are tolerable: what there was at most before, what domains
    /// force, or what balancing would leave.
    pub(crate) ease: (f64, f64),
    /// Nodes that hold something now.
    pub(crate) held: Vec<bool>,
    /// All bytes and all load, of all replicas that are wanted.
    pub(crate) all: (f64, f64),
    /// What bytes and load are multiplied with for a score: pressure over what is tolerable.
    pub(crate) size_scale: Vec<f64>,
    pub(crate) load_scale: Vec<f64>,
    /// Infinite for nodes that are no target, else 0.
    pub(crate) shut: Vec<f64>,
    /// How many of them are no target for their state or capacity, and for their risk.
    pub(crate) no_targets: (u16, u16),
    /// The nodes inside each domain.
    pub(crate) inside: Vec<Vec<Node>>,
    /// How slow ways are.
    pub(crate) ways: Ways,
    /// The lowest highest size pressure that domains allow.
    feasible: f64,
    before: Pressure,
}

impl<'a> Work<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot) -> Self {
        let topology = snapshot.topology();
        let nodes = topology.nodes();
        let policy = snapshot.policy();
        let up: Vec<bool> = nodes.iter().map(|node| node.state == NodeState::Up).collect();
        let target = nodes
            .iter()
            .map(|node| {
                let safe = policy.risk_limit.is_none_or(|limit| node.risk.is_none_or(|risk| risk <= limit));
                node.takes() && safe
            })
            .collect();
        let (bytes, load) = held(snapshot, snapshot.assignment());
        let mut work = Self {
            snapshot,
            assignment: snapshot.assignment().clone(),
            room: nodes
                .iter()
                .zip(&bytes)
                .map(|(node, held)| node.capacity_bytes as f64 * policy.fill_limit - held)
                .collect(),
            up,
            target,
            per_byte: Vec::new(),
            per_load: Vec::new(),
            moved: vec![false; snapshot.partitions().len()],
            moves: Vec::new(),
            refusals: Vec::new(),
            filling: Vec::new(),
            restoring: false,
            restores: Vec::new(),
            chosen_bytes: 0,
            chosen_moves: 0,
            least_bytes: 0,
            ease: (1.0, 1.0),
            held: held_at_all(snapshot),
            size_scale: Vec::new(),
            load_scale: Vec::new(),
            shut: Vec::new(),
            no_targets: (0, 0),
            inside: inside(topology),
            all: (0.0, 0.0),
            ways: Ways::new(topology),
            feasible: 1.0,
            before: Pressure { size: None, load: None },
            bytes,
            load,
        };
        work.count_in_flight();
        work.set_scale();
        work.before = work.pressures();
        work.feasible = bound::pressure(snapshot);
        let least = (1.0 + policy.balance).max(work.feasible);
        let ease = |highest: Option<f64>| 1.0 / highest.unwrap_or(least).max(least);
        work.ease = (ease(work.before.size), ease(work.before.load));
        work.size_scale = work.per_byte.iter().map(|per| per * work.ease.0).collect();
        work.load_scale = work.per_load.iter().map(|per| per * work.ease.1).collect();
        work.shut = work.target.iter().map(|target| if *target { 0.0 } else { f64::INFINITY }).collect();
        let unusable = nodes.iter().filter(|node| !node.takes()).count();
        let shut = work.target.iter().filter(|target| !**target).count();
        work.no_targets = (unusable as u16, (shut - unusable) as u16);
        work
    }

    /// Copies under way end: what they bring is there, what they replace is gone, and both take room until then.
    fn count_in_flight(&mut self) {
        let partitions = self.snapshot.partitions();
        for copy in self.snapshot.in_flight() {
            let at = copy.partition.at();
            let (size, load) = (partitions.size_bytes[at] as f64, partitions.load[at]);
            self.moved[at] = true;
            self.assignment.replace(copy.partition, copy.from, copy.to);
            self.bytes[copy.to.at()] += size;
            self.load[copy.to.at()] += load;
            self.room[copy.to.at()] -= size;
            if let Some(from) = copy.from {
                self.bytes[from.at()] -= size;
                self.load[from.at()] -= load;
            }
        }
    }

    /// Pressure is relative to the mean if all replicas that are wanted lay on nodes that are up.
    fn set_scale(&mut self) {
        let partitions = self.snapshot.partitions();
        let (mut bytes, mut load) = (0.0, 0.0);
        for partition in partitions.all() {
            let replicas = f64::from(partitions.replicas.get(partition));
            bytes += replicas * partitions.size_bytes[partition.at()] as f64;
            load += replicas * partitions.load[partition.at()];
        }
        self.all = (bytes, load);
        let nodes = self.snapshot.topology().nodes();
        let of_up = |value: &dyn Fn(usize) -> f64| -> f64 {
            (0..nodes.len()).filter(|at| self.up[*at]).map(value).sum()
        };
        let capacity = of_up(&|at| nodes[at].capacity_bytes as f64);
        let load_capacity = of_up(&|at| nodes[at].load_capacity.unwrap_or(0.0));
        let scale = |total: f64, all: f64, own: f64, up: bool| {
            if up && total > 0.0 && own > 0.0 { all / (total * own) } else { 0.0 }
        };
        self.per_byte = (0..nodes.len())
            .map(|at| scale(bytes, capacity, nodes[at].capacity_bytes as f64, self.up[at]))
            .collect();
        self.per_load = (0..nodes.len())
            .map(|at| scale(load, load_capacity, nodes[at].load_capacity.unwrap_or(0.0), self.up[at]))
            .collect();
    }

    pub(crate) fn size_pressure(&self, node: usize) -> f64 {
        self.bytes[node] * self.per_byte[node]
    }

    pub(crate) fn load_pressure(&self, node: usize) -> f64 {
        self.load[node] * self.per_load[node]
    }

    pub(crate) fn pressure(&self, node: usize) -> f64 {
        self.size_pressure(node).max(self.load_pressure(node))
    }

    /// Pressure as a share of what is tolerable, in the dimension that is nearer to it.
    pub(crate) fn strain(&self, node: usize) -> f64 {
        (self.bytes[node] * self.size_scale[node]).max(self.load[node] * self.load_scale[node])
    }

    pub(crate) fn size_of(&self, partition: Partition) -> f64 {
        self.snapshot.partitions().size_bytes[partition.at()] as f64
    }

    pub(crate) fn load_of(&self, partition: Partition) -> f64 {
        self.snapshot.partitions().load[partition.at()]
    }

    pub(crate) fn share_of_bytes(&self, bytes: f64) -> f64 {
        if self.all.0 > 0.0 { bytes / self.all.0 } else { 0.0 }
    }

    pub(crate) fn share_of_load(&self, load: f64) -> f64 {
        if self.all.1 > 0.0 { load / self.all.1 } else { 0.0 }
    }

    /// How much of so many bytes and so much load a node takes until its pressure is what is tolerable, 0 to 1.
    pub(crate) fn share_until_tolerable(&self, node: Node, bytes: f64, load: f64) -> f64 {
        let at = node.at();
        let share = |has: f64, more: f64, ease: f64| {
            if more * ease > 0.0 { ((1.0 - has * ease) / (more * ease)).clamp(0.0, 1.0) } else { 1.0 }
        };
        let size = share(self.size_pressure(at), bytes * self.per_byte[at], self.ease.0);
        size.min(share(self.load_pressure(at), load * self.per_load[at], self.ease.1))
    }

    /// How much the loss of a partition would hurt: risk times impact; unknown is less than anything known.
    pub(crate) fn urgency(&self, partition: Partition) -> f64 {
        let partitions = self.snapshot.partitions();
        let (risk, impact) = (partitions.risk.get(partition), partitions.impact.get(partition));
        let known = |value: f32, or: f64| if value.is_nan() { or } else { f64::from(value) };
        if risk.is_nan() && impact.is_nan() { -1.0 } else { known(risk, 1.0) * known(impact, 1.0) }
    }

    pub(crate) fn dead_band(&self) -> f64 {
        self.snapshot.policy().dead_band
    }

    /// Whether a partition may be moved without need: it is not pinned, and nothing was decided about it.
    pub(crate) fn may_move(&self, partition: Partition) -> bool {
        !self.moved[partition.at()] && !self.snapshot.partitions().pinned.get(partition)
    }

    /// Highest pressures over the mean, of the nodes that are up.
    pub(crate) fn pressures(&self) -> Pressure {
        let highest = |per: &[f64], of: &dyn Fn(usize) -> f64| {
            let any = (0..per.len()).any(|at| per[at] > 0.0);
            any.then(|| (0..per.len()).filter(|at| self.up[*at]).map(of).fold(0.0, f64::max))
        };
        Pressure {
            size: highest(&self.per_byte, &|at| self.size_pressure(at)),
            load: highest(&self.per_load, &|at| self.load_pressure(at)),
        }
    }

    /// Whether the partition left that node within the window.
    pub(crate) fn returned(&self, partition: Partition, to: Node) -> bool {
        let partitions = self.snapshot.partitions();
        let window = self.snapshot.policy().no_return_s;
        partitions.last_left.get(partition) == Some(to)
            && partitions
                .moved_at_s
                .get(partition)
                .is_some_and(|at| self.snapshot.now_s().saturating_sub(at) < window)
    }

    /// When a partition that moved not long ago may move again by choice.
    pub(crate) fn cooling_until_s(&self, partition: Partition) -> Option<u32> {
        let until = self
            .snapshot
            .partitions()
            .moved_at_s
            .get(partition)?
            .saturating_add(self.snapshot.policy().cool_down_s);
        (until > self.snapshot.now_s()).then_some(until)
    }

    /// Decides a copy: the assignment and the counts are as if it were done.
    pub(crate) fn copy(
        &mut self,
        partition: Partition,
        from: Option<Node>,
        reason: Reason,
        gain: Gain,
        choice: Choice,
    ) {
        let (size, load) = (self.size_of(partition), self.load_of(partition));
        let to = choice.node;
        let fits = self.assignment.replace(partition, from, to);
        debug_assert!(fits, "{partition:?} has no {from:?} to replace");
        if let Some(from) = from {
            self.bytes[from.at()] -= size;
            self.load[from.at()] -= load;
        }
        self.bytes[to.at()] += size;
        self.load[to.at()] += load;
        self.room[to.at()] -= size;
        self.moved[partition.at()] = true;
        let partitions = self.snapshot.partitions();
        if self.restoring {
            let bytes = partitions.size_bytes[partition.at()];
            self.restores.push(Restore { partition, from, to, bytes });
            return;
        }
        self.moves.push(Move {
            partition,
            action: Action::Copy { from, to },
            bytes: partitions.size_bytes[partition.at()],
            epoch: partitions.epoch.get(partition),
            reason,
            gain,
            score: choice.score,
            runner_up: choice.runner_up,
            rejected: choice.rejected,
        });
    }

    /// The plan of what was decided.
    pub(crate) fn finish(self) -> Plan {
        let totals = Totals {
            bytes: self.moves.iter().map(|decided| decided.bytes).sum(),
            least_bytes: self.least_bytes,
            before: self.before,
            after: self.pressures(),
            feasible: self.feasible,
        };
        Plan::new(self.snapshot.revision(), self.moves, self.refusals, totals).with_restores(self.restores)
    }
}

/// Bytes and load that each node holds.
fn held(snapshot: &Snapshot, assignment: &Assignment) -> (Vec<f64>, Vec<f64>) {
    let nodes = snapshot.topology().nodes().len();
    let partitions = snapshot.partitions();
    let (mut bytes, mut load) = (vec![0.0; nodes], vec![0.0; nodes]);
    let rows = assignment.slots().chunks_exact(assignment.width());
    for ((row, size), weight) in rows.zip(&partitions.size_bytes).zip(&partitions.load) {
        for slot in row.iter().filter(|slot| **slot != NONE) {
            bytes[usize::from(*slot)] += *size as f64;
            load[usize::from(*slot)] += weight;
        }
    }
    (bytes, load)
}

fn held_at_all(snapshot: &Snapshot) -> Vec<bool> {
    let mut held = vec![false; snapshot.topology().nodes().len()];
    let slots = snapshot.assignment().slots().iter().filter(|slot| **slot != NONE);
    slots.for_each(|slot| held[usize::from(*slot)] = true);
    held
}

/// The nodes inside each domain, of all levels.
fn inside(topology: &Topology) -> Vec<Vec<Node>> {
    let mut inside = vec![Vec::new(); topology.domains().len()];
    for level in (0..topology.levels().len()).map(|level| Level(level as u8)) {
        for node in topology.all() {
            inside[topology.domain_of(node, level).at()].push(node);
        }
    }
    inside
}

#[cfg(test)]
pub(crate) mod tests;
