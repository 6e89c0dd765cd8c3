//! Many migrations over many nodes, by seeds: never more at a time than may be, of all, of an adapter, of a node. What
//! counts is what the adapters have heard of, from the first call of a migration to its last.

use crate::fake::{Bounds, When};
use crate::scene::{Deaths, Scene, spec, system};
use crate::{ENGINE, FENCE_AT_SWITCH, REPAIR};
use isotherm_runner::Limits;

const SEEDS: u64 = 6;

const MIGRATIONS: usize = 24;

/// Enough nodes for each limit to be the one that holds up, now and then.
const NODES: usize = 7;

/// What adapters take.
fn takes(system: &str) -> usize {
    if system == "one" { 2 } else { 3 }
}

/// What all of a seed did: the most that was under way, and what must not have been.
fn live(seed: u64, limits: &Limits, bounds: Bounds) -> ([usize; 3], Vec<String>) {
    let mut chance = fastrand::Rng::with_seed(seed);
    let way = [FENCE_AT_SWITCH, ENGINE, REPAIR][chance.usize(0..3)];
    let systems = ["one", "two"].map(|name| (name, u32::try_from(takes(name)).unwrap()));
    let mut scene = Scene::new(way, &systems, limits.clone(), Deaths::default());
    scene.world().bounds = Some(bounds);
    scene.world().chance = Some(chance.fork());
    // Now and then it dies, and what was under way is under way still.
    scene.world().strike = Some((chance.usize(20..120), When::After));
    for number in 0..MIGRATIONS {
        let from = chance.usize(0..NODES);
        let to = (from + chance.usize(1..NODES)) % NODES;
        let of = system(["one", "two"][chance.usize(0..2)]);
        scene.begin(&spec(&format!("m{number}"), &of, way, &format!("n{from}"), &format!("n{to}")));
    }
    scene.end_all();
    assert_eq!(scene.died, 1, "seed {seed}");
    let world = scene.world();
    let moved = world.parts.values().filter(|part| part.is_moved()).count();
    assert_eq!(moved, MIGRATIONS, "seed {seed}: {:?}", world.parts);
    (world.most, world.violations.clone())
}

#[test]
fn no_limit_is_ever_exceeded() {
    let limits = Limits { migrations: 4, per_node: 2, ..Limits::default() };
    let bounds = Bounds { all: 4, per_node: 2, takes };
    let mut most = [0; 3];
    for seed in 0..SEEDS {
        let (reached, violations) = live(seed, &limits, bounds);
        assert_eq!(violations, [""; 0], "seed {seed}");
        most = std::array::from_fn(|at| most[at].max(reached[at]));
    }
    assert_eq!(most, [4, 3, 2], "each limit is reached, of all, of an adapter, of a node");
}

#[test]
fn a_limit_that_is_exceeded_is_seen() {
    let limits = Limits { migrations: 4, per_node: 2, ..Limits::default() };
    let all = Bounds { all: 3, per_node: 2, takes };
    let node = Bounds { all: 4, per_node: 1, takes };
    let adapter = Bounds { all: 4, per_node: 2, takes: |_| 2 };
    for (bounds, told) in
        [(all, "4 are under way"), (node, "a node has 2"), (adapter, "3 are under way in two")]
    {
        let found = (0..SEEDS).any(|seed| live(seed, &limits, bounds).1.iter().any(|found| found == told));
        assert!(found, "{told}");
    }
}
