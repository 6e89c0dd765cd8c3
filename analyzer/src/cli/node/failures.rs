//! `isotherm node failures`: what is on record.

use super::super::Failure;
use super::super::client::ClientArgs;
use super::super::print::{self, Column, Format};
use super::super::time::{Moment, rfc3339};
use crate::writer::now;
use clap::Args;
use isotherm_proto::control::v1::{DownCause, DownInterval, DownSource, ListFailuresRequest};
use serde::Serialize;

/// When nodes were down, and why
///
/// A `failure` counts; `maintenance` was on purpose; `agent_loss` is a node whose agent was silent while nothing else
/// said that it was down: unknown, neither failure nor exposure. DOMAIN is the failure domain that went down with the
/// node, if half of its nodes or more did within two minutes.
#[derive(Args)]
pub(in crate::cli) struct FailuresArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Only this node, by name or system/name
    #[arg(value_name = "NODE")]
    node: Option<String>,
    /// Only what lasted until after: a duration ago such as 30d, RFC 3339, or @<unix ms>
    #[arg(long, value_name = "WHEN", default_value = "@0")]
    since: Moment,
}

#[derive(Serialize)]
struct FailuresJson<'a> {
    failures: Vec<FailureJson<'a>>,
}

#[derive(Serialize)]
struct FailureJson<'a> {
    system: &'a str,
    node: &'a str,
    from_ms: u64,
    to_ms: Option<u64>,
    cause: &'static str,
    source: &'static str,
    domain: Option<&'a str>,
    note: &'a str,
    who: &'a str,
    recorded_ms: u64,
}

pub(super) async fn run(args: FailuresArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let since_ms = args.since.ms(now().as_ms());
    let request = ListFailuresRequest { since_ms, node: args.node.unwrap_or_default() };
    let answer = client.nodes.list_failures(request).await.map_err(|status| client.failure(&status))?;
    let intervals = answer.into_inner().intervals;
    match args.client.output {
        Format::Json => json(&intervals),
        Format::Table => table(&intervals),
    }
}

pub(super) fn json(intervals: &[DownInterval]) -> Result<(), Failure> {
    print::json(&FailuresJson { failures: intervals.iter().map(failure).collect() })
}

fn failure(interval: &DownInterval) -> FailureJson<'_> {
    FailureJson {
        system: &interval.system,
        node: &interval.node,
        from_ms: interval.from_ms,
        to_ms: interval.to_ms,
        cause: cause(interval.cause()),
        source: source(interval.source()),
        domain: (!interval.domain.is_empty()).then_some(&interval.domain),
        note: &interval.note,
        who: &interval.who,
        recorded_ms: interval.recorded_ms,
    }
}

pub(super) fn table(intervals: &[DownInterval]) -> Result<(), Failure> {
    let header =
        ["SYSTEM", "NODE", "FROM", "TO", "CAUSE", "SOURCE", "DOMAIN", "WHO", "NOTE"].map(Column::Text);
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let rows = intervals.iter().map(|interval| {
        vec![
            interval.system.clone(),
            interval.node.clone(),
            rfc3339(interval.from_ms),
            interval.to_ms.map_or_else(|| "goes on".to_owned(), rfc3339),
            cause(interval.cause()).to_owned(),
            source(interval.source()).to_owned(),
            or_dash(&interval.domain),
            or_dash(&interval.who),
            or_dash(&interval.note),
        ]
    });
    print::table(&header, rows.collect(), "nothing is on record")
}

pub(super) fn cause(cause: DownCause) -> &'static str {
    match cause {
        DownCause::Unspecified => "unspecified",
        DownCause::Failure => "failure",
        DownCause::Maintenance => "maintenance",
        DownCause::AgentLoss => "agent_loss",
    }
}

fn source(source: DownSource) -> &'static str {
    match source {
        DownSource::Unspecified => "unspecified",
        DownSource::Topology => "topology",
        DownSource::Agent => "agent",
        DownSource::Operator => "operator",
        DownSource::Import => "import",
    }
}
