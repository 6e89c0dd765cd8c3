use super::*;
use crate::sample::{Sample, clusters, near, part};
use proptest::prelude::*;
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};

#[test]
fn the_others_get_what_the_dead_served_in_proportion() {
    let field = Sample::new(4, 1000.0).with(&[0, 1, 2], &[0.5, 0.3, 0.2], 100.0).field();
    // 100 x .5 x .3 / .5, and 100 x .3 x .5 / .7.
    assert!(near(field.spill_per_s(Node(0), Node(1)), 30.0));
    assert!(near(field.spill_per_s(Node(0), Node(2)), 20.0));
    assert!(near(field.spill_per_s(Node(1), Node(0)), 150.0 / 7.0));
    assert_eq!(field.spill_per_s(Node(3), Node(0)), 0.0);
    assert!(near(field.load_per_s(Node(1)), 30.0));
    assert_eq!(field.spills_into(Node(2)).map(|(node, _)| node.0).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_sole_holder_spills_nowhere() {
    let field = Sample::new(2, 1000.0).with(&[1], &[1.0], 70.0).field();
    assert_eq!((field.load_per_s(Node(1)), field.spills_of(Node(1)).count()), (70.0, 0));
    assert_eq!(field.overload_added_by(Node(1)), Some(0.0));
}

#[test]
fn holders_that_stand_by_get_the_leaders_reads_evenly() {
    let field = Sample::new(3, 1000.0).with(&[0, 1, 2], &[1.0, 0.0, 0.0], 80.0).field();
    assert_eq!(field.spills_of(Node(0)).collect::<Vec<_>>(), [(Node(1), 40.0), (Node(2), 40.0)]);
    assert_eq!(field.spill_per_s(Node(1), Node(0)), 0.0);
}

#[test]
fn at_the_headroom_half_of_the_chances_are_beyond_it() {
    let field = Sample::new(1, 200.0).field();
    assert!(near(field.exceeds(Node(0), 170.0).unwrap(), 0.5));
    // One standard deviation, 16 reads/s, above: the normal distribution's .841344746.
    assert!((field.exceeds(Node(0), 186.0).unwrap() - 0.841_344_746).abs() < 1e-9);
}

#[test]
fn at_capacity_the_excess_is_the_density_at_0() {
    let field = Sample::new(1, 200.0).field();
    // 16 / sqrt(2 pi).
    assert!((field.overload_per_s(Node(0), 200.0).unwrap() - 6.383_076_486_4).abs() < 1e-9);
    assert!(near(field.overload_per_s(Node(0), 400.0).unwrap(), 200.0));
    assert_eq!(field.overload_per_s(Node(0), 90.0), Some(0.0));
}

#[test]
fn unknown_capacity_is_unknown_overload_and_not_none() {
    let mut sample = Sample::new(3, 100.0).with(&[0, 1], &[0.5, 0.5], 80.0);
    sample.nodes[1].capacity_per_s = None;
    let field = sample.field();
    assert_eq!(field.overload_per_s(Node(1), 1e9), None);
    assert_eq!(field.overload_added_by(Node(0)), None);
    assert_eq!(field.present_overload().1, 1);
    let held = sample.partitions[0].held();
    assert_eq!(field.effect(Some(held), &held, &sample.hazard_per_hour), None);
}

#[test]
fn what_cannot_be_is_named() {
    let build = |part: &crate::sample::Part| {
        let nodes = Sample::new(2, 100.0).nodes;
        Field::build(&nodes, [part.held()], FieldPolicy::default()).unwrap_err()
    };
    let part = crate::sample::Part::new;
    assert_eq!(
        build(&part(&[0, 7], &[0.5, 0.5], 1.0)),
        FieldError::NoSuchNode { partition: 0, node: Node(7), nodes: 2 }
    );
    assert_eq!(build(&part(&[1, 1], &[0.5, 0.5], 1.0)), FieldError::Twice { partition: 0, node: Node(1) });
    assert!(matches!(build(&part(&[0, 1], &[0.5, 0.6], 1.0)), FieldError::Shares { partition: 0, .. }));
    assert!(matches!(build(&part(&[0, 1], &[0.5, f64::NAN], 1.0)), FieldError::Shares { .. }));
    assert!(matches!(build(&part(&[0], &[1.0], f64::INFINITY)), FieldError::Reads { partition: 0, .. }));
    let nodes = [Bearing { capacity_per_s: Some(0.0), other_per_s: 0.0 }];
    let refused = Field::build(&nodes, [], FieldPolicy::default());
    assert!(matches!(refused, Err(FieldError::Bearing { node: Node(0), .. })));
    let policy = FieldPolicy { uncertainty: 0.0, ..FieldPolicy::default() };
    assert!(matches!(Field::build(&[], [], policy), Err(FieldError::Policy(_))));
}

/// Standard normal numbers, by Box and Muller.
fn normal(random: &mut Pcg64Mcg) -> f64 {
    let mut uniform = || ((random.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()
}

#[test]
fn overload_is_what_drawing_loads_finds() {
    let field = Sample::new(3, 100.0)
        .with(&[0, 1, 2], &[0.4, 0.3, 0.3], 150.0)
        .with(&[0, 2], &[0.5, 0.5], 60.0)
        .field();
    let mut random = Pcg64Mcg::seed_from_u64(11);
    let draws = 200_000;
    let mut added = 0.0;
    for _ in 0..draws {
        for node in [Node(1), Node(2)] {
            let (before, spill) = (field.load_per_s(node), field.spill_per_s(Node(0), node));
            let load = before + spill + 8.0 * normal(&mut random);
            let now = before + 8.0 * normal(&mut random);
            added += (load - 100.0).max(0.0) - (now - 100.0).max(0.0);
        }
    }
    let added = added / f64::from(draws);
    // Four standard errors of a mean of 200,000.
    assert!((field.overload_added_by(Node(0)).unwrap() - added).abs() < 0.1, "{added}");
}

/// Overload of the whole cluster, as an effect would have it.
fn total(field: &Field, hazards: &[f64]) -> Effect {
    let nodes = || (0..field.nodes() as u32).map(Node);
    let after = nodes().map(|node| hazards[node.at()] * field.overload_added_by(node).unwrap()).sum();
    Effect { present_per_s: field.present_overload().0, after_failures_per_s_h: after }
}

proptest! {
    #[test]
    fn an_effect_is_the_difference_of_two_fields_built_anew(
        (sample, candidate, which) in clusters().prop_flat_map(|sample| {
            let (nodes, count) = (sample.nodes.len(), sample.partitions.len());
            (Just(sample), part(nodes), 0..count)
        }),
    ) {
        let field = sample.field();
        let own = sample.partitions[which].held();
        let effect = |field: &Field, held| field.effect(Some(own), held, &sample.hazard_per_hour).unwrap();
        let (present, there) = (effect(&field, &own), effect(&field, &candidate.held()));
        let mut moved = sample.clone();
        moved.partitions[which] = candidate;
        let before = total(&field, &sample.hazard_per_hour);
        let after = total(&moved.field(), &sample.hazard_per_hour);
        prop_assert!(near(there.present_per_s - present.present_per_s, after.present_per_s - before.present_per_s));
        prop_assert!(near(
            there.after_failures_per_s_h - present.after_failures_per_s_h,
            after.after_failures_per_s_h - before.after_failures_per_s_h
        ), "{there:?} less {present:?} is not {after:?} less {before:?}");
    }

    #[test]
    fn a_partition_that_is_not_there_adds_what_building_it_in_adds(
        (sample, candidate) in clusters().prop_flat_map(|sample| {
            let nodes = sample.nodes.len();
            (Just(sample), part(nodes))
        }),
    ) {
        let field = sample.field();
        let effect = field.effect(None, &candidate.held(), &sample.hazard_per_hour).unwrap();
        let before = total(&field, &sample.hazard_per_hour);
        let mut more = sample.clone();
        more.partitions.push(candidate);
        let after = total(&more.field(), &sample.hazard_per_hour);
        prop_assert!(near(effect.present_per_s, after.present_per_s - before.present_per_s));
        prop_assert!(near(
            effect.after_failures_per_s_h,
            after.after_failures_per_s_h - before.after_failures_per_s_h
        ));
    }

    #[test]
    fn all_reads_of_the_dead_go_somewhere_or_are_lost(sample in clusters()) {
        let field = sample.field();
        for at in 0..sample.nodes.len() {
            let node = Node(at as u32);
            let spilled: f64 = field.spills_of(node).map(|(_, reads)| reads).sum();
            let served = field.load_per_s(node) - sample.nodes[at].other_per_s;
            let alone = sample.partitions.iter().map(|part| part.held()).filter(|held| *held.subset == [node]);
            let lost: f64 = alone.map(|held| held.reads_per_s).sum();
            prop_assert!(near(spilled + lost, served));
            let turned: f64 = (0..sample.nodes.len() as u32)
                .flat_map(|to| field.spills_into(Node(to)).filter(|(from, _)| *from == node).map(|(_, r)| r).collect::<Vec<_>>())
                .sum();
            prop_assert!(near(spilled, turned));
        }
    }
}
