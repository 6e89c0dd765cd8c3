//! A cluster as it will be when copies under way have ended, as far as it is known, and what partitions lose in it.

use crate::analyst::{Analyst, Expect, Hazards};
use crate::cluster::Cluster;
use crate::policy::{Limits, Parts};
use crate::world::{REPLICAS, Shares, normed};
use isotherm_risk::{
    Bearing, Destination, Domain, Domains, ExposurePolicy, Field, FieldPolicy, Gain, GatePolicy, Holding,
    LossParts, LossPolicy, Mode, Node, Redundancy, RiskPolicy, Situation, Surroundings,
};

/// What is believed, and the loss that follows.
pub(crate) struct Belief<'a> {
    pub(crate) parts: Parts,
    pub(crate) analyst: &'a Analyst,
    pub(crate) hazards: Hazards,
    pub(crate) holders: Vec<[Node; REPLICAS]>,
    /// Shares if all serve.
    pub(crate) natural: Vec<Shares>,
    pub(crate) drained: Vec<Option<u8>>,
    /// Reads per second at the busiest hour, as multiples of a mean partition's reads per minute.
    pub(crate) reads_per_s: Vec<f64>,
    pub(crate) suspects: Vec<bool>,
    /// Partitions with a copy under way.
    pub(crate) copied: Vec<bool>,
    pub(crate) up: Vec<bool>,
    drained_left: f64,
    shares: Vec<Shares>,
    bearings: Vec<Bearing>,
    pub(crate) field: Field,
    mean_load: f64,
    domains: Domains,
    failing: Vec<f64>,
    policy: RiskPolicy,
    redundancy: Redundancy,
    pub(crate) limits: Limits,
    useful_h: f64,
}

/// What a suspect is taken to bear of its capacity, to fail of its reads, and to add to its hazard per hour: nobody
/// has measured them, and they need only be large.
const SUSPECT_BEARS: f64 = 0.5;
const SUSPECT_FAILS: f64 = 0.02;
const SUSPECT_HAZARD_PER_H: f64 = 0.02;

impl<'a> Belief<'a> {
    pub(crate) fn new(
        analyst: &'a Analyst,
        cluster: &Cluster<'_>,
        parts: Parts,
        suspects: Vec<bool>,
        limits: &Limits,
    ) -> Self {
        let facts = analyst.facts();
        let expect = if parts.forecast { Expect::Forecast } else { Expect::Present };
        let mut hazards = analyst.hazards();
        if !parts.hazard {
            // One for all: failures are known to happen, not where.
            let mean = hazards.per_h.iter().sum::<f64>() / hazards.per_h.len() as f64;
            hazards.per_h.fill(mean);
            hazards.over_class.fill(1.0);
            hazards.deviation_per_h.fill(0.0);
        }
        for node in (0..suspects.len()).filter(|node| suspects[*node]) {
            let times = 1.0 + SUSPECT_HAZARD_PER_H / hazards.per_h[node];
            hazards.per_h[node] *= times;
            hazards.over_class[node] *= times;
        }
        let count = cluster.holders.len();
        let mut holders: Vec<[Node; REPLICAS]> =
            cluster.holders.iter().map(|row| row.map(|node| Node(u32::from(node)))).collect();
        let mut copied = vec![false; count];
        for copy in &cluster.copies {
            copied[copy.partition] = true;
            holders[copy.partition][copy.slot] = Node(u32::from(copy.to));
        }
        let bearings: Vec<Bearing> = facts
            .nodes
            .iter()
            .zip(&suspects)
            .map(|(node, suspect)| Bearing {
                capacity_per_s: Some(node.capacity / 60.0 * if *suspect { SUSPECT_BEARS } else { 1.0 }),
                other_per_s: 0.0,
            })
            .collect();
        let racks: Vec<Domain> = facts.nodes.iter().map(|node| Domain(u32::from(node.rack))).collect();
        let most = racks.iter().map(|rack| rack.at() + 1).max().unwrap_or(0);
        // A rack fails twice a year; what is known of it is an operator's word.
        let domains = Domains::new(racks.iter().map(std::slice::from_ref), vec![1.0 / 180.0 / 24.0; most])
            .expect("every rack is one of those counted");
        let policy = RiskPolicy {
            exposure: ExposurePolicy { permanent_share: 0.0, ..ExposurePolicy::default() },
            loss: LossPolicy {
                reroute_s: 60.0,
                overload: parts.headroom,
                busy_share: 0.25,
                ..LossPolicy::default()
            },
            ..RiskPolicy::default()
        };
        let natural: Vec<Shares> = (0..count).map(|at| analyst.expected(at, expect)).collect();
        let reads_per_s = (0..count).map(|at| analyst.peak(at) / 60.0).collect();
        let failing = suspects.iter().map(|suspect| if *suspect { SUSPECT_FAILS } else { 0.0 }).collect();
        let mut belief = Self {
            parts,
            analyst,
            hazards,
            holders,
            natural,
            drained: cluster.drained.clone(),
            reads_per_s,
            suspects,
            copied,
            up: cluster.nodes.up.clone(),
            drained_left: cluster.world.spec().copying.drained_left,
            shares: Vec::new(),
            field: Field::build(&bearings, [], FieldPolicy::default()).expect("capacities are above 0"),
            mean_load: 0.0,
            bearings,
            domains,
            failing,
            policy,
            redundancy: Redundancy { quorum_bears: 2, missing: 0 },
            useful_h: limits.gate.useful_h(limits.drift_per_day / 24.0),
            limits: limits.clone(),
        };
        belief.shares = (0..count).map(|at| belief.shares_with(at, belief.drained[at])).collect();
        belief.build();
        belief
    }

    /// Shares of a partition if a slot of it is drained.
    pub(crate) fn shares_with(&self, partition: usize, drained: Option<u8>) -> Shares {
        let mut shares = self.natural[partition];
        if let Some(slot) = drained {
            shares[usize::from(slot)] *= self.drained_left;
        }
        normed(shares)
    }

    pub(crate) fn shares(&self, partition: usize) -> &Shares {
        &self.shares[partition]
    }

    /// Counts a change as done.
    pub(crate) fn change(&mut self, partition: usize, holders: [Node; REPLICAS], drained: Option<u8>) {
        self.holders[partition] = holders;
        self.drained[partition] = drained;
        self.shares[partition] = self.shares_with(partition, drained);
        self.build();
    }

    fn build(&mut self) {
        let holdings = (0..self.holders.len()).map(|at| self.held(at));
        self.field = Field::build(&self.bearings, holdings, FieldPolicy::default())
            .expect("shares add up to 1 and reads are counts");
        let loads = (0..self.bearings.len()).map(|at| self.field.load_per_s(Node(at as u32)));
        self.mean_load = loads.sum::<f64>() / self.bearings.len() as f64;
    }

    pub(crate) fn held(&self, partition: usize) -> Holding<'_> {
        Holding {
            subset: &self.holders[partition],
            shares: &self.shares[partition],
            reads_per_s: self.reads_per_s[partition],
        }
    }

    /// Expected loss per hour of a partition if it lay on those holders with those shares.
    pub(crate) fn loss(&self, partition: usize, holders: &[Node], shares: &[f64]) -> LossParts {
        let held = Holding { subset: holders, shares, reads_per_s: self.reads_per_s[partition] };
        self.surroundings().loss_parts(Some(self.held(partition)), &held, self.redundancy, &self.policy)
    }

    /// Exposure per hour of a partition if it lay on those holders.
    pub(crate) fn exposure(&self, partition: usize, holders: &[Node]) -> f64 {
        let own = self.held(partition);
        let held = Holding { subset: holders, ..own };
        let exposure = self.surroundings().exposure_per_hour(Some(own), &held, &self.policy.exposure);
        exposure.expect("all capacities are known")
    }

    fn surroundings(&self) -> Surroundings<'_> {
        Surroundings::new(&self.field, &self.hazards.per_h, &self.domains, Some(&self.failing))
            .expect("all are of the same nodes")
    }

    /// What leaving a loss for another gains per hour of the time that a move is of use: what gray nodes fail ends
    /// sooner.
    pub(crate) fn saved(&self, before: &LossParts, after: &LossParts) -> f64 {
        let lasting = |parts: &LossParts| parts.per_hour().expect("all capacities are known") - parts.gray;
        let gray = (before.gray - after.gray) * self.limits.gray_h / self.useful_h;
        lasting(before) - lasting(after) + gray
    }

    /// The same with what hazards leave uncertain, for a decision.
    pub(crate) fn gain(&self, partition: usize, holders: &[Node], shares: &[f64]) -> Gain {
        let own = self.held(partition);
        let held = Holding { subset: holders, shares, reads_per_s: own.reads_per_s };
        let deviation = &self.hazards.deviation_per_h;
        let gain = self.surroundings().gain(own, &held, self.redundancy, deviation, &self.policy);
        let (before, after) =
            (self.loss(partition, own.subset, own.shares), self.loss(partition, holders, shares));
        let sd_per_hour = gain.expect("all capacities are known").sd_per_hour;
        Gain { per_hour: self.saved(&before, &after), sd_per_hour }
    }

    /// What the gate is told of a partition, but for what could be done about it.
    pub(crate) fn situation(&self, partition: usize) -> Situation {
        let holders = self.holders[partition];
        let most = |of: &dyn Fn(Node) -> f64| holders.iter().map(|node| of(*node)).fold(0.0, f64::max);
        let own = self.held(partition);
        Situation {
            loss_per_hour: self.loss(partition, own.subset, own.shares).per_hour(),
            hazard_over_class: most(&|node| self.hazards.over_class[node.at()]),
            exceeds_now: Some(most(&|node| self.exceeds(node, 0.0))),
            // The gate has one trigger for both; what may be after a failure has a higher one.
            exceeds_forecast: Some(most(&|node| f64::from(u8::from(self.violates(node))))),
            replica_over_largest: None,
            load_over_capacity: None,
            drift_per_hour: self.limits.drift_per_day / 24.0,
            shift: None,
            best_move: None,
            mode: Mode::Auto,
            frozen: false,
        }
    }

    /// Probability that a node with so much more exceeds its headroom at the busiest hour.
    fn exceeds(&self, node: Node, more_per_s: f64) -> f64 {
        let load = self.field.load_per_s(node) + more_per_s;
        self.field.exceeds(node, load).expect("all capacities are known")
    }

    fn worst_spill(&self, node: Node) -> f64 {
        self.field.spills_into(node).next().map_or(0.0, |(_, reads)| reads)
    }

    /// A node as one that would get so much more.
    pub(crate) fn destination(&self, node: Node, more_per_s: f64) -> Destination {
        let load = self.field.load_per_s(node) + more_per_s;
        Destination {
            peak_over_capacity: Some(
                load / self.field.capacity_per_s(node).expect("all capacities are known"),
            ),
            peak_over_mean: Some(load / self.mean_load),
            hazard_over_class: self.hazards.over_class[node.at()],
        }
    }

    /// What shifting a share of a partition's reads costs.
    pub(crate) fn cost_of_shift(&self, partition: usize, share: f64) -> f64 {
        self.policy.cost_of_shift(self.reads_per_s[partition], share)
    }

    /// What copying a replica that serves a share costs.
    pub(crate) fn cost_of_copy(&self, partition: usize, share: f64) -> f64 {
        let held = self.held(partition);
        let bytes = self.bytes(partition);
        self.surroundings().cost_of_copy(&held, share, bytes, self.redundancy, &self.policy).total()
    }

    /// Bytes of a replica.
    pub(crate) fn bytes(&self, partition: usize) -> u64 {
        (self.analyst.facts().sizes[partition] * MEAN_BYTES) as u64
    }

    /// Load over capacity at the busiest hour.
    pub(crate) fn filled(&self, node: Node) -> f64 {
        self.field.load_per_s(node) / self.field.capacity_per_s(node).expect("all capacities are known")
    }

    /// Whether a node is a cause to act: its hazard is far above its class's, or it will not have headroom, with
    /// the node that would leave it the most gone.
    pub(crate) fn is_cause(&self, node: Node) -> bool {
        let gate = &self.limits.gate;
        let hazardous = self.hazards.over_class[node.at()] >= gate.hazard_trigger;
        hazardous || self.violates(node)
    }

    /// The second of both.
    pub(crate) fn violates(&self, node: Node) -> bool {
        let after = self.exceeds(node, self.worst_spill(node)) >= self.limits.survivors_trigger;
        self.parts.headroom && (after || self.exceeds(node, 0.0) >= self.limits.gate.headroom_trigger)
    }

    /// Whether a node may serve so much more, by what the gate asks of destinations.
    pub(crate) fn takes(&self, node: Node, more_per_s: f64, urgent: bool) -> bool {
        let gate = self.gate(urgent);
        let there = self.destination(node, more_per_s);
        let within = |value: Option<f64>, most: f64| value.is_some_and(|value| value <= most);
        let room = within(there.peak_over_capacity, gate.headroom)
            && within(there.peak_over_mean, gate.peak_over_mean);
        let safe = there.hazard_over_class <= gate.hazard_ratio;
        self.up[node.at()] && !self.suspects[node.at()] && safe && (room || !self.parts.headroom)
    }

    /// The gate for the parts that decide; it is urgent when a suspect is left.
    pub(crate) fn gate(&self, urgent: bool) -> GatePolicy {
        let mut gate = self.limits.gate.clone();
        gate.factors.headroom = self.parts.headroom;
        gate.factors.shifting = self.parts.shift;
        if urgent {
            gate.peak_over_mean = self.limits.urgent_peak_over_mean;
        }
        gate
    }
}

/// Bytes of a mean replica.
const MEAN_BYTES: f64 = 40e9;
