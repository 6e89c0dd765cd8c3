//! What requests about plans mean.

use super::super::named::{is_called, only};
use crate::plan::kept::{Asked, Plan};
use crate::topology::Topology;
use isotherm_model::{NodeId, SystemId};
use isotherm_proto::control::v1 as wire;
use isotherm_runner::journal::Cordon;
use std::collections::BTreeSet;
use tonic::Status;

/// What a plan is asked for, and of which system: the one that is named, that of the nodes, or the only one.
pub(super) fn asked(topology: &Topology, request: wire::PlanRequest) -> Result<(SystemId, Asked), Status> {
    let named: Vec<&String> = request
        .drain
        .iter()
        .chain(request.relieve.iter().map(|relieved| &relieved.node))
        .chain(&request.fill)
        .chain(request.capacities.iter().map(|capacity| &capacity.node))
        .collect();
    let system = system(topology, &request.system, &named)?;
    let name = |said: &String| {
        let mut of_system = topology.nodes.keys().filter(|id| *id.system() == system);
        let found = of_system.find(|id| is_called(said, system.as_str(), id.name()));
        let missing =
            || Status::not_found(format!("{system} has no node {said:?}; `isotherm get nodes` lists them"));
        found.map(|id| id.name().to_owned()).ok_or_else(missing)
    };
    let names = |said: &[String]| {
        let mut names = said.iter().map(name).collect::<Result<Vec<_>, _>>()?;
        names.sort();
        names.dedup();
        Ok::<_, Status>(names)
    };
    let mut asked = Asked {
        drain: names(&request.drain)?,
        fill: names(&request.fill)?,
        repair: request.repair,
        balance: request.balance,
        proactive: request.proactive,
        most_moves: request.most_moves,
        most_bytes: request.most_bytes,
        ..Asked::default()
    };
    for relieved in &request.relieve {
        if !(0.0..=1.0).contains(&relieved.share) {
            return Err(Status::invalid_argument(format!(
                "relieve {}: {} is no share of a capacity, 0 to 1",
                relieved.node, relieved.share
            )));
        }
        asked.relieve.insert(name(&relieved.node)?, relieved.share);
    }
    for capacity in &request.capacities {
        asked.capacities.insert(name(&capacity.node)?, capacity.bytes);
    }
    Ok((system, asked))
}

fn system(topology: &Topology, said: &str, nodes: &[&String]) -> Result<SystemId, Status> {
    if !said.is_empty() {
        let found = topology.sources.keys().find(|system| system.as_str() == said);
        return found.cloned().ok_or_else(|| {
            let all: Vec<String> = topology.sources.keys().map(ToString::to_string).collect();
            Status::not_found(format!("there is no system {said:?}; there are: {}", all.join(", ")))
        });
    }
    if let Some(first) = nodes.first() {
        return Ok(node(topology, first)?.system().clone());
    }
    let mut all = topology.sources.keys();
    match (all.next(), all.next()) {
        (Some(system), None) => Ok(system.clone()),
        (None, _) => Err(Status::failed_precondition(
            "no system is known; `[[adapter]]` or `[[topology]]` of the configuration names one",
        )),
        (Some(_), Some(_)) => {
            Err(Status::invalid_argument("there are several systems: say which, with system"))
        }
    }
}

/// A node by its name, or `system/name` where several systems have one of that name.
pub(super) fn node(topology: &Topology, said: &str) -> Result<NodeId, Status> {
    let found = topology.nodes.keys().filter(|id| is_called(said, id.system().as_str(), id.name()));
    let found = only("node", said, found.map(|id| (id.system().as_str(), id)))?;
    found.cloned().ok_or_else(|| {
        Status::not_found(format!("no topology names node {said}: its adapter or a [[topology]] must; `isotherm get topology` shows them"))
    })
}

/// The node of a cordon.
pub(super) fn cordoned(cordons: &[Cordon], said: &str) -> Result<NodeId, Status> {
    let found = cordons.iter().filter(|cordon| is_called(said, &cordon.system, &cordon.node));
    let found = only("node", said, found.map(|cordon| (cordon.system.as_str(), cordon)))?;
    let found = found.and_then(|cordon| {
        let system = SystemId::new(cordon.system.clone()).ok()?;
        NodeId::new(system, cordon.node.clone()).ok()
    });
    found.ok_or_else(|| {
        let all: BTreeSet<&str> = cordons.iter().map(|cordon| cordon.node.as_str()).collect();
        let all: Vec<&str> = all.into_iter().collect();
        let all = if all.is_empty() { "none is".to_owned() } else { all.join(", ") };
        Status::not_found(format!("{said} is not cordoned; those that are: {all}"))
    })
}

/// The explanation of a move, by its number.
pub(super) fn explanation(plan: &Plan, number: u32) -> Result<String, Status> {
    let decided = (number as usize).checked_sub(1).and_then(|at| plan.moves.get(at)).ok_or_else(|| {
        Status::not_found(format!("plan {} has moves 1 to {}, and no {number}", plan.id, plan.moves.len()))
    })?;
    decided.explanation.clone().ok_or_else(|| {
        Status::not_found(format!(
            "only the first moves of a plan are explained, and {number} is not among them"
        ))
    })
}

/// Words that are recorded.
pub(super) fn words(field: &str, text: String) -> Result<String, Status> {
    if text.len() > isotherm_store::MAX_WORDS {
        return Err(Status::invalid_argument(format!(
            "{field}: longer than {} bytes",
            isotherm_store::MAX_WORDS
        )));
    }
    Ok(text)
}
