//! The `[ingest]` table.

use super::Problem;
use crate::ingest::Limits;
use bytesize::ByteSize;
use isotherm_proto::MAX_ROWS;
use serde::Deserialize;
use toml::Spanned;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawIngest {
    max_connections: Option<Spanned<i64>>,
    max_streams: Option<Spanned<i64>>,
    max_streams_per_agent: Option<Spanned<i64>>,
    max_agents: Option<Spanned<i64>>,
    max_nodes_per_agent: Option<Spanned<i64>>,
    max_partitions_per_agent: Option<Spanned<i64>>,
    max_partitions: Option<Spanned<i64>>,
    max_batch_rows: Option<Spanned<i64>>,
    memory: Option<Spanned<String>>,
    agent_memory: Option<Spanned<String>>,
}

/// More of anything than a process of one host can have.
const MOST: usize = 1 << 30;

/// Below that, one agent with the partitions that it tells apart by default would have to wait for itself.
const LEAST_MEMORY: ByteSize = ByteSize::mib(1);

/// As much as can be counted in KiB by the permits of a semaphore.
const MOST_MEMORY: ByteSize = ByteSize::gib(512);

/// The limits; what is not said is the default.
pub(super) fn checked(raw: &RawIngest) -> Result<Limits, Problem> {
    let default = Limits::default();
    let number = |raw: &Option<Spanned<i64>>, key, default, most| match raw {
        Some(raw) => count(raw, key, most),
        None => Ok(default),
    };
    let limits = Limits {
        max_connections: number(
            &raw.max_connections,
            "ingest.max_connections",
            default.max_connections,
            MOST,
        )?,
        max_streams: number(&raw.max_streams, "ingest.max_streams", default.max_streams, MOST)?,
        max_streams_per_agent: number(
            &raw.max_streams_per_agent,
            "ingest.max_streams_per_agent",
            default.max_streams_per_agent,
            MOST,
        )?,
        max_agents: number(&raw.max_agents, "ingest.max_agents", default.max_agents, MOST)?,
        max_nodes_per_agent: number(
            &raw.max_nodes_per_agent,
            "ingest.max_nodes_per_agent",
            default.max_nodes_per_agent,
            MOST,
        )?,
        max_partitions_per_agent: number(
            &raw.max_partitions_per_agent,
            "ingest.max_partitions_per_agent",
            default.max_partitions_per_agent,
            MOST,
        )?,
        max_partitions: number(&raw.max_partitions, "ingest.max_partitions", default.max_partitions, MOST)?,
        max_batch_rows: number(
            &raw.max_batch_rows,
            "ingest.max_batch_rows",
            default.max_batch_rows,
            MAX_ROWS,
        )?,
        memory: raw.memory.as_ref().map_or(Ok(default.memory), |raw| bytes(raw, "ingest.memory"))?,
        agent_memory: raw
            .agent_memory
            .as_ref()
            .map_or(Ok(default.agent_memory), |raw| bytes(raw, "ingest.agent_memory"))?,
    };
    if limits.agent_memory > limits.memory {
        // At least one of them was said.
        let span = raw.agent_memory.as_ref().or(raw.memory.as_ref()).map(Spanned::span).unwrap_or_default();
        let message = format!("is {}, more than memory = {}", limits.agent_memory, limits.memory);
        return Err(Problem::new(span, "ingest.agent_memory", message));
    }
    Ok(limits)
}

fn count(raw: &Spanned<i64>, key: &'static str, most: usize) -> Result<usize, Problem> {
    let count = usize::try_from(*raw.get_ref()).ok().filter(|count| (1..=most).contains(count));
    count
        .ok_or_else(|| Problem::new(raw.span(), key, format!("{} is not within 1 and {most}", raw.get_ref())))
}

fn bytes(raw: &Spanned<String>, key: &'static str) -> Result<ByteSize, Problem> {
    let problem = |message| Problem::new(raw.span(), key, message);
    let bytes: ByteSize = raw
        .get_ref()
        .parse()
        .map_err(|error| problem(format!("{:?} is not a size such as \"64MiB\": {error}", raw.get_ref())))?;
    if (LEAST_MEMORY..=MOST_MEMORY).contains(&bytes) {
        return Ok(bytes);
    }
    Err(problem(format!("{:?} is not within {LEAST_MEMORY} and {MOST_MEMORY}", raw.get_ref())))
}
