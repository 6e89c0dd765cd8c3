//! All that one minute brings to the cycles, and the only way in which it enters them.
//!
//! A frame is immutable: the analyzer makes it from the store as the minute has passed, a recording keeps it, a backtest
//! makes it again. Whoever has frames and settings has the decisions: [`State::take_in`] and [`State::decide`] are all
//! there is between them, so a replay runs the code of the cycle itself.

use crate::assess::{AssessError, Landscape, assess};
use crate::cluster::Cluster;
use crate::decide::decide_all;
use crate::input::{Step, StepLength};
use crate::policy::Settings;
use crate::record::Record;
use crate::state::State;
use isotherm_model::Timestamp;
use serde::{Deserialize, Serialize};

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// Its counts are taken in, and nothing is decided: the cycles caught up, or grow warm.
    Learn,
    /// A decision follows.
    Decide,
}

/// Nodes that failed together: one, or those of a failure domain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Incident {
    /// When, milliseconds since the epoch.
    pub at_ms: u64,
    /// System and name of each.
    pub nodes: Vec<(String, String)>,
}

/// One minute.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// Minutes before it that nobody has counts of.
    pub gaps: u64,
    /// Failures that are known of, of this minute or told late; the same may be told again.
    pub incidents: Vec<Incident>,
    /// The longer steps that end with it, short ones first.
    pub longer: Vec<Step>,
    /// The minute.
    pub minute: Step,
    /// The cluster as it was known.
    pub cluster: Cluster,
    /// What becomes of it.
    pub purpose: Purpose,
}

/// What was decided of a minute.
#[derive(Debug, Clone)]
pub struct Decided {
    /// Loads, hazards, and where everything lies.
    pub landscape: Landscape,
    /// By system and name.
    pub records: Vec<Record>,
}

impl Frame {
    /// The first moment after it.
    #[must_use]
    pub fn end(&self) -> Timestamp {
        self.minute.end
    }

    /// Lets go of what was counted: once it was taken in, a decision needs the cluster and the time alone.
    pub fn forget_counts(&mut self) {
        self.longer = Vec::new();
        (self.minute.nodes, self.minute.partitions) = (Vec::new(), Vec::new());
    }
}

impl State {
    /// Takes a frame in: gaps, failures, the longer steps that end with it, the minute. Frames come in the order of
    /// time.
    pub fn take_in(&mut self, frame: &Frame, settings: &Settings) {
        if frame.gaps > 0 {
            self.skip(StepLength::Minute, frame.gaps, settings);
        }
        for incident in &frame.incidents {
            let nodes: Vec<(&str, &str)> =
                incident.nodes.iter().map(|(system, name)| (system.as_str(), name.as_str())).collect();
            self.incident(&nodes, Timestamp::from_ms(incident.at_ms), settings);
        }
        for step in &frame.longer {
            self.absorb(step, &frame.cluster, settings);
        }
        self.absorb(&frame.minute, &frame.cluster, settings);
    }

    /// Judges the frame that was taken in last: a cycle. `ended` is told the name of each stage as it ends, for those
    /// who measure.
    ///
    /// # Errors
    /// A cluster whose facts do not belong together; nothing was changed then.
    pub fn decide(
        &mut self,
        frame: &Frame,
        settings: &Settings,
        ended: impl FnMut(&'static str),
    ) -> Result<Decided, AssessError> {
        let decided = self.decided(frame, settings, ended)?;
        self.predicted(&decided.records, settings);
        self.cycled();
        Ok(decided)
    }

    /// What was decided of the frame that was taken in last, once more: as after a restart, for those who ask before
    /// the next cycle. Remembers nothing.
    ///
    /// # Errors
    /// As [`Self::decide`].
    pub fn decided(
        &self,
        frame: &Frame,
        settings: &Settings,
        mut ended: impl FnMut(&'static str),
    ) -> Result<Decided, AssessError> {
        let (landscape, mut records) = assess(self, &frame.cluster, settings, frame.end())?;
        ended("assess");
        decide_all(&mut records, &landscape, &frame.cluster, settings);
        ended("decide");
        Ok(Decided { landscape, records })
    }

    /// Gives up the minutes up to `end` that could not be taken in: they are gaps, and time goes on without them. Does
    /// nothing if there are none. Returns how many.
    pub fn give_up_until(&mut self, end: Timestamp, settings: &Settings) -> u64 {
        let minute = StepLength::Minute.ms(settings.step_ms);
        let last = self.until().map_or_else(|| end.as_ms().saturating_sub(minute), Timestamp::as_ms);
        let gaps = end.as_ms().saturating_sub(last) / minute;
        if gaps > 0 {
            self.skip(StepLength::Minute, gaps, settings);
            self.until_ms = Some(end.as_ms());
        }
        gaps
    }
}
