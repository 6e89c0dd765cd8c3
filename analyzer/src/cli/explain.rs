//! `isotherm explain` and `isotherm what-if`: why the last cycle said what it said, and what a failure would do.

use super::Failure;
use super::client::ClientArgs;
use super::print::{self, Column, Format};
use super::time::rfc3339;
use clap::{Args, Subcommand};
use isotherm_proto::control::v1::{
    ExplainNodeRequest, ExplainPartitionRequest, NodeDown, NodeDownRequest, NodeDownResponse,
};
use std::fmt::Write;

/// What there is to explain.
#[derive(Subcommand)]
pub(super) enum ExplainCommand {
    Partition(PartitionArgs),
    Node(NodeArgs),
}

/// What may happen.
#[derive(Subcommand)]
pub(super) enum WhatIfCommand {
    NodeDown(NodeDownArgs),
}

/// Why a partition has the risk it has: in words and numbers, from the record of the last cycle
///
/// The entropy against its habit, where it is going, the nodes that its clients lean on with their hazards, what a
/// failure of each would cost, and whether moving helps. `-o json` prints the record itself.
#[derive(Args)]
pub(super) struct PartitionArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Name, or system/name
    #[arg(value_name = "PARTITION")]
    partition: String,
}

/// What is known of a node: its load, its hazard and where that comes from, whether it answers badly, and what its
/// failure would do
#[derive(Args)]
pub(super) struct NodeArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Name, or system/name
    #[arg(value_name = "NODE")]
    node: String,
}

/// What would happen if a node died now: clients' minutes lost, the survivors that would be overloaded, the
/// partitions responsible, and whether moving them helps
///
/// Without a node, all nodes, the worst first. A client-minute is one client's service failing for one minute. Where
/// capacities are not known (`load_capacity` of the topology), overload is not known either, and is a dash.
#[derive(Args)]
pub(super) struct NodeDownArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Name, or system/name [default: all nodes]
    #[arg(value_name = "NODE")]
    node: Option<String>,
    /// At most so many nodes, and partitions of each
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: u32,
}

pub(super) async fn explain(command: ExplainCommand) -> Result<(), Failure> {
    match command {
        ExplainCommand::Partition(args) => partition(args).await,
        ExplainCommand::Node(args) => node(args).await,
    }
}

pub(super) async fn what_if(command: WhatIfCommand) -> Result<(), Failure> {
    match command {
        WhatIfCommand::NodeDown(args) => node_down(args).await,
    }
}

async fn partition(args: PartitionArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let request = ExplainPartitionRequest { partition: args.partition };
    let answer = client.risk.explain_partition(request).await.map_err(|status| client.failure(&status))?;
    let answer = answer.into_inner();
    match args.client.output {
        Format::Json => print::json(&answer),
        Format::Table => print::out(&paragraphs(&answer.words)),
    }
}

async fn node(args: NodeArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let request = ExplainNodeRequest { node: args.node };
    let answer = client.risk.explain_node(request).await.map_err(|status| client.failure(&status))?;
    let answer = answer.into_inner();
    match args.client.output {
        Format::Json => print::json(&answer),
        Format::Table => print::out(&paragraphs(&answer.words)),
    }
}

async fn node_down(args: NodeDownArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let request = NodeDownRequest { node: args.node.unwrap_or_default(), top: args.top };
    let answer = client.risk.node_down(request).await.map_err(|status| client.failure(&status))?;
    let answer = answer.into_inner();
    match args.client.output {
        Format::Json => print::json(&answer),
        Format::Table => tables(&answer),
    }
}

fn paragraphs(words: &[String]) -> String {
    words.join("\n") + "\n"
}

fn tables(answer: &NodeDownResponse) -> Result<(), Failure> {
    print::out(&format!("if a node died now, by what was known at {}\n\n", rfc3339(answer.at_ms)))?;
    let columns = [
        Column::Text("NODE"),
        Column::Number("CLIENT-MINUTES"),
        Column::Number("UNTIL RE-ROUTED"),
        Column::Number("BY OVERLOAD"),
        Column::Text("OVERLOADED"),
        Column::Number("PARTITIONS"),
        Column::Number("UNKNOWN"),
        Column::Number("NO QUORUM"),
        Column::Number("NO DATA"),
        Column::Text("MOVING"),
    ];
    print::table(&columns, answer.nodes.iter().map(row).collect(), "no node is known")?;
    let [only] = answer.nodes.as_slice() else { return Ok(()) };
    print::out(&details(only))
}

fn row(down: &NodeDown) -> Vec<String> {
    let dash = || "-".to_owned();
    // What some partitions do not tell is a lower bound, what none tells is not known.
    let told = |value: String| match (down.partitions, down.unknown_partitions) {
        (_, 0) => value,
        (0, _) => dash(),
        (_, _) => format!(">= {value}"),
    };
    let failover = format!("{:.2}", down.failover_client_minutes);
    let all = down.overload_client_minutes.map(|overload| overload + down.failover_client_minutes);
    vec![
        format!("{}/{}", down.system, down.node),
        match all {
            Some(all) => told(format!("{all:.2}")),
            None if down.partitions == 0 && down.unknown_partitions > 0 => dash(),
            None => format!(">= {failover}"),
        },
        told(failover),
        down.overload_client_minutes.map_or_else(dash, |overload| told(format!("{overload:.2}"))),
        match down.overload_client_minutes {
            Some(_) => told(down.overloaded.len().to_string()),
            None => dash(),
        },
        down.partitions.to_string(),
        down.unknown_partitions.to_string(),
        told(down.without_quorum.to_string()),
        told(down.without_data.to_string()),
        down.verdict.clone(),
    ]
}

fn details(down: &NodeDown) -> String {
    let mut text = String::new();
    for survivor in &down.overloaded {
        let _ = writeln!(
            text,
            "{} would go from {:.1} to {:.1} reads/s, of {:.1} that it can bear",
            survivor.node, survivor.before_per_s, survivor.after_per_s, survivor.capacity_per_s
        );
    }
    for one in &down.responsible {
        let _ = writeln!(
            text,
            "partition {}: {:.0} % of its {:.1} reads/s, {:.3} client-minutes",
            one.partition,
            one.share * 100.0,
            one.reads_per_s,
            one.client_minutes
        );
    }
    if down.other_partitions > 0 {
        let _ = writeln!(text, "and {} more partitions", down.other_partitions);
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overload_that_is_not_known_makes_the_sum_a_lower_bound() {
        let down = NodeDown { failover_client_minutes: 2.0, ..NodeDown::default() };
        assert_eq!(row(&down)[1..5], [">= 2.00", "2.00", "-", "-"]);
        let known = NodeDown { overload_client_minutes: Some(3.0), ..down };
        assert_eq!(row(&known)[1..5], ["5.00", "2.00", "3.00", "0"]);
    }

    #[test]
    fn partitions_that_are_not_known_are_not_taken_for_nothing() {
        let known = NodeDown { overload_client_minutes: Some(3.0), partitions: 4, ..NodeDown::default() };
        assert_eq!(row(&known)[5..9], ["4", "0", "0", "0"]);
        let in_part = NodeDown { unknown_partitions: 2, ..known };
        assert_eq!(row(&in_part)[1..9], [">= 3.00", ">= 0.00", ">= 3.00", ">= 0", "4", "2", ">= 0", ">= 0"]);
        let not = NodeDown { partitions: 0, ..in_part };
        assert_eq!(row(&not)[1..9], ["-", "-", "-", "-", "0", "2", "-", "-"]);
    }
}
