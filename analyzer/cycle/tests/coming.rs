//! What was begun is judged as if it were done, before any count shows it: destinations are not taken twice.

mod scene;

use isotherm_cycle::cluster::{Cluster, Coming};
use isotherm_cycle::input::StepLength;
use isotherm_cycle::record::{How, Record, Verdict};
use isotherm_cycle::{Settings, Shifts, State, assess, decide_all};
use isotherm_model::Timestamp;
use scene::{START_MS, cluster, led, step};

/// The node with a history of failures.
const WEAK: usize = 2;

fn settings(shifts: Shifts) -> Settings {
    let mut settings = Settings { shifts: Some(shifts), ..Settings::default() };
    // Nine nodes are never even, and what a copy of this size costs is not what is tried.
    settings.gate.peak_over_mean = 10.0;
    settings.gate.gain_over_cost = 0.001;
    settings
}

/// An hour of nine nodes that bear 40 reads a second each, and twelve partitions of 10.
fn hour() -> (State, Cluster) {
    let mut cluster = cluster(9, 12);
    cluster.nodes.iter_mut().for_each(|node| node.capacity_per_s = Some(40.0));
    cluster.nodes[WEAK].hazard.per_hour *= 600.0;
    cluster.nodes[WEAK].hazard.over_class = 600.0;
    let mut state = State::default();
    for number in 0..60 {
        let minute = step(&cluster, StepLength::Minute, number, |p, n| led(0.6, p, n));
        state.absorb(&minute, &cluster, &settings(Shifts::None));
    }
    (state, cluster)
}

fn decided(state: &State, cluster: &Cluster, shifts: Shifts) -> Vec<Record> {
    let at = Timestamp::from_ms(START_MS + 3_600_000);
    cluster.check().expect("facts that can be");
    let (landscape, mut records) = assess(state, cluster, &settings(shifts), at).expect("facts that fit");
    decide_all(&mut records, &landscape, cluster, &settings(shifts));
    records
}

/// Where each partition is to go, by its position.
fn targets(records: &[Record], cluster: &Cluster) -> Vec<(usize, u32)> {
    let target = |(at, record): (usize, &Record)| match &record.action.as_deref()?.how {
        How::Move { to, .. } if record.verdict == Verdict::Move => {
            let to = cluster.nodes.iter().position(|node| node.name == *to).expect("a node");
            Some((at, to as u32))
        }
        How::Move { .. } | How::Lead { .. } | How::Drain { .. } => None,
    };
    records.iter().enumerate().filter_map(target).collect()
}

#[test]
fn a_node_that_gets_others_already_is_not_asked_for_beyond_its_headroom() {
    let (state, mut cluster) = hour();
    let before = targets(&decided(&state, &cluster, Shifts::None), &cluster);
    let (first, to) = *before.first().expect("something should leave the weak node");
    // Others of 10 reads a second are on their way there, all from a node that they lead on.
    let others = (0..cluster.partitions.len()).filter(|at| *at != first);
    let others: Vec<usize> =
        others.filter(|at| !cluster.partitions[*at].holders.contains(&to)).take(6).collect();
    assert_eq!(others.len(), 6);
    for at in others {
        let from = cluster.partitions[at].holders[0];
        cluster.partitions[at].coming = Some(Coming::Move { from, to });
    }
    let after = targets(&decided(&state, &cluster, Shifts::None), &cluster);
    let then = after.iter().find(|(at, _)| *at == first);
    assert!(then.is_some_and(|(_, elsewhere)| *elsewhere != to), "before to {to}, then {then:?}");
    // Of what is on its way itself, the own copy is no other's.
    let mut own = hour().1;
    own.partitions[first].coming = Some(Coming::Move { from: WEAK as u32, to });
    let own = targets(&decided(&state, &own, Shifts::None), &cluster);
    assert!(own.contains(&(first, to)), "{own:?}");
}

#[test]
fn reads_are_not_shifted_to_who_is_to_serve_more_already() {
    let (state, mut cluster) = hour();
    let drains = |cluster: &Cluster| -> Vec<usize> {
        let records = decided(&state, cluster, Shifts::Drain);
        (0..records.len()).filter(|at| records[*at].verdict == Verdict::ShiftReads).collect()
    };
    let first = *drains(&cluster).first().expect("reads should leave the weak node");
    let survivor = cluster.partitions[first].holders.iter().copied().find(|node| *node as usize != WEAK);
    let to = survivor.expect("three nodes hold it");
    let others = (0..cluster.partitions.len()).filter(|at| !cluster.partitions[*at].holders.contains(&to));
    for at in others.take(6).collect::<Vec<_>>() {
        let from = cluster.partitions[at].holders[0];
        cluster.partitions[at].coming = Some(Coming::Move { from, to });
    }
    assert!(!drains(&cluster).contains(&first));
}
