//! Agents' reports beside the topology: what does not fit, in both directions.
//!
//! A report belongs to the node of its name, and to no other: addresses are compared to find mistakes, and never to
//! join. Two spellings of one node are told as such on both rows.

use super::Topology;
use isotherm_model::NodeId;
use isotherm_store::NodeReport;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// How a node's report and the topology fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    /// Nothing can be compared: it is a host, or its system has no topology.
    NotCompared,
    /// Both name it, and nothing contradicts that they mean the same.
    Matched,
    /// It reports and the topology does not name it.
    NotInTopology,
    /// The topology names it and no agent reports it.
    NoAgent,
    /// It listens on other addresses than the topology says.
    OtherAddresses,
    /// Two agents report it.
    TwoAgents,
}

/// What is known of where nodes listen and should, to find two spellings of one.
pub(crate) struct Join<'a> {
    topology: &'a Topology,
    /// Nodes of the topology that nobody reports, by address.
    unreported: BTreeMap<SocketAddr, &'a NodeId>,
    /// Nodes that report and are not in the topology, by the addresses they listen on; not by wildcards.
    unnamed: BTreeMap<SocketAddr, &'a NodeId>,
}

impl<'a> Join<'a> {
    /// Puts both sides beside each other.
    pub(crate) fn new(topology: &'a Topology, reports: &BTreeMap<&'a NodeId, &'a NodeReport>) -> Self {
        let mut unreported = BTreeMap::new();
        for node in topology.nodes.keys().filter(|node| !reports.contains_key(node)) {
            for address in expected(topology, node) {
                unreported.insert(canonical(address), node);
            }
        }
        let mut unnamed = BTreeMap::new();
        for (node, report) in reports.iter().filter(|(node, _)| !topology.nodes.contains_key(*node)) {
            for address in report.listening.iter().filter(|address| !address.ip().is_unspecified()) {
                unnamed.insert(canonical(*address), *node);
            }
        }
        Self { topology, unreported, unnamed }
    }

    /// How a node fits, and why not, in words.
    pub(crate) fn of(
        &self,
        node: &NodeId,
        report: Option<&NodeReport>,
        agents: &[String],
    ) -> (Match, String) {
        if node.is_host() || !self.topology.sources.contains_key(node.system()) {
            return (Match::NotCompared, String::new());
        }
        if agents.len() > 1 {
            let reason = format!("agents {} report it: its accesses count twice", agents.join(" and "));
            return (Match::TwoAgents, reason);
        }
        let named = self.topology.nodes.contains_key(node);
        match (named, report) {
            (false, _) => (Match::NotInTopology, self.not_in_topology(node, report)),
            (true, None) => (Match::NoAgent, self.no_agent(node)),
            (true, Some(report)) => addresses(&expected(self.topology, node), &report.listening),
        }
    }

    fn not_in_topology(&self, node: &NodeId, report: Option<&NodeReport>) -> String {
        let listening = report.map(|report| report.listening.as_slice()).unwrap_or_default();
        let other = listening.iter().find_map(|address| self.unreported.get(&canonical(*address)));
        match other.filter(|other| other.system() == node.system()) {
            Some(other) => {
                format!("reports, not in topology; it listens where the topology has {}", other.name())
            }
            None => "reports, not in topology".to_owned(),
        }
    }

    fn no_agent(&self, node: &NodeId) -> String {
        let expected = expected(self.topology, node);
        let other = expected.iter().find_map(|address| self.unnamed.get(&canonical(*address)));
        match other.filter(|other| other.system() == node.system()) {
            Some(other) => format!("in topology, no agent; {} listens on its address", other.name()),
            None => "in topology, no agent".to_owned(),
        }
    }
}

/// Where the topology has a node: its addresses, or its name if that is one.
pub(crate) fn expected(topology: &Topology, node: &NodeId) -> Vec<SocketAddr> {
    match topology.nodes.get(node) {
        Some(facts) if !facts.addresses.is_empty() => facts.addresses.clone(),
        Some(_) | None => node.name().parse().into_iter().collect(),
    }
}

/// Whether a node listens where it should. One address in common is enough: a node may have networks that only one
/// side knows. Nothing known on a side contradicts nothing.
fn addresses(expected: &[SocketAddr], listening: &[SocketAddr]) -> (Match, String) {
    let meets = |want: &SocketAddr| listening.iter().any(|found| serves(*found, *want));
    if expected.is_empty() || listening.is_empty() || expected.iter().any(meets) {
        return (Match::Matched, String::new());
    }
    let reason = format!(
        "listens on other addresses ({}) than the topology says ({})",
        joined(listening),
        joined(expected)
    );
    (Match::OtherAddresses, reason)
}

/// Whether who listens on `found` can be reached at `want`.
fn serves(found: SocketAddr, want: SocketAddr) -> bool {
    let (found, want) = (canonical(found), canonical(want));
    let all = match found.ip() {
        IpAddr::V4(ip) => ip.is_unspecified() && want.is_ipv4(),
        // It usually takes IPv4 as well.
        IpAddr::V6(ip) => ip.is_unspecified(),
    };
    found.port() == want.port() && (all || found.ip() == want.ip())
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn joined(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Source;
    use isotherm_model::{SystemId, Timestamp};
    use isotherm_proto::NodeFacts;
    use std::sync::Arc;

    fn id(name: &str) -> NodeId {
        NodeId::new(SystemId::new("s").unwrap(), name).unwrap()
    }

    fn report(name: &str, listening: &[&str]) -> NodeReport {
        NodeReport {
            node: id(name),
            agent: "h".into(),
            first_watched: None,
            last_watched: None,
            last_end: Timestamp::from_ms(1),
            window_ms: 1,
            processes: 1,
            listening: listening.iter().map(|address| address.parse().unwrap()).collect(),
        }
    }

    fn topology(nodes: &[(&str, &[&str])]) -> Topology {
        let facts = |addresses: &[&str]| NodeFacts {
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            ..NodeFacts::default()
        };
        Topology {
            nodes: Arc::new(nodes.iter().map(|(name, addresses)| (id(name), facts(addresses))).collect()),
            sources: BTreeMap::from([(SystemId::new("s").unwrap(), Source::configured())]),
            ..Topology::default()
        }
    }

    fn fits(topology: &Topology, reports: &[NodeReport], node: &str) -> (Match, String) {
        let reports: BTreeMap<_, _> = reports.iter().map(|report| (&report.node, report)).collect();
        let report = reports.get(&id(node)).copied();
        let agents: Vec<String> = report.iter().map(|report| report.agent.clone()).collect();
        Join::new(topology, &reports).of(&id(node), report, &agents)
    }

    #[test]
    fn a_wildcard_serves_every_address_of_its_port() {
        let named = topology(&[("10.0.0.1:80", &[])]);
        for listening in [&["0.0.0.0:80"][..], &["[::]:80"], &["10.0.0.1:80", "127.0.0.1:9"], &[]] {
            let matched = fits(&named, &[report("10.0.0.1:80", listening)], "10.0.0.1:80");
            assert_eq!(matched, (Match::Matched, String::new()), "{listening:?}");
        }
        let (found, reason) = fits(&named, &[report("10.0.0.1:80", &["0.0.0.0:81"])], "10.0.0.1:80");
        assert_eq!(found, Match::OtherAddresses);
        assert_eq!(reason, "listens on other addresses (0.0.0.0:81) than the topology says (10.0.0.1:80)");
    }

    #[test]
    fn two_spellings_of_a_node_are_told_on_both_rows() {
        let named = topology(&[("one", &["10.0.0.1:80"]), ("two", &["10.0.0.2:80"])]);
        let reports = [report("10.0.0.1:80", &["10.0.0.1:80"])];
        let (found, reason) = fits(&named, &reports, "10.0.0.1:80");
        assert_eq!(found, Match::NotInTopology);
        assert_eq!(reason, "reports, not in topology; it listens where the topology has one");
        let (found, reason) = fits(&named, &reports, "one");
        assert_eq!(found, Match::NoAgent);
        assert_eq!(reason, "in topology, no agent; 10.0.0.1:80 listens on its address");
        assert_eq!(fits(&named, &reports, "two").1, "in topology, no agent");
    }

    #[test]
    fn hosts_and_systems_without_a_topology_are_not_compared() {
        let other = NodeId::new(SystemId::new("t").unwrap(), "n").unwrap();
        let host = NodeId::new(SystemId::new("host").unwrap(), "h").unwrap();
        let (named, reports) = (topology(&[]), BTreeMap::new());
        for node in [other, host] {
            assert_eq!(Join::new(&named, &reports).of(&node, None, &[]).0, Match::NotCompared);
        }
        let agents = ["h".to_owned(), "i".to_owned()];
        let (found, reason) = Join::new(&named, &reports).of(&id("n"), None, &agents);
        assert_eq!(found, Match::TwoAgents);
        assert_eq!(reason, "agents h and i report it: its accesses count twice");
    }
}
