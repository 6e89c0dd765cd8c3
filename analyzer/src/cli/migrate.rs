//! `isotherm migrate`: partitions are moved, watched, and told what to do.

mod act;
mod scores;
mod show;
mod verify;
mod watch;

use super::Failure;
use super::client::ClientArgs;
use super::node::WhoArgs;
use super::print::{self, Column, Format};
use clap::builder::Resettable;
use clap::{Args, Subcommand};
use isotherm_proto::control::v1::{
    GetMigrationRequest, ListMigrationsRequest, ListOrphansRequest, Orphan, StartMigrationRequest,
};
use std::time::Duration;

/// What to do with migrations.
#[derive(Subcommand)]
pub(super) enum MigrateCommand {
    Start(StartArgs),
    Status(StatusArgs),
    Watch(watch::WatchArgs),
    /// Agree to a migration that waits for approval
    Approve(act::MovingArgs),
    /// Open the gate before the switch
    ///
    /// Of a migration in READY. Writes are stopped for the moment of the switch, for the fence's budget at the most.
    Switch(act::MovingArgs),
    /// Take a switch back, during probation
    ///
    /// The source serves again, with what the target acknowledged since.
    Reverse(act::MovingArgs),
    /// End probation: the source's copy is removed
    Complete(act::MovingArgs),
    /// Give a migration up before its switch, and restore the start
    Cancel(act::ActArgs),
    /// Let a migration begin nothing new
    ///
    /// What the adapter copies goes on, and what stops writes is brought to its end.
    Pause(act::ActArgs),
    /// Let a paused migration go on
    Resume(act::ActArgs),
    /// Let one that needs an operator try again where it stopped
    Retry(act::MovingArgs),
    /// Go on without what the copy does not have
    ///
    /// Of a migration that stopped because data would be lost. --reason is needed, and recorded.
    #[command(mut_arg("reason", |reason| reason.required(true).default_value(Resettable::Reset)))]
    AcceptLoss(act::MovingArgs),
    Verify(verify::VerifyArgs),
    Scores(scores::ScoresArgs),
    Promote(scores::PromoteArgs),
    Orphans(OrphansArgs),
}

/// Move one replica of a partition to another node
///
/// Without --yes the adapter is asked whether it can be done, and nothing is begun. With it the migration begins as soon
/// as the limits of `[migrate.limits]` have room, and goes on by itself: `isotherm migrate watch` follows it, and to stop
/// watching changes nothing. docs/migration.md says what each phase does, and what is guaranteed.
#[derive(Args)]
pub(super) struct StartArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// The partition, by name or system/name
    #[arg(value_name = "PARTITION")]
    partition: String,
    /// The node that is left; not needed where it lies on one only
    #[arg(long, value_name = "NODE")]
    from: Option<String>,
    /// The node whose copy is lost: the new one is made from a replica that survives
    #[arg(long, value_name = "NODE", conflicts_with = "from")]
    dead: Option<String>,
    /// The node that gets the copy
    #[arg(long, value_name = "NODE")]
    to: String,
    /// Let it wait before the switch until `isotherm migrate switch`
    #[arg(long)]
    gated: bool,
    /// How long the source is kept after the switch [default: migrate.probation of the configuration]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    probation: Option<Duration>,
    /// The highest rate of copying, bytes per second [default: as the limits have it]
    #[arg(long, value_name = "BYTES")]
    rate: Option<u64>,
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

/// List migrations, or tell all about one
#[derive(Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Its id, or enough of its beginning [default: all that are under way]
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// Those that have ended, too
    #[arg(long, conflicts_with = "id")]
    all: bool,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
}

/// List what migrations left in the stores, and nobody has under way
///
/// Adapters are asked for everything that was made for a migration. What is listed here belongs to another analyzer, or
/// to one whose journal is lost.
#[derive(Args)]
pub(super) struct OrphansArgs {
    #[command(flatten)]
    client: ClientArgs,
}

pub(super) async fn run(command: MigrateCommand) -> Result<(), Failure> {
    use isotherm_proto::control::v1::MigrationAction as Action;
    match command {
        MigrateCommand::Start(args) => start(args).await,
        MigrateCommand::Status(args) => status(args).await,
        MigrateCommand::Watch(args) => watch::run(args).await,
        MigrateCommand::Approve(args) => act::moving(args, Action::Approve).await,
        MigrateCommand::Switch(args) => act::moving(args, Action::Switch).await,
        MigrateCommand::Reverse(args) => act::moving(args, Action::Reverse).await,
        MigrateCommand::Complete(args) => act::moving(args, Action::Complete).await,
        MigrateCommand::Cancel(args) => act::run(args, Action::Cancel).await,
        MigrateCommand::Pause(args) => act::run(args, Action::Pause).await,
        MigrateCommand::Resume(args) => act::run(args, Action::Resume).await,
        MigrateCommand::Retry(args) => act::moving(args, Action::Retry).await,
        MigrateCommand::AcceptLoss(args) => act::moving(args, Action::AcceptDataLoss).await,
        MigrateCommand::Verify(args) => verify::run(args).await,
        MigrateCommand::Scores(args) => scores::run(args).await,
        MigrateCommand::Promote(args) => scores::promote(args).await,
        MigrateCommand::Orphans(args) => orphans(args).await,
    }
}

async fn start(args: StartArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let request = StartMigrationRequest {
        partition: args.partition.clone(),
        source: args.from.clone().unwrap_or_default(),
        dead: args.dead.clone().unwrap_or_default(),
        target: args.to.clone(),
        reason: args.reason.clone(),
        who: args.who.name(),
        validate_only: !args.yes,
        gated: args.gated,
        probation_ms: args.probation.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        bytes_per_s: args.rate,
    };
    let answer = client.migrations.start_migration(request).await;
    let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
    let Some(migration) = answer.migration else {
        return validated(&args, &answer.findings);
    };
    if args.watch {
        print::out(&format!("migration {}\n", migration.id))?;
        return watch::follow(&mut client, &migration.id, args.client.output, None).await;
    }
    match args.client.output {
        Format::Json => print::json(&migration),
        Format::Table => print::out(&format!(
            "migration {} has begun; `isotherm migrate watch {}` follows it\n",
            migration.id,
            show::short(&migration.id)
        )),
    }
}

fn validated(args: &StartArgs, findings: &[String]) -> Result<(), Failure> {
    if !findings.is_empty() {
        let findings: Vec<String> = findings.iter().map(|finding| format!("\n  - {finding}")).collect();
        return Err(Failure::Refused(format!("it cannot be done:{}", findings.concat())));
    }
    match args.client.output {
        Format::Json => print::json(&serde_json::json!({ "findings": findings })),
        Format::Table => print::out(&format!(
            "{} can be {} {}; nothing was begun. Give --yes to begin.\n",
            args.partition,
            if args.dead.is_some() { "made again on" } else { "moved to" },
            args.to
        )),
    }
}

async fn status(args: StatusArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    if let Some(id) = args.id {
        let answer = client.migrations.get_migration(GetMigrationRequest { id }).await;
        let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
        let Some(migration) = answer.migration else { return Ok(()) };
        return match args.client.output {
            Format::Json => print::json(&serde_json::json!({
                "migration": migration,
                "diary": answer.diary,
                "comparisons": answer.comparisons,
                "scorecard": answer.scorecard,
            })),
            Format::Table => {
                let more = [verify::words(&answer.comparisons), scores::words(answer.scorecard.as_ref())];
                show::one(&migration, &more.concat(), &answer.diary)
            }
        };
    }
    let request = ListMigrationsRequest { ended: args.all, limit: args.limit };
    let answer = client.migrations.list_migrations(request).await;
    let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
    match args.client.output {
        Format::Json => print::json(&serde_json::json!({
            "migrations": answer.migrations,
            "frozen_outside": answer.frozen_outside,
            "distrust": answer.distrust,
        })),
        Format::Table => {
            show::all(&answer.migrations, answer.freeze.as_ref(), args.all)?;
            if !answer.frozen_outside.is_empty() {
                print::out(&format!("\n{}\n", answer.frozen_outside))?;
            }
            print::out(&scores::held(&answer.distrust))
        }
    }
}

async fn orphans(args: OrphansArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let answer = client.migrations.list_orphans(ListOrphansRequest {}).await;
    let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
    for system in &answer.unasked {
        eprintln!("isotherm: not asked: {system}");
    }
    match args.client.output {
        Format::Json => {
            print::json(&serde_json::json!({ "orphans": answer.orphans, "unasked": answer.unasked }))
        }
        Format::Table => {
            let header = ["SYSTEM", "MIGRATION", "PARTITION", "FROM", "TO", "WRITES", "OBJECTS"];
            let row = |orphan: &Orphan| {
                let writes = if orphan.writes_stopped { "stopped" } else { "" };
                let [system, id, partition] = [&orphan.system, &orphan.migration_id, &orphan.partition];
                let nodes = [&orphan.source, &orphan.target];
                let mut row: Vec<String> =
                    [system, id, partition].into_iter().chain(nodes).cloned().collect();
                row.extend([writes.to_owned(), orphan.objects.join(", ")]);
                row
            };
            let rows = answer.orphans.iter().map(row).collect();
            print::table(&header.map(Column::Text), rows, "nothing is left of migrations that nobody has")
        }
    }
}
