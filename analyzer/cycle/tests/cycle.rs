//! Cycles over a made-up cluster: what records say, and that nothing else decides it.

mod scene;

use isotherm_cycle::cluster::Cluster;
use isotherm_cycle::input::StepLength;
use isotherm_cycle::record::{How, Record, Status, Surging, Verdict};
use isotherm_cycle::{Settings, Shifts, State, assess, decide_all};
use isotherm_model::Timestamp;
use isotherm_risk::{Mode, Standing};
use scene::{START_MS, cluster, led, step};

fn at(minutes: u64) -> Timestamp {
    Timestamp::from_ms(START_MS + minutes * 60_000)
}

/// A state after so many minutes.
fn warmed(cluster: &Cluster, minutes: u64, lead: impl Fn(u32, u64) -> f64) -> State {
    let (mut state, settings) = (State::default(), Settings::default());
    for minute in 0..minutes {
        let step = step(cluster, StepLength::Minute, minute, |p, n| led(lead(p, n), p, n));
        state.absorb(&step, cluster, &settings);
    }
    state
}

fn records(state: &State, cluster: &Cluster, minutes: u64) -> Vec<Record> {
    assess(state, cluster, &Settings::default(), at(minutes)).expect("facts that belong together").1
}

#[test]
fn exposure_and_risk_can_be_computed_from_the_record_again() {
    let cluster = cluster(12, 40);
    let state = warmed(&cluster, 90, |_, _| 0.6);
    let policy = Settings::default().risk.exposure;
    for record in records(&state, &cluster, 90) {
        let exposed = record.exposure.expect("shares are known");
        let again = record
            .recomputed_exposure(policy.incident_share, policy.survivors_weight)
            .expect("shares are known");
        assert!((again - exposed.per_hour).abs() < 1e-12 * exposed.per_hour, "{again} {}", exposed.per_hour);
        assert_eq!(record.recomputed_risk(), Some(exposed.risk));
        assert!(exposed.risk > 0.0 && exposed.risk < 0.1);
        assert!(exposed.forecast_share > 0.0, "minutes have a model by now");
        let shares: f64 = record.holders.iter().filter_map(|holder| holder.share).sum();
        assert!((shares - 1.0).abs() < 1e-9);
        let loss = record.loss.expect("shares are known");
        assert!(loss.per_hour().expect("capacities are known") > 0.0);
    }
}

#[test]
fn the_same_counts_give_the_same_records_whatever_happened_between() {
    let cluster = cluster(9, 25);
    let settings = Settings::default();
    let whole = warmed(&cluster, 120, |_, _| 0.5);
    let mut restarted = warmed(&cluster, 70, |_, _| 0.5);
    for minute in 70..120 {
        // As a restart would: written down, read back.
        let written = postcard::to_stdvec(&restarted).expect("it can be written");
        restarted = postcard::from_bytes(&written).expect("and read back");
        let step = step(&cluster, StepLength::Minute, minute, |p, n| led(0.5, p, n));
        restarted.absorb(&step, &cluster, &settings);
    }
    assert_eq!(records(&whole, &cluster, 120), records(&restarted, &cluster, 120));
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool");
    let by_one = alone.install(|| records(&warmed(&cluster, 120, |_, _| 0.5), &cluster, 120));
    assert_eq!(records(&whole, &cluster, 120), by_one);
}

#[test]
fn a_partition_that_begins_to_spread_its_reads_surges_and_no_other() {
    let cluster = cluster(9, 20);
    let shifted = 4;
    let lead = |p: u32, n: u64| if p == shifted && n >= 1_600 { 0.4 } else { 0.93 };
    let state = warmed(&cluster, 1_606, lead);
    for (at, record) in records(&state, &cluster, 1_606).iter().enumerate() {
        let surges = matches!(record.surge, Surging::Since(_));
        assert_eq!(surges, at == shifted as usize, "{at}: {:?} {:?}", record.surge, record.node);
    }
}

#[test]
fn a_node_that_was_not_watched_makes_entropy_unknown_and_shares_stay_for_an_hour() {
    let cluster = cluster(9, 3);
    let settings = Settings::default();
    let mut state = warmed(&cluster, 60, |_, _| 0.6);
    let before = records(&state, &cluster, 60);
    let silent = |p: u32, n: u64| {
        let [first, second, _] = led(0.6, p, n);
        [first, second, None]
    };
    for minute in 60..110 {
        state.absorb(&step(&cluster, StepLength::Minute, minute, silent), &cluster, &settings);
    }
    let within = records(&state, &cluster, 110);
    assert_eq!((within[0].status, within[0].node.h), (Status::Unknown, None));
    assert_eq!(within[0].holders[0].share, before[0].holders[0].share, "what is not known changes nothing");
    for minute in 110..125 {
        state.absorb(&step(&cluster, StepLength::Minute, minute, silent), &cluster, &settings);
    }
    let after = records(&state, &cluster, 125);
    assert!(after[0].exposure.is_none() && after[0].loss.is_none() && after[0].holders[0].share.is_none());
    assert!(after[0].reason.contains("not watched"), "{}", after[0].reason);
}

#[test]
fn without_capacities_headroom_is_unknown_and_exposure_a_lower_bound() {
    let with = cluster(9, 10);
    let mut without = with.clone();
    without.nodes.iter_mut().for_each(|node| node.capacity_per_s = None);
    let state = warmed(&with, 60, |_, _| 0.6);
    let (known, unknown) = (records(&state, &with, 60), records(&state, &without, 60));
    for (known, unknown) in known.iter().zip(&unknown) {
        let (known, unknown) = (known.exposure.expect("known"), unknown.exposure.expect("known"));
        assert!(known.headroom_known && !unknown.headroom_known);
        assert!(unknown.per_hour <= known.per_hour);
    }
    assert_eq!(unknown[0].loss.expect("known").per_hour(), None);
    assert_eq!(unknown[0].holders[0].overload, None);
}

#[test]
fn a_higher_hazard_of_a_holder_raises_the_exposure_of_its_partitions_alone() {
    let calm = cluster(9, 20);
    let mut hot = calm.clone();
    hot.nodes[2].hazard.per_hour *= 10.0;
    let state = warmed(&calm, 60, |_, _| 0.6);
    for (calm, hot) in records(&state, &calm, 60).iter().zip(records(&state, &hot, 60)) {
        let leans = hot.holders.iter().any(|holder| holder.node == 2);
        let (calm, hot) = (calm.exposure.expect("known").per_hour, hot.exposure.expect("known").per_hour);
        assert_eq!(leans, hot > calm * 1.01, "{calm} {hot}");
    }
}

#[test]
fn a_change_of_policy_changes_the_next_cycles_decision() {
    let mut cluster = cluster(9, 12);
    cluster.nodes[2].hazard.per_hour *= 6.0;
    cluster.nodes[2].hazard.over_class = 6.0;
    let state = warmed(&cluster, 60, |_, _| 0.6);
    let verdicts = |trigger: f64| -> Vec<Verdict> {
        let mut settings = Settings::default();
        settings.gate.hazard_trigger = trigger;
        let (landscape, mut records) = assess(&state, &cluster, &settings, at(60)).expect("facts that fit");
        decide_all(&mut records, &landscape, &cluster, &settings);
        records.iter().map(|record| record.verdict).collect()
    };
    let (asked, calm) = (verdicts(5.0), verdicts(10.0));
    assert!(calm.iter().all(|verdict| *verdict == Verdict::Nothing), "{calm:?}");
    for (at, verdict) in (0_u32..).zip(&asked) {
        let leans = scene::holders(at, 9).contains(&2);
        assert_eq!(leans, *verdict != Verdict::Nothing, "{at}: {verdict:?}");
    }
}

/// Verdicts of all partitions with their reasons.
fn decided(state: &State, cluster: &Cluster, settings: &Settings, minutes: u64) -> Vec<Record> {
    let (landscape, mut records) = assess(state, cluster, settings, at(minutes)).expect("facts that fit");
    decide_all(&mut records, &landscape, cluster, settings);
    records
}

#[test]
fn a_headroom_that_is_exceeded_at_the_busiest_hour_is_a_cause_before_it_is_exceeded() {
    let mut cluster = cluster(9, 12);
    // Ten reads a second of each partition now, and a hundred at noon.
    cluster.nodes.iter_mut().for_each(|node| node.capacity_per_s = Some(150.0));
    let settings = Settings::default();
    let mut state = warmed(&cluster, 60, |_, _| 0.6);
    let calm = decided(&state, &cluster, &settings, 60);
    assert!(calm.iter().all(|record| record.verdict == Verdict::Nothing), "{}", calm[0].reason);
    assert!(calm[0].reason.contains("of the day to come is not known yet"), "{}", calm[0].reason);
    for hour in 0..24 {
        let times = if hour == 12 { 600 } else { 60 };
        let reads = |p: u32, n: u64| led(0.6, p, n).map(|reads| reads.map(|reads| reads * times));
        state.absorb(&step(&cluster, StepLength::Hour, hour, reads), &cluster, &settings);
    }
    let warned = decided(&state, &cluster, &settings, 60);
    assert!(warned.iter().any(|record| record.verdict != Verdict::Nothing), "{}", warned[0].reason);
    let mut present_only = settings.clone();
    present_only.gate.factors.forecast = false;
    let calm = decided(&state, &cluster, &present_only, 60);
    assert!(calm.iter().all(|record| record.verdict == Verdict::Nothing), "{}", calm[0].reason);
}

#[test]
fn a_shift_waits_until_the_leader_has_been_the_same_for_two_days() {
    let mut cluster = cluster(9, 12);
    cluster.nodes[2].hazard.per_hour *= 600.0;
    cluster.nodes[2].hazard.over_class = 600.0;
    let led_by_2 = (0..12).position(|p| scene::holders(p, 9)[0] == 2).expect("one is");
    let mut settings = Settings { shifts: Some(Shifts::Lead), ..Settings::default() };
    // Nine nodes are never even.
    settings.gate.peak_over_mean = 10.0;
    let mut state = warmed(&cluster, 60, |_, _| 0.6);
    let before = &decided(&state, &cluster, &settings, 60)[led_by_2];
    assert_eq!(before.verdict, Verdict::ShiftReads, "{}", before.reason);
    assert!(before.reason.ends_with("only noted, as the mode is to observe"), "{}", before.reason);
    let auto = Settings { mode: Mode::Auto, ..settings.clone() };
    let record = &decided(&state, &cluster, &auto, 60)[led_by_2];
    let told = &record.reason;
    let action = record.action.as_deref().expect("the verdict is an action");
    assert!(matches!(&action.how, How::Lead { .. }) && action.standing == Standing::Carried, "{action:?}");
    assert!(told.ends_with("carried out as far as the limits allow"), "{told}");
    // Another one led for a minute.
    let elsewhere = |cluster: &mut Cluster| cluster.partitions[led_by_2].holders.swap(0, 1);
    for minute in 60..62 {
        elsewhere(&mut cluster);
        let step = step(&cluster, StepLength::Minute, minute, |p, n| led(0.6, p, n));
        state.absorb(&step, &cluster, &settings);
    }
    let after = &decided(&state, &cluster, &settings, 62)[led_by_2];
    assert_ne!(after.verdict, Verdict::ShiftReads, "{}", after.reason);
}

#[test]
fn longer_steps_and_gaps_enter_their_own_series() {
    let cluster = cluster(9, 5);
    let settings = Settings::default();
    let mut state = State::default();
    for length in [StepLength::Quarter, StepLength::Hour] {
        for number in 0..40 {
            state.absorb(&step(&cluster, length, number, |p, n| led(0.6, p, n)), &cluster, &settings);
        }
    }
    let minute = step(&cluster, StepLength::Minute, 40 * 60, |p, n| led(0.6, p, n));
    state.absorb(&minute, &cluster, &settings);
    let exposed = records(&state, &cluster, 40 * 60)[0].exposure.expect("known");
    let covered = 1.0 - 0.5 / 24.0;
    assert!((exposed.forecast_share - covered).abs() < 1e-9, "all but the half hour of minutes");
    state.skip(StepLength::Hour, 1_000, &settings);
    let exposed = records(&state, &cluster, 40 * 60)[0].exposure.expect("known");
    assert!(exposed.mean.is_finite() && exposed.risk > 0.0, "a gap is no catastrophe");
}
