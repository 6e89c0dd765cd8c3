//! What one partition does to the cluster's overload, where it lies or where it might.
//!
//! The yardstick is the cluster without the partition: what it adds to the expected overload on one subset, less
//! what it adds on another, is exactly by how much the cluster's overload differs, as if both fields had been built.
//! So effects of one partition compare; those of several do not add up to the cluster's overload, as two partitions
//! that are too much together are each the last straw.
//!
//! Work is that of the holders' pairs at most. Pairs into a node are visited by falling spill and left as soon as the
//! node would bear them with certainty, so that where there is headroom almost none are.

use super::build::spill;
use super::normal::NEGLIGIBLE;
use super::{Field, Holding};
use crate::ids::Node;

/// What a partition adds to the expected overload, in reads per second beyond capacity.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Effect {
    /// With all nodes up.
    pub present_per_s: f64,
    /// The sum over all nodes of the hazard per hour times what the node's death adds to the survivors' overload:
    /// what of that is this partition's doing.
    pub after_failures_per_s_h: f64,
}

/// The field without a partition that is part of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Without<'f> {
    field: &'f Field,
    own: Option<Holding<'f>>,
    /// By how many standard deviations loads are taken to be less than they are expected to be.
    lower: f64,
}

impl<'f> Without<'f> {
    /// `own`: where the partition lies in the field; `None` if it is not part of it.
    pub(crate) const fn new(field: &'f Field, own: Option<Holding<'f>>) -> Self {
        Self { field, own, lower: 0.0 }
    }

    /// The same if all loads were over-estimated by so many standard deviations.
    pub(crate) const fn lower_by(self, deviations: f64) -> Self {
        Self { lower: deviations, ..self }
    }

    fn load(&self, node: Node) -> f64 {
        let own = self.own.and_then(|own| Some(own.reads_per_s * own.shares[place(own.subset, node)?]));
        (self.field.load_per_s(node) - own.unwrap_or(0.0)).max(0.0)
    }

    /// What the partition itself spills from one node to another in the field.
    fn own_spill(&self, dead: Node, to: Node) -> f64 {
        let pair = self.own.and_then(|own| Some((own, place(own.subset, dead)?, place(own.subset, to)?)));
        pair.filter(|(_, dead, to)| dead != to).map_or(0.0, |(own, dead, to)| spill(&own, dead, to))
    }

    fn spill(&self, dead: Node, to: Node) -> f64 {
        (self.field.spill_per_s(dead, to) - self.own_spill(dead, to)).max(0.0)
    }

    /// Load of a holder of `held` when the partition lies there, and after the holder at another place died.
    pub(crate) fn load_with(&self, held: &Holding<'_>, at: usize) -> f64 {
        self.load(held.subset[at]) + held.reads_per_s * held.shares[at]
    }

    fn load_after(&self, held: &Holding<'_>, dead: usize, at: usize) -> f64 {
        let others = self.spill(held.subset[dead], held.subset[at]);
        self.load_with(held, at) + others + spill(held, dead, at)
    }

    /// Probability that any other holder exceeds the headroom after the holder at a place died. Absent where the
    /// capacity of one of them is unknown; 0 for a sole holder, which leaves no survivor.
    pub(crate) fn any_exceeds(&self, held: &Holding<'_>, dead: usize) -> Option<f64> {
        let mut none = 1.0;
        for at in (0..held.subset.len()).filter(|at| *at != dead) {
            none *= 1.0 - self.field.exceeds(held.subset[at], self.load_after(held, dead, at))?;
        }
        Some(1.0 - none)
    }

    /// What the partition adds to the cluster's expected overload when it lies on a subset, `hazard_per_hour` by
    /// node. Absent where the capacity of one of its holders is unknown.
    pub(crate) fn effect(&self, held: &Holding<'_>, hazard_per_hour: &[f64]) -> Option<Effect> {
        let mut effect = Effect::default();
        for at in 0..held.subset.len() {
            let node = held.subset[at];
            let capacity = self.field.capacity_per_s(node)?;
            let less = self.lower * self.field.policy().uncertainty * capacity;
            let beyond = |load: f64| self.field.beyond(capacity, load - less);
            let (bare, full) = (self.load(node), self.load_with(held, at));
            let (bare_now, full_now) = (beyond(bare), beyond(full));
            effect.present_per_s += full_now - bare_now;
            let added = |bare_spill: f64, full_spill: f64| {
                (beyond(full + full_spill) - full_now) - (beyond(bare + bare_spill) - bare_now)
            };
            let certain = capacity * (1.0 + NEGLIGIBLE * self.field.policy().uncertainty);
            for (dead, reads) in self.field.spills_into(node) {
                if full + reads <= certain {
                    break;
                }
                if place(held.subset, dead).is_none() {
                    let others = (reads - self.own_spill(dead, node)).max(0.0);
                    effect.after_failures_per_s_h += hazard_per_hour[dead.at()] * added(others, others);
                }
            }
            for other in (0..held.subset.len()).filter(|other| *other != at) {
                let dead = held.subset[other];
                let others = self.spill(dead, node);
                let with_own = others + spill(held, other, at);
                effect.after_failures_per_s_h += hazard_per_hour[dead.at()] * added(others, with_own);
            }
        }
        Some(effect)
    }
}

impl Field {
    /// What a partition adds to the cluster's expected overload where it is `held`: against the cluster without it.
    /// `own` is how it lies in this field, `None` if it is not part of it; `hazard_per_hour` is by node. Absent where
    /// the capacity of a holder is unknown.
    ///
    /// The difference between two subsets is that between the whole cluster's overload with either.
    #[must_use]
    pub fn effect(
        &self,
        own: Option<Holding<'_>>,
        held: &Holding<'_>,
        hazard_per_hour: &[f64],
    ) -> Option<Effect> {
        Without::new(self, own).effect(held, hazard_per_hour)
    }
}

fn place(subset: &[Node], node: Node) -> Option<usize> {
    subset.iter().position(|holder| *holder == node)
}
