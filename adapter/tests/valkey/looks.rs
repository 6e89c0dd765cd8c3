//! The cluster as it is told, and what is found before a move.

use super::steps::{BUCKET, adapter, migration, node, partition, system};
use isotherm_adapter::contract::Migration;
use isotherm_adapter::store::Store as _;
use isotherm_adapter::stores::valkey::Valkey;
use isotherm_migration::Origin;
use isotherm_model::NodeId;
use isotherm_proto::{Health, SlotRange};
use isotherm_tests::process::wait_for;
use isotherm_tests::stores::valkey::client::fill;
use isotherm_tests::stores::valkey::{LIMIT, Lab, REPLICA};
use std::net::SocketAddr;

fn seeds(lab: &Lab) -> Vec<SocketAddr> {
    lab.nodes.iter().map(|node| node.address).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_is_told_as_it_is() {
    let mut lab = Lab::start().unwrap();
    fill(&seeds(&lab), 1_200, 1_000).unwrap();
    lab.ask::<()>(2, &["CONFIG", "SET", "maxmemory", "64mb"]).unwrap();
    let cluster = adapter(&lab).cluster().await.unwrap();
    assert_eq!(cluster.nodes.len(), 4);
    assert!(cluster.nodes.values().all(|node| node.health == Health::Up), "{cluster:?}");
    assert_eq!(cluster.nodes[&node(&lab, 2)].capacity_bytes, Some(64 << 20));
    assert_eq!(cluster.nodes[&node(&lab, 1)].capacity_bytes, None, "without maxmemory, nobody knows");
    assert_eq!(cluster.partitions.len(), 64);
    let first = &cluster.partitions[&partition(BUCKET)];
    assert_eq!(first.nodes, [node(&lab, 0), node(&lab, REPLICA)]);
    assert_eq!(first.locators[0].slots, [SlotRange { first: 0, last: 255 }]);
    let size = first.size_bytes.unwrap();
    assert!((1_000_000..3_000_000).contains(&size), "{size} bytes for 1,200 keys of 1,000");
    assert_eq!(cluster.partitions[&partition("slots-16128-16383")].size_bytes, Some(0));
    // A third of the slots is 5,461: the second bucket from there on lies on two shards.
    let spread = &cluster.partitions[&partition("slots-05376-05631")];
    assert_eq!((&spread.nodes[0], spread.nodes.len()), (&node(&lab, 1), 3), "the one with most slots leads");
    assert_eq!(spread.size_bytes, None);

    lab.kill(1);
    let valkey = adapter(&lab);
    wait_for("a node that is down", LIMIT, || {
        let shards = format!("{:?}", lab.ask::<redis::Value>(2, &["CLUSTER", "SHARDS"])?);
        Ok(shards.contains("fail").then_some(()))
    })
    .unwrap();
    let cluster = valkey.cluster().await.unwrap();
    assert_eq!(cluster.nodes[&node(&lab, 1)].health, Health::Down);
    assert_eq!(cluster.partitions.len(), 64, "what nobody serves is still where it was");
}

async fn findings(valkey: &Valkey, migration: &Migration) -> String {
    valkey.validate(migration).await.unwrap().findings.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_is_found() {
    let lab = Lab::start().unwrap();
    fill(&seeds(&lab), 600, 10_000).unwrap();
    let valkey = adapter(&lab);
    let good = migration(&lab, 0, 1);
    let of = |name: &str| Migration { partition: partition(name), ..good.clone() };
    let to = |target: NodeId| Migration { target, ..good.clone() };
    let contains = |text: String, part: &str| assert!(text.contains(part), "{text:?} does not say {part:?}");
    assert_eq!(findings(&valkey, &good).await, "");

    contains(findings(&valkey, &migration(&lab, 2, 1)).await, "does not have slots-00000-00255; ");
    contains(
        findings(&valkey, &migration(&lab, REPLICA, 1)).await,
        "is a replica; the source must be the primary",
    );
    contains(findings(&valkey, &migration(&lab, 0, REPLICA)).await, "is of the same shard as the source");
    contains(findings(&valkey, &of("slots-05376-05631")).await, "are spread over");
    contains(findings(&valkey, &of("slots-1")).await, "there is no partition slots-1");
    contains(
        findings(&valkey, &to(NodeId::new(system(), "10.9.9.9:1").unwrap())).await,
        "is no node of the cluster",
    );
    contains(
        findings(&valkey, &to(NodeId::new(system(), "b").unwrap())).await,
        "nodes are called by their addresses",
    );
    let repair = Migration { origin: Origin::Repair { dead: node(&lab, 0) }, ..good.clone() };
    contains(findings(&valkey, &repair).await, "makes a lost replica again by itself");

    lab.ask::<()>(1, &["CONFIG", "SET", "maxmemory", "5mb"]).unwrap();
    contains(findings(&valkey, &good).await, "raise maxmemory");
    lab.ask::<()>(1, &["CONFIG", "SET", "maxmemory", "0"]).unwrap();

    let target = lab.id(1).unwrap();
    lab.ask::<()>(0, &["CLUSTER", "SETSLOT", "7", "MIGRATING", &target]).unwrap();
    contains(findings(&valkey, &good).await, "opened by hand ([7->-");
    lab.ask::<()>(0, &["CLUSTER", "SETSLOT", "7", "STABLE"]).unwrap();
    assert_eq!(findings(&valkey, &good).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_keeps_its_last_slots_unless_it_stays_a_shard() {
    let lab = Lab::start().unwrap();
    let target = lab.id(1).unwrap();
    lab.ask::<()>(0, &["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", "256", "5460", "NODE", &target]).unwrap();
    wait_for("slots that have moved", LIMIT, || {
        Ok((lab.states(0)?.first().map(String::as_str) == Some("success")).then_some(()))
    })
    .unwrap();
    let (valkey, last) = (adapter(&lab), migration(&lab, 0, 1));
    assert_eq!(findings(&valkey, &last).await, "");
    lab.ask::<()>(0, &["CONFIG", "SET", "cluster-allow-replica-migration", "yes"]).unwrap();
    assert!(findings(&valkey, &last).await.contains("would give its last slots away"));
}
