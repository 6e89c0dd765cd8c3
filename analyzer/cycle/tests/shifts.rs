//! Partitions whose reads are kept off a node: they are judged without it, and it by itself.

mod scene;

use isotherm_cycle::cluster::{Cluster, Kept, NodeState, Shift};
use isotherm_cycle::input::StepLength;
use isotherm_cycle::record::{Cause, How, Record, Verdict};
use isotherm_cycle::{Settings, Shifts, State, assess, decide_all};
use isotherm_model::Timestamp;
use isotherm_model::entropy::over_nodes;
use scene::{START_MS, cluster, led, step};

/// The node with a history of failures.
const WEAK: u32 = 2;

fn at(minutes: u64) -> Timestamp {
    Timestamp::from_ms(START_MS + minutes * 60_000)
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    // Nine nodes are never even.
    settings.gate.peak_over_mean = 10.0;
    settings
}

fn decided(state: &State, cluster: &Cluster, minutes: u64) -> Vec<Record> {
    decided_by(&settings(), state, cluster, minutes)
}

fn decided_by(settings: &Settings, state: &State, cluster: &Cluster, minutes: u64) -> Vec<Record> {
    let (landscape, mut records) = assess(state, cluster, settings, at(minutes)).expect("facts that fit");
    decide_all(&mut records, &landscape, cluster, settings);
    records
}

/// A minute; who is drained serves nothing, and is not eligible.
fn minute(state: &mut State, cluster: &Cluster, number: u64) {
    let mut counted = step(cluster, StepLength::Minute, number, |p, n| led(0.6, p, n));
    for (counted, facts) in counted.partitions.iter_mut().zip(&cluster.partitions) {
        if let Some(drained) = facts.drained() {
            counted.served.retain(|(node, _)| *node != drained);
            let counts: Vec<u64> = counted.served.iter().filter_map(|(_, reads)| *reads).collect();
            counted.reads = Some(counts.iter().sum());
            counted.entropy = over_nodes(&counts);
        }
    }
    state.absorb(&counted, cluster, &settings());
}

/// A cluster with a weak node, an hour of it, and a partition that is drained there from then on.
fn drained() -> (State, Cluster, usize) {
    let mut cluster = cluster(9, 12);
    cluster.nodes.iter_mut().for_each(|node| node.shifts = Shifts::Drain);
    cluster.nodes[WEAK as usize].hazard.per_hour *= 600.0;
    cluster.nodes[WEAK as usize].hazard.over_class = 600.0;
    let mut state = State::default();
    (0..60).for_each(|number| minute(&mut state, &cluster, number));
    let before = decided(&state, &cluster, 60);
    let name = cluster.nodes[WEAK as usize].name.clone();
    let wanted = |record: &Record| {
        let how = record.action.as_deref().map(|action| &action.how);
        record.verdict == Verdict::ShiftReads && how == Some(&How::Drain { from: name.clone() })
    };
    let partition = before.iter().position(wanted).expect("reads should leave the weak node");
    let since_ms = at(60).as_ms();
    cluster.partitions[partition].shift =
        Some(Shift { node: WEAK, kept: Kept::Drained, since_ms, gray: false });
    (60..63).for_each(|number| minute(&mut state, &cluster, number));
    (state, cluster, partition)
}

fn cause(record: &Record) -> Cause {
    record.shift.expect("a shift is in force").cause
}

#[test]
fn reads_are_shifted_as_the_adapter_can_unless_the_policy_says_otherwise() {
    let (state, mut cluster, at) = drained();
    cluster.partitions[at].shift = None;
    let drains = |settings: &Settings, cluster: &Cluster| {
        let records = decided_by(settings, &state, cluster, 60);
        records.iter().any(|record| record.verdict == Verdict::ShiftReads)
    };
    assert!(drains(&settings(), &cluster), "its adapter drains");
    assert!(!drains(&Settings { shifts: Some(Shifts::None), ..settings() }, &cluster));
    cluster.nodes.iter_mut().for_each(|node| node.shifts = Shifts::None);
    assert!(!drains(&settings(), &cluster), "its adapter cannot");
    assert!(drains(&Settings { shifts: Some(Shifts::Drain), ..settings() }, &cluster));
}

#[test]
fn a_drained_holder_has_no_share_and_is_not_asked_for_again() {
    let (state, cluster, partition) = drained();
    let record = &decided(&state, &cluster, 63)[partition];
    let weak = record.holders.iter().find(|holder| holder.node == WEAK).expect("it is a holder still");
    assert_eq!(weak.share, Some(0.0), "at once, not as shares are forgotten");
    assert_ne!(record.verdict, Verdict::ShiftReads, "{}", record.reason);
    assert_eq!(cause(record), Cause::There);
    assert!(record.reason.contains("the cause of that is still there"), "{}", record.reason);
    // Reads go on, on the others.
    let others: f64 = record.holders.iter().filter_map(|holder| holder.share).sum();
    assert!((others - 1.0).abs() < 1e-9 && record.reads_per_s.expect("they were counted") > 1.0);
}

#[test]
fn the_cause_is_judged_on_the_node_and_not_on_shares() {
    let (state, cluster, partition) = drained();
    let with = |change: &dyn Fn(&mut Cluster)| {
        let mut changed = cluster.clone();
        changed.nodes[WEAK as usize].hazard.over_class = 1.0;
        change(&mut changed);
        cause(&decided(&state, &changed, 63)[partition])
    };
    let weak = WEAK as usize;
    assert_eq!(with(&|_| {}), Cause::Gone);
    assert_eq!(with(&|cluster| cluster.nodes[weak].state = NodeState::Down), Cause::Unknown);
    // With the reads back it would have no headroom, though it serves none of them now.
    assert_eq!(with(&|cluster| cluster.nodes[weak].capacity_per_s = Some(1.0)), Cause::There);
    assert_eq!(with(&|cluster| cluster.nodes[weak].capacity_per_s = None), Cause::Gone);
    // A node without reads shows no sign of answering badly: a suspicion is taken to last for hours.
    let gray = |since_ms| {
        move |cluster: &mut Cluster| {
            cluster.partitions[partition].shift =
                Some(Shift { node: WEAK, kept: Kept::Drained, since_ms, gray: true });
        }
    };
    assert_eq!(with(&gray(at(60).as_ms())), Cause::There);
    assert_eq!(with(&gray(at(0).as_ms() - 4 * 3_600_000)), Cause::Gone);
}

#[test]
fn what_was_habitual_is_so_again_when_reads_come_back() {
    let (mut state, mut cluster, partition) = drained();
    cluster.partitions[partition].shift = None;
    minute(&mut state, &cluster, 63);
    let settings = settings();
    let (landscape, _) = assess(&state, &cluster, &settings, at(64)).expect("facts that fit");
    let placed = &landscape.placed[partition];
    let place = placed.subset.iter().position(|node| node.0 == WEAK).expect("it is a holder");
    let habitual = placed.habitual.as_ref().expect("there is a habit")[place];
    let usual = [0.6, 0.24, 0.16][place];
    assert!((habitual - usual).abs() < 0.03, "{habitual} {usual}");
}
