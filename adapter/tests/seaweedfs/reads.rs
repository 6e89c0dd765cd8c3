//! Reads that are moved off a replica, and back.

use super::support::weed::{Weed, adapter, node, node_id, partition, with_weed};
use super::{free, holders};
use isotherm_adapter::store::{Shift, Store as _};
use isotherm_migration::Reason;
use std::time::Duration;

#[test]
fn a_drained_replica_gets_no_reads_and_misses_no_write() {
    with_weed("a_drained_replica_gets_no_reads_and_misses_no_write", async |weed: &mut Weed| {
        let (volume, objects) = weed.volume("001", 10, 10_000).unwrap();
        let before = holders(weed, volume);
        let [drained, left] = before[..] else { panic!("two replicas") };
        let other = free(weed, volume);
        let store = adapter();
        let id = partition(volume);
        store.cluster().await.unwrap();
        for _ in 0..2 {
            let undo = store.shift(&id, &Shift::Drain(node_id(drained))).await.unwrap();
            assert_eq!(undo, Some(node_id(drained)));
        }
        weed.ensure_all(volume, &[left], &objects).unwrap();
        assert_eq!(store.holders(&id).await.unwrap(), before.iter().map(|n| node_id(*n)).collect::<Vec<_>>());
        // Whoever still goes to the drained server is served all the same, by the other.
        assert_eq!(weed.get(&node(drained), &objects[0].0).unwrap(), objects[0].1);
        for server in [drained, left, other] {
            assert!(!weed.takes_writes(volume, &[server]).unwrap(), "through {server}");
        }
        let last = store.shift(&id, &Shift::Drain(node_id(left))).await.unwrap_err();
        assert_eq!(last.reason, Reason::Conflict);
        // A server that starts again serves all it has, until the next look.
        weed.kill(drained).unwrap();
        weed.start_server(drained).unwrap();
        weed.ensure_all(volume, &before, &objects).unwrap();
        let looked = async {
            while weed.lookup(volume).unwrap().len() > 1 {
                store.cluster().await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), looked).await.unwrap();
        weed.ensure_all(volume, &[left], &objects).unwrap();
        // The second time there is nothing to do, and nothing to undo.
        for undo in [Some(node_id(drained)), None] {
            assert_eq!(store.shift(&id, &Shift::Restore(node_id(drained))).await.unwrap(), undo);
        }
        weed.ensure_all(volume, &before, &objects).unwrap();
        assert!(weed.takes_writes(volume, &before).unwrap());
    });
}
