//! How many tests passed, failed and were skipped, by what libtest and the tests themselves print.

use std::fmt;

/// How tests say that they did not run; libtest takes them for passed.
const SKIPPED: &str = "SKIPPED:";

/// How libtest sums up a test binary.
const RESULT: &str = "test result:";

/// A sum over test binaries.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// As libtest counts: with the skipped.
    passed: usize,
    failed: usize,
    ignored: usize,
    skipped: Vec<String>,
}

impl Tally {
    /// Takes in a line of the output of `cargo test`.
    pub(super) fn take_in(&mut self, line: &str) {
        let line = line.trim();
        if let Some(why) = line.strip_prefix(SKIPPED) {
            self.skipped.push(why.trim().to_owned());
        }
        if let Some(result) = line.strip_prefix(RESULT) {
            self.passed += number_before(result, "passed");
            self.failed += number_before(result, "failed");
            self.ignored += number_before(result, "ignored");
        }
    }

    /// Adds another's lines.
    pub(super) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.skipped.extend(other.skipped);
    }

    /// Tests that said that they did not run, and why.
    pub(super) fn skipped(&self) -> impl Iterator<Item = &str> {
        self.skipped.iter().map(String::as_str)
    }
}

/// `12` of `ok. 12 passed; 0 failed`; 0 if the word is not there.
fn number_before(text: &str, word: &str) -> usize {
    let mut before = text.split([' ', ';']).filter(|piece| !piece.is_empty()).peekable();
    while let Some(piece) = before.next() {
        if before.peek() == Some(&word) {
            return piece.parse().unwrap_or(0);
        }
    }
    0
}

/// `N passed, M failed`, and `, K skipped` if any. A skipped test has not passed.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed = self.passed.saturating_sub(self.skipped.len());
        write!(f, "{passed} passed, {} failed", self.failed)?;
        match self.skipped.len() + self.ignored {
            0 => Ok(()),
            skipped => write!(f, ", {skipped} skipped"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    fn told(lines: &[&str]) -> String {
        let mut tally = Tally::default();
        lines.iter().for_each(|line| tally.take_in(line));
        tally.to_string()
    }

    #[test]
    fn binaries_are_summed_and_a_skipped_test_has_not_passed() {
        let ok =
            "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\n";
        let bad = "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out";
        assert_eq!(told(&[]), "0 passed, 0 failed");
        assert_eq!(told(&[ok, "anything"]), "12 passed, 0 failed");
        assert_eq!(told(&[ok, bad]), "15 passed, 2 failed, 1 skipped");
        assert_eq!(told(&["SKIPPED: a: no rights\n", ok]), "11 passed, 0 failed, 1 skipped");
    }
}
