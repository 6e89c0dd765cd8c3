//! `isotherm get topology`.

use super::Failure;
use super::client::ClientArgs;
use super::print::{self, Column, Format};
use super::time::rfc3339;
use clap::Args;
use isotherm_proto::control::v1::{GetTopologyRequest, TopologyFreshness, TopologyOrigin, TopologySource};
use serde::Serialize;

/// Sources of the topology: who says what nodes and partitions there are
///
/// One source for each system: the analyzer's configuration, or an adapter. An adapter that was not heard for too long
/// is `stale`: nodes' health is unknown, everything else is as it was last. PROBLEM says why nothing is heard, or why
/// what came was refused.
#[derive(Args)]
pub(super) struct TopologyArgs {
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Serialize)]
struct TopologyJson {
    revision: u64,
    sources: Vec<SourceJson>,
}

#[derive(Serialize)]
struct SourceJson {
    system: String,
    origin: &'static str,
    endpoint: Option<String>,
    adapter: Option<String>,
    freshness: &'static str,
    heard_ms: Option<u64>,
    problem: Option<String>,
    revision: u64,
    incarnation: Option<String>,
    nodes: u64,
    partitions: u64,
}

pub(super) async fn run(args: TopologyArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let answer = client.nodes.get_topology(GetTopologyRequest {}).await;
    let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
    match args.client.output {
        Format::Json => {
            let sources = answer.sources.into_iter().map(json).collect();
            print::json(&TopologyJson { revision: answer.revision, sources })
        }
        Format::Table => table(&answer.sources),
    }
}

fn json(source: TopologySource) -> SourceJson {
    let some = |text: String| (!text.is_empty()).then_some(text);
    SourceJson {
        origin: origin(&source),
        freshness: freshness(&source),
        system: source.system,
        endpoint: some(source.endpoint),
        adapter: some(source.adapter),
        heard_ms: source.heard_ms,
        problem: some(source.problem),
        revision: source.revision,
        incarnation: some(source.incarnation),
        nodes: source.nodes,
        partitions: source.partitions,
    }
}

fn table(sources: &[TopologySource]) -> Result<(), Failure> {
    let header = [
        Column::Text("SYSTEM"),
        Column::Text("SOURCE"),
        Column::Text("STATE"),
        Column::Text("HEARD"),
        Column::Number("REVISION"),
        Column::Number("NODES"),
        Column::Number("PARTITIONS"),
        Column::Text("PROBLEM"),
    ];
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let rows = sources.iter().map(|source| {
        vec![
            source.system.clone(),
            if source.endpoint.is_empty() { origin(source).to_owned() } else { source.endpoint.clone() },
            freshness(source).to_owned(),
            source.heard_ms.map_or_else(|| "-".to_owned(), rfc3339),
            source.heard_ms.map_or_else(|| "-".to_owned(), |_| source.revision.to_string()),
            source.nodes.to_string(),
            source.partitions.to_string(),
            or_dash(&source.problem),
        ]
    });
    print::table(&header, rows.collect(), "no topology: neither [[topology]] nor [[adapter]] is configured")
}

fn origin(source: &TopologySource) -> &'static str {
    match source.origin() {
        TopologyOrigin::Unspecified => "unspecified",
        TopologyOrigin::Configuration => "configuration",
        TopologyOrigin::Adapter => "adapter",
    }
}

fn freshness(source: &TopologySource) -> &'static str {
    match source.freshness() {
        TopologyFreshness::Unspecified => "unspecified",
        TopologyFreshness::Fresh => "fresh",
        TopologyFreshness::Stale => "stale",
        TopologyFreshness::Never => "never_heard",
    }
}
