//! `isotherm migrate watch`: a migration to its end.

use super::super::Failure;
use super::super::client::{Client, ClientArgs, until_timeout};
use super::super::print::{self, Format};
use super::show;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use isotherm_migration::Reason;
use isotherm_proto::control::v1::{Migration, WatchMigrationRequest};
use std::io::{self, IsTerminal};
use std::time::Duration;

/// Follow a migration to its end
///
/// To stop watching changes nothing. Exit codes: 0 it is completed, 1 it ended otherwise, 4 it needs an operator, 5 it
/// failed or needs an operator because copy and source differ, 6 --timeout has passed and it goes on.
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

pub(super) async fn run(args: WatchArgs) -> Result<(), Failure> {
    let mut client = args.client.connect().await?;
    follow(&mut client, &args.id, args.client.output, args.timeout).await
}

/// Follows one until it has ended or needs somebody. With JSON, each change is a line.
pub(super) async fn follow(
    client: &mut Client,
    id: &str,
    output: Format,
    timeout: Option<Duration>,
) -> Result<(), Failure> {
    until_timeout(id, timeout, watch(client, id, output)).await
}

async fn watch(client: &mut Client, id: &str, output: Format) -> Result<(), Failure> {
    let request = WatchMigrationRequest { id: id.to_owned() };
    let stream = client.migrations.watch_migration(request).await;
    let mut stream = stream.map_err(|status| client.failure(&status))?.into_inner();
    let bar = bar();
    let mut told = String::new();
    loop {
        let message = stream.message().await.map_err(|status| client.failure(&status))?;
        let Some(migration) = message.and_then(|message| message.migration) else {
            return Err(Failure::Unreachable {
                server: client.server().to_owned(),
                cause: "it ended the watch; the migration goes on".to_owned(),
            });
        };
        match output {
            Format::Json => line(&migration)?,
            Format::Table => {
                let phase = show::phase(&migration);
                if phase != told {
                    bar.suspend(|| print::out(&format!("{phase}  {}\n", show::why(&migration))))?;
                    told = phase;
                }
                draw(&bar, &migration);
            }
        }
        if let Some(end) = end(&migration) {
            bar.finish_and_clear();
            return end;
        }
    }
}

fn line(migration: &Migration) -> Result<(), Failure> {
    let text = serde_json::to_string(migration).map_err(|error| anyhow::anyhow!(error))?;
    print::out(&(text + "\n"))
}

fn bar() -> ProgressBar {
    let terminal = io::stderr().is_terminal();
    let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style =
        ProgressStyle::with_template("{bar:30} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(0), target).with_style(style)
}

fn draw(bar: &ProgressBar, migration: &Migration) {
    if let Some((done, total)) = migration.done.zip(migration.total) {
        bar.set_length(total);
        bar.set_position(done.min(total));
    }
    let eta = show::eta(migration);
    let left = if eta.is_empty() { String::new() } else { format!(", {eta} left") };
    bar.set_message(format!("{} {}{left}", migration.phase, show::progress(migration)));
}

/// What an end means to whoever watches; `None` while it goes on.
fn end(migration: &Migration) -> Option<Result<(), Failure>> {
    let phase = show::phase(migration);
    let why = show::why(migration);
    let failed = || Failure::Failed(anyhow::anyhow!("{phase}: {why}"));
    let differ = migration.cause.ends_with(&Reason::Mismatch.to_string());
    Some(match migration.phase.as_str() {
        "COMPLETED" => Ok(()),
        "NEEDS_OPERATOR" => {
            let id = show::short(&migration.id);
            let text = format!("{phase}: {why}; `isotherm migrate status {id}` says what you may do");
            Err(if differ { Failure::Mismatch(text) } else { Failure::Refused(text) })
        }
        "FAILED" if differ => Err(Failure::Mismatch(format!("{phase}: {why}"))),
        _ if migration.ended_ms.is_some() => Err(failed()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_migration::{Cause, StepKind};

    fn code(phase: &str, cause: Option<&Cause>, ended_ms: Option<u64>) -> Option<u8> {
        let migration = Migration {
            phase: phase.to_owned(),
            cause: cause.map(ToString::to_string).unwrap_or_default(),
            ended_ms,
            ..Migration::default()
        };
        end(&migration).map(|end| end.map_or_else(|failure| failure.code(), |()| 0))
    }

    #[test]
    fn what_differs_has_a_code_of_its_own_wherever_it_stops() {
        let differ = Cause::Refused { step: StepKind::Verify, reason: Reason::Mismatch };
        let conflict = Cause::Refused { step: StepKind::Verify, reason: Reason::Conflict };
        assert_eq!(code("NEEDS_OPERATOR", Some(&differ), None), Some(5));
        assert_eq!(code("NEEDS_OPERATOR", Some(&conflict), None), Some(4));
        assert_eq!(code("FAILED", Some(&differ), Some(1)), Some(5));
        assert_eq!(code("FAILED", Some(&conflict), Some(1)), Some(1));
    }

    #[test]
    fn an_end_that_nobody_wanted_is_a_failure_and_what_goes_on_is_no_end() {
        assert_eq!(code("COMPLETED", None, Some(1)), Some(0));
        assert_eq!(code("REVERSED", None, Some(1)), Some(1));
        assert_eq!(code("ABORTING", None, None), None);
    }
}
