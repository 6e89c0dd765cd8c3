//! Reads that are on their way to nodes: those of moves and shifts that were begun, or wait to be.
//!
//! They are in no load yet, so without them one node would look as empty to every partition that looks for a
//! destination, and all of them would go there. A copy takes longer than a cycle, and the share of a new holder is not
//! known at once. What is on its way counts at its busiest hour, on top of the destination's own: at worst they coincide.

use super::shifted;
use crate::assess::{Landscape, Placed};
use crate::cluster::Coming;
use isotherm_risk::{Node, drained};

/// Reads per second for each of so many nodes; empty where nothing is on its way. Of a partition whose shares or reads
/// are not known nothing is counted.
pub(super) fn of(landscape: &Landscape, nodes: usize) -> Vec<f64> {
    let mut arriving = Vec::new();
    for placed in &landscape.placed {
        let Some(coming) = placed.coming else { continue };
        arriving.resize(nodes, 0.0);
        for (node, more_per_s) in more(placed, coming) {
            arriving[node.at()] += more_per_s;
        }
    }
    arriving
}

/// Who will serve how many reads per second more than at present.
fn more(placed: &Placed, coming: Coming) -> Vec<(Node, f64)> {
    let Some((shares, reads_per_s)) = placed.shares.as_deref().zip(busiest_per_s(placed)) else {
        return Vec::new();
    };
    let subset = &placed.subset;
    let place = |node: u32| subset.iter().position(|holder| holder.0 == node);
    let of = |(node, share): (Node, f64)| (share > 0.0).then_some((node, share * reads_per_s));
    match coming {
        Coming::Move { from, to } => of((Node(to), inherited(placed, place(from)))).into_iter().collect(),
        Coming::Drain { from } => {
            let Some(from) = place(from) else { return Vec::new() };
            let mut after = Vec::new();
            drained(shares, from, &mut after);
            let gains = after.iter().zip(shares).map(|(after, share)| after - share);
            subset.iter().copied().zip(gains).filter_map(of).collect()
        }
        Coming::Lead { to } => {
            let Some(place) = place(to) else { return Vec::new() };
            of((Node(to), shares[0] - shares[place])).into_iter().collect()
        }
    }
}

/// Share of what takes a replica's place: what that one serves, without a shift. One that serves nothing, or is gone, is
/// replaced by one that serves as much as any.
fn inherited(placed: &Placed, place: Option<usize>) -> f64 {
    let even = 1.0 / (placed.subset.len() + usize::from(place.is_none())) as f64;
    place.map(|place| shifted::back(placed)[place]).filter(|share| *share > 0.0).unwrap_or(even)
}

/// Reads per second of a partition at its busiest hour that is known, and at least at present.
fn busiest_per_s(placed: &Placed) -> Option<f64> {
    let hours = placed.ahead.reads_per_s.iter().flatten().map(|reads| f64::from(*reads));
    Some(hours.fold(placed.reads_per_s?, f64::max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::Ahead;
    use isotherm_risk::Redundancy;

    fn placed(shares: &[f64]) -> Placed {
        Placed {
            subset: (0..shares.len()).map(|at| Node(at as u32)).collect(),
            shares: Some(shares.to_vec()),
            habitual: None,
            reads_per_s: Some(100.0),
            size_bytes: None,
            redundancy: Redundancy { quorum_bears: 1, missing: 0 },
            stays: false,
            ahead: Ahead::default(),
            shift: None,
            coming: None,
        }
    }

    fn coming(shares: &[f64], coming: Coming) -> Vec<(u32, f64)> {
        more(&placed(shares), coming).into_iter().map(|(node, reads)| (node.0, reads.round())).collect()
    }

    #[test]
    fn a_copy_brings_what_the_replica_serves_and_one_of_a_lost_replica_as_much_as_any() {
        let shares = [0.7, 0.3, 0.0];
        assert_eq!(coming(&shares, Coming::Move { from: 1, to: 9 }), [(9, 30.0)]);
        assert_eq!(coming(&shares, Coming::Move { from: 2, to: 9 }), [(9, 33.0)]);
        assert_eq!(coming(&shares, Coming::Move { from: 7, to: 9 }), [(9, 25.0)]);
    }

    #[test]
    fn a_shift_brings_its_reads_to_those_who_stay() {
        let shares = [0.6, 0.3, 0.1];
        assert_eq!(coming(&shares, Coming::Drain { from: 0 }), [(1, 45.0), (2, 15.0)]);
        assert_eq!(coming(&shares, Coming::Lead { to: 2 }), [(2, 50.0)]);
        assert_eq!(coming(&shares, Coming::Lead { to: 0 }), [], "it leads already");
        assert_eq!(coming(&shares, Coming::Drain { from: 7 }), []);
    }

    #[test]
    fn the_busiest_hour_counts_and_what_is_not_known_does_not() {
        let mut busy = placed(&[1.0]);
        busy.ahead.reads_per_s[3] = Some(250.0);
        assert_eq!(more(&busy, Coming::Move { from: 0, to: 4 }), [(Node(4), 250.0)]);
        let unknown = Placed { shares: None, ..placed(&[1.0]) };
        assert_eq!(more(&unknown, Coming::Move { from: 0, to: 4 }), []);
    }
}
