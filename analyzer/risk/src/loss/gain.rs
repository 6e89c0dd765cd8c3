//! What lying elsewhere would save, and how sure that is.

use super::RiskPolicy;
use crate::exposure::{Redundancy, Surroundings};
use crate::field::Holding;
use crate::ids::Node;
use serde::{Deserialize, Serialize};

/// Client-minutes per hour that are saved.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Gain {
    /// Expected; negative where more is lost.
    pub per_hour: f64,
    /// Standard deviation of what is believed.
    pub sd_per_hour: f64,
}

impl Surroundings<'_> {
    /// What a partition would save if it lay on a candidate instead of its own subset, and the standard deviation
    /// that comes of the hazards': `hazard_sd_per_hour` by node. To the first order, hazards of different nodes
    /// independent: the gain is looked at once more with each holder's hazard one standard deviation higher. That is
    /// a few dozen times the work of a loss: for the decision, not for the search.
    ///
    /// Absent where either loss is unknown.
    ///
    /// # Panics
    /// If a holder is no node of the field, `hazard_sd_per_hour` is shorter than that, or there are more than 64.
    #[must_use]
    pub fn gain(
        &self,
        own: Holding<'_>,
        candidate: &Holding<'_>,
        redundancy: Redundancy,
        hazard_sd_per_hour: &[f64],
        policy: &RiskPolicy,
    ) -> Option<Gain> {
        let per_hour = self.saved(own, candidate, redundancy, policy)?;
        let mut hazards = self.hazard_per_hour.to_vec();
        let mut variance = 0.0;
        let new = candidate.subset.iter().filter(|node| !own.subset.contains(node));
        let holders: Vec<Node> = own.subset.iter().chain(new).copied().collect();
        for node in holders {
            let sd = hazard_sd_per_hour[node.at()];
            hazards[node.at()] += sd;
            let higher = Surroundings { hazard_per_hour: &hazards, ..*self };
            variance += (higher.saved(own, candidate, redundancy, policy)? - per_hour).powi(2);
            hazards[node.at()] = self.hazard_per_hour[node.at()];
        }
        Some(Gain { per_hour, sd_per_hour: variance.sqrt() })
    }

    fn saved(
        &self,
        own: Holding<'_>,
        candidate: &Holding<'_>,
        redundancy: Redundancy,
        policy: &RiskPolicy,
    ) -> Option<f64> {
        let loss = |held: &Holding<'_>| self.loss_per_hour(Some(own), held, redundancy, policy);
        Some(loss(&own)? - loss(candidate)?)
    }
}
