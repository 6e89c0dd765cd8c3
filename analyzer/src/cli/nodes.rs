//! `isotherm get nodes`.

use super::Failure;
use super::agents::{clock, lag};
use super::client::ClientArgs;
use super::layer::{CountsJson, LayerArg, columns, headers, layer_word, operation_word};
use super::print::{self, Column, Format};
use super::time::{SpanArgs, rfc3339, span};
use clap::Args;
use isotherm_proto::control::v1::{
    Activity, ClockState, Counts, Layer, ListCordonsRequest, ListNodesRequest, Node, NodeAccesses,
    NodeHealth, NodeMatch, NodeState, Operation,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Nodes: state, agents, and what they did in the time asked for
///
/// A node is `reporting` while its agent's windows arrive, `silent` when none has come for three window
/// lengths, `never_reported` when only the topology names it. A dash says that nobody was watching in that
/// time, 0 that somebody was and nothing happened. LAYERS are those that were watched in that time, if only in
/// one window. TOPOLOGY says whether the topology names the node: two rows for one node are two spellings. GAPS
/// are batches of its agents that will never come, with their time. HEALTH is what the topology says, and whether `isotherm node cordon` keeps anything more from it, MATCH how it
/// and the agents' reports fit together. CLOCK is that of its agent, as `isotherm get agents` has it, with the lag
/// where it is not in step.
///
/// A node of the system `host` stands for a host, by its agent's name: what happens on its block devices and is
/// no other node's. It has no processes, so it cannot be down, and it belongs to no topology.
#[derive(Args)]
pub(super) struct NodesArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    span: SpanArgs,
    /// Layer that the table shows; JSON has them all
    #[arg(long, value_enum, default_value_t = LayerArg::Logical)]
    layer: LayerArg,
}

#[derive(Serialize)]
struct NodesJson {
    nodes: Vec<NodeJson>,
}

#[derive(Serialize)]
struct NodeJson {
    system: String,
    node: String,
    host: bool,
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
    clock: Option<&'static str>,
    lag_ms: Option<i64>,
    listening: Vec<String>,
    health: Option<&'static str>,
    cordoned: bool,
    r#match: Option<&'static str>,
    match_reason: Option<String>,
    addresses: Vec<String>,
    capacity_bytes: Option<u64>,
    load_capacity_ops_per_s: Option<u64>,
    class: Option<String>,
    layers: BTreeMap<&'static str, BTreeMap<&'static str, AccessesJson>>,
}

#[derive(Serialize)]
struct AccessesJson {
    total: CountsJson,
    partitions: CountsJson,
    other: CountsJson,
    unattributed: CountsJson,
}

impl From<&NodeAccesses> for AccessesJson {
    fn from(accesses: &NodeAccesses) -> Self {
        let counts = |part: Option<Counts>| part.unwrap_or_default().into();
        Self {
            total: counts(accesses.total),
            partitions: counts(accesses.partitions),
            other: counts(accesses.other),
            unattributed: counts(accesses.unattributed),
        }
    }
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
    let cordons = client.plans.list_cordons(ListCordonsRequest {}).await;
    let cordons = cordons.map_err(|status| client.failure(&status))?.into_inner().cordons;
    let cordoned =
        |node: &Node| cordons.iter().any(|one| (&one.system, &one.node) == (&node.system, &node.name));
    match args.client.output {
        Format::Json => {
            let nodes = nodes.into_iter().map(|node| (cordoned(&node), node));
            print::json(&NodesJson { nodes: nodes.map(|(cordoned, node)| json(node, cordoned)).collect() })
        }
        Format::Table => table(&nodes, args.layer, cordoned),
    }
}

fn json(node: Node, cordoned: bool) -> NodeJson {
    let mut layers: BTreeMap<&str, BTreeMap<&str, AccessesJson>> = BTreeMap::new();
    for accesses in &node.accesses {
        let operation = operation_word(accesses.operation());
        layers.entry(layer_word(accesses.layer())).or_default().insert(operation, accesses.into());
    }
    NodeJson {
        state: state(node.state()),
        lost: lost(&node),
        clock: clock(node.clock()),
        health: health(node.health()),
        cordoned,
        r#match: fits(node.r#match()),
        match_reason: some(node.match_reason),
        addresses: node.addresses,
        capacity_bytes: node.capacity_bytes,
        load_capacity_ops_per_s: node.load_capacity_ops_per_s,
        class: some(node.class),
        host: node.host,
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
        lag_ms: node.lag_ms,
        listening: node.listening,
        layers,
    }
}

/// Lost events are counted by whoever was watching.
fn lost(node: &Node) -> Option<u64> {
    (node.lost > 0 || !node.accesses.is_empty()).then_some(node.lost)
}

fn accesses(node: &Node, layer: Layer, operation: Operation) -> Option<&NodeAccesses> {
    node.accesses.iter().find(|accesses| accesses.layer() == layer && accesses.operation() == operation)
}

/// The layers that were watched, in their order.
fn watched(node: &Node) -> String {
    let mut words: Vec<&str> = node.accesses.iter().map(|accesses| layer_word(accesses.layer())).collect();
    words.dedup();
    if words.is_empty() { "-".to_owned() } else { words.join(",") }
}

fn state(state: NodeState) -> &'static str {
    match state {
        NodeState::Reporting => "reporting",
        NodeState::Silent => "silent",
        NodeState::NeverReported => "never_reported",
        NodeState::Unspecified => "unspecified",
    }
}

fn health(health: NodeHealth) -> Option<&'static str> {
    match health {
        NodeHealth::Unspecified => None,
        NodeHealth::Unknown => Some("unknown"),
        NodeHealth::Up => Some("up"),
        NodeHealth::Down => Some("down"),
        NodeHealth::Draining => Some("draining"),
    }
}

fn fits(found: NodeMatch) -> Option<&'static str> {
    match found {
        NodeMatch::Unspecified => None,
        NodeMatch::Matched => Some("matched"),
        NodeMatch::NotInTopology => Some("not_in_topology"),
        NodeMatch::NoAgent => Some("no_agent"),
        NodeMatch::OtherAddresses => Some("other_addresses"),
        NodeMatch::TwoAgents => Some("two_agents"),
    }
}

/// Empty text is nothing.
fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn table(nodes: &[Node], layer: LayerArg, cordoned: impl Fn(&Node) -> bool) -> Result<(), Failure> {
    let mut header = vec![
        Column::Text("SYSTEM"),
        Column::Text("NODE"),
        Column::Text("TOPOLOGY"),
        Column::Text("STATE"),
        Column::Text("LAST WINDOW"),
        Column::Number("PROCESSES"),
        Column::Text("AGENTS"),
        Column::Text("LAYERS"),
    ];
    header.extend(headers(layer));
    header.extend(["UNATTRIBUTED", "LOST", "GAPS"].map(Column::Number));
    header.extend(["HEALTH", "MATCH"].map(Column::Text));
    header.push(Column::Text("CLOCK"));
    let rows = nodes.iter().map(|node| row(node, layer, cordoned(node))).collect();
    print::table(&header, rows, "no nodes: no agent has reported yet")
}

fn row(node: &Node, layer: LayerArg, cordoned: bool) -> Vec<String> {
    let dash = || "-".to_owned();
    let topology = match (node.host, node.in_topology) {
        (true, _) => "-",
        (false, true) => "yes",
        (false, false) => "no",
    };
    let mut cells = vec![
        node.system.clone(),
        node.name.clone(),
        topology.to_owned(),
        state(node.state()).to_owned(),
        node.last_window_end_ms.map_or_else(dash, rfc3339),
        node.processes.map_or_else(dash, |processes| processes.to_string()),
        if node.agents.is_empty() { dash() } else { node.agents.join(",") },
        watched(node),
    ];
    cells.extend(columns(layer).iter().map(|(_, operation, shown)| {
        let total = accesses(node, layer.into(), *operation).and_then(|accesses| accesses.total);
        total.map_or_else(dash, |total| shown.of(total))
    }));
    let of_layer = node.accesses.iter().filter(|accesses| accesses.layer() == layer.into());
    let unattributed =
        of_layer.map(|accesses| accesses.unattributed.unwrap_or_default().ops).reduce(u64::saturating_add);
    cells.extend([
        unattributed.map_or_else(dash, |ops| ops.to_string()),
        lost(node).map_or_else(dash, |lost| lost.to_string()),
        gaps(node),
        match (health(node.health()), cordoned) {
            (health, false) => health.unwrap_or("-").to_owned(),
            (Some(health), true) => format!("{health}, cordoned"),
            (None, true) => "cordoned".to_owned(),
        },
        match fits(node.r#match()) {
            Some("matched") => "yes".to_owned(),
            Some(_) => node.match_reason.clone(),
            None => dash(),
        },
        clock_cell(node),
    ]);
    cells
}

fn clock_cell(node: &Node) -> String {
    match (clock(node.clock()), node.lag_ms) {
        (Some(word), Some(lag_ms)) if node.clock() != ClockState::InStep => {
            format!("{word} ({})", lag(lag_ms))
        }
        (Some(word), _) => word.to_owned(),
        (None, _) => "-".to_owned(),
    }
}

fn gaps(node: &Node) -> String {
    match node.gaps {
        0 => "0".to_owned(),
        gaps => format!("{gaps} ({})", span(Duration::from_millis(node.gap_ms))),
    }
}
