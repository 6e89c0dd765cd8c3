//! `isotherm reads`: another node leads, or one gets no reads, without a byte being copied.

use super::Failure;
use super::client::{Client, ClientArgs};
use super::node::WhoArgs;
use super::print::{self, Column, Format};
use super::time::rfc3339;
use clap::{ArgGroup, Args, Subcommand};
use isotherm_proto::control::v1::shift_reads_request::Shift as Asked;
use isotherm_proto::control::v1::{
    ApproveShiftRequest, ListShiftsRequest, Shift, ShiftReadsRequest, UndoShiftRequest,
};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Between two looks at a shift that is waited for.
const LOOK: Duration = Duration::from_millis(200);

/// Letters of an id that tell it from others, nearly always.
const SHORT: usize = 8;

/// What to do with reads.
#[derive(Subcommand)]
pub(super) enum ReadsCommand {
    Status(StatusArgs),
    Shift(ShiftArgs),
    Restore(RestoreArgs),
    Approve(ApproveArgs),
}

/// List shifts of reads that are in force, or on their way
///
/// CAUSE says whether what a shift was for is still there, as the last cycle judged it on the node.
#[derive(Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Those that have ended, too
    #[arg(long)]
    all: bool,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
}

/// Let another node lead, or let one serve no reads
///
/// No byte is copied. Without --yes it is only said what stands in the way, and nothing is done. With it the adapter is
/// called, and asked again until it says what came of it. What is shifted by hand stays so until `isotherm reads restore`,
/// or until the partition is moved, or no other holder is up.
#[derive(Args)]
#[command(group = ArgGroup::new("how").required(true))]
pub(super) struct ShiftArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// The partition, by name or system/name
    #[arg(value_name = "PARTITION")]
    partition: String,
    /// The node that is to lead
    #[arg(long, value_name = "NODE", group = "how")]
    lead: Option<String>,
    /// The node that is to get no reads
    #[arg(long, value_name = "NODE", group = "how")]
    drain: Option<String>,
    /// Why; it is recorded
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    who: WhoArgs,
    /// Do it
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Undo a shift of reads, or give up one that waits for approval
#[derive(Args)]
pub(super) struct RestoreArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// The shift: its id, enough of its beginning, or its partition
    #[arg(value_name = "ID")]
    id: String,
    /// Why; it is recorded
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    who: WhoArgs,
    /// Say that it is over, and call nobody: the node is gone, or somebody undid it by hand
    #[arg(long)]
    forget: bool,
    /// Do it; without, it is only said whether it could be done
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Agree to a shift that waits for approval
///
/// Without --yes it is only said whether it could begin.
#[derive(Args)]
pub(super) struct ApproveArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// The shift: its id, enough of its beginning, or its partition
    #[arg(value_name = "ID")]
    id: String,
    /// Why; it is recorded
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    who: WhoArgs,
    /// Do it
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

#[derive(Args)]
struct WaitArgs {
    /// How long to wait for what comes of it; it goes on all the same
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

pub(super) async fn run(command: ReadsCommand) -> Result<(), Failure> {
    match command {
        ReadsCommand::Status(args) => status(args).await,
        ReadsCommand::Shift(args) => shift(args).await,
        ReadsCommand::Restore(args) => restore(args).await,
        ReadsCommand::Approve(args) => approve(args).await,
    }
}

async fn status(args: StatusArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let request = ListShiftsRequest { ended: args.all, limit: args.limit };
    let answer = client.reads.list_shifts(request).await;
    let shifts = answer.map_err(|status| client.failure(&status))?.into_inner().shifts;
    if args.client.output == Format::Json {
        return print::json(&serde_json::json!({ "shifts": shifts }));
    }
    let header =
        ["ID", "PARTITION", "WHAT", "NODE", "STATE", "CAUSE", "SINCE", "WHO", "WHY"].map(Column::Text);
    let row = |shift: &Shift| {
        vec![
            short(&shift.id).to_owned(),
            shift.partition.clone(),
            shift.what.clone(),
            shift.node.clone(),
            state(shift),
            shift.cause.clone(),
            rfc3339(shift.since_ms.unwrap_or(shift.created_ms)),
            shift.who.clone(),
            if shift.words.is_empty() { shift.reason.clone() } else { shift.words.clone() },
        ]
    };
    print::table(&header, shifts.iter().map(row).collect(), "no reads are shifted")
}

async fn shift(args: ShiftArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let (how, shift) = match (args.lead, args.drain) {
        (Some(node), None) => (format!("{node} can lead"), Asked::Lead(node)),
        (None, Some(node)) => (format!("{node} can be drained"), Asked::Drain(node)),
        (_, _) => return Err(Failure::Usage("give one of --lead and --drain".to_owned())),
    };
    let partition = args.partition.clone();
    let request = ShiftReadsRequest {
        partition: args.partition,
        shift: Some(shift),
        reason: args.reason,
        who: args.who.name(),
        validate_only: !args.yes,
    };
    let answer = client.reads.shift_reads(request).await;
    let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
    if let Some(begun) = answer.shift {
        return settled(&mut client, begun, args.client.output, args.wait.timeout, "IN_FORCE").await;
    }
    if !answer.findings.is_empty() {
        let findings: Vec<String> =
            answer.findings.iter().map(|finding| format!("\n  - {finding}")).collect();
        return Err(Failure::Refused(format!("it cannot be done:{}", findings.concat())));
    }
    match args.client.output {
        Format::Json => print::json(&serde_json::json!({ "findings": answer.findings })),
        Format::Table => print::out(&format!("{partition}: {how}; nothing was done. Give --yes to do it.\n")),
    }
}

async fn restore(args: RestoreArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let request = UndoShiftRequest {
        id: args.id,
        reason: args.reason,
        who: args.who.name(),
        forget: args.forget,
        validate_only: !args.yes,
    };
    let answer = client.reads.undo_shift(request).await;
    let shift = answer.map_err(|status| client.failure(&status))?.into_inner().shift;
    let Some(shift) = shift else { return Ok(()) };
    if args.yes {
        return settled(&mut client, shift, args.client.output, args.wait.timeout, "ENDED").await;
    }
    match args.client.output {
        Format::Json => print::json(&shift),
        Format::Table => print::out(&format!(
            "{} of {} can be undone; nothing was done. Give --yes to do it.\n",
            what(&shift),
            shift.partition
        )),
    }
}

async fn approve(args: ApproveArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let request = ApproveShiftRequest {
        id: args.id,
        reason: args.reason,
        who: args.who.name(),
        validate_only: !args.yes,
    };
    let answer = client.reads.approve_shift(request).await;
    let shift = answer.map_err(|status| client.failure(&status))?.into_inner().shift;
    let Some(shift) = shift else { return Ok(()) };
    if args.yes {
        return settled(&mut client, shift, args.client.output, args.wait.timeout, "IN_FORCE").await;
    }
    match args.client.output {
        Format::Json => print::json(&shift),
        Format::Table => print::out(&format!(
            "{} of {} could begin; nothing was done. Give --yes to do it.\n",
            what(&shift),
            shift.partition
        )),
    }
}

/// Waits until the adapter has said what came of it, and tells it.
async fn settled(
    client: &mut Client,
    mut shift: Shift,
    format: Format,
    timeout: Duration,
    wanted: &str,
) -> Result<(), Failure> {
    let begun = Instant::now();
    while matches!(shift.state.as_str(), "INTENT" | "UNDOING") {
        if begun.elapsed() >= timeout {
            let words = if shift.words.is_empty() { "no answer yet" } else { &shift.words };
            let text = format!("{} of {} is {}: {words}", what(&shift), shift.partition, shift.state);
            return Err(Failure::TimedOut(format!("{text}; it goes on, see `isotherm reads status`")));
        }
        tokio::time::sleep(LOOK).await;
        let answer = client.reads.list_shifts(ListShiftsRequest { ended: true, limit: 10_000 }).await;
        let all = answer.map_err(|status| client.failure(&status))?.into_inner().shifts;
        let found = all.into_iter().find(|one| one.id == shift.id);
        shift = found.ok_or_else(|| Failure::NotFound(format!("shift {} is gone", shift.id)))?;
    }
    let said = format!("{} of {}: {}", what(&shift), shift.partition, state(&shift));
    let as_wanted = shift.state == wanted || shift.how == "nothing had to be done";
    match format {
        Format::Json => print::json(&shift)?,
        Format::Table => print::out(&format!("{} {said}\n", short(&shift.id)))?,
    }
    if as_wanted { Ok(()) } else { Err(Failure::Refused(format!("{said}: {}", shift.words))) }
}

fn what(shift: &Shift) -> String {
    format!("{} {}", shift.what, shift.node)
}

fn state(shift: &Shift) -> String {
    let mut text = shift.state.clone();
    if !shift.how.is_empty() {
        let _ = write!(text, " ({})", shift.how);
    }
    text
}

fn short(id: &str) -> &str {
    id.get(..SHORT).unwrap_or(id)
}
