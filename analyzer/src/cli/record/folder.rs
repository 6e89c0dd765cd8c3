//! Frames of a stretch of time from a data folder, as the cycles would have had them.

use crate::cli::Failure;
use crate::cli::record::failed;
use crate::cli::time::{Moment, rfc3339};
use crate::config::Config;
use crate::cycle::frames::{self, Frames};
use crate::topology::kept::Past;
use crate::writer::now;
use anyhow::Result;
use clap::Args;
use isotherm_cycle::Settings;
use isotherm_cycle::frame::{Frame, Purpose};
use isotherm_model::{SystemId, Timestamp};
use isotherm_store::{Reader, Records, Span, Table};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// Which time of which folder.
#[derive(Args)]
pub(in crate::cli) struct FolderArgs {
    /// Folder of segments and catalog [default: that of the configuration, or of serve without one]
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) span: FolderSpan,
}

/// Which time of a folder, and how it is read.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct FolderSpan {
    /// Configuration file of serve (TOML): topology, layers, settings of the cycle
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) config: Option<PathBuf>,
    /// From when: a duration ago such as 15m or 2h, RFC 3339, or @<unix ms> [default: all that is stored]
    #[arg(long, value_name = "WHEN")]
    pub(in crate::cli) since: Option<Moment>,
    /// Until when, likewise [default: the last minute that is stored in full]
    #[arg(long, value_name = "WHEN")]
    pub(in crate::cli) until: Option<Moment>,
    /// How much time before that series and habits grow warm by, as far as it is stored: during its first day nothing is
    /// unusual to a habit
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "26h")]
    pub(in crate::cli) warm_up: Duration,
}

impl FolderSpan {
    /// Whether anything of it was given that has no default.
    pub(in crate::cli) fn is_given(&self) -> bool {
        self.config.is_some() || self.since.is_some() || self.until.is_some()
    }
}

/// A folder, and the minutes that are asked for.
pub(in crate::cli) struct Folder {
    reader: Reader,
    config: Config,
    records: Records,
    /// Ends of minutes that the cycles decided on, as far as that is kept.
    cycles: BTreeSet<Timestamp>,
    without_topology: Vec<String>,
    /// Start of the first minute that is taken in.
    warm: Timestamp,
    since: Timestamp,
    until: Timestamp,
    /// What there is.
    stored: (Timestamp, Timestamp),
}

impl Folder {
    /// Looks what there is. Nothing is read of it yet.
    pub(in crate::cli) fn open(args: &FolderArgs) -> Result<Self, Failure> {
        let config = match &args.span.config {
            Some(file) => Config::from_file(file),
            None => Config::without_file(),
        };
        let mut config = config.map_err(|error| failed(&error))?;
        if let Some(dir) = &args.data_dir {
            config.data_dir.clone_from(dir);
        }
        let reader = Reader::open(&config.data_dir).map_err(|error| failed(&error))?;
        let stats = reader.stats().map_err(|error| failed(&error))?;
        let windows = stats.tables.iter().find(|table| table.table == Table::Windows);
        let stored = windows.and_then(|table| table.oldest.zip(table.newest)).ok_or_else(|| {
            Failure::NotFound(format!(
                "{} has no windows: nothing was ever counted",
                config.data_dir.display()
            ))
        })?;
        let minute = config.cycle.settings.step_ms;
        let now_ms = now().as_ms();
        let moment = |asked: Option<Moment>, or: Timestamp| {
            asked.map_or(or, |asked| Timestamp::from_ms(asked.ms(now_ms))).align_down(minute)
        };
        // The first cycles may have been before the first window.
        let cycles =
            stats.tables.iter().find(|table| table.table == Table::Risks).and_then(|table| table.oldest);
        let first = cycles.map_or(stored.0, |at| Timestamp::from_ms(at.as_ms().saturating_sub(minute)));
        let oldest = first.min(stored.0).align_down(minute);
        let until = moment(args.span.until, stored.1).min(stored.1.align_down(minute));
        let since = moment(args.span.since, oldest).max(oldest);
        let warm_ms = u64::try_from(args.span.warm_up.as_millis()).unwrap_or(u64::MAX);
        let warm = Timestamp::from_ms(since.as_ms().saturating_sub(warm_ms)).align_down(minute).max(oldest);
        let records = reader.records().map_err(|error| failed(&error))?;
        let begins = match Past::open(&config.data_dir)? {
            Some(mut past) => past.at(since.plus_ms(minute))?,
            None => None,
        };
        let known = |system: &SystemId| {
            begins.iter().any(|topology| topology.nodes.keys().any(|node| node.system() == system))
        };
        let adapters = config.adapters.iter().map(|adapter| &adapter.system);
        let without_topology = adapters.filter(|system| !known(system)).map(ToString::to_string).collect();
        let kept = Span { since: Some(since), until: Some(until.plus_ms(1)) };
        let cycles = reader.cycles(kept).map_err(|error| failed(&error))?.into_iter().collect();
        let folder = Self { reader, config, records, cycles, without_topology, warm, since, until, stored };
        if since >= until {
            Err(folder.nothing("no whole minute of that time is stored"))
        } else {
            Ok(folder)
        }
    }

    /// Why nothing came of it, with what there is.
    pub(in crate::cli) fn nothing(&self, why: &str) -> Failure {
        let [oldest, newest] = [self.stored.0, self.stored.1].map(|at| rfc3339(at.as_ms()));
        let folder = self.config.data_dir.display();
        Failure::NotFound(format!("{why}; {folder} has windows from {oldest} to {newest}"))
    }

    pub(in crate::cli) fn name(&self) -> String {
        self.config.data_dir.display().to_string()
    }

    /// Start of the first minute that is decided on.
    pub(in crate::cli) fn since(&self) -> Timestamp {
        self.since
    }

    pub(in crate::cli) fn until(&self) -> Timestamp {
        self.until
    }

    pub(in crate::cli) fn settings(&self) -> &Settings {
        &self.config.cycle.settings
    }

    /// Systems of adapters whose topology was not on record when the time began.
    pub(in crate::cli) fn without_topology(&self) -> &[String] {
        &self.without_topology
    }

    /// How many there are, those to grow warm by included.
    pub(in crate::cli) fn minutes(&self) -> u64 {
        (self.until.as_ms() - self.warm.as_ms()) / self.settings().step_ms
    }

    /// A minute between cycles that there was none for was left out by them: its counts were taken in, and no more.
    fn purpose(&self, end: Timestamp) -> Purpose {
        let between = self.cycles.first().is_some_and(|first| *first < end)
            && self.cycles.last().is_some_and(|last| end < *last);
        if end <= self.since || (between && !self.cycles.contains(&end)) {
            Purpose::Learn
        } else {
            Purpose::Decide
        }
    }

    /// All of them, in the order of time.
    pub(in crate::cli) fn frames(&self) -> Result<impl Iterator<Item = Result<Frame>>> {
        let mut past = Past::open(&self.config.data_dir)?;
        let step_ms = self.settings().step_ms;
        let mut frames = Frames::new(&self.reader, &self.config.cycle, &self.config.data_dir);
        Ok((1..=self.minutes()).map(move |number| {
            let end = self.warm.plus_ms(number * step_ms);
            let kept = past.as_mut().map(|past| past.at(end)).transpose()?.flatten();
            let topology = kept.as_deref().unwrap_or(&self.config.topology);
            let moment = frames::Moment { end, purpose: self.purpose(end), gaps: 0 };
            Ok(frames.make(moment, topology, &self.records)?.frame)
        }))
    }
}
