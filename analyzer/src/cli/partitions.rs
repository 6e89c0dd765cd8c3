//! `isotherm get partitions`.

use super::Failure;
use super::client::ClientArgs;
use super::nodes::ActivityJson;
use super::print::{self, Column, Format};
use super::time::SpanArgs;
use clap::Args;
use isotherm_proto::control::v1::{ListPartitionsRequest, Partition};
use serde::Serialize;

/// Partitions, and which nodes did how much for them in the time asked for
///
/// Listed are the partitions that the topology names and those that were seen in that time.
#[derive(Args)]
pub(super) struct PartitionsArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    span: SpanArgs,
}

#[derive(Serialize)]
struct PartitionsJson {
    partitions: Vec<PartitionJson>,
}

#[derive(Serialize)]
struct PartitionJson {
    system: String,
    partition: String,
    in_topology: bool,
    nodes: Vec<NodeJson>,
}

#[derive(Serialize)]
struct NodeJson {
    node: String,
    #[serde(flatten)]
    activity: ActivityJson,
}

pub(super) async fn run(args: PartitionsArgs) -> Result<(), Failure> {
    let span = args.span.resolved()?;
    let mut client = args.client.connect().await?;
    let request = ListPartitionsRequest { since_ms: span.since, until_ms: span.until };
    let answer = client.control.list_partitions(request).await.map_err(|status| client.failure(&status))?;
    let partitions = answer.into_inner().partitions;
    match args.client.output {
        Format::Json => {
            print::json(&PartitionsJson { partitions: partitions.into_iter().map(json).collect() })
        }
        Format::Table => table(&partitions),
    }
}

fn json(partition: Partition) -> PartitionJson {
    let nodes = partition
        .nodes
        .into_iter()
        .map(|node| NodeJson { node: node.node, activity: node.activity.unwrap_or_default().into() })
        .collect();
    PartitionJson {
        system: partition.system,
        partition: partition.name,
        in_topology: partition.in_topology,
        nodes,
    }
}

fn table(partitions: &[Partition]) -> Result<(), Failure> {
    let columns = [
        Column::Text("SYSTEM"),
        Column::Text("PARTITION"),
        Column::Text("NODE"),
        Column::Number("READS"),
        Column::Number("READ"),
        Column::Number("WRITES"),
        Column::Number("WRITTEN"),
    ];
    let mut rows = Vec::new();
    for partition in partitions {
        let mut add = |cells: [String; 5]| {
            rows.push([vec![partition.system.clone(), partition.name.clone()], cells.to_vec()].concat());
        };
        if partition.nodes.is_empty() {
            add(["-"; 5].map(str::to_owned));
        }
        for node in &partition.nodes {
            let activity = node.activity.unwrap_or_default();
            add([
                node.node.clone(),
                activity.reads.to_string(),
                print::bytes(activity.read_bytes),
                activity.writes.to_string(),
                print::bytes(activity.written_bytes),
            ]);
        }
    }
    print::table(&columns, rows, "no partitions in that time")
}
