//! `events.json`: what happens to a cluster, by name.

use super::nodes::{NoRack, Nodes, bytes_per_s};
use isotherm_placement::{Domain, Link, Node, NodeState};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use thiserror::Error;

/// Events that need no entry.
const BUILT_IN: [&str; 2] = ["none", "balance"];

/// Why there is no such event, or it does not fit the cluster.
#[derive(Debug, Error)]
pub(super) enum EventError {
    #[error("{file} cannot be read")]
    Read {
        file: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{file}: {cause}")]
    Json { file: String, cause: serde_json::Error },
    #[error("there is no event {asked:?}; there are {}", .known.join(", "))]
    Unknown { asked: String, known: Vec<String> },
    #[error("{file}: several events are called {id:?}")]
    Twice { file: String, id: String },
    #[error("event {event:?}, {key}: {cause}")]
    DoesNotFit { event: String, key: String, cause: String },
}

/// An event as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: String,
    #[serde(default)]
    fail: Vec<Name>,
    #[serde(default)]
    drain: Vec<Name>,
    #[serde(default)]
    add: Vec<Added>,
    #[serde(default)]
    set_capacity: BTreeMap<String, f64>,
    #[serde(default)]
    fill: Vec<Name>,
    #[serde(default)]
    balance: bool,
    #[serde(default)]
    risk: BTreeMap<String, f64>,
    #[serde(default)]
    links: Vec<WrittenLink>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Added {
    rack: Name,
    capacity: f64,
    zone: Option<Name>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLink {
    a: Name,
    b: Name,
    mbit: f64,
}

/// A name, which may be written as a number.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a name or a number")]
enum Name {
    Number(u64),
    Text(String),
}

impl Name {
    fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// What an event asks for, once the nodes are as it leaves them.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Asked {
    pub(super) shed: Vec<Node>,
    pub(super) fill: Vec<Node>,
    pub(super) balance: bool,
    /// Hazard per hour of each node; absent if nothing is to be moved for it.
    pub(super) hazards: Option<Vec<f64>>,
    pub(super) links: Vec<Link>,
}

/// Finds an event and does to the nodes what it says.
pub(super) fn apply(folder: &Path, id: &str, nodes: &mut Nodes) -> Result<Asked, EventError> {
    let path = folder.join("events.json");
    let file = path.display().to_string();
    let written = match std::fs::read_to_string(&path) {
        Ok(text) => parse(&file, &text)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(source) => return Err(EventError::Read { file, source }),
    };
    happen(&find(written, id)?, nodes)
}

fn parse(file: &str, text: &str) -> Result<Vec<Written>, EventError> {
    let written: Vec<Written> =
        serde_json::from_str(text).map_err(|cause| EventError::Json { file: file.to_owned(), cause })?;
    let twice = |(at, event): (usize, &Written)| written[..at].iter().any(|before| before.id == event.id);
    match written.iter().enumerate().position(twice) {
        Some(at) => Err(EventError::Twice { file: file.to_owned(), id: written[at].id.clone() }),
        None => Ok(written),
    }
}

fn find(mut written: Vec<Written>, id: &str) -> Result<Written, EventError> {
    if let Some(at) = written.iter().position(|event| event.id == id) {
        return Ok(written.swap_remove(at));
    }
    if BUILT_IN.contains(&id) {
        return Ok(Written { id: id.to_owned(), balance: id == "balance", ..Written::default() });
    }
    let known = written.into_iter().map(|event| event.id).chain(BUILT_IN.map(str::to_owned)).collect();
    Err(EventError::Unknown { asked: id.to_owned(), known })
}

fn happen(event: &Written, nodes: &mut Nodes) -> Result<Asked, EventError> {
    let mut asked = Asked { balance: event.balance, ..Asked::default() };
    let misfit = |key: &str, cause: String| EventError::DoesNotFit {
        event: event.id.clone(),
        key: key.to_owned(),
        cause,
    };
    for (index, added) in event.add.iter().enumerate() {
        let node = add(added, nodes).map_err(|cause| misfit(&format!("add {index}"), cause))?;
        asked.fill.push(node);
    }
    for (name, weight) in &event.set_capacity {
        let node = node_of(nodes, name).map_err(|cause| misfit("set_capacity", cause))?;
        let before = nodes.facts[node.at()].capacity_bytes;
        set_capacity(node, *weight, nodes).map_err(|cause| misfit("set_capacity", cause))?;
        let after = nodes.facts[node.at()].capacity_bytes;
        if after < before {
            asked.shed.push(node);
        } else if after > before {
            asked.fill.push(node);
        }
    }
    for (key, names, state) in [
        ("fail", &event.fail, Some(NodeState::Down)),
        ("drain", &event.drain, Some(NodeState::Draining)),
        ("fill", &event.fill, None),
    ] {
        for name in names {
            let node = node_of(nodes, &name.text()).map_err(|cause| misfit(key, cause))?;
            match state {
                Some(state) => nodes.facts[node.at()].state = state,
                None => asked.fill.push(node),
            }
        }
    }
    for (name, hazard) in &event.risk {
        let node = node_of(nodes, name).map_err(|cause| misfit("risk", cause))?;
        let per_hour = quantity(*hazard, "a hazard per hour").map_err(|cause| misfit("risk", cause))?;
        nodes.facts[node.at()].risk = Some(per_hour);
    }
    if !event.risk.is_empty() {
        asked.hazards = Some(nodes.facts.iter().map(|node| node.risk.unwrap_or(0.0)).collect());
    }
    for (index, written) in event.links.iter().enumerate() {
        let link = link(written, nodes).map_err(|cause| misfit(&format!("links {index}"), cause))?;
        asked.links.push(link);
    }
    asked.fill.sort_unstable();
    asked.fill.dedup();
    Ok(asked)
}

fn node_of(nodes: &Nodes, name: &str) -> Result<Node, String> {
    nodes.names.find(name.as_bytes()).ok_or_else(|| format!("{name:?} is no node of nodes.csv"))
}

fn quantity(value: f64, what: &str) -> Result<f64, String> {
    if value.is_finite() && value >= 0.0 {
        Ok(value)
    } else {
        Err(format!("{value} is not {what} of 0 or more"))
    }
}

fn add(added: &Added, nodes: &mut Nodes) -> Result<Node, String> {
    let weight = quantity(added.capacity, "a weight")?;
    let unit = nodes.unit.ok_or(NO_UNIT)?;
    let rack = added.rack.text();
    let domain = match &added.zone {
        Some(_) if !nodes.domains.has_zones() => {
            return Err("names a zone, and nodes.csv has no column zone".to_owned());
        }
        Some(zone) => nodes.domains.rack_in(&zone.text(), &rack),
        None => match nodes.domains.rack(&rack) {
            Ok(domain) => domain,
            Err(NoRack::Several) => return Err(several(&rack)),
            // A rack that nobody has seen, in a zone of its own: what it fails with is not known.
            Err(NoRack::Unknown) => nodes.domains.rack_in(&rack, &rack),
        },
    };
    nodes.add(domain, weight, unit).ok_or_else(|| {
        format!("a new node is called by the number of nodes, {}, and one is called so", nodes.facts.len())
    })
}

const NO_UNIT: &str = "weights need a column weight in nodes.csv, above 0 at the first node";

fn several(rack: &str) -> String {
    format!("several zones have a rack {rack:?}; write it as ZONE/RACK")
}

fn set_capacity(node: Node, weight: f64, nodes: &mut Nodes) -> Result<(), String> {
    let weight = quantity(weight, "a weight")?;
    let unit = nodes.unit.ok_or(NO_UNIT)?;
    let facts = &mut nodes.facts[node.at()];
    facts.capacity_bytes = (weight * unit.bytes) as u64;
    facts.load_capacity = unit.load.map(|load| weight * load);
    Ok(())
}

fn link(written: &WrittenLink, nodes: &Nodes) -> Result<Link, String> {
    let rack = |name: &Name| -> Result<Domain, String> {
        let name = name.text();
        nodes.domains.rack(&name).map_err(|none| match none {
            NoRack::Unknown => format!("there is no rack {name:?}"),
            NoRack::Several => several(&name),
        })
    };
    let mbit = quantity(written.mbit, "a bandwidth in Mbit/s")?;
    Ok(Link { a: rack(&written.a)?, b: rack(&written.b)?, bytes_per_s: bytes_per_s(mbit) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "node,rack,zone,weight,capacity_mib,load_cap,nic_mbit,risk\n\
                         0,0,0,1,100,10,1000,0.02\n1,0,0,2,200,20,1000,0.02\n2,1,1,1,100,10,1000,\n3,0,1,1,100,10,8,\n";

    fn nodes() -> Nodes {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("nodes.csv"), NODES).unwrap();
        super::super::nodes::read(folder.path()).unwrap()
    }

    fn happened(event: &str) -> Result<(Nodes, Asked), String> {
        let mut nodes = nodes();
        let text = format!("[{{\"id\": \"e\", {event}}}]");
        let written = parse("events.json", &text).map_err(|error| error.to_string())?;
        let asked = find(written, "e").and_then(|event| happen(&event, &mut nodes));
        asked.map(|asked| (nodes, asked)).map_err(|error| error.to_string())
    }

    #[test]
    fn nodes_fail_drain_and_come_back_at_once() {
        let (nodes, asked) =
            happened(r#""fail": [0], "drain": ["2"], "fill": [3], "balance": true"#).unwrap();
        let states: Vec<NodeState> = nodes.facts.iter().map(|node| node.state).collect();
        assert_eq!(states, [NodeState::Down, NodeState::Up, NodeState::Draining, NodeState::Up]);
        assert_eq!((asked.fill, asked.balance), (vec![Node(3)], true));
    }

    #[test]
    fn new_nodes_are_called_by_the_number_of_nodes() {
        let added = r#""add": [{"rack": 1, "capacity": 2.5}, {"rack": "new", "capacity": 1},
                       {"rack": 0, "zone": "1", "capacity": 1}, {"rack": 0, "zone": "z", "capacity": 1}]"#;
        let (nodes, asked) = happened(added).unwrap();
        assert_eq!(asked.fill, [4, 5, 6, 7].map(Node));
        let new = &nodes.facts[4];
        assert_eq!((new.name.as_str(), new.domain), ("4", nodes.facts[2].domain));
        assert_eq!((new.capacity_bytes, new.load_capacity), (250 << 20, Some(25.0)));
        assert_eq!(new.network_bytes_per_s, Some(125_000_000));
        let domain = |node: usize| nodes.domains.facts[nodes.facts[node].domain.unwrap().at()].name.as_str();
        assert_eq!((domain(5), domain(6), domain(7)), ("new/new", "1/0", "z/0"));
    }

    #[test]
    fn a_weight_moves_a_node_up_or_down() {
        let (nodes, asked) = happened(r#""set_capacity": {"1": 1, "2": 1.5, "3": 1}"#).unwrap();
        assert_eq!((asked.shed, asked.fill), (vec![Node(1)], vec![Node(2)]));
        assert_eq!((nodes.facts[2].capacity_bytes, nodes.facts[2].load_capacity), (150 << 20, Some(15.0)));
    }

    #[test]
    fn hazards_are_the_events_or_else_the_nodes() {
        let (nodes, asked) = happened(r#""risk": {"1": 0.5}"#).unwrap();
        assert_eq!(asked.hazards, Some(vec![0.02, 0.5, 0.0, 0.0]));
        assert_eq!(nodes.facts[1].risk, Some(0.5));
        assert_eq!(happened(r#""balance": false"#).unwrap().1, Asked::default());
    }

    #[test]
    fn links_join_racks_by_name() {
        let (nodes, asked) = happened(r#""links": [{"a": 1, "b": "0/0", "mbit": 8}]"#).unwrap();
        let (a, b) = (nodes.domains.rack("1").unwrap(), nodes.domains.rack("0/0").unwrap());
        assert_eq!(asked.links, [Link { a, b, bytes_per_s: 1_000_000 }]);
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_place() {
        for (event, place) in [
            (r#""fail": [9]"#, "event \"e\", fail: \"9\" is no node of nodes.csv"),
            (r#""risk": {"0": -1}"#, "event \"e\", risk: -1 is not a hazard per hour of 0 or more"),
            (
                r#""add": [{"rack": 1, "capacity": 1}, {"rack": 0, "capacity": 1}]"#,
                "event \"e\", add 1: several zones have a rack \"0\"; write it as ZONE/RACK",
            ),
            (r#""links": [{"a": 7, "b": 1, "mbit": 1}]"#, "event \"e\", links 0: there is no rack \"7\""),
        ] {
            assert_eq!(happened(event).err().as_deref(), Some(place));
        }
        let unknown = happened(r#""fial": [1]"#).err().unwrap();
        assert!(
            unknown.starts_with("events.json: unknown field `fial`, expected one of `id`, `fail`"),
            "{unknown}"
        );
        assert!(unknown.ends_with("at line 1 column 19"), "{unknown}");
        let kind = happened(r#""fail": [1.5]"#).err().unwrap();
        assert!(kind.starts_with("events.json: a name or a number"), "{kind}");
    }

    #[test]
    fn events_that_need_no_entry_can_be_named_anew() {
        let written = |text: &str| parse("events.json", text);
        assert!(find(Vec::new(), "balance").unwrap().balance);
        assert!(!find(Vec::new(), "none").unwrap().balance);
        assert!(!find(written(r#"[{"id": "balance"}]"#).unwrap(), "balance").unwrap().balance);
        let unknown = find(written(r#"[{"id": "a"}, {"id": "b"}]"#).unwrap(), "c").unwrap_err().to_string();
        assert_eq!(unknown, "there is no event \"c\"; there are a, b, none, balance");
        let twice = written(r#"[{"id": "a"}, {"id": "a"}]"#).unwrap_err().to_string();
        assert_eq!(twice, "events.json: several events are called \"a\"");
    }
}
