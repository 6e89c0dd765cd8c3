//! What dies in the middle, and what is cancelled there.

use super::clients::Clients;
use super::steps::{Record, adapter, again, migration, task};
use isotherm_adapter::contract::Refusal;
use isotherm_adapter::store::{Store as _, Task};
use isotherm_adapter::stores::valkey::Valkey;
use isotherm_migration::{Reason, Side};
use isotherm_tests::process::wait_for;
use isotherm_tests::stores::valkey::client::fill;
use isotherm_tests::stores::valkey::{LIMIT, Lab, REPLICA};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::task::JoinHandle;

const KEYS: u64 = 2_000;

fn seeds(lab: &Lab) -> Vec<SocketAddr> {
    lab.nodes.iter().map(|node| node.address).collect()
}

fn filled() -> Lab {
    let lab = Lab::start().unwrap();
    fill(&seeds(&lab), 2_000, 100).unwrap();
    lab
}

fn replicate(valkey: &Arc<Valkey>, task: &Task) -> JoinHandle<Result<(), Refusal>> {
    let (valkey, task) = (Arc::clone(valkey), task.clone());
    tokio::spawn(async move { valkey.replicate(&task, None, None).await })
}

/// Waits until the target has some keys, and the adapter has told of it.
fn under_way(lab: &Lab, record: &Record) {
    wait_for("a copy under way", LIMIT, || {
        let told = record.told.lock().unwrap().last().is_some_and(|told| told.progress.done > 0);
        Ok((told && lab.keys(1)? > 0).then_some(()))
    })
    .unwrap();
}

/// Makes a snapshot slow: the source waits so long before each key.
fn slow_snapshots(lab: &Lab) {
    lab.ask::<()>(0, &["CONFIG", "SET", "rdb-key-save-delay", "2000"]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_move_leaves_nothing_and_can_be_made_again() {
    let lab = filled();
    let valkey = adapter(&lab);
    let (task, record) = task(&lab, 0, 1);
    let clients = Clients::start(&seeds(&lab), 2);
    lab.hold(0, true).unwrap();
    let step = replicate(&valkey, &task);
    under_way(&lab, &record);
    assert!(!valkey.objects(&task).await.unwrap().is_empty());
    let busy = valkey.validate(&migration(&lab, 0, 2)).await.unwrap().findings;
    assert!(busy.iter().any(|finding| finding.contains("is sending slot migration")), "{busy:?}");

    task.stop.cancel();
    step.await.unwrap().unwrap_err();
    let abort = again(&task.migration, &record);
    for _ in 0..2 {
        valkey.abort(&abort).await.unwrap();
        assert_eq!(valkey.serves(&abort).await.unwrap(), Side::Source);
        assert_eq!(valkey.objects(&abort).await.unwrap(), Vec::<String>::new());
        assert_eq!(lab.keys(1).unwrap(), 0);
    }
    assert_eq!(lab.states(0).unwrap(), ["cancelled"]);
    lab.hold(0, false).unwrap();
    let (task, _) = super::steps::task(&lab, 0, 1);
    valkey.replicate(&task, None, None).await.unwrap();
    valkey.verify(&task).await.unwrap();
    let history = clients.end(&seeds(&lab)).unwrap();
    assert_eq!((history.errors, history.stale), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_that_dies_goes_on_where_the_engine_is() {
    let lab = filled();
    let (task, record) = task(&lab, 0, 1);
    lab.hold(0, true).unwrap();
    let valkey = adapter(&lab);
    let step = replicate(&valkey, &task);
    under_way(&lab, &record);
    step.abort();
    let _ = step.await;
    drop(valkey);

    let valkey = adapter(&lab);
    let step = replicate(&valkey, &again(&task.migration, &record));
    lab.hold(0, false).unwrap();
    step.await.unwrap().unwrap();
    println!("{}", valkey.verify(&task).await.unwrap());
    assert_eq!(lab.states(0).unwrap(), ["success"], "the engine was told once");
    assert_eq!((lab.keys(0).unwrap(), lab.keys(1).unwrap()), (0, KEYS));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_dies_leaves_the_source_as_it_was() {
    let mut lab = filled();
    let valkey = adapter(&lab);
    let (task, record) = task(&lab, 0, 1);
    lab.hold(0, true).unwrap();
    let step = replicate(&valkey, &task);
    under_way(&lab, &record);
    lab.kill(1);
    let refusal = step.await.unwrap().unwrap_err();
    assert!(matches!(refusal.reason, Reason::Transient { .. }), "{refusal}");
    valkey.abort(&task).await.unwrap();
    assert_eq!(lab.keys(0).unwrap(), KEYS);
    lab.run(1).unwrap();
    lab.settle().unwrap();
    assert_eq!(lab.keys(1).unwrap(), 0);
    assert_eq!(valkey.serves(&task).await.unwrap(), Side::Source);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_dies_in_its_snapshot_is_replaced_and_keeps_its_keys() {
    let mut lab = filled();
    let valkey = adapter(&lab);
    let (task, record) = task(&lab, 0, 1);
    slow_snapshots(&lab);
    let step = replicate(&valkey, &task);
    under_way(&lab, &record);
    assert_eq!(lab.states(0).unwrap(), ["snapshotting"]);
    lab.kill(0);
    step.await.unwrap().unwrap_err();
    wait_for("a replica in the leader's place", LIMIT, || {
        Ok(lab.ask::<String>(REPLICA, &["INFO", "replication"])?.contains("role:master").then_some(()))
    })
    .unwrap();
    lab.settle().unwrap();
    valkey.abort(&task).await.unwrap();
    assert_eq!(valkey.serves(&task).await.unwrap(), Side::Source);
    assert_eq!((lab.keys(REPLICA).unwrap(), lab.keys(1).unwrap()), (KEYS, 0));
}
