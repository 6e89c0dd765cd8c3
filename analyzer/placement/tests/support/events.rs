//! What happens to a cluster, and what a planner is asked then.

use super::draws::Draws;
use super::generator::Generated;
use isotherm_placement::{
    Cluster, Domain, DomainFacts, Level, Node, NodeFacts, NodeState, Request, Topology, hash,
};

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    Fail(Vec<usize>),
    Drain(Vec<usize>),
    /// New nodes by rack and weight. A rack that does not exist is made, in the last zone.
    Add(Vec<(usize, f64)>),
    /// A node's capacity becomes that of another weight.
    SetCapacity(usize, f64),
}

/// The parts of a request that events give.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Asked {
    pub(crate) repair: bool,
    pub(crate) shed: Vec<Node>,
    pub(crate) fill: Vec<Node>,
}

impl Asked {
    pub(crate) fn request(&self) -> Request<'static> {
        Request {
            repair: self.repair,
            drain: false,
            shed: self.shed.clone(),
            fill: self.fill.clone(),
            risk: None,
            balance: false,
        }
    }
}

/// Names and events of the benchmark: a failure, a drain, an addition, a lowered weight, and a mass failure.
pub(crate) fn of_benchmark(generated: &Generated) -> Vec<(&'static str, Event)> {
    let mut draws = Draws::new(generated.seed, "events");
    let of_two: Vec<usize> =
        (0..generated.machines.len()).filter(|at| generated.machines[*at].weight == 2.0).collect();
    let node = of_two[draws.below(of_two.len())];
    let rack = generated.machines[node].rack;
    let racks = generated.machines.iter().map(|machine| machine.rack).max().map_or(0, |last| last + 1);
    let mass = if racks > 3 {
        let inside = (0..generated.machines.len()).filter(|at| generated.machines[*at].rack == rack);
        ("failrack", Event::Fail(inside.collect()))
    } else {
        let three = [of_two[0], of_two[of_two.len() / 2], of_two[of_two.len() - 1]];
        ("fail3", Event::Fail(three.to_vec()))
    };
    vec![
        ("fail1", Event::Fail(vec![node])),
        ("drain1", Event::Drain(vec![node])),
        ("add1", Event::Add(vec![(rack, 2.0)])),
        ("weight1", Event::SetCapacity(node, 1.0)),
        mass,
    ]
}

/// Lets an event happen to a cluster of the benchmark, and adds what it asks for.
pub(crate) fn happen(cluster: &mut Cluster, generated: &Generated, event: &Event, asked: &mut Asked) {
    let mut domains = cluster.topology.domains().to_vec();
    let mut nodes = cluster.topology.nodes().to_vec();
    match event {
        Event::Fail(which) => {
            which.iter().for_each(|node| nodes[*node].state = NodeState::Down);
            asked.repair = true;
        }
        Event::Drain(which) => {
            which.iter().for_each(|node| nodes[*node].state = NodeState::Draining);
            asked.repair = true;
        }
        Event::Add(new) => {
            for (rack, weight) in new {
                let inside = rack_of(&mut domains, *rack);
                asked.fill.push(Node(nodes.len() as u16));
                nodes.push(machine(nodes.len(), inside, *weight, generated));
            }
        }
        Event::SetCapacity(node, weight) => {
            let before = nodes[*node].capacity_bytes;
            let resized = machine(*node, Domain(0), *weight, generated);
            nodes[*node].capacity_bytes = resized.capacity_bytes;
            nodes[*node].load_capacity = resized.load_capacity;
            let list = if resized.capacity_bytes < before { &mut asked.shed } else { &mut asked.fill };
            list.push(Node(*node as u16));
        }
    }
    let levels = cluster.topology.levels().to_vec();
    cluster.topology = Topology::new(levels, domains, nodes, Vec::new()).expect("a topology");
}

fn rack_of(domains: &mut Vec<DomainFacts>, rack: usize) -> Domain {
    let name = format!("rack{rack}");
    if let Some(at) = domains.iter().position(|domain| domain.name == name) {
        return Domain(at as u16);
    }
    let zones = domains.iter().filter(|domain| domain.level == Level(0)).count();
    domains.push(DomainFacts { name, level: Level(1), parent: Some(Domain(zones as u16 - 1)) });
    Domain(domains.len() as u16 - 1)
}

fn machine(at: usize, inside: Domain, weight: f64, generated: &Generated) -> NodeFacts {
    let mib = 1024.0 * 1024.0;
    NodeFacts {
        name: at.to_string(),
        key: hash::key(at.to_string().as_bytes()),
        domain: Some(inside),
        capacity_bytes: (weight * generated.unit_mib as f64 * mib) as u64,
        load_capacity: Some(weight * generated.unit_load as f64),
        network_bytes_per_s: Some(1_250_000_000),
        cordoned: false,
        state: NodeState::Up,
        risk: Some(0.01),
    }
}
