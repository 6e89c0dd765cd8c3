//! From what a cycle found to the rows that are kept of it.

use isotherm_cycle::band::Source;
use isotherm_cycle::cluster::Cluster;
use isotherm_cycle::record::{Record, Surging};
use isotherm_model::{Layer, SystemId, Timestamp};
use isotherm_risk::LossParts;
use isotherm_store::{
    EntropyRow, EntropyStatus, ForecastKind, ForecastRow, IntervalSource, RiskRow, ShareEntropy, StepCounts,
};
use std::collections::BTreeMap;

/// Entropies of a step, a row for each partition.
pub(crate) fn entropies(counts: &StepCounts, layers: &BTreeMap<SystemId, Layer>) -> Vec<EntropyRow> {
    let step_ms = counts.time.end().as_ms() - counts.time.start().as_ms();
    let step_ms = u32::try_from(step_ms).expect("steps are an hour at most");
    let row = |partition: &isotherm_store::PartitionCounts| {
        let shares = counts.shares_of(partition);
        let measured = match partition.entropy {
            ShareEntropy::Known(measured) => Some(measured),
            ShareEntropy::Unknown | ShareEntropy::NotApplicable | ShareEntropy::Insufficient { .. } => None,
        };
        EntropyRow {
            step_start: counts.time.start(),
            step_ms,
            system: partition.partition.system().to_string(),
            partition: partition.partition.name().to_owned(),
            layer: layers.get(partition.partition.system()).copied().unwrap_or(Layer::Logical),
            reads: partition.reads.map(|reads| reads.ops),
            writes: partition.writes.map(|writes| writes.ops),
            eligible: u32::try_from(shares.len()).unwrap_or(u32::MAX),
            status: match partition.entropy {
                ShareEntropy::Known(_) => EntropyStatus::Known,
                ShareEntropy::Unknown => EntropyStatus::Unknown,
                ShareEntropy::NotApplicable => EntropyStatus::NotApplicable,
                ShareEntropy::Insufficient { .. } => EntropyStatus::Insufficient,
            },
            node_bits: measured.map(|measured| measured.bits),
            node_h: measured.map(|measured| measured.normalised),
            n_eff: measured.map(|measured| measured.effective),
            offset_bits: partition.offset.map(|offset| offset.bits),
            peer_bits: partition.peer.map(|peer| peer.bits),
            nodes: shares
                .iter()
                .map(|share| counts.nodes[share.node as usize].node.name().to_owned())
                .collect(),
            served: shares.iter().map(|share| share.reads).collect(),
        }
    };
    counts.partitions.iter().map(row).collect()
}

/// Forecasts of the series of minutes, a row for each that there is.
pub(crate) fn forecasts(records: &[Record], step_ms: u64) -> Vec<ForecastRow> {
    let row = |record: &Record| {
        let (foreseen, [p, d, q]) = (record.forecast?, record.order.unwrap_or_default());
        let number = |order: usize| u32::try_from(order).unwrap_or(u32::MAX);
        Some(ForecastRow {
            made_at: Timestamp::from_ms(record.at.0),
            system: record.system.clone(),
            partition: record.partition.clone(),
            kind: ForecastKind::Node,
            step_ms: u32::try_from(step_ms).expect("a minute at most"),
            horizon: number(foreseen.step),
            mean: Some(foreseen.h),
            lower80: Some(foreseen.lower_80),
            upper80: Some(foreseen.upper_80),
            p: number(p),
            d: number(d),
            q: number(q),
            interval: match foreseen.source {
                Source::Group | Source::Pooled => IntervalSource::Conformal,
                Source::Model => IntervalSource::Model,
                Source::Still => IntervalSource::None,
            },
        })
    };
    records.iter().filter_map(row).collect()
}

/// Decision records, a row for each partition.
pub(crate) fn risks(records: &[Record], cluster: &Cluster) -> Vec<RiskRow> {
    let row = |record: &Record| {
        let (exposed, loss) = (record.exposure.as_ref(), record.loss.as_ref());
        RiskRow {
            at: Timestamp::from_ms(record.at.0),
            system: record.system.clone(),
            partition: record.partition.clone(),
            revision: record.revision,
            h: record.node.h,
            class: record.class.map(|class| class.as_str().to_owned()),
            baseline: record.node.habitual.map(|habitual| habitual.value),
            z: record.node.z,
            surge: match record.surge {
                Surging::Since(_) => Some(true),
                Surging::Quiet => Some(false),
                Surging::Unknown => None,
            },
            forecast_lower: record.forecast.map(|forecast| forecast.lower_80),
            forecast_surge: record.forecast_surge,
            horizon_h: exposed.map(|exposed| exposed.horizon_h),
            exposure_per_hour: exposed.map(|exposed| exposed.per_hour),
            exposure_mean: exposed.map(|exposed| exposed.mean),
            exposure_variance: exposed.map(|exposed| exposed.variance),
            risk: exposed.map(|exposed| exposed.risk),
            calibrated: record.calibrated,
            loss_failover: loss.map(LossParts::until_rerouted),
            loss_survivors_overload: loss.and_then(|loss| loss.after_failures),
            loss_present_overload: loss.and_then(|loss| loss.present_overload),
            loss_under_replication: loss.map(LossParts::under_replication),
            loss_total: loss.and_then(LossParts::per_hour),
            nodes: record.holders.iter().map(|holder| node_name(cluster, holder.node)).collect(),
            shares: record.holders.iter().map(|holder| holder.share).collect(),
            hazards: record.holders.iter().map(|holder| Some(holder.hazard)).collect(),
            overloads: record.holders.iter().map(|holder| holder.overload).collect(),
            domains: record.domains.iter().map(|part| domain_name(cluster, part.domain)).collect(),
            domain_shares: record.domains.iter().map(|part| Some(part.share)).collect(),
            domain_hazards: record.domains.iter().map(|part| Some(part.hazard)).collect(),
            verdict: record.verdict.as_str().to_owned(),
            reason: record.reason.clone(),
        }
    };
    records.iter().map(row).collect()
}

fn node_name(cluster: &Cluster, at: u32) -> String {
    cluster.nodes[at as usize].name.clone()
}

fn domain_name(cluster: &Cluster, at: u32) -> String {
    cluster.domains[at as usize].name.clone()
}
