//! `isotherm diary`, `isotherm freeze` and `isotherm unfreeze`.

use super::Failure;
use super::client::ClientArgs;
use super::node::WhoArgs;
use super::print::{self, Column, Format};
use super::time::{Moment, rfc3339};
use crate::writer::now;
use clap::Args;
use isotherm_proto::control::v1::{DiaryLine, FreezeRequest, ListDiaryRequest, UnfreezeRequest};

/// What was done about partitions, by whom and why
///
/// Everything that somebody or isotherm itself wanted, every phase of every migration, every call of an adapter with what
/// came of it, and what was detected and not acted on.
#[derive(Args)]
pub(super) struct DiaryArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Only of this migration, by its id or enough of its beginning
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    migration: String,
    /// Only about this partition, as system/name
    #[arg(long, value_name = "SYSTEM/NAME", default_value = "", hide_default_value = true)]
    partition: String,
    /// Only what came after: a duration ago such as 2h, RFC 3339, or @<unix ms>
    #[arg(long, value_name = "WHEN", default_value = "@0")]
    since: Moment,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
}

/// Begin nothing new until `isotherm unfreeze`
///
/// Migrations that are under way go on to their end; those that wait keep waiting, and nobody can begin another.
#[derive(Args)]
pub(super) struct FreezeArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Why; it is recorded
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    who: WhoArgs,
}

pub(super) async fn diary(args: DiaryArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let request = ListDiaryRequest {
        migration: args.migration,
        partition: args.partition,
        since_ms: args.since.ms(now().as_ms()),
        after: 0,
        limit: args.limit,
    };
    let answer = client.migrations.list_diary(request).await;
    let lines = answer.map_err(|status| client.failure(&status))?.into_inner().lines;
    if args.client.output == Format::Json {
        return print::json(&serde_json::json!({ "lines": lines }));
    }
    let row = |line: &DiaryLine| {
        vec![
            rfc3339(line.at_ms),
            line.who.clone(),
            line.partition.clone(),
            line.kind.clone(),
            line.what.clone(),
            line.why.clone(),
        ]
    };
    let header = ["TIME", "WHO", "PARTITION", "KIND", "WHAT", "WHY"].map(Column::Text);
    print::table(&header, lines.iter().map(row).collect(), "the diary is empty")
}

pub(super) async fn freeze(args: FreezeArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let request = FreezeRequest { who: args.who.name(), reason: args.reason };
    client.migrations.freeze(request).await.map_err(|status| client.failure(&status))?;
    print::out("frozen: nothing new begins until `isotherm unfreeze`\n")
}

pub(super) async fn unfreeze(args: FreezeArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    let request = UnfreezeRequest { who: args.who.name(), reason: args.reason };
    client.migrations.unfreeze(request).await.map_err(|status| client.failure(&status))?;
    print::out("not frozen any more\n")
}
