//! The table `risks`: one decision record per partition and cycle, from which its score can be computed again.

use super::record;
use isotherm_model::Timestamp;

record! {
    /// What a cycle found and decided about a partition. Every measure is `None` where it is unknown.
    pub struct RiskRow in "risks" by [at, system, partition] {
        /// When the cycle ran; everything is as it was known then.
        pub at: Timestamp,
        /// The system of the partition.
        pub system: String,
        /// The partition's name in it.
        pub partition: String,
        /// Of the snapshot that was judged.
        pub revision: u64,
        /// Normalised entropy over nodes, 0 to 1.
        pub h: Option<f64>,
        /// Its class: low, medium or high.
        pub class: Option<String>,
        /// What is usual for this partition, of `h`.
        pub baseline: Option<f64>,
        /// How unusual `h` is, in robust standard deviations.
        pub z: Option<f64>,
        /// Whether it surges.
        pub surge: Option<bool>,
        /// The lower end of the 80 % interval of the forecast of `h`.
        pub forecast_lower: Option<f64>,
        /// Whether it is expected to surge.
        pub forecast_surge: Option<bool>,
        /// The horizon of exposure and risk, in hours.
        pub horizon_h: Option<f64>,
        /// Exposure now, incidents per hour.
        pub exposure_per_hour: Option<f64>,
        /// Mean over the paths of exposure summed over the horizon.
        pub exposure_mean: Option<f64>,
        /// Variance of the same.
        pub exposure_variance: Option<f64>,
        /// Probability of an incident within the horizon.
        pub risk: Option<f64>,
        /// The same, calibrated; `None` until there are enough incidents to calibrate by.
        pub calibrated: Option<f64>,
        /// Expected loss by failing over, client-minutes per hour: when nodes or domains fail, or are gray.
        pub loss_failover: Option<f64>,
        /// By overload of those that survive a failure.
        pub loss_survivors_overload: Option<f64>,
        /// By overload that is there already.
        pub loss_present_overload: Option<f64>,
        /// By having too few replicas: for a quorum, or for the data.
        pub loss_under_replication: Option<f64>,
        /// The sum of the four.
        pub loss_total: Option<f64>,
        /// The nodes that it leans on, by name.
        pub nodes: Vec<String>,
        /// Share of the reads of each of `nodes`.
        pub shares: Vec<Option<f64>>,
        /// Failures per hour of each of `nodes`.
        pub hazards: Vec<Option<f64>>,
        /// Probability that the others are overloaded after losing each of `nodes`.
        pub overloads: Vec<Option<f64>>,
        /// The failure domains that it leans on, by name.
        pub domains: Vec<String>,
        /// Share of the reads of each of `domains`.
        pub domain_shares: Vec<Option<f64>>,
        /// Failures per hour of each of `domains`.
        pub domain_hazards: Vec<Option<f64>>,
        /// What was decided.
        pub verdict: String,
        /// Why, in words.
        pub reason: String,
    }
}

impl RiskRow {
    pub(super) fn time_end(&self) -> Timestamp {
        self.at.plus_ms(1)
    }
}
