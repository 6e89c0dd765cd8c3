//! `isotherm backtest --from`: predictions judged on what was recorded.

mod report;
mod shifts;

use crate::cli::Failure;
use crate::cli::print::Format;
use crate::cli::record::folder::{Folder, FolderArgs, FolderSpan};
use crate::cli::record::progress;
use crate::recording::Recording;
use anyhow::Context;
use clap::Args;
use isotherm_cycle::frame::{Frame, Purpose};
use isotherm_cycle::{Settings, State};
use isotherm_simulate::recorded::{Found, Recorded, Shift};
use report::Judged;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What is judged.
#[derive(Args)]
pub(super) struct RecordedArgs {
    /// A recording, or a data folder of serve: judge predictions on it instead of on made-up clusters
    #[arg(long, value_name = "FILE|DIR", conflicts_with_all = ["seeds", "policies", "healthy", "nodes", "partitions", "days", "spec"])]
    pub(super) from: Option<PathBuf>,
    /// Rises of entropy that are known of, to judge calls of surges by: a CSV file with the columns time (RFC 3339 or
    /// @<unix ms>) and partition (SYSTEM/NAME or NAME)
    #[arg(long, value_name = "FILE.csv")]
    shifts: Option<PathBuf>,
    #[command(flatten)]
    span: FolderSpan,
}

impl RecordedArgs {
    /// What is given although there is nothing that it could be of.
    pub(super) fn refuse(&self) -> Result<(), Failure> {
        if self.shifts.is_none() && !self.span.is_given() {
            return Ok(());
        }
        let message =
            "--shifts, --config, --since and --until are of what is given with --from, and there is none";
        Err(Failure::Usage(message.to_owned()))
    }
}

pub(super) fn run(from: &Path, args: &RecordedArgs, output: Format) -> Result<(), Failure> {
    let shifts = args.shifts.as_deref().map(shifts::read).transpose()?.unwrap_or_default();
    let begun = Instant::now();
    let (course, settings) = if from.is_dir() {
        let span = args.span.clone();
        let folder = Folder::open(&FolderArgs { data_dir: Some(from.to_owned()), span })?;
        let course = Course::roll(folder.settings(), shifts, folder.minutes(), folder.frames()?)?;
        (course, folder.settings().clone())
    } else {
        if args.span.is_given() {
            let file = from.display();
            let message = format!("{file} is a recording: it has its own --config, --since and --until");
            return Err(Failure::Usage(message));
        }
        let recording = Recording::open(from)?;
        let settings = recording.about.settings.clone();
        settings.check().with_context(|| format!("the settings in {}", from.display()))?;
        (Course::roll(&settings, shifts, recording.frames, recording.play()?)?, settings)
    };
    let judged = Judged::new(&course, &settings);
    report::tell(&judged, course.frames, begun.elapsed(), output)
}

/// What came of the frames.
struct Course {
    found: Found,
    /// Shifts that were given.
    shifts: usize,
    frames: u64,
    since_ms: u64,
    until_ms: u64,
}

impl Course {
    /// Rolls through frames: at each, only what came before is known.
    fn roll(
        settings: &Settings,
        shifts: Vec<Shift>,
        all: u64,
        frames: impl Iterator<Item = anyhow::Result<Frame>>,
    ) -> Result<Self, Failure> {
        let (mut state, given) = (State::default(), shifts.len());
        let mut recorded = Recorded::new(settings, shifts);
        let bar = progress(all, "minutes");
        let (mut number, mut since_ms, mut until_ms) = (0, None, 0);
        for frame in frames {
            let frame = frame?;
            state.take_in(&frame, settings);
            if frame.purpose == Purpose::Decide {
                let decided = state.decide(&frame, settings, |_| {}).context("cannot judge a minute")?;
                recorded.follow(&frame, &decided.records);
                let start_ms = frame.end().as_ms().saturating_sub(settings.step_ms);
                since_ms.get_or_insert(start_ms);
            }
            until_ms = frame.end().as_ms();
            number += 1;
            bar.inc(1);
        }
        bar.finish_and_clear();
        let since_ms = since_ms.context("there is no minute to judge")?;
        Ok(Self { found: recorded.found(), shifts: given, frames: number, since_ms, until_ms })
    }
}
