//! Candidates of one partition, with the numbers that the gate asks for.
//!
//! Whoever looks for something to do (a cycle, a simulation) says which nodes come into question, and for what reason
//! a holder is to be left; what a shift or a move there would gain and cost is found here, so that all of them mean
//! the same by it.

use super::{Destination, GatePolicy, Move, Shift, ShiftAction};
use crate::exposure::Surroundings;
use crate::field::Holding;
use crate::ids::Node;
use crate::loss::RiskPolicy;
use crate::node_down::Lying;
use crate::shares::{Inherit, inherit};

/// What candidates of all partitions are judged with.
#[derive(Debug, Clone, Copy)]
pub struct Candidates<'a> {
    /// Loads and hazards as they are.
    pub surroundings: Surroundings<'a>,
    /// Hazards over their classes', by node.
    pub hazard_over_class: &'a [f64],
    /// Standard deviation of what is believed of hazards, by node.
    pub hazard_sd_per_hour: &'a [f64],
    /// Reads per second that each node serves at its peak; absent where no peak is known, and the present load counts.
    pub peak_per_s: Option<&'a [f64]>,
    /// Reads per second that each node will serve beside, of what was begun and cannot be seen in its load yet, by node;
    /// empty where nothing was.
    pub arriving_per_s: &'a [f64],
    /// Load over capacity of all nodes together; absent where a capacity is unknown.
    pub mean_fullness: Option<f64>,
    /// What failures and actions cost.
    pub risk: &'a RiskPolicy,
    /// What actions must pass.
    pub gate: &'a GatePolicy,
}

/// Reads of a partition served otherwise by those who hold it.
#[derive(Debug, Clone, Copy)]
pub struct Shifted<'s> {
    /// How.
    pub action: ShiftAction,
    /// Its holders then.
    pub subset: &'s [Node],
    /// What each of them serves then.
    pub shares: &'s [f64],
    /// Share of the reads that change their node.
    pub moved: f64,
    /// See [`Shift::since_last_h`].
    pub since_last_h: Option<f64>,
}

impl Candidates<'_> {
    /// A node as one that would serve so much more, beside what is on its way to it.
    ///
    /// # Panics
    /// Here and below: if there is no such node.
    #[must_use]
    pub fn destination(&self, node: Node, more_per_s: f64) -> Destination {
        let field = self.surroundings.field();
        let peak = self.peak_per_s.map_or(0.0, |peak| peak[node.at()]).max(field.load_per_s(node));
        let arriving = self.arriving_per_s.get(node.at()).copied().unwrap_or(0.0);
        let over = field.capacity_per_s(node).map(|capacity| (peak + arriving + more_per_s) / capacity);
        Destination {
            peak_over_capacity: over,
            peak_over_mean: over.zip(self.mean_fullness).map(|(over, mean)| over / mean),
            hazard_over_class: self.hazard_over_class[node.at()],
        }
    }

    /// Client-minutes that other holders or other shares of a partition would be expected to save. `None` where
    /// capacities that matter are unknown.
    #[must_use]
    pub fn saved(
        &self,
        lying: &Lying<'_>,
        subset: &[Node],
        shares: &[f64],
        drift_per_hour: Option<f64>,
    ) -> Option<f64> {
        let own = lying.held;
        let loss =
            |held: &Holding<'_>| self.surroundings.loss_parts(Some(own), held, lying.redundancy, self.risk);
        let gain = loss(&own).saved_by(&loss(&Holding { subset, shares, ..own }))?;
        Some(self.gate.saved(gain, drift_per_hour))
    }

    /// A shift with what it gains and costs. `None` where capacities that matter are unknown, or nobody would serve
    /// more.
    #[must_use]
    pub fn shift(&self, lying: &Lying<'_>, shifted: &Shifted<'_>) -> Option<Shift> {
        let own = lying.held;
        let there = Holding { subset: shifted.subset, shares: shifted.shares, ..own };
        let gain =
            self.surroundings.gain(own, &there, lying.redundancy, self.hazard_sd_per_hour, self.risk)?;
        let fullness = |destination: &Destination| destination.peak_over_capacity.unwrap_or(f64::INFINITY);
        let destination = self
            .served_more(own, &there)
            .map(|(node, more_per_s)| self.destination(node, more_per_s))
            .max_by(|a, b| fullness(a).total_cmp(&fullness(b)))?;
        Some(Shift {
            action: shifted.action,
            gain,
            pause: self.risk.cost_of_shift(own.reads_per_s, shifted.moved),
            since_last_h: shifted.since_last_h,
            destination,
        })
    }

    /// Who would serve how many reads per second more.
    fn served_more<'h>(
        &self,
        own: Holding<'h>,
        there: &'h Holding<'h>,
    ) -> impl Iterator<Item = (Node, f64)> + 'h {
        there.subset.iter().zip(there.shares).filter_map(move |(node, share)| {
            let had = own.subset.iter().position(|holder| holder == node).map_or(0.0, |at| own.shares[at]);
            (*share > had + LEAST).then_some((*node, own.reads_per_s * (share - had)))
        })
    }

    /// The move of the replica at a place to the one of some nodes that saves the most, with what it gains and costs.
    /// `None` without a node, or where capacities that matter are unknown.
    #[must_use]
    pub fn best_move(
        &self,
        lying: &Lying<'_>,
        from: usize,
        bytes: u64,
        drift_per_hour: Option<f64>,
        to: impl Iterator<Item = Node>,
    ) -> Option<Move> {
        self.best_move_back(lying, lying.held.shares, from, bytes, drift_per_hour, to)
    }

    /// The same where reads were shifted, and a move ends that: `back` is what the holders would serve without the
    /// shift, and what takes the replica's place serves its part of it. What is saved is held against the present; what
    /// is exposed, and what the copy costs, against the shares that come back.
    #[must_use]
    pub fn best_move_back(
        &self,
        lying: &Lying<'_>,
        back: &[f64],
        from: usize,
        bytes: u64,
        drift_per_hour: Option<f64>,
        to: impl Iterator<Item = Node>,
    ) -> Option<Move> {
        let own = lying.held;
        let whole = Holding { shares: back, ..own };
        let loss =
            |held: &Holding<'_>| self.surroundings.loss_parts(Some(own), held, lying.redundancy, self.risk);
        let (present, mut subset, mut shares) = (loss(&own), own.subset.to_vec(), Vec::new());
        let mut best: Option<(f64, Node)> = None;
        for to in to {
            subset[from] = to;
            inherit(own.subset, back, &subset, Inherit::ByPlace, &mut shares);
            let after = loss(&Holding { subset: &subset, shares: &shares, ..own });
            let saved = self.gate.saved(present.saved_by(&after)?, drift_per_hour);
            if best.is_none_or(|(most, _)| saved > most) {
                best = Some((saved, to));
            }
        }
        let (_, to) = best?;
        subset[from] = to;
        inherit(own.subset, back, &subset, Inherit::ByPlace, &mut shares);
        let there = Holding { subset: &subset, shares: &shares, ..own };
        let exposure =
            |held: &Holding<'_>| self.surroundings.exposure_per_hour(Some(own), held, &self.risk.exposure);
        let cost = self.surroundings.cost_of_copy(&whole, back[from], bytes, lying.redundancy, self.risk);
        Some(Move {
            from: own.subset[from],
            to,
            bytes,
            gain: self.surroundings.gain(
                own,
                &there,
                lying.redundancy,
                self.hazard_sd_per_hour,
                self.risk,
            )?,
            loss_after_per_hour: loss(&there).per_hour()?,
            cost: cost.total(),
            exposure_per_hour: exposure(&whole),
            exposure_after_per_hour: exposure(&there),
            destination: self.destination(to, own.reads_per_s * back[from]),
        })
    }
}

/// A change of a share that is rounding.
const LEAST: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposure::Redundancy;
    use crate::sample::{Sample, near};

    const REDUNDANCY: Redundancy = Redundancy { quorum_bears: 2, missing: 0 };

    /// Calls with candidates of a partition on a hazardous node 0 and on 1 and 2; 4 is safer than 3.
    fn look<T>(peak_per_s: Option<&[f64]>, call: impl FnOnce(&Candidates<'_>, &Lying<'_>) -> T) -> T {
        let mut sample = Sample::new(5, 1_000.0).with(&[0, 1, 2], &[0.5, 0.3, 0.2], 100.0);
        sample.hazard_per_hour = vec![0.011, 0.001, 0.001, 0.002, 0.001];
        let (risk, gate) = (RiskPolicy::default(), GatePolicy::default());
        sample.look(|around| {
            let candidates = Candidates {
                surroundings: *around,
                hazard_over_class: &[11.0, 1.0, 1.0, 2.0, 1.0],
                hazard_sd_per_hour: &[0.0; 5],
                peak_per_s,
                arriving_per_s: &[],
                mean_fullness: Some(0.02),
                risk: &risk,
                gate: &gate,
            };
            call(&candidates, &Lying { held: sample.partitions[0].held(), redundancy: REDUNDANCY })
        })
    }

    #[test]
    fn the_best_move_is_the_one_that_saves_the_most() {
        let (best, worse, saved) = look(None, |candidates, lying| {
            let to = |nodes: &[u32]| nodes.iter().copied().map(Node).collect::<Vec<_>>().into_iter();
            let best = candidates.best_move(lying, 0, 1 << 30, Some(0.0), to(&[3, 4])).unwrap();
            let worse = candidates.best_move(lying, 0, 1 << 30, Some(0.0), to(&[3])).unwrap();
            assert!(candidates.best_move(lying, 0, 1 << 30, Some(0.0), to(&[])).is_none());
            let subset = [Node(4), Node(1), Node(2)];
            (best, worse, candidates.saved(lying, &subset, &[0.5, 0.3, 0.2], Some(0.0)).unwrap())
        });
        assert_eq!((best.from, best.to, worse.to), (Node(0), Node(4), Node(3)));
        assert!(
            best.gain.per_hour > worse.gain.per_hour && best.loss_after_per_hour < worse.loss_after_per_hour
        );
        assert!(
            (saved / (best.gain.per_hour * 336.0) - 1.0).abs() < 1e-9,
            "what was chosen by is what is told"
        );
        assert_eq!(best.destination.peak_over_capacity, Some(0.05));
        assert!(near(best.destination.peak_over_mean.unwrap(), 2.5));
    }

    #[test]
    fn a_move_that_ends_a_shift_is_exposed_as_the_shares_that_come_back() {
        let back = [0.5, 0.3, 0.2];
        let (drained, plain) = look(None, |candidates, lying| {
            let drained = Lying { held: Holding { shares: &[0.0, 0.6, 0.4], ..lying.held }, ..*lying };
            let to = || [Node(4)].into_iter();
            let drained = candidates.best_move_back(&drained, &back, 0, 1 << 30, Some(0.0), to()).unwrap();
            (drained, candidates.best_move(lying, 0, 1 << 30, Some(0.0), to()).unwrap())
        });
        assert_eq!(drained.exposure_per_hour, plain.exposure_per_hour);
        assert_eq!(drained.exposure_after_per_hour, plain.exposure_after_per_hour);
        assert!(near(drained.cost, plain.cost) && drained.destination == plain.destination);
        assert!(drained.gain.per_hour < plain.gain.per_hour, "the shift has saved what it could");
    }

    #[test]
    fn a_destination_is_as_full_as_it_is_at_its_peak() {
        let peaks = [0.0, 900.0, 0.0, 0.0, 700.0];
        let (at, held) = look(Some(&peaks), |candidates, _| {
            (candidates.destination(Node(4), 50.0), candidates.destination(Node(2), 0.0))
        });
        assert_eq!(at.peak_over_capacity, Some(0.75));
        assert_eq!(held.peak_over_capacity, Some(0.02), "no peak is below the present load");
    }

    #[test]
    fn what_is_on_its_way_to_a_destination_counts_there() {
        let (there, elsewhere) = look(None, |candidates, lying| {
            let candidates = Candidates { arriving_per_s: &[0.0, 0.0, 0.0, 0.0, 800.0], ..*candidates };
            let best = candidates.best_move(lying, 0, 1 << 30, Some(0.0), [Node(4)].into_iter()).unwrap();
            (best.destination, candidates.destination(Node(3), 50.0))
        });
        assert_eq!(there.peak_over_capacity, Some(0.85));
        assert_eq!(elsewhere.peak_over_capacity, Some(0.05));
    }

    #[test]
    fn the_destination_of_a_shift_is_the_fullest_of_those_that_serve_more() {
        let shift = look(Some(&[0.0, 0.0, 800.0, 0.0, 0.0]), |candidates, lying| {
            let shifted = Shifted {
                action: ShiftAction::Drain { from: Node(0) },
                subset: lying.held.subset,
                shares: &[0.0, 0.6, 0.4],
                moved: 0.5,
                since_last_h: Some(3.0),
            };
            candidates.shift(lying, &shifted).unwrap()
        });
        assert_eq!(shift.destination.peak_over_capacity, Some(0.82));
        assert!(shift.gain.per_hour > 0.0 && shift.since_last_h == Some(3.0));
        // 6,000 clients, half of them, two seconds.
        assert!(near(shift.pause, 100.0));
    }
}
