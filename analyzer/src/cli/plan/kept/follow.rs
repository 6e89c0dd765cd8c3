//! A plan to its end.

use super::tell;
use crate::cli::Failure;
use crate::cli::client::{Client, until_timeout};
use crate::cli::print::{self, Format};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use isotherm_proto::control::v1::{Plan, WatchPlanRequest};
use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::time::Duration;

/// Follows a plan until it is not carried out any more. With JSON, each change is a line.
pub(in crate::cli) async fn plan(
    client: &mut Client,
    id: &str,
    output: Format,
    timeout: Option<Duration>,
) -> Result<(), Failure> {
    until_timeout(&format!("plan {id}"), timeout, watch(client, id, output)).await
}

async fn watch(client: &mut Client, id: &str, output: Format) -> Result<(), Failure> {
    let stream = client.plans.watch_plan(WatchPlanRequest { id: id.to_owned() }).await;
    let mut stream = stream.map_err(|status| client.failure(&status))?.into_inner();
    let (bar, mut told) = (bar(), BTreeMap::new());
    loop {
        let message = stream.message().await.map_err(|status| client.failure(&status))?;
        let Some(plan) = message.and_then(|message| message.plan) else {
            return Err(Failure::Unreachable {
                server: client.server().to_owned(),
                cause: "it ended the watch; the plan goes on".to_owned(),
            });
        };
        match output {
            Format::Json => {
                let text = serde_json::to_string(&plan).map_err(|error| anyhow::anyhow!(error))?;
                print::out(&(text + "\n"))?;
            }
            Format::Table => {
                bar.suspend(|| changes(&plan, &mut told))?;
                bar.set_length(plan.move_count);
                bar.set_position(plan.done);
                bar.set_message(format!("{} done, {} under way", plan.done, plan.under_way));
            }
        }
        if let Some(end) = end(&plan) {
            bar.finish_and_clear();
            return end;
        }
    }
}

/// Tells which moves stand otherwise than they did.
fn changes(plan: &Plan, told: &mut BTreeMap<u32, String>) -> Result<(), Failure> {
    for one in &plan.moves {
        let standing = tell::standing(one);
        if one.standing != "planned" && told.get(&one.number) != Some(&standing) {
            let (number, partition) = (one.number, &one.partition);
            print::out(&format!("{number} {partition} {} -> {}  {standing}\n", one.source, one.target))?;
            told.insert(one.number, standing);
        }
    }
    Ok(())
}

fn bar() -> ProgressBar {
    let terminal = io::stderr().is_terminal();
    let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{bar:30} {pos} of {len} moves, {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(0), target).with_style(style)
}

/// What an end means to whoever watches; `None` while it goes on.
fn end(plan: &Plan) -> Option<Result<(), Failure>> {
    match plan.state.as_str() {
        "EXECUTING" => None,
        "DONE" => Some(print::out(&format!("plan {} is DONE\n", plan.id))),
        state => {
            let why = if plan.why.is_empty() { String::new() } else { format!(": {}", plan.why) };
            Some(Err(Failure::Failed(anyhow::anyhow!("plan {} is {state}{why}", plan.id))))
        }
    }
}
