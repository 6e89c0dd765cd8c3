//! Agents of all nodes of a made-up cluster.

use super::cluster::{Cluster, name};
use super::support::telemetry::{Agent, Answer};
use anyhow::{Context, Result, ensure};
use isotherm_proto::telemetry::v1::Encoding;
use isotherm_proto::{compressed, window_set_to_payload};
use std::sync::Arc;
use tokio::task::JoinSet;

/// One agent for each node.
pub(crate) struct Agents {
    cluster: Arc<Cluster>,
    agents: Vec<Agent>,
    seq: u64,
}

impl Agents {
    pub(crate) async fn connect(cluster: &Arc<Cluster>, url: &str, seq: u64) -> Result<Self> {
        let mut agents = Vec::new();
        for node in 0..cluster.nodes {
            agents.push(Agent::connect(url, &name(node), "only").await?);
        }
        Ok(Self { cluster: Arc::clone(cluster), agents, seq })
    }

    /// The last batch of each.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// Sends the window of every node, and waits until all are acknowledged.
    pub(crate) async fn send(&mut self, start_ms: u64, length_ms: u32) -> Result<()> {
        self.seq += 1;
        let (seq, encoding) = (self.seq, i32::from(Encoding::Zstd));
        let mut sent = JoinSet::new();
        for (node, mut agent) in (0_u32..).zip(self.agents.drain(..)) {
            let cluster = Arc::clone(&self.cluster);
            sent.spawn(async move {
                let window = cluster.window(node, start_ms, length_ms);
                agent.send_encoded(seq, compressed(&window_set_to_payload(&[window])), encoding).await?;
                let answer = agent.answer().await?;
                ensure!(answer == Answer::Ack(seq), "batch {seq} of node {node} came to {answer:?}");
                Ok((node, agent))
            });
        }
        let mut back = Vec::with_capacity(self.cluster.nodes as usize);
        while let Some(ended) = sent.join_next().await {
            back.push(ended.context("an agent's task")??);
        }
        back.sort_unstable_by_key(|(node, _)| *node);
        self.agents = back.into_iter().map(|(_, agent)| agent).collect();
        Ok(())
    }
}
