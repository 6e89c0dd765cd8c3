//! A folder of files as a snapshot.

use super::event::{self, Asked, EventError};
use super::names::{NodeNames, PartitionNames};
use super::{Input, nodes, partitions, policy};
use crate::cli::Failure;
use anyhow::{Context, anyhow};
use isotherm_placement::{Cluster, Policy, Snapshot, Topology};

/// What positions in a snapshot are called.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) nodes: NodeNames,
    pub(super) partitions: PartitionNames,
}

/// Reads a folder as it is after an event. It is revision 0 of its state: files have none.
pub(super) fn read(input: &Input, event: &str) -> Result<(Names, Snapshot, Asked), Failure> {
    let mut nodes = nodes::read(&input.data).map_err(anyhow::Error::new)?;
    let mut asked = event::apply(&input.data, event, &mut nodes).map_err(|error| match error {
        EventError::Unknown { .. } => Failure::NotFound(error.to_string()),
        EventError::Read { .. }
        | EventError::Json { .. }
        | EventError::Twice { .. }
        | EventError::DoesNotFit { .. } => Failure::Failed(error.into()),
    })?;
    let policy = match &input.policy {
        Some(file) => policy::read(file, &nodes.domains.levels).map_err(anyhow::Error::new)?,
        None => Policy::default(),
    };
    let (names, mut read) = partitions::read(&input.data).map_err(anyhow::Error::new)?;
    let assignment = partitions::read_assignment(&input.data, &nodes.names, &names, &mut read)
        .map_err(anyhow::Error::new)?;
    let folder = || input.data.display().to_string();
    let links = std::mem::take(&mut asked.links);
    let topology = Topology::new(nodes.domains.levels, nodes.domains.facts, nodes.facts, links)
        .map_err(|error| anyhow!(error))
        .with_context(folder)?;
    let snapshot = Snapshot::new(Cluster {
        revision: 0,
        now_s: 0,
        topology,
        partitions: read,
        assignment,
        in_flight: Vec::new(),
        policy,
    })
    .with_context(folder)?;
    Ok((Names { nodes: nodes.names, partitions: names }, snapshot, asked))
}
