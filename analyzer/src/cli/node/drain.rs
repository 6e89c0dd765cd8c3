//! Nodes that are emptied, filled, or take nothing more.

use super::WhoArgs;
use crate::cli::Failure;
use crate::cli::client::{Client, ClientArgs};
use crate::cli::plan::kept::{capacity, done, follow, made, refused, tell, wanted};
use crate::cli::print::{self, Format};
use clap::Args;
use isotherm_proto::control::v1::{
    ActOnPlanRequest, CordonRequest, NodeCapacity, Plan, PlanAction, PlanRequest, UncordonRequest,
};
use std::time::Duration;

/// Empty a node: cordon it, and move what it holds to others
///
/// Without --yes the plan is shown, and nothing is done. With it the node is cordoned, the plan is approved in your name
/// and carried out; `isotherm plan watch` follows it. The node stays cordoned until `isotherm node uncordon`. Partitions
/// of `migrate.never_touch` stay on it, which is told.
///
/// Exit code 4: something of what it holds stays.
#[derive(Args)]
pub(in crate::cli) struct DrainArgs {
    #[command(flatten)]
    asked: PlanArgs,
}

/// Bring a node that is new, or back and empty, up to its share
///
/// Without --yes the plan is shown, and nothing is done. Exit code 4: it stays below its share.
#[derive(Args)]
pub(in crate::cli) struct FillArgs {
    #[command(flatten)]
    asked: PlanArgs,
}

#[derive(Args)]
struct PlanArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// The node, by name or system/name
    #[arg(value_name = "NODE")]
    node: String,
    /// Most moves
    #[arg(long, value_name = "N")]
    max_moves: Option<u32>,
    /// What a node can hold, such as n1=2TiB, where nobody knows it or the topology is wrong
    #[arg(long, value_name = "NODE=SIZE", value_parser = capacity)]
    capacity: Vec<NodeCapacity>,
    /// How long each source is kept after its switch [default: migrate.probation of the configuration]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    probation: Option<Duration>,
    /// Why; it is recorded
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    who: WhoArgs,
    /// Do it
    #[arg(long)]
    yes: bool,
    /// Follow it to its end
    #[arg(long, requires = "yes")]
    watch: bool,
}

#[derive(Args)]
pub(in crate::cli) struct CordonArgs {
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

pub(super) async fn drain(args: DrainArgs) -> Result<(), Failure> {
    let asked = args.asked;
    let mut client = asked.client.connect().await?;
    if asked.yes {
        let (node, reason) = (asked.node.clone(), asked.reason.clone());
        let request = CordonRequest { node, reason, who: asked.who.name() };
        client.plans.cordon(request).await.map_err(|status| client.failure(&status))?;
    }
    let request = PlanRequest {
        drain: vec![asked.node.clone()],
        most_moves: asked.max_moves,
        capacities: asked.capacity.clone(),
        ..PlanRequest::default()
    };
    let plan = carried_out(&mut client, &asked, request).await?;
    refused(&plan)
}

pub(super) async fn fill(args: FillArgs) -> Result<(), Failure> {
    let asked = args.asked;
    let mut client = asked.client.connect().await?;
    let request = PlanRequest {
        fill: vec![asked.node.clone()],
        most_moves: asked.max_moves,
        capacities: asked.capacity.clone(),
        ..PlanRequest::default()
    };
    let plan = carried_out(&mut client, &asked, request).await?;
    refused(&plan)
}

/// Makes a plan, and unless it is a dry run approves and begins it. The plan as it was made.
async fn carried_out(client: &mut Client, asked: &PlanArgs, request: PlanRequest) -> Result<Plan, Failure> {
    let plan = made(client, request, &asked.who, &asked.reason, !asked.yes).await?;
    if !asked.yes || plan.id.is_empty() {
        match asked.client.output {
            Format::Json => print::json(&plan)?,
            Format::Table => {
                tell::plan(&plan)?;
                if !plan.moves.is_empty() {
                    print::out("\nnothing was done; give --yes to do it\n")?;
                }
            }
        }
        return Ok(plan);
    }
    done(client, wanted(&plan.id, PlanAction::Approve, &asked.who, &asked.reason)).await?;
    let probation_ms = asked.probation.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let begin = wanted(&plan.id, PlanAction::Execute, &asked.who, &asked.reason);
    let begun = done(client, ActOnPlanRequest { probation_ms, ..begin }).await?;
    if asked.watch {
        follow::plan(client, &plan.id, asked.client.output, None).await?;
    } else {
        match asked.client.output {
            Format::Json => print::json(&begun)?,
            Format::Table => {
                let (id, moves) = (&plan.id, plan.move_count);
                print::out(&format!(
                    "plan {id} has begun, {moves} moves; `isotherm plan watch {id}` follows it\n"
                ))?;
            }
        }
    }
    Ok(plan)
}

pub(super) async fn cordon(args: CordonArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let request = CordonRequest { node: args.node, reason: args.reason, who: args.who.name() };
    let answer = client.plans.cordon(request).await;
    let cordon = answer.map_err(|status| client.failure(&status))?.into_inner().cordon.unwrap_or_default();
    match args.client.output {
        Format::Json => print::json(&cordon),
        Format::Table => print::out(&format!(
            "{}/{} takes nothing more until `isotherm node uncordon`\n",
            cordon.system, cordon.node
        )),
    }
}

pub(super) async fn uncordon(args: CordonArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let request = UncordonRequest { node: args.node.clone(), reason: args.reason, who: args.who.name() };
    client.plans.uncordon(request).await.map_err(|status| client.failure(&status))?;
    match args.client.output {
        Format::Json => print::json(&serde_json::json!({ "node": args.node, "cordoned": false })),
        Format::Table => print::out(&format!("{} may take something again\n", args.node)),
    }
}
