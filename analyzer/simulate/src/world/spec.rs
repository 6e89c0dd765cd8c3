//! What a made-up cluster is like. Every field has a default; those of the defaults that decide the outcome of a
//! comparison were set before any policy was run, and are the ones of the study whose table docs/risk.md shows.

use super::REPLICAS;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A made-up cluster under a made-up load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    /// Nodes, a multiple of the racks.
    pub nodes: u16,
    /// Racks; at least as many as there are replicas.
    pub racks: u16,
    /// Partitions, of three replicas in three racks each.
    pub partitions: u32,
    /// Days that are counted.
    pub days: u32,
    /// Days before, in which all is well and what watches the cluster learns.
    pub learning_days: u32,
    /// Days before those, of which only the failures are known.
    pub failure_history_days: u32,
    /// Mean load over capacity, all nodes and all days.
    pub utilisation: f64,
    /// Reads and who serves them.
    pub demand: Demand,
    /// Kinds of nodes.
    pub classes: Vec<Class>,
    /// Nodes that fail far more often than their class.
    pub flaky: Flaky,
    /// Nodes and racks that go away.
    pub failure: Failure,
    /// Nodes that still answer, badly.
    pub gray: Gray,
    /// What moving a replica, or the reads, costs.
    pub copying: Copying,
    /// What is known of all that.
    pub sight: Sight,
}

/// Reads and who serves them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Demand {
    /// Standard deviation of the logarithm of partitions' mean reads.
    pub skew: f64,
    /// Most reads of a partition, as a multiple of the median.
    pub skew_most: f64,
    /// Standard deviation of the logarithm of partitions' sizes.
    pub size_skew: f64,
    /// How far the day's wave goes above and below the mean.
    pub daily: f64,
    /// What is left of the load at weekends.
    pub weekend: f64,
    /// Standard deviation of the hour of a partition's peak.
    pub phase_h: f64,
    /// Standard deviation of the logarithm of a partition's load from hour to hour.
    pub noise: f64,
    /// The same of the shares of its replicas.
    pub share_noise: f64,
    /// Partitions whose leader serves nearly all reads.
    pub led: f64,
    /// Partitions whose leader serves most reads.
    pub leaning: f64,
    /// Of both, those whose reads spread over all replicas by day.
    pub spread_by_day: f64,
    /// Lasting changes of who serves, for each partition and day, half of them with another load.
    pub shifts_per_day: f64,
    /// Hours that a change takes, at most.
    pub ramp_most_h: u32,
}

/// A kind of nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// What it is called.
    pub name: String,
    /// Its share of the nodes; shares sum to 1.
    pub share: f64,
    /// Mean failures of a node per day.
    pub failures_per_day: f64,
    /// Shape of the gamma distribution of its nodes' hazards: the less, the more they differ.
    pub shape: f64,
    /// Capacity, relative to the other classes.
    pub capacity: f64,
}

/// Nodes that fail far more often than their class, half of them from the start, the others from some day on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Flaky {
    /// Share of the nodes.
    pub share: f64,
    /// Mean failures of one per day.
    pub failures_per_day: f64,
    /// How many times more often one goes gray.
    pub gray_times: f64,
}

/// Nodes and racks that go away.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Failure {
    /// Minutes until the reads of a node that is gone are served by others.
    pub reroute_min: f64,
    /// Whether nodes fail by themselves.
    pub independent: bool,
    /// Added hazard per hour for each tenth of the capacity by which the load exceeds 95 % of it, at most five.
    pub overload_per_h: f64,
    /// Failures of a rack per day.
    pub rack_per_day: f64,
    /// Share of outages that are short.
    pub short: f64,
    /// Median of a short outage, hours.
    pub short_h: f64,
    /// Median of a long outage, hours.
    pub long_h: f64,
    /// Hours after which what a node held is made again elsewhere.
    pub repair_after_h: u32,
    /// Hours that making it again takes.
    pub repair_h: u32,
}

/// Nodes that still answer, badly.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gray {
    /// How often a node goes gray, per day.
    pub per_day: f64,
    /// Median hours that it stays so.
    pub median_h: f64,
    /// What is left of its share where others can serve instead.
    pub share_left: f64,
    /// What is left of its capacity.
    pub capacity_left: f64,
    /// Share of its reads that are lost.
    pub lost: f64,
    /// Latency, as a multiple.
    pub latency_times: f64,
    /// Probability that it fails at the end.
    pub dies: f64,
}

/// What moving a replica, or the reads, costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Copying {
    /// Seconds in which the reads of a share that changes its node are not served.
    pub pause_s: f64,
    /// Minutes that the copy of a mean replica takes.
    pub minutes: f64,
    /// Share of a partition's reads that are lost while it is copied.
    pub lost: f64,
    /// Utilisation that a copy adds to both of its nodes.
    pub utilisation: f64,
    /// What a drained replica serves of its share yet.
    pub drained_left: f64,
}

/// What is known of a cluster by those who watch it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sight {
    /// Reads that are counted of a mean partition in a tick.
    pub reads_per_tick: f64,
    /// Standard deviation of the logarithm of measured capacities.
    pub capacity_error: f64,
    /// The same of a node's latency in a tick.
    pub latency_noise: f64,
    /// Latency of an idle node, milliseconds.
    pub latency_ms: f64,
}

impl Default for Spec {
    fn default() -> Self {
        let class = |name: &str, share, failures_per_day| Class {
            name: name.to_owned(),
            share,
            failures_per_day,
            shape: 0.7,
            capacity: 1.0,
        };
        Self {
            nodes: 60,
            racks: 6,
            partitions: 1_000,
            days: 30,
            learning_days: 7,
            failure_history_days: 60,
            utilisation: 0.42,
            demand: Demand::default(),
            classes: vec![class("old", 0.4, 1.0 / 60.0), class("new", 0.6, 1.0 / 135.0)],
            flaky: Flaky::default(),
            failure: Failure::default(),
            gray: Gray::default(),
            copying: Copying::default(),
            sight: Sight::default(),
        }
    }
}

impl Default for Demand {
    fn default() -> Self {
        Self {
            skew: 1.0,
            skew_most: 12.0,
            size_skew: 0.8,
            daily: 0.4,
            weekend: 0.9,
            phase_h: 1.0,
            noise: 0.05,
            share_noise: 0.08,
            led: 0.4,
            leaning: 0.3,
            spread_by_day: 0.3,
            shifts_per_day: 1.0 / 30.0,
            ramp_most_h: 8,
        }
    }
}

impl Default for Flaky {
    fn default() -> Self {
        Self { share: 0.05, failures_per_day: 0.25, gray_times: 3.0 }
    }
}

impl Default for Failure {
    fn default() -> Self {
        Self {
            reroute_min: 1.0,
            independent: true,
            overload_per_h: 0.03,
            rack_per_day: 1.0 / 180.0,
            short: 0.7,
            short_h: 0.375,
            long_h: 10.0,
            repair_after_h: 1,
            repair_h: 3,
        }
    }
}

impl Default for Gray {
    fn default() -> Self {
        Self {
            per_day: 1.0 / 120.0,
            median_h: 4.0,
            share_left: 0.35,
            capacity_left: 0.4,
            lost: 0.03,
            latency_times: 3.0,
            dies: 0.25,
        }
    }
}

impl Default for Copying {
    fn default() -> Self {
        Self { pause_s: 2.0, minutes: 22.0, lost: 0.001, utilisation: 0.03, drained_left: 0.1 }
    }
}

impl Default for Sight {
    fn default() -> Self {
        Self { reads_per_tick: 5_000.0, capacity_error: 0.05, latency_noise: 0.15, latency_ms: 1.0 }
    }
}

/// Why a cluster cannot be made.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SpecError {
    /// A number outside what it can be.
    #[error("{field} is {value}, and must be {must}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// Its value.
        value: f64,
        /// What it must be.
        must: &'static str,
    },
}

impl Spec {
    /// The same cluster when all is well: nothing fails, nothing goes gray, nothing shifts. Days, weeks, noise and
    /// what is measured wrongly stay.
    #[must_use]
    pub fn healthy(mut self) -> Self {
        self.demand.shifts_per_day = 0.0;
        self.flaky.share = 0.0;
        self.failure.independent = false;
        self.failure.overload_per_h = 0.0;
        self.failure.rack_per_day = 0.0;
        self.gray.per_day = 0.0;
        self
    }

    /// Checks every number.
    ///
    /// # Errors
    /// The first field that cannot be.
    pub fn check(&self) -> Result<(), SpecError> {
        let share = |value: f64| (0.0..=1.0).contains(&value);
        let some = |value: f64| value.is_finite() && value > 0.0;
        let weight = |value: f64| value.is_finite() && value >= 0.0;
        let (d, f, g, s, c) = (&self.demand, &self.failure, &self.gray, &self.sight, &self.copying);
        let whole = |value: u32| (f64::from(value), value >= 1);
        let racks = f64::from(self.racks);
        let fields = [
            ("racks", racks, usize::from(self.racks) >= REPLICAS, "at least 3"),
            (
                "nodes",
                f64::from(self.nodes),
                self.nodes > 0 && self.racks > 0 && self.nodes.is_multiple_of(self.racks),
                "a multiple of the racks, at most 65,534",
            ),
            ("partitions", whole(self.partitions).0, whole(self.partitions).1, ONE),
            ("days", whole(self.days).0, whole(self.days).1, ONE),
            ("learning_days", whole(self.learning_days).0, whole(self.learning_days).1, ONE),
            ("utilisation", self.utilisation, some(self.utilisation) && self.utilisation < 1.0, "in (0, 1)"),
            ("demand.skew", d.skew, weight(d.skew), WEIGHT),
            ("demand.skew_most", d.skew_most, d.skew_most.is_finite() && d.skew_most >= 1.0, ONE),
            ("demand.size_skew", d.size_skew, weight(d.size_skew), WEIGHT),
            ("demand.daily", d.daily, share(d.daily), SHARE),
            ("demand.weekend", d.weekend, share(d.weekend), SHARE),
            ("demand.phase_h", d.phase_h, weight(d.phase_h), WEIGHT),
            ("demand.noise", d.noise, weight(d.noise), WEIGHT),
            ("demand.share_noise", d.share_noise, weight(d.share_noise), WEIGHT),
            ("demand.led", d.led, share(d.led), SHARE),
            ("demand.leaning", d.leaning, share(d.leaning) && d.led + d.leaning <= 1.0, "at most 1 with led"),
            ("demand.spread_by_day", d.spread_by_day, share(d.spread_by_day), SHARE),
            ("demand.shifts_per_day", d.shifts_per_day, weight(d.shifts_per_day), WEIGHT),
            ("demand.ramp_most_h", whole(d.ramp_most_h).0, whole(d.ramp_most_h).1, ONE),
            ("flaky.share", self.flaky.share, share(self.flaky.share), SHARE),
            (
                "flaky.failures_per_day",
                self.flaky.failures_per_day,
                weight(self.flaky.failures_per_day),
                WEIGHT,
            ),
            ("flaky.gray_times", self.flaky.gray_times, weight(self.flaky.gray_times), WEIGHT),
            ("failure.reroute_min", f.reroute_min, weight(f.reroute_min), WEIGHT),
            ("failure.overload_per_h", f.overload_per_h, weight(f.overload_per_h), WEIGHT),
            ("failure.rack_per_day", f.rack_per_day, weight(f.rack_per_day), WEIGHT),
            ("failure.short", f.short, share(f.short), SHARE),
            ("failure.short_h", f.short_h, some(f.short_h), SOME),
            ("failure.long_h", f.long_h, some(f.long_h), SOME),
            ("failure.repair_after_h", whole(f.repair_after_h).0, whole(f.repair_after_h).1, ONE),
            ("failure.repair_h", whole(f.repair_h).0, whole(f.repair_h).1, ONE),
            ("gray.per_day", g.per_day, weight(g.per_day), WEIGHT),
            ("gray.median_h", g.median_h, some(g.median_h), SOME),
            ("gray.share_left", g.share_left, some(g.share_left) && share(g.share_left), SHARE),
            ("gray.capacity_left", g.capacity_left, some(g.capacity_left) && share(g.capacity_left), SHARE),
            ("gray.lost", g.lost, share(g.lost), SHARE),
            ("gray.latency_times", g.latency_times, some(g.latency_times), SOME),
            ("gray.dies", g.dies, share(g.dies), SHARE),
            ("copying.pause_s", c.pause_s, weight(c.pause_s), WEIGHT),
            ("copying.minutes", c.minutes, some(c.minutes), SOME),
            ("copying.lost", c.lost, share(c.lost), SHARE),
            ("copying.utilisation", c.utilisation, weight(c.utilisation), WEIGHT),
            ("copying.drained_left", c.drained_left, some(c.drained_left) && share(c.drained_left), SHARE),
            ("sight.reads_per_tick", s.reads_per_tick, some(s.reads_per_tick), SOME),
            ("sight.capacity_error", s.capacity_error, weight(s.capacity_error), WEIGHT),
            ("sight.latency_noise", s.latency_noise, weight(s.latency_noise), WEIGHT),
            ("sight.latency_ms", s.latency_ms, some(s.latency_ms), SOME),
        ];
        if let Some((field, value, _, must)) = fields.into_iter().find(|(_, _, right, _)| !right) {
            return Err(SpecError::OutOfRange { field, value, must });
        }
        self.check_classes()
    }

    fn check_classes(&self) -> Result<(), SpecError> {
        let refuse = |field, value, must| Err(SpecError::OutOfRange { field, value, must });
        for class in &self.classes {
            let positive = |value: f64| value.is_finite() && value > 0.0;
            for (field, value) in [
                ("classes.share", class.share),
                ("classes.failures_per_day", class.failures_per_day),
                ("classes.shape", class.shape),
                ("classes.capacity", class.capacity),
            ] {
                if !positive(value) {
                    return refuse(field, value, SOME);
                }
            }
        }
        // The sum of nothing is -0, which reads badly.
        let sum = self.classes.iter().map(|class| class.share).sum::<f64>() + 0.0;
        if (sum - 1.0).abs() > 1e-9 { refuse("the sum of classes.share", sum, "1") } else { Ok(()) }
    }
}

const ONE: &str = "at least 1";
const SHARE: &str = "from 0 to 1";
const SOME: &str = "above 0";
const WEIGHT: &str = "0 or more";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_be_made_and_so_can_they_when_healthy() {
        Spec::default().check().unwrap();
        Spec::default().healthy().check().unwrap();
    }

    #[test]
    fn what_cannot_be_is_named() {
        let with = |change: fn(&mut Spec)| {
            let mut spec = Spec::default();
            change(&mut spec);
            spec.check().unwrap_err().to_string()
        };
        assert_eq!(with(|s| s.racks = 2), "racks is 2, and must be at least 3");
        assert!(with(|s| s.nodes = 61).starts_with("nodes is 61"));
        assert!(with(|s| s.utilisation = f64::NAN).starts_with("utilisation is NaN"));
        assert!(with(|s| s.gray.share_left = 0.0).starts_with("gray.share_left is 0"));
        assert!(with(|s| s.classes[0].share = 0.5).starts_with("the sum of classes.share is 1.1"));
        assert!(with(|s| s.classes.clear()).starts_with("the sum of classes.share is 0"));
    }
}
