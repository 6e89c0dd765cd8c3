//! Other seeds, events and starts than those of the other tests.

use crate::support::draws::Draws;
use crate::support::events::{Asked, Event, happen};
use crate::support::generator::{Generated, Scale, Start, generate};
use crate::support::judge::faults;
use crate::support::measures::{held, measure};
use isotherm_placement::{Cause, Cluster, NodeState, Snapshot, plan};

/// Events of every kind, by seed.
fn events(generated: &Generated, seed: u64) -> Vec<(String, Vec<Event>)> {
    let mut draws = Draws::new(seed, "sweep");
    let nodes = generated.machines.len();
    let racks = generated.machines.iter().map(|machine| machine.rack).max().map_or(0, |last| last + 1);
    let mut apart = |count: usize| {
        let mut chosen: Vec<usize> = Vec::new();
        while chosen.len() < count {
            let node = draws.below(nodes);
            let rack = |node: usize| generated.machines[node].rack;
            let crowded = chosen.iter().filter(|other| rack(**other) == rack(node)).count() > count / racks;
            if !crowded && !chosen.contains(&node) {
                chosen.push(node);
            }
        }
        chosen
    };
    let one = apart(1)[0];
    let rack = generated.machines[one].rack;
    let mut all = vec![
        ("fail2".to_owned(), vec![Event::Fail(apart(2))]),
        ("fail3".to_owned(), vec![Event::Fail(apart(3))]),
        ("fail5".to_owned(), vec![Event::Fail(apart(5))]),
        ("drain2".to_owned(), vec![Event::Drain(apart(2))]),
        ("drain+add".to_owned(), vec![Event::Drain(vec![one]), Event::Add(vec![(rack, 2.0)])]),
        ("fail+add".to_owned(), vec![Event::Fail(vec![one]), Event::Add(vec![(rack, 2.0)])]),
        ("add2".to_owned(), vec![Event::Add(vec![(0, 1.0), (1, 4.0)])]),
        ("add new rack".to_owned(), vec![Event::Add(vec![(racks, 4.0)])]),
    ];
    for weight in [0.5, 1.0, 2.0, 4.0] {
        all.push((
            format!("fail of weight {weight}"),
            vec![Event::Fail(with_weight(generated, weight, seed))],
        ));
        all.push((format!("add {weight}"), vec![Event::Add(vec![(rack, weight)])]));
        all.push((format!("weight {weight}"), vec![Event::SetCapacity(one, weight)]));
    }
    all.retain(|(_, events)| !events.contains(&Event::Fail(Vec::new())));
    all
}

fn with_weight(generated: &Generated, weight: f64, seed: u64) -> Vec<usize> {
    let of: Vec<usize> =
        (0..generated.machines.len()).filter(|at| generated.machines[*at].weight == weight).collect();
    if of.is_empty() { of } else { vec![of[seed as usize % of.len()]] }
}

/// Bytes that must move at least, as the benchmark's judge counts them; events that do several things need the sum.
fn least(cluster: &Cluster, asked: &Asked, lost: u64) -> f64 {
    let (bytes, _) = held(cluster, &cluster.assignment);
    let nodes = cluster.topology.nodes();
    let up = || (0..nodes.len()).filter(|at| nodes[*at].state == NodeState::Up);
    let mean = bytes.iter().sum::<f64>() / up().map(|at| nodes[at].capacity_bytes as f64).sum::<f64>();
    let share = |at: usize| mean * nodes[at].capacity_bytes as f64;
    let short: f64 = asked.fill.iter().map(|node| (share(node.at()) - bytes[node.at()]).max(0.0)).sum();
    let over: f64 = asked.shed.iter().map(|node| (bytes[node.at()] - share(node.at())).max(0.0)).sum();
    // What is lost can go where something is short.
    (lost as f64).max(short) + over
}

fn sweep(scale: Scale, seeds: std::ops::Range<u64>, starts: &[Start]) {
    let mut wrong = 0;
    for seed in seeds {
        for start in starts {
            let generated = generate(scale, seed, *start);
            for (name, events) in events(&generated, seed) {
                let lines = one(&generated, &events);
                wrong += lines.len();
                lines.iter().for_each(|line| println!("{scale:?} {seed} {start:?} {name}: {line}"));
            }
        }
    }
    assert_eq!(wrong, 0);
}

fn one(generated: &Generated, events: &[Event]) -> Vec<String> {
    let mut cluster = generated.cluster();
    let before = measure(&cluster, &cluster.assignment, &cluster.assignment);
    let mut asked = Asked::default();
    events.iter().for_each(|event| happen(&mut cluster, generated, event, &mut asked));
    let snapshot = Snapshot::new(cluster.clone()).unwrap();
    let made = plan(&snapshot, &asked.request());
    let mut lines: Vec<String> = faults(&cluster, &asked.request(), &made).into_iter().take(3).collect();
    let after = made.result(&snapshot).unwrap();
    let measured = measure(&cluster, &cluster.assignment, &after);
    let dead = made.refusals.iter().filter(|refusal| refusal.cause == Cause::NoSurvivor).count();
    let other = made.refusals.iter().find(|refusal| refusal.cause != Cause::NoSurvivor);
    lines.extend(other.map(|refusal| format!("{refusal:?}, one of {}", made.refusals.len() - dead)));
    let least = least(&cluster, &asked, measured.lost_bytes);
    let ratio = measured.moved_bytes as f64 / least;
    // Within the dead band nothing is moved.
    let all: f64 = held(&cluster, &cluster.assignment).0.iter().sum();
    let worth = least > 0.05 * all / generated.machines.len() as f64;
    let only_repair = asked.fill.is_empty() && asked.shed.is_empty();
    let most = if only_repair { 1.0 } else { 1.02 };
    if least > 0.0 && ratio > most + 1e-9 || dead == 0 && worth && ratio < 0.95 {
        lines.push(format!("moved {ratio:.4} of the least, {} bytes", measured.moved_bytes));
    }
    if (dead == 0 && measured.violations > 0) || measured.over > 0 {
        lines.push(format!("{} violations, {} over", measured.violations, measured.over));
    }
    let feasible = if generated.machines.len() <= 30 { 1.35 } else { 1.02 };
    // More capacity lowers the mean that pressures are relative to.
    let capacity = |up: &dyn Fn(usize) -> bool| -> f64 {
        let nodes = cluster.topology.nodes();
        (0..nodes.len()).filter(|at| up(*at)).map(|at| nodes[at].capacity_bytes as f64).sum()
    };
    let now = capacity(&|at| cluster.topology.nodes()[at].state == NodeState::Up);
    let then: f64 = generated.cluster().topology.nodes().iter().map(|node| node.capacity_bytes as f64).sum();
    let more = (now / then).max(1.0);
    if measured.size > before.size.max(feasible) * more + 0.005
        || measured.load > before.load.max(feasible) * more + 0.005
    {
        lines.push(format!(
            "size {:.4} -> {:.4}, load {:.4} -> {:.4}",
            before.size, measured.size, before.load, measured.load
        ));
    }
    if before.copysets * 4 < generated.parts.len() && measured.copysets as f64 > 1.10 * before.copysets as f64
    {
        lines.push(format!("copysets {} -> {}", before.copysets, measured.copysets));
    }
    let mut next = made.apply(snapshot).unwrap();
    next.now_s += 400_000;
    let again = plan(&Snapshot::new(next).unwrap(), &asked.request());
    if !again.moves.is_empty() {
        lines.push(format!("planned again: {} moves of {} bytes", again.moves.len(), again.totals.bytes));
    }
    lines
}

#[test]
fn other_events_are_planned_as_well() {
    sweep(Scale::M, 1..3, &[Start::Random, Start::Copysets(4), Start::Copysets(10), Start::Copysets(20)]);
}
