//! Errors shared by many series.

use super::{Conformal, ConformalError, Settings};
use crate::backtest::origin::Origin;
use crate::{Forecast, Interval};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Split-conformal intervals from the errors of many series, in groups.
///
/// A short series has fewer errors than a level of .95 needs; the partitions of one system together have
/// enough. Told in standard errors ([`super::Unit::StandardError`]) they are comparable. The coverage is that
/// over the series of a group together, not that of each of them. With few groups the groups may be kinds of
/// behaviour, such as series that rise, whose errors are not those of the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "G: Ord + Deserialize<'de>"))]
pub struct Pooled<G> {
    whole: Conformal,
    groups: BTreeMap<G, Conformal>,
    /// How many groups have errors of their own; those after are of the whole only.
    most_groups: usize,
}

/// Whose errors an interval is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Those of the group.
    Group,
    /// Those of all groups, as the group has too few or is none.
    Whole,
}

impl<G: Ord> Pooled<G> {
    /// Without errors so far. Each group has a window of its own.
    #[must_use]
    pub fn new(settings: Settings, horizon: usize, most_groups: usize) -> Self {
        Self { whole: Conformal::new(settings, horizon), groups: BTreeMap::new(), most_groups }
    }

    /// The errors of all groups.
    #[must_use]
    pub fn whole(&self) -> &Conformal {
        &self.whole
    }

    /// The errors of a group, if it has any of its own.
    #[must_use]
    pub fn group(&self, group: &G) -> Option<&Conformal> {
        self.groups.get(group)
    }

    /// Takes in an origin of a series of a group, or of none; says how many errors entered, as
    /// [`Conformal::observe_origin`].
    ///
    /// # Errors
    /// As [`Conformal::observe_origin`].
    pub fn observe_origin(&mut self, group: Option<G>, origin: &Origin) -> Result<usize, ConformalError> {
        let taken = self.whole.observe_origin(origin)?;
        if let Some(group) = group
            && (self.groups.len() < self.most_groups || self.groups.contains_key(&group))
        {
            let empty = || Conformal::new(self.whole.settings(), self.whole.horizon());
            self.groups.entry(group).or_insert_with(empty).observe_origin(origin)?;
        }
        Ok(taken)
    }

    /// An interval per step, from the errors of the group if they are enough at all steps, or else of all
    /// groups.
    ///
    /// # Errors
    /// As [`Conformal::interval`].
    pub fn interval(
        &self,
        group: Option<&G>,
        forecast: &Forecast,
        level: f64,
    ) -> Result<(Vec<Interval>, Source), ConformalError> {
        match group.and_then(|group| self.groups.get(group)).map(|own| own.interval(forecast, level)) {
            Some(Ok(intervals)) => Ok((intervals, Source::Group)),
            None | Some(Err(ConformalError::TooFewErrors { .. })) => {
                self.whole.interval(forecast, level).map(|intervals| (intervals, Source::Whole))
            }
            Some(Err(error)) => Err(error),
        }
    }
}
