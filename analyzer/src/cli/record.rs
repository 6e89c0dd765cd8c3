//! `isotherm record`: an incident as a file, from a data folder.

pub(super) mod folder;

use super::Failure;
use super::print::{self, Format};
use crate::recording::{About, Writer};
use crate::writer::now;
use anyhow::anyhow;
use clap::Args;
use folder::{Folder, FolderArgs};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use isotherm_cycle::frame::{Frame, Purpose};
use serde::Serialize;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

/// Between two drawings of the progress bar.
const DRAW: Duration = Duration::from_millis(200);

/// Write down what cycles were made from, as a file that can be replayed
///
/// From a data folder, also beside a running `isotherm serve`: for every minute the counts of all partitions and
/// nodes, the cluster with its hazards and the failures as they were on record then, and the settings. `isotherm replay`
/// decides by it again, with the same settings or others; `isotherm backtest --from` judges its predictions. No data of
/// clients is in it, but names of nodes and partitions are.
///
/// Layers and settings are those of --config, so give the file that serve was run with. The topology is the one that
/// serve had at each minute; before it began to keep that, it is the configuration's, and of an adapter's systems the
/// nodes count that were seen to serve. Windows that came later than serve waits for them are in the file, though the
/// cycle did not have them.
#[derive(Args)]
pub(super) struct RecordArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
    /// How to answer
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// What was written.
#[derive(Debug, Default, Serialize)]
struct Recorded {
    since_ms: u64,
    until_ms: u64,
    /// Minutes that are decided on, and those of them of which nobody counted anything.
    minutes: u64,
    unwatched_minutes: u64,
    /// Minutes that are only taken in: before them, to grow warm by, and those that the cycles left out.
    learned_minutes: u64,
    partitions: usize,
    incidents: usize,
    bytes: u64,
    without_topology: Vec<String>,
}

pub(super) fn run(args: &RecordArgs) -> Result<(), Failure> {
    if args.out.exists() && !args.force {
        let file = args.out.display();
        return Err(Failure::Usage(format!("{file} is there already; replace it with --force")));
    }
    let folder = Folder::open(&args.folder)?;
    let about = About {
        isotherm: env!("CARGO_PKG_VERSION").to_owned(),
        made_ms: now().as_ms(),
        source: folder.name(),
        since_ms: folder.since().as_ms(),
        until_ms: folder.until().as_ms(),
        without_topology: folder.without_topology().to_vec(),
        settings: folder.settings().clone(),
    };
    let mut recorded = Recorded {
        since_ms: about.since_ms,
        until_ms: about.until_ms,
        without_topology: about.without_topology.clone(),
        ..Recorded::default()
    };
    let mut writer = Writer::create(&args.out, &about)?;
    let bar = progress(folder.minutes(), "minutes");
    let mut incidents = std::collections::BTreeSet::new();
    for frame in folder.frames()? {
        let frame = frame?;
        recorded.count(&frame);
        incidents.extend(frame.incidents.iter().filter(|one| one.at_ms >= about.since_ms).cloned());
        writer.add(&frame)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    if recorded.unwatched_minutes == recorded.minutes {
        return Err(folder.nothing(
            "nobody counted reads in that time, in the layers that --config names ([cycle.layers]; logical where a \
             system is not named)",
        ));
    }
    recorded.incidents = incidents.len();
    recorded.bytes = writer.finish()?;
    told(args, &recorded)
}

impl Recorded {
    fn count(&mut self, frame: &Frame) {
        let partitions = &frame.minute.partitions;
        match frame.purpose {
            Purpose::Learn => self.learned_minutes += 1,
            Purpose::Decide => {
                self.minutes += 1;
                let watched = partitions.iter().any(|partition| partition.reads.is_some());
                self.unwatched_minutes += u64::from(!watched);
            }
        }
        self.partitions = self.partitions.max(partitions.len());
    }
}

fn told(args: &RecordArgs, recorded: &Recorded) -> Result<(), Failure> {
    if args.output == Format::Json {
        return print::json(recorded);
    }
    let unwatched = match recorded.unwatched_minutes {
        0 => String::new(),
        some => format!(" ({some} of them unwatched)"),
    };
    let mut text = format!(
        "{}: {} minutes{unwatched} to {}, {} more that are only taken in; {} partitions, {} failures; {}\n",
        args.out.display(),
        recorded.minutes,
        super::time::rfc3339(recorded.until_ms),
        recorded.learned_minutes,
        recorded.partitions,
        recorded.incidents,
        print::bytes(recorded.bytes)
    );
    for system in &recorded.without_topology {
        text += &format!(
            "The topology of {system} comes from an adapter and was not kept when this began: until it was, the nodes \
             count that were seen to serve.\n"
        );
    }
    print::out(&text)
}

/// A bar on a terminal, nothing elsewhere.
pub(super) fn progress(all: u64, what: &str) -> ProgressBar {
    let target =
        if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(all), target);
    let style = ProgressStyle::with_template(&format!(
        "{{bar:30}} {{human_pos}} of {{human_len}} {what}, {{eta}} left"
    ));
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(DRAW);
    bar
}

/// An error of a folder or a file, with its causes.
pub(super) fn failed(error: &(dyn std::error::Error + 'static)) -> Failure {
    anyhow!(crate::writer::with_causes(error)).into()
}
