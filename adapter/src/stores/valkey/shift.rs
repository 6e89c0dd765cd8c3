//! Another leader: a replica takes the place of its primary, and with it all buckets of the shard.

use super::Valkey;
use super::movement::PATIENCE;
use super::sight::address;
use super::view::Held;
use crate::contract::Refusal;
use isotherm_model::{NodeId, PartitionId};
use isotherm_proto::Health;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between two looks at a failover.
const POLL: Duration = Duration::from_millis(50);

impl Valkey {
    /// Makes a node the leader of the partition's shard. It returns when both see it so and the former leader follows,
    /// so that the way back is open at once.
    pub(super) async fn lead(
        &self,
        partition: &PartitionId,
        leader: &NodeId,
    ) -> Result<Option<NodeId>, Refusal> {
        let (bucket, node) = (self.bucket(partition)?, address(leader)?);
        let view = self.view_of_holder(bucket).await?;
        let Held::Whole(shard) = view.held(bucket) else {
            return Err(Refusal::conflict(format!(
                "{} has no single shard that could be led by another node",
                bucket.name()
            )));
        };
        let former = shard.primary();
        if former.address == node {
            return Ok(None);
        }
        let Some(member) = shard.member(node) else {
            return Err(Refusal::conflict(format!("{node} is no replica of {}", former.address)));
        };
        match member.health {
            Health::Up => {}
            Health::Down => return Err(Refusal::conflict(format!("{node} is down, and cannot lead"))),
            Health::Unknown | Health::Draining => {
                return Err(Refusal::not_now(format!("{node} has not been heard to have caught up")));
            }
        }
        if let Some(job) = self.jobs(former.address).await?.iter().find(|job| job.stage.is_active()) {
            return Err(Refusal::conflict(format!(
                "slot migration {} would fail with its leader; wait for its end",
                job.name
            )));
        }
        self.nodes.ask::<()>(node, redis::cmd("CLUSTER").arg("FAILOVER")).await?;
        self.follows(partition, node, former.address).await?;
        self.node(former.address).map(Some)
    }

    async fn follows(
        &self,
        partition: &PartitionId,
        leader: SocketAddr,
        former: SocketAddr,
    ) -> Result<(), Refusal> {
        let bucket = self.bucket(partition)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            // What fails here fails for the moment: the nodes are changing places.
            let view = self.view_of_holder(bucket).await.unwrap_or_default();
            let leads = matches!(view.held(bucket), Held::Whole(shard) if shard.primary().address == leader);
            let follows =
                view.members().any(|member| member.address == former && member.health == Health::Up);
            if leads && follows {
                return Ok(());
            }
            if Instant::now() >= deadline {
                // Once it leads, it is done; a former leader that does not come back changes nothing of that.
                let unfinished =
                    Refusal::not_now(format!("{leader} does not become the leader in place of {former}"));
                return if leads { Ok(()) } else { Err(unfinished) };
            }
            sleep(POLL).await;
        }
    }
}
