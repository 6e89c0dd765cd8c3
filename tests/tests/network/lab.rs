//! An agent's inner parts, and what a window must say of the network layer.

use isotherm_agent::attribution::Attribution;
use isotherm_agent::config::Target;
use isotherm_agent::discovery::Selector;
use isotherm_agent::locator::Located;
use isotherm_agent::mounts::device_name;
use isotherm_agent::probe::{Capacity, Probe, TargetIndex};
use isotherm_agent::rights;
use isotherm_agent::rule::Rule;
use isotherm_agent::upkeep::Upkeep;
use isotherm_agent::window::{Cutter, Host, Span, Told, Unbalanced, Watching};
use isotherm_agent_ebpf::Part;
use isotherm_model::{
    AgentId, Completeness, Counts, Layer, NodeId, NodeWindow, Operation, Peer, SystemId, Timestamp, Window,
};
use isotherm_tests::generator::Generator;
use isotherm_tests::skip::skipped;
use isotherm_tests::sockets::{Flow, Origin, Protocol, SocketTruth, Traffic};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;

/// A probe, and everything that makes windows of what it counts.
pub(crate) struct Lab {
    pub(crate) probe: Probe,
    pub(crate) cutter: Cutter,
    attribution: Attribution,
    nodes: Vec<Told>,
    watching: Watching,
}

/// What is told of peers: operation, the node's side, the other side if it is told apart, and the index of the
/// node that it is.
pub(crate) type Told4 = (Operation, SocketAddr, Option<SocketAddr>, Option<usize>);

/// Counts by peer.
pub(crate) type Peers = BTreeMap<Told4, Counts>;

impl Lab {
    /// With so many nodes, each of which has these rules. `None`, told as skipped, where the rights are missing.
    pub(crate) fn start(test: &str, nodes: usize, rules: &[Rule], capacity: Capacity) -> Option<Self> {
        if let Err(missing) = rights::check() {
            skipped(test, &missing.to_string());
            return None;
        }
        let targets: Vec<Target> = (0..nodes)
            .map(|index| Target {
                node: node(index),
                select: Selector::default(),
                rules: rules.to_vec(),
                located: Located::default(),
            })
            .collect();
        let mut probe = Probe::attach(capacity).unwrap();
        assert!(probe.has(Part::Socket), "{:?}", probe.degraded());
        for index in 0..nodes {
            probe.add_target(target(index)).unwrap();
        }
        let told = |(index, target): (usize, &Target)| Told {
            target: index as u32,
            node: target.node.clone(),
            processes: 1,
            listening: Vec::new(),
        };
        Some(Self {
            watching: Watching { layers: probe.layers(), latency: false },
            attribution: Attribution::new(&targets, 10_000),
            cutter: Cutter::default(),
            nodes: targets.iter().enumerate().map(told).collect(),
            probe,
        })
    }

    pub(crate) fn watch(&mut self, pid: u32, node: usize) {
        self.probe.watch(pid, target(node)).unwrap();
    }

    /// What happened since the last window. The kernel's totals, the rows and the peers agree.
    pub(crate) fn cut(&mut self) -> Window {
        let (window, unbalanced) = self.cut_unchecked();
        assert_eq!(unbalanced, []);
        for node in &window.nodes {
            assert_eq!(node.lost, BTreeMap::new());
        }
        window
    }

    /// Makes room in the kernel's maps, of all that did nothing in the last window.
    pub(crate) fn evict_idle(&mut self, upkeep: &mut Upkeep) {
        let Self { probe, cutter, attribution, .. } = self;
        upkeep.run(probe, cutter, attribution, 1, |_| None).unwrap();
    }

    /// As [`cut`](Self::cut), with what disagrees.
    pub(crate) fn cut_unchecked(&mut self) -> (Window, Vec<Unbalanced>) {
        let Self { probe, cutter, attribution, nodes, watching } = self;
        let mut round = cutter.round(attribution, watching);
        let totals = probe.visit(&mut round).unwrap();
        round.attribute().learn(probe.take_names());
        let span =
            Span { start: Timestamp::from_ms(0), length_ms: 1_000, completeness: Completeness::Complete };
        let host = Host { agent: AgentId::new("lab").unwrap(), device_name };
        let (window, unbalanced) = round.finish(&totals, span, nodes, &host, watching);
        for node in &window.nodes {
            node.check_conserved().unwrap();
        }
        (window, unbalanced)
    }
}

pub(crate) fn target(index: usize) -> TargetIndex {
    TargetIndex::new(index).unwrap()
}

pub(crate) fn node(index: usize) -> NodeId {
    NodeId::new(SystemId::new("truth").unwrap(), format!("node-{index}")).unwrap()
}

/// A run of `odd_sockets`, prepared.
pub(crate) fn odd(scenario: &str, addresses: &[SocketAddr]) -> Generator<SocketTruth> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_odd_sockets"));
    command.arg(scenario).args(addresses.iter().map(ToString::to_string));
    Generator::spawn(&mut command, None).unwrap()
}

/// What a generator must be counted with; its early connections were opened before the probe looked. No peer is
/// taken for a node.
pub(crate) fn expected(truth: &SocketTruth) -> Peers {
    expected_with(truth, |_| None)
}

/// As [`expected`], with the node that each flow's peer is.
pub(crate) fn expected_with(truth: &SocketTruth, node_of: impl Fn(&Flow) -> Option<usize>) -> Peers {
    let mut peers = Peers::new();
    for flow in &truth.flows {
        let (local, remote) = flow.peer();
        let remote = (flow.origin != Origin::Unconnected).then_some(remote);
        let node = node_of(flow);
        let mut add = |operation, counts: Counts| {
            if counts.ops > 0 {
                let sum = peers.entry((operation, local, remote, node)).or_default();
                *sum = sum.plus(counts);
            }
        };
        let counts = |traffic: Traffic| Counts { ops: traffic.ops, bytes: traffic.bytes };
        add(Operation::Read, counts(flow.received));
        add(Operation::Write, counts(flow.sent));
        let opened = Counts { ops: u64::from(!flow.early && flow.protocol == Protocol::Tcp), bytes: 0 };
        match flow.origin {
            Origin::Accepted => add(Operation::Accept, opened),
            Origin::Connected => add(Operation::Connect, opened),
            Origin::Unconnected => {}
        }
    }
    peers
}

/// What was counted.
pub(crate) fn counted(window: &NodeWindow) -> Peers {
    let index = |node: &NodeId| (0..64).find(|index| self::node(*index) == *node).unwrap();
    let one =
        |peer: &Peer| ((peer.operation, peer.local, peer.remote, peer.node.as_ref().map(index)), peer.counts);
    let mut peers = Peers::new();
    for (key, counts) in window.peers.iter().map(one) {
        let sum = peers.entry(key).or_default();
        *sum = sum.plus(counts);
    }
    peers
}

/// Without the nodes that the peers are.
pub(crate) fn untagged(peers: &Peers) -> Peers {
    let mut sums = Peers::new();
    for ((operation, local, remote, _), counts) in peers {
        let sum = sums.entry((*operation, *local, *remote, None)).or_default();
        *sum = sum.plus(*counts);
    }
    sums
}

/// A node's total of an operation.
pub(crate) fn total(window: &NodeWindow, operation: Operation) -> Counts {
    window.totals[&(Layer::Network, operation)]
}

/// What a node did, of all peers together.
pub(crate) fn assert_totals(window: &NodeWindow, truth: &SocketTruth) {
    assert_eq!(total(window, Operation::Read), truth.received());
    assert_eq!(total(window, Operation::Write), truth.sent());
    let late = |origin| Counts { ops: truth.streams(origin).1, bytes: 0 };
    assert_eq!(total(window, Operation::Accept), late(Origin::Accepted));
    assert_eq!(total(window, Operation::Connect), late(Origin::Connected));
}
