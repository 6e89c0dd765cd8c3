//! The table `forecasts`: what was expected of each series when.

use super::cell::Word;
use super::record;
use isotherm_model::Timestamp;

record! {
    /// A value of a series that was expected, with an interval.
    pub struct ForecastRow in "forecasts" by [made_at, step_ms, system, partition, kind, horizon] {
        /// When it was forecast; the series was known up to then.
        pub made_at: Timestamp,
        /// The system of the partition.
        pub system: String,
        /// The partition's name in it.
        pub partition: String,
        /// Of which entropy.
        pub kind: ForecastKind,
        /// Length of a step of the series, in ms.
        pub step_ms: u32,
        /// Steps ahead, from 1.
        pub horizon: u32,
        /// The value expected, normalised as the series.
        pub mean: Option<f64>,
        /// Below it with a probability of a tenth.
        pub lower80: Option<f64>,
        /// Above it with a probability of a tenth.
        pub upper80: Option<f64>,
        /// Autoregressive order of the model.
        pub p: u32,
        /// Differences of the model.
        pub d: u32,
        /// Moving-average order of the model.
        pub q: u32,
        /// Where the interval is from.
        pub interval: IntervalSource,
    }
}

/// Which entropy is forecast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForecastKind {
    /// Over nodes.
    Node,
    /// Over offsets.
    Offset,
    /// Over peers.
    Peer,
}

/// Where an interval is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntervalSource {
    /// From errors of earlier forecasts.
    Conformal,
    /// From the model's own variance, before there are enough of them.
    Model,
    /// There is none.
    None,
}

impl ForecastKind {
    const ALL: [Self; 3] = [Self::Node, Self::Offset, Self::Peer];

    /// The word in the column.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Offset => "offset",
            Self::Peer => "peer",
        }
    }
}

impl IntervalSource {
    const ALL: [Self; 3] = [Self::Conformal, Self::Model, Self::None];

    /// The word in the column.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Conformal => "conformal",
            Self::Model => "model",
            Self::None => "none",
        }
    }
}

impl Word for ForecastKind {
    fn word(self) -> &'static str {
        self.as_str()
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

impl Word for IntervalSource {
    fn word(self) -> &'static str {
        self.as_str()
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.as_str() == word)
    }
}

impl ForecastRow {
    /// A forecast lies where it was made, not in the time that it is about.
    pub(super) fn time_end(&self) -> Timestamp {
        self.made_at.plus_ms(1)
    }
}
