//! What dies, and what is given up.

use super::clients::Clients;
use super::steps::{adapter, again, copied, switched, task};
use crate::lab::{A, B, Lab, ROUTER};
use isotherm_adapter::store::{Store, Task};
use isotherm_migration::{Reason, Side};
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_of_any_phase_leaves_nothing() {
    let lab = Lab::start().await.unwrap();
    lab.rows(2_000).await.unwrap();
    let store = adapter(&lab).await;
    let clients = Clients::start(&lab, 2);
    for phases in 0..=4 {
        let (task, record) = task(&lab, &format!("m{phases}"));
        if phases > 0 {
            store.prepare(&task).await.unwrap();
        }
        if phases == 2 {
            // In the middle of the copy.
            let (copying, step) = (Arc::clone(&store), task.clone());
            let copy = tokio::spawn(async move { copying.replicate(&step, None, None).await });
            tokio::time::sleep(Duration::from_millis(30)).await;
            task.stop.cancel();
            let _ = copy.await.unwrap();
        }
        if phases > 2 {
            store.replicate(&task, None, None).await.unwrap();
        }
        if phases > 3 {
            store.fence(&task).await.unwrap();
        }
        println!("{phases}: {:?}", store.objects(&task).await.unwrap());
        store.abort(&task).await.unwrap();
        store.abort(&again(&task.migration, &record)).await.expect("nothing is left to do");
        assert_eq!(store.objects(&task).await.unwrap(), Vec::<String>::new());
        assert_eq!(lab.leftovers().await.unwrap(), Vec::<String>::new(), "after phase {phases}");
        assert!(!lab.has_table(B).await.unwrap());
    }
    let history = clients.end(&lab).await.unwrap();
    assert_eq!((history.errors, history.stale), (vec![], vec![]));
}

/// Begins to copy a table that is large enough to be interrupted.
async fn copying(lab: &Lab, store: &Arc<dyn Store>, task: &Task) -> tokio::task::JoinHandle<bool> {
    store.prepare(task).await.unwrap();
    let (store, step) = (Arc::clone(store), task.clone());
    let copy = tokio::spawn(async move { store.replicate(&step, None, None).await.is_ok() });
    loop {
        let begun = "SELECT tuples_processed FROM pg_stat_progress_copy";
        if !lab.numbers(B, begun).await.unwrap().is_empty() {
            return copy;
        }
        assert!(!copy.is_finished(), "the copy was too quick to be interrupted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_goes_on_after_the_death_of_either_side() {
    let mut lab = Lab::start().await.unwrap();
    lab.rows(200_000).await.unwrap();
    let store = adapter(&lab).await;
    for (number, server) in [B, A].into_iter().enumerate() {
        let (task, _) = task(&lab, &format!("m{number}"));
        let copy = copying(&lab, &store, &task).await;
        lab.kill(server).unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        lab.run(server).await.unwrap();
        lab.run_on(ROUTER, &format!("INSERT INTO orders (id) VALUES ({})", 900_000 + number)).await.unwrap();
        assert!(copy.await.unwrap(), "the copy ended");
        println!("{}", store.verify(&task).await.unwrap());
        store.abort(&task).await.unwrap();
        assert_eq!(lab.leftovers().await.unwrap(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_waits_for_the_side_that_is_down() {
    let mut lab = Lab::start().await.unwrap();
    lab.rows(200_000).await.unwrap();
    let store = adapter(&lab).await;
    for (number, server) in [B, A].into_iter().enumerate() {
        let (task, _) = task(&lab, &format!("m{number}"));
        let copy = copying(&lab, &store, &task).await;
        lab.kill(server).unwrap();
        task.stop.cancel();
        assert!(!copy.await.unwrap());
        let refusal = store.abort(&task).await.unwrap_err();
        assert!(matches!(refusal.reason, Reason::Transient { .. }), "{refusal:?}");
        assert!(refusal.message.contains(&lab.port(server).to_string()), "{}", refusal.message);
        let other = if server == A { B } else { A };
        assert_eq!(
            lab.numbers(other, "SELECT count(*) FROM pg_replication_slots").await.unwrap(),
            [0],
            "the log is not kept for a copy that was given up"
        );
        lab.run(server).await.unwrap();
        store.abort(&task).await.unwrap();
        assert_eq!(lab.leftovers().await.unwrap(), Vec::<String>::new());
        assert!(!lab.has_table(B).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_back_outlives_deaths() {
    let mut lab = Lab::start().await.unwrap();
    lab.rows(1_000).await.unwrap();
    let store = adapter(&lab).await;
    let (task, record) = task(&lab, "m1");
    copied(&*store, &task).await;
    switched(&*store, &task).await;
    lab.kill(A).unwrap();
    lab.run_on(ROUTER, "INSERT INTO orders (id) VALUES (900000)").await.unwrap();
    let refusal = store.reverse(&task).await.unwrap_err();
    assert!(matches!(refusal.reason, Reason::Transient { .. }), "{refusal:?}");
    lab.run_on(ROUTER, "INSERT INTO orders (id) VALUES (900001)").await.expect("the target goes on");
    lab.run(A).await.unwrap();
    lab.kill(B).unwrap();
    lab.run(B).await.unwrap();
    lab.kill(ROUTER).unwrap();
    lab.run(ROUTER).await.unwrap();
    // Another adapter: all that it knows is in the store and the notes.
    let store = adapter(&lab).await;
    let task = again(&task.migration, &record);
    store.reverse(&task).await.unwrap();
    assert_eq!(store.serves(&task).await.unwrap(), Side::Source);
    assert_eq!(lab.numbers(A, "SELECT count(*) FROM orders_1").await.unwrap(), [1_002]);
    lab.run_on(ROUTER, "UPDATE orders SET version = 3 WHERE id = 900001").await.unwrap();
    store.abort(&task).await.unwrap();
    assert_eq!(lab.leftovers().await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_wait_no_longer_than_the_lock_may_be_waited_for() {
    let lab = Lab::start().await.unwrap();
    lab.rows(100).await.unwrap();
    let store = adapter(&lab).await;
    let (task, _) = task(&lab, "m1");
    copied(&*store, &task).await;
    let slow = lab.client(ROUTER).await.unwrap();
    slow.batch_execute("BEGIN; UPDATE orders SET version = 1 WHERE id = 1").await.unwrap();
    let begun = std::time::Instant::now();
    let refusal = store.fence(&task).await.unwrap_err();
    assert!(matches!(refusal.reason, Reason::Transient { .. }), "{refusal:?}");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    slow.batch_execute("COMMIT").await.unwrap();
    lab.run_on(ROUTER, "UPDATE orders SET version = 2 WHERE id = 1").await.expect("nothing is stopped");
    store.abort(&task).await.unwrap();
    assert_eq!(lab.leftovers().await.unwrap(), Vec::<String>::new());
}
