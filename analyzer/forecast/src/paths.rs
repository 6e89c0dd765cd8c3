//! What could come next, path by path: for questions about more than one step at a time, such as when a
//! threshold is crossed for the first time, to which no quantile of single steps is an answer.

use crate::forecast::probability;
use crate::state::System;
use crate::{Fitted, State};
use rand_distr::{Distribution, StandardNormal, Uniform};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// On which side of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Higher, or equal.
    Above,
    /// Lower, or equal.
    Below,
}

/// What cannot be simulated, or asked of what was.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum PathsError {
    /// More values than are kept.
    #[error("{count} paths of {horizon} steps are more than {} values", Paths::MAX_VALUES)]
    TooMany {
        /// Paths.
        count: usize,
        /// Steps of each.
        horizon: usize,
    },
    /// No path has no probability.
    #[error("no paths were asked for")]
    None,
    /// Nothing to draw innovations from.
    #[error("there are no finite residuals to draw from")]
    NoResiduals,
    /// A step after the last, counted from 0.
    #[error("step {step} is not among the {horizon}")]
    Step {
        /// What was asked for.
        step: usize,
        /// Steps there are.
        horizon: usize,
    },
    /// A probability that is none.
    #[error("{0} is not between 0 and 1")]
    Probability(f64),
    /// A threshold that is not a number.
    #[error("the threshold is not a number")]
    Threshold,
}

/// Simulated values of the next steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Paths {
    horizon: usize,
    count: usize,
    /// All paths' values of the first step, then those of the second: `horizon * count` of them.
    values: Vec<f64>,
}

impl Paths {
    /// Most values, of all paths together: 80 MB.
    pub const MAX_VALUES: usize = 10_000_000;

    /// Steps of each path.
    #[must_use]
    pub fn horizon(&self) -> usize {
        self.horizon
    }

    /// How many paths.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// All paths' values of a step, counted from 0, in the order of the paths. `None` after the last step.
    #[must_use]
    pub fn step(&self, step: usize) -> Option<&[f64]> {
        self.values.chunks_exact(self.count).nth(step)
    }

    /// The smallest value of a step, counted from 0, that at least the share `p` of the paths do not exceed.
    ///
    /// # Errors
    /// [`PathsError::Step`] after the last step, [`PathsError::Probability`] if p is not between 0 and 1.
    pub fn quantile(&self, step: usize, p: f64) -> Result<f64, PathsError> {
        let p = probability(p).map_err(|_| PathsError::Probability(p))?;
        let mut values = self.step(step).ok_or(PathsError::Step { step, horizon: self.horizon })?.to_vec();
        let rank = ((p * self.count as f64).ceil() as usize).clamp(1, self.count) - 1;
        Ok(*values.select_nth_unstable_by(rank, f64::total_cmp).1)
    }

    /// The probability that the threshold is reached or crossed at or before each step: one per step, never
    /// falling. Where the series stands before the first step does not count.
    ///
    /// # Errors
    /// [`PathsError::Threshold`] if it is not a number.
    pub fn first_passage(&self, threshold: f64, side: Side) -> Result<Vec<f64>, PathsError> {
        if threshold.is_nan() {
            return Err(PathsError::Threshold);
        }
        let mut crossed = vec![false; self.count];
        let share = |values: &[f64]| {
            for (crossed, &value) in crossed.iter_mut().zip(values) {
                *crossed |= match side {
                    Side::Above => value >= threshold,
                    Side::Below => value <= threshold,
                };
            }
            crossed.iter().filter(|crossed| **crossed).count() as f64 / self.count as f64
        };
        Ok(self.values.chunks_exact(self.count).map(share).collect())
    }
}

impl Fitted {
    /// `count` simulated paths of the next `horizon` steps, with Gaussian innovations of the variance
    /// [`Self::sigma2_unbiased`]. What is not known of the state is drawn as well. The same seed gives the
    /// same paths.
    ///
    /// # Errors
    /// [`PathsError::TooMany`] above [`Paths::MAX_VALUES`], [`PathsError::None`] for a count of 0.
    pub fn paths(&self, horizon: usize, count: usize, seed: u64) -> Result<Paths, PathsError> {
        let sigma = self.sigma2_unbiased().sqrt();
        self.state.simulate(&System::of(&self.model), sigma, &Innovations::Gaussian, [horizon, count], seed)
    }

    /// The same with innovations that are drawn, with replacement, from residuals less their mean, such as
    /// those of [`Self::residuals`]: of whatever shape and width they have (Efron and Tibshirani 1993,
    /// chapter 8). Those that are missing or not finite are left out.
    ///
    /// # Errors
    /// As for [`Self::paths`]; [`PathsError::NoResiduals`] if none is left.
    pub fn bootstrap(
        &self,
        residuals: &[Option<f64>],
        horizon: usize,
        count: usize,
        seed: u64,
    ) -> Result<Paths, PathsError> {
        let finite = || residuals.iter().flatten().copied().filter(|residual| residual.is_finite());
        let number = finite().count();
        let index = Uniform::new(0, number).map_err(|_| PathsError::NoResiduals)?;
        let mean = finite().map(|residual| residual / number as f64).sum::<f64>();
        let centred = finite().map(|residual| residual - mean).collect();
        let innovations = Innovations::Drawn { from: centred, index };
        let sigma = self.sigma2_unbiased().sqrt();
        self.state.simulate(&System::of(&self.model), sigma, &innovations, [horizon, count], seed)
    }
}

/// What innovations are drawn from.
pub(crate) enum Innovations {
    Gaussian,
    Drawn { from: Vec<f64>, index: Uniform<usize> },
}

impl Innovations {
    #[inline]
    fn draw(&self, sigma: f64, random: &mut Pcg64Mcg) -> f64 {
        match self {
            Self::Gaussian => sigma * normal(random),
            Self::Drawn { from, index } => from[index.sample(random)],
        }
    }
}

fn normal(random: &mut Pcg64Mcg) -> f64 {
    StandardNormal.sample(random)
}

impl State {
    pub(crate) fn simulate(
        &self,
        system: &System,
        sigma: f64,
        innovations: &Innovations,
        [horizon, count]: [usize; 2],
        seed: u64,
    ) -> Result<Paths, PathsError> {
        if count == 0 {
            return Err(PathsError::None);
        }
        let size = horizon.checked_mul(count).filter(|&size| size <= Paths::MAX_VALUES);
        let size = size.ok_or(PathsError::TooMany { count, horizon })?;
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let mut values = vec![0.0; size];
        for path in 0..count {
            let mut state = self.mean;
            for column in &self.columns {
                let doubt = sigma * normal(&mut random);
                for (entry, column) in state.iter_mut().zip(column) {
                    *entry += column * doubt;
                }
            }
            for step in 0..horizon {
                let error = innovations.draw(sigma, &mut random);
                let value = system.intercept() + state[0] + error;
                state = system.advance(&state, value, system.ma(), error);
                values[step * count + path] = self.origin + value;
            }
        }
        Ok(Paths { horizon, count, values })
    }
}

#[cfg(test)]
mod tests;
