//! Plans of the analyzer's own cluster: made, looked at, approved and carried out.

pub(in crate::cli) mod follow;
pub(in crate::cli) mod tell;

use crate::cli::Failure;
use crate::cli::client::{Client, ClientArgs};
use crate::cli::node::WhoArgs;
use crate::cli::print::{self, Format};
use crate::cli::time::span;
use clap::Args;
use isotherm_proto::control::v1::{
    ActOnPlanRequest, CreatePlanRequest, DiffPlansRequest, GetPlanRequest, ListPlansRequest, NodeCapacity,
    Plan, PlanAction, PlanRequest, RelievedNode,
};
use std::time::Duration;

/// Make a plan of the cluster as it is, and keep it
///
/// It is made from the topology of the moment and what the last cycle measured, checked by code that shares nothing with
/// the planner, and kept until `isotherm plan rm`. Nothing moves before `approve` and `execute`. What is not known is
/// not taken for zero: partitions of unknown size are left out, nodes of unknown capacity take nothing, and the plan says
/// so. Partitions of `migrate.never_touch` stay where they are.
///
/// Exit code 4: something that was asked for is refused; the plan has the rest. docs/plans.md has more.
#[derive(Args)]
pub(in crate::cli) struct CreateArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// The system; not needed where a node says it, or there is only one
    #[arg(long, value_name = "SYSTEM", default_value = "", hide_default_value = true)]
    system: String,
    /// Empty this node
    #[arg(long, value_name = "NODE")]
    drain: Vec<String>,
    /// Take from this node until it holds as much as with SHARE of its capacity [default share: 0.5]
    #[arg(long, value_name = "NODE[=SHARE]", value_parser = relieved)]
    relieve: Vec<RelievedNode>,
    /// Bring this node, which is new or back, up to its share
    #[arg(long, value_name = "NODE")]
    fill: Vec<String>,
    /// Make again what lay on nodes that are down
    #[arg(long)]
    repair: bool,
    /// Even out size and load
    #[arg(long)]
    balance: bool,
    /// Move what is likely to hurt where it lies, by the losses that the last cycle expects
    #[arg(long)]
    proactive: bool,
    /// Most moves
    #[arg(long, value_name = "N")]
    max_moves: Option<u32>,
    /// Most bytes that are copied, such as 10GiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_bytes: Option<u64>,
    /// What a node can hold, such as n1=2TiB, where nobody knows it or the topology is wrong
    #[arg(long, value_name = "NODE=SIZE", value_parser = capacity)]
    capacity: Vec<NodeCapacity>,
    /// Why; it is recorded
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    who: WhoArgs,
    /// Show the plan, and keep nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
}

/// Show a plan: its moves with their reasons, what is refused, and how far it is
#[derive(Args)]
pub(in crate::cli) struct ShowArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Its id, or enough of its beginning
    #[arg(value_name = "ID")]
    id: String,
    /// Say of the move of this number why it is as it is, node by node
    #[arg(long, value_name = "MOVE", value_parser = clap::value_parser!(u32).range(1..))]
    explain: Option<u32>,
}

/// Say what another plan does otherwise
///
/// A line for each difference, with `+` for what the second plan adds, `-` for what it does not do, `~` for what it does
/// otherwise. Nothing is printed if they do the same.
#[derive(Args)]
pub(in crate::cli) struct DiffArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// The one
    #[arg(value_name = "OLD")]
    old: String,
    /// The other
    #[arg(value_name = "NEW")]
    new: String,
}

/// Agree to a plan
#[derive(Args)]
pub(in crate::cli) struct ApproveArgs {
    #[command(flatten)]
    act: ActArgs,
    /// How long it may still be begun
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "1d")]
    within: Duration,
}

/// Carry an approved plan out: each move becomes a migration, wave by wave
///
/// Without --yes it is only said whether it could be done. It is refused (exit code 4) if nobody has approved it in time,
/// or if the cluster is not as it was planned for: then plan again. It goes on by itself, also over restarts of the
/// analyzer, and ends as DONE or, where moves failed, as FAILED; `isotherm plan retry` begins those again.
#[derive(Args)]
pub(in crate::cli) struct ExecuteArgs {
    #[command(flatten)]
    act: ActArgs,
    /// How long each source is kept after its switch [default: migrate.probation of the configuration]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    probation: Option<Duration>,
    /// Do it
    #[arg(long)]
    yes: bool,
    /// Follow it to its end
    #[arg(long, requires = "yes")]
    watch: bool,
}

/// Begin again what failed of a plan, and what waited for that
///
/// Without --yes it is only said whether it could be done.
#[derive(Args)]
pub(in crate::cli) struct RetryArgs {
    #[command(flatten)]
    act: ActArgs,
    /// Do it
    #[arg(long)]
    yes: bool,
}

/// Follow a plan that is carried out
///
/// To stop watching changes nothing. Exit codes: 0 it is done, 1 it failed or was cancelled, 6 --timeout has passed and it
/// goes on.
#[derive(Args)]
pub(in crate::cli) struct WatchArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Its id, or enough of its beginning
    #[arg(value_name = "ID")]
    id: String,
    /// Stop watching after this time
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
}

#[derive(Args)]
pub(in crate::cli) struct ActArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Its id, or enough of its beginning
    #[arg(value_name = "ID")]
    id: String,
    /// Why; it is recorded
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    who: WhoArgs,
}

fn relieved(text: &str) -> Result<RelievedNode, String> {
    let (node, share) = match text.rsplit_once('=') {
        Some((node, share)) => {
            (node, share.parse::<f64>().map_err(|error| format!("{share} is no share: {error}"))?)
        }
        None => (text, 0.5),
    };
    if !(0.0..=1.0).contains(&share) {
        return Err(format!("{share} is no share of a capacity, 0 to 1"));
    }
    Ok(RelievedNode { node: node.to_owned(), share })
}

fn size(text: &str) -> Result<u64, String> {
    text.parse::<bytesize::ByteSize>().map(|size| size.as_u64())
}

/// `NODE=SIZE`.
pub(in crate::cli) fn capacity(text: &str) -> Result<NodeCapacity, String> {
    let (node, bytes) = text.rsplit_once('=').ok_or("write it as NODE=SIZE")?;
    Ok(NodeCapacity { node: node.to_owned(), bytes: size(bytes)? })
}

pub(in crate::cli) async fn create(args: CreateArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let request = PlanRequest {
        system: args.system,
        drain: args.drain,
        relieve: args.relieve,
        fill: args.fill,
        repair: args.repair,
        balance: args.balance,
        proactive: args.proactive,
        most_moves: args.max_moves,
        most_bytes: args.max_bytes,
        capacities: args.capacity,
    };
    let plan = made(&mut client, request, &args.who, &args.reason, args.dry_run).await?;
    match args.client.output {
        Format::Json => print::json(&plan)?,
        Format::Table => {
            tell::plan(&plan)?;
            if !plan.id.is_empty() {
                let id = &plan.id;
                print::out(&format!("\nplan {id} is kept; `isotherm plan approve {id}` agrees to it\n"))?;
            }
        }
    }
    refused(&plan)
}

/// Has a plan made.
pub(in crate::cli) async fn made(
    client: &mut Client,
    request: PlanRequest,
    who: &WhoArgs,
    reason: &str,
    validate_only: bool,
) -> Result<Plan, Failure> {
    let request = CreatePlanRequest {
        request: Some(request),
        reason: reason.to_owned(),
        who: who.name(),
        validate_only,
    };
    let answer = client.plans.create_plan(request).await;
    let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
    answer.plan.ok_or_else(|| anyhow::anyhow!("the analyzer answered without a plan").into())
}

/// What a plan could not do of what was asked for.
pub(in crate::cli) fn refused(plan: &Plan) -> Result<(), Failure> {
    match plan.refusals.as_slice() {
        [] => Ok(()),
        [first] => Err(Failure::Refused(first.clone())),
        [first, others @ ..] => {
            Err(Failure::Refused(format!("{first}; and {} more are refused", others.len())))
        }
    }
}

pub(in crate::cli) async fn list(args: ListArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let answer = client.plans.list_plans(ListPlansRequest { limit: args.limit }).await;
    let plans = answer.map_err(|status| client.failure(&status))?.into_inner().plans;
    match args.client.output {
        Format::Json => print::json(&serde_json::json!({ "plans": plans })),
        Format::Table => tell::all(&plans),
    }
}

pub(in crate::cli) async fn show(args: ShowArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let request = GetPlanRequest { id: args.id, explain: args.explain.unwrap_or(0) };
    let answer = client.plans.get_plan(request).await;
    let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
    let Some(plan) = answer.plan else { return Ok(()) };
    match (args.client.output, args.explain) {
        (Format::Json, None) => print::json(&plan),
        (Format::Json, Some(_)) => {
            print::json(&serde_json::json!({ "plan": plan, "explanation": answer.explanation }))
        }
        (Format::Table, None) => tell::plan(&plan),
        (Format::Table, Some(_)) => print::out(&answer.explanation),
    }
}

pub(in crate::cli) async fn diff(args: DiffArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let answer = client.plans.diff_plans(DiffPlansRequest { old: args.old, new: args.new }).await;
    let lines = answer.map_err(|status| client.failure(&status))?.into_inner().lines;
    match args.client.output {
        Format::Json => print::json(&serde_json::json!({ "lines": lines })),
        Format::Table => lines.iter().try_for_each(|line| print::out(&format!("{line}\n"))),
    }
}

/// A request to do something of a plan.
pub(in crate::cli) fn wanted(id: &str, action: PlanAction, who: &WhoArgs, reason: &str) -> ActOnPlanRequest {
    ActOnPlanRequest {
        id: id.to_owned(),
        action: action.into(),
        who: who.name(),
        reason: reason.to_owned(),
        ..ActOnPlanRequest::default()
    }
}

/// Has something done of a plan.
pub(in crate::cli) async fn done(client: &mut Client, request: ActOnPlanRequest) -> Result<Plan, Failure> {
    let answer = client.plans.act_on_plan(request).await;
    let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
    answer.plan.ok_or_else(|| anyhow::anyhow!("the analyzer answered without a plan").into())
}

pub(in crate::cli) async fn act(args: ActArgs, action: PlanAction) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let plan = done(&mut client, wanted(&args.id, action, &args.who, &args.reason)).await?;
    let text = if action == PlanAction::Remove {
        format!("plan {} is removed\n", plan.id)
    } else {
        format!("plan {} is {}\n", plan.id, plan.state)
    };
    answered(args.client.output, &plan, &text)
}

fn answered(output: Format, plan: &Plan, text: &str) -> Result<(), Failure> {
    match output {
        Format::Json => print::json(plan),
        Format::Table => print::out(text),
    }
}

pub(in crate::cli) async fn approve(args: ApproveArgs) -> Result<(), Failure> {
    let ApproveArgs { act, within } = args;
    let mut client = act.client.connect().await?;
    let request = ActOnPlanRequest {
        within_ms: Some(ms(within)),
        ..wanted(&act.id, PlanAction::Approve, &act.who, &act.reason)
    };
    let plan = done(&mut client, request).await?;
    let text = format!(
        "plan {id} is approved, and may be begun for {}: isotherm plan execute {id} --yes\n",
        span(within),
        id = plan.id
    );
    answered(act.client.output, &plan, &text)
}

pub(in crate::cli) async fn execute(args: ExecuteArgs) -> Result<(), Failure> {
    let ExecuteArgs { act, probation, yes, watch } = args;
    let mut client = act.client.connect().await?;
    let request = ActOnPlanRequest {
        validate_only: !yes,
        probation_ms: probation.map(ms),
        ..wanted(&act.id, PlanAction::Execute, &act.who, &act.reason)
    };
    let plan = done(&mut client, request).await?;
    if watch {
        return follow::plan(&mut client, &plan.id, act.client.output, None).await;
    }
    let text = if yes {
        format!("plan {id} has begun; `isotherm plan watch {id}` follows it\n", id = plan.id)
    } else {
        format!("plan {} can be carried out; nothing was begun. Give --yes to begin.\n", plan.id)
    };
    answered(act.client.output, &plan, &text)
}

pub(in crate::cli) async fn retry(args: RetryArgs) -> Result<(), Failure> {
    let RetryArgs { act, yes } = args;
    let mut client = act.client.connect().await?;
    let request =
        ActOnPlanRequest { validate_only: !yes, ..wanted(&act.id, PlanAction::Retry, &act.who, &act.reason) };
    let plan = done(&mut client, request).await?;
    let text = if yes {
        format!("plan {} is {}\n", plan.id, plan.state)
    } else {
        format!("what failed of plan {} can be begun again; nothing was. Give --yes to begin.\n", plan.id)
    };
    answered(act.client.output, &plan, &text)
}

pub(in crate::cli) async fn watch(args: WatchArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    follow::plan(&mut client, &args.id, args.client.output, args.timeout).await
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_relieved_of_half_unless_somebody_says_more() {
        let asked = |text: &str| relieved(text).map(|one| (one.node, one.share));
        assert_eq!(asked("10.0.0.1:80"), Ok(("10.0.0.1:80".to_owned(), 0.5)));
        assert_eq!(asked("n=0.25"), Ok(("n".to_owned(), 0.25)));
        assert!(asked("n=2").is_err() && asked("n=x").is_err() && asked("n=NaN").is_err());
    }

    #[test]
    fn capacities_have_a_node_and_a_size() {
        assert_eq!(capacity("n1=2KiB"), Ok(NodeCapacity { node: "n1".to_owned(), bytes: 2_048 }));
        assert!(capacity("n1").is_err() && capacity("n1=much").is_err());
    }
}
