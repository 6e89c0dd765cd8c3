//! Moves under clients, and what is done twice.

use super::clients::Clients;
use super::steps::{adapter, again, copied, migration, node, partition, switched, task};
use crate::lab::{A, B, Lab, PARTITION, ROUTER};
use isotherm_migration::{Fenced, Reason, Side};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the partition is moved under clients, each time taken back or moved back.
const ROUNDS: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn moves_under_clients_lose_no_acknowledged_write() {
    let lab = Lab::start().await.unwrap();
    lab.rows(20_000).await.unwrap();
    let store = adapter(&lab).await;
    let clients = Clients::start(&lab, 4);
    let (mut pauses, mut quiet, mut verifying, mut times) = (vec![], vec![], vec![], vec![]);
    for round in 0..ROUNDS {
        let (task, record) = task(&lab, &format!("round-{round}"));
        let begun = Instant::now();
        let _ = clients.slowest();
        println!("{}", copied(&*store, &task).await);
        verifying.push(clients.slowest());
        switched(&*store, &task).await;
        pauses.push(clients.slowest());
        times.push(begun.elapsed());
        assert_eq!(store.serves(&task).await.unwrap(), Side::Target);
        assert_eq!(store.fenced(&task).await.unwrap(), Fenced::No);
        assert_eq!(store.holders(&partition(PARTITION)).await.unwrap(), [node(&lab, B)]);
        let told = record.told.lock().unwrap().clone();
        assert!(told.iter().any(|told| told.progress.done > 0), "{told:?}");

        tokio::time::sleep(Duration::from_secs(1)).await;
        let direct = lab.run_on(A, "UPDATE orders_1 SET version = 7 WHERE id = 1").await;
        assert!(format!("{direct:?}").contains("is being moved"), "the old copy took a write: {direct:?}");
        quiet.push(clients.slowest());
        store.reverse(&task).await.unwrap();
        pauses.push(clients.slowest());
        store.reverse(&again(&task.migration, &record)).await.expect("what is done is done");
        assert_eq!(store.serves(&task).await.unwrap(), Side::Source);
        store.abort(&task).await.unwrap();
        assert_eq!(lab.leftovers().await.unwrap(), Vec::<String>::new());
        assert!(!lab.has_table(B).await.unwrap());
    }
    let (last, _) = task(&lab, "last");
    copied(&*store, &last).await;
    switched(&*store, &last).await;
    store.retire(&last).await.unwrap();
    let history = clients.end(&lab).await.unwrap();
    for durations in [&mut pauses, &mut quiet, &mut verifying, &mut times] {
        durations.sort();
    }
    println!(
        "{} switches: slowest operation p50 {:?}, p99 {:?}; copying and verifying p50 {:?}, at most {:?}; without a \
         move p50 {:?}, at most {:?}; from validation to switch p50 {:?}",
        pauses.len(),
        pauses[pauses.len() / 2],
        pauses[pauses.len() - 1],
        verifying[verifying.len() / 2],
        verifying[verifying.len() - 1],
        quiet[quiet.len() / 2],
        quiet[quiet.len() - 1],
        times[times.len() / 2],
    );
    println!("{} operations, {} errors", history.operations, history.errors.len());
    assert_eq!(history.stale, Vec::<String>::new());
    assert_eq!(history.errors, Vec::<String>::new());
    assert!(history.operations > 500, "{}", history.operations);
    assert_eq!(lab.leftovers().await.unwrap(), Vec::<String>::new());
    assert!(!lab.has_table(A).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_may_be_asked_for_again_and_by_another_adapter() {
    let lab = Lab::start().await.unwrap();
    lab.rows(500).await.unwrap();
    let (first, record) = task(&lab, "m1");
    let again = || again(&first.migration, &record);
    assert_eq!(adapter(&lab).await.commit(&first).await.unwrap_err().reason, Reason::Conflict, "no copy");
    assert_eq!(
        adapter(&lab).await.retire(&first).await.unwrap_err().reason,
        Reason::Conflict,
        "the source serves"
    );
    for _ in 0..2 {
        adapter(&lab).await.prepare(&again()).await.unwrap();
    }
    for _ in 0..2 {
        adapter(&lab).await.replicate(&again(), None, None).await.unwrap();
    }
    assert_eq!(adapter(&lab).await.commit(&again()).await.unwrap_err().reason, Reason::Conflict, "no fence");
    adapter(&lab).await.verify(&again()).await.unwrap();
    // An adapter that dies lets the router's lock go, and not the fence.
    adapter(&lab).await.fence(&again()).await.unwrap();
    let (store, kept) = (adapter(&lab).await, adapter(&lab).await);
    assert_eq!(store.fenced(&again()).await.unwrap(), Fenced::Yes);
    let refused = lab.run_on(ROUTER, "INSERT INTO orders (id) VALUES (900000)").await;
    assert!(format!("{refused:?}").contains("is being moved"), "{refused:?}");
    let position = store.fence(&again()).await.unwrap();
    store.catch_up(&again(), Some(&position), 0).await.unwrap();
    store.commit(&again()).await.unwrap();
    kept.commit(&again()).await.expect("has been done");
    lab.run_on(ROUTER, "INSERT INTO orders (id) VALUES (900000)").await.unwrap();
    assert_eq!(kept.abort(&again()).await.unwrap_err().reason, Reason::StaleEpoch, "it has switched");
    assert_eq!(kept.unfence(&again()).await.unwrap_err().reason, Reason::StaleEpoch, "it has switched");
    for _ in 0..2 {
        adapter(&lab).await.retire(&again()).await.unwrap();
    }
    assert_eq!(kept.objects(&again()).await.unwrap(), Vec::<String>::new());
    assert_eq!(lab.leftovers().await.unwrap(), Vec::<String>::new());
    assert_eq!(lab.numbers(ROUTER, "SELECT count(*) FROM orders_1").await.unwrap(), [501]);
    alike(&lab).await;

    // And to where it was, as a move of its own.
    let back = super::steps::again(&migration(&lab, "m2", B, A), &Arc::default());
    copied(&*kept, &back).await;
    switched(&*kept, &back).await;
    kept.retire(&back).await.unwrap();
    assert_eq!(lab.leftovers().await.unwrap(), Vec::<String>::new());
}

/// The copy has what the source's definition had.
async fn alike(lab: &Lab) {
    let client = lab.client(B).await.unwrap();
    let text = |sql: &'static str| {
        let client = &client;
        async move { client.query_one(sql, &[]).await.unwrap().get::<_, String>(0) }
    };
    assert_eq!(text("SELECT obj_description('orders_1'::regclass, 'pg_class')").await, "first");
    assert!(text("SELECT relacl::text FROM pg_class WHERE relname = 'orders_1'").await.contains("reader=r/"));
    assert!(text("SELECT pg_get_indexdef('by_note'::regclass)").await.contains("\"the Note\""));
    let constraints = "SELECT string_agg(conname, ' ' ORDER BY conname) FROM pg_constraint \
        WHERE conrelid = 'orders_1'::regclass";
    assert_eq!(text(constraints).await, "orders_1_pkey positive");
    let columns = "SELECT string_agg(concat_ws(' ', attname, attgenerated, attcollation::regcollation), ', ' \
        ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'orders_1'::regclass AND attnum > 0";
    let expected = "id  -, version  -, the Note  \"C\", twice s -, tags  \"default\", at  -";
    assert_eq!(text(columns).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_row_is_found() {
    let lab = Lab::start().await.unwrap();
    lab.rows(2_000).await.unwrap();
    let store = adapter(&lab).await;
    let (task, _) = task(&lab, "m1");
    println!("{}", copied(&*store, &task).await);
    lab.run_on(B, "DELETE FROM orders_1 WHERE id = 17").await.unwrap();
    let lost = store.verify(&task).await.unwrap_err();
    assert_eq!(lost.reason, Reason::Mismatch);
    assert!(lost.message.contains("2000 rows") && lost.message.contains("1999"), "{}", lost.message);
    lab.run_on(B, "INSERT INTO orders_1 (id, \"the Note\") VALUES (17, 'other')").await.unwrap();
    assert_eq!(
        store.verify(&task).await.unwrap_err().reason,
        Reason::Mismatch,
        "as many rows, one of them wrong"
    );

    // What goes wrong after the verification is found under the fence.
    store.fence(&task).await.unwrap();
    assert_eq!(store.commit(&task).await.unwrap_err().reason, Reason::Mismatch);
    assert_eq!(store.serves(&task).await.unwrap(), Side::Source);
    store.unfence(&task).await.unwrap();
    lab.run_on(ROUTER, "INSERT INTO orders (id) VALUES (900000)").await.unwrap();
    store.abort(&task).await.unwrap();
    assert_eq!(lab.leftovers().await.unwrap(), Vec::<String>::new());
}
