//! `nodes.csv`: nodes, and the racks and zones they lie in.

use super::csv::{self, CsvError, Rows};
use super::names::NodeNames;
use isotherm_placement::hash;
use isotherm_placement::{Domain, DomainFacts, Level, Node, NodeFacts, NodeState};
use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;

/// A mebibyte, in which files give sizes.
pub(super) const MIB: f64 = 1_048_576.0;

/// Levels of domains, the outermost first.
pub(super) const ZONE: &str = "zone";
pub(super) const RACK: &str = "rack";

/// Nodes as they are read, before an event changes them.
#[derive(Debug)]
pub(super) struct Nodes {
    pub(super) names: NodeNames,
    pub(super) facts: Vec<NodeFacts>,
    /// What a weight of 1 stands for, by the first node; absent if the file has no weights.
    pub(super) unit: Option<Unit>,
    pub(super) domains: Domains,
}

/// Capacity of a weight of 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Unit {
    pub(super) bytes: f64,
    /// Absent where no node has a load capacity.
    pub(super) load: Option<f64>,
}

/// Racks, and zones if the file has any.
#[derive(Debug, Default)]
pub(super) struct Domains {
    pub(super) levels: Vec<String>,
    pub(super) facts: Vec<DomainFacts>,
    zones: BTreeMap<String, Domain>,
    /// By zone and name; a zone of no name where there are none.
    racks: BTreeMap<(String, String), Domain>,
}

/// What an event may say of a rack that no rack is, or that several are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRack {
    Unknown,
    Several,
}

impl Domains {
    fn new(zones: bool) -> Self {
        let levels = if zones { vec![ZONE.to_owned(), RACK.to_owned()] } else { vec![RACK.to_owned()] };
        Self { levels, ..Self::default() }
    }

    pub(super) fn has_zones(&self) -> bool {
        self.levels.len() == 2
    }

    /// The rack of that name in that zone, made if it is not there.
    pub(super) fn rack_in(&mut self, zone: &str, rack: &str) -> Domain {
        let key = (zone.to_owned(), rack.to_owned());
        if let Some(domain) = self.racks.get(&key) {
            return *domain;
        }
        let parent = self.has_zones().then(|| match self.zones.get(zone) {
            Some(domain) => *domain,
            None => {
                let domain = self.push(zone.to_owned(), Level(0), None);
                self.zones.insert(zone.to_owned(), domain);
                domain
            }
        });
        let name = if parent.is_some() { format!("{zone}/{rack}") } else { rack.to_owned() };
        let domain = self.push(name, Level(self.levels.len() as u8 - 1), parent);
        self.racks.insert(key, domain);
        domain
    }

    fn push(&mut self, name: String, level: Level, parent: Option<Domain>) -> Domain {
        // What has more domains than can be numbered is refused by the topology.
        let domain = Domain(u16::try_from(self.facts.len()).unwrap_or(u16::MAX));
        self.facts.push(DomainFacts { name, level, parent });
        domain
    }

    /// The rack of that name, or of `ZONE/RACK`.
    pub(super) fn rack(&self, name: &str) -> Result<Domain, NoRack> {
        if let Some((zone, rack)) = name.split_once('/')
            && let Some(domain) = self.racks.get(&(zone.to_owned(), rack.to_owned()))
        {
            return Ok(*domain);
        }
        let mut found = self.racks.iter().filter(|((_, rack), _)| rack == name).map(|(_, domain)| *domain);
        match (found.next(), found.next()) {
            (Some(domain), None) => Ok(domain),
            (Some(_), Some(_)) => Err(NoRack::Several),
            (None, _) => Err(NoRack::Unknown),
        }
    }
}

/// Reads `nodes.csv` of a folder.
pub(super) fn read(folder: &Path) -> Result<Nodes, CsvError> {
    read_rows(csv::open(folder, "nodes.csv")?)
}

fn read_rows<R: BufRead>(mut rows: Rows<R>) -> Result<Nodes, CsvError> {
    let (node, rack) = (rows.need("node")?, rows.need(RACK)?);
    let capacity = rows.need("capacity_mib")?;
    let zone = rows.find(ZONE);
    let [weight, load, nic, risk, state] =
        ["weight", "load_cap", "nic_mbit", "risk", "state"].map(|name| rows.find(name));
    let mut nodes = Nodes {
        names: NodeNames::default(),
        facts: Vec::new(),
        unit: None,
        domains: Domains::new(zone.is_some()),
    };
    while rows.next()? {
        let name = rows.lossy(node);
        if name.is_empty() || !nodes.names.push(name.clone()) {
            let cause = if name.is_empty() { "a node needs a name" } else { "is another node's name too" };
            return Err(rows.fault(node, format!("{name:?}: {cause}")));
        }
        let optional = |column: Option<usize>| column.map_or(Ok(None), |column| rows.maybe(column));
        let capacity_mib = rows.quantity(capacity)?;
        let load_capacity = optional(load)?;
        if let Some(weight) = weight.filter(|_| nodes.facts.is_empty()) {
            let first = rows.quantity(weight)?;
            let unit =
                Unit { bytes: capacity_mib * MIB / first, load: load_capacity.map(|load| load / first) };
            nodes.unit = (first > 0.0).then_some(unit);
        }
        let zone = zone.map_or_else(String::new, |zone| rows.lossy(zone));
        nodes.facts.push(NodeFacts {
            key: hash::key(name.as_bytes()),
            name,
            domain: Some(nodes.domains.rack_in(&zone, &rows.lossy(rack))),
            capacity_bytes: (capacity_mib * MIB) as u64,
            load_capacity,
            network_bytes_per_s: optional(nic)?.map(bytes_per_s),
            cordoned: false,
            state: state.map_or(Ok(NodeState::Up), |state| parse_state(&rows, state))?,
            risk: optional(risk)?,
        });
    }
    Ok(nodes)
}

fn parse_state<R: BufRead>(rows: &Rows<R>, column: usize) -> Result<NodeState, CsvError> {
    match rows.bytes(column) {
        b"up" | b"" => Ok(NodeState::Up),
        b"draining" => Ok(NodeState::Draining),
        b"down" => Ok(NodeState::Down),
        _ => Err(rows.fault(column, format!("{:?} is not up, draining or down", rows.lossy(column)))),
    }
}

/// Bytes of so many megabits.
pub(super) fn bytes_per_s(mbit_per_s: f64) -> u64 {
    (mbit_per_s * 125_000.0) as u64
}

impl Nodes {
    /// The next node: an empty one of a weight, in a rack, called by its position, with the network of the first
    /// node. Nothing if that name is taken.
    pub(super) fn add(&mut self, rack: Domain, weight: f64, unit: Unit) -> Option<Node> {
        let name = self.facts.len().to_string();
        let node = Node(u16::try_from(self.facts.len()).ok()?);
        if !self.names.push(name.clone()) {
            return None;
        }
        self.facts.push(NodeFacts {
            key: hash::key(name.as_bytes()),
            name,
            domain: Some(rack),
            capacity_bytes: (weight * unit.bytes) as u64,
            load_capacity: unit.load.map(|load| weight * load),
            network_bytes_per_s: self.facts.first().and_then(|first| first.network_bytes_per_s),
            cordoned: false,
            state: NodeState::Up,
            risk: None,
        });
        Some(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(text: &str) -> Result<Nodes, String> {
        let rows = Rows::new("nodes.csv".into(), text.as_bytes()).map_err(|error| error.to_string())?;
        read_rows(rows).map_err(|error| error.to_string())
    }

    #[test]
    fn racks_are_told_apart_by_their_zones() {
        let read =
            nodes("rack,node,zone,capacity_mib\nr1,a,z1,1\nr1,b,z2,2\nr2,c,z2,3\nr1,d,z1,4\n").unwrap();
        let names: Vec<&str> = read.domains.facts.iter().map(|domain| domain.name.as_str()).collect();
        assert_eq!(names, ["z1", "z1/r1", "z2", "z2/r1", "z2/r2"]);
        assert_eq!(read.facts[0].domain, read.facts[3].domain);
        assert_eq!(read.domains.rack("r1"), Err(NoRack::Several));
        assert_eq!(read.domains.rack("r2"), Ok(Domain(4)));
        assert_eq!(read.domains.rack("z2/r1"), Ok(Domain(3)));
        assert_eq!(read.domains.rack("r3"), Err(NoRack::Unknown));
        assert_eq!(read.facts[2].capacity_bytes, 3 << 20);
    }

    #[test]
    fn without_zones_a_rack_is_all_there_is() {
        let read = nodes(
            "node,rack,capacity_mib,state,risk,nic_mbit\n0,0,1,,.5,\n1,0,1,draining,,8\n2,1,0,down,0,0.5\n",
        )
        .unwrap();
        assert_eq!(read.domains.levels, [RACK]);
        assert_eq!(read.domains.facts.len(), 2);
        let states: Vec<_> = read.facts.iter().map(|node| (node.state, node.risk)).collect();
        assert_eq!(states[0], (NodeState::Up, Some(0.5)));
        assert_eq!(states[1], (NodeState::Draining, None));
        assert_eq!(states[2], (NodeState::Down, Some(0.0)));
        let network: Vec<_> = read.facts.iter().map(|node| node.network_bytes_per_s).collect();
        assert_eq!(network, [None, Some(1_000_000), Some(62_500)]);
        assert_eq!(read.unit, None);
    }

    #[test]
    fn a_weight_is_worth_what_it_is_at_the_first_node() {
        let mut read = nodes("node,rack,weight,capacity_mib,load_cap\n0,0,2,10,4\n1,0,1,7,7\n").unwrap();
        let unit = read.unit.unwrap();
        assert_eq!(unit, Unit { bytes: 5.0 * MIB, load: Some(2.0) });
        let rack = read.domains.rack("0").unwrap();
        assert_eq!(read.add(rack, 4.0, unit), Some(Node(2)));
        assert_eq!((read.facts[2].capacity_bytes, read.facts[2].load_capacity), (20 << 20, Some(8.0)));
        assert_eq!(read.names.find(b"2"), Some(Node(2)));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let error = |text: &str| nodes(text).unwrap_err();
        assert!(error("node,capacity_mib\n").starts_with("nodes.csv has no column \"rack\""));
        let header = "node,rack,capacity_mib,state\n";
        for (rows, place) in [
            ("0,0,1,up\n0,0,1,up\n", "nodes.csv line 3, column node: \"0\": is another node's name too"),
            (",0,1,up\n", "nodes.csv line 2, column node: \"\": a node needs a name"),
            ("0,0,x,up\n", "nodes.csv line 2, column capacity_mib: \"x\" is not a number of 0 or more"),
            ("0,0,nan,up\n", "nodes.csv line 2, column capacity_mib: \"nan\" is not a number of 0 or more"),
            ("0,0,1,off\n", "nodes.csv line 2, column state: \"off\" is not up, draining or down"),
        ] {
            assert_eq!(error(&format!("{header}{rows}")), place);
        }
    }
}
