//! `isotherm get nodes`.

use super::Failure;
use super::client::ClientArgs;
use super::print::{self, Column, Format};
use super::time::{SpanArgs, rfc3339};
use clap::Args;
use isotherm_proto::control::v1::{Activity, ListNodesRequest, Node, NodeState};
use serde::Serialize;
use std::time::Duration;

/// Nodes: state, agents, and what they did in the time asked for
///
/// A node is `reporting` while its agent's windows arrive, `silent` when none has come for three window
/// lengths, `never_reported` when only the topology names it. A dash says that nobody was watching in that
/// time, 0 that somebody was and nothing happened. TOPOLOGY says whether the topology names the node: two rows
/// for one node are two spellings. GAPS are batches of its agents that will never come, with their time.
#[derive(Args)]
pub(super) struct NodesArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    span: SpanArgs,
}

#[derive(Serialize)]
struct NodesJson {
    nodes: Vec<NodeJson>,
}

#[derive(Serialize)]
struct NodeJson {
    system: String,
    node: String,
    domains: Vec<String>,
    in_topology: bool,
    state: &'static str,
    agents: Vec<String>,
    last_window_end_ms: Option<u64>,
    processes: Option<u32>,
    total: Option<ActivityJson>,
    partitions: Option<ActivityJson>,
    other: Option<ActivityJson>,
    unattributed: Option<ActivityJson>,
    lost: Option<u64>,
    gaps: u64,
    gap_ms: u64,
}

#[derive(Serialize)]
pub(super) struct ActivityJson {
    reads: u64,
    read_bytes: u64,
    writes: u64,
    written_bytes: u64,
}

impl From<Activity> for ActivityJson {
    fn from(activity: Activity) -> Self {
        let Activity { reads, read_bytes, writes, written_bytes } = activity;
        Self { reads, read_bytes, writes, written_bytes }
    }
}

pub(super) async fn run(args: NodesArgs) -> Result<(), Failure> {
    let span = args.span.resolved()?;
    let mut client = args.client.connect().await?;
    let request = ListNodesRequest { since_ms: span.since, until_ms: span.until };
    let answer = client.control.list_nodes(request).await.map_err(|status| client.failure(&status))?;
    let nodes = answer.into_inner().nodes;
    match args.client.output {
        Format::Json => print::json(&NodesJson { nodes: nodes.into_iter().map(json).collect() }),
        Format::Table => table(&nodes),
    }
}

fn json(node: Node) -> NodeJson {
    NodeJson {
        state: state(node.state()),
        // Lost events are counted by whoever was watching.
        lost: node.total.map(|_| node.lost),
        system: node.system,
        node: node.name,
        domains: node.domains,
        in_topology: node.in_topology,
        agents: node.agents,
        last_window_end_ms: node.last_window_end_ms,
        processes: node.processes,
        total: node.total.map(ActivityJson::from),
        partitions: node.partitions.map(ActivityJson::from),
        other: node.other.map(ActivityJson::from),
        unattributed: node.unattributed.map(ActivityJson::from),
        gaps: node.gaps,
        gap_ms: node.gap_ms,
    }
}

fn state(state: NodeState) -> &'static str {
    match state {
        NodeState::Reporting => "reporting",
        NodeState::Silent => "silent",
        NodeState::NeverReported => "never_reported",
        NodeState::Unspecified => "unspecified",
    }
}

fn table(nodes: &[Node]) -> Result<(), Failure> {
    let columns = [
        Column::Text("SYSTEM"),
        Column::Text("NODE"),
        Column::Text("TOPOLOGY"),
        Column::Text("STATE"),
        Column::Text("LAST WINDOW"),
        Column::Number("PROCESSES"),
        Column::Text("AGENTS"),
        Column::Number("READS"),
        Column::Number("READ"),
        Column::Number("WRITES"),
        Column::Number("WRITTEN"),
        Column::Number("UNATTRIBUTED"),
        Column::Number("LOST"),
        Column::Number("GAPS"),
    ];
    let dash = || "-".to_owned();
    let row = |node: &Node| {
        let of = |show: fn(Activity) -> String| node.total.map_or_else(dash, show);
        let unattributed = |activity: Activity| (activity.reads + activity.writes).to_string();
        vec![
            node.system.clone(),
            node.name.clone(),
            if node.in_topology { "yes" } else { "no" }.to_owned(),
            state(node.state()).to_owned(),
            node.last_window_end_ms.map_or_else(dash, rfc3339),
            node.processes.map_or_else(dash, |processes| processes.to_string()),
            if node.agents.is_empty() { dash() } else { node.agents.join(",") },
            of(|activity| activity.reads.to_string()),
            of(|activity| print::bytes(activity.read_bytes)),
            of(|activity| activity.writes.to_string()),
            of(|activity| print::bytes(activity.written_bytes)),
            node.unattributed.map_or_else(dash, unattributed),
            node.total.map_or_else(dash, |_| node.lost.to_string()),
            gaps(node),
        ]
    };
    print::table(&columns, nodes.iter().map(row).collect(), "no nodes: no agent has reported yet")
}

fn gaps(node: &Node) -> String {
    match node.gaps {
        0 => "0".to_owned(),
        gaps => format!("{gaps} ({})", humantime::format_duration(Duration::from_millis(node.gap_ms))),
    }
}
