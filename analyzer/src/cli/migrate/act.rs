//! What somebody wants of a migration.

use super::super::Failure;
use super::super::client::ClientArgs;
use super::super::node::WhoArgs;
use super::super::print::{self, Format};
use super::show;
use clap::Args;
use isotherm_proto::control::v1::{ActOnMigrationRequest, MigrationAction};

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

/// The same, of what moves or removes data, or lets that begin.
#[derive(Args)]
pub(in crate::cli) struct MovingArgs {
    #[command(flatten)]
    act: ActArgs,
    /// Do it; without, it is only said whether it could be done
    #[arg(long)]
    yes: bool,
}

pub(super) async fn run(args: ActArgs, action: MigrationAction) -> Result<(), Failure> {
    act(args, action, false).await
}

pub(super) async fn moving(args: MovingArgs, action: MigrationAction) -> Result<(), Failure> {
    act(args.act, action, !args.yes).await
}

async fn act(args: ActArgs, action: MigrationAction, validate_only: bool) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let request = ActOnMigrationRequest {
        id: args.id,
        action: action.into(),
        who: args.who.name(),
        reason: args.reason,
        validate_only,
    };
    let answer = client.migrations.act_on_migration(request).await;
    let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
    let Some(migration) = answer.migration else { return Ok(()) };
    match args.client.output {
        Format::Json => print::json(&migration),
        Format::Table if validate_only => print::out(&format!(
            "{} could do that now; nothing was done. Give --yes to do it.\n",
            show::short(&migration.id)
        )),
        Format::Table => {
            print::out(&format!("{}: {}\n", show::short(&migration.id), show::phase(&migration)))
        }
    }
}
