//! A cluster at one moment, checked once: what every plan starts from.

use crate::ids::{Node, Partition};
use crate::partitions::{Assignment, Column, NONE, Partitions};
use crate::policy::{Policy, PolicyError};
use crate::topology::Topology;
use thiserror::Error;

/// A copy that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InFlight {
    /// What is copied. It is not planned for until the copy has ended.
    pub partition: Partition,
    /// The holder it replaces; absent where a replica is added.
    pub from: Option<Node>,
    /// Where it goes. The node does not hold the partition yet.
    pub to: Node,
}

/// All that a snapshot is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// The revision of the state; a plan names the one it was made from.
    pub revision: u64,
    /// Seconds of the clock that `moved_at_s` is of.
    pub now_s: u32,
    /// Nodes, domains, links.
    pub topology: Topology,
    /// What is known of partitions.
    pub partitions: Partitions,
    /// Who holds them.
    pub assignment: Assignment,
    /// Copies under way, at most one for each partition.
    pub in_flight: Vec<InFlight>,
    /// Limits and weights.
    pub policy: Policy,
}

/// Why a cluster cannot be planned for.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SnapshotError {
    /// A column that has another length than there are partitions.
    #[error("column {column} does not have one entry for each of the {partitions} partitions")]
    Column {
        /// The column.
        column: &'static str,
        /// Partitions there are.
        partitions: usize,
    },
    /// More partitions than can be numbered.
    #[error("{0} partitions; at most 4294967295 can be planned for")]
    TooManyPartitions(usize),
    /// A load that is no number, or negative; or no replica wanted.
    #[error("partition {partition}: {field} is {value}")]
    NotANumber {
        /// Which.
        partition: u32,
        /// Its field.
        field: &'static str,
        /// The value.
        value: f64,
    },
    /// Sizes or loads whose sum cannot be counted.
    #[error("the sizes or the loads of all partitions and replicas are too much to be summed")]
    TooMuch,
    /// A row that names a node that does not exist, or one twice, or has an empty slot before a holder.
    #[error("partition {partition}: {fault}")]
    Row {
        /// Which.
        partition: u32,
        /// What is wrong with its row.
        fault: String,
    },
    /// A copy under way that cannot be.
    #[error("the copy of partition {partition} to node {to}: {fault}")]
    InFlight {
        /// Of what.
        partition: u32,
        /// Where to.
        to: u16,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// Shares of accesses that are not sorted, not of the innermost level, or not shares.
    #[error("entry {0} of the peers is out of order, names a domain that is not innermost, or is no share")]
    Peers(usize),
    /// A policy that cannot be.
    #[error("policy: {0}")]
    Policy(#[from] PolicyError),
}

/// A cluster that has been checked. Nothing in it changes; what follows from a plan is another snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    cluster: Cluster,
    limits: Vec<Option<u8>>,
}

impl Snapshot {
    /// Checks a cluster.
    ///
    /// # Errors
    /// The first thing that cannot be, with its place.
    pub fn new(cluster: Cluster) -> Result<Self, SnapshotError> {
        cluster.policy.check(cluster.topology.levels())?;
        check_columns(&cluster)?;
        check_rows(&cluster)?;
        check_peers(&cluster)?;
        check_in_flight(&cluster)?;
        let limits = cluster.policy.limits(cluster.topology.levels());
        Ok(Self { cluster, limits })
    }

    /// The cluster again, to change and check anew.
    #[must_use]
    pub fn into_cluster(self) -> Cluster {
        self.cluster
    }

    /// The revision of the state.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.cluster.revision
    }

    /// Seconds of the clock that `moved_at_s` is of.
    #[must_use]
    pub fn now_s(&self) -> u32 {
        self.cluster.now_s
    }

    /// Nodes, domains, links.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.cluster.topology
    }

    /// What is known of partitions.
    #[must_use]
    pub fn partitions(&self) -> &Partitions {
        &self.cluster.partitions
    }

    /// Who holds them.
    #[must_use]
    pub fn assignment(&self) -> &Assignment {
        &self.cluster.assignment
    }

    /// Copies under way.
    #[must_use]
    pub fn in_flight(&self) -> &[InFlight] {
        &self.cluster.in_flight
    }

    /// Limits and weights.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.cluster.policy
    }

    /// Most replicas of one partition in one domain of each level; absent where there is no limit.
    #[must_use]
    pub fn limits(&self) -> &[Option<u8>] {
        &self.limits
    }

    /// Whether load is judged: whether nodes have a load capacity.
    #[must_use]
    pub fn judges_load(&self) -> bool {
        self.topology().nodes().first().is_some_and(|node| node.load_capacity.is_some())
    }
}

fn check_columns(cluster: &Cluster) -> Result<(), SnapshotError> {
    let p = &cluster.partitions;
    let partitions = p.len();
    if u32::try_from(partitions).is_err() {
        return Err(SnapshotError::TooManyPartitions(partitions));
    }
    let columns = [
        ("size_bytes", p.size_bytes.len() == partitions),
        ("load", p.load.len() == partitions),
        ("replicas", p.replicas.fits(partitions)),
        ("risk", p.risk.fits(partitions)),
        ("impact", p.impact.fits(partitions)),
        ("pinned", p.pinned.fits(partitions)),
        ("epoch", p.epoch.fits(partitions)),
        ("moved_at_s", p.moved_at_s.fits(partitions)),
        ("last_left", p.last_left.fits(partitions)),
        ("assignment", cluster.assignment.len() == partitions),
    ];
    if let Some((column, _)) = columns.into_iter().find(|(_, fits)| !fits) {
        return Err(SnapshotError::Column { column, partitions });
    }
    let width = cluster.assignment.width() as u64;
    let bytes = p.size_bytes.iter().try_fold(0u64, |sum, size| sum.checked_add(size.checked_mul(width + 1)?));
    if bytes.is_none() || !p.load.iter().sum::<f64>().is_finite() {
        return Err(SnapshotError::TooMuch);
    }
    let loads = p.load.iter().enumerate();
    if let Some((at, value)) = loads.into_iter().find(|(_, load)| !load.is_finite() || **load < 0.0) {
        return Err(SnapshotError::NotANumber { partition: at as u32, field: "the load", value: *value });
    }
    for partition in p.all() {
        let (wanted, width) = (p.replicas.get(partition), cluster.assignment.width());
        if wanted == 0 || usize::from(wanted) > width {
            let value = f64::from(wanted);
            return Err(SnapshotError::NotANumber { partition: partition.0, field: "replicas", value });
        }
        if matches!(p.replicas, Column::Same(_)) {
            break;
        }
    }
    Ok(())
}

fn check_rows(cluster: &Cluster) -> Result<(), SnapshotError> {
    let (width, nodes) = (cluster.assignment.width(), cluster.topology.nodes().len());
    for (partition, row) in cluster.assignment.slots().chunks_exact(width).enumerate() {
        let mut ended = false;
        for (at, slot) in row.iter().enumerate() {
            let fault = if *slot == NONE {
                ended = true;
                continue;
            } else if ended {
                "an empty slot before a holder".to_owned()
            } else if usize::from(*slot) >= nodes {
                format!("held by node {slot}, and there are {nodes}")
            } else if row[..at].contains(slot) {
                format!("held twice by node {slot}")
            } else {
                continue;
            };
            return Err(SnapshotError::Row { partition: partition as u32, fault });
        }
    }
    Ok(())
}

fn check_peers(cluster: &Cluster) -> Result<(), SnapshotError> {
    let peers = &cluster.partitions.peers;
    let innermost = cluster.topology.levels().len();
    for (at, peer) in peers.iter().enumerate() {
        let sorted =
            at == 0 || (peers[at - 1].partition, peers[at - 1].domain) < (peer.partition, peer.domain);
        let domain = cluster.topology.domains().get(peer.domain.at());
        let inner = domain.is_some_and(|domain| domain.level.at() + 1 == innermost);
        let exists = peer.partition.at() < cluster.partitions.len();
        if !sorted || !inner || !exists || !(0.0..=1.0).contains(&peer.share) {
            return Err(SnapshotError::Peers(at));
        }
    }
    Ok(())
}

fn check_in_flight(cluster: &Cluster) -> Result<(), SnapshotError> {
    let mut seen = std::collections::BTreeSet::new();
    for copy in &cluster.in_flight {
        let exists =
            copy.partition.at() < cluster.partitions.len() && copy.to.at() < cluster.topology.nodes().len();
        let fault = if !exists {
            "no such partition or node"
        } else if !seen.insert(copy.partition) {
            "another copy of it is under way"
        } else if cluster.assignment.holds(copy.to, copy.partition) {
            "the node holds it already"
        } else if copy.from.is_some_and(|from| !cluster.assignment.holds(from, copy.partition)) {
            "the node it replaces does not hold it"
        } else if copy.from.is_none() && !cluster.assignment.row(copy.partition).contains(&NONE) {
            "there is no empty slot for it"
        } else {
            continue;
        };
        return Err(SnapshotError::InFlight { partition: copy.partition.0, to: copy.to.0, fault });
    }
    Ok(())
}
