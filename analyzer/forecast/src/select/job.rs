//! Many searches at once: each names a candidate, and those of the same shape are estimated side by side.

use super::stepwise::{Candidate, Steps};
use super::{Select, Selection, Tried};
use crate::descent::{Effort, Point};
use crate::estimate::{Task, ends, estimate};
use crate::fit::{THOROUGH, finish};
use crate::kpss::differences_in;
use crate::ladder::{Reach, leads};
use crate::likelihood::Shape;
use crate::polynomial::{coefficients, roots_beyond};
use crate::processor::Instructions;
use crate::search::Minimum;
use crate::series::{Origin, Prepared, Ready};
use crate::start::{embed, starts};
use crate::{FitError, Method, Order};
use std::collections::{BTreeMap, BTreeSet};
use std::f64::consts::TAU;

/// A candidate is known well enough when its criterion is known to a hundredth; the best one is fitted on.
const QUICK: Effort = Effort { least_gain: 1e-2, evaluations: 20, gives_up: true };

/// Where all are estimated, candidates within so much of the best are fitted to the end before one is chosen.
const MARGIN: f64 = 0.02;

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
    // What turns out to be no candidate once it is fitted to the end, was where a search ended: it goes on. No
    // candidate is looked at again or polished twice, so this ends.
    loop {
        walk(&mut jobs, select, instructions);
        while select.thorough && !select.exhaustive && look_again(&mut jobs, instructions) {
            walk(&mut jobs, select, instructions);
        }
        if !polish(&mut jobs, instructions) {
            break;
        }
    }
    jobs.into_iter().map(|job| job.and_then(Job::finish)).collect()
}

/// Follows each search to where it ends.
fn walk(jobs: &mut [Result<Job<'_>, FitError>], select: &Select, instructions: Instructions) {
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
        look(jobs, &wanted, select.exhaustive, instructions);
        for (at, _) in wanted {
            if let Some(next) = jobs[at].as_mut().ok().and_then(Job::next) {
                waiting.entry(next).or_default().push(at);
            }
        }
    }
}

/// Where a search has ended, some candidates are estimated from more starts, each once. Returns whether there were any.
fn look_again(jobs: &mut [Result<Job<'_>, FitError>], instructions: Instructions) -> bool {
    let mut wanted = Vec::new();
    for (at, job) in jobs.iter_mut().enumerate() {
        if let Ok(job) = job {
            wanted.extend(job.again().into_iter().map(|candidate| (at, candidate)));
        }
    }
    let found = ends(&tasks(jobs, &wanted, Job::leads), QUICK, instructions);
    for ((at, candidate), ends) in wanted.iter().zip(found) {
        let Ok(job) = &mut jobs[*at] else { continue };
        if let Some(minimum) = ends.iter().find(|end| clear_of_the_circle(*candidate, &end.at)) {
            job.improve(*candidate, *minimum);
        }
    }
    !wanted.is_empty()
}

/// Tells each search what its candidate is worth. Where the highest maximum is none of a candidate, a lower one may
/// be, so that all are looked at.
fn look(
    jobs: &mut [Result<Job<'_>, FitError>],
    wanted: &[(usize, Candidate)],
    all: bool,
    instructions: Instructions,
) {
    if all {
        let found = ends(&tasks(jobs, wanted, Job::leads), QUICK, instructions);
        for ((at, candidate), ends) in wanted.iter().zip(found) {
            if let Ok(job) = &mut jobs[*at] {
                job.take(*candidate, &ends);
            }
        }
        return;
    }
    let found = estimate(&tasks(jobs, wanted, Job::starts), QUICK, instructions);
    for ((at, candidate), minimum) in wanted.iter().zip(found) {
        if let Ok(job) = &mut jobs[*at] {
            job.take(*candidate, minimum.as_slice());
        }
    }
}

/// The best of each search, and those that may be as good, fitted to the end. Returns whether there were any.
fn polish(jobs: &mut [Result<Job<'_>, FitError>], instructions: Instructions) -> bool {
    let mut wanted = Vec::new();
    for (at, job) in jobs.iter().enumerate() {
        let rough = job.as_ref().ok().into_iter().flat_map(Job::rough);
        wanted.extend(rough.map(|candidate| (at, candidate)));
    }
    let found = estimate(&tasks(jobs, &wanted, Job::starts), THOROUGH, instructions);
    for ((at, candidate), minimum) in wanted.iter().zip(found) {
        if let Ok(job) = &mut jobs[*at] {
            job.keep(*candidate, minimum);
        }
    }
    !wanted.is_empty()
}

fn tasks<'a>(
    jobs: &'a [Result<Job<'a>, FitError>],
    wanted: &[(usize, Candidate)],
    starts: impl Fn(&Job<'a>, Candidate) -> Vec<Point>,
) -> Vec<Task<'a>> {
    let task = |(at, candidate): &(usize, Candidate)| {
        let job = jobs[*at].as_ref().ok()?;
        let values = job.ready(*candidate).values();
        Some(Task {
            shape: shape(*candidate),
            values,
            starts: starts(job, *candidate),
            bar: job.bar(*candidate),
        })
    };
    wanted.iter().filter_map(task).collect()
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
    /// Those that were looked at again.
    again: BTreeSet<Candidate>,
    /// Those that were fitted to the end.
    polished: BTreeSet<Candidate>,
    /// How much worse than the best may be as good, once fitted to the end.
    margin: f64,
}

impl<'a> Job<'a> {
    fn new(select: &Select, series: &'a [f64], buffer: &mut Vec<f64>) -> Result<Self, FitError> {
        let prepared = Prepared::new(series, Origin::Free)?;
        let d = select.differences.unwrap_or_else(|| differences_in(&prepared.values, Order::MAX_D, buffer));
        // Too few values to see a trend may still be a line.
        let judged = if select.differences.is_some() { d } else { d.max(1) };
        prepared.check(judged, d + 3)?;
        let steps = select.steps(d, prepared.observed);
        let free = Ready::new(prepared, d);
        let fixed = if d == 0 { Some(Ready::new(Prepared::new(series, Origin::Fixed)?, d)) } else { None };
        Ok(Self {
            series,
            d,
            free,
            fixed,
            steps,
            minima: BTreeMap::new(),
            again: BTreeSet::new(),
            polished: BTreeSet::new(),
            margin: if select.exhaustive { MARGIN } else { 0.0 },
        })
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
        let mut all = vec![embed(shape(best), &minimum.at, shape(candidate))];
        if mixed {
            all.extend(fresh().into_iter().take(FRESH_STARTS));
        }
        all
    }

    /// All there is to start from.
    fn leads(&self, candidate: Candidate) -> Vec<Point> {
        let known = |p, q| self.minima.get(&Candidate { p, q, ..candidate }).map(|minimum| minimum.at);
        leads(shape(candidate), &self.ready(candidate).differenced, Reach::Near, known)
    }

    /// What is to be looked at again: what has the best within it, and what would be better were its highest
    /// maximum not next to the circle, as a lower one may be.
    fn again(&mut self) -> Vec<Candidate> {
        let Some((best, bar)) = self.steps.best() else { return Vec::new() };
        let more = [(0, 0), (1, 0), (0, 1), (1, 1)];
        let larger = more.map(|(p, q)| Candidate { p: best.p + p, q: best.q + q, ..best });
        let mixed = larger.into_iter().filter(|c| c.p > 0 && c.q > 0 && self.minima.contains_key(c));
        let refused = self.steps.tried().filter(|(_, value)| value.is_none()).map(|(candidate, _)| candidate);
        let hidden = refused.filter(|candidate| {
            let highest = self.minima.get(candidate).map(|minimum| self.aicc(*candidate, minimum.deviance));
            candidate.p + candidate.q > 0 && highest.is_some_and(|value| value < bar)
        });
        let all: Vec<Candidate> = mixed.chain(hidden).collect();
        all.into_iter().filter(|candidate| self.again.insert(*candidate)).collect()
    }

    /// Takes a maximum if it is better than what is known of it.
    fn improve(&mut self, candidate: Candidate, minimum: Minimum) {
        let known = self.steps.tried().find(|(tried, _)| *tried == candidate).and_then(|(_, value)| value);
        let value = self.aicc(candidate, minimum.deviance);
        if known.is_none_or(|known| value < known) {
            self.minima.insert(candidate, minimum);
            self.steps.take(candidate, Some(value));
        }
    }

    /// Takes the maxima that were found, the highest one first: what counts is the highest that is a candidate.
    fn take(&mut self, candidate: Candidate, ends: &[Minimum]) {
        let clear = ends.iter().find(|end| clear_of_the_circle(candidate, &end.at));
        if let Some(minimum) = clear.or(ends.first()) {
            self.minima.insert(candidate, *minimum);
        }
        self.steps.take(candidate, clear.map(|minimum| self.aicc(candidate, minimum.deviance)));
    }

    /// What may be the best and has not been fitted to the end.
    fn rough(&self) -> Vec<Candidate> {
        let bar = self.steps.best().map_or(f64::NEG_INFINITY, |(_, value)| value + self.margin);
        let promising = self.steps.tried().filter(|(_, value)| value.is_some_and(|value| value <= bar));
        promising.map(|(candidate, _)| candidate).filter(|c| !self.polished.contains(c)).collect()
    }

    fn keep(&mut self, candidate: Candidate, minimum: Option<Minimum>) {
        self.polished.insert(candidate);
        let Some(minimum) = minimum else { return };
        let best = self.minima.entry(candidate).or_insert(minimum);
        if Minimum::compare(&minimum, best).is_lt() {
            *best = minimum;
        }
        let best = *best;
        let clear = clear_of_the_circle(candidate, &best.at);
        let criterion = clear.then(|| self.aicc(candidate, best.deviance));
        self.steps.correct(candidate, criterion);
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

fn clear_of_the_circle(candidate: Candidate, at: &Point) -> bool {
    let (p, q) = (candidate.p, candidate.q);
    roots_beyond(&coefficients(&at[..p])[..p], ROOTS_BEYOND)
        && roots_beyond(&coefficients(&at[p..p + q])[..q], ROOTS_BEYOND)
}
