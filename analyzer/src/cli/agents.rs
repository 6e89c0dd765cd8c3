//! `isotherm get agents`.

use super::Failure;
use super::client::ClientArgs;
use super::print::{self, Column, Format};
use super::time::rfc3339;
use clap::Args;
use isotherm_proto::control::v1::{Agent, AgentLocators, ClockState, Intake, ListAgentsRequest};
use serde::Serialize;

/// Agents: who is connected, what they sent, and how near the limits of [ingest] everything is
///
/// Counted since the analyzer's start. LAG is arrival minus end of window, the least of the agent's last batches:
/// the difference of the clocks and the delay of delivery together, which nobody can tell apart. CLOCK is `ahead`
/// when windows end in the future, `late` when each batch comes late by about as much (its clock is behind, or
/// something holds the batches up), `in_step` when neither, and a dash before that is known. Nothing is ever
/// corrected by it. LOCATORS is the revision of the adapters' locators that the agent counts by, and that which it
/// was told if that is not in force yet; LOCATED how many partitions they tell apart there, each node's for itself.
#[derive(Args)]
pub(super) struct AgentsArgs {
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Serialize)]
struct AgentsJson {
    agents: Vec<AgentJson>,
    intake: IntakeJson,
}

#[derive(Serialize)]
struct AgentJson {
    agent: String,
    streams: u32,
    acknowledged: u64,
    refused: u64,
    rows: u64,
    nodes: u32,
    partitions: u32,
    clock: Option<&'static str>,
    lag_ms: Option<i64>,
    last_arrival_ms: Option<u64>,
    last_refusal: Option<String>,
    locators: Option<LocatorsJson>,
}

#[derive(Serialize)]
struct LocatorsJson {
    revision: Option<u64>,
    told_revision: Option<u64>,
    partitions: u32,
    unused: u32,
    overruled: u32,
    problem: Option<String>,
}

#[derive(Serialize)]
struct LimitJson {
    have: u64,
    limit: u64,
}

#[derive(Serialize)]
struct IntakeJson {
    connections: LimitJson,
    streams: LimitJson,
    agents: LimitJson,
    partitions: LimitJson,
    memory_bytes: LimitJson,
    queued: u64,
    queued_rows: u64,
    refused_streams: u64,
}

pub(super) async fn run(args: AgentsArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let answer =
        client.control.list_agents(ListAgentsRequest {}).await.map_err(|status| client.failure(&status))?;
    let answer = answer.into_inner();
    let intake = answer.intake.unwrap_or_default();
    match args.client.output {
        Format::Json => print::json(&AgentsJson {
            agents: answer.agents.into_iter().map(json).collect(),
            intake: intake_json(intake),
        }),
        Format::Table => {
            table(&answer.agents)?;
            print::out(&format!("\n{}\n", words(&intake)))
        }
    }
}

/// The state of a clock in one word; `None` if it is not known.
pub(super) fn clock(state: ClockState) -> Option<&'static str> {
    match state {
        ClockState::Unspecified => None,
        ClockState::InStep => Some("in_step"),
        ClockState::Ahead => Some("ahead"),
        ClockState::Late => Some("late"),
    }
}

/// A lag in seconds.
pub(super) fn lag(lag_ms: i64) -> String {
    format!("{:.1} s", lag_ms as f64 / 1e3)
}

/// A revision; `None` for none.
fn revision(number: u64) -> Option<u64> {
    (number > 0).then_some(number)
}

fn locators_json(of: AgentLocators) -> LocatorsJson {
    let AgentLocators { revision: in_force, told_revision, partitions, unused, overruled, problem } = of;
    LocatorsJson {
        revision: revision(in_force),
        told_revision: revision(told_revision),
        partitions,
        unused,
        overruled,
        problem: Some(problem).filter(|problem| !problem.is_empty()),
    }
}

/// The revision in force, and that which is to be.
fn in_force(of: &AgentLocators) -> String {
    let shown = |number| revision(number).map_or_else(|| "none".to_owned(), |number| number.to_string());
    if !of.problem.is_empty() {
        return format!("{}: {}", shown(of.revision), of.problem);
    }
    if of.told_revision > of.revision {
        return format!("{}, told {}", shown(of.revision), of.told_revision);
    }
    shown(of.revision)
}

fn json(agent: Agent) -> AgentJson {
    AgentJson {
        locators: agent.locators.clone().map(locators_json),
        clock: clock(agent.clock()),
        agent: agent.name,
        streams: agent.streams,
        acknowledged: agent.acknowledged,
        refused: agent.refused,
        rows: agent.rows,
        nodes: agent.nodes,
        partitions: agent.partitions,
        lag_ms: agent.lag_ms,
        last_arrival_ms: agent.last_arrival_ms,
        last_refusal: Some(agent.last_refusal).filter(|refusal| !refusal.is_empty()),
    }
}

fn intake_json(intake: Intake) -> IntakeJson {
    let of = |have, limit| LimitJson { have, limit };
    IntakeJson {
        connections: of(intake.connections, intake.max_connections),
        streams: of(intake.streams, intake.max_streams),
        agents: of(intake.agents, intake.max_agents),
        partitions: of(intake.partitions, intake.max_partitions),
        memory_bytes: of(intake.memory_bytes, intake.max_memory_bytes),
        queued: intake.queued,
        queued_rows: intake.queued_rows,
        refused_streams: intake.refused_streams,
    }
}

fn table(agents: &[Agent]) -> Result<(), Failure> {
    let header = [
        Column::Text("AGENT"),
        Column::Number("STREAMS"),
        Column::Number("ACKNOWLEDGED"),
        Column::Number("REFUSED"),
        Column::Number("ROWS"),
        Column::Number("NODES"),
        Column::Number("PARTITIONS"),
        Column::Text("LOCATORS"),
        Column::Number("LOCATED"),
        Column::Text("CLOCK"),
        Column::Number("LAG"),
        Column::Text("LAST ARRIVAL"),
        Column::Text("LAST REFUSAL"),
    ];
    let dash = || "-".to_owned();
    let row = |agent: &Agent| {
        vec![
            agent.name.clone(),
            agent.streams.to_string(),
            agent.acknowledged.to_string(),
            agent.refused.to_string(),
            agent.rows.to_string(),
            agent.nodes.to_string(),
            agent.partitions.to_string(),
            agent.locators.as_ref().map_or_else(dash, in_force),
            agent.locators.as_ref().map_or_else(dash, |of| of.partitions.to_string()),
            clock(agent.clock()).map_or_else(dash, str::to_owned),
            agent.lag_ms.map_or_else(dash, lag),
            agent.last_arrival_ms.map_or_else(dash, rfc3339),
            if agent.last_refusal.is_empty() { dash() } else { agent.last_refusal.clone() },
        ]
    };
    print::table(&header, agents.iter().map(row).collect(), "no agents: none has connected since the start")
}

fn words(intake: &Intake) -> String {
    let of = |have: u64, limit: u64| format!("{have} of {limit}");
    format!(
        "connections {}, streams {}, agents {}, partitions of nodes {}, memory {} of {}, queued {} with {} rows, \
         streams refused {}",
        of(intake.connections, intake.max_connections),
        of(intake.streams, intake.max_streams),
        of(intake.agents, intake.max_agents),
        of(intake.partitions, intake.max_partitions),
        print::bytes(intake.memory_bytes),
        print::bytes(intake.max_memory_bytes),
        intake.queued,
        intake.queued_rows,
        intake.refused_streams
    )
}
