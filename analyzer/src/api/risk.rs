//! The risk service: what the last cycle found, as it is.

mod down;
mod wire;

use super::named::{is_called, only};
use crate::cycle::{Cycled, Cycles};
use isotherm_cycle::record::{Record, Surging};
use isotherm_proto::control::v1::risk_service_server::RiskService;
use isotherm_proto::control::v1::{
    ExplainNodeRequest, ExplainNodeResponse, ExplainPartitionRequest, ExplainPartitionResponse,
    GetCycleRequest, GetCycleResponse, ListRisksRequest, ListRisksResponse, NodeDownRequest,
    NodeDownResponse, RiskOrder,
};
use std::cmp::Ordering;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Records in one answer: about 60 MB on the wire.
const MOST: usize = 100_000;

/// Nodes and partitions of each in an answer, if nobody says how many.
const TOP: usize = 20;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct Risk {
    cycles: Cycles,
}

impl Risk {
    pub(crate) fn new(cycles: Cycles) -> Self {
        Self { cycles }
    }

    fn last(&self) -> Option<Arc<Cycled>> {
        self.cycles.borrow().clone()
    }

    fn needed(&self) -> Result<Arc<Cycled>, Status> {
        self.last().ok_or_else(|| {
            Status::not_found("there was no cycle yet: the first comes when a minute has been counted")
        })
    }

    /// Answers on a thread that may block: records are many.
    async fn answer<T: Send + 'static>(
        cycled: Arc<Cycled>,
        with: impl FnOnce(&Cycled) -> Result<T, Status> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let answered = tokio::task::spawn_blocking(move || with(&cycled)).await;
        answered.map_err(|_| Status::internal("the question could not be answered"))?.map(Response::new)
    }
}

#[tonic::async_trait]
impl RiskService for Risk {
    async fn get_cycle(&self, _: Request<GetCycleRequest>) -> Result<Response<GetCycleResponse>, Status> {
        Ok(Response::new(GetCycleResponse { cycle: self.last().map(|cycled| wire::cycle(&cycled)) }))
    }

    async fn list_risks(
        &self,
        request: Request<ListRisksRequest>,
    ) -> Result<Response<ListRisksResponse>, Status> {
        let request = request.into_inner();
        let order = RiskOrder::try_from(request.order)
            .map_err(|_| Status::invalid_argument(format!("order {} is none", request.order)))?;
        let Some(cycled) = self.last() else { return Ok(Response::new(ListRisksResponse::default())) };
        Self::answer(cycled, move |cycled| {
            let mut records: Vec<&Record> = match request.partition.as_str() {
                "" => cycled.records.iter().collect(),
                name => found(cycled, name)?,
            };
            records.sort_by(|a, b| by(order, a, b));
            let top = if request.top == 0 { MOST } else { (request.top as usize).min(MOST) };
            let records = records.into_iter().take(top).map(|record| wire::record(record, cycled)).collect();
            Ok(ListRisksResponse { cycle: Some(wire::cycle(cycled)), records })
        })
        .await
    }

    async fn explain_partition(
        &self,
        request: Request<ExplainPartitionRequest>,
    ) -> Result<Response<ExplainPartitionResponse>, Status> {
        let name = request.into_inner().partition;
        Self::answer(self.needed()?, move |cycled| {
            let record = partition_named(cycled, &name)?;
            let words = isotherm_cycle::explain::partition(record, &cycled.cluster, cycled.settings.lead_min);
            Ok(ExplainPartitionResponse { record: Some(wire::record(record, cycled)), words })
        })
        .await
    }

    async fn explain_node(
        &self,
        request: Request<ExplainNodeRequest>,
    ) -> Result<Response<ExplainNodeResponse>, Status> {
        let name = request.into_inner().node;
        Self::answer(self.needed()?, move |cycled| {
            let node = node_named(cycled, &name)?;
            let (down, facts) = (down::of(cycled, node, TOP), wire::node(cycled, node));
            let words = down::words(cycled, node, &facts, &down);
            Ok(ExplainNodeResponse { node: Some(facts), down: Some(down), words })
        })
        .await
    }

    async fn node_down(
        &self,
        request: Request<NodeDownRequest>,
    ) -> Result<Response<NodeDownResponse>, Status> {
        let request = request.into_inner();
        let top = if request.top == 0 { TOP } else { request.top as usize };
        Self::answer(self.needed()?, move |cycled| {
            let nodes = match request.node.as_str() {
                "" => down::all(cycled, top),
                name => vec![down::of(cycled, node_named(cycled, name)?, top)],
            };
            Ok(NodeDownResponse { at_ms: cycled.at.as_ms(), nodes })
        })
        .await
    }
}

/// Records of the partitions that are called so: one of each system that has it.
fn found<'a>(cycled: &'a Cycled, name: &str) -> Result<Vec<&'a Record>, Status> {
    let called = |record: &&Record| is_called(name, &record.system, &record.partition);
    let found: Vec<&Record> = cycled.records.iter().filter(called).collect();
    if found.is_empty() { Err(no_partition(name)) } else { Ok(found) }
}

fn partition_named<'a>(cycled: &'a Cycled, name: &str) -> Result<&'a Record, Status> {
    let called = |record: &&Record| is_called(name, &record.system, &record.partition);
    let found = cycled.records.iter().filter(called).map(|record| (record.system.as_str(), record));
    only("partition", name, found)?.ok_or_else(|| no_partition(name))
}

fn no_partition(name: &str) -> Status {
    Status::not_found(format!("no partition {name} was counted or is named by the topology"))
}

fn node_named(cycled: &Cycled, name: &str) -> Result<usize, Status> {
    let nodes = cycled.cluster.nodes.iter().enumerate();
    let called = nodes.filter(|(_, node)| is_called(name, &node.system, &node.name));
    only("node", name, called.map(|(at, node)| (node.system.as_str(), at)))?.ok_or_else(|| {
        Status::not_found(format!("no node {name} is named by the topology or has ever reported"))
    })
}

/// What is not known comes last.
fn by(order: RiskOrder, a: &Record, b: &Record) -> Ordering {
    let risk = |record: &Record| record.exposure.map(|exposed| record.calibrated.unwrap_or(exposed.risk));
    let loss = |record: &Record| record.loss.map(|loss| loss.per_hour().unwrap_or(loss.without_overload()));
    let surge = |record: &Record| {
        let state = match (record.surge, record.forecast_surge) {
            (Surging::Since(_), _) => 2.0,
            (_, Some(true)) => 1.0,
            (Surging::Quiet | Surging::Unknown, Some(false) | None) => 0.0,
        };
        Some(state * 1e6 + record.node.z.unwrap_or(-1e5))
    };
    let falling = |key: &dyn Fn(&Record) -> Option<f64>| {
        key(b).unwrap_or(f64::NEG_INFINITY).total_cmp(&key(a).unwrap_or(f64::NEG_INFINITY))
    };
    let first = match order {
        RiskOrder::Unspecified => falling(&risk),
        RiskOrder::Loss => falling(&loss),
        RiskOrder::Surge => falling(&surge),
    };
    first.then_with(|| (&a.system, &a.partition).cmp(&(&b.system, &b.partition)))
}
