//! Many searches at once: each names a candidate, and those of the same shape are estimated side by side.

use super::stepwise::{Candidate, Steps};
use super::{Select, Selection, Tried};
use crate::descent::{Effort, Point};
use crate::estimate::{Task, estimate};
use crate::fit::{THOROUGH, finish};
use crate::kpss::differences_in;
use crate::likelihood::Shape;
use crate::polynomial::{coefficients, roots_beyond};
use crate::processor::Instructions;
use crate::search::Minimum;
use crate::series::{Origin, Prepared, Ready};
use crate::start::starts;
use crate::{FitError, Method, Order};
use std::collections::BTreeMap;
use std::f64::consts::TAU;

/// A candidate is known well enough when its criterion is known to a hundredth; the best one is fitted on.
const QUICK: Effort = Effort { least_gain: 1e-2, evaluations: 20, gives_up: true };

/// Starts besides that from the best so far.
const FRESH_STARTS: usize = 1;

/// Roots must be farther than this from zero, as in R's `auto.arima`.
const ROOTS_BEYOND: f64 = 1.01;

/// Finds the order of each series.
pub(crate) fn select_all(
    select: &Select,
    series: &[&[f64]],
    instructions: Instructions,
) -> Vec<Result<Selection, FitError>> {
    let mut buffer = Vec::new();
    let mut jobs: Vec<Result<Job<'_>, FitError>> =
        series.iter().map(|series| Job::new(select, series, &mut buffer)).collect();
    // Of all shapes that are waited for, the one that most wait for is estimated next, so that lanes are full.
    let mut waiting: BTreeMap<Candidate, Vec<usize>> = BTreeMap::new();
    for (at, job) in jobs.iter_mut().enumerate() {
        if let Some(candidate) = job.as_mut().ok().and_then(Job::next) {
            waiting.entry(candidate).or_default().push(at);
        }
    }
    while let Some((&candidate, _)) = waiting.iter().max_by_key(|(_, jobs)| jobs.len()) {
        let those = waiting.remove(&candidate).unwrap_or_default();
        let wanted: Vec<_> = those.into_iter().map(|at| (at, candidate)).collect();
        let found = estimate_all(&jobs, &wanted, QUICK, instructions);
        for ((at, candidate), minimum) in wanted.into_iter().zip(found) {
            let Ok(job) = &mut jobs[at] else { continue };
            job.take(candidate, minimum);
            if let Some(next) = job.next() {
                waiting.entry(next).or_default().push(at);
            }
        }
    }
    polish(jobs, instructions)
}

/// The best of each search, fitted to the end.
fn polish(
    mut jobs: Vec<Result<Job<'_>, FitError>>,
    instructions: Instructions,
) -> Vec<Result<Selection, FitError>> {
    let mut wanted = Vec::new();
    for (at, job) in jobs.iter().enumerate() {
        if let Some((candidate, _)) = job.as_ref().ok().and_then(|job| job.steps.best()) {
            wanted.push((at, candidate));
        }
    }
    let found = estimate_all(&jobs, &wanted, THOROUGH, instructions);
    for ((at, candidate), minimum) in wanted.iter().zip(found) {
        if let (Ok(job), Some(minimum)) = (&mut jobs[*at], minimum) {
            job.keep(*candidate, minimum);
        }
    }
    jobs.into_iter().map(|job| job.and_then(Job::finish)).collect()
}

fn estimate_all(
    jobs: &[Result<Job<'_>, FitError>],
    wanted: &[(usize, Candidate)],
    effort: Effort,
    instructions: Instructions,
) -> Vec<Option<Minimum>> {
    let tasks: Vec<Task<'_>> = wanted
        .iter()
        .filter_map(|(at, candidate)| jobs[*at].as_ref().ok().map(|job| job.task(*candidate)))
        .collect();
    estimate(&tasks, effort, instructions)
}

/// One series on its way to its order.
struct Job<'a> {
    series: &'a [f64],
    d: usize,
    /// For candidates with a constant, and for differenced ones.
    free: Ready,
    /// For candidates without a mean, of which zero is the mean; for `d = 0` only.
    fixed: Option<Ready>,
    steps: Steps,
    minima: BTreeMap<Candidate, Minimum>,
}

impl<'a> Job<'a> {
    fn new(select: &Select, series: &'a [f64], buffer: &mut Vec<f64>) -> Result<Self, FitError> {
        let prepared = Prepared::new(series, Origin::Free)?;
        let d = select.differences.unwrap_or_else(|| differences_in(&prepared.values, Order::MAX_D, buffer));
        prepared.check(d, d + 3)?;
        let steps = select.steps(d, prepared.observed);
        let free = Ready::new(prepared, d);
        let fixed = if d == 0 { Some(Ready::new(Prepared::new(series, Origin::Fixed)?, d)) } else { None };
        Ok(Self { series, d, free, fixed, steps, minima: BTreeMap::new() })
    }

    /// The next candidate that the series is long enough for.
    fn next(&mut self) -> Option<Candidate> {
        loop {
            let candidate = self.steps.next()?;
            let estimated = candidate.p + candidate.q + usize::from(candidate.constant) + 1;
            if self.observations() > estimated + 1 {
                return Some(candidate);
            }
            self.steps.take(candidate, None);
        }
    }

    fn observations(&self) -> usize {
        self.free.prepared.observed - self.d
    }

    fn ready(&self, candidate: Candidate) -> &Ready {
        match &self.fixed {
            Some(fixed) if !candidate.constant => fixed,
            Some(_) | None => &self.free,
        }
    }

    fn task(&self, candidate: Candidate) -> Task<'_> {
        let values = self.ready(candidate).values();
        Task { shape: shape(candidate), values, starts: self.starts(candidate), bar: self.bar(candidate) }
    }

    /// The deviance with which a candidate would be as good as the best so far. Who goes from neighbour to neighbour
    /// need not know how bad those are that fall behind.
    fn bar(&self, candidate: Candidate) -> Option<f64> {
        let (_, best) = self.steps.best().filter(|_| self.steps.goes_by_steps())?;
        Some(best - self.aicc(candidate, 0.0))
    }

    /// Where the candidate was left; else where its neighbours were.
    fn starts(&self, candidate: Candidate) -> Vec<Point> {
        if let Some(known) = self.minima.get(&candidate) {
            return vec![known.at];
        }
        let mixed = candidate.p > 0 && candidate.q > 0;
        let fresh = || starts(shape(candidate), &self.ready(candidate).differenced, 2);
        let best = self.steps.best().and_then(|(best, _)| Some((best, self.minima.get(&best)?)));
        let Some((best, minimum)) = best else { return fresh() };
        let mut all = vec![embed(best, &minimum.at, candidate)];
        if mixed {
            all.extend(fresh().into_iter().take(FRESH_STARTS));
        }
        all
    }

    fn take(&mut self, candidate: Candidate, minimum: Option<Minimum>) {
        let criterion = minimum.and_then(|minimum| {
            self.minima.insert(candidate, minimum);
            clear_of_the_circle(candidate, &minimum.at).then(|| self.aicc(candidate, minimum.deviance))
        });
        self.steps.take(candidate, criterion);
    }

    fn keep(&mut self, candidate: Candidate, minimum: Minimum) {
        let best = self.minima.entry(candidate).or_insert(minimum);
        if Minimum::compare(&minimum, best).is_lt() {
            *best = minimum;
        }
    }

    fn aicc(&self, candidate: Candidate, deviance: f64) -> f64 {
        let n = self.observations() as f64;
        let k = (candidate.p + candidate.q + usize::from(candidate.constant) + 1) as f64;
        let unit = self.ready(candidate).prepared.unit;
        deviance + n * (TAU.ln() + 1.0 + 2.0 * unit.ln()) + 2.0 * k + 2.0 * k * (k + 1.0) / (n - k - 1.0)
    }

    fn order(&self, candidate: Candidate) -> Result<Order, FitError> {
        let order = Order::new(candidate.p, self.d, candidate.q).map_err(|_| FitError::NoLikelihood)?;
        if candidate.constant { order.with_constant().map_err(|_| FitError::NoLikelihood) } else { Ok(order) }
    }

    fn finish(self) -> Result<Selection, FitError> {
        let (best, _) = self.steps.best().ok_or(FitError::NoLikelihood)?;
        let minimum = self.minima.get(&best).ok_or(FitError::NoLikelihood)?;
        let fitted =
            finish(self.order(best)?, &self.ready(best).prepared, minimum, self.series, Method::Exact)?;
        let tried = self.steps.tried().map(|(candidate, criterion)| {
            let order = self.order(candidate)?;
            let aicc = if candidate == best { Some(fitted.aicc()) } else { criterion };
            Ok(Tried { order, aicc })
        });
        let tried = tried.collect::<Result<Vec<_>, FitError>>()?;
        Ok(Selection { fitted, tried })
    }
}

fn shape(candidate: Candidate) -> Shape {
    Shape { p: candidate.p, q: candidate.q, constant: candidate.constant }
}

/// A point of one order as one of another: terms are dropped from the end, or added as zeros.
fn embed(from: Candidate, point: &Point, to: Candidate) -> Point {
    std::array::from_fn(|i| match i {
        i if i < to.p => {
            if i < from.p {
                point[i]
            } else {
                0.0
            }
        }
        i if i < to.p + to.q && i - to.p < from.q => point[from.p + i - to.p],
        _ => 0.0,
    })
}

fn clear_of_the_circle(candidate: Candidate, at: &Point) -> bool {
    let (p, q) = (candidate.p, candidate.q);
    roots_beyond(&coefficients(&at[..p])[..p], ROOTS_BEYOND)
        && roots_beyond(&coefficients(&at[p..p + q])[..q], ROOTS_BEYOND)
}
