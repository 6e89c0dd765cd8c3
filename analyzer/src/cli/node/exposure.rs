//! `isotherm node exposure`: how long nodes were seen to be up, and how often they failed.

use super::super::Failure;
use super::super::client::ClientArgs;
use super::super::print::{self, Column, Format};
use super::super::time::{Moment, rfc3339};
use super::failures::cause;
use crate::writer::now;
use clap::Args;
use isotherm_proto::control::v1::{DownCause, ListExposureRequest, NodeExposure, Outage};
use serde::Serialize;

/// How long nodes were seen to be up, and their outages
///
/// OBSERVED are hours in which an agent or the topology saw the node up; time in which nobody looked is left out, and so
/// are outages. A failure counts against them only if the node was seen in the hour before. Records of the same outage
/// count once. JSON has the hours by day.
#[derive(Args)]
pub(in crate::cli) struct ExposureArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Only this node, by name or system/name
    #[arg(value_name = "NODE")]
    node: Option<String>,
    /// Only the time after: a duration ago such as 30d, RFC 3339, or @<unix ms>
    #[arg(long, value_name = "WHEN", default_value = "@0")]
    since: Moment,
}

#[derive(Serialize)]
struct ExposureJson {
    nodes: Vec<NodeJson>,
}

#[derive(Serialize)]
struct NodeJson {
    system: String,
    node: String,
    class: Option<String>,
    observed_h: f64,
    days: Vec<DayJson>,
    outages: Vec<OutageJson>,
}

#[derive(Serialize)]
struct DayJson {
    day: String,
    observed_h: f64,
}

#[derive(Serialize)]
struct OutageJson {
    from_ms: u64,
    to_ms: Option<u64>,
    cause: &'static str,
    observed_before: bool,
    domain: Option<String>,
}

pub(super) async fn run(args: ExposureArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let since_ms = args.since.ms(now().as_ms());
    let request = ListExposureRequest { since_ms, node: args.node.unwrap_or_default() };
    let answer = client.nodes.list_exposure(request).await.map_err(|status| client.failure(&status))?;
    let nodes = answer.into_inner().nodes;
    match args.client.output {
        Format::Json => print::json(&ExposureJson { nodes: nodes.into_iter().map(json).collect() }),
        Format::Table => table(&nodes),
    }
}

fn json(node: NodeExposure) -> NodeJson {
    let day = |ms| rfc3339(ms).chars().take("2026-01-01".len()).collect();
    let outage = |outage: Outage| OutageJson {
        from_ms: outage.from_ms,
        to_ms: outage.to_ms,
        cause: cause(outage.cause()),
        observed_before: outage.observed_before,
        domain: (!outage.domain.is_empty()).then_some(outage.domain),
    };
    NodeJson {
        system: node.system,
        node: node.node,
        class: (!node.class.is_empty()).then_some(node.class),
        observed_h: node.observed_h,
        days: node
            .days
            .into_iter()
            .map(|raw| DayJson { day: day(raw.day_ms), observed_h: raw.observed_h })
            .collect(),
        outages: node.outages.into_iter().map(outage).collect(),
    }
}

fn table(nodes: &[NodeExposure]) -> Result<(), Failure> {
    let header = [
        Column::Text("SYSTEM"),
        Column::Text("NODE"),
        Column::Text("CLASS"),
        Column::Number("OBSERVED"),
        Column::Number("FAILURES"),
        Column::Number("COUNTED"),
        Column::Number("MAINTENANCE"),
        Column::Text("LAST FAILURE"),
    ];
    let rows = nodes.iter().map(|node| {
        let of = |cause| node.outages.iter().filter(move |outage| outage.cause() == cause);
        let failures = || of(DownCause::Failure);
        let last = failures().map(|outage| outage.from_ms).max();
        vec![
            node.system.clone(),
            node.node.clone(),
            if node.class.is_empty() { "-".to_owned() } else { node.class.clone() },
            format!("{:.2} h", node.observed_h),
            failures().count().to_string(),
            failures().filter(|outage| outage.observed_before).count().to_string(),
            of(DownCause::Maintenance).count().to_string(),
            last.map_or_else(|| "-".to_owned(), rfc3339),
        ]
    });
    print::table(&header, rows.collect(), "no node was seen or is on record yet")
}
