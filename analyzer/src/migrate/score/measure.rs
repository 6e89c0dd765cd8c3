//! What a migration brought, from what is found some time after its end.

use super::{loss, record, risk};
use crate::cycle::Cycled;
use isotherm_migration::{Origin, Spec};
use isotherm_model::{LatencyHistogram, Layer, Operation};
use isotherm_runner::journal::score::{Course, Measured, P99, Predicted, Scorecard};
use isotherm_store::Place;
use std::collections::BTreeMap;

/// Where reads are timed, the nearest to clients first.
const LAYERS: [Layer; 2] = [Layer::Logical, Layer::Device];

/// Latencies of a partition, by layer and operation.
#[derive(Debug, Clone, Default)]
pub(super) struct Latencies {
    pub(super) before: BTreeMap<Place, LatencyHistogram>,
    pub(super) after: BTreeMap<Place, LatencyHistogram>,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) course: Course,
    /// A cycle that judged a step after the end; `None` if there was none.
    pub(super) cycled: Option<&'a Cycled>,
    /// Of a replica, as the topology tells it.
    pub(super) size_bytes: Option<u64>,
    pub(super) latencies: Latencies,
    pub(super) now_ms: u64,
}

pub(super) fn measured(spec: &Spec, predicted: &Predicted, found: &Found<'_>) -> Measured {
    let record = found.cycled.and_then(|cycled| record(cycled, &spec.partition));
    let [p99_before, p99_after] = p99(&found.latencies);
    let mut measured = Measured {
        at_ms: found.now_ms,
        judged_ms: record.map(|record| record.at.0),
        risk: record.and_then(risk),
        loss: record.and_then(loss),
        p99_before,
        p99_after,
        pause_ms: match spec.origin {
            Origin::Move { .. } => found.course.stopped_ms,
            // Nobody writes to what is dead.
            Origin::Repair { .. } => None,
        },
        bytes: found.size_bytes,
        duration_ms: found.course.duration_ms(),
        gap: None,
    };
    measured.gap = Scorecard::unmeasured(predicted, &measured).map(str::to_owned);
    measured
}

/// The 99th percentile of reads before and after, in the first layer that has both; else in the first that has one.
fn p99(latencies: &Latencies) -> [Option<P99>; 2] {
    let of = |layer: Layer| {
        let found = |side: &BTreeMap<Place, LatencyHistogram>| {
            let reads = side.get(&(layer, Operation::Read))?;
            Some(P99 { layer: layer.as_str().to_owned(), ns: reads.quantile_ns(0.99)?, reads: reads.total() })
        };
        [found(&latencies.before), found(&latencies.after)]
    };
    let all = LAYERS.map(of);
    let both = all.iter().find(|sides| sides.iter().all(Option::is_some));
    let one = all.iter().find(|sides| sides.iter().any(Option::is_some));
    both.or(one).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_model::LATENCY_BUCKETS;

    fn reads(layer: Layer, bucket: usize, count: u64) -> BTreeMap<Place, LatencyHistogram> {
        let mut counts = [0; LATENCY_BUCKETS];
        counts[bucket] = count;
        BTreeMap::from([((layer, Operation::Read), LatencyHistogram::new(counts))])
    }

    fn both(latencies: &Latencies) -> [Option<(String, u64, u64)>; 2] {
        p99(latencies).map(|p99| p99.map(|p99| (p99.layer, p99.ns, p99.reads)))
    }

    #[test]
    fn latencies_are_compared_in_one_layer() {
        let told = |layer: &str, ns, reads| Some((layer.to_owned(), ns, reads));
        let mut latencies =
            Latencies { before: reads(Layer::Device, 22, 7), after: reads(Layer::Device, 20, 9) };
        assert_eq!(both(&latencies), [told("device", 1 << 23, 7), told("device", 1 << 21, 9)]);
        // Calls were timed before only, so requests are what can be compared.
        latencies.before.extend(reads(Layer::Logical, 10, 5));
        assert_eq!(both(&latencies)[0], told("device", 1 << 23, 7));
        latencies.after.extend(reads(Layer::Logical, 11, 6));
        assert_eq!(both(&latencies), [told("logical", 1 << 11, 5), told("logical", 1 << 12, 6)]);
    }

    #[test]
    fn what_nobody_timed_is_unknown() {
        assert_eq!(both(&Latencies::default()), [None, None]);
        let no_reads = Latencies { before: reads(Layer::Device, 3, 0), ..Latencies::default() };
        assert_eq!(both(&no_reads), [None, None]);
        let one_side = Latencies { after: reads(Layer::Device, 3, 1), ..Latencies::default() };
        assert_eq!(both(&one_side)[0], None);
        assert!(both(&one_side)[1].is_some());
    }
}
