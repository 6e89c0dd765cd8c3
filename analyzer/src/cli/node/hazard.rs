//! `isotherm node hazard`: operators' words on hazards.

use super::super::Failure;
use super::super::client::ClientArgs;
use super::super::print::{self, Column, Format};
use super::super::time::{Deadline, rfc3339};
use super::WhoArgs;
use clap::{Args, Subcommand};
use isotherm_proto::control::v1::hazard_override::Hazard;
use isotherm_proto::control::v1::{
    ClearHazardRequest, HazardOverride, ListHazardsRequest, SetHazardRequest, set_hazard_request,
};
use serde::Serialize;

/// What to do with words on hazards.
#[derive(Subcommand)]
pub(in crate::cli) enum HazardCommand {
    Set(SetArgs),
    Clear(ClearArgs),
    List(ListArgs),
}

/// Say what a node's hazard is, for a time
///
/// For what the record cannot know: a disk that reports errors, a batch that was recalled, a node that was repaired. It
/// takes the place of an earlier word.
#[derive(Args)]
pub(in crate::cli) struct SetArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// The node, by name or system/name
    #[arg(value_name = "NODE")]
    node: String,
    /// Failures per hour
    #[arg(long, value_name = "RATE", required_unless_present = "factor", conflicts_with = "factor")]
    per_hour: Option<f64>,
    /// Times what its history and its class say
    #[arg(long, value_name = "FACTOR")]
    factor: Option<f64>,
    /// When it ends: a duration from now such as 14d, RFC 3339, or @<unix ms>
    #[arg(long, value_name = "WHEN")]
    until: Deadline,
    /// Why; it is recorded
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    who: WhoArgs,
    /// Say what would be recorded, and record nothing
    #[arg(long)]
    dry_run: bool,
}

/// Take the word on a node's hazard back
#[derive(Args)]
pub(in crate::cli) struct ClearArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// The node, by name or system/name
    #[arg(value_name = "NODE")]
    node: String,
    /// Why; it is recorded
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    who: WhoArgs,
}

/// Words that stand
#[derive(Args)]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Also those that have ended
    #[arg(long)]
    all: bool,
}

#[derive(Serialize)]
struct HazardsJson {
    hazards: Vec<HazardJson>,
}

#[derive(Serialize)]
struct HazardJson {
    system: String,
    node: String,
    per_hour: Option<f64>,
    factor: Option<f64>,
    set_ms: u64,
    until_ms: u64,
    reason: String,
    who: String,
    cleared_ms: Option<u64>,
    cleared_by: Option<String>,
    cleared_reason: Option<String>,
}

pub(super) async fn run(command: HazardCommand) -> Result<(), Failure> {
    match command {
        HazardCommand::Set(args) => set(args).await,
        HazardCommand::Clear(args) => clear(args).await,
        HazardCommand::List(args) => list(args).await,
    }
}

async fn set(args: SetArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let hazard = args.per_hour.map(set_hazard_request::Hazard::PerHour);
    let request = SetHazardRequest {
        node: args.node,
        hazard: hazard.or(args.factor.map(set_hazard_request::Hazard::Factor)),
        until_ms: args.until.0,
        reason: args.reason,
        who: args.who.name(),
        validate_only: args.dry_run,
    };
    let answer = client.nodes.set_hazard(request).await.map_err(|status| client.failure(&status))?;
    print(answer.into_inner().hazard.into_iter().collect(), args.client.output)
}

async fn clear(args: ClearArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let request = ClearHazardRequest { node: args.node, reason: args.reason, who: args.who.name() };
    let answer = client.nodes.clear_hazard(request).await.map_err(|status| client.failure(&status))?;
    print(answer.into_inner().hazard.into_iter().collect(), args.client.output)
}

async fn list(args: ListArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let request = ListHazardsRequest { all: args.all };
    let answer = client.nodes.list_hazards(request).await.map_err(|status| client.failure(&status))?;
    print(answer.into_inner().hazards, args.client.output)
}

fn print(hazards: Vec<HazardOverride>, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => print::json(&HazardsJson { hazards: hazards.into_iter().map(json).collect() }),
        Format::Table => table(&hazards),
    }
}

fn json(word: HazardOverride) -> HazardJson {
    let (per_hour, factor) = match word.hazard {
        Some(Hazard::PerHour(rate)) => (Some(rate), None),
        Some(Hazard::Factor(factor)) => (None, Some(factor)),
        None => (None, None),
    };
    let cleared = word.cleared_ms.is_some();
    HazardJson {
        system: word.system,
        node: word.node,
        per_hour,
        factor,
        set_ms: word.set_ms,
        until_ms: word.until_ms,
        reason: word.reason,
        who: word.who,
        cleared_ms: word.cleared_ms,
        cleared_by: cleared.then_some(word.cleared_by),
        cleared_reason: cleared.then_some(word.cleared_reason),
    }
}

fn table(hazards: &[HazardOverride]) -> Result<(), Failure> {
    let header =
        ["SYSTEM", "NODE", "HAZARD", "SET", "UNTIL", "WHO", "REASON", "TAKEN BACK"].map(Column::Text);
    let rows = hazards.iter().map(|word| {
        let hazard = match word.hazard {
            Some(Hazard::PerHour(rate)) => format!("{rate} per hour"),
            Some(Hazard::Factor(factor)) => format!("x {factor}"),
            None => "-".to_owned(),
        };
        vec![
            word.system.clone(),
            word.node.clone(),
            hazard,
            rfc3339(word.set_ms),
            rfc3339(word.until_ms),
            word.who.clone(),
            word.reason.clone(),
            word.cleared_ms.map_or_else(|| "-".to_owned(), rfc3339),
        ]
    });
    print::table(&header, rows.collect(), "no operator's word stands")
}
