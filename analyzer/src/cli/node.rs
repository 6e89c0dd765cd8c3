//! `isotherm node`: nodes are emptied, filled and cordoned; the record of their failures, and operators' words on their
//! hazards.

mod drain;
mod exposure;
mod failures;
mod hazard;
mod import;

use super::Failure;
use super::client::ClientArgs;
use super::print::{self, Format};
use super::time::Moment;
use crate::writer::now;
use clap::{Args, Subcommand};
use isotherm_proto::control::v1::{DownCause, RecordFailureRequest, RecordRecoveryRequest};

/// What to do with nodes.
#[derive(Subcommand)]
pub(super) enum NodeCommand {
    Drain(drain::DrainArgs),
    Fill(drain::FillArgs),
    /// Let a node keep what it has, and take nothing more
    ///
    /// Plans and verdicts leave it out as a destination until `isotherm node uncordon`. It holds over restarts.
    Cordon(drain::CordonArgs),
    /// Let a cordoned node take something again
    Uncordon(drain::CordonArgs),
    Fail(FailArgs),
    Recover(RecoverArgs),
    Failures(failures::FailuresArgs),
    Exposure(exposure::ExposureArgs),
    Import(import::ImportArgs),
    /// Let a word of yours stand for a node's hazard
    #[command(subcommand)]
    Hazard(hazard::HazardCommand),
}

/// Put on record that a node is down, or was
///
/// It says nothing to the node. What was detected of the same time stays on record, and your word counts for its cause.
#[derive(Args)]
pub(super) struct FailArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    word: WordArgs,
    /// Since when: a duration ago such as 15m, RFC 3339, or @<unix ms> [default: now]
    #[arg(long, value_name = "WHEN")]
    at: Option<Moment>,
    /// Until when, likewise; without, it is still down
    #[arg(long, value_name = "WHEN")]
    until: Option<Moment>,
    /// It was taken down on purpose: no failure
    #[arg(long)]
    maintenance: bool,
    /// Say what would be recorded, and record nothing
    #[arg(long)]
    dry_run: bool,
}

/// Put on record that a node is back
///
/// Ends everything that says it is down, also what was detected.
#[derive(Args)]
pub(super) struct RecoverArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    word: WordArgs,
    /// Since when: a duration ago such as 15m, RFC 3339, or @<unix ms> [default: now]
    #[arg(long, value_name = "WHEN")]
    at: Option<Moment>,
    /// Say what would end, and record nothing
    #[arg(long)]
    dry_run: bool,
}

/// Which node, who says so, and why.
#[derive(Args)]
struct WordArgs {
    /// The node, by name or system/name
    #[arg(value_name = "NODE")]
    node: String,
    /// Why; it is recorded
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    who: WhoArgs,
}

/// Who says so.
#[derive(Args)]
pub(super) struct WhoArgs {
    /// Who says so; it is recorded [default: the user and this host]
    #[arg(long, value_name = "NAME")]
    who: Option<String>,
}

impl WhoArgs {
    pub(super) fn name(&self) -> String {
        self.who.clone().unwrap_or_else(|| {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname");
            let host = host.map(|host| host.trim().to_owned()).unwrap_or_else(|_| "?".to_owned());
            format!("{}@{host}", user())
        })
    }
}

/// The name of whoever runs this: as the environment says, which it may not, or by the number.
fn user() -> String {
    let named = ["USER", "LOGNAME"].iter().filter_map(|name| std::env::var(name).ok());
    let uid = nix::unistd::Uid::current();
    named.into_iter().find(|name| !name.is_empty()).unwrap_or_else(|| {
        let user = nix::unistd::User::from_uid(uid).ok().flatten();
        user.map_or_else(|| format!("uid {uid}"), |user| user.name)
    })
}

pub(super) async fn run(command: NodeCommand) -> Result<(), Failure> {
    match command {
        NodeCommand::Drain(args) => drain::drain(args).await,
        NodeCommand::Fill(args) => drain::fill(args).await,
        NodeCommand::Cordon(args) => drain::cordon(args).await,
        NodeCommand::Uncordon(args) => drain::uncordon(args).await,
        NodeCommand::Fail(args) => fail(args).await,
        NodeCommand::Recover(args) => recover(args).await,
        NodeCommand::Failures(args) => failures::run(args).await,
        NodeCommand::Exposure(args) => exposure::run(args).await,
        NodeCommand::Import(args) => import::run(args).await,
        NodeCommand::Hazard(command) => hazard::run(command).await,
    }
}

async fn fail(args: FailArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let now_ms = now().as_ms();
    let request = RecordFailureRequest {
        node: args.word.node.clone(),
        from_ms: args.at.map_or(0, |at| at.ms(now_ms)),
        to_ms: args.until.map(|until| until.ms(now_ms)),
        cause: if args.maintenance { DownCause::Maintenance } else { DownCause::Failure }.into(),
        reason: args.word.reason.clone(),
        who: args.word.who.name(),
        validate_only: args.dry_run,
    };
    let answer = client.nodes.record_failure(request).await.map_err(|status| client.failure(&status))?;
    let answer = answer.into_inner();
    let intervals: Vec<_> = answer.interval.into_iter().collect();
    match args.client.output {
        Format::Json => failures::json(&intervals),
        Format::Table => {
            let did = match (answer.known, args.dry_run) {
                (true, _) => "on record already:",
                (false, true) => "would be recorded:",
                (false, false) => "recorded:",
            };
            print::out(&format!("{did}\n"))?;
            failures::table(&intervals)
        }
    }
}

async fn recover(args: RecoverArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let request = RecordRecoveryRequest {
        node: args.word.node.clone(),
        at_ms: args.at.map_or(0, |at| at.ms(now().as_ms())),
        reason: args.word.reason.clone(),
        who: args.word.who.name(),
        validate_only: args.dry_run,
    };
    let answer = client.nodes.record_recovery(request).await.map_err(|status| client.failure(&status))?;
    let intervals = answer.into_inner().intervals;
    match args.client.output {
        Format::Json => failures::json(&intervals),
        Format::Table => {
            print::out(if args.dry_run { "would end:\n" } else { "ended:\n" })?;
            failures::table(&intervals)
        }
    }
}
