//! A shift of reads that is in force: whether it is still needed, and what is served once it is over.
//!
//! The shares of the moment say nothing of the cause, as the shift has taken the reads away; so it is judged on the
//! node itself: its hazard, a suspicion, and the headroom it would have with the reads back.

use super::Ways;
use crate::assess::Placed;
use crate::cluster::{Kept, NodeState, Shift};
use crate::record::{At, Cause, Shifted};
use isotherm_risk::Node;

impl Ways<'_> {
    /// The shift with what becomes of its cause at a moment.
    pub(super) fn shifted(&self, shift: Shift, placed: &Placed, at: At) -> Shifted {
        let (node, gate) = (Node(shift.node), &self.settings.gate);
        let hazardous =
            gate.factors.hazard && self.candidates.hazard_over_class[node.at()] >= gate.hazard_trigger;
        let suspected = gate.factors.gray && self.suspected[node.at()];
        // A node without reads shows no sign of answering badly, so a suspicion is taken to last as long as they do.
        let since_h = at.0.saturating_sub(shift.since_ms) as f64 / 3.6e6;
        let gray = gate.factors.gray && shift.gray && since_h < gate.gray_h;
        let cause = if hazardous || suspected || gray {
            Cause::There
        } else if self.cluster.nodes[node.at()].state != NodeState::Up {
            Cause::Unknown
        } else if gate.factors.headroom {
            self.full(shift, placed)
        } else {
            Cause::Gone
        };
        Shifted { node: shift.node, since: At(shift.since_ms), cause }
    }

    /// Whether the node would exceed its headroom with the reads back. Where its capacity is not known, headroom was no
    /// cause.
    fn full(&self, shift: Shift, placed: &Placed) -> Cause {
        let (node, gate) = (Node(shift.node), &self.settings.gate);
        let field = self.candidates.surroundings.field();
        if field.capacity_per_s(node).is_none() {
            return Cause::Gone;
        }
        let Some(more) = returning(shift, placed).zip(placed.reads_per_s).map(|(share, reads)| share * reads)
        else {
            return Cause::Unknown;
        };
        let load = field.load_per_s(node);
        let now = field.exceeds(node, load + more).is_some_and(|value| value >= gate.headroom_trigger);
        let peak = self.candidates.peak_per_s.filter(|_| gate.factors.forecast);
        let peak = peak.and_then(|peak| field.exceeds(node, peak[node.at()].max(load) + more));
        if now || peak.is_some_and(|value| gate.foresees(value)) { Cause::There } else { Cause::Gone }
    }
}

/// Share of the reads that comes back to the node; `None` if shares are not known.
fn returning(shift: Shift, placed: &Placed) -> Option<f64> {
    let shares = placed.shares.as_deref()?;
    let place = placed.subset.iter().position(|node| node.0 == shift.node);
    Some(match (shift.kept, place) {
        (Kept::Drained, Some(place)) => back(placed)[place],
        // It is not told as a holder while it is drained.
        (Kept::Drained, None) => 1.0 / (placed.subset.len() + 1) as f64,
        (Kept::Led, place) => {
            let own = place.map_or(0.0, |place| shares[place]);
            (shares.first().copied().unwrap_or(0.0) - own).max(0.0)
        }
    })
}

/// What each holder would serve if no replica were drained: what is habitual, or an even part for the drained one where
/// that is not known. The present shares where none is, and nothing where they are not known.
pub(super) fn back(placed: &Placed) -> Vec<f64> {
    let shares = placed.shares.clone().unwrap_or_default();
    let drained = placed.shift.filter(|shift| shift.kept == Kept::Drained);
    let place = drained.and_then(|shift| placed.subset.iter().position(|node| node.0 == shift.node));
    let Some(place) = place.filter(|place| *place < shares.len()) else { return shares };
    let habitual = placed.habitual.as_ref().map(|habitual| habitual[place]).filter(|share| *share > 0.0);
    let own = habitual.unwrap_or(1.0 / shares.len() as f64);
    let others = 1.0 - shares[place];
    let scale = if others > 0.0 { (1.0 - own) / others } else { 0.0 };
    let share = |(at, share): (usize, &f64)| if at == place { own } else { share * scale };
    shares.iter().enumerate().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::Ahead;
    use isotherm_risk::Redundancy;

    fn placed(shares: &[f64], habitual: Option<&[f64]>, shift: Option<Shift>) -> Placed {
        Placed {
            subset: (0..shares.len()).map(|at| Node(at as u32)).collect(),
            shares: Some(shares.to_vec()),
            habitual: habitual.map(<[f64]>::to_vec),
            reads_per_s: Some(10.0),
            size_bytes: None,
            redundancy: Redundancy { quorum_bears: 1, missing: 0 },
            stays: false,
            ahead: Ahead::default(),
            shift,
            coming: None,
        }
    }

    const DRAINED: Shift = Shift { node: 0, kept: Kept::Drained, since_ms: 0, gray: false };

    #[test]
    fn reads_come_back_as_they_were_habitual_or_evenly() {
        let habit = placed(&[0.0, 0.75, 0.25], Some(&[0.5, 0.3, 0.2]), Some(DRAINED));
        assert_eq!(back(&habit), [0.5, 0.375, 0.125]);
        assert_eq!(back(&placed(&[0.0, 1.0], None, Some(DRAINED))), [0.5, 0.5]);
        assert_eq!(back(&placed(&[0.25, 0.75], None, None)), [0.25, 0.75]);
        let sums: f64 = back(&placed(&[0.1, 0.9], Some(&[0.6, 0.4]), Some(DRAINED))).iter().sum();
        assert!((sums - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_former_leader_gets_back_what_the_leader_has_more() {
        let led = Shift { node: 1, kept: Kept::Led, ..DRAINED };
        assert_eq!(returning(led, &placed(&[0.8, 0.2], None, Some(led))), Some(0.8 - 0.2));
        let unknown = Placed { shares: None, ..placed(&[0.8, 0.2], None, Some(led)) };
        assert_eq!(returning(led, &unknown), None);
    }
}
