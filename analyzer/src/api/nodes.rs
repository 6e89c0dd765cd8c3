//! The node service: sources of the topology, and what is on record about nodes.

mod render;

use super::named::{is_called, only};
use super::{Control, status};
use crate::topology::Topology;
use crate::topology::failure::Domains;
use crate::writer::{now, with_causes};
use isotherm_model::{InvalidName, NodeId, SystemId, Timestamp};
use isotherm_proto::control::v1 as wire;
use isotherm_proto::control::v1::node_service_server::NodeService;
use isotherm_store::{
    Cause, Changed, DownInterval, History, HistoryError, Keep, MAX_WORDS, QueryError, Reader, Recorder,
    Recording,
};
use std::collections::BTreeSet;
use tonic::{Request, Response, Status};

/// Intervals of one import. The message is bounded, too.
const MAX_IMPORT: usize = 100_000;

/// Everything that may have recorded an outage: an operator may end what others recorded.
const ANYBODY: [Recorder; 4] = [Recorder::Agent, Recorder::Topology, Recorder::Import, Recorder::Operator];

impl Control {
    /// Asks or changes the record on a thread that may block.
    async fn record<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Reader, &Topology) -> Result<T, Status> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        self.ask(move |reader, topology| Ok(work(reader, topology))).await?.map(Response::new)
    }
}

#[tonic::async_trait]
impl NodeService for Control {
    async fn get_topology(
        &self,
        _: Request<wire::GetTopologyRequest>,
    ) -> Result<Response<wire::GetTopologyResponse>, Status> {
        let topology = self.topologies.borrow().clone();
        Ok(Response::new(render::topology(&topology)))
    }

    async fn record_failure(
        &self,
        request: Request<wire::RecordFailureRequest>,
    ) -> Result<Response<wire::RecordFailureResponse>, Status> {
        let request = request.into_inner();
        self.record(move |reader, topology| {
            let cause = match request.cause() {
                wire::DownCause::Unspecified | wire::DownCause::Failure => Cause::Failure,
                wire::DownCause::Maintenance => Cause::Maintenance,
                wire::DownCause::AgentLoss => {
                    return Err(Status::invalid_argument("cause: nobody can record an agent's loss by hand"));
                }
            };
            let node = known_node(reader, topology, &request.node)?;
            let from = moment("from_ms", request.from_ms)?;
            let to = request.to_ms.map(|to| moment("to_ms", to)).transpose()?;
            let interval = DownInterval {
                domains: Domains::new(topology).of(&node),
                node,
                from,
                to,
                cause,
                source: Recorder::Operator,
                note: words("reason", request.reason)?,
                who: words("who", request.who)?,
                recorded: now(),
            };
            let mut history = open(reader)?;
            let intervals = std::slice::from_ref(&interval);
            let did =
                if request.validate_only { history.try_record(intervals) } else { history.record(intervals) };
            let known = did.map_err(refused)?.contains(&Recording::Known);
            Ok(wire::RecordFailureResponse { interval: Some(render::interval(interval, None)), known })
        })
        .await
    }

    async fn record_recovery(
        &self,
        request: Request<wire::RecordRecoveryRequest>,
    ) -> Result<Response<wire::RecordRecoveryResponse>, Status> {
        let request = request.into_inner();
        self.record(move |reader, topology| {
            let node = known_node(reader, topology, &request.node)?;
            let changed = Changed {
                at: moment("at_ms", request.at_ms)?,
                who: words("who", request.who)?,
                reason: words("reason", request.reason)?,
            };
            let causes = [Cause::Failure, Cause::Maintenance];
            let ended = open(reader)?
                .end(&node, &causes, &ANYBODY, &changed, keep(request.validate_only))
                .map_err(refused)?;
            if ended.is_empty() {
                return Err(Status::not_found(format!("{node} is not on record as down")));
            }
            let intervals = ended.into_iter().map(|interval| render::interval(interval, None)).collect();
            Ok(wire::RecordRecoveryResponse { intervals })
        })
        .await
    }

    async fn import_failures(
        &self,
        request: Request<wire::ImportFailuresRequest>,
    ) -> Result<Response<wire::ImportFailuresResponse>, Status> {
        let request = request.into_inner();
        self.record(move |reader, topology| {
            if request.intervals.len() > MAX_IMPORT {
                let message = format!("intervals: more than {MAX_IMPORT} at once");
                return Err(Status::invalid_argument(message));
            }
            let (who, reason) = (words("who", request.who)?, words("reason", request.reason)?);
            let mut domains = Domains::new(topology);
            let mut intervals = Vec::with_capacity(request.intervals.len());
            for (at, raw) in request.intervals.into_iter().enumerate() {
                let interval = imported(&mut domains, raw, &who, &reason).map_err(|error| {
                    Status::invalid_argument(format!("intervals[{at}].{}", error.message()))
                })?;
                intervals.push(interval);
            }
            let mut history = open(reader)?;
            let did = if request.validate_only {
                history.try_record(&intervals)
            } else {
                history.record(&intervals)
            };
            let did = did.map_err(refused)?;
            let known = did.iter().filter(|did| **did == Recording::Known).count();
            Ok(wire::ImportFailuresResponse { added: (did.len() - known) as u64, known: known as u64 })
        })
        .await
    }

    async fn list_failures(
        &self,
        request: Request<wire::ListFailuresRequest>,
    ) -> Result<Response<wire::ListFailuresResponse>, Status> {
        let request = request.into_inner();
        self.record(move |reader, topology| {
            let only = wanted(reader, topology, &request.node)?;
            let histories = reader.histories(since(request.since_ms)).map_err(|error| status(&error))?;
            let mut intervals = histories.intervals;
            intervals.retain(|(interval, _)| only.as_ref().is_none_or(|only| interval.node == *only));
            let intervals = intervals.into_iter();
            let intervals = intervals.map(|(interval, domain)| render::interval(interval, domain)).collect();
            Ok(wire::ListFailuresResponse { intervals })
        })
        .await
    }

    async fn list_exposure(
        &self,
        request: Request<wire::ListExposureRequest>,
    ) -> Result<Response<wire::ListExposureResponse>, Status> {
        let request = request.into_inner();
        self.record(move |reader, topology| {
            let only = wanted(reader, topology, &request.node)?;
            let histories = reader.histories(since(request.since_ms)).map_err(|error| status(&error))?;
            let mut nodes = histories.nodes;
            nodes.retain(|node, _| only.as_ref().is_none_or(|only| node == only));
            let nodes = nodes.iter().map(|(node, found)| render::exposure(topology, node, found)).collect();
            Ok(wire::ListExposureResponse { nodes })
        })
        .await
    }

    async fn set_hazard(
        &self,
        request: Request<wire::SetHazardRequest>,
    ) -> Result<Response<wire::SetHazardResponse>, Status> {
        let request = request.into_inner();
        self.record(move |reader, topology| {
            let node = known_node(reader, topology, &request.node)?;
            let word = render::word(request.hazard)?;
            let reason = words("reason", request.reason)?;
            if reason.is_empty() {
                return Err(Status::invalid_argument("reason: is empty"));
            }
            let new = isotherm_store::Override {
                node,
                word,
                set: now(),
                until: Timestamp::from_ms(request.until_ms),
                reason,
                who: words("who", request.who)?,
                cleared: None,
            };
            open(reader)?.set_hazard(&new, keep(request.validate_only)).map_err(refused)?;
            Ok(wire::SetHazardResponse { hazard: Some(render::hazard(new)) })
        })
        .await
    }

    async fn clear_hazard(
        &self,
        request: Request<wire::ClearHazardRequest>,
    ) -> Result<Response<wire::ClearHazardResponse>, Status> {
        let request = request.into_inner();
        self.record(move |reader, topology| {
            let node = known_node(reader, topology, &request.node)?;
            let (who, reason) = (words("who", request.who)?, words("reason", request.reason)?);
            let cleared =
                open(reader)?.clear_hazard(&node, &Changed { at: now(), who, reason }).map_err(refused)?;
            Ok(wire::ClearHazardResponse { hazard: Some(render::hazard(cleared)) })
        })
        .await
    }

    async fn list_hazards(
        &self,
        request: Request<wire::ListHazardsRequest>,
    ) -> Result<Response<wire::ListHazardsResponse>, Status> {
        let all = request.into_inner().all;
        self.record(move |reader, _| {
            let found = reader.hazard_overrides((!all).then(now)).map_err(|error| status(&error))?;
            Ok(wire::ListHazardsResponse { hazards: found.into_iter().map(render::hazard).collect() })
        })
        .await
    }
}

fn imported(
    domains: &mut Domains<'_>,
    raw: wire::ImportedInterval,
    who: &str,
    reason: &str,
) -> Result<DownInterval, Status> {
    let cause = match raw.cause() {
        wire::DownCause::Failure => Cause::Failure,
        wire::DownCause::Maintenance => Cause::Maintenance,
        wire::DownCause::AgentLoss => Cause::AgentLoss,
        wire::DownCause::Unspecified => return Err(Status::invalid_argument("cause: is unspecified")),
    };
    let invalid = |error: InvalidName| Status::invalid_argument(error.to_string());
    let node = NodeId::new(SystemId::new(raw.system).map_err(invalid)?, raw.node).map_err(invalid)?;
    if raw.from_ms == 0 {
        return Err(Status::invalid_argument("from_ms: is 0"));
    }
    let from = moment("from_ms", raw.from_ms)?;
    let to = raw.to_ms.map(|to| moment("to_ms", to)).transpose()?;
    if to.is_some_and(|to| to <= from) {
        return Err(Status::invalid_argument("to_ms: is not after from_ms"));
    }
    let note = words("note", raw.note)?;
    Ok(DownInterval {
        domains: domains.of(&node),
        node,
        from,
        to,
        cause,
        source: Recorder::Import,
        note: if note.is_empty() { reason.to_owned() } else { note },
        who: who.to_owned(),
        recorded: now(),
    })
}

fn open(reader: &Reader) -> Result<History, Status> {
    History::open(reader).map_err(refused)
}

fn keep(validate_only: bool) -> Keep {
    if validate_only { Keep::No } else { Keep::Yes }
}

fn since(ms: u64) -> Option<Timestamp> {
    (ms > 0).then_some(Timestamp::from_ms(ms))
}

/// A moment that is not to come; 0 is now.
fn moment(field: &str, ms: u64) -> Result<Timestamp, Status> {
    let (at, now) = (Timestamp::from_ms(ms), now());
    match ms {
        0 => Ok(now),
        _ if at <= now => Ok(at),
        _ => Err(Status::invalid_argument(format!("{field}: is in the future"))),
    }
}

fn words(field: &str, text: String) -> Result<String, Status> {
    if text.len() > MAX_WORDS || text.chars().any(char::is_control) {
        let message = format!("{field}: is longer than {MAX_WORDS} bytes, or has control characters");
        return Err(Status::invalid_argument(message));
    }
    Ok(text)
}

/// The node that is asked for, if any.
fn wanted(reader: &Reader, topology: &Topology, name: &str) -> Result<Option<NodeId>, Status> {
    if name.is_empty() { Ok(None) } else { known_node(reader, topology, name).map(Some) }
}

/// The node of a name, `system/name` or `name`: one that the topology, an agent or the record names.
fn known_node(reader: &Reader, topology: &Topology, name: &str) -> Result<NodeId, Status> {
    let reports = reader.nodes().map_err(|error| status(&error))?;
    let recorded = reader.down_intervals(None).map_err(|error| status(&error))?;
    let named = topology.nodes.keys().chain(reports.iter().map(|report| &report.node));
    let named = named.chain(recorded.iter().map(|interval| &interval.node));
    let called = |node: &&NodeId| !node.is_host() && is_called(name, node.system().as_str(), node.name());
    let found: BTreeSet<&NodeId> = named.filter(called).collect();
    let found = only("node", name, found.into_iter().map(|node| (node.system().as_str(), node)))?;
    found.cloned().ok_or_else(|| status(&QueryError::NoSuchNode { name: name.to_owned() }))
}

fn refused(error: HistoryError) -> Status {
    match error {
        HistoryError::Backwards { .. } | HistoryError::Differs { .. } => {
            Status::invalid_argument(error.to_string())
        }
        HistoryError::Nothing { .. } => Status::not_found(error.to_string()),
        HistoryError::Catalog(_) => {
            let error = with_causes(&error);
            tracing::error!(%error, "the record cannot be written");
            Status::internal(error)
        }
    }
}
