//! What commands of the CLI say.

use super::analyzer::Analyzer;
use super::sample::{node, other, row, window};
use super::telemetry::Agent;
use isotherm_model::{Operation, Window};
use serde_json::Value;
use std::process::Output;

pub(crate) fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

/// The answer of a command that must succeed.
pub(crate) fn stdout(output: &Output) -> String {
    assert_eq!(code(output), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn parsed(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap()
}

/// So many windows of a second from the given second on. In each, `a` reads partition `1` three times and writes
/// it twice, reads `2` once and something else five times; `b` reads `1` once. Reads move 100 bytes, writes 10.
pub(crate) fn seconds(first: u64, count: u64) -> Vec<Window> {
    (first..first + count)
        .map(|second| {
            let a = vec![
                row("1", Operation::Read, 3),
                row("1", Operation::Write, 2),
                row("2", Operation::Read, 1),
                other(5),
            ];
            window(second, vec![node("a", a), node("b", vec![row("1", Operation::Read, 1)])])
        })
        .collect()
}

/// Sends windows, as many in a batch as given.
pub(crate) async fn deliver(analyzer: &Analyzer, windows: &[Window], batch: usize) {
    let mut agent = Agent::connect(&analyzer.url, "host", "boot").await.unwrap();
    for (seq, windows) in (1..).zip(windows.chunks(batch)) {
        let answer = agent.deliver(seq, windows).await.unwrap();
        assert_eq!(answer, super::telemetry::Answer::Ack(seq));
    }
}
