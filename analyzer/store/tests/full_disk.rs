//! A disk that fills up between two commits, by failpoint. Alone in its process: failpoints are global.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use isotherm_model::{AgentId, BootId, Completeness, NodeId, NodeWindow, Seq, SystemId, Timestamp, Window};
use isotherm_store::{Entry, Run, Store, Submission, Verdict, WriteError};
use std::collections::BTreeMap;

fn submission(number: u64) -> Submission {
    let node = NodeId::new(SystemId::new("s").unwrap(), "n").unwrap();
    let window = Window {
        start: Timestamp::from_ms(number * 1_000),
        length_ms: 1_000,
        completeness: Completeness::Complete,
        nodes: vec![NodeWindow {
            node,
            processes: 1,
            totals: BTreeMap::new(),
            rows: Vec::new(),
            listening: Vec::new(),
            peers: Vec::new(),
            lost: BTreeMap::new(),
        }],
    };
    Submission {
        run: Run { agent: AgentId::new("a").unwrap(), boot: BootId::new("b").unwrap() },
        entry: Entry::Batch { seq: Seq::new(number).unwrap(), windows: vec![window] },
    }
}

#[test]
fn a_full_disk_is_waited_out() {
    let scenario = fail::FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let now = Timestamp::from_ms(0);
    fail::cfg("store::write", "return").unwrap();
    let outcome = store.commit(&[submission(1)], now);
    assert_eq!(outcome.verdicts, [Verdict::Retry]);
    assert!(matches!(outcome.failure, Some(WriteError::Io { .. })));
    fail::remove("store::write");
    let outcome = store.commit(&[submission(1), submission(2)], now);
    assert!(outcome.failure.is_none());
    assert_eq!(store.reader().nodes().unwrap()[0].last_end, Timestamp::from_ms(3_000));
    scenario.teardown();
}
