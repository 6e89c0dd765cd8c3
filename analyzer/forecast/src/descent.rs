//! The way down to the least deviance of one series: damped Gauss-Newton steps within a box.
//!
//! Levenberg (1944) and Marquardt (1963), with the expected curvature in place of the second derivatives. It
//! does not evaluate anything: it says where to look next and is told what was found there, so that many can be
//! on their way side by side.

use crate::likelihood::MAX_PARAMETERS;

/// The largest partial autocorrelation: so near to a unit root that the deviance is that of the root itself.
const LIMIT: f64 = 1.0 - 1e-8;

/// The part of the way to the border of the box that a step may take.
const TOWARDS_BORDER: f64 = 0.9;

/// Damping from which on a step no longer moves anything.
const MOST_DAMPING: f64 = 1e9;

/// Evaluations before a way may be given up for another one.
const FIRST_STEPS: u32 = 1;

/// How many steps like the next one a way may need to reach another one's end.
const STEPS_AHEAD: f64 = 4.0;

/// A point of the search: partial autocorrelations.
pub(crate) type Point = [f64; MAX_PARAMETERS];

/// Second derivatives of the deviance.
pub(crate) type Curvature = [[f64; MAX_PARAMETERS]; MAX_PARAMETERS];

/// How far to go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// The search ends where a step promises less than this.
    pub(crate) least_gain: f64,
    /// Evaluations, at most.
    pub(crate) evaluations: u32,
    /// Whether a way is given up that is not likely to come below what another one has come to.
    pub(crate) gives_up: bool,
}

/// A search on its way.
#[derive(Clone, Debug)]
pub(crate) struct Descent {
    k: usize,
    effort: Effort,
    best: Point,
    /// The deviance there, once there is one.
    deviance: Option<f64>,
    gradient: Point,
    curvature: Curvature,
    damping: f64,
    /// Where to look next.
    next: Point,
    promised: f64,
    evaluations: u32,
    /// What another way has come to.
    bar: Option<f64>,
    done: bool,
}

impl Descent {
    /// Over `k` parameters, from `start`.
    pub(crate) fn new(k: usize, start: Point, effort: Effort) -> Self {
        Self {
            k,
            effort,
            best: start,
            deviance: None,
            gradient: Point::default(),
            curvature: [[0.0; MAX_PARAMETERS]; MAX_PARAMETERS],
            damping: 1e-3,
            next: start.map(|r| r.clamp(-LIMIT, LIMIT)),
            promised: 0.0,
            evaluations: 0,
            bar: None,
            done: false,
        }
    }

    /// Where another way of the same search has come to a deviance.
    pub(crate) fn below(self, bar: Option<f64>) -> Self {
        Self { bar: bar.filter(|_| self.effort.gives_up), ..self }
    }

    /// Where to look next, or nothing if the search is over.
    pub(crate) fn next(&self) -> Option<&Point> {
        (!self.done).then_some(&self.next)
    }

    /// Is told the deviance at [`Self::next`], its derivatives, and how to get at its curvature, which may be left as
    /// it is to be learned from the gradients. Returns whether it is the best so far.
    pub(crate) fn take(
        &mut self,
        deviance: f64,
        gradient: &Point,
        curvature: impl FnOnce(&mut Curvature),
    ) -> bool {
        self.evaluations += 1;
        let usable = deviance.is_finite() && gradient[..self.k].iter().all(|slope| slope.is_finite());
        let better = usable && self.deviance.is_none_or(|best| deviance < best);
        if better {
            if let Some(best) = self.deviance {
                self.relax((best - deviance) / self.promised);
            }
            self.move_to(deviance, gradient, curvature);
        } else if self.deviance.is_some() {
            self.damping = (self.damping * 6.0).max(1e-2);
        } else {
            self.done = true;
        }
        self.done |= self.evaluations >= self.effort.evaluations || self.damping > MOST_DAMPING;
        if !self.done {
            self.propose();
            self.done |= self.is_hopeless();
        }
        better
    }

    /// Whether some steps like the next one would not reach the bar. The first steps from a start are left to it.
    fn is_hopeless(&self) -> bool {
        let (Some(bar), Some(deviance)) = (self.bar, self.deviance) else { return false };
        self.evaluations > FIRST_STEPS
            && deviance - STEPS_AHEAD * self.promised > bar + self.effort.least_gain
    }

    fn relax(&mut self, kept: f64) {
        if kept > 0.75 {
            self.damping = (self.damping * 0.1).max(1e-9);
        } else if kept < 0.25 {
            self.damping = (self.damping * 3.0).max(1e-3);
        }
    }

    fn move_to(&mut self, deviance: f64, gradient: &Point, curvature: impl FnOnce(&mut Curvature)) {
        if self.deviance.is_none() {
            // What nothing is known of bends a little.
            for i in 0..self.k {
                self.curvature[i][i] = 1.0;
            }
        }
        curvature(&mut self.curvature);
        // What is expected of the direction that was taken is corrected by what was seen.
        if self.deviance.is_some() {
            let (mut step, mut change) = (Point::default(), Point::default());
            for i in 0..self.k {
                step[i] = self.next[i] - self.best[i];
                change[i] = gradient[i] - self.gradient[i];
            }
            secant(&mut self.curvature, self.k, &step, &change);
        }
        self.best = self.next;
        self.deviance = Some(deviance);
        self.gradient = *gradient;
    }

    /// The next step: of the parameters that are not held by the border of the box.
    fn propose(&mut self) {
        let (k, best, gradient) = (self.k, self.best, self.gradient);
        let mut free = [0; MAX_PARAMETERS];
        let mut count = 0;
        for i in 0..k {
            let held = best[i].abs() >= LIMIT && gradient[i] * best[i] < 0.0;
            if !held {
                free[count] = i;
                count += 1;
            }
        }
        let free = &free[..count];
        while self.damping <= MOST_DAMPING {
            if let Some(step) = damped_step(&self.curvature, &gradient, free, self.damping) {
                let within = self.within(free, &step);
                self.promised = self.promise(free, &within, &gradient);
                self.next = within;
                if self.promised > self.effort.least_gain {
                    return;
                }
                // A step that promised nothing before the border was in its way is the end; so is one of no number.
                let whole: Point = std::array::from_fn(|i| best[i] + step[i]);
                let whole = self.promise(free, &whole, &gradient) * (1.0 + self.damping);
                if whole.is_nan() || whole <= self.effort.least_gain {
                    break;
                }
            }
            self.damping = (self.damping * 10.0).max(1e-3);
        }
        self.done = true;
    }

    /// Where a step leads within the box.
    fn within(&self, free: &[usize], step: &Point) -> Point {
        let mut next = self.best;
        for &i in free {
            let at = self.best[i];
            let low = -(at + 1.0) * TOWARDS_BORDER;
            let high = (1.0 - at) * TOWARDS_BORDER;
            next[i] = (at + step[i].clamp(low, high)).clamp(-LIMIT, LIMIT);
        }
        next
    }

    /// By how much the deviance should fall.
    fn promise(&self, free: &[usize], next: &Point, gradient: &Point) -> f64 {
        let mut promised = 0.0;
        for &i in free {
            let step = next[i] - self.best[i];
            promised -= gradient[i] * step;
            for &j in free {
                promised -= 0.5 * step * self.curvature[i][j] * (next[j] - self.best[j]);
            }
        }
        promised
    }
}

/// Solves `(H + damping diag H) step = -gradient` for the free parameters, or nothing if that is not definite.
fn damped_step(h: &Curvature, gradient: &Point, free: &[usize], damping: f64) -> Option<Point> {
    let largest = free.iter().map(|&i| h[i][i]).fold(0.0, f64::max);
    let mut root = [[0.0; MAX_PARAMETERS]; MAX_PARAMETERS];
    let mut step = [0.0; MAX_PARAMETERS];
    for (a, &i) in free.iter().enumerate() {
        for (b, &j) in free.iter().enumerate().take(a + 1) {
            let mut sum = h[i][j];
            if a == b {
                sum += damping * h[i][i].max(1e-8 * largest) + 1e-12 * largest;
            }
            for (one, other) in root[a][..b].iter().zip(&root[b][..b]) {
                sum -= one * other;
            }
            if a == b {
                if sum.is_nan() || sum <= 0.0 {
                    return None;
                }
                root[a][a] = sum.sqrt();
            } else {
                root[a][b] = sum / root[b][b];
            }
        }
        let mut sum = -gradient[i];
        for c in 0..a {
            sum -= root[a][c] * step[c];
        }
        step[a] = sum / root[a][a];
    }
    let mut scattered = [0.0; MAX_PARAMETERS];
    for a in (0..free.len()).rev() {
        for c in a + 1..free.len() {
            step[a] -= root[c][a] * step[c];
        }
        step[a] /= root[a][a];
        scattered[free[a]] = step[a];
    }
    Some(scattered)
}

/// The update of Broyden, Fletcher, Goldfarb and Shanno, damped as by Powell (1978) so that it stays definite.
fn secant(h: &mut Curvature, k: usize, step: &Point, change: &Point) {
    let mut through = Point::default();
    let (mut bent, mut seen) = (0.0, 0.0);
    for i in 0..k {
        for j in 0..k {
            through[i] += h[i][j] * step[j];
        }
        bent += step[i] * through[i];
        seen += step[i] * change[i];
    }
    if bent.is_nan() || bent <= 0.0 {
        return;
    }
    let share = if seen >= 0.2 * bent { 1.0 } else { 0.8 * bent / (bent - seen) };
    let mut damped = Point::default();
    for i in 0..k {
        damped[i] = share * change[i] + (1.0 - share) * through[i];
    }
    let seen = share * seen + (1.0 - share) * bent;
    for i in 0..k {
        for j in 0..k {
            h[i][j] += damped[i] * damped[j] / seen - through[i] * through[j] / bent;
        }
    }
}
