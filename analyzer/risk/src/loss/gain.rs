//! What lying elsewhere would save, and how sure that is.

use super::{LossParts, RiskPolicy};
use crate::exposure::{Redundancy, Surroundings};
use crate::field::{Holding, Without};
use crate::ids::Node;
use serde::{Deserialize, Serialize};

/// Client-minutes per hour that are saved.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Gain {
    /// Expected, but for what gray nodes fail; negative where more is lost.
    pub per_hour: f64,
    /// Of reads that fail at gray nodes, which does not last: see [`GatePolicy::gray_h`](crate::GatePolicy).
    pub gray_per_hour: f64,
    /// Standard deviation of what is believed.
    pub sd_per_hour: f64,
}

impl Surroundings<'_> {
    /// What a partition would save if it lay on a candidate instead of its own subset, and the standard deviation
    /// that comes of the hazards' (`hazard_sd_per_hour` by node) and of the loads'. To the first order: hazards of
    /// different nodes independent of each other and of loads, those of holders alone; all loads off by one deviation
    /// together, as what is forecast wrongly of one node's is of most. So what is saved of an overload that would
    /// take four deviations is hardly sure, and what is saved of one that is there is.
    ///
    /// Absent where overload is unknown.
    ///
    /// # Panics
    /// If a holder is no node of the field, or there are more than 64.
    #[must_use]
    pub fn gain(
        &self,
        own: Holding<'_>,
        candidate: &Holding<'_>,
        redundancy: Redundancy,
        hazard_sd_per_hour: &[f64],
        policy: &RiskPolicy,
    ) -> Option<Gain> {
        let saved = |hazards: &[f64], lower: f64| {
            let with = Surroundings { hazard_per_hour: hazards, ..*self };
            let without = Without::new(self.field, Some(own)).lower_by(lower);
            let loss = |held: &Holding<'_>| with.parts_with(without, held, redundancy, policy);
            loss(&own).saved_by(&loss(candidate))
        };
        let expected = saved(self.hazard_per_hour, 0.0)?;
        let off = |other: Gain| (other.per_hour - expected.per_hour).powi(2);
        let mut variance = off(saved(self.hazard_per_hour, 1.0)?);
        let mut hazards = self.hazard_per_hour.to_vec();
        let new = candidate.subset.iter().filter(|node| !own.subset.contains(node));
        let holders: Vec<Node> = own.subset.iter().chain(new).copied().collect();
        for node in holders {
            hazards[node.at()] += hazard_sd_per_hour[node.at()];
            variance += off(saved(&hazards, 0.0)?);
            hazards[node.at()] = self.hazard_per_hour[node.at()];
        }
        Some(Gain { sd_per_hour: variance.sqrt(), ..expected })
    }
}

impl LossParts {
    /// What another loss saves of this one, for certain; absent where overload is unknown.
    #[must_use]
    pub fn saved_by(&self, other: &Self) -> Option<Gain> {
        let lasting = |parts: &Self| Some(parts.per_hour()? - parts.gray);
        Some(Gain {
            per_hour: lasting(self)? - lasting(other)?,
            gray_per_hour: self.gray - other.gray,
            sd_per_hour: 0.0,
        })
    }
}
