//! Looking at the cluster: which node to believe, and where a migration's two ends are.

use super::Valkey;
use super::bucket::Bucket;
use super::jobs::Job;
use super::nodes::Failure;
use super::reply::{Unread, line};
use super::view::{Held, Member, Shard, View};
use crate::contract::{Migration, Refusal};
use futures::future::join_all;
use isotherm_migration::{Origin, Side};
use isotherm_model::{NodeId, PartitionId};
use isotherm_proto::Health;
use redis::Value;
use std::net::SocketAddr;
use std::sync::PoisonError;

/// How often a node is asked whether it really has the slots that another says it has.
const CONFIRMATIONS: usize = 3;

/// What one node sees.
struct Seen {
    by: SocketAddr,
    view: View,
    /// Whether that node believes that the cluster serves.
    serves: bool,
}

/// The two ends of a migration, and what is between them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) bucket: Bucket,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
}

/// Where a bucket is, of two ends.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    /// Which end's shard has it.
    pub(super) side: Side,
    /// The primary of the shard of one end.
    pub(super) from: Member,
    /// The primary of the shard of the other.
    pub(super) to: Member,
}

impl Ends {
    /// The way back.
    pub(super) fn reversed(self) -> Self {
        Self { from: self.to, to: self.from, ..self }
    }
}

impl Valkey {
    /// The bucket of a partition.
    pub(super) fn bucket(&self, partition: &PartitionId) -> Result<Bucket, Refusal> {
        self.buckets.named(partition.name()).ok_or_else(|| {
            Refusal::unsupported(format!(
                "there is no partition {}: see `buckets` in the configuration",
                partition.name()
            ))
        })
    }

    /// The ends of a migration.
    pub(super) fn ends(&self, migration: &Migration) -> Result<Ends, Refusal> {
        let source = match &migration.origin {
            Origin::Move { source } => source,
            Origin::Repair { .. } => {
                return Err(Refusal::unsupported(
                    "Valkey makes a lost replica again by itself; start a node, and CLUSTER REPLICATE the primary on it",
                ));
            }
        };
        Ok(Ends {
            bucket: self.bucket(&migration.partition)?,
            from: address(source)?,
            to: address(&migration.target)?,
        })
    }

    /// The cluster, as a node sees that believes the cluster to serve; if none does, as the one sees that has most
    /// nodes around it. The one that answered last is asked first.
    pub(super) async fn view(&self) -> Result<View, Refusal> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(last) = known.first()
            && let Ok(seen) = self.seen_by(*last).await
            && seen.serves
        {
            return Ok(self.remember(seen));
        }
        let answers = join_all(known.iter().map(|node| self.seen_by(*node))).await;
        let (seen, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        let best = seen.into_iter().flatten().max_by_key(|seen| (seen.serves, seen.alive()));
        match best {
            Some(seen) => Ok(self.remember(seen)),
            None => Err(refused
                .into_iter()
                .find_map(Result::err)
                .unwrap_or_else(|| Refusal::not_now("no node is known"))),
        }
    }

    /// The cluster as the bucket's own primary sees it, as it is the first to know that it is no more. If it does not
    /// answer, as others do.
    pub(super) async fn view_of_holder(&self, bucket: Bucket) -> Result<View, Refusal> {
        let mut view = self.view().await?;
        let mut asked = Vec::new();
        for _ in 0..CONFIRMATIONS {
            let holder = match view.held(bucket) {
                Held::Whole(shard) => shard.primary().address,
                Held::Spread(_) | Held::Nowhere => break,
            };
            if asked.contains(&holder) {
                break;
            }
            asked.push(holder);
            let Ok(seen) = self.seen_by(holder).await else { break };
            view = seen.view;
        }
        Ok(view)
    }

    /// Where the bucket is. Refused where an end is no node of the cluster.
    pub(super) async fn scene(&self, ends: Ends) -> Result<Scene, Refusal> {
        let view = self.view_of_holder(ends.bucket).await?;
        let shard = |node: SocketAddr| {
            view.shard_of(node).ok_or_else(|| Refusal::conflict(format!("{node} is no node of the cluster")))
        };
        let (from, to) = (shard(ends.from)?, shard(ends.to)?);
        Ok(Scene { side: side(&view, ends), from: from.primary().clone(), to: to.primary().clone() })
    }

    /// The slot migrations that a node tells of, the latest first.
    pub(super) async fn jobs(&self, node: SocketAddr) -> Result<Vec<Job>, Refusal> {
        let answer: Value = self.nodes.ask(node, redis::cmd("CLUSTER").arg("GETSLOTMIGRATIONS")).await?;
        Job::list(&answer).map_err(|unread| unreadable(node, &unread))
    }

    async fn seen_by(&self, node: SocketAddr) -> Result<Seen, Refusal> {
        let shards: Value = self.nodes.ask(node, redis::cmd("CLUSTER").arg("SHARDS")).await?;
        let view = View::of(&shards, self.tls, node).map_err(|unread| unreadable(node, &unread))?;
        let serves = self.serves_cluster(node).await?;
        Ok(Seen { by: node, view, serves })
    }

    /// Whether a node believes that the cluster serves.
    pub(super) async fn serves_cluster(&self, node: SocketAddr) -> Result<bool, Failure> {
        let info: String = self.nodes.ask(node, redis::cmd("CLUSTER").arg("INFO")).await?;
        Ok(line(&info, "cluster_state") == Some("ok"))
    }

    /// Keeps the addresses of the nodes for the next look: who answered, who lives, who was configured.
    fn remember(&self, seen: Seen) -> View {
        let alive =
            seen.view.members().filter(|member| member.health == Health::Up).map(|member| member.address);
        let mut known = vec![seen.by];
        for node in alive.chain(self.seeds.iter().copied()) {
            if !known.contains(&node) {
                known.push(node);
            }
        }
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
        seen.view
    }
}

impl Seen {
    fn alive(&self) -> usize {
        self.view.members().filter(|member| member.health == Health::Up).count()
    }
}

/// The address that a node is named after.
pub(super) fn address(node: &NodeId) -> Result<SocketAddr, Refusal> {
    let unknown = |_| {
        Refusal::unsupported(format!(
            "{}: nodes are called by their addresses, such as 10.0.0.1:7000",
            node.name()
        ))
    };
    node.name().parse().map_err(unknown)
}

fn side(view: &View, ends: Ends) -> Side {
    let Held::Whole(shard) = view.held(ends.bucket) else { return Side::Neither };
    let has = |node: SocketAddr| Shard::member(shard, node).is_some();
    match (has(ends.from), has(ends.to)) {
        // A shard that gave its last slots away can have become replicas of the one that took them.
        (true, true) if shard.primary().address == ends.to => Side::Target,
        (true, _) => Side::Source,
        (false, true) => Side::Target,
        (false, false) => Side::Neither,
    }
}

fn unreadable(node: SocketAddr, unread: &Unread) -> Refusal {
    Refusal::not_now(format!("{node}: {unread}"))
}
