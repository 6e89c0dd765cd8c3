use super::*;
use crate::sample::{Part, Sample, clusters, near, part};
use crate::{Bearing, Field, FieldPolicy};
use proptest::prelude::*;
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};

const ANY_SERVES: Redundancy = Redundancy { quorum_bears: 2, missing: 0 };

fn loss_of(sample: &Sample, which: usize, redundancy: Redundancy, policy: &RiskPolicy) -> Loss {
    let held = sample.partitions[which].held();
    sample.look(|around| around.loss(Some(held), &held, redundancy, policy))
}

#[test]
fn half_a_minute_of_half_the_reads_each_thousand_hours() {
    let sample = Sample::new(3, 1e6).with(&[0, 1, 2], &[0.5, 0.3, 0.2], 100.0);
    let loss = loss_of(&sample, 0, ANY_SERVES, &RiskPolicy::default());
    // 6,000 clients, .001 per hour, half a minute: 3 client-minutes for all of the reads.
    let by_node: Vec<f64> = loss.by_node.iter().map(|(_, lost)| *lost).collect();
    assert!(near(by_node[0], 1.5) && near(by_node[1], 0.9) && near(by_node[2], 0.6), "{by_node:?}");
    assert!(near(loss.parts.failover, 3.0));
    assert_eq!((loss.parts.after_failures, loss.parts.present_overload), (Some(0.0), Some(0.0)));
}

#[test]
fn the_unit_divides_all_alike() {
    let sample = Sample::new(3, 60.0).with(&[0, 1, 2], &[0.5, 0.3, 0.2], 100.0);
    let policy = RiskPolicy::default();
    let mut tenth = policy.clone();
    tenth.loss.reads_per_client_min = 10.0;
    let ask = |policy| loss_of(&sample, 0, ANY_SERVES, policy).per_hour().unwrap();
    assert!(near(ask(&policy), 10.0 * ask(&tenth)));
}

#[test]
fn survivors_without_room_lose_what_is_beyond_until_the_repair() {
    // Each serves 80 of 100; when one dies the other has 160 and 60 are beyond, with certainty.
    let sample = Sample::new(2, 100.0).with(&[0, 1], &[0.5, 0.5], 160.0);
    let field = sample.field();
    let present = field.overload_per_s(Node(0), 80.0).unwrap();
    let bears_one = Redundancy { quorum_bears: 1, missing: 0 };
    let loss = loss_of(&sample, 0, bears_one, &RiskPolicy::default());
    // Two nodes, .001 per hour, two hours, reads per hour beyond.
    let after = 2.0 * 0.001 * 2.0 * 3600.0 * (60.0 - present);
    assert!(near(loss.parts.after_failures.unwrap(), after));
    assert!(near(loss.parts.present_overload.unwrap(), 2.0 * 3600.0 * present));
}

#[test]
fn gray_nodes_cost_what_they_fail() {
    let sample = Sample::new(2, 1e6).with(&[0, 1], &[0.75, 0.25], 10.0);
    let (field, domains, held) = (sample.field(), sample.domains(), sample.partitions[0].held());
    let failing = [0.04, 0.0];
    let around = Surroundings::new(&field, &sample.hazard_per_hour, &domains, Some(&failing)).unwrap();
    let parts = around.loss_parts(Some(held), &held, ANY_SERVES, &RiskPolicy::default());
    // 36,000 reads per hour, three quarters there, 4 % of those.
    assert!(near(parts.gray, 1080.0));
}

#[test]
fn a_partition_short_of_a_replica_loses_more() {
    let sample = Sample::new(3, 1e6).with(&[0, 1], &[0.5, 0.5], 10.0);
    let with = |missing| {
        let redundancy = Redundancy { quorum_bears: 1, missing };
        loss_of(&sample, 0, redundancy, &RiskPolicy::default()).parts.quorum
    };
    // 36,000 reads per hour; either of two away: 1 - (1 - q)^2.
    let q = 0.002 / 1.002;
    assert!(near(with(1), 36_000.0 * (2.0 * q - q * q)));
    assert!(with(0) < with(1) / 100.0);
}

#[test]
fn unknown_capacity_is_an_unknown_loss_unless_overload_is_off() {
    let mut sample = Sample::new(3, 1e6).with(&[0, 1, 2], &[0.5, 0.3, 0.2], 100.0);
    sample.nodes[2].capacity_per_s = None;
    let mut policy = RiskPolicy::default();
    let loss = loss_of(&sample, 0, ANY_SERVES, &policy);
    assert_eq!(loss.per_hour(), None);
    assert!(loss.parts.without_overload() > 3.0);
    policy.loss.overload = false;
    assert!(loss_of(&sample, 0, ANY_SERVES, &policy).per_hour().unwrap() > 3.0);
}

#[test]
fn copying_forty_gigabytes_costs_its_latency_and_a_pause() {
    let sample = Sample::new(3, 1e6).with(&[0, 1, 2], &[0.5, 0.3, 0.2], 100.0);
    let held = sample.partitions[0].held();
    let policy = RiskPolicy::default();
    let bytes = 40_000_000_000;
    let cost = sample.look(|around| around.cost_of_copy(&held, 0.5, bytes, ANY_SERVES, &policy));
    // 6,000 clients: half of them wait two seconds; a thousandth suffers for 40e9 / 30e6 s; 2 % of that for aborts.
    let minutes = 40e9 / 30e6 / 60.0;
    assert!(near(cost.pause, 100.0) && near(cost.latency, 6.0 * minutes) && near(cost.abort, 0.12 * minutes));
    assert_eq!(cost.redundancy, 0.0);
    assert!(near(policy.cost_of_shift(100.0, 0.5), 100.0));
    let mut first = policy.clone();
    first.cost.gives_up_first = true;
    let cost = sample.look(|around| around.cost_of_copy(&held, 0.5, bytes, ANY_SERVES, &first));
    assert!(cost.redundancy > 0.0);
}

#[test]
fn an_overload_that_would_take_four_deviations_is_not_surely_saved_and_one_that_is_there_is() {
    let sure = |reads_per_s: f64| {
        let sample = Sample::new(4, 100.0).with(&[0], &[1.0], reads_per_s);
        let there = Part::new(&[1], &[1.0], reads_per_s);
        let mut small = Sample::new(4, 1e6);
        small.nodes[0].capacity_per_s = Some(100.0);
        small.partitions = sample.partitions;
        let gain = small.look(|around| {
            let own = small.partitions[0].held();
            around.gain(own, &there.held(), ANY_SERVES, &[0.0; 4], &RiskPolicy::default()).unwrap()
        });
        assert!(gain.per_hour > 0.0);
        1.0 - 0.84 * gain.sd_per_hour / gain.per_hour
    };
    // 68, 100 and 150 % of the capacity.
    assert!(sure(68.0) < 0.18, "{}", sure(68.0));
    assert!((0.2..0.5).contains(&sure(100.0)), "{}", sure(100.0));
    assert!(sure(150.0) > 0.85, "{}", sure(150.0));
}

#[test]
fn leaving_a_hazardous_node_saves_its_failovers_as_surely_as_its_hazard_is_known() {
    let mut sample = Sample::new(4, 1e6).with(&[0, 1, 2], &[0.5, 0.3, 0.2], 100.0);
    sample.hazard_per_hour[0] = 0.011;
    let mut policy = RiskPolicy::default();
    policy.exposure.repair_h = 1e-9;
    let there = Part::new(&[3, 1, 2], &[0.5, 0.3, 0.2], 100.0);
    let gain = sample.look(|around| {
        let own = sample.partitions[0].held();
        around.gain(own, &there.held(), ANY_SERVES, &[0.003, 0.5, 0.5, 0.004], &policy)
    });
    let gain = gain.unwrap();
    // .010 less per hour, 6,000 clients, half of the reads, half a minute; who stays does not count. The deviations
    // .003 and .004 make .005.
    assert!((gain.per_hour - 15.0).abs() < 1e-6, "{gain:?}");
    assert!((gain.sd_per_hour - 7.5).abs() < 1e-6, "{gain:?}");
}

#[test]
fn numbers_that_cannot_be_are_named() {
    let mut policy = RiskPolicy::default();
    policy.cost.copy_bytes_per_s = 0.0;
    assert_eq!(policy.check().unwrap_err().to_string(), "cost.copy_bytes_per_s is 0, and must be above 0");
    policy = RiskPolicy::default();
    policy.loss.busy_share = f64::NAN;
    assert_eq!(policy.check().unwrap_err().field, "loss.busy_share");
    assert_eq!(RiskPolicy::default().check(), Ok(()));
}

#[test]
fn years_that_are_drawn_lose_what_is_expected() {
    let mut sample =
        Sample::new(3, 100.0).with(&[0, 1, 2], &[0.5, 0.3, 0.2], 130.0).with(&[2, 1], &[0.8, 0.2], 50.0);
    sample.hazard_per_hour = vec![0.002, 0.001, 0.004];
    let mut policy = RiskPolicy::default();
    policy.exposure.repair_h = 1.0;
    let expected = total(&sample, &policy);
    let field = sample.field();
    let mut random = Pcg64Mcg::seed_from_u64(17);
    let mut uniform = || ((random.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    // Each hour has its own loads, and each node fails in it or not. A failure costs its partitions half a minute of
    // its reads, and an hour of what its survivors then have beyond their capacity, less what they had anyway.
    let hours = 1_000_000;
    let mut lost = 0.0;
    for _ in 0..hours {
        let z: Vec<f64> = (0..3)
            .map(|_| (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos())
            .collect();
        let beyond = |node: Node, load: f64| 3600.0 * (load + 8.0 * z[node.at()] - 100.0).max(0.0);
        for node in [Node(0), Node(1), Node(2)] {
            lost += beyond(node, field.load_per_s(node));
            if uniform() < sample.hazard_per_hour[node.at()] {
                lost += 30.0 * field.load_per_s(node);
                for (to, reads) in field.spills_of(node) {
                    let before = field.load_per_s(to);
                    lost += beyond(to, before + reads) - beyond(to, before);
                }
            }
        }
    }
    // Of losses of a quorum and of data, which are not drawn.
    let rare: f64 = (0..2)
        .map(|which| loss_of(&sample, which, ANY_SERVES, &policy).parts)
        .map(|parts| parts.quorum + parts.data)
        .sum();
    let drawn = lost / f64::from(hours) + rare;
    assert!(rare < 0.02 * expected);
    // About 7,000 failures: four standard errors of their number are 4.8 %.
    assert!((drawn / expected - 1.0).abs() < 0.05, "{drawn} drawn, {expected} expected");
}

/// Expected loss of everybody: what partitions lose by themselves, and the cluster's overload.
fn total(sample: &Sample, policy: &RiskPolicy) -> f64 {
    let mut alone = policy.clone();
    alone.loss.overload = false;
    let (field, own) = (sample.field(), |which| loss_of(sample, which, ANY_SERVES, &alone));
    let partitions: f64 = (0..sample.partitions.len()).map(|which| own(which).per_hour().unwrap()).sum();
    let after: f64 = (0..sample.nodes.len())
        .map(|at| sample.hazard_per_hour[at] * field.overload_added_by(Node(at as u32)).unwrap())
        .sum();
    partitions + 3600.0 * field.present_overload().0 + 3600.0 * policy.exposure.repair_h * after
}

proptest! {
    #[test]
    fn a_candidate_saves_what_the_whole_cluster_saves(
        (sample, candidate, which) in clusters().prop_flat_map(|sample| {
            let (nodes, count) = (sample.nodes.len(), sample.partitions.len());
            (Just(sample), part(nodes), 0..count)
        }),
    ) {
        let policy = RiskPolicy::default();
        let own = sample.partitions[which].held();
        let loss = |held: &Holding<'_>| {
            sample.look(|around| around.loss_per_hour(Some(own), held, ANY_SERVES, &policy)).unwrap()
        };
        let saved = loss(&own) - loss(&candidate.held());
        let mut moved = sample.clone();
        moved.partitions[which] = candidate;
        let (before, after) = (total(&sample, &policy), total(&moved, &policy));
        prop_assert!((saved - (before - after)).abs() <= 1e-9 * before.max(after).max(1.0));
    }

    #[test]
    fn parts_of_a_loss_add_up(sample in clusters()) {
        let policy = RiskPolicy::default();
        let held = sample.partitions[0].held();
        let loss = loss_of(&sample, 0, ANY_SERVES, &policy);
        let parts = &loss.parts;
        prop_assert!(near(loss.by_node.iter().map(|(_, lost)| lost).sum(), parts.failover));
        prop_assert!(near(loss.by_domain.iter().map(|(_, lost)| lost).sum(), parts.domains));
        let sum = parts.failover + parts.domains + parts.after_failures.unwrap() + parts.present_overload.unwrap()
            + parts.gray + parts.quorum + parts.data;
        prop_assert!(near(sum, loss.per_hour().unwrap()));
        let alone = sample.look(|around| around.loss_per_hour(Some(held), &held, ANY_SERVES, &policy));
        prop_assert!(near(sum, alone.unwrap()));
    }

    #[test]
    fn more_hazard_of_a_holder_is_more_loss(sample in clusters(), more in 1.0..10.0_f64) {
        let policy = RiskPolicy::default();
        let mut worse = sample.clone();
        let holder = worse.partitions[0].subset[0];
        worse.hazard_per_hour[holder.at()] *= more;
        let ask = |sample: &Sample| loss_of(sample, 0, ANY_SERVES, &policy).parts;
        let (before, after) = (ask(&sample), ask(&worse));
        prop_assert!(after.failover >= before.failover && after.quorum >= before.quorum - 1e-12);
        prop_assert!(after.data >= before.data - 1e-12);
    }

    #[test]
    fn the_same_cluster_is_the_same_field_to_the_last_bit(sample in clusters()) {
        let again = Field::build(
            &sample.nodes,
            sample.partitions.iter().map(Part::held),
            FieldPolicy::default(),
        );
        prop_assert_eq!(sample.field(), again.unwrap());
        let nobody: [Bearing; 0] = [];
        prop_assert_eq!(Field::build(&nobody, [], FieldPolicy::default()).unwrap().nodes(), 0);
    }
}
