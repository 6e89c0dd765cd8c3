//! How much of the analyzer agents may take, all together and each.
//!
//! What is bounded for all together keeps the process within its memory; what is bounded for each agent keeps one
//! from taking what is the others'. Where a limit is met, whoever meets it is told which one.

use bytesize::ByteSize;
use isotherm_proto::{MAX_PAYLOAD_BYTES, MAX_ROWS};

/// Bytes that a row takes beside its part of the payload while a batch is parsed: a message that is freed row by
/// row, a model row with half a KiB of histogram, and a key to find repeated ones; 1 KiB, and half as much where
/// the system's name is as long as a name may be.
pub(super) const ROW_BYTES: usize = 1_536;

/// The limits of `[ingest]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Connections, of agents and tools together. Default 4,608: the streams, and 512 for tools and for agents that
    /// are to be told that there are too many.
    pub(crate) max_connections: usize,
    /// Open streams of agents. Default 4,096. An idle one takes about 50 KiB, most of it for its connection.
    pub(crate) max_streams: usize,
    /// Open streams of one agent. Default 4: one is in use, and those that a broken link left are noticed within
    /// 40 s.
    pub(crate) max_streams_per_agent: usize,
    /// Agents that are remembered. Default 16,384. One without a stream is forgotten after an hour where others
    /// need its place.
    pub(crate) max_agents: usize,
    /// Nodes that one agent reports within an hour or two. Default 1,024: 62 targets, and a node for each device.
    pub(crate) max_nodes_per_agent: usize,
    /// Partitions, counted once for each node, that one agent reports within an hour or two. Default 65,536, six
    /// times what an agent tells apart by default.
    pub(crate) max_partitions_per_agent: usize,
    /// The same of all agents together. Default 4,000,000: a million partitions of four replicas. Each takes up to
    /// 20 bytes.
    pub(crate) max_partitions: usize,
    /// Rows of one batch. Default [`MAX_ROWS`], which is also the most.
    pub(crate) max_batch_rows: usize,
    /// Memory for batches that are parsed or wait for a commit. Default 256 MiB. Beside it there is room for one
    /// batch that is larger than `agent_memory`.
    pub(crate) memory: ByteSize,
    /// One agent's part of it. Default 32 MiB, so that eight that are greedy leave nothing idle.
    pub(crate) agent_memory: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 4_608,
            max_streams: 4_096,
            max_streams_per_agent: 4,
            max_agents: 16_384,
            max_nodes_per_agent: 1_024,
            max_partitions_per_agent: 65_536,
            max_partitions: 4_000_000,
            max_batch_rows: MAX_ROWS,
            memory: ByteSize::mib(256),
            agent_memory: ByteSize::mib(32),
        }
    }
}

impl Limits {
    /// What the largest batch takes while it is parsed and waits.
    pub(crate) fn largest_batch(&self) -> ByteSize {
        ByteSize::b((MAX_PAYLOAD_BYTES + self.max_batch_rows * ROW_BYTES) as u64)
    }
}

/// A limit that was met, by the key that raises it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} would be one more than ingest.{key} = {limit}")]
pub(crate) struct Exceeded {
    pub(crate) what: String,
    pub(crate) key: &'static str,
    pub(crate) limit: usize,
}
