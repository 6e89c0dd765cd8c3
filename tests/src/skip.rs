//! Tests that cannot run here say so.

use std::io::{Write, stderr};

/// Tells that the running test is skipped, past libtest's capture of the output of passing tests, which
/// would hide it. `cargo xtask test` counts these lines, and decides whether they are allowed.
pub fn skipped(test: &str, why: &str) {
    // One line by one call, as other tests write at the same time.
    let line = format!("SKIPPED: {test}: {}\n", why.replace('\n', "; "));
    let _ = stderr().write_all(line.as_bytes());
}
