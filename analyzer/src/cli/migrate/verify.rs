//! `isotherm migrate verify`: copy and source are compared again.

use super::super::Failure;
use super::super::client::{Client, ClientArgs};
use super::super::node::WhoArgs;
use super::super::print::{self, Format};
use super::super::time::{rfc3339, span};
use super::show;
use clap::Args;
use isotherm_proto::control::v1::{
    ActOnMigrationRequest, Comparison, GetMigrationRequest, GetMigrationResponse, Migration, MigrationAction,
    WatchMigrationRequest,
};
use std::fmt::Write;
use std::time::Duration;

/// Compare copy and source again, and show the evidence
///
/// In READY, of a copy that waits before its switch: if they differ, the migration is undone. In SWITCHED, before the
/// source goes, where the engine has switched by itself: if they differ, it needs an operator. Elsewhere clients have
/// written to one of the two, or there is no copy. Exit codes: 0 equal, 4 they cannot be compared, 5 they differ, 6
/// --timeout has passed and it goes on.
#[derive(Args)]
pub(in crate::cli) struct VerifyArgs {
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
    /// Wait no longer than this for what is found
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
}

pub(super) async fn run(args: VerifyArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let before = ask(&mut client, &args.id).await?;
    let id = before.migration.as_ref().map(|migration| migration.id.clone()).unwrap_or_default();
    let request = ActOnMigrationRequest {
        id: id.clone(),
        action: MigrationAction::Verify.into(),
        who: args.who.name(),
        reason: args.reason,
        validate_only: false,
    };
    let acted = client.migrations.act_on_migration(request).await;
    acted.map_err(|status| client.failure(&status))?;
    let found = found(&mut client, &id, &before.comparisons);
    let found = match args.timeout {
        None => found.await?,
        Some(time) => tokio::time::timeout(time, found).await.map_err(|_| {
            let time = span(time);
            Failure::TimedOut(format!("{} is still being compared after {time}", show::short(&id)))
        })??,
    };
    match args.client.output {
        Format::Json => print::json(&found)?,
        Format::Table => print::out(&line(&found))?,
    }
    if found.equal {
        return Ok(());
    }
    Err(Failure::Mismatch(format!("copy and source differ: {}", found.evidence)))
}

async fn ask(client: &mut Client, id: &str) -> Result<GetMigrationResponse, Failure> {
    let answer = client.migrations.get_migration(GetMigrationRequest { id: id.to_owned() }).await;
    Ok(answer.map_err(|status| client.failure(&status))?.into_inner())
}

/// Follows the migration until it has a comparison that was not there before.
async fn found(client: &mut Client, id: &str, before: &[Comparison]) -> Result<Comparison, Failure> {
    let stream = client.migrations.watch_migration(WatchMigrationRequest { id: id.to_owned() }).await;
    let mut stream = stream.map_err(|status| client.failure(&status))?.into_inner();
    loop {
        let message = stream.message().await.map_err(|status| client.failure(&status))?;
        let answer = ask(client, id).await?;
        let old = |one: &Comparison| before.iter().any(|known| known.request == one.request);
        if let Some(new) = answer.comparisons.into_iter().find(|one| !old(one)) {
            return Ok(new);
        }
        let migration = answer.migration.unwrap_or_default();
        if message.is_none() || is_over(&migration) {
            let words = &migration.words;
            let why = if words.is_empty() { show::why(&migration) } else { words.clone() };
            return Err(Failure::Refused(format!(
                "{} was not compared: {why}; it is {}",
                show::short(id),
                show::phase(&migration)
            )));
        }
    }
}

/// Whether nothing is being compared any more.
fn is_over(migration: &Migration) -> bool {
    let may_again = migration
        .permissions
        .iter()
        .any(|permission| permission.action() == MigrationAction::Verify && permission.denied.is_empty());
    may_again || migration.ended_ms.is_some() || migration.phase == "NEEDS_OPERATOR"
}

fn line(found: &Comparison) -> String {
    let what = if found.equal { "equal" } else { "differ" };
    let methods =
        if found.methods.is_empty() { String::new() } else { format!(" ({})", found.methods.join(", ")) };
    format!("{what}: {}{methods}, at epoch {}, {}\n", found.evidence, found.epoch, rfc3339(found.at_ms))
}

/// Lines of `isotherm migrate status`.
pub(super) fn words(comparisons: &[Comparison]) -> String {
    let mut text = String::new();
    for found in comparisons {
        let _ = write!(text, "{:<10} {}", "compared:", line(found));
    }
    text
}
