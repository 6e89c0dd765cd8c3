//! Moves, leader switches, and what is compared after a move.

use super::clients::Clients;
use super::steps::{BUCKET, adapter, again, node, partition, task};
use isotherm_adapter::store::{Shift, Store as _};
use isotherm_migration::{Reason, Side};
use isotherm_tests::stores::valkey::client::{Client, fill, tags};
use isotherm_tests::stores::valkey::{Lab, REPLICA};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How often the bucket is moved under clients: each time forth and back.
const ROUNDS: usize = 10;

fn seeds(lab: &Lab) -> Vec<SocketAddr> {
    lab.nodes.iter().map(|node| node.address).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn moves_under_clients_lose_no_acknowledged_write() {
    let lab = Lab::start().unwrap();
    fill(&seeds(&lab), 5_000, 500).unwrap();
    let valkey = adapter(&lab);
    let clients = Clients::start(&seeds(&lab), 4);
    let (mut pauses, mut quiet, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (task, record) = task(&lab, 0, 1);
        assert_eq!(valkey.validate(&task.migration).await.unwrap().findings, Vec::<String>::new());
        valkey.prepare(&task).await.unwrap();
        let _ = clients.slowest();
        let begun = Instant::now();
        valkey.replicate(&task, None, None).await.unwrap();
        times.push(begun.elapsed());
        pauses.push(clients.slowest());
        assert_eq!(valkey.serves(&task).await.unwrap(), Side::Target);
        assert_eq!(valkey.holders(&partition(BUCKET)).await.unwrap(), [node(&lab, 1)]);
        let evidence = valkey.verify(&task).await.unwrap();
        println!("{evidence}");
        assert_eq!(valkey.objects(&task).await.unwrap(), Vec::<String>::new());
        let told = record.told.lock().unwrap().clone();
        assert!(told.windows(2).all(|pair| pair[0].progress.done <= pair[1].progress.done), "{told:?}");

        let back = again(&task.migration, &record);
        let _ = clients.slowest();
        valkey.reverse(&back).await.unwrap();
        pauses.push(clients.slowest());
        valkey.reverse(&back).await.expect("what is done is done");
        assert_eq!(valkey.serves(&back).await.unwrap(), Side::Source);
        valkey.abort(&back).await.unwrap();
        assert_eq!(lab.keys(1).unwrap(), 0);

        // As long without a move: what the machine alone makes clients wait.
        let _ = clients.slowest();
        tokio::time::sleep(begun.elapsed() / 2).await;
        quiet.push(clients.slowest());
    }
    let history = clients.end(&seeds(&lab)).unwrap();
    for durations in [&mut pauses, &mut quiet, &mut times] {
        durations.sort();
    }
    let (half, last) = (pauses.len() / 2, pauses.len() - 1);
    println!(
        "{} moves: slowest operation p50 {:?}, p99 {:?}; without a move p50 {:?}, at most {:?}; moved in p50 {:?}",
        pauses.len(),
        pauses[half],
        pauses[last],
        quiet[quiet.len() / 2],
        quiet[quiet.len() - 1],
        times[times.len() / 2],
    );
    println!("{} operations, {} errors, {} stale reads", history.operations, history.errors, history.stale);
    assert_eq!((history.errors, history.stale), (0, 0));
    assert!(history.operations > 1_000, "{history:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_may_be_asked_for_again() {
    let lab = Lab::start().unwrap();
    fill(&seeds(&lab), 500, 10).unwrap();
    let valkey = adapter(&lab);
    let (task, _) = task(&lab, 0, 1);
    assert_eq!(valkey.commit(&task).await.unwrap_err().reason, Reason::Conflict, "nothing has switched");
    assert_eq!(valkey.retire(&task).await.unwrap_err().reason, Reason::Conflict, "the source serves");
    assert_eq!(valkey.verify(&task).await.unwrap_err().reason, Reason::Conflict, "there is no copy");
    for _ in 0..2 {
        valkey.prepare(&task).await.unwrap();
        valkey.replicate(&task, None, None).await.unwrap();
        valkey.commit(&task).await.unwrap();
        valkey.verify(&task).await.unwrap();
        valkey.retire(&task).await.unwrap();
    }
    assert_eq!(lab.states(0).unwrap(), ["success"], "the engine was told once");
    assert_eq!(valkey.abort(&task).await.unwrap_err().reason, Reason::StaleEpoch, "it has switched");
    assert_eq!((lab.keys(0).unwrap(), lab.keys(1).unwrap()), (0, 500));
}

#[tokio::test(flavor = "multi_thread")]
async fn corruption_after_the_switch_is_found() {
    let lab = Lab::start().unwrap();
    fill(&seeds(&lab), 1_200, 100).unwrap();
    let valkey = adapter(&lab);
    let (task, _) = task(&lab, 0, 1);
    valkey.replicate(&task, None, None).await.unwrap();
    println!("{}", valkey.verify(&task).await.unwrap());

    let mut client = Client::new(&seeds(&lab));
    let tags: Vec<String> = tags().take(50).collect();
    let key = |number: usize| format!("{{{}}}:{number}", tags[number % tags.len()]);
    client.run(redis::cmd("DEL").arg(key(17))).unwrap().unwrap();
    let lost = valkey.verify(&task).await.unwrap_err();
    assert_eq!(lost.reason, Reason::Mismatch);
    assert!(lost.message.contains("1199 keys, 1 fewer than there were"), "{}", lost.message);

    client.run(redis::cmd("SET").arg(key(17)).arg("other")).unwrap().unwrap();
    valkey.verify(&task).await.expect("as many keys as before, and one written since is a client's right");
    for number in (0..1_200).step_by(10) {
        client.run(redis::cmd("SET").arg(key(number)).arg("other")).unwrap().unwrap();
    }
    let mangled = valkey.verify(&task).await.unwrap_err();
    assert_eq!(mangled.reason, Reason::Mismatch);
    assert!(mangled.message.contains("have another value"), "{}", mangled.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_leads_and_the_former_leader_again() {
    let lab = Lab::start().unwrap();
    fill(&seeds(&lab), 500, 10).unwrap();
    let (valkey, bucket) = (adapter(&lab), partition(BUCKET));
    let clients = Clients::start(&seeds(&lab), 2);
    let (leader, replica) = (node(&lab, 0), node(&lab, REPLICA));
    assert_eq!(valkey.holders(&bucket).await.unwrap(), [leader.clone(), replica.clone()]);

    let _ = clients.slowest();
    let undo = valkey.shift(&bucket, &Shift::Leader(replica.clone())).await.unwrap();
    assert_eq!(undo, Some(leader.clone()));
    assert_eq!(valkey.holders(&bucket).await.unwrap(), [replica.clone(), leader.clone()]);
    assert_eq!(valkey.shift(&bucket, &Shift::Leader(replica)).await.unwrap(), None, "it leads already");
    let there = clients.slowest();
    valkey.shift(&bucket, &Shift::Leader(leader.clone())).await.unwrap();
    assert_eq!(valkey.holders(&bucket).await.unwrap()[0], leader);
    println!("leader switches: slowest operation {there:?} there, {:?} back", clients.slowest());

    let other = valkey.shift(&bucket, &Shift::Leader(node(&lab, 1))).await.unwrap_err();
    assert_eq!(other.reason, Reason::Conflict, "{other}");
    let drain = valkey.shift(&bucket, &Shift::Drain(leader)).await.unwrap_err();
    assert_eq!(drain.reason, Reason::Unsupported);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let history = clients.end(&seeds(&lab)).unwrap();
    assert_eq!((history.errors, history.stale), (0, 0));
}
