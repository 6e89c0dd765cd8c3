//! With whom the nodes exchanged how much: the rows of the network layer by local and remote address.

use crate::activity::{counts, node_ids, places, text};
use crate::error::QueryError;
use crate::read::{Reader, Span};
use crate::schema::{self, Class};
use crate::{PartitionFilter, activity};
use isotherm_model::{Counts, Layer, NodeId, Operation, SystemId};
use polars::prelude::{Expr, LazyFrame, PolarsResult, StringChunked, col, lit};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The two ends of what was exchanged, as the node's agent saw them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ends {
    /// The node's own side. Port 0: the node opened the connection.
    pub local: SocketAddr,
    /// The other side; `None` for all peers that are not told apart. Port 0: the peer opened the connection.
    pub remote: Option<SocketAddr>,
    /// The node that the peer is, where the agent watches both ends.
    pub node: Option<NodeId>,
}

/// What was exchanged, by operation of the network layer. An operation that did not happen is absent.
pub type Exchanged = BTreeMap<Operation, Counts>;

/// The peers of one node. Their sum is that of its rows in the network layer.
pub type NodePeers = BTreeMap<Ends, Exchanged>;

const KEYS: [&str; 8] = [
    schema::SYSTEM,
    schema::NODE,
    schema::LAYER,
    schema::OPERATION,
    schema::LOCAL,
    schema::REMOTE,
    schema::PEER_SYSTEM,
    schema::PEER_NODE,
];

impl Reader {
    /// The peers of every node whose network layer was watched in the time asked for, perhaps of one partition
    /// only. A node that exchanged nothing has none.
    pub fn peer_activity(
        &self,
        span: Span,
        partition: &PartitionFilter,
    ) -> Result<BTreeMap<NodeId, NodePeers>, QueryError> {
        let rows = self.starting_in(&self.catalog()?, span.start(), span.end())?;
        let mut found: BTreeMap<NodeId, NodePeers> = BTreeMap::new();
        let totals = rows
            .clone()
            .filter(class(Class::Total).and(activity::in_layer(Layer::Network)))
            .select([schema::SYSTEM, schema::NODE].map(col))
            .unique(None, polars::prelude::UniqueKeepStrategy::Any)
            .collect()?;
        for node in node_ids(&totals)? {
            found.entry(node).or_default();
        }
        let frame = of_partition(rows.filter(class(Class::Peer)), partition)
            .group_by(KEYS.map(col))
            .agg(activity::sums());
        let frame = frame.collect()?;
        let (locals, remotes) = (text(&frame, schema::LOCAL)?, text(&frame, schema::REMOTE)?);
        let (systems, names) = (text(&frame, schema::PEER_SYSTEM)?, text(&frame, schema::PEER_NODE)?);
        let (places, counts) = (places(&frame)?, counts(&frame)?);
        for (row, node) in node_ids(&frame)?.into_iter().enumerate() {
            let (Some(local), Some((_, operation))) = (address(locals, row)?, places[row]) else {
                continue;
            };
            let peer = match (systems.get(row), names.get(row)) {
                (Some(system), Some(name)) => Some(NodeId::new(SystemId::new(system)?, name)?),
                _ => None,
            };
            let ends = Ends { local, remote: address(remotes, row)?, node: peer };
            let sum = found.entry(node).or_default().entry(ends).or_default().entry(operation).or_default();
            *sum = sum.plus(counts[row]);
        }
        Ok(found)
    }

    /// Whether a partition of that name was seen in the time asked for.
    pub fn saw_partition(&self, span: Span, name: &str) -> Result<bool, QueryError> {
        let rows = self.starting_in(&self.catalog()?, span.start(), span.end())?;
        let rows = rows.filter(class(Class::Partition));
        let found = of_partition(rows, &PartitionFilter::Named(name.to_owned()));
        Ok(found.select([col(schema::PARTITION)]).limit(1).collect()?.height() > 0)
    }
}

fn class(class: Class) -> Expr {
    col(schema::CLASS).eq(lit(class.as_str()))
}

/// Rows of the partitions that a filter accepts; without one also those of no partition.
pub(crate) fn of_partition(rows: LazyFrame, partition: &PartitionFilter) -> LazyFrame {
    match partition {
        PartitionFilter::All => rows,
        PartitionFilter::Named(name) => {
            let called = col(schema::PARTITION).eq(lit(name.as_str()));
            let accepted = match name.split_once('/') {
                None => called,
                // A name may have a slash too.
                Some((system, rest)) => {
                    called.or(col(schema::SYSTEM).eq(lit(system)).and(col(schema::PARTITION).eq(lit(rest))))
                }
            };
            rows.filter(accepted)
        }
    }
}

fn address(column: &StringChunked, row: usize) -> PolarsResult<Option<SocketAddr>> {
    let Some(text) = column.get(row) else { return Ok(None) };
    let parsed = text.parse();
    parsed.map(Some).map_err(|_| polars::prelude::polars_err!(ComputeError: "{text:?} is not an address"))
}
