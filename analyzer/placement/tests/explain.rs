//! Explanations against the decisions that they explain.

mod racks;

use isotherm_placement::explain::{ExplainError, How, Standing, Verdict, Why, of_move, of_partition};
use isotherm_placement::{
    Action, Cause, Cluster, Column, Constraint, InFlight, Node, NodeState, Outlook, Partition, Plan, Reason,
    Rejected, Request, Snapshot, hash, plan,
};
use proptest::prelude::*;
use racks::{GB, cluster, with_hazard, with_nodes, with_outlook};

fn uneven(mut cluster: Cluster, seed: u64) -> Cluster {
    for partition in cluster.partitions.all() {
        let draw = hash::draw(u64::from(partition.0), seed);
        cluster.partitions.size_bytes[partition.at()] = GB / 2 + draw % GB;
        cluster.partitions.load[partition.at()] = 0.5 + (draw >> 40) as f64 / (1u64 << 24) as f64;
    }
    cluster
}

fn agrees(snapshot: &Snapshot, plan: &Plan, at: usize, outlook: Option<&Outlook<'_>>) -> How {
    let decided = &plan.moves[at];
    let explained = of_move(snapshot, plan, at, outlook).expect("the plan is of the snapshot");
    let chosen: Vec<Node> = explained
        .nodes
        .iter()
        .filter(|(_, verdict)| matches!(verdict, Verdict::Chosen { .. }))
        .map(|(node, _)| *node)
        .collect();
    let (Action::Copy { to, .. } | Action::Lead { to, .. } | Action::DrainReads { from: to }) =
        decided.action;
    assert_eq!(chosen, [to]);
    let second = explained.nodes.iter().find_map(|(node, verdict)| match verdict {
        Verdict::Allowed { score } => Some((*node, *score)),
        Verdict::Chosen { .. } | Verdict::Rejected(_) => None,
    });
    if let Some((node, score)) = decided.runner_up {
        assert_eq!(second, Some((node, Some(score))));
    }
    if explained.how == How::Alone {
        assert_eq!(second.is_none(), decided.runner_up.is_none());
        let mut rejected = Rejected::default();
        for (_, verdict) in &explained.nodes {
            if let Verdict::Rejected(constraint) = verdict {
                rejected.add(*constraint);
            }
        }
        assert_eq!(rejected, decided.rejected);
    }
    explained.how
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn repair_is_explained_as_it_was_decided(seed: u64, down in 0..60usize, draining in 0..60usize) {
        let broken = with_nodes(uneven(cluster(6, 10, 3_000), seed), |at, node| {
            if at == draining {
                node.state = NodeState::Draining;
            }
            if at == down {
                node.state = NodeState::Down;
            }
        });
        let snapshot = Snapshot::new(broken).unwrap();
        let plan = plan(&snapshot, &Request { repair: true, ..Request::default() });
        prop_assert!(plan.moves.len() > 100);
        for at in (0..plan.moves.len()).step_by(17) {
            prop_assert_eq!(agrees(&snapshot, &plan, at, None), How::Alone);
        }
    }

    #[test]
    fn proactive_moves_are_explained_as_they_were_decided(seed: u64, per_rack in 5..11u16, overlap in 0..2u8) {
        let mut risky = with_hazard(uneven(cluster(6, per_rack, 3_000), seed), 7, 20.0);
        risky.policy.weights.overlap = f64::from(overlap) * 0.3;
        let snapshot = Snapshot::new(risky).unwrap();
        with_outlook(&snapshot, 1e-3, |_| 1.0, |outlook| {
            let plan = plan(&snapshot, &Request { risk: Some(outlook), ..Request::default() });
            assert!(plan.moves.len() > 20);
            for at in (0..plan.moves.len()).step_by(13) {
                assert_eq!(agrees(&snapshot, &plan, at, Some(&outlook)), How::Alone);
                assert_eq!(agrees(&snapshot, &plan, at, None), How::Together);
            }
        });
    }

    #[test]
    fn whatever_was_asked_the_chosen_node_and_the_second_are_those_of_the_move(seed: u64, times in 1..4u8) {
        let changed = with_nodes(uneven(cluster(4, 5, 1_000), seed), |at, node| match at {
            3 => node.capacity_bytes = node.capacity_bytes * (20 + u64::from(times)) / 20,
            5 => node.capacity_bytes = node.capacity_bytes * 9 / 10,
            9 => node.state = NodeState::Draining,
            _ => {}
        });
        let snapshot = Snapshot::new(changed).unwrap();
        let request = Request {
            repair: true,
            shed: vec![Node(5)],
            fill: vec![Node(3)],
            balance: true,
            ..Request::default()
        };
        let plan = plan(&snapshot, &request);
        for at in (0..plan.moves.len()).step_by(7) {
            agrees(&snapshot, &plan, at, None);
        }
    }
}

fn stays(snapshot: &Snapshot, plan: &Plan, partition: Partition) -> Why {
    match of_partition(snapshot, plan, partition, None).expect("the plan is of the snapshot") {
        Standing::Stays(why) => why,
        Standing::Moves(moves) => panic!("{partition:?} moves: {moves:?}"),
    }
}

#[test]
fn a_partition_that_stays_says_why() {
    let mut still = cluster(6, 10, 6_000);
    let len = still.partitions.len();
    let mut pinned = vec![false; len];
    pinned[0] = true;
    still.partitions.pinned = Column::Each(pinned);
    let mut moved = vec![None; len];
    moved[1] = Some(still.now_s - 60);
    still.partitions.moved_at_s = Column::Each(moved);
    let copy = InFlight {
        partition: Partition(2),
        from: still.assignment.subset(Partition(2)).next(),
        to: (0..60).map(Node).find(|node| !still.assignment.holds(*node, Partition(2))).unwrap(),
    };
    still.in_flight = vec![copy];
    let snapshot = Snapshot::new(still).unwrap();
    let nothing = plan(&snapshot, &Request::default());
    assert_eq!(stays(&snapshot, &nothing, Partition(0)), Why::Pinned);
    let until_s = snapshot.now_s() - 60 + snapshot.policy().cool_down_s;
    assert_eq!(stays(&snapshot, &nothing, Partition(1)), Why::Cooling { until_s });
    assert_eq!(stays(&snapshot, &nothing, Partition(2)), Why::InFlight(copy));
    let Why::Fine { pressure, band } = stays(&snapshot, &nothing, Partition(3)) else {
        panic!("nothing is uneven")
    };
    assert!((pressure - 1.0).abs() < 0.01 && (band - 1.03).abs() < 1e-12);
}

#[test]
fn a_partition_with_nowhere_to_go_names_what_forbids_each_node() {
    let stuck = with_nodes(cluster(3, 2, 300), |at, node| {
        if at == 0 {
            node.state = NodeState::Draining;
        }
        if at == 1 {
            node.capacity_bytes = 1;
        }
    });
    let snapshot = Snapshot::new(stuck).unwrap();
    let nothing = plan(&snapshot, &Request::default());
    let of = snapshot.partitions().all().find(|at| snapshot.assignment().holds(Node(0), *at)).unwrap();
    let Why::Nowhere(nodes) = stays(&snapshot, &nothing, of) else { panic!("it has somewhere to go") };
    assert_eq!(nodes.len(), 6);
    assert!(nodes.contains(&(Node(0), Constraint::NotATarget)));
    assert!(nodes.contains(&(Node(1), Constraint::Capacity)));
    let in_words = Standing::Stays(Why::Nowhere(nodes)).in_words(snapshot.topology()).to_string();
    assert!(in_words.contains("not node 1: no room for it"), "{in_words}");
    assert!(in_words.contains("its rack has another replica"), "{in_words}");
}

#[test]
fn a_refusal_comes_first_and_a_move_is_named() {
    let mut risky = with_hazard(cluster(6, 10, 6_000), 7, 20.0);
    risky.policy.move_budget = Some(1);
    let snapshot = Snapshot::new(risky).unwrap();
    let plan = with_outlook(
        &snapshot,
        1e-3,
        |_| 1.0,
        |outlook| plan(&snapshot, &Request { risk: Some(outlook), ..Request::default() }),
    );
    let moved = plan.moves[0].partition;
    assert_eq!(of_partition(&snapshot, &plan, moved, None), Ok(Standing::Moves(vec![0])));
    let refused = plan.refusals[0].partition.unwrap();
    assert!(matches!(stays(&snapshot, &plan, refused), Why::Refused(Cause::Budget { .. })));
}

#[test]
fn a_move_in_words_names_nodes_reason_and_what_rejected_the_others() {
    let broken = with_nodes(cluster(6, 10, 3_000), |at, node| {
        if at == 7 {
            node.state = NodeState::Down;
        }
    });
    let snapshot = Snapshot::new(broken).unwrap();
    let plan = plan(&snapshot, &Request { repair: true, ..Request::default() });
    assert_eq!(plan.moves[0].reason, Reason::Lost);
    let Action::Copy { to, .. } = plan.moves[0].action else { panic!("no copy") };
    let words = of_move(&snapshot, &plan, 0, None).unwrap().in_words(snapshot.topology()).to_string();
    for part in ["goes from node 7", "its holder is down", "not node 7: down", "holds it already"] {
        assert!(words.contains(part), "{part} is not in:\n{words}");
    }
    assert!(words.contains(&format!("1. node {}, score", to.0)), "{words}");
}

#[test]
fn what_does_not_exist_is_not_explained() {
    let snapshot = Snapshot::new(cluster(3, 2, 300)).unwrap();
    let nothing = plan(&snapshot, &Request::default());
    assert_eq!(of_move(&snapshot, &nothing, 0, None), Err(ExplainError::NoSuchMove { at: 0, moves: 0 }));
    let beyond = of_partition(&snapshot, &nothing, Partition(300), None);
    assert_eq!(beyond, Err(ExplainError::NoSuchPartition { at: 300, partitions: 300 }));
}
