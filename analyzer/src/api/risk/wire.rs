//! What a cycle found, as messages.

use crate::cycle::Cycled;
use isotherm_cycle::band::Source;
use isotherm_cycle::cluster::HazardSource;
use isotherm_cycle::record::{Judged, Record, Surging};
use isotherm_model::entropy::NodeEntropy;
use isotherm_proto::control::v1::{
    Cycle, DecisionRecord, DomainPart, Foreseen, Habitual, Holder, Loss, NodeRecord, Stage, SystemLoad,
};
use isotherm_risk::class::Class;
use isotherm_risk::gray;

pub(super) fn cycle(cycled: &Cycled) -> Cycle {
    let [known, surging, forecast] = cycled.tallied();
    let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let us = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let step_s = cycled.settings.step_ms as f64 / 1_000.0;
    let system = |load: &isotherm_store::SystemLoad| SystemLoad {
        system: load.system.to_string(),
        reads_per_s: load.over_nodes.known().map(|measured| measured.accesses as f64 / step_s),
        effective_nodes: effective(&load.over_nodes),
        effective_partitions: effective(&load.over_partitions),
    };
    Cycle {
        number: cycled.number,
        at_ms: cycled.at.as_ms(),
        took_ms: ms(cycled.took),
        stages: cycled
            .stages
            .iter()
            .map(|(name, took)| Stage { name: (*name).to_owned(), took_us: us(*took) })
            .collect(),
        partitions: cycled.records.len() as u64,
        nodes: cycled.cluster.nodes.len() as u64,
        known,
        surging,
        forecast,
        skipped: cycled.skipped,
        revision: cycled.cluster.revision,
        judged_forecasts: cycled.judged_forecasts,
        labels: cycled.labels,
        systems: cycled.systems.iter().map(system).collect(),
    }
}

fn effective(entropy: &NodeEntropy) -> Option<f64> {
    entropy.known().map(|measured| measured.effective)
}

pub(super) fn record(record: &Record, cycled: &Cycled) -> DecisionRecord {
    let exposed = record.exposure.as_ref();
    DecisionRecord {
        system: record.system.clone(),
        partition: record.partition.clone(),
        at_ms: record.at.0,
        revision: record.revision,
        status: record.status.as_str().to_owned(),
        h: record.node.h,
        bits: record.bits,
        effective_nodes: record.effective_nodes,
        class: record.class.map(Class::as_str).unwrap_or_default().to_owned(),
        node_habit: habitual(Some(record.node)),
        offset_habit: habitual(record.offset),
        peer_habit: habitual(record.peer),
        offset_h: record.offset.and_then(|judged| judged.h),
        peer_h: record.peer.and_then(|judged| judged.h),
        surge: record.surge.as_str().to_owned(),
        surging_since_ms: match record.surge {
            Surging::Since(since) => Some(since),
            Surging::Quiet | Surging::Unknown => None,
        },
        forecast: record.forecast.map(|forecast| Foreseen {
            ahead_min: forecast.step as f64,
            h: forecast.h,
            lower_80: forecast.lower_80,
            upper_80: forecast.upper_80,
            source: source(forecast.source).to_owned(),
            order: record
                .order
                .map(|order| order.map(|terms| u32::try_from(terms).unwrap_or(u32::MAX)).to_vec())
                .unwrap_or_default(),
        }),
        forecast_surge: record.forecast_surge,
        reads_per_s: record.reads_per_s,
        exposure_per_hour: exposed.map(|exposed| exposed.per_hour),
        horizon_h: exposed.map_or(cycled.settings.horizon_h, |exposed| exposed.horizon_h),
        exposure_mean: exposed.map(|exposed| exposed.mean),
        exposure_variance: exposed.map(|exposed| exposed.variance),
        forecast_share: exposed.map(|exposed| exposed.forecast_share),
        headroom_known: exposed.is_some_and(|exposed| exposed.headroom_known),
        risk: exposed.map(|exposed| exposed.risk),
        calibrated: record.calibrated,
        loss: record.loss.as_ref().map(|loss| Loss {
            failover: loss.until_rerouted(),
            survivors_overload: loss.after_failures,
            present_overload: loss.present_overload,
            under_replication: loss.under_replication(),
            total: loss.per_hour(),
        }),
        holders: record.holders.iter().map(|holder| self::holder(holder, cycled)).collect(),
        domains: record
            .domains
            .iter()
            .map(|part| DomainPart {
                domain: cycled.cluster.domains[part.domain as usize].name.clone(),
                share: part.share,
                hazard: part.hazard,
                exposure: part.exposure,
            })
            .collect(),
        verdict: record.verdict.as_str().to_owned(),
        reason: record.reason.clone(),
    }
}

fn holder(holder: &isotherm_cycle::record::Holder, cycled: &Cycled) -> Holder {
    Holder {
        node: cycled.cluster.nodes[holder.node as usize].name.clone(),
        share: holder.share,
        hazard: holder.hazard,
        hazard_over_class: holder.hazard_over_class,
        overload: holder.overload,
        exposure: holder.exposure,
        loss: holder.loss,
    }
}

fn habitual(judged: Option<Judged>) -> Option<Habitual> {
    let judged = judged?;
    let habitual = judged.habitual?;
    let source = if habitual.weeks > 0 { "hour_of_week" } else { "recent" };
    Some(Habitual { baseline: habitual.value, mad: habitual.mad, source: source.to_owned(), z: judged.z })
}

fn source(source: Source) -> &'static str {
    match source {
        Source::Group => "group",
        Source::Pooled => "pooled",
        Source::Model => "model",
        Source::Still => "still",
    }
}

pub(super) fn node(cycled: &Cycled, at: usize) -> NodeRecord {
    let (facts, view) = (&cycled.cluster.nodes[at], &cycled.nodes[at]);
    let (gray, gray_evidence) = gray_words(view.gray);
    let held = cycled.landscape.placed.iter();
    let held = held.filter(|placed| placed.subset.iter().any(|node| node.at() == at)).count() as u64;
    NodeRecord {
        system: facts.system.clone(),
        name: facts.name.clone(),
        reads_per_s: view.reads_per_s,
        capacity_per_s: facts.capacity_per_s,
        hazard_per_hour: facts.hazard.per_hour,
        hazard_over_class: facts.hazard.over_class,
        hazard_source: match facts.hazard.source {
            HazardSource::Prior => "prior",
            HazardSource::Observed => "observed",
            HazardSource::Override => "override",
        }
        .to_owned(),
        class: facts.class.clone(),
        failures: facts.failures,
        observed_h: facts.observed_h,
        gray: gray.to_owned(),
        gray_evidence,
        partitions: held,
    }
}

fn gray_words(verdict: Option<gray::Verdict>) -> (&'static str, String) {
    use gray::Verdict;
    let told = |evidence: gray::Evidence| {
        let latency = evidence.latency.map_or_else(
            || "its latency is not known".to_owned(),
            |ratio| format!("its median latency is {:.1} times what is habitual", ratio.median),
        );
        format!(
            "it serves a habitual share times {:.2} in the median of {} partitions, well below it of {}, and {latency}",
            evidence.median_ratio, evidence.judged, evidence.fallen
        )
    };
    match verdict {
        Some(Verdict::Suspected(evidence)) => ("suspected", told(evidence)),
        Some(Verdict::SharesOnly(evidence)) => ("shares_only", told(evidence)),
        Some(Verdict::Relieved(evidence) | Verdict::Clear(evidence)) => ("no", told(evidence)),
        Some(Verdict::Unknown { have, need }) => {
            ("unknown", format!("{have} partitions can be judged, and {need} are needed"))
        }
        None => ("unknown", "no minute was judged yet".to_owned()),
    }
}
