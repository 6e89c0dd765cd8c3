//! `isotherm get partitions`.

use super::Failure;
use super::client::ClientArgs;
use super::layer::{
    CountsJson, LatencyJson, LayerArg, columns, headers, layer_word, operation_word, quantile,
};
use super::nodes::ActivityJson;
use super::print::{self, Column, Format};
use super::time::SpanArgs;
use clap::Args;
use isotherm_proto::control::v1::{
    Accesses, Layer, ListPartitionsRequest, NodeActivity, Operation, Partition,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// Partitions, and which nodes did how much for them in the time asked for
///
/// Listed are the partitions that the topology names and those that were seen in that time. A dash says that
/// something was not watched, or not measured; 0 that it was, and did not happen. Latency is that of block
/// devices, from the request to its completion, as upper bounds: the accesses are counted by powers of two of
/// nanoseconds.
#[derive(Args)]
pub(super) struct PartitionsArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    span: SpanArgs,
    /// Only this layer [default: logical in a table, all in JSON]
    #[arg(long, value_enum)]
    layer: Option<LayerArg>,
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
    /// The logical layer, absent where it is not known.
    #[serde(flatten)]
    activity: Option<ActivityJson>,
    layers: BTreeMap<&'static str, BTreeMap<&'static str, AccessesJson>>,
}

#[derive(Serialize)]
struct AccessesJson {
    #[serde(flatten)]
    counts: CountsJson,
    latency: Option<LatencyJson>,
}

pub(super) async fn run(args: PartitionsArgs) -> Result<(), Failure> {
    let span = args.span.resolved()?;
    let mut client = args.client.connect().await?;
    let (layer, format) = match args.client.output {
        Format::Json => (args.layer, Format::Json),
        Format::Table => (Some(args.layer.unwrap_or(LayerArg::Logical)), Format::Table),
    };
    let asked = layer.map_or(Layer::Unspecified, Layer::from);
    let request = ListPartitionsRequest { since_ms: span.since, until_ms: span.until, layer: asked.into() };
    let answer = client.control.list_partitions(request).await.map_err(|status| client.failure(&status))?;
    let partitions = answer.into_inner().partitions;
    match format {
        Format::Json => {
            print::json(&PartitionsJson { partitions: partitions.into_iter().map(json).collect() })
        }
        Format::Table => table(&partitions, layer.unwrap_or(LayerArg::Logical)),
    }
}

fn json(partition: Partition) -> PartitionJson {
    PartitionJson {
        system: partition.system,
        partition: partition.name,
        in_topology: partition.in_topology,
        nodes: partition.nodes.into_iter().map(node).collect(),
    }
}

fn node(node: NodeActivity) -> NodeJson {
    let mut layers: BTreeMap<&str, BTreeMap<&str, AccessesJson>> = BTreeMap::new();
    for accesses in &node.accesses {
        let found = AccessesJson {
            counts: accesses.counts.unwrap_or_default().into(),
            latency: accesses.latency.as_ref().and_then(LatencyJson::of),
        };
        let operation = operation_word(accesses.operation());
        layers.entry(layer_word(accesses.layer())).or_default().insert(operation, found);
    }
    NodeJson { node: node.node, activity: node.activity.map(ActivityJson::from), layers }
}

/// Columns of quantiles, of layers that have them.
const LATENCY: [(&str, Operation, f64); 4] = [
    ("READ P50", Operation::Read, 0.5),
    ("READ P99", Operation::Read, 0.99),
    ("WRITE P50", Operation::Write, 0.5),
    ("WRITE P99", Operation::Write, 0.99),
];

fn table(partitions: &[Partition], layer: LayerArg) -> Result<(), Failure> {
    let latency = if layer == LayerArg::Device { LATENCY.as_slice() } else { &[] };
    let mut header = ["SYSTEM", "PARTITION", "NODE"].map(Column::Text).to_vec();
    header.extend(headers(layer));
    header.extend(latency.iter().map(|(name, _, _)| Column::Number(name)));
    let mut rows = Vec::new();
    for partition in partitions {
        let named = |node: &str| vec![partition.system.clone(), partition.name.clone(), node.to_owned()];
        if partition.nodes.is_empty() {
            let mut row = named("-");
            row.resize(header.len(), "-".to_owned());
            rows.push(row);
        }
        for node in &partition.nodes {
            let of = |operation| accesses(node, layer.into(), operation);
            let mut row = named(&node.node);
            row.extend(columns(layer).iter().map(|(_, operation, shown)| {
                let counts = of(*operation).and_then(|accesses| accesses.counts);
                counts.map_or_else(|| "-".to_owned(), |counts| shown.of(counts))
            }));
            row.extend(latency.iter().map(|(_, operation, q)| {
                quantile(of(*operation).and_then(|accesses| accesses.latency.as_ref()), *q)
            }));
            rows.push(row);
        }
    }
    print::table(&header, rows, "no partitions in that time")
}

fn accesses(node: &NodeActivity, layer: Layer, operation: Operation) -> Option<&Accesses> {
    node.accesses.iter().find(|accesses| accesses.layer() == layer && accesses.operation() == operation)
}
