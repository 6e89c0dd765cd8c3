use super::*;
use crate::sample::{Part, Sample, clusters, near, part};
use proptest::prelude::*;
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};

const MAJORITY: Redundancy = Redundancy { quorum_bears: 1, missing: 0 };

fn no_survivors() -> ExposurePolicy {
    ExposurePolicy { survivors_weight: 0.0, ..ExposurePolicy::default() }
}

fn uniform(random: &mut Pcg64Mcg) -> f64 {
    ((random.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

#[test]
fn a_tenth_of_the_reads_is_half_an_incident() {
    let mut sample = Sample::new(3, 1e6).with(&[0, 1, 2], &[0.7, 0.2, 0.1], 10.0);
    sample.domain_hazard_per_hour = vec![0.0001, 0.0, 0.0004];
    let exposure = sample.look(|around| {
        let held = sample.partitions[0].held();
        around.exposure(Some(held), &held, &ExposurePolicy::default())
    });
    // .001 (1 + 1 + .5); racks 0 and 2 hold 70 % and 10 %; no survivor is near its headroom.
    assert!(near(exposure.failover_per_hour, 0.0025) && near(exposure.domains_per_hour, 0.0003));
    assert!(near(exposure.per_hour().unwrap(), 0.0028));
}

#[test]
fn a_survivor_at_its_headroom_adds_half_of_a_failure() {
    // Node 1 serves 50 of 100 and gets 35 when node 0 dies: 85.
    let mut sample = Sample::new(2, 100.0).with(&[0, 1], &[0.5, 0.5], 70.0);
    sample.nodes[1].other_per_s = 15.0;
    sample.nodes[0].capacity_per_s = Some(1e6);
    let exposure = sample.look(|around| {
        let held = sample.partitions[0].held();
        around.exposure(Some(held), &held, &ExposurePolicy::default())
    });
    assert!(near(exposure.by_node[0].survivors_per_hour.unwrap(), 0.0005));
    assert!(near(exposure.by_node[1].survivors_per_hour.unwrap(), 0.0));
}

#[test]
fn unknown_headroom_is_unknown_unless_it_does_not_count() {
    let mut sample = Sample::new(2, 100.0).with(&[0, 1], &[0.5, 0.5], 70.0);
    sample.nodes[1].capacity_per_s = None;
    let held = sample.partitions[0].held();
    sample.look(|around| {
        let policy = ExposurePolicy::default();
        assert_eq!(around.exposure(Some(held), &held, &policy).per_hour(), None);
        assert_eq!(around.exposure_per_hour(Some(held), &held, &policy), None);
        assert!(near(around.exposure_per_hour(Some(held), &held, &no_survivors()).unwrap(), 0.002));
    });
}

#[test]
fn a_rack_that_holds_all_counts_once() {
    let mut sample = Sample::new(2, 1e6).with(&[0, 1], &[0.5, 0.5], 10.0);
    sample.domain_of = vec![vec![Domain(0), Domain(1)], vec![Domain(0), Domain(2)]];
    sample.domain_hazard_per_hour = vec![0.01, 0.001, 0.0001];
    let held = sample.partitions[0].held();
    let exposure = sample.look(|around| around.exposure(None, &held, &no_survivors()));
    let parts: Vec<(u32, f64)> =
        exposure.by_domain.iter().map(|part| (part.domain.0, part.per_hour)).collect();
    assert_eq!(parts, [(0, 0.01), (1, 0.001), (2, 0.0001)]);
}

#[test]
fn drawn_failures_are_felt_as_often_as_the_exposure_says() {
    let mut sample =
        Sample::new(5, 100.0).with(&[0, 1, 2], &[0.6, 0.3, 0.1], 120.0).with(&[1, 3], &[0.5, 0.5], 60.0);
    sample.hazard_per_hour = vec![0.01, 0.004, 0.02, 0.0, 0.0];
    sample.domain_hazard_per_hour = vec![0.003, 0.002, 0.0];
    let field = sample.field();
    let held = sample.partitions[0].held();
    let exposure = sample
        .look(|around| around.exposure_per_hour(Some(held), &held, &ExposurePolicy::default()))
        .unwrap();
    // Hours in which each part fails or not, felt in the proportion of min(1, p / eps), and twice if a survivor's
    // drawn load exceeds 85.
    let mut random = Pcg64Mcg::seed_from_u64(5);
    let hours = 2_000_000;
    let mut felt = 0.0;
    for _ in 0..hours {
        for (at, node) in held.subset.iter().enumerate() {
            if uniform(&mut random) < sample.hazard_per_hour[node.at()]
                && uniform(&mut random) < held.shares[at] / 0.2
            {
                let exceeds =
                    held.subset.iter().enumerate().filter(|(other, _)| *other != at).any(|(_, to)| {
                        let z = (-2.0 * uniform(&mut random).ln()).sqrt()
                            * (std::f64::consts::TAU * uniform(&mut random)).cos();
                        field.load_per_s(*to) + field.spill_per_s(*node, *to) + 8.0 * z > 85.0
                    });
                felt += if exceeds { 2.0 } else { 1.0 };
            }
        }
        felt += [(0.003, 0.6), (0.002, 0.3)].iter().fold(0.0, |sum, (hazard, share)| {
            let fails = uniform(&mut random) < *hazard && uniform(&mut random) < share / 0.2;
            sum + f64::from(u8::from(fails))
        });
    }
    let rate = felt / f64::from(hours);
    // About 60,000 incidents, some counted twice: five standard errors are 2.5 %.
    assert!((rate / exposure - 1.0).abs() < 0.025, "{rate} drawn, {exposure} said");
}

#[test]
fn two_of_three_away_is_three_times_a_pair() {
    let sample = Sample::new(3, 1e6).with(&[0, 1, 2], &[1.0, 0.0, 0.0], 10.0);
    let held = sample.partitions[0].held();
    let outages = sample.look(|around| around.quorum_loss(&held, MAJORITY, &ExposurePolicy::default()));
    // q = .002 / 1.002; two or three of three away: 3 q^2 (1 - q) + q^3; each begins as one of two goes, while one of
    // the others is away: 6 lambda q (1 - q)^2.
    let q = 0.002 / 1.002;
    assert!(near(outages.share_of_time * 1e6, (3.0 * q * q * (1.0 - q) + q * q * q) * 1e6));
    assert!(near(outages.per_hour * 1e6, 6.0 * 0.001 * q * (1.0 - q) * (1.0 - q) * 1e6));
}

#[test]
fn a_missing_replica_makes_every_failure_an_outage() {
    let sample = Sample::new(3, 1e6).with(&[0, 1], &[0.5, 0.5], 10.0);
    let held = sample.partitions[0].held();
    let outages = |missing| {
        let redundancy = Redundancy { quorum_bears: 1, missing };
        sample.look(|around| around.quorum_loss(&held, redundancy, &ExposurePolicy::default()))
    };
    let q = 0.002 / 1.002;
    assert!(near(outages(1).per_hour * 1e6, 2.0 * 0.001 * (1.0 - q) * (1.0 - q) * 1e6));
    assert!(outages(0).per_hour < outages(1).per_hour / 100.0);
    assert_eq!(outages(2), Outages { per_hour: 0.0, share_of_time: 1.0 });
}

#[test]
fn a_shared_rack_is_an_outage_by_itself() {
    let mut sample = Sample::new(6, 1e6).with(&[0, 3, 1], &[0.4, 0.3, 0.3], 10.0);
    sample.hazard_per_hour = vec![0.0; 6];
    sample.domain_hazard_per_hour = vec![0.0005, 0.0, 0.0];
    let together = sample.partitions[0].held();
    let apart = Part::new(&[0, 1, 2], &[0.4, 0.3, 0.3], 10.0);
    sample.look(|around| {
        let outages = |held| around.quorum_loss(held, MAJORITY, &ExposurePolicy::default());
        let q = 0.0005 / 1.0005;
        assert!(near(outages(&together).per_hour * 1e6, 0.0005 * (1.0 - q) * 1e6));
        assert!(near(outages(&together).share_of_time * 1e6, q * 1e6));
        assert_eq!(outages(&apart.held()), Outages::default());
        assert_eq!(around.data_loss(&together, &ExposurePolicy::default()).per_hour, 0.0);
    });
}

#[test]
fn all_copies_are_lost_when_permanent_failures_overlap() {
    let sample = Sample::new(2, 1e6).with(&[0, 1], &[0.5, 0.5], 10.0);
    let held = sample.partitions[0].held();
    let outages = sample.look(|around| around.data_loss(&held, &ExposurePolicy::default()));
    // A tenth of the failures; one node goes while the other is away for good.
    let q = 0.0002 / 1.0002;
    assert!(near(outages.per_hour * 1e9, 2.0 * 0.0001 * q * (1.0 - q) * 1e9));
}

/// Nodes and racks fail and come back at random: how often more than one of the holders is away.
#[test]
fn outages_are_as_frequent_as_lives_that_are_drawn() {
    let mut sample = Sample::new(4, 1e6).with(&[0, 3, 1], &[0.4, 0.3, 0.3], 10.0);
    sample.hazard_per_hour = vec![0.05, 0.02, 0.0, 0.1];
    sample.domain_hazard_per_hour = vec![0.01, 0.03, 0.0];
    let policy = ExposurePolicy { repair_h: 3.0, domain_repair_h: 2.0, ..ExposurePolicy::default() };
    let held = sample.partitions[0].held();
    let outages = sample.look(|around| around.quorum_loss(&held, MAJORITY, &policy));
    // Hazard, repair time and holders taken along of each part: holders 0 and 3 share rack 0.
    let parts: [(f64, f64, u8); 5] =
        [(0.05, 3.0, 0b001), (0.1, 3.0, 0b010), (0.02, 3.0, 0b100), (0.01, 2.0, 0b011), (0.03, 2.0, 0b100)];
    let mut random = Pcg64Mcg::seed_from_u64(3);
    let mut away = [false; 5];
    let mut next: Vec<f64> = parts.iter().map(|(rate, ..)| -uniform(&mut random).ln() / rate).collect();
    let (mut now, mut bad, mut began, mut bad_h) = (0.0, false, 0_u32, 0.0);
    while now < 2_000_000.0 {
        let first = (0..5).min_by(|a, b| next[*a].total_cmp(&next[*b])).unwrap();
        bad_h += if bad { next[first] - now } else { 0.0 };
        now = next[first];
        away[first] = !away[first];
        let mean_h = if away[first] { parts[first].1 } else { 1.0 / parts[first].0 };
        next[first] = now - mean_h * uniform(&mut random).ln();
        let mask = (0..5).filter(|at| away[*at]).fold(0, |mask, at| mask | parts[at].2);
        let worse = mask.count_ones() > 1;
        began += u32::from(worse && !bad);
        bad = worse;
    }
    // About 90,000 outages: 1.5 % are more than four standard errors.
    let rate = f64::from(began) / now;
    assert!((rate / outages.per_hour - 1.0).abs() < 0.015, "{rate} drawn, {outages:?}");
    assert!((bad_h / now / outages.share_of_time - 1.0).abs() < 0.02, "{} drawn, {outages:?}", bad_h / now);
}

#[test]
fn a_certain_exposure_has_the_risk_of_its_exponential() {
    assert!(near(second_order(0.5, 0.0), 1.0 - (-0.5_f64).exp()));
    assert_eq!([second_order(0.0, 0.0), second_order(0.1, 1.0)], [0.0, 0.0], "a risk is no less than none");
}

#[test]
fn facts_of_other_nodes_are_refused() {
    let (field, domains) = (Sample::new(3, 1.0).field(), Domains::none(3));
    let refused = Surroundings::new(&field, &[0.1, 0.1], &domains, None).unwrap_err();
    assert_eq!(refused, SurroundingsError::Count { what: "hazards", have: 2, nodes: 3 });
    let refused = Surroundings::new(&field, &[0.1, -0.1, 0.0], &domains, None).unwrap_err();
    assert_eq!(refused, SurroundingsError::Number { what: "the hazard", node: Node(1), value: -0.1 });
}

proptest! {
    #[test]
    fn the_second_order_is_within_its_bound(paths in prop::collection::vec(0.0..1.5_f64, 1..40)) {
        let mean = |of: &dyn Fn(f64) -> f64| paths.iter().map(|x| of(*x)).sum::<f64>() / paths.len() as f64;
        let m = mean(&|x| x);
        let (v, risk) = (mean(&|x| (x - m).powi(2)), mean(&|x| -(-x).exp_m1()));
        let spread = paths.iter().map(|x| (x - m).abs()).fold(0.0, f64::max);
        let off = (second_order(m, v) - risk).abs();
        // From |exp(-y) - 1 + y - y^2/2| <= |y|^3 exp(|y|) / 6 with E|y|^3 <= c v, and
        // 0 <= exp(u) - 1 - u <= u^2 exp(u) / 2 with u = v/2.
        let bound = (-m).exp() * (v * spread * spread.exp() / 6.0 + v * v * (0.5 * v).exp() / 8.0);
        prop_assert!(off <= bound + 1e-12, "{off} off, {bound} allowed");
    }

    #[test]
    fn parts_of_an_exposure_add_up(
        (sample, candidate) in clusters().prop_flat_map(|sample| {
            let nodes = sample.nodes.len();
            (Just(sample), part(nodes))
        }),
    ) {
        let own = sample.partitions[0].held();
        let policy = ExposurePolicy::default();
        let held = candidate.held();
        let (exposure, alone) = sample.look(|around| {
            (around.exposure(Some(own), &held, &policy), around.exposure_per_hour(Some(own), &held, &policy))
        });
        let nodes: f64 =
            exposure.by_node.iter().map(|part| part.failover_per_hour + part.survivors_per_hour.unwrap()).sum();
        let domains: f64 = exposure.by_domain.iter().map(|part| part.per_hour).sum();
        prop_assert!(near(1e3 * (nodes + domains), 1e3 * exposure.per_hour().unwrap()));
        prop_assert!(near(1e3 * alone.unwrap(), 1e3 * exposure.per_hour().unwrap()));
    }

    #[test]
    fn the_exposure_of_a_candidate_is_that_of_a_cluster_where_it_lies_there(
        (sample, candidate, which) in clusters().prop_flat_map(|sample| {
            let (nodes, count) = (sample.nodes.len(), sample.partitions.len());
            (Just(sample), part(nodes), 0..count)
        }),
    ) {
        let policy = ExposurePolicy::default();
        let own = sample.partitions[which].held();
        let held = candidate.held();
        let there = sample.look(|around| around.exposure_per_hour(Some(own), &held, &policy)).unwrap();
        let mut moved = sample.clone();
        moved.partitions[which] = candidate.clone();
        let built = moved.look(|around| around.exposure_per_hour(Some(held), &held, &policy)).unwrap();
        prop_assert!((there - built).abs() <= 1e-9 * built.max(1e-3), "{there} is not {built}");
    }

    #[test]
    fn more_hazard_is_more_exposure_and_more_outages(sample in clusters(), more in 1.0..10.0_f64, which in 0..4_usize) {
        let held = sample.partitions[0].held();
        let policy = ExposurePolicy::default();
        let ask = |sample: &Sample| sample.look(|around| {
            let outages = around.quorum_loss(&held, MAJORITY, &policy);
            (around.exposure_per_hour(Some(held), &held, &policy).unwrap(), outages.share_of_time)
        });
        let mut worse = sample.clone();
        worse.hazard_per_hour[which] *= more;
        let (before, after) = (ask(&sample), ask(&worse));
        prop_assert!(after.0 >= before.0 - 1e-15 && after.1 >= before.1 - 1e-15);
    }

    #[test]
    fn names_of_nodes_do_not_matter(
        (sample, order) in clusters().prop_flat_map(|sample| {
            let order: Vec<u32> = (0..sample.nodes.len() as u32).collect();
            (Just(sample), Just(order).prop_shuffle())
        }),
    ) {
        let policy = ExposurePolicy::default();
        let ask = |sample: &Sample| {
            let held = sample.partitions[0].held();
            sample.look(|around| around.exposure_per_hour(Some(held), &held, &policy)).unwrap()
        };
        prop_assert!(near(1e3 * ask(&sample), 1e3 * ask(&sample.renamed(&order))));
    }
}
