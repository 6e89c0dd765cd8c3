//! What happened to nodes: when each was seen up, and when and why it was down.
//!
//! Only hours in which a node was seen up are exposure: a failure can only be told of who was watched. Hours down,
//! for maintenance, and those in which only its agent was lost are none; neither are those that nobody tells of.

use isotherm_model::{Interval, Timestamp};
use thiserror::Error;

const HOUR_MS: f64 = 3_600_000.0;

/// Why something was down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DownCause {
    /// It failed: the only cause that counts.
    Failure,
    /// Somebody took it down.
    Maintenance,
    /// Its agent was lost, and no second signal says that the node was.
    AgentLoss,
}

/// How something was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanState {
    /// Seen up.
    Up,
    /// Down, from the start of the span on.
    Down(DownCause),
}

/// How one subject was for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The node or domain, by position.
    pub subject: u32,
    /// From when to when.
    pub when: Interval,
    /// How it was.
    pub state: SpanState,
}

/// What cannot be recorded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HistoryError {
    /// A subject that there is not.
    #[error("a span is of {subject}, and there are {subjects}")]
    NoSuchSubject {
        /// Which.
        subject: u32,
        /// How many there are.
        subjects: usize,
    },
}

/// Failures and hours of exposure, discounted.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Tally {
    /// Failures, each by how much it still counts.
    pub failures: f64,
    /// Hours seen up, each by how much it still counts.
    pub exposure_h: f64,
}

impl Tally {
    /// The sum of some.
    #[must_use]
    pub fn sum(tallies: &[Self]) -> Self {
        tallies.iter().fold(Self::default(), |sum, one| Self {
            failures: sum.failures + one.failures,
            exposure_h: sum.exposure_h + one.exposure_h,
        })
    }

    pub(super) fn is_one(&self) -> bool {
        let right = |number: f64| number.is_finite() && number >= 0.0;
        right(self.failures) && right(self.exposure_h)
    }
}

/// Spans of a number of subjects, in any order, overlapping or not.
#[derive(Debug, Clone, Default)]
pub struct History {
    up: Vec<Vec<Interval>>,
    failed: Vec<Vec<Interval>>,
}

impl History {
    /// Nothing yet, of so many subjects.
    #[must_use]
    pub fn new(subjects: usize) -> Self {
        Self { up: vec![Vec::new(); subjects], failed: vec![Vec::new(); subjects] }
    }

    /// How many subjects it is of.
    #[must_use]
    pub fn subjects(&self) -> usize {
        self.up.len()
    }

    /// Records a span. What overlaps counts once: hours up are merged, and a failure that starts before an earlier
    /// one of the same subject has ended, or just then, is the same failure.
    ///
    /// # Errors
    /// A subject that there is not.
    pub fn record(&mut self, span: Span) -> Result<(), HistoryError> {
        let at = span.subject as usize;
        if at >= self.subjects() {
            return Err(HistoryError::NoSuchSubject { subject: span.subject, subjects: self.subjects() });
        }
        match span.state {
            SpanState::Up => insert(&mut self.up[at], span.when),
            SpanState::Down(DownCause::Failure) => insert(&mut self.failed[at], span.when),
            SpanState::Down(DownCause::Maintenance | DownCause::AgentLoss) => {}
        }
        Ok(())
    }

    /// Forgets what ended before a moment: at ten half-lives it counts a thousandth.
    pub fn forget_before(&mut self, moment: Timestamp) {
        let rows = self.up.iter_mut().chain(&mut self.failed);
        rows.for_each(|row| row.retain(|span| span.end() > moment));
    }

    /// Failures and hours of exposure of each subject until `now`, what is `half_life_days` old counted half. What
    /// is after `now` does not count. Time in which a subject was both up and failed is exposure.
    #[must_use]
    pub fn tally(&self, now: Timestamp, half_life_days: f64) -> Vec<Tally> {
        let half_life_h = half_life_days * 24.0;
        let ago_h = |moment: Timestamp| (now.as_ms().saturating_sub(moment.as_ms())) as f64 / HOUR_MS;
        let left = |moment: Timestamp| (-ago_h(moment) / half_life_h).exp2();
        let before = |span: &&Interval| span.start() < now;
        let hours = |span: &Interval| {
            // The integral of 2^(-t / half-life) from the end's age to the start's, without a difference of
            // numbers that are nearly the same.
            let (young, length) = (left(span.end()), ago_h(span.start()) - ago_h(span.end()));
            let rate = std::f64::consts::LN_2 / half_life_h;
            young * -(-length * rate).exp_m1() / rate
        };
        let rows = self.up.iter().zip(&self.failed);
        rows.map(|(up, failed)| Tally {
            failures: failed.iter().filter(before).map(|span| left(span.start())).sum(),
            exposure_h: up.iter().filter(before).map(hours).sum(),
        })
        .collect()
    }
}

/// Inserts a span into ascending spans that do not touch each other, and merges what it touches.
fn insert(row: &mut Vec<Interval>, when: Interval) {
    let from = row.partition_point(|span| span.end() < when.start());
    let to = row.partition_point(|span| span.start() <= when.end());
    let merged = row[from..to].iter().fold(when, |all, span| {
        Interval::new(all.start().min(span.start()), all.end().max(span.end()))
            .expect("a span that holds another has a length")
    });
    row.splice(from..to, [merged]);
}
