//! `isotherm analyze entropy`.

use super::Failure;
use super::client::ClientArgs;
use super::layer::{LayerArg, layer_word};
use super::print::{self, Column, Format};
use super::time::{SpanArgs, StepMs, rfc3339};
use clap::Args;
use isotherm_proto::control::v1::partition_entropy::NodeEntropy;
use isotherm_proto::control::v1::{
    AnalyzeEntropyRequest, EligibleSource, Layer, PartitionEntropy, PeerEntropy,
};
use serde::Serialize;

/// Entropy of partitions' reads over their nodes, offsets and peers
///
/// Node entropy says how evenly the nodes that may serve a partition share its reads: 0 bits when one serves
/// them all, log2(nodes) when all serve the same, and 2^bits is the number of nodes that clients lean on.
/// Steady evenness is healthy; it is change that means something. The value is `unknown` when a node was not
/// watched for all of the time or its windows reach over the step's ends, `not applicable` below two nodes, and
/// `insufficient` below 30 reads: none of these is 0.
///
/// In the network layer reads are operations that received, and peer entropy says how evenly they came from the
/// partition's peers, by address. With peers that the agent does not tell apart it is a lower bound (>=): these
/// count as the busiest peer.
#[derive(Args)]
pub(super) struct EntropyArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    span: SpanArgs,
    /// Reads of which layer
    #[arg(long, value_enum, default_value_t = LayerArg::Logical)]
    layer: LayerArg,
    /// Length of a step, or `all` for one from since to until; only whole steps are shown [default: the
    /// analyzer's, 60s unless configured]
    #[arg(long, value_name = "DURATION")]
    step: Option<StepMs>,
    /// Only so many partitions, those with the most reads; 0 for all
    #[arg(long, value_name = "N", default_value_t = 0)]
    top: u32,
    /// Only this partition, by name or system/name
    #[arg(long, value_name = "NAME")]
    partition: Option<String>,
}

#[derive(Serialize)]
struct EntropiesJson {
    entropies: Vec<EntropyJson>,
}

#[derive(Serialize)]
struct EntropyJson {
    system: String,
    partition: String,
    layer: &'static str,
    start_ms: u64,
    end_ms: u64,
    /// `null`: nobody watched.
    reads: Option<u64>,
    writes: Option<u64>,
    eligible_source: &'static str,
    shares: Vec<ShareJson>,
    node_entropy: NodeEntropyJson,
    offset_entropy_bits: Option<f64>,
    peer_entropy: Option<PeerEntropyJson>,
}

#[derive(Serialize)]
struct PeerEntropyJson {
    bits: f64,
    lower_bound: bool,
    remotes: u64,
    ops_not_told_apart: u64,
}

impl From<PeerEntropy> for PeerEntropyJson {
    fn from(found: PeerEntropy) -> Self {
        let PeerEntropy { bits, remotes, ops_not_told_apart } = found;
        Self { bits, lower_bound: ops_not_told_apart > 0, remotes, ops_not_told_apart }
    }
}

#[derive(Serialize)]
struct ShareJson {
    node: String,
    /// `null`: not watched.
    reads: Option<u64>,
}

#[derive(Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
enum NodeEntropyJson {
    Known { bits: f64, normalised: f64, effective_nodes: f64 },
    Unknown { silent_nodes: Vec<String> },
    NotApplicable { eligible_nodes: u32 },
    Insufficient { have: u64, need: u64 },
}

pub(super) async fn run(args: EntropyArgs) -> Result<(), Failure> {
    let span = args.span.resolved()?;
    let mut client = args.client.connect().await?;
    let request = AnalyzeEntropyRequest {
        since_ms: span.since,
        until_ms: span.until,
        step_ms: args.step.map(|step| step.0),
        partition: args.partition.unwrap_or_default(),
        top: args.top,
        layer: Layer::from(args.layer).into(),
    };
    let answer = client.control.analyze_entropy(request).await.map_err(|status| client.failure(&status))?;
    let entropies = answer.into_inner().entropies;
    match args.client.output {
        Format::Json => print::json(&EntropiesJson { entropies: entropies.into_iter().map(json).collect() }),
        Format::Table => table(&entropies, args.layer),
    }
}

fn json(found: PartitionEntropy) -> EntropyJson {
    EntropyJson {
        layer: layer_word(found.layer()),
        eligible_source: source(found.eligible_source()),
        system: found.system,
        partition: found.partition,
        start_ms: found.start_ms,
        end_ms: found.end_ms,
        reads: found.reads,
        writes: found.writes,
        shares: found
            .shares
            .into_iter()
            .map(|share| ShareJson { node: share.node, reads: share.reads })
            .collect(),
        node_entropy: node_entropy(found.node_entropy),
        offset_entropy_bits: found.offset_entropy_bits,
        peer_entropy: found.peer_entropy.map(PeerEntropyJson::from),
    }
}

fn node_entropy(found: Option<NodeEntropy>) -> NodeEntropyJson {
    match found {
        Some(NodeEntropy::Known(known)) => NodeEntropyJson::Known {
            bits: known.bits,
            normalised: known.normalised,
            effective_nodes: known.effective_nodes,
        },
        Some(NodeEntropy::Unknown(unknown)) => {
            NodeEntropyJson::Unknown { silent_nodes: unknown.silent_nodes }
        }
        Some(NodeEntropy::NotApplicable(not)) => {
            NodeEntropyJson::NotApplicable { eligible_nodes: not.eligible_nodes }
        }
        Some(NodeEntropy::Insufficient(few)) => {
            NodeEntropyJson::Insufficient { have: few.have, need: few.need }
        }
        // A newer analyzer may know a kind that this command does not.
        None => NodeEntropyJson::Unknown { silent_nodes: Vec::new() },
    }
}

fn source(source: EligibleSource) -> &'static str {
    match source {
        EligibleSource::Topology => "topology",
        EligibleSource::Observed => "observed",
        EligibleSource::Unspecified => "unspecified",
    }
}

fn table(entropies: &[PartitionEntropy], layer: LayerArg) -> Result<(), Failure> {
    let network = layer == LayerArg::Network;
    let columns = [
        Column::Text("PARTITION"),
        Column::Text("FROM"),
        Column::Text("UNTIL"),
        Column::Number(if network { "RECEIVES" } else { "READS" }),
        Column::Number("BITS"),
        Column::Number("OF MAX"),
        Column::Number("NODES LEANED ON"),
        Column::Number(if network { "PEER BITS" } else { "OFFSET BITS" }),
        Column::Text("NOTE"),
    ];
    let dash = || "-".to_owned();
    let row = |found: &PartitionEntropy| {
        let known = match &found.node_entropy {
            Some(NodeEntropy::Known(known)) => Some(*known),
            _ => None,
        };
        vec![
            format!("{}/{}", found.system, found.partition),
            rfc3339(found.start_ms),
            rfc3339(found.end_ms),
            found.reads.map_or_else(dash, |reads| reads.to_string()),
            known.map_or_else(dash, |known| format!("{:.3}", known.bits)),
            known.map_or_else(dash, |known| format!("{:.0} %", known.normalised * 100.0)),
            known
                .map_or_else(dash, |known| format!("{:.2} of {}", known.effective_nodes, found.shares.len())),
            if network {
                found.peer_entropy.map_or_else(dash, peer_bits)
            } else {
                found.offset_entropy_bits.map_or_else(dash, |bits| format!("{bits:.3}"))
            },
            note(found),
        ]
    };
    let empty = "no whole step with a partition in that time";
    print::table(&columns, entropies.iter().map(row).collect(), empty)
}

fn peer_bits(found: PeerEntropy) -> String {
    let bound = if found.ops_not_told_apart > 0 { ">= " } else { "" };
    format!("{bound}{:.3}", found.bits)
}

fn note(found: &PartitionEntropy) -> String {
    match node_entropy(found.node_entropy.clone()) {
        NodeEntropyJson::Known { .. } if found.eligible_source() == EligibleSource::Observed => {
            "nodes as observed".to_owned()
        }
        NodeEntropyJson::Known { .. } => String::new(),
        NodeEntropyJson::Unknown { silent_nodes } => {
            format!("unknown: not watched throughout: {}", silent_nodes.join(", "))
        }
        NodeEntropyJson::NotApplicable { eligible_nodes } => {
            let plural = if eligible_nodes == 1 { "" } else { "s" };
            format!("not applicable: {eligible_nodes} node{plural}")
        }
        NodeEntropyJson::Insufficient { have, need } => format!("insufficient: {have} of {need} reads"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_proto::control::v1::{Insufficient, Measured, NotApplicable, Unknown};

    #[test]
    fn json_says_why_there_is_no_value() {
        for (found, want) in [
            (
                NodeEntropy::Known(Measured { bits: 1.0, normalised: 0.5, effective_nodes: 2.0 }),
                r#"{"status":"known","bits":1.0,"normalised":0.5,"effective_nodes":2.0}"#,
            ),
            (
                NodeEntropy::Unknown(Unknown { silent_nodes: vec!["n".into()] }),
                r#"{"status":"unknown","silent_nodes":["n"]}"#,
            ),
            (
                NodeEntropy::NotApplicable(NotApplicable { eligible_nodes: 1 }),
                r#"{"status":"not_applicable","eligible_nodes":1}"#,
            ),
            (
                NodeEntropy::Insufficient(Insufficient { have: 2, need: 30 }),
                r#"{"status":"insufficient","have":2,"need":30}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&node_entropy(Some(found))).unwrap(), want);
        }
    }
}
