//! What is on record, as messages.

use crate::topology::{Freshness, Origin, Topology};
use isotherm_model::{NodeId, SystemId, Timestamp};
use isotherm_proto::control::v1 as wire;
use isotherm_store::{Cause, DownInterval, NodeHistory, OutageCause, Override, Recorder, Word};
use std::collections::BTreeMap;
use tonic::Status;

pub(super) fn topology(topology: &Topology) -> wire::GetTopologyResponse {
    let count = |systems: &mut BTreeMap<SystemId, u64>, system: &SystemId| {
        *systems.entry(system.clone()).or_default() += 1;
    };
    let (mut nodes, mut partitions) = (BTreeMap::new(), BTreeMap::new());
    topology.nodes.keys().for_each(|node| count(&mut nodes, node.system()));
    topology.subsets.keys().for_each(|partition| count(&mut partitions, partition.system()));
    let sources = topology.sources.iter().map(|(system, source)| {
        let (origin, endpoint) = match &source.origin {
            Origin::Configuration => (wire::TopologyOrigin::Configuration, String::new()),
            Origin::Adapter { endpoint } => (wire::TopologyOrigin::Adapter, endpoint.clone()),
        };
        let freshness = match source.freshness {
            Freshness::Fresh => wire::TopologyFreshness::Fresh,
            Freshness::Stale => wire::TopologyFreshness::Stale,
            Freshness::Never => wire::TopologyFreshness::Never,
        };
        let adapter = source.capabilities.as_ref().map(|capabilities| capabilities.adapter.clone());
        wire::TopologySource {
            system: system.to_string(),
            origin: origin.into(),
            endpoint,
            freshness: freshness.into(),
            heard_ms: source.heard.map(Timestamp::as_ms),
            problem: source.problem.clone().unwrap_or_default(),
            revision: source.revision,
            incarnation: source.incarnation.clone(),
            adapter: adapter.unwrap_or_default(),
            nodes: nodes.get(system).copied().unwrap_or(0),
            partitions: partitions.get(system).copied().unwrap_or(0),
        }
    });
    wire::GetTopologyResponse { revision: topology.revision, sources: sources.collect() }
}

pub(super) fn interval(interval: DownInterval, domain: Option<Vec<String>>) -> wire::DownInterval {
    let cause = match interval.cause {
        Cause::Failure => wire::DownCause::Failure,
        Cause::Maintenance => wire::DownCause::Maintenance,
        Cause::AgentLoss => wire::DownCause::AgentLoss,
    };
    let source = match interval.source {
        Recorder::Agent => wire::DownSource::Agent,
        Recorder::Topology => wire::DownSource::Topology,
        Recorder::Import => wire::DownSource::Import,
        Recorder::Operator => wire::DownSource::Operator,
    };
    wire::DownInterval {
        system: interval.node.system().to_string(),
        node: interval.node.name().to_owned(),
        from_ms: interval.from.as_ms(),
        to_ms: interval.to.map(Timestamp::as_ms),
        cause: cause.into(),
        source: source.into(),
        note: interval.note,
        who: interval.who,
        recorded_ms: interval.recorded.as_ms(),
        domain: domain.map(|path| path.join("/")).unwrap_or_default(),
    }
}

pub(super) fn exposure(topology: &Topology, node: &NodeId, history: &NodeHistory) -> wire::NodeExposure {
    let days = history.observed_h_by_day().into_iter();
    let outage = |outage: &isotherm_store::Outage| wire::Outage {
        from_ms: outage.from.as_ms(),
        to_ms: outage.to.map(Timestamp::as_ms),
        cause: match outage.cause {
            OutageCause::Failure => wire::DownCause::Failure.into(),
            OutageCause::Maintenance => wire::DownCause::Maintenance.into(),
        },
        observed_before: outage.observed_before,
        domain: outage.domain.as_ref().map(|path| path.join("/")).unwrap_or_default(),
    };
    wire::NodeExposure {
        system: node.system().to_string(),
        node: node.name().to_owned(),
        class: topology.nodes.get(node).and_then(|facts| facts.class.clone()).unwrap_or_default(),
        observed_h: history.observed_h(),
        days: days.map(|(day, observed_h)| wire::DayExposure { day_ms: day.as_ms(), observed_h }).collect(),
        outages: history.outages.iter().map(outage).collect(),
    }
}

/// An operator's word, checked.
pub(super) fn word(raw: Option<wire::set_hazard_request::Hazard>) -> Result<Word, Status> {
    use wire::set_hazard_request::Hazard;
    match raw {
        Some(Hazard::PerHour(rate)) if rate.is_finite() && rate >= 0.0 => Ok(Word::PerHour(rate)),
        Some(Hazard::PerHour(rate)) => {
            Err(Status::invalid_argument(format!("per_hour: {rate} is not a finite rate of 0 or more")))
        }
        Some(Hazard::Factor(factor)) if factor.is_finite() && factor > 0.0 => Ok(Word::Factor(factor)),
        Some(Hazard::Factor(factor)) => {
            Err(Status::invalid_argument(format!("factor: {factor} is not a finite number above 0")))
        }
        None => Err(Status::invalid_argument("hazard: give a rate or a factor")),
    }
}

pub(super) fn hazard(word: Override) -> wire::HazardOverride {
    use wire::hazard_override::Hazard;
    let hazard = match word.word {
        Word::PerHour(rate) => Hazard::PerHour(rate),
        Word::Factor(factor) => Hazard::Factor(factor),
    };
    let (cleared_ms, cleared_by, cleared_reason) = match word.cleared {
        Some(cleared) => (Some(cleared.at.as_ms()), cleared.who, cleared.reason),
        None => (None, String::new(), String::new()),
    };
    wire::HazardOverride {
        system: word.node.system().to_string(),
        node: word.node.name().to_owned(),
        hazard: Some(hazard),
        set_ms: word.set.as_ms(),
        until_ms: word.until.as_ms(),
        reason: word.reason,
        who: word.who,
        cleared_ms,
        cleared_by,
        cleared_reason,
    }
}
