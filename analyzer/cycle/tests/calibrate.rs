//! Risks held against what came of them, in a made-up world whose hazards are other than the cluster's facts say.

mod scene;

use isotherm_cycle::calibrate::{Marked, PER_HOUR};
use isotherm_cycle::cluster::Cluster;
use isotherm_cycle::input::StepLength;
use isotherm_cycle::record::Record;
use isotherm_cycle::{Settings, State, assess};
use isotherm_model::Timestamp;
use scene::{START_MS, cluster, led, noise, step};

/// Nodes fail so many times as often as the facts say.
const TRUTH: f64 = 3.0;

fn at(minutes: u64) -> Timestamp {
    Timestamp::from_ms(START_MS + minutes * 60_000)
}

/// Risks of an hour, so that a month is enough.
fn settings() -> Settings {
    Settings { horizon_h: 1.0, ..Settings::default() }
}

/// Nodes alone fail, and there is no headroom to speak of: the risk is that of the sum of the hazards of the holders.
fn world(partitions: u32) -> Cluster {
    let mut cluster = cluster(20, partitions);
    for (at, node) in (0_u32..).zip(&mut cluster.nodes) {
        node.hazard.per_hour = 0.001_6 * f64::from(1 + at);
        node.capacity_per_s = None;
    }
    cluster.domains.iter_mut().for_each(|domain| domain.hazard.per_hour = 0.0);
    cluster
}

fn minute(state: &mut State, cluster: &Cluster, settings: &Settings, number: u64) {
    // Every holder serves more than a fifth, so that the failure of any is an incident.
    state.absorb(&step(cluster, StepLength::Minute, number, |p, n| led(0.4, p, n)), cluster, settings);
}

fn records(state: &State, cluster: &Cluster, settings: &Settings, minutes: u64) -> Vec<Record> {
    assess(state, cluster, settings, at(minutes)).expect("facts that belong together").1
}

/// So many hours of the world, on top of those that were.
fn lived(state: &mut State, cluster: &Cluster, settings: &Settings, hours: std::ops::Range<u64>) {
    for number in hours.start * 60..hours.end * 60 {
        for (node, facts) in (0_u64..).zip(&cluster.nodes) {
            let chance = facts.hazard.per_hour * TRUTH / 60.0;
            if noise(number * 1_000 + node + 1) < chance {
                let middle = Timestamp::from_ms(START_MS + number * 60_000 + 30_000);
                state.incident(&[(facts.system.as_str(), facts.name.as_str())], middle, settings);
            }
        }
        minute(state, cluster, settings, number);
        if (number + 1) % 60 == 0 {
            let records = records(state, cluster, settings, number + 1);
            state.predicted(&records, settings);
        }
    }
}

#[test]
fn calibrated_risks_are_those_that_came_where_hazards_are_thrice_what_the_facts_say() {
    let (cluster, settings, mut state) = (world(20), settings(), State::default());
    lived(&mut state, &cluster, &settings, 0..10);
    let early = records(&state, &cluster, &settings, 600);
    assert!(early.iter().all(|record| record.exposure.is_some() && record.calibrated.is_none()));
    lived(&mut state, &cluster, &settings, 10..700);
    let standing = state.calibrator().standing();
    // A failure an hour, of which those of every other node meet a prediction of the hour.
    assert!(standing.is_enough() && (280..420).contains(&standing.incidents), "{standing:?}");
    let mut worst = 0.0_f64;
    // Some hundred incidents in each third of the risks: frequencies are known to a tenth, and held to a quarter.
    for record in records(&state, &cluster, &settings, 700 * 60) {
        let raw = record.exposure.expect("known").risk;
        let truth = 1.0 - (1.0 - raw).powf(TRUTH);
        let calibrated = record.calibrated.expect("there are enough labels");
        assert!((calibrated - truth).abs() < 0.25 * truth, "{raw} is {truth}, not {calibrated}");
        worst = worst.max((calibrated - truth).abs() / truth);
        assert!((raw - truth).abs() > 0.6 * truth);
    }
    let curves = state.calibrator().curves().expect("there are labels");
    assert_eq!(curves.raw.labels, standing.labels);
    let said = curves.said.expect("most labels are of calibrated risks");
    let (raw, calibrated) =
        (said.raw.reliability.calibration_error(), said.calibrated.reliability.calibration_error());
    assert!(raw > 0.07 && calibrated < 0.03, "{raw} {calibrated}");
    assert!(said.calibrated.brier < said.raw.brier);
    println!("{standing:?}; worst {worst:.3}; calibration error {raw:.4}, {calibrated:.4} after calibration");

    let other = Settings { horizon_h: 2.0, ..settings.clone() };
    let of_another = records(&state, &cluster, &other, 700 * 60);
    assert!(of_another.iter().all(|record| record.calibrated.is_none()), "labels are of risks of an hour");
    minute(&mut state, &cluster, &other, 700 * 60);
    assert_eq!(state.calibrator().standing().labels, 0);
}

#[test]
fn what_is_learned_does_not_depend_on_restarts() {
    let (cluster, settings) = (world(20), settings());
    let mut whole = State::default();
    lived(&mut whole, &cluster, &settings, 0..24);
    let mut restarted = State::default();
    for part in [0..7, 7..8, 8..24] {
        lived(&mut restarted, &cluster, &settings, part);
        let written = postcard::to_stdvec(&restarted).expect("it can be written");
        restarted = postcard::from_bytes(&written).expect("and read back");
    }
    assert!(whole.calibrator().standing().positive > 0);
    assert_eq!(whole.calibrator(), restarted.calibrator());
}

#[test]
fn of_many_partitions_a_few_are_remembered_an_hour_and_each_in_its_turn() {
    let (cluster, settings) = (world(100), settings());
    let mut state = State::default();
    let mut most = 0;
    for hour in 0..9 {
        for number in hour * 60..(hour + 1) * 60 {
            minute(&mut state, &cluster, &settings, number);
        }
        let records = records(&state, &cluster, &settings, (hour + 1) * 60);
        most += state.predicted(&records, &settings);
        assert_eq!(state.predicted(&records, &settings), 0, "once an hour");
        assert!(state.calibrator().pending() <= 3 * PER_HOUR);
    }
    assert_eq!(most, 100, "nine hours are a turn of a hundred partitions, twelve an hour");
    let standing = state.calibrator().standing();
    assert_eq!(standing.independent, standing.labels);
}

#[test]
fn a_failure_that_is_told_of_before_the_cycle_of_its_minute_is_an_incident_of_that_cycles_risks() {
    let (cluster, settings) = (world(10), settings());
    let mut state = State::default();
    for number in 0..60 {
        minute(&mut state, &cluster, &settings, number);
    }
    let node = cluster.partitions[0].holders[0] as usize;
    let name = (cluster.nodes[node].system.as_str(), cluster.nodes[node].name.as_str());
    let told = state.incident(&[name], Timestamp::from_ms(at(60).as_ms() + 5_000), &settings);
    assert_eq!(told, Marked::default(), "nothing was predicted yet");
    let records = records(&state, &cluster, &settings, 60);
    assert_eq!(state.predicted(&records, &settings), 10);
    for number in 60..180 {
        minute(&mut state, &cluster, &settings, number);
    }
    let held = cluster.partitions.iter().filter(|one| one.holders.contains(&(node as u32))).count();
    let standing = state.calibrator().standing();
    assert_eq!((standing.labels, standing.positive, standing.incidents), (10, held, 1));
    assert_eq!(state.incident(&[("made-up", "nobody")], at(180), &settings), Marked::default());
}
