//! `cargo xtask demo`: a real SeaweedFS cluster under a load whose truth is known, watched by the agent,
//! asked through the analyzer's own command line.
//!
//! It decides whether what was counted equals the truth. It takes nothing from the store's or the agent's
//! insides: the truth comes from the load, the counts from `isotherm`.

mod answer;
mod cast;
mod command;
mod config;
mod folder;
mod history;
mod live;
mod phase;
mod report;
mod risk;
mod stage;
mod stop;
mod story;
mod watched;

use crate::doctor::Format;
use crate::setup::{self, Purpose};
use crate::{rights, shell};
use anyhow::{Context, Result, bail};
use clap::Args;
use isotherm_tests::load::Skew;
use isotherm_tests::volume::FileSystem;
use isotherm_tests::workspace;
use phase::{Plan, measure};
use report::Report;
use stage::Stage;
use std::path::PathBuf;
use std::process::ExitCode;
use stop::Stop;
use watched::Watched;

/// The exit code of a refusal for want of rights, that of the `isotherm` command line too.
const DENIED: u8 = 7;

/// The exit code of a program that SIGINT ended, by the shells' custom.
const INTERRUPTED: u8 = 130;

/// How to run the demo.
#[derive(Args)]
pub(crate) struct Options {
    /// Play all of it once (minutes), print the result and exit: 0 if counts equal the truth and the story went well, else 1.
    #[arg(long)]
    once: bool,
    /// How to write the result of --once.
    #[arg(short, long, default_value = "table", requires = "once")]
    output: Format,
    /// Where data and logs go; emptied at the start. Default: `demo` in the target folder.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Take agent and analyzer as they were last built.
    #[arg(long)]
    no_build: bool,
}

/// Runs the demo.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let stop = Stop::install()?;
    let missing = rights::missing();
    if !missing.is_empty() {
        for right in missing {
            eprintln!("missing {}: {}", right.capability, right.needed_for);
        }
        eprintln!("the demo needs these capabilities; run it as root");
        return Ok(ExitCode::from(DENIED));
    }
    setup::run(Purpose::Demo)?;
    if let Some(lacking) = FileSystem::Ext4.lacking() {
        bail!("the demo needs a file system on a loop device of its own: {lacking}");
    }
    if !options.no_build {
        eprintln!("building agent and analyzer");
        shell::run(shell::cargo().args(["build", "--workspace", "--bins"]).current_dir(workspace::root()))?;
    }
    let folder = options.dir.clone().unwrap_or_else(|| workspace::target_dir().join("demo"));
    let outcome = play(options, folder, &stop);
    if stop.asked() && options.once {
        eprintln!("interrupted; everything that was started is stopped");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    if stop.asked() {
        eprintln!("everything that was started is stopped");
        return Ok(ExitCode::SUCCESS);
    }
    outcome
}

fn play(options: &Options, folder: PathBuf, stop: &Stop) -> Result<ExitCode> {
    let folder = folder::Folder::claim(folder)?;
    let mut stage = Stage::set(&folder, stop)?;
    history::tell(&stage, folder.path())?;
    story::hold(&stage)?;
    if !options.once {
        live::run(&mut stage, stop)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut phases = Vec::new();
    // The first phase lasts until there is a habit, the second until it can be said that it is left.
    let plans = [
        ("uneven", Skew::Uneven { spared: spared(&stage) }, 1, phase::HABIT_REQUESTS),
        ("vanishing", Skew::Vanishing { spared: spared(&stage) }, 2, phase::SURGE_REQUESTS),
    ];
    let mut watched = Vec::new();
    for (name, skew, seed, requests) in plans {
        eprintln!("phase {name}: {requests} requests");
        let plan = Plan { name, skew, seed, requests, rate_per_second: phase::ONCE_RATE };
        let mut seen = Watched::new();
        phases.push(measure(&mut stage, &plan, stop, |stage, _| seen.look(&stage.endpoint))?);
        watched.push(seen);
    }
    let [before, then] = &mut watched[..] else { bail!("two phases are watched") };
    let story = story::play(&mut stage, &before.best, then, stop)?;
    let report = Report::of(phases, std::mem::take(&mut then.best), Some(story));
    match options.output {
        Format::Json => println!("{}", serde_json::to_string_pretty(&report).context("write the report")?),
        Format::Table => println!("{report}"),
    }
    Ok(if report.went_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Who is hardly read from at first.
fn spared(stage: &Stage) -> Option<String> {
    Some(stage.cast.weak.clone())
}

/// Fails if the user wants to stop; called between steps.
fn go_on(stop: &Stop) -> Result<()> {
    if stop.asked() {
        bail!("interrupted");
    }
    Ok(())
}
