//! Differences of one kind, and which of them are too large.

use serde::Serialize;

/// One kind of difference, over all cases it is looked for in.
pub(crate) struct Check {
    name: &'static str,
    /// `None` for what is told and not judged.
    tolerance: Option<f64>,
    found: Vec<(f64, String)>,
    unanswered: usize,
    failures: Vec<Failure>,
}

/// A check as it is told.
#[derive(Serialize)]
pub(crate) struct Summary {
    name: &'static str,
    tolerance: Option<f64>,
    compared: usize,
    unanswered: usize,
    median: Option<f64>,
    worst: Option<f64>,
    case: Option<String>,
    failed: usize,
}

/// A case out of tolerance.
#[derive(Clone, Serialize)]
pub(crate) struct Failure {
    check: &'static str,
    case: String,
    difference: Option<f64>,
    explanation: String,
}

impl Check {
    /// One that fails above a tolerance.
    pub(crate) fn judged(name: &'static str, tolerance: f64) -> Self {
        Self { name, tolerance: Some(tolerance), found: Vec::new(), unanswered: 0, failures: Vec::new() }
    }

    /// One that cannot fail: what is compared is known to differ.
    pub(crate) fn told(name: &'static str) -> Self {
        Self { tolerance: None, ..Self::judged(name, 0.0) }
    }

    /// Adds a difference. One that is not a number is too large.
    pub(crate) fn add(&mut self, case: &str, difference: f64, explanation: impl FnOnce() -> String) {
        if self.tolerance.is_some_and(|tolerance| difference.is_nan() || difference > tolerance) {
            self.fail(case, Some(difference), explanation());
        }
        self.found.push((difference, case.to_owned()));
    }

    /// The peer says nothing.
    pub(crate) fn unanswered(&mut self) {
        self.unanswered += 1;
    }

    /// We say nothing where the peer does.
    pub(crate) fn refused(&mut self, case: &str, explanation: String) {
        self.unanswered += 1;
        if self.tolerance.is_some() {
            self.fail(case, None, explanation);
        }
    }

    fn fail(&mut self, case: &str, difference: Option<f64>, explanation: String) {
        self.failures.push(Failure { check: self.name, case: case.to_owned(), difference, explanation });
    }

    pub(crate) fn failures(&self) -> &[Failure] {
        &self.failures
    }

    pub(crate) fn summary(&mut self) -> Summary {
        self.found.sort_by(|a, b| a.0.total_cmp(&b.0));
        let worst = self.found.last();
        Summary {
            name: self.name,
            tolerance: self.tolerance,
            compared: self.found.len(),
            unanswered: self.unanswered,
            median: self.found.get(self.found.len() / 2).map(|(difference, _)| *difference),
            worst: worst.map(|(difference, _)| *difference),
            case: worst.map(|(_, case)| case.clone()),
            failed: self.failures.len(),
        }
    }
}
