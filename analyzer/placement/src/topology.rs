//! Nodes, the failure domains they lie in, and the links between those.

use crate::ids::{Domain, Level, Node};
use thiserror::Error;

/// Most nodes of a cluster: a node takes two bytes in an assignment, and one value means none.
pub const MOST_NODES: usize = u16::MAX as usize;

/// Whether a node serves, and whether it may take more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// Serves, may take more.
    Up,
    /// Serves and can be copied from, is to be emptied.
    Draining,
    /// Gone; what it held is to be made again from other replicas.
    Down,
}

/// What is known of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeFacts {
    /// What people call it.
    pub name: String,
    /// Stands for the name in choices among equals, see [`crate::hash::key`].
    pub key: u64,
    /// The innermost domain it lies in; absent if and only if the topology has no levels.
    pub domain: Option<Domain>,
    /// Bytes it can hold. A node of none is never a target.
    pub capacity_bytes: u64,
    /// Load it can bear, in the unit of the partitions' load. Known of all nodes or of none; of none, load is no
    /// objective.
    pub load_capacity: Option<f64>,
    /// Bytes per second it may spend on moves, in each direction; unknown means not bounded.
    pub network_bytes_per_s: Option<u64>,
    /// Whether it serves.
    pub state: NodeState,
    /// It keeps what it has, and takes nothing more.
    pub cordoned: bool,
    /// Its hazard or risk, in a unit of the caller's, if known.
    pub risk: Option<f64>,
}

impl NodeFacts {
    /// Whether it can take anything at all: it is up, not cordoned, and can hold bytes and bear load.
    #[must_use]
    pub fn takes(&self) -> bool {
        self.state == NodeState::Up
            && !self.cordoned
            && self.capacity_bytes > 0
            && self.load_capacity != Some(0.0)
    }
}

/// A failure domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainFacts {
    /// What people call it.
    pub name: String,
    /// Its level.
    pub level: Level,
    /// The domain around it, of the level just outside; absent at level 0.
    pub parent: Option<Domain>,
}

/// How fast bytes can go between two domains of one level, in each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// One end.
    pub a: Domain,
    /// The other; may be the same, for what goes around inside a domain.
    pub b: Domain,
    /// Bytes per second in each direction. Pairs without a link are not bounded.
    pub bytes_per_s: u64,
}

/// Why a topology cannot be one.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum TopologyError {
    /// More than [`MOST_NODES`].
    #[error("{0} nodes; at most {MOST_NODES} can be placed on")]
    TooManyNodes(usize),
    /// More than 65,535 domains.
    #[error("{0} failure domains; at most 65535 are possible")]
    TooManyDomains(usize),
    /// A domain without its parent, or with one of the wrong level.
    #[error("domain {name} of level {level} needs a parent of the level outside it, and has {has}")]
    Parent {
        /// The domain.
        name: String,
        /// Its level.
        level: u8,
        /// What it has instead.
        has: String,
    },
    /// A domain of a level that is not named.
    #[error("domain {name} is of level {level}, and there are {levels} levels")]
    Level {
        /// The domain.
        name: String,
        /// Its level.
        level: u8,
        /// Levels there are.
        levels: usize,
    },
    /// A node that lies in no domain, or in one that is not of the innermost level.
    #[error("node {name} must lie in a {innermost}, and lies in {has}")]
    NodeDomain {
        /// The node.
        name: String,
        /// The innermost level.
        innermost: String,
        /// What it lies in instead.
        has: String,
    },
    /// A number that is none, or negative.
    #[error("node {name}: {field} is {value}")]
    NotANumber {
        /// The node.
        name: String,
        /// Which of its numbers.
        field: &'static str,
        /// The number.
        value: f64,
    },
    /// Some nodes have a load capacity and others do not.
    #[error(
        "node {with} has a load capacity and node {without} has none; load is judged for all nodes or for none"
    )]
    LoadCapacityOfSome {
        /// One that has it.
        with: String,
        /// One that has not.
        without: String,
    },
    /// A link of domains that do not exist, or are of different levels.
    #[error("link {position} does not join two domains of one level")]
    Link {
        /// Its position in the list.
        position: usize,
    },
    /// A link or a node that can carry nothing: leave it out if it is unknown.
    #[error("{0} has a bandwidth of 0 bytes/s")]
    NoBandwidth(String),
}

/// Nodes, domains and links, checked, with what is asked often laid out flat.
#[derive(Debug, Clone, PartialEq)]
pub struct Topology {
    levels: Vec<String>,
    domains: Vec<DomainFacts>,
    nodes: Vec<NodeFacts>,
    links: Vec<Link>,
    /// For level l and node i, the domain at `[l * nodes + i]`.
    around: Vec<u16>,
}

impl Topology {
    /// Checks a topology. `levels` names the levels of domains from the outermost in; it may be empty, and then
    /// nodes are the only things that fail apart.
    ///
    /// # Errors
    /// The first thing found that cannot be, by name.
    pub fn new(
        levels: Vec<String>,
        domains: Vec<DomainFacts>,
        nodes: Vec<NodeFacts>,
        links: Vec<Link>,
    ) -> Result<Self, TopologyError> {
        if nodes.len() > MOST_NODES {
            return Err(TopologyError::TooManyNodes(nodes.len()));
        }
        if domains.len() > usize::from(u16::MAX) {
            return Err(TopologyError::TooManyDomains(domains.len()));
        }
        for domain in &domains {
            check_domain(domain, &levels, &domains)?;
        }
        check_nodes(&nodes, &levels, &domains)?;
        for (position, link) in links.iter().enumerate() {
            let level = |domain: Domain| domains.get(domain.at()).map(|facts| facts.level);
            if level(link.a).is_none() || level(link.a) != level(link.b) {
                return Err(TopologyError::Link { position });
            }
            if link.bytes_per_s == 0 {
                return Err(TopologyError::NoBandwidth(format!("link {position}")));
            }
        }
        let mut around = vec![0; levels.len() * nodes.len()];
        for (position, node) in nodes.iter().enumerate() {
            let mut domain = node.domain;
            while let Some(inside) = domain {
                let facts = &domains[inside.at()];
                around[facts.level.at() * nodes.len() + position] = inside.0;
                domain = facts.parent;
            }
        }
        Ok(Self { levels, domains, nodes, links, around })
    }

    /// Names of the levels, outermost first.
    #[must_use]
    pub fn levels(&self) -> &[String] {
        &self.levels
    }

    /// The level of that name.
    #[must_use]
    pub fn level(&self, name: &str) -> Option<Level> {
        self.levels.iter().position(|level| level == name).and_then(|at| u8::try_from(at).ok()).map(Level)
    }

    /// All domains.
    #[must_use]
    pub fn domains(&self) -> &[DomainFacts] {
        &self.domains
    }

    /// All nodes.
    #[must_use]
    pub fn nodes(&self) -> &[NodeFacts] {
        &self.nodes
    }

    /// All links.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// One node.
    ///
    /// # Panics
    /// If there is no such node.
    #[must_use]
    pub fn node(&self, node: Node) -> &NodeFacts {
        &self.nodes[node.at()]
    }

    /// The positions of all nodes.
    pub fn all(&self) -> impl Iterator<Item = Node> + use<> {
        (0..self.nodes.len()).map(|at| Node(at as u16))
    }

    /// The domain of a level around every node, by node.
    ///
    /// # Panics
    /// If there is no such level.
    #[must_use]
    pub fn domains_at(&self, level: Level) -> &[u16] {
        &self.around[level.at() * self.nodes.len()..][..self.nodes.len()]
    }

    /// The domain of a level around a node.
    ///
    /// # Panics
    /// If there is no such level or node.
    #[must_use]
    pub fn domain_of(&self, node: Node, level: Level) -> Domain {
        Domain(self.domains_at(level)[node.at()])
    }

    /// The slowest link that bytes from one node to another cross: at every level, that between the domains around
    /// them. Absent if none bounds them. The nodes' own bandwidth is not in it.
    #[must_use]
    pub fn link_between(&self, from: Node, to: Node) -> Option<&Link> {
        self.links
            .iter()
            .filter(|link| {
                let level = self.domains[link.a.at()].level;
                let (f, t) = (self.domain_of(from, level), self.domain_of(to, level));
                (link.a, link.b) == (f, t) || (link.a, link.b) == (t, f)
            })
            .min_by_key(|link| link.bytes_per_s)
    }
}

fn check_domain(
    domain: &DomainFacts,
    levels: &[String],
    domains: &[DomainFacts],
) -> Result<(), TopologyError> {
    if domain.level.at() >= levels.len() {
        return Err(TopologyError::Level {
            name: domain.name.clone(),
            level: domain.level.0,
            levels: levels.len(),
        });
    }
    let parent = domain.parent.map(|parent| domains.get(parent.at()));
    let right = match parent {
        None => domain.level.0 == 0,
        Some(None) => false,
        Some(Some(parent)) => parent.level.0 + 1 == domain.level.0,
    };
    if right {
        return Ok(());
    }
    let has = match parent {
        None => "none".to_owned(),
        Some(None) => "one that does not exist".to_owned(),
        Some(Some(parent)) => format!("{} of level {}", parent.name, parent.level.0),
    };
    Err(TopologyError::Parent { name: domain.name.clone(), level: domain.level.0, has })
}

fn check_nodes(nodes: &[NodeFacts], levels: &[String], domains: &[DomainFacts]) -> Result<(), TopologyError> {
    for node in nodes {
        let inside = node.domain.map(|domain| domains.get(domain.at()));
        let right = match inside {
            None => levels.is_empty(),
            Some(None) => false,
            Some(Some(domain)) => domain.level.at() + 1 == levels.len(),
        };
        if !right {
            let has = match inside {
                None => "no domain".to_owned(),
                Some(None) => "one that does not exist".to_owned(),
                Some(Some(domain)) => format!("{} of level {}", domain.name, domain.level.0),
            };
            let innermost = levels.last().map_or("node of no domain", String::as_str).to_owned();
            return Err(TopologyError::NodeDomain { name: node.name.clone(), innermost, has });
        }
        let numbers = [("the load capacity", node.load_capacity), ("the risk", node.risk)];
        for (field, value) in numbers.into_iter().filter_map(|(field, value)| Some((field, value?))) {
            if !value.is_finite() || value < 0.0 {
                return Err(TopologyError::NotANumber { name: node.name.clone(), field, value });
            }
        }
        if node.network_bytes_per_s == Some(0) {
            return Err(TopologyError::NoBandwidth(format!("node {}", node.name)));
        }
    }
    let with = nodes.iter().find(|node| node.load_capacity.is_some());
    let without = nodes.iter().find(|node| node.load_capacity.is_none());
    match (with, without) {
        (Some(with), Some(without)) => {
            Err(TopologyError::LoadCapacityOfSome { with: with.name.clone(), without: without.name.clone() })
        }
        _ => Ok(()),
    }
}
