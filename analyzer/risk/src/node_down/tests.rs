use super::*;
use crate::sample::{Part, Sample, clusters, near};
use proptest::prelude::*;

fn lying<'a>(parts: &'a [Part], quorum_bears: u8) -> Vec<Lying<'a>> {
    let redundancy = Redundancy { quorum_bears, missing: 0 };
    parts.iter().map(|part| Lying { held: part.held(), redundancy }).collect()
}

fn down(sample: &Sample, quorum_bears: u8, node: u32) -> NodeDown {
    let partitions = lying(&sample.partitions, quorum_bears);
    let holders = Holders::of(&partitions, sample.nodes.len());
    sample.look(|around| around.node_down(&partitions, &holders, Node(node), &RiskPolicy::default()))
}

#[test]
fn a_death_costs_its_reads_until_they_go_elsewhere() {
    let sample = Sample::new(3, 1e6)
        .with(&[0, 1], &[0.5, 0.5], 100.0)
        .with(&[0, 2], &[0.9, 0.1], 200.0)
        .with(&[1, 2], &[0.5, 0.5], 300.0);
    let down = down(&sample, 1, 0);
    // Half a minute of 50 + 180 reads/s, 60 clients each.
    assert!(near(down.client_minutes().unwrap(), 30.0 * 230.0));
    let responsible: Vec<usize> = down.responsible.iter().map(|part| part.partition).collect();
    assert_eq!(responsible, [1, 0]);
    assert_eq!(down.without_quorum, Vec::<usize>::new());
    let survivors: Vec<(u32, f64)> =
        down.survivors.iter().map(|survivor| (survivor.node.0, survivor.after_per_s)).collect();
    assert!(survivors.contains(&(1, 250.0)) && survivors.len() == 2, "{survivors:?}");
}

#[test]
fn a_survivor_without_room_is_named_with_what_it_has_and_gets() {
    let sample = Sample::new(2, 100.0).with(&[0, 1], &[0.5, 0.5], 160.0);
    let down = down(&sample, 1, 0);
    let survivor = down.survivors[0];
    assert!(near(survivor.before_per_s, 80.0) && near(survivor.after_over_capacity().unwrap(), 1.6));
    assert!(survivor.exceeds.unwrap() > 0.999);
    // Two hours of what is beyond.
    let added = survivor.overload_added_per_s.unwrap();
    assert!((added - 60.0).abs() < 0.1);
    assert!(near(down.overload.unwrap(), 7200.0 * added));
}

#[test]
fn a_sole_copy_and_a_lost_quorum_stay_away_until_the_repair() {
    let sample = Sample::new(3, 1e6).with(&[0], &[1.0], 10.0).with(&[0, 1], &[0.5, 0.5], 20.0);
    let down = down(&sample, 0, 0);
    assert_eq!((down.only_copy.as_slice(), down.without_quorum.as_slice()), (&[0][..], &[0, 1][..]));
    // 30 reads/s for two hours.
    assert!(near(down.unserved, 30.0 * 7200.0) && down.failover == 0.0);
}

#[test]
fn unknown_survivors_are_unknown_and_not_empty() {
    let mut sample = Sample::new(2, 100.0).with(&[0, 1], &[0.5, 0.5], 160.0);
    sample.nodes[1].capacity_per_s = None;
    let down = down(&sample, 1, 0);
    assert_eq!((down.overload, down.client_minutes()), (None, None));
    assert_eq!(down.survivors[0].after_over_capacity(), None);
}

#[test]
fn the_worst_node_comes_first() {
    let sample = Sample::new(3, 1e6).with(&[0, 1], &[0.2, 0.8], 100.0);
    let partitions = lying(&sample.partitions, 1);
    let downs = sample.look(|around| around.node_downs(&partitions, &RiskPolicy::default()));
    assert_eq!(downs.iter().map(|down| down.node.0).collect::<Vec<_>>(), [1, 0, 2]);
}

#[test]
fn moving_helps_if_a_gate_says_so_of_any() {
    let sample = Sample::new(2, 1e6).with(&[0, 1], &[0.5, 0.5], 100.0).with(&[0, 1], &[0.5, 0.5], 50.0);
    let down = down(&sample, 1, 0);
    assert_eq!(down.moving_helps(|_| None), MovingHelps::Unknown);
    assert_eq!(down.moving_helps(|_| Some(false)), MovingHelps::No);
    let helps = down.moving_helps(|partition| Some(partition == 1));
    assert_eq!(helps, MovingHelps::Yes { partitions: 1, client_minutes: 750.0 });
}

proptest! {
    #[test]
    fn what_partitions_are_responsible_for_is_all_there_is(sample in clusters(), quorum_bears in 0..3_u8) {
        for node in 0..sample.nodes.len() as u32 {
            let down = down(&sample, quorum_bears, node);
            let parts: f64 = down.responsible.iter().map(|part| part.client_minutes).sum();
            prop_assert!(near(parts, down.client_minutes().unwrap()), "{parts} of {down:?}");
        }
    }

    #[test]
    fn hazard_times_a_death_is_the_nodes_part_of_everybodys_failovers(sample in clusters()) {
        let policy = RiskPolicy::default();
        // Everybody bears all but one holder away; a sole holder does not count as failover.
        let shared: Vec<Part> = sample.partitions.iter().filter(|part| part.subset.len() > 1).cloned().collect();
        let sample = Sample { partitions: shared, ..sample };
        for node in 0..sample.nodes.len() as u32 {
            let down = down(&sample, 1, node);
            let expected: f64 = sample.look(|around| {
                let redundancy = Redundancy { quorum_bears: 1, missing: 0 };
                let of = |part: &Part| around.loss(Some(part.held()), &part.held(), redundancy, &policy).by_node;
                let mine = sample.partitions.iter().flat_map(of).filter(|(holder, _)| holder.0 == node);
                mine.map(|(_, lost)| lost).sum()
            });
            prop_assert!(near(sample.hazard_per_hour[node as usize] * down.failover, expected));
        }
    }
}
