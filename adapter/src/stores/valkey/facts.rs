//! The cluster as it is told: nodes with their memory and zone, buckets with their size and who holds them.

use super::Valkey;
use super::bucket::Bucket;
use super::reply::line;
use super::view::{Held, Member, View};
use crate::contract::Refusal;
use crate::store::Cluster;
use futures::future::join_all;
use isotherm_model::{NodeId, PartitionId};
use isotherm_proto::{Locator, NodeFacts, PartitionFacts};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

/// How long sizes are believed. To find them, every node is asked for the count of each of its slots.
const SIZES_FOR: Duration = Duration::from_secs(30);

/// Sizes of buckets, and when they were found.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    found: Option<Instant>,
    bytes: BTreeMap<Bucket, u64>,
}

impl Valkey {
    /// Nodes and partitions.
    pub(super) async fn facts(&self) -> Result<Cluster, Refusal> {
        let view = self.view().await?;
        let sizes = self.sizes(&view).await;
        let nodes = join_all(view.members().map(|member| self.node_facts(member))).await;
        let mut partitions = BTreeMap::new();
        for bucket in self.buckets.all() {
            let nodes = self.holders_in(&view, bucket)?;
            // A partition lies somewhere or is none: slots without an owner are on no node.
            if !nodes.is_empty() {
                let size_bytes = sizes.get(&bucket).copied();
                let facts = PartitionFacts { size_bytes, nodes, epoch: 0, locators: vec![locator(bucket)] };
                partitions.insert(self.partition(bucket)?, facts);
            }
        }
        Ok(Cluster { nodes: nodes.into_iter().collect::<Result<_, _>>()?, partitions })
    }

    /// The nodes that have slots of the bucket: primary, then replicas, of the shard with most of them first.
    pub(super) fn holders_in(&self, view: &View, bucket: Bucket) -> Result<Vec<NodeId>, Refusal> {
        let shards = match view.held(bucket) {
            Held::Whole(shard) => vec![shard],
            Held::Spread(shards) => shards,
            Held::Nowhere => Vec::new(),
        };
        shards.into_iter().flat_map(|shard| &shard.members).map(|member| self.node(member.address)).collect()
    }

    /// What a node says of itself; of one that does not answer, only what others say.
    async fn node_facts(&self, member: &Member) -> Result<(NodeId, NodeFacts), Refusal> {
        let mut facts =
            NodeFacts { addresses: vec![member.address], health: member.health, ..NodeFacts::default() };
        if let Ok(info) =
            self.nodes.ask::<String>(member.address, redis::cmd("INFO").arg("server").arg("memory")).await
        {
            let most = line(&info, "maxmemory").and_then(|bytes| bytes.parse().ok());
            facts.capacity_bytes = most.filter(|bytes| *bytes > 0);
            let zone = line(&info, "availability_zone").filter(|zone| !zone.is_empty());
            facts.domains.extend(zone.map(str::to_owned));
        }
        Ok((self.node(member.address)?, facts))
    }

    /// Bytes of each bucket that one shard has as a whole, and whose primary can be asked.
    async fn sizes(&self, view: &View) -> BTreeMap<Bucket, u64> {
        let mut known = self.sizes.lock().await;
        if known.found.is_some_and(|found| found.elapsed() < SIZES_FOR) {
            return known.bytes.clone();
        }
        let by_shard = view.shards.iter().map(|shard| async move {
            let own = self.buckets.all().filter(|bucket| bucket.within(&shard.slots) == bucket.width());
            self.sizes_at(shard.primary().address, own).await
        });
        known.bytes = join_all(by_shard).await.into_iter().flatten().collect();
        known.found = Some(Instant::now());
        known.bytes.clone()
    }

    async fn sizes_at(&self, node: SocketAddr, buckets: impl Iterator<Item = Bucket>) -> Vec<(Bucket, u64)> {
        let mut sizes = Vec::new();
        for bucket in buckets {
            match self.size_bytes(node, bucket).await {
                Ok(bytes) => sizes.extend(bytes.map(|bytes| (bucket, bytes))),
                Err(refusal) => {
                    tracing::debug!(%node, partition = bucket.name(), %refusal, "sizes stay unknown");
                    break;
                }
            }
        }
        sizes
    }

    /// A node's name.
    pub(super) fn node(&self, address: SocketAddr) -> Result<NodeId, Refusal> {
        NodeId::new(self.system.clone(), address.to_string())
            .map_err(|error| Refusal::conflict(error.to_string()))
    }

    fn partition(&self, bucket: Bucket) -> Result<PartitionId, Refusal> {
        PartitionId::new(self.system.clone(), bucket.name())
            .map_err(|error| Refusal::conflict(error.to_string()))
    }
}

fn locator(bucket: Bucket) -> Locator {
    Locator {
        node: None,
        files: Vec::new(),
        devices: Vec::new(),
        ports: Vec::new(),
        key_ranges: Vec::new(),
        relations: Vec::new(),
        slots: vec![bucket.range()],
    }
}
