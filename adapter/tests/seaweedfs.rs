//! Volumes of a real SeaweedFS are moved while clients write and read them.
//!
//! Needs root, `ip`, and the store that `cargo xtask setup` installs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "seaweedfs/reads.rs"]
mod reads;
#[path = "support/running.rs"]
mod running;
mod support;

use isotherm_adapter::check::{Finding, Options};
use isotherm_adapter::contract::Refusal;
use isotherm_adapter::store::{Store, Task};
use isotherm_adapter::stores::seaweedfs::SeaweedFs;
use isotherm_migration::{Copies, Fenced, Reason, Side};
use isotherm_proto::Health;
use running::Running;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};
use support::history::Clients;
use support::task::task;
use support::weed::{Weed, adapter, content, migration, node, node_id, number, partition, repair, with_weed};

/// All steps up to the switch, each twice. Returns what verification found.
async fn switch(store: &SeaweedFs, task: &Task) -> Result<String, Refusal> {
    assert_eq!(store.validate(&task.migration).await?.findings, Vec::<String>::new());
    store.prepare(task).await?;
    store.prepare(task).await?;
    let position = store.fence(task).await?;
    assert_eq!(store.fence(task).await?, position);
    assert_eq!(store.fenced(task).await?, Fenced::Yes);
    store.replicate(task, None, None).await?;
    store.replicate(task, None, None).await?;
    assert_eq!(store.catch_up(task, Some(&position), 0).await?, 0);
    let evidence = store.verify(task).await?;
    assert_eq!(store.serves(task).await?, Side::Source);
    store.commit(task).await?;
    store.commit(task).await?;
    assert_eq!((store.serves(task).await?, store.fenced(task).await?), (Side::Target, Fenced::No));
    Ok(evidence)
}

/// The servers that hold a volume, in order.
fn holders(weed: &Weed, volume: u32) -> Vec<usize> {
    weed.lookup(volume).unwrap().iter().map(|name| number(name)).collect()
}

/// A volume's files on a server.
fn files(weed: &Weed, number: usize, volume: u32) -> Vec<String> {
    weed.files(number, volume).unwrap()
}

/// A server of the first rack that does not hold the volume.
fn free(weed: &Weed, volume: u32) -> usize {
    (1..=3).find(|number| !holders(weed, volume).contains(number)).unwrap()
}

async fn moved_under_load(weed: &mut Weed, replication: &str) {
    let (volume, objects) = weed.volume(replication, 160, 256 << 10).unwrap();
    let (before, target) = (holders(weed, volume), free(weed, volume));
    let source = before[0];
    let store = adapter();
    let (task, heard) = task(migration(volume, source, target));
    let clients = Clients::start(weed, volume, &objects);
    let start = Instant::now();
    let evidence = switch(&store, &task).await.unwrap();
    let took = start.elapsed();
    let (done, total) = heard.bytes();
    assert!(Some(done) == total && done > 160 * (256 << 10), "{done} of {total:?}");
    assert!(evidence.ends_with("equal byte by byte"), "{evidence}");
    let then = clients.count();
    while clients.count() < then + 50 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (writes, reads) = clients.stop();
    println!(
        "{replication}: {evidence}; {took:?}, writes paused {:?}, {} refused",
        writes.pause, writes.refused
    );
    assert!(reads.bad.is_empty() && reads.good > 100, "{} good, bad: {:?}", reads.good, reads.bad);
    assert!(writes.refused > 0, "the fence was not felt");
    let mut after: Vec<usize> =
        before.iter().copied().filter(|number| *number != source).chain([target]).collect();
    after.sort_unstable();
    weed.ensure_all(volume, &after, &writes.acknowledged).unwrap();
    assert!(!files(weed, source, volume).is_empty(), "the source's data is kept until it retires");
    assert_eq!(
        store.objects(&task).await.unwrap(),
        [format!("old copy of volume {volume} on {}", node(source))]
    );
    store.retire(&task).await.unwrap();
    store.retire(&task).await.unwrap();
    assert_eq!(files(weed, source, volume), Vec::<String>::new());
    weed.ensure_all(volume, &after, &writes.acknowledged).unwrap();
    assert!(weed.takes_writes(volume, &after).unwrap());
}

#[test]
fn a_single_volume_moves_and_no_acknowledged_write_is_lost() {
    with_weed("a_single_volume_moves_and_no_acknowledged_write_is_lost", async |weed: &mut Weed| {
        moved_under_load(weed, "000").await;
    });
}

#[test]
fn a_replica_moves_and_no_acknowledged_write_is_lost() {
    with_weed("a_replica_moves_and_no_acknowledged_write_is_lost", async |weed: &mut Weed| {
        moved_under_load(weed, "001").await;
    });
}

#[test]
fn an_abort_from_each_phase_leaves_nothing() {
    with_weed("an_abort_from_each_phase_leaves_nothing", async |weed: &mut Weed| {
        let (volume, objects) = weed.volume("001", 20, 10_000).unwrap();
        let (before, target) = (holders(weed, volume), free(weed, volume));
        let store = adapter();
        for phase in 0..6 {
            let (task, _) = task(migration(volume, before[0], target));
            if phase > 0 {
                store.prepare(&task).await.unwrap();
            }
            if phase > 1 {
                store.fence(&task).await.unwrap();
                assert!(!weed.takes_writes(volume, &before).unwrap());
            }
            if phase > 2 {
                store.replicate(&task, None, None).await.unwrap();
            }
            if phase > 3 {
                store.verify(&task).await.unwrap();
            }
            if phase > 4 {
                store.unfence(&task).await.unwrap();
                assert_eq!(store.fenced(&task).await.unwrap(), Fenced::No);
                assert!(weed.takes_writes(volume, &before).unwrap());
            }
            store.abort(&task).await.unwrap();
            store.abort(&task).await.unwrap();
            assert_eq!(files(weed, target, volume), Vec::<String>::new(), "after phase {phase}");
            assert_eq!(store.objects(&task).await.unwrap(), Vec::<String>::new());
            let now = (store.serves(&task).await.unwrap(), store.fenced(&task).await.unwrap());
            assert_eq!(now, (Side::Source, Fenced::No));
            assert!(weed.takes_writes(volume, &before).unwrap(), "after phase {phase}");
            weed.ensure_all(volume, &before, &objects).unwrap();
        }
    });
}

#[test]
fn a_target_killed_while_it_copies_keeps_nothing_and_writes_are_back_before_it_is() {
    let name = "a_target_killed_while_it_copies_keeps_nothing_and_writes_are_back_before_it_is";
    with_weed(name, async |weed: &mut Weed| {
        let (volume, objects) = weed.volume("000", 80, 256 << 10).unwrap();
        let (before, target) = (holders(weed, volume), free(weed, volume));
        let store = adapter();
        let (task, _) = task(migration(volume, before[0], target));
        store.prepare(&task).await.unwrap();
        store.fence(&task).await.unwrap();
        let copy = store.replicate(&task, None, Some(2_000_000));
        let killed = async {
            let begun = Instant::now();
            while !files(weed, target, volume).iter().any(|name| name.ends_with(".note")) {
                assert!(begun.elapsed() < Duration::from_secs(30), "no copy has begun");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            weed.kill(target).unwrap();
        };
        let (copied, ()) = tokio::join!(copy, killed);
        assert!(matches!(copied.unwrap_err().reason, Reason::Transient { .. }));
        let refused = store.abort(&task).await.unwrap_err();
        assert!(matches!(refused.reason, Reason::Transient { .. }), "{refused}");
        assert!(weed.takes_writes(volume, &before).unwrap(), "writes do not wait for the target");
        weed.start_server(target).unwrap();
        store.abort(&task).await.unwrap();
        assert_eq!(files(weed, target, volume), Vec::<String>::new());
        weed.ensure_all(volume, &before, &objects).unwrap();
    });
}

#[test]
fn an_adapter_that_dies_while_it_copies_goes_on_as_another() {
    with_weed("an_adapter_that_dies_while_it_copies_goes_on_as_another", async |weed: &mut Weed| {
        let (volume, objects) = weed.volume("001", 80, 256 << 10).unwrap();
        let (before, target) = (holders(weed, volume), free(weed, volume));
        let (task, _) = task(migration(volume, before[0], target));
        let first = adapter();
        first.prepare(&task).await.unwrap();
        let position = first.fence(&task).await.unwrap();
        let copy = first.replicate(&task, None, Some(500_000));
        let ended = tokio::time::timeout(Duration::from_secs(2), copy).await;
        assert!(ended.is_err(), "{ended:?}");
        drop(first);
        assert!(files(weed, target, volume).iter().any(|name| name.ends_with(".note")));
        let second = adapter();
        second.replicate(&task, None, None).await.unwrap();
        assert_eq!(second.catch_up(&task, Some(&position), 0).await.unwrap(), 0);
        second.verify(&task).await.unwrap();
        drop(second);
        let third = adapter();
        third.commit(&task).await.unwrap();
        weed.ensure_all(volume, &[before[1].min(target), before[1].max(target)], &objects).unwrap();
        // The source's server starts again, and serves all that it has, until somebody looks.
        weed.kill(before[0]).unwrap();
        weed.start_server(before[0]).unwrap();
        let fourth = adapter();
        assert_eq!(fourth.serves(&task).await.unwrap(), Side::Target);
        let start = Instant::now();
        while weed.lookup(volume).unwrap().contains(&node(before[0]))
            || start.elapsed() < Duration::from_secs(2)
        {
            fourth.cluster().await.unwrap();
            assert!(start.elapsed() < Duration::from_secs(30), "the old copy is still served");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        fourth.retire(&task).await.unwrap();
        assert_eq!(files(weed, before[0], volume), Vec::<String>::new());
        assert!(weed.takes_writes(volume, &[before[1], target]).unwrap());
    });
}

#[test]
fn a_switch_that_died_half_way_goes_forward_or_back() {
    with_weed("a_switch_that_died_half_way_goes_forward_or_back", async |weed: &mut Weed| {
        let (volume, objects) = weed.volume("000", 10, 10_000).unwrap();
        let (before, target) = (holders(weed, volume), free(weed, volume));
        for back in [true, false] {
            let store = adapter();
            let (task, _) = task(migration(volume, before[0], target));
            store.prepare(&task).await.unwrap();
            store.fence(&task).await.unwrap();
            store.replicate(&task, None, None).await.unwrap();
            // Died between the two halves: the source is not served any more, the target takes no writes yet.
            task.notes.set("switching", "begun").unwrap();
            weed.shell(&format!("volume.unmount -node {} -volumeId {volume}", node(before[0]))).unwrap();
            assert_eq!(store.serves(&task).await.unwrap(), Side::Source);
            weed.ensure_all(volume, &[target], &objects).unwrap();
            if back {
                store.unfence(&task).await.unwrap();
                store.abort(&task).await.unwrap();
                weed.ensure_all(volume, &before, &objects).unwrap();
                assert!(weed.takes_writes(volume, &before).unwrap());
            } else {
                store.commit(&task).await.unwrap();
                assert_eq!(store.abort(&task).await.unwrap_err().reason, Reason::Conflict);
                weed.ensure_all(volume, &[target], &objects).unwrap();
                assert!(weed.takes_writes(volume, &[target]).unwrap());
            }
        }
    });
}

#[test]
fn a_byte_that_differs_is_found() {
    with_weed("a_byte_that_differs_is_found", async |weed: &mut Weed| {
        let (volume, _) = weed.volume("000", 10, 10_000).unwrap();
        let (before, target) = (holders(weed, volume), free(weed, volume));
        let store = adapter();
        let (task, _) = task(migration(volume, before[0], target));
        store.prepare(&task).await.unwrap();
        store.fence(&task).await.unwrap();
        store.replicate(&task, None, None).await.unwrap();
        store.verify(&task).await.unwrap();
        let name = files(weed, target, volume).into_iter().find(|name| name.ends_with(".dat")).unwrap();
        let file = OpenOptions::new().read(true).write(true).open(weed.data(target).join(name)).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, 50_000).unwrap();
        file.write_all_at(&[byte[0] ^ 1], 50_000).unwrap();
        let refused = store.verify(&task).await.unwrap_err();
        assert_eq!(refused.reason, Reason::Mismatch, "{refused}");
        store.abort(&task).await.unwrap();
        assert!(weed.takes_writes(volume, &before).unwrap());
    });
}

#[test]
fn a_lost_replica_is_made_again_from_the_one_that_is_left() {
    with_weed("a_lost_replica_is_made_again_from_the_one_that_is_left", async |weed: &mut Weed| {
        let (volume, objects) = weed.volume("001", 40, 50_000).unwrap();
        let (before, target) = (holders(weed, volume), free(weed, volume));
        let [dead, left] = before[..] else { panic!("two replicas") };
        let store = adapter();
        store.cluster().await.unwrap();
        weed.kill(dead).unwrap();
        let seen = store.cluster().await.unwrap();
        assert_eq!(seen.nodes[&node_id(dead)].health, Health::Down);
        assert_eq!(seen.partitions[&partition(volume)].nodes.len(), 2);
        assert_eq!(store.holders(&partition(volume)).await.unwrap().len(), 2);
        let (task, _) = task(repair(volume, dead, target));
        let found = store.validate(&task.migration).await.unwrap();
        assert_eq!((found.findings, found.copies), (vec![], Copies::Live));
        store.prepare(&task).await.unwrap();
        store.replicate(&task, None, None).await.unwrap();
        assert_eq!(store.catch_up(&task, None, 0).await.unwrap(), 0);
        store.verify(&task).await.unwrap();
        store.commit(&task).await.unwrap();
        assert_eq!(store.serves(&task).await.unwrap(), Side::Target);
        let now = [left.min(target), left.max(target)];
        weed.ensure_all(volume, &now, &objects).unwrap();
        assert!(weed.takes_writes(volume, &now).unwrap());
        let seen = store.cluster().await.unwrap();
        assert_eq!(seen.partitions[&partition(volume)].nodes, now.map(node_id));
        // The dead one comes back with what it had.
        weed.start_server(dead).unwrap();
        store.retire(&task).await.unwrap();
        assert_eq!(files(weed, dead, volume), Vec::<String>::new());
        weed.ensure_all(volume, &now, &objects).unwrap();
    });
}

#[test]
fn a_repair_that_is_aborted_leaves_what_was_left() {
    with_weed("a_repair_that_is_aborted_leaves_what_was_left", async |weed: &mut Weed| {
        let (volume, objects) = weed.volume("001", 10, 10_000).unwrap();
        let (before, target) = (holders(weed, volume), free(weed, volume));
        weed.kill(before[0]).unwrap();
        let store = adapter();
        let (task, _) = task(repair(volume, before[0], target));
        store.prepare(&task).await.unwrap();
        store.replicate(&task, None, None).await.unwrap();
        store.abort(&task).await.unwrap();
        assert_eq!(files(weed, target, volume), Vec::<String>::new());
        weed.start_server(before[0]).unwrap();
        weed.ensure_all(volume, &before, &objects).unwrap();
        assert!(weed.takes_writes(volume, &before).unwrap());
        weed.kill(before[0]).unwrap();
        weed.kill(before[1]).unwrap();
        let found = store.validate(&task.migration).await.unwrap();
        assert_eq!(found.copies, Copies::Lost);
        let (task, _) = support::task::task(repair(volume, before[0], target));
        assert_eq!(store.prepare(&task).await.unwrap_err().reason, Reason::NoLiveCopy);
    });
}

#[test]
fn a_switch_is_taken_back_with_what_was_written_since() {
    with_weed("a_switch_is_taken_back_with_what_was_written_since", async |weed: &mut Weed| {
        for (replication, written) in [("000", true), ("000", false), ("001", true)] {
            let (volume, objects) = weed.volume(replication, 20, 20_000).unwrap();
            let (before, target) = (holders(weed, volume), free(weed, volume));
            let store = adapter();
            let (task, _) = task(migration(volume, before[0], target));
            let objects = if written {
                let clients = Clients::start(weed, volume, &objects);
                switch(&store, &task).await.unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
                // The cluster is looked at all the time, and old copies that are served again are unmounted.
                let looks = async {
                    loop {
                        store.cluster().await.unwrap();
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                };
                tokio::select! {
                    () = looks => {}
                    reversed = store.reverse(&task) => reversed.unwrap(),
                }
                store.reverse(&task).await.unwrap();
                let then = clients.count();
                while clients.count() < then + 20 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                let (writes, reads) = clients.stop();
                assert!(reads.bad.is_empty(), "{:?}", reads.bad);
                writes.acknowledged
            } else {
                switch(&store, &task).await.unwrap();
                store.reverse(&task).await.unwrap();
                objects
            };
            assert_eq!(store.serves(&task).await.unwrap(), Side::Source);
            store.abort(&task).await.unwrap();
            assert_eq!(files(weed, target, volume), Vec::<String>::new());
            weed.ensure_all(volume, &before, &objects).unwrap();
            assert!(weed.takes_writes(volume, &before).unwrap());
            weed.shell(&format!(
                "collection.delete -collection {} -force",
                isotherm_tests::stores::seaweedfs::COLLECTION
            ))
            .unwrap();
        }
    });
}

#[test]
fn a_write_that_slipped_past_half_a_fence_reaches_all_replicas() {
    with_weed("a_write_that_slipped_past_half_a_fence_reaches_all_replicas", async |weed: &mut Weed| {
        let (volume, mut objects) = weed.volume("001", 10, 10_000).unwrap();
        let before = holders(weed, volume);
        let (target, store) = (free(weed, volume), adapter());
        let (task, _) = task(migration(volume, before[0], target));
        store.prepare(&task).await.unwrap();
        store.fence(&task).await.unwrap();
        // As in the moment in which marks are under way: a server that does not hold the volume passes a write on to
        // whoever takes it.
        weed.shell(&format!("volume.mark -node {} -volumeId {volume} -writable", node(before[1]))).unwrap();
        let (fid, slipped) = (format!("{volume},6fffffff00000001"), content(5_000));
        assert!(weed.put(&node(target), &fid, &slipped).unwrap());
        assert_eq!(weed.get(&node(before[1]), &fid).unwrap(), slipped);
        assert!(weed.get(&node(before[0]), &fid).is_err());
        assert_eq!(store.fenced(&task).await.unwrap(), Fenced::No);
        assert_eq!(store.commit(&task).await.unwrap_err().reason, Reason::Conflict);
        store.abort(&task).await.unwrap();
        objects.push((fid, slipped));
        weed.ensure_all(volume, &before, &objects).unwrap();
    });
}

#[test]
fn a_write_that_slipped_onto_the_copy_is_given_to_the_source() {
    with_weed("a_write_that_slipped_onto_the_copy_is_given_to_the_source", async |weed: &mut Weed| {
        let (volume, mut objects) = weed.volume("000", 10, 10_000).unwrap();
        let (before, target) = (holders(weed, volume), free(weed, volume));
        let store = adapter();
        let (task, _) = task(migration(volume, before[0], target));
        store.prepare(&task).await.unwrap();
        store.fence(&task).await.unwrap();
        store.replicate(&task, None, None).await.unwrap();
        // As in the moment between its mounting and its mark.
        weed.shell(&format!("volume.mark -node {} -volumeId {volume} -writable", node(target))).unwrap();
        objects.push((format!("{volume},6fffffff00000001"), content(5_000)));
        assert!(weed.put(&node(target), &objects[10].0, &objects[10].1).unwrap());
        assert_eq!(store.replicate(&task, None, None).await.unwrap_err().reason, Reason::Conflict);
        assert_eq!(store.verify(&task).await.unwrap_err().reason, Reason::Mismatch);
        store.abort(&task).await.unwrap();
        assert_eq!(files(weed, target, volume), Vec::<String>::new());
        weed.ensure_all(volume, &before, &objects).unwrap();
    });
}

#[test]
fn what_stands_in_the_way_is_found_beforehand() {
    with_weed("what_stands_in_the_way_is_found_beforehand", async |weed: &mut Weed| {
        let (volume, _) = weed.volume("001", 3, 1_000).unwrap();
        let (before, target) = (holders(weed, volume), free(weed, volume));
        let store = adapter();
        let finds = async |migration, words: &str| {
            let found = store.validate(&migration).await.unwrap().findings;
            assert!(found.iter().any(|finding| finding.contains(words)), "{words:?} is not in {found:#?}");
        };
        finds(migration(volume, before[0], before[1]), "has a replica of volume").await;
        finds(migration(volume, target, 4), "does not hold volume").await;
        finds(migration(volume, before[0], 4), "would break its replication 001").await;
        finds(migration(volume, before[0], 7), "the master does not know 10.77.0.7:8080").await;
        finds(repair(volume, before[0], target), "lives and has volume").await;
        finds(repair(volume, 7, target), "has all of its 2 replicas").await;
        weed.shell(&format!("volume.mark -node {} -volumeId {volume} -readonly", node(before[0]))).unwrap();
        finds(migration(volume, before[0], target), "is read-only on").await;
        let (task, _) = task(migration(volume, before[0], target));
        assert_eq!(store.fence(&task).await.unwrap_err().reason, Reason::Conflict);
        store.abort(&task).await.unwrap();
        assert!(!weed.takes_writes(volume, &[before[0]]).unwrap(), "the flag is somebody else's");
        weed.kill(before[1]).unwrap();
        finds(migration(volume, before[0], target), "has 1 of 2 replicas").await;
    });
}

#[test]
fn the_cluster_is_told_with_where_volumes_lie() {
    with_weed("the_cluster_is_told_with_where_volumes_lie", async |weed: &mut Weed| {
        let (volume, _) = weed.volume("001", 3, 1_000).unwrap();
        let store = adapter();
        let cluster = store.cluster().await.unwrap();
        assert_eq!(cluster.nodes.len(), 4);
        let facts = &cluster.nodes[&node_id(4)];
        assert_eq!(
            (facts.domains.as_slice(), facts.health),
            (["dc1", "rackB"].map(str::to_owned).as_slice(), Health::Up)
        );
        assert_eq!(facts.addresses, [node(4).parse().unwrap()]);
        assert!(facts.capacity_bytes.is_some_and(|bytes| bytes <= 20 << 30));
        let id = partition(volume);
        let facts = &cluster.partitions[&id];
        let nodes: Vec<_> = holders(weed, volume).into_iter().map(node_id).collect();
        assert_eq!(facts.nodes, nodes);
        assert_eq!(store.holders(&id).await.unwrap(), nodes);
        assert_eq!(facts.locators.len(), 2);
        for locator in &facts.locators {
            assert!(locator.node.as_ref().is_some_and(|node| nodes.contains(node)));
            assert_eq!(locator.files.len(), 1);
            let file = std::path::Path::new(&locator.files[0]);
            assert!(file.is_file() && file.extension().is_some_and(|ending| ending == "dat"), "{locator:?}");
        }
    });
}

/// Moves of each kind whose figures are told.
#[cfg(feature = "soak")]
const MOVES: usize = 10;

/// Not a test: the figures of docs/adapters-stores.md.
#[test]
#[cfg(feature = "soak")]
fn figures_of_moves_under_load() {
    with_weed("figures_of_moves_under_load", async |weed: &mut Weed| {
        for replication in ["000", "001"] {
            let (volume, objects) = weed.volume(replication, 160, 256 << 10).unwrap();
            let (mut pauses, mut times, mut bad, mut good) = (Vec::new(), Vec::new(), 0, 0);
            let mut objects = objects;
            for _ in 0..MOVES {
                let (source, target) = (holders(weed, volume)[0], free(weed, volume));
                let store = adapter();
                let (task, _) = task(migration(volume, source, target));
                let clients = Clients::start(weed, volume, &objects);
                let start = Instant::now();
                switch(&store, &task).await.unwrap();
                times.push(start.elapsed());
                let then = clients.count();
                while clients.count() < then + 20 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                let (writes, reads) = clients.stop();
                (bad, good) = (bad + reads.bad.len(), good + reads.good);
                pauses.push(writes.pause);
                objects = writes.acknowledged;
                store.retire(&task).await.unwrap();
            }
            weed.ensure_all(volume, &holders(weed, volume), &objects).unwrap();
            pauses.sort_unstable();
            times.sort_unstable();
            println!(
                "{replication}: {MOVES} moves; validation to switch median {:?} worst {:?}; writes paused median {:?} worst {:?}; \
                 {good} reads, {bad} wrong; {} acknowledged objects readable",
                times[MOVES / 2],
                times[MOVES - 1],
                pauses[MOVES / 2],
                pauses[MOVES - 1],
                objects.len()
            );
        }
    });
}

#[test]
fn the_adapter_keeps_the_contract_killed_in_every_phase() {
    with_weed("the_adapter_keeps_the_contract_killed_in_every_phase", async |weed| {
        let (volume, objects) = weed.volume("001", 160, 256 << 10).unwrap();
        let before = holders(weed, volume);
        let table = format!("master = [{:?}]\n", support::weed::MASTER);
        let partition = Some(volume.to_string());
        let report = tokio::task::spawn_blocking(move || {
            let running = Running::start("seaweedfs", &table);
            let report = running.check(Options { partition, ..Options::default() });
            assert!(report.is_good(), "{report}\n{}", running.log());
            report
        });
        let report = report.await.unwrap();
        // No node is dead; that is tried by a test of its own.
        let skipped = report.checks.iter().filter(|checked| matches!(checked.finding, Finding::Skipped(_)));
        assert_eq!(skipped.map(|checked| checked.check).collect::<Vec<_>>(), ["repair"], "{report}");
        println!("{report}");
        assert_eq!(holders(weed, volume), before);
        weed.ensure_all(volume, &before, &objects).unwrap();
        assert!(weed.takes_writes(volume, &before).unwrap());
    });
}
