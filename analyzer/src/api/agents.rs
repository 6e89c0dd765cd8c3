//! Agents and what they take, as messages.

use super::Intake;
use crate::ingest::{AgentStatus, ClockState, Load, Locators, Totals};
use isotherm_model::{NodeId, Timestamp};
use isotherm_proto::Watching;
use isotherm_proto::control::v1 as wire;
use isotherm_store::NodeReport;
use std::collections::BTreeMap;

/// One agent.
pub(super) fn agent(status: AgentStatus) -> wire::Agent {
    wire::Agent {
        streams: narrow(status.streams),
        acknowledged: status.counted.acknowledged,
        refused: status.counted.refused,
        rows: status.counted.rows,
        nodes: narrow(status.nodes),
        partitions: narrow(status.partitions),
        clock: clock(status.clock).into(),
        lag_ms: status.lag_ms,
        last_refusal: status.last_refusal.unwrap_or_default(),
        last_arrival_ms: status.last_arrival.map(Timestamp::as_ms),
        name: status.agent.to_string(),
        locators: locators(status.locators),
    }
}

fn locators(of: Locators) -> Option<wire::AgentLocators> {
    let Watching { targets: _, revision, partitions, unused, overruled, problem } = of.watching?;
    Some(wire::AgentLocators { revision, told_revision: of.told, partitions, unused, overruled, problem })
}

/// All agents together, and the limits.
pub(super) fn intake(of: &Intake) -> wire::Intake {
    let limits = of.ingest.agents().limits();
    let Load { totals, depth, memory_bytes, max_memory_bytes } = of.ingest.load();
    let Totals { agents, streams, partitions, refused_streams } = totals;
    wire::Intake {
        connections: of.room.taken() as u64,
        max_connections: limits.max_connections as u64,
        streams: streams as u64,
        max_streams: limits.max_streams as u64,
        agents: agents as u64,
        max_agents: limits.max_agents as u64,
        partitions: partitions as u64,
        max_partitions: limits.max_partitions as u64,
        memory_bytes,
        max_memory_bytes,
        queued: depth.submissions as u64,
        queued_rows: depth.rows as u64,
        refused_streams,
    }
}

/// Adds to each node what is known of the clock of the agent that sent its newest window.
pub(super) fn add_clocks(nodes: &mut [wire::Node], reports: &[NodeReport], agents: &[AgentStatus]) {
    let clocks: BTreeMap<&str, &AgentStatus> =
        agents.iter().map(|status| (status.agent.as_str(), status)).collect();
    let agents: BTreeMap<(&str, &str), &str> =
        reports.iter().map(|NodeReport { node, agent, .. }| (key(node), agent.as_str())).collect();
    for node in nodes {
        let agent = agents.get(&(node.system.as_str(), node.name.as_str()));
        if let Some(status) = agent.and_then(|agent| clocks.get(agent)) {
            node.lag_ms = status.lag_ms;
            node.set_clock(clock(status.clock));
        }
    }
}

fn key(node: &NodeId) -> (&str, &str) {
    (node.system().as_str(), node.name())
}

fn clock(state: ClockState) -> wire::ClockState {
    match state {
        ClockState::Unknown => wire::ClockState::Unspecified,
        ClockState::InStep => wire::ClockState::InStep,
        ClockState::Ahead => wire::ClockState::Ahead,
        ClockState::Late => wire::ClockState::Late,
    }
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
