//! Building the field from all partitions.

use super::{Bearing, Field, FieldPolicy, Holding, Pairs};
use crate::bounds::OutOfRange;
use crate::ids::Node;
use crate::shares::NOTHING;
use thiserror::Error;

/// What no field can be built from. Partitions are named by their position.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum FieldError {
    /// The policy.
    #[error(transparent)]
    Policy(#[from] OutOfRange),
    /// A capacity that is not above 0, or other load that is no number.
    #[error("node {} has a capacity of {:?} reads/s and other load of {} reads/s", node.0, bearing.capacity_per_s, bearing.other_per_s)]
    Bearing {
        /// The node.
        node: Node,
        /// What was given.
        bearing: Bearing,
    },
    /// A holder that there is not.
    #[error("partition {partition} lies on node {}, and there are {nodes}", node.0)]
    NoSuchNode {
        /// The partition.
        partition: usize,
        /// The holder.
        node: Node,
        /// How many nodes there are.
        nodes: usize,
    },
    /// A holder that is listed twice.
    #[error("partition {partition} lies on node {} twice", node.0)]
    Twice {
        /// The partition.
        partition: usize,
        /// The holder.
        node: Node,
    },
    /// Shares that are not one for each holder, not from 0 to 1, or do not add up to 1.
    #[error("partition {partition} has shares {shares:?} for {holders} holders")]
    Shares {
        /// The partition.
        partition: usize,
        /// What was given.
        shares: Vec<f64>,
        /// How many holders it has.
        holders: usize,
    },
    /// Reads that are not a number of 0 or more.
    #[error("partition {partition} has {reads_per_s} reads/s")]
    Reads {
        /// The partition.
        partition: usize,
        /// What was given.
        reads_per_s: f64,
    },
}

impl Field {
    /// Builds the field of a cluster. Each holding is a partition; one whose shares are unknown must be given by what
    /// the caller takes them for, or the nodes' loads lack it.
    ///
    /// The same partitions in the same order give the same field to the last bit.
    ///
    /// # Errors
    /// The first thing that cannot be.
    pub fn build<'a>(
        nodes: &[Bearing],
        partitions: impl IntoIterator<Item = Holding<'a>>,
        policy: FieldPolicy,
    ) -> Result<Self, FieldError> {
        policy.check()?;
        for (at, bearing) in nodes.iter().enumerate() {
            let right = bearing.capacity_per_s.is_none_or(|capacity| capacity > 0.0 && capacity.is_finite())
                && bearing.other_per_s >= 0.0
                && bearing.other_per_s.is_finite();
            if !right {
                return Err(FieldError::Bearing { node: Node(at as u32), bearing: *bearing });
            }
        }
        let mut load: Vec<f64> = nodes.iter().map(|bearing| bearing.other_per_s).collect();
        let mut rows: Vec<Vec<(Node, f64)>> = vec![Vec::new(); nodes.len()];
        for (partition, holding) in partitions.into_iter().enumerate() {
            check(partition, &holding, nodes.len())?;
            for (at, (node, share)) in holding.subset.iter().zip(holding.shares).enumerate() {
                load[node.at()] += holding.reads_per_s * share;
                for (to, other) in holding.subset.iter().enumerate() {
                    if to != at {
                        rows[node.at()].push((*other, spill(&holding, at, to)));
                    }
                }
                fold_when_long(&mut rows[node.at()]);
            }
        }
        rows.iter_mut().for_each(fold);
        let into = turned(&rows);
        Ok(Self {
            policy,
            load,
            capacity: nodes.iter().map(|bearing| bearing.capacity_per_s).collect(),
            out: Pairs::of(&rows),
            into: Pairs::of(&into),
        })
    }
}

/// Reads per second of a partition that the holder at the place `to` gets when the one at `dead` dies.
pub(crate) fn spill(holding: &Holding<'_>, dead: usize, to: usize) -> f64 {
    let others: f64 = holding.shares.iter().enumerate().filter(|(at, _)| *at != dead).map(|(_, p)| p).sum();
    let part =
        if others > NOTHING { holding.shares[to] / others } else { 1.0 / (holding.subset.len() - 1) as f64 };
    holding.reads_per_s * holding.shares[dead] * part
}

/// Whether a holding is one.
fn check(partition: usize, holding: &Holding<'_>, nodes: usize) -> Result<(), FieldError> {
    let Holding { subset, shares, reads_per_s } = *holding;
    if let Some(node) = subset.iter().find(|node| node.at() >= nodes) {
        return Err(FieldError::NoSuchNode { partition, node: *node, nodes });
    }
    if let Some((_, node)) = subset.iter().enumerate().find(|(at, node)| subset[..*at].contains(node)) {
        return Err(FieldError::Twice { partition, node: *node });
    }
    let sum: f64 = shares.iter().sum();
    let right = shares.len() == subset.len()
        && shares.iter().all(|share| (0.0..=1.0).contains(share))
        && (subset.is_empty() || (sum - 1.0).abs() < 1e-6);
    if !right {
        return Err(FieldError::Shares { partition, shares: shares.to_vec(), holders: subset.len() });
    }
    if !(reads_per_s.is_finite() && reads_per_s >= 0.0) {
        return Err(FieldError::Reads { partition, reads_per_s });
    }
    Ok(())
}

/// Rows are folded while they grow, so that memory is that of pairs, not of partitions.
fn fold_when_long(row: &mut Vec<(Node, f64)>) {
    if row.len() == row.capacity() && row.len() >= 64 {
        fold(row);
        row.reserve(row.len().max(64));
    }
}

/// Sorts a row by the other node, and adds up what goes to the same one in the order it was found in.
fn fold(row: &mut Vec<(Node, f64)>) {
    row.sort_by_key(|(node, _)| *node);
    row.dedup_by(|later, kept| {
        let same = later.0 == kept.0;
        if same {
            kept.1 += later.1;
        }
        same
    });
}

/// Rows by the node that gets, the largest spill first.
fn turned(rows: &[Vec<(Node, f64)>]) -> Vec<Vec<(Node, f64)>> {
    let mut into: Vec<Vec<(Node, f64)>> = vec![Vec::new(); rows.len()];
    for (dead, row) in rows.iter().enumerate() {
        for (to, reads) in row {
            into[to.at()].push((Node(dead as u32), *reads));
        }
    }
    into.iter_mut().for_each(|row| row.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))));
    into
}

impl Pairs {
    fn of(rows: &[Vec<(Node, f64)>]) -> Self {
        let mut pairs = Self { start: vec![0], ..Self::default() };
        for row in rows {
            pairs.other.extend(row.iter().map(|(node, _)| *node));
            pairs.reads.extend(row.iter().map(|(_, reads)| *reads));
            pairs.start.push(pairs.other.len());
        }
        pairs
    }
}
