//! Steps that are read as time goes on are those that are read at once.

use super::*;
use crate::RunningSteps;

const LENGTHS: [u64; 3] = [2_000, 4_000, 8_000];

fn running(bench: &Bench) -> RunningSteps {
    let lengths = LENGTHS.map(|length| NonZeroU64::new(length).unwrap());
    RunningSteps::new(bench.store.reader(), &lengths).unwrap()
}

/// Every step that ends at `end_ms` is answered alike, shorter ones first.
fn check(bench: &Bench, running: &mut RunningSteps, end_ms: u64) {
    for length in LENGTHS.into_iter().filter(|length| end_ms.is_multiple_of(*length)) {
        let query = bench.query(length, end_ms / length - 1);
        assert_eq!(running.steps(&query).unwrap(), bench.store.reader().steps(&query).unwrap(), "{length}");
    }
}

/// A second of two nodes: reads, writes, latencies, and layouts that grow.
fn second(second: u64) -> Window {
    let shift = 12 + u8::try_from(second % 3).unwrap();
    let a =
        vec![reads_at("p", shift, &[(3, 40 + second), (60, 7)]), writes("p", 2), device_reads("q", second)];
    let mut a = node_window("a", a);
    a.processes = 1 + u32::try_from(second).unwrap();
    window(second * 1_000, vec![a, node_window("b", vec![reads("p", 10), reads("r", second % 4)])])
}

fn send(bench: &mut Bench, agent: &str, seq: u64, windows: Vec<Window>) {
    commit(&mut bench.store, &[batch(&run(agent), seq, windows)]);
}

#[test]
fn each_step_is_answered_as_if_it_were_read_at_once() {
    let mut bench = Bench::new(Vec::new()).with_subset("p", &["a", "b"]).with_subset("cold", &["a", "b"]);
    let mut running = running(&bench);
    for number in 0..24 {
        send(&mut bench, "agent", number + 1, vec![second(number)]);
        if (number + 1).is_multiple_of(2) {
            check(&bench, &mut running, (number + 1) * 1_000);
        }
    }
}

#[test]
fn windows_that_come_after_their_step_was_read_are_in_the_longer_ones_once() {
    let mut bench = Bench::new(Vec::new()).with_subset("p", &["a", "b"]);
    let mut running = running(&bench);
    let without_b = |number: u64| {
        let mut window = second(number);
        window.nodes.truncate(1);
        window
    };
    let b_alone = |number: u64| {
        let mut window = second(number);
        window.nodes.remove(0);
        window
    };
    for number in 0..8 {
        send(&mut bench, "agent", number + 1, vec![without_b(number)]);
        // What the other agent has of the first six seconds comes at once.
        match number {
            0..5 => {}
            5 => send(&mut bench, "other", 1, (0..=5).map(b_alone).collect()),
            _ => send(&mut bench, "other", number - 4, vec![b_alone(number)]),
        }
        if (number + 1).is_multiple_of(2) {
            check(&bench, &mut running, (number + 1) * 1_000);
        }
    }
    let hour = bench.query(8_000, 0);
    let counts = running.steps(&hour).unwrap();
    assert!(
        matches!(counts.node_entropy(of(&counts, "p")), NodeEntropy::Known(_)),
        "both were watched at last"
    );
    assert_eq!(counts.nodes[1].reads.unwrap().ops, (0..8).map(|number| 10 + number % 4).sum::<u64>());
}

#[test]
fn what_was_not_read_in_its_time_is_read_when_it_is_asked_for() {
    let mut bench = Bench::new(Vec::new()).with_subset("p", &["a", "b"]);
    send(&mut bench, "agent", 1, (0..16).map(second).collect());
    check(&bench, &mut running(&bench), 8_000);
    let mut running = running(&bench);
    for end_ms in [6_000, 8_000, 4_000, 16_000, 14_000] {
        check(&bench, &mut running, end_ms);
    }
    let other = bench.query(3_000, 1);
    assert_eq!(running.steps(&other).unwrap(), bench.step(3_000, 1), "another length");
    assert!(RunningSteps::new(bench.store.reader(), &[]).is_none());
    let uneven = [2_000, 3_000].map(|length| NonZeroU64::new(length).unwrap());
    assert!(RunningSteps::new(bench.store.reader(), &uneven).is_none());
}

#[test]
fn a_window_over_a_border_of_short_steps_is_whole_in_the_longer_one() {
    let mut bench = Bench::new(Vec::new()).with_subset("p", &["a", "b"]);
    let long = Window { length_ms: 2_000, ..second(1) };
    let windows = [vec![second(0), long], (3..8).map(second).collect()].concat();
    send(&mut bench, "agent", 1, windows);
    let mut running = running(&bench);
    (1..=4).for_each(|number| check(&bench, &mut running, number * 2_000));
    let known = |counts: &StepCounts| matches!(counts.node_entropy(of(counts, "p")), NodeEntropy::Known(_));
    assert!(!known(&bench.step(2_000, 0)) && !known(&bench.step(2_000, 1)));
    assert!(known(&bench.step(4_000, 0)));
}

#[test]
fn peers_of_the_network_are_summed_likewise() {
    let mut bench = Bench::new(Vec::new()).with_subset("p", &["a", "b"]).network();
    let mut running = running(&bench);
    for number in 0..8 {
        let peers = [(Some("10.9.0.1:0"), 30 + number), (Some("10.0.0.2:7000"), 4), (None, number)];
        let a = receiving(node_window("a", vec![]), "p", &peers);
        let mut b = receiving(node_window("b", vec![]), "p", &[(Some("10.9.0.1:0"), 20)]);
        b.listening = vec!["10.0.0.2:7000".parse().unwrap()];
        send(&mut bench, "agent", number + 1, vec![window(number * 1_000, vec![a, b])]);
        if (number + 1).is_multiple_of(2) {
            check(&bench, &mut running, (number + 1) * 1_000);
        }
    }
    let counts = running.steps(&bench.query(8_000, 0)).unwrap();
    assert_eq!(of(&counts, "p").kept_out.reads, 32);
}
