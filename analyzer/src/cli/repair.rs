//! `isotherm repair`: what is made again after a node has failed, and the breaker that stops it.

use super::Failure;
use super::client::ClientArgs;
use super::node::WhoArgs;
use super::print::{self, Column, Format};
use super::time::rfc3339;
use clap::{Args, Subcommand};
use isotherm_proto::control::v1::{
    FailedNode, GetRepairsRequest, GetRepairsResponse, PauseRepairsRequest, ResumeRepairsRequest,
    SystemRepairs,
};

/// What to do about repairs.
#[derive(Subcommand)]
pub(super) enum RepairCommand {
    Status(StatusArgs),
    Pause(PauseArgs),
    Resume(ResumeArgs),
}

/// Show nodes that have failed, what they held, and whether repairs may begin
///
/// A failure is acted on when the topology and somebody who watches the node both say so, and after the wait of
/// [migrate.repair]. What is not acted on is in `isotherm diary`, too. The repairs themselves are migrations: `isotherm
/// migrate status`.
#[derive(Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    client: ClientArgs,
}

/// Begin no repair until `isotherm repair resume`
///
/// Opens the breaker by hand. Repairs that copy go on to their end; those that wait are cancelled.
#[derive(Args)]
pub(super) struct PauseArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Only of this system [default: all]
    #[arg(long, value_name = "SYSTEM", default_value = "", hide_default_value = true)]
    system: String,
    /// Why; it is recorded
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    who: WhoArgs,
}

/// Let repairs begin again after the breaker opened
///
/// Look first why it is open: `isotherm repair status`. The failures there are count no more; a further one can open it
/// again. What they took is then made again, as the mode allows. Without --yes it is only said whose breaker would be
/// closed.
#[derive(Args)]
pub(super) struct ResumeArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Only of this system [default: all]
    #[arg(long, value_name = "SYSTEM", default_value = "", hide_default_value = true)]
    system: String,
    /// Why; it is recorded
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    who: WhoArgs,
    /// Do it
    #[arg(long)]
    yes: bool,
}

pub(super) async fn run(command: RepairCommand) -> Result<(), Failure> {
    match command {
        RepairCommand::Status(args) => status(args).await,
        RepairCommand::Pause(args) => pause(args).await,
        RepairCommand::Resume(args) => resume(args).await,
    }
}

async fn pause(args: PauseArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let request = PauseRepairsRequest { system: args.system, reason: args.reason, who: args.who.name() };
    client.repairs.pause_repairs(request).await.map_err(|status| client.failure(&status))?;
    print::out("paused: no repair begins until `isotherm repair resume`\n")
}

async fn resume(args: ResumeArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let request = ResumeRepairsRequest {
        system: args.system,
        reason: args.reason,
        who: args.who.name(),
        validate_only: !args.yes,
    };
    let answer = client.repairs.resume_repairs(request).await;
    let systems = answer.map_err(|status| client.failure(&status))?.into_inner().systems;
    match (args.client.output, args.yes) {
        (Format::Json, _) => print::json(&serde_json::json!({ "systems": systems })),
        (Format::Table, true) => print::out("repairs begin again, as far as their mode allows\n"),
        (Format::Table, false) => print::out(&format!(
            "repairs of {} would begin again; nothing was done. Give --yes to do it.\n",
            systems.join(", ")
        )),
    }
}

async fn status(args: StatusArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let answer = client.repairs.get_repairs(GetRepairsRequest {}).await;
    let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
    if args.client.output == Format::Json {
        return print::json(&answer);
    }
    print::out(&summary(&answer))?;
    let header = [
        Column::Text("NODE"),
        Column::Text("SINCE"),
        Column::Text("STANDING"),
        Column::Number("LOST"),
        Column::Number("MISSING"),
        Column::Number("UNDER WAY"),
        Column::Text("WHY"),
    ];
    let rows: Vec<Vec<String>> = answer.systems.iter().flat_map(|system| &system.failures).map(row).collect();
    print::table(&header, rows, "no node has failed")?;
    let unrepaired: Vec<Vec<String>> = answer
        .systems
        .iter()
        .flat_map(|system| &system.unrepaired)
        .map(|one| vec![one.partition.clone(), one.why.clone()])
        .collect();
    if unrepaired.is_empty() {
        return Ok(());
    }
    print::out("\n")?;
    print::table(&[Column::Text("NOT REPAIRED"), Column::Text("WHY")], unrepaired, "")
}

fn row(failed: &FailedNode) -> Vec<String> {
    vec![
        failed.node.clone(),
        rfc3339(failed.since_ms),
        failed.standing.clone(),
        failed.lost.to_string(),
        failed.missing.to_string(),
        failed.under_way.to_string(),
        failed.why.clone(),
    ]
}

fn summary(answer: &GetRepairsResponse) -> String {
    let mut text = format!("mode:    {}, at most {} repairs an hour\n", answer.mode, answer.per_hour);
    for system in &answer.systems {
        text.push_str(&format!("breaker: {}\n", breaker(system)));
        if let Some(begun) = system.begun_within_hour {
            text.push_str(&format!("begun:   {begun} of {} within an hour\n", system.system));
        }
        let open = system.breaker.as_ref().is_some_and(|breaker| breaker.open);
        if !open && !system.hold.is_empty() {
            text.push_str(&format!("held:    {}: {}\n", system.system, system.hold));
        }
    }
    text.push('\n');
    text
}

fn breaker(system: &SystemRepairs) -> String {
    match system.breaker.as_ref().filter(|breaker| breaker.open) {
        Some(breaker) => format!(
            "{} OPEN since {} by {}: {}",
            system.system,
            rfc3339(breaker.since_ms),
            if breaker.who.is_empty() { "somebody" } else { &breaker.who },
            breaker.cause
        ),
        None => format!("{} closed", system.system),
    }
}
