//! Plans of the benchmark's failures and drains against a maximum flow: the least bytes, and pressures as low as
//! they can be.

use crate::support::events::{Asked, Event, happen, of_benchmark};
use crate::support::flow::{Flow, feasible};
use crate::support::generator::{Generated, Scale, Start, generate};
use crate::support::judge::faults;
use crate::support::measures::{Measures, measure};
use isotherm_placement::{Cause, Cluster, Partition, Snapshot, plan};
use std::collections::BTreeSet;

/// The bound cuts replicas into parts. Whole ones come this close to it on the smallest cluster.
const WHOLE: f64 = 1e-3;

/// What an event and its plan come to.
struct Outcome {
    name: String,
    before: Measures,
    after: Measures,
    /// The lowest highest size and load pressure.
    feasible: (f64, f64),
}

fn outcomes(generated: &Generated, events: &[(&str, Vec<Event>)]) -> Vec<Outcome> {
    events.iter().map(|(name, all)| outcome(generated, name, all)).collect()
}

fn outcome(generated: &Generated, name: &str, events: &[Event]) -> Outcome {
    let mut cluster: Cluster = generated.cluster();
    let before = measure(&cluster, &cluster.assignment, &cluster.assignment);
    let mut asked = Asked::default();
    events.iter().for_each(|event| happen(&mut cluster, generated, event, &mut asked));
    let snapshot = Snapshot::new(cluster.clone()).unwrap();
    let made = plan(&snapshot, &asked.request());
    let found = faults(&cluster, &asked.request(), &made);
    assert!(found.is_empty(), "{name}: {:#?}", &found[..found.len().min(5)]);
    let refused = made.refusals.iter().find(|refusal| refusal.cause != Cause::NoSurvivor);
    assert!(refused.is_none(), "{name}: {refused:?}");
    // What is lost for good is no part of what a plan can do.
    let gone: BTreeSet<Partition> = made.refusals.iter().filter_map(|refusal| refusal.partition).collect();
    for p in &gone {
        cluster.assignment.set(*p, &[]);
    }
    let snapshot = Snapshot::new(cluster.clone()).unwrap();
    let after = made.result(&snapshot).unwrap();
    let nodes = cluster.topology.nodes();
    let feasible = (
        feasible(&cluster, &cluster.assignment, &|at| cluster.partitions.size_bytes[at] as f64, &|at| {
            nodes[at].capacity_bytes as f64
        }),
        feasible(&cluster, &cluster.assignment, &|at| cluster.partitions.load[at], &|at| {
            nodes[at].load_capacity.unwrap()
        }),
    );
    let mut after = measure(&cluster, &cluster.assignment, &after);
    after.violations -= gone.len();
    Outcome { name: name.to_owned(), before, after, feasible }
}

fn failures(generated: &Generated) -> Vec<(&'static str, Vec<Event>)> {
    let repaired = |event: &Event| matches!(event, Event::Fail(_) | Event::Drain(_));
    let events = of_benchmark(generated).into_iter().filter(|(_, event)| repaired(event));
    events.map(|(name, event)| (name, vec![event])).collect()
}

#[test]
fn the_flow_is_the_largest_there_is() {
    // Two ways of 3 and 2 that share a middle of 4.
    let mut flow = Flow::of(5);
    for (a, b, capacity) in [(0, 2, 3.0), (0, 3, 2.0), (2, 4, 5.0), (3, 4, 5.0), (4, 1, 4.0)] {
        flow.edge(a, b, capacity);
    }
    assert!((flow.most(0, 1, 1e-9) - 4.0).abs() < 1e-9);
}

#[test]
fn three_racks_bound_the_pressure_after_a_failure() {
    // 1.089 is the bound that the measured peers ran against: a rack of three must hold a third of all bytes.
    let generated = generate(Scale::S, 1, Start::Random);
    let outcome = outcome(&generated, "fail1", &failures(&generated)[0].1);
    assert!((outcome.feasible.0 - 1.089).abs() < 0.01, "{:?}", outcome.feasible);
}

#[test]
fn failures_and_drains_move_what_was_lost_and_keep_pressures_as_low_as_can_be() {
    let mut worst = Vec::new();
    for (scale, seeds) in [(Scale::S, 1..7), (Scale::M, 1..2)] {
        for seed in seeds {
            for start in [Start::Random, Start::Copysets(10)] {
                let generated = generate(scale, seed, start);
                for outcome in outcomes(&generated, &failures(&generated)) {
                    worst.extend(excess(&outcome, &format!("{scale:?} {seed} {start:?}")));
                }
            }
        }
    }
    assert!(worst.is_empty(), "{}", worst.join("\n"));
}

/// What an outcome exceeds.
fn excess(outcome: &Outcome, case: &str) -> Vec<String> {
    let Outcome { name, before, after, feasible } = outcome;
    let mut found = Vec::new();
    if after.moved_bytes != after.lost_bytes || after.violations > 0 || after.over > 0 {
        found.push(format!("{case} {name}: {after:?}"));
    }
    for (dimension, was, is, bound) in
        [("size", before.size, after.size, feasible.0), ("load", before.load, after.load, feasible.1)]
    {
        let most = was.max(bound).max(1.02);
        if is > most + WHOLE {
            found.push(format!(
                "{case} {name}: {dimension} {is:.4}, before {was:.4}, bound {bound:.4}, copysets {} -> {}",
                before.copysets, after.copysets
            ));
        }
    }
    found
}
