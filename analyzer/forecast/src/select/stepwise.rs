//! Which order to try next: the stepwise search of Hyndman and Khandakar (2008), or all of them.
//!
//! It estimates nothing: it names a candidate and is told its criterion.

use std::collections::BTreeMap;

/// An order to try, with `d` given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Candidate {
    pub(crate) p: usize,
    pub(crate) q: usize,
    pub(crate) constant: bool,
}

/// What may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) max_p: usize,
    pub(crate) max_q: usize,
    /// Whether models with a constant are tried beside those without.
    pub(crate) constant: bool,
}

impl Bounds {
    fn hold(self, candidate: Candidate) -> bool {
        candidate.p <= self.max_p && candidate.q <= self.max_q && (self.constant || !candidate.constant)
    }
}

/// A search on its way.
#[derive(Clone, Debug)]
pub(crate) struct Steps {
    bounds: Bounds,
    /// Still to be tried whatever comes out, the next one last.
    first: Vec<Candidate>,
    /// Whether neighbours of the best are tried after those.
    neighbours: bool,
    /// Whether those two steps away and all small ones are tried as well.
    farther: bool,
    tried: BTreeMap<Candidate, Option<f64>>,
    best: Option<(Candidate, f64)>,
}

impl Steps {
    /// From (2, 2), none, (1, 0) and (0, 1), with a constant where there may be one, and none without; then, as
    /// long as that is better, to a neighbour of the best. Where Hyndman and Khandakar end, the longest
    /// autoregression is tried: a slow swing, as that of a day, needs more terms than any neighbour of (1, 0) has,
    /// and was missed on a third of such series.
    pub(crate) fn stepwise(bounds: Bounds, farther: bool) -> Self {
        let with = |p: usize, q: usize| Candidate {
            p: p.min(bounds.max_p),
            q: q.min(bounds.max_q),
            constant: bounds.constant,
        };
        let mut first =
            vec![Candidate { p: 0, q: 0, constant: false }, with(0, 0), with(1, 0), with(0, 1), with(2, 2)];
        first.dedup();
        first.reverse();
        Self { farther, ..Self::new(bounds, first, true) }
    }

    /// All within the bounds, small ones first.
    pub(crate) fn exhaustive(bounds: Bounds) -> Self {
        let mut all = Vec::new();
        for (p, q) in (0..=bounds.max_p).flat_map(|p| (0..=bounds.max_q).map(move |q| (p, q))) {
            all.extend([false, true].map(|constant| Candidate { p, q, constant }));
        }
        all.retain(|candidate| bounds.hold(*candidate));
        all.sort_by_key(|candidate| std::cmp::Reverse((candidate.p + candidate.q, *candidate)));
        Self::new(bounds, all, false)
    }

    fn new(bounds: Bounds, first: Vec<Candidate>, neighbours: bool) -> Self {
        Self { bounds, first, neighbours, farther: false, tried: BTreeMap::new(), best: None }
    }

    /// What to try next; nothing if the search is over.
    pub(crate) fn next(&mut self) -> Option<Candidate> {
        while let Some(candidate) = self.first.pop() {
            if !self.tried.contains_key(&candidate) {
                return Some(candidate);
            }
        }
        let (best, _) = self.best.filter(|_| self.neighbours)?;
        let longest = Candidate { p: self.bounds.max_p, q: 0, ..best };
        let farther = two_steps_away(best).chain(small()).filter(|_| self.farther);
        let mut next = neighbours(best).chain([longest]).chain(farther);
        next.find(|candidate| self.bounds.hold(*candidate) && !self.tried.contains_key(candidate))
    }

    /// Is told what becomes of a candidate's criterion when it is looked at again.
    pub(crate) fn correct(&mut self, candidate: Candidate, criterion: Option<f64>) {
        self.tried.insert(candidate, criterion.filter(|value| value.is_finite()));
        let known = self.tried.iter().filter_map(|(candidate, value)| Some((*candidate, (*value)?)));
        self.best = known.min_by(|one, other| one.1.total_cmp(&other.1));
    }

    /// Is told the criterion of a candidate; `None` if it is no model.
    pub(crate) fn take(&mut self, candidate: Candidate, criterion: Option<f64>) {
        let criterion = criterion.filter(|value| value.is_finite());
        self.tried.insert(candidate, criterion);
        let better = match (criterion, self.best) {
            (Some(value), Some((_, best))) => value < best,
            (value, None) => value.is_some(),
            (None, Some(_)) => false,
        };
        if let (true, Some(value)) = (better, criterion) {
            self.best = Some((candidate, value));
        }
    }

    /// Whether what is tried next depends on what came out.
    pub(crate) fn goes_by_steps(&self) -> bool {
        self.neighbours
    }

    /// The best so far.
    pub(crate) fn best(&self) -> Option<(Candidate, f64)> {
        self.best
    }

    /// All that were tried, small ones first.
    pub(crate) fn tried(&self) -> impl Iterator<Item = (Candidate, Option<f64>)> {
        self.tried.iter().map(|(candidate, criterion)| (*candidate, *criterion))
    }
}

/// One term more or less of either kind or of both, then the constant, in the order of R's `auto.arima`.
fn neighbours(Candidate { p, q, constant }: Candidate) -> impl Iterator<Item = Candidate> {
    const STEPS: [(isize, isize); 8] = [(-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)];
    let moved = STEPS.into_iter().filter_map(move |(of_p, of_q)| {
        let (p, q) = (p.checked_add_signed(of_p)?, q.checked_add_signed(of_q)?);
        Some(Candidate { p, q, constant })
    });
    moved.chain([Candidate { p, q, constant: !constant }])
}

/// Two terms more or less of one kind: looked at where no neighbour is better, as the second of two terms is often
/// the one that counts.
fn two_steps_away(Candidate { p, q, constant }: Candidate) -> impl Iterator<Item = Candidate> {
    const STEPS: [(isize, isize); 4] = [(2, 0), (0, 2), (-2, 0), (0, -2)];
    STEPS.into_iter().filter_map(move |(of_p, of_q)| {
        let (p, q) = (p.checked_add_signed(of_p)?, q.checked_add_signed(of_q)?);
        Some(Candidate { p, q, constant })
    })
}

/// Up to three terms: few, soon estimated, and the most frequent answer.
fn small() -> impl Iterator<Item = Candidate> {
    let terms = (0..=3).flat_map(|p| (0..=3 - p).map(move |q| (p, q)));
    terms.flat_map(|(p, q)| [false, true].map(|constant| Candidate { p, q, constant }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(mut steps: Steps, criterion: impl Fn(Candidate) -> Option<f64>) -> (Option<Candidate>, usize) {
        let mut count = 0;
        while let Some(candidate) = steps.next() {
            count += 1;
            assert!(count < 100, "it must end");
            steps.take(candidate, criterion(candidate));
        }
        (steps.best().map(|(candidate, _)| candidate), count)
    }

    const BOUNDS: Bounds = Bounds { max_p: 5, max_q: 5, constant: true };

    #[test]
    fn a_bowl_is_walked_down_to_its_bottom_in_few_steps() {
        let bowl = |c: Candidate| {
            Some((c.p as f64 - 4.0).powi(2) + (c.q as f64 - 1.0).powi(2) + f64::from(c.constant))
        };
        let bottom = Some(Candidate { p: 4, q: 1, constant: false });
        let (found, steps) = search(Steps::stepwise(BOUNDS, false), bowl);
        assert_eq!(found, bottom);
        assert!(steps < 30, "{steps}");
        assert_eq!(search(Steps::exhaustive(BOUNDS), bowl), (bottom, 72));
    }

    #[test]
    fn nothing_beyond_the_bounds_is_tried() {
        let bounds = Bounds { max_p: 1, max_q: 0, constant: false };
        let mut steps = Steps::stepwise(bounds, false);
        let mut tried = Vec::new();
        while let Some(candidate) = steps.next() {
            tried.push((candidate.p, candidate.q, candidate.constant));
            steps.take(candidate, Some(-(candidate.p as f64)));
        }
        assert_eq!(tried, [(0, 0, false), (1, 0, false)]);
    }

    #[test]
    fn a_better_order_two_steps_away_is_found_if_it_is_looked_for() {
        let hollow = |c: Candidate| match (c.p, c.q) {
            (0, 0) => Some(0.0),
            (0, 2) => Some(-1.0),
            (p, q) => Some((p + q) as f64),
        };
        let at = |q| Some(Candidate { p: 0, q, constant: false });
        assert_eq!(search(Steps::stepwise(BOUNDS, false), hollow).0, at(0));
        assert_eq!(search(Steps::stepwise(BOUNDS, true), hollow).0, at(2));
    }

    #[test]
    fn a_criterion_that_is_taken_back_leaves_the_second_best() {
        let mut steps = Steps::exhaustive(BOUNDS);
        let at = |q| Candidate { p: 0, q, constant: false };
        for (q, value) in [(0, 3.0), (1, 1.0), (2, 2.0)] {
            steps.take(at(q), Some(value));
        }
        steps.correct(at(1), None);
        assert_eq!(steps.best(), Some((at(2), 2.0)));
    }

    #[test]
    fn where_nothing_is_a_model_there_is_no_best() {
        assert_eq!(search(Steps::stepwise(BOUNDS, false), |_| None).0, None);
        assert_eq!(search(Steps::stepwise(BOUNDS, false), |_| Some(f64::NAN)).0, None);
    }
}
