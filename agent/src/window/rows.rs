//! A window's rows while they are gathered.

use isotherm_agent_ebpf::{Address, BlockCounters, FileCounters, PeerCounters, PeerKey};
use isotherm_model::{
    Counts, LATENCY_BUCKETS, LatencyHistogram, Layer, NodeId, OffsetHistogram, Operation, Peer, Row, Subject,
};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The rows of one node.
#[derive(Default)]
pub(super) struct Rows {
    rows: Vec<Row>,
    index: HashMap<(Subject, Layer, Operation), usize>,
    peers: HashMap<(Subject, Operation, PeerSides), Counts>,
}

/// What a node's window says.
pub(super) struct Finished {
    pub(super) rows: Vec<Row>,
    pub(super) totals: BTreeMap<(Layer, Operation), Counts>,
    pub(super) peers: Vec<Peer>,
}

/// What tells the peers of a row apart: local side, remote side, and the target that the remote side is, + 1.
type PeerSides = (SocketAddr, SocketAddr, u16);

impl Rows {
    fn row(&mut self, subject: Subject, layer: Layer, operation: Operation) -> &mut Row {
        let rows = &mut self.rows;
        let index = *self.index.entry((subject, layer, operation)).or_insert_with_key(|(subject, _, _)| {
            rows.push(Row {
                subject: subject.clone(),
                layer,
                operation,
                counts: Counts::default(),
                offsets: OffsetHistogram::EMPTY,
                latency: None,
            });
            rows.len() - 1
        });
        &mut rows[index]
    }

    /// Adds what a file was asked for.
    pub(super) fn add_file(
        &mut self,
        subject: Subject,
        operation: Operation,
        shift: u16,
        change: &FileCounters,
    ) {
        let row = self.row(subject, Layer::Logical, operation);
        row.counts = row.counts.plus(Counts { ops: change.ops(), bytes: change.bytes });
        row.offsets = row.offsets.merge(&histogram(shift, change.offsets));
    }

    /// Adds what a device did for a file. `measured`: latencies are known.
    pub(super) fn add_block(
        &mut self,
        subject: Subject,
        operation: Operation,
        shift: u16,
        change: &BlockCounters,
        measured: bool,
    ) {
        let row = self.row(subject, Layer::Device, operation);
        row.counts = row.counts.plus(Counts { ops: change.ops(), bytes: change.bytes });
        row.offsets = row.offsets.merge(&histogram(shift, change.offsets));
        if measured {
            let latency: &mut LatencyHistogram =
                row.latency.get_or_insert_with(|| Box::new(LatencyHistogram::EMPTY));
            *latency = latency.merge(&LatencyHistogram::new(change.latency));
        }
    }

    /// Adds what was exchanged with a peer.
    pub(super) fn add_peer(
        &mut self,
        subject: Subject,
        operation: Operation,
        key: &PeerKey,
        change: &PeerCounters,
    ) {
        let counts = Counts { ops: change.ops, bytes: change.bytes };
        let row = self.row(subject.clone(), Layer::Network, operation);
        row.counts = row.counts.plus(counts);
        let sides = (address(&key.local), address(&key.remote), key.peer_target);
        let sum = self.peers.entry((subject, operation, sides)).or_default();
        *sum = sum.plus(counts);
    }

    /// Adds the rows of another owner that is told as the same node. Only the device layer has such.
    pub(super) fn absorb(&mut self, other: Self) {
        for row in other.rows {
            let own = self.row(row.subject, row.layer, row.operation);
            own.counts = own.counts.plus(row.counts);
            own.offsets = own.offsets.merge(&row.offsets);
            own.latency = match (own.latency.take(), row.latency) {
                (Some(one), Some(other)) => Some(Box::new(one.merge(&other))),
                (one, other) => one.or(other),
            };
        }
    }

    /// The rows, their sums, and the `top` peers of each with one entry for the others of each local address.
    /// `node_of` names the node that a peer is, by its side and by the target, + 1, that the kernel found it to be.
    pub(super) fn finish(self, top: usize, node_of: impl Fn(SocketAddr, u16) -> Option<NodeId>) -> Finished {
        let mut rows = self.rows;
        let mut totals: BTreeMap<(Layer, Operation), Counts> = BTreeMap::new();
        for row in &mut rows {
            let total = totals.entry((row.layer, row.operation)).or_default();
            *total = total.plus(row.counts);
            // A mixture with accesses whose offset is not known would claim a place for them.
            if row.offsets.total() != row.counts.ops {
                row.offsets = OffsetHistogram::EMPTY;
            }
        }
        let mut by_row: BTreeMap<(Subject, Operation), Vec<(PeerSides, Counts)>> = BTreeMap::new();
        for ((subject, operation, sides), counts) in self.peers {
            by_row.entry((subject, operation)).or_default().push((sides, counts));
        }
        let mut peers = Vec::new();
        for ((subject, operation), mut sides) in by_row {
            sides.sort_by_key(|(sides, counts)| (std::cmp::Reverse((counts.ops, counts.bytes)), *sides));
            let mut others: BTreeMap<SocketAddr, Counts> = BTreeMap::new();
            for (rank, ((local, remote, target), counts)) in sides.into_iter().enumerate() {
                let unknown = remote.ip().is_unspecified() && remote.port() == 0;
                if rank >= top || unknown {
                    let sum = others.entry(local).or_default();
                    *sum = sum.plus(counts);
                    continue;
                }
                let (subject, node) = (subject.clone(), node_of(remote, target));
                peers.push(Peer { subject, operation, local, remote: Some(remote), node, counts });
            }
            peers.extend(others.into_iter().map(|(local, counts)| {
                let subject = subject.clone();
                Peer { subject, operation, local, remote: None, node: None, counts }
            }));
        }
        Finished { rows, totals, peers }
    }
}

/// An address as people know it: IPv4 where it is one.
#[must_use]
pub fn address(address: &Address) -> SocketAddr {
    let ip = Ipv6Addr::from(address.ip);
    // The empty address of an overflow key stays one of IPv6.
    let ip = ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4);
    SocketAddr::new(ip, address.port)
}

fn histogram(shift: u16, offsets: [u64; isotherm_model::BUCKETS]) -> OffsetHistogram {
    let shift = u8::try_from(shift).unwrap_or(isotherm_model::MAX_SHIFT);
    OffsetHistogram::new(shift, offsets).unwrap_or(OffsetHistogram::EMPTY)
}

const _: () = assert!(LATENCY_BUCKETS == isotherm_agent_ebpf::LATENCY_BUCKETS);

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_model::OtherReason;

    fn key(remote: &str, peer_target: u16) -> PeerKey {
        let address = |text: &str| {
            let address: SocketAddr = text.parse().unwrap();
            let ip = match address.ip() {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            Address { ip: ip.octets(), port: address.port(), reserved: 0 }
        };
        PeerKey {
            target: 0,
            operation: 0,
            peer_target,
            local: address("10.0.0.1:80"),
            remote: address(remote),
        }
    }

    #[test]
    fn the_busiest_peers_are_told_apart_and_the_sum_is_kept() {
        let mut rows = Rows::default();
        let subject = Subject::Other(OtherReason::NoRule);
        for (remote, target, ops) in
            [("10.0.0.2:0", 0, 5), ("[fe80::1]:0", 2, 9), ("10.0.0.3:0", 0, 1), ("0.0.0.0:0", 0, 7)]
        {
            let change = PeerCounters { ops, bytes: 10 * ops };
            rows.add_peer(subject.clone(), Operation::Read, &key(remote, target), &change);
        }
        let node = NodeId::new(isotherm_model::SystemId::new("s").unwrap(), "b").unwrap();
        let Finished { rows, totals, peers } =
            rows.finish(3, |_, target| (target == 2).then(|| node.clone()));
        assert_eq!(rows[0].counts, Counts { ops: 22, bytes: 220 });
        assert_eq!(totals[&(Layer::Network, Operation::Read)], rows[0].counts);
        let told: Vec<(Option<String>, bool, u64)> = peers
            .iter()
            .map(|peer| (peer.remote.map(|remote| remote.to_string()), peer.node.is_some(), peer.counts.ops))
            .collect();
        assert_eq!(
            told,
            [
                (Some("[fe80::1]:0".to_owned()), true, 9),
                (Some("10.0.0.2:0".to_owned()), false, 5),
                (None, false, 8)
            ]
        );
        assert!(peers.iter().all(|peer| peer.local.to_string() == "10.0.0.1:80"));
    }

    #[test]
    fn offsets_are_told_only_if_all_are_known() {
        let mut rows = Rows::default();
        let subject = Subject::Other(OtherReason::NoRule);
        let mut placed = FileCounters { bytes: 1, ..FileCounters::ZERO };
        placed.offsets[3] = 1;
        rows.add_file(subject.clone(), Operation::Read, 12, &placed);
        rows.add_file(subject.clone(), Operation::Write, 12, &placed);
        rows.add_file(subject, Operation::Write, 12, &FileCounters { unplaced_ops: 1, ..FileCounters::ZERO });
        let Finished { rows, .. } = rows.finish(1, |_, _| None);
        assert_eq!(rows[0].offsets.total(), 1);
        assert_eq!((rows[1].counts.ops, rows[1].offsets), (2, OffsetHistogram::EMPTY));
    }
}
