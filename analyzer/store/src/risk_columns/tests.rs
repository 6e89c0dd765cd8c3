use super::*;
use crate::derived::tests::risk_row;
use crate::sample::at;
use crate::{Derived, Flaw, Store};
use isotherm_risk::{
    Bearing, Domain, Domains, ExposurePolicy, Field, FieldPolicy, Holding, LossParts, Node, Surroundings,
};
use polars::prelude::IntoLazy;
use proptest::prelude::*;

const WEIGHTS: RiskWeights = RiskWeights { incident_share: 0.2, survivors_weight: 1.0 };

fn close(got: Option<f64>, want: Option<f64>) -> bool {
    match (got, want) {
        (Some(got), Some(want)) => (got - want).abs() <= 1e-9 * want.abs().max(1.0),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn found(rows: &[RiskRow]) -> Vec<RiskColumns> {
    let frame = RiskRow::frame(&rows.iter().collect::<Vec<_>>()).unwrap();
    found_again(frame.lazy(), WEIGHTS).unwrap()
}

fn one(row: RiskRow) -> RiskColumns {
    found(&[row])[0]
}

/// A record of which nothing is known.
fn unknown() -> RiskRow {
    RiskRow {
        risk: None,
        exposure_per_hour: None,
        exposure_mean: None,
        exposure_variance: None,
        loss_failover: None,
        loss_present_overload: None,
        nodes: Vec::new(),
        shares: Vec::new(),
        hazards: Vec::new(),
        overloads: Vec::new(),
        ..risk_row(0, "p")
    }
}

/// A node: its hazard, its share, and how likely the survivors are overloaded.
type Factor = (Option<f64>, Option<f64>, Option<f64>);

fn with_nodes(row: RiskRow, nodes: &[Factor]) -> RiskRow {
    RiskRow {
        nodes: (0..nodes.len()).map(|node| node.to_string()).collect(),
        hazards: nodes.iter().map(|node| node.0).collect(),
        shares: nodes.iter().map(|node| node.1).collect(),
        overloads: nodes.iter().map(|node| node.2).collect(),
        ..row
    }
}

fn with_domains(row: RiskRow, domains: &[(f64, f64)]) -> RiskRow {
    RiskRow {
        domains: (0..domains.len()).map(|domain| domain.to_string()).collect(),
        domain_hazards: domains.iter().map(|(hazard, _)| Some(*hazard)).collect(),
        domain_shares: domains.iter().map(|(_, share)| Some(*share)).collect(),
        ..row
    }
}

fn with_loss(row: RiskRow, [failover, survivors, present, under]: [Option<f64>; 4]) -> RiskRow {
    RiskRow {
        loss_failover: failover,
        loss_survivors_overload: survivors,
        loss_present_overload: present,
        loss_under_replication: under,
        ..row
    }
}

#[test]
fn a_factor_that_is_unknown_makes_unknown_what_depends_on_it() {
    assert_eq!(found(&[]), []);
    let nothing = one(with_loss(unknown(), [Some(0.0); 4]));
    assert_eq!((nothing.exposure_per_hour, nothing.risk, nothing.loss_total), (Some(0.0), None, Some(0.0)));
    let nodes = [(Some(0.01), Some(0.5), Some(0.25)), (Some(0.02), Some(0.1), Some(0.0))];
    // .01 x 1 x 1.25 + .02 x .5.
    let known = with_nodes(unknown(), &nodes);
    assert!(close(one(known.clone()).exposure_per_hour, Some(0.0225)));
    assert_eq!(one(known.clone()).loss_total, None);
    let (hazard, share, overload) = nodes[0];
    for first in [(None, share, overload), (hazard, None, overload), (hazard, share, None)] {
        assert_eq!(one(with_nodes(unknown(), &[first, nodes[1]])).exposure_per_hour, None, "{first:?}");
    }
    let idle = one(with_nodes(unknown(), &[(hazard, Some(0.0), None), nodes[1]]));
    assert!(close(idle.exposure_per_hour, Some(0.01)), "nobody asks for overload that has no weight");
    assert!(close(one(with_domains(known, &[(0.001, 1.0)])).exposure_per_hour, Some(0.0235)));
}

#[test]
fn rows_do_not_touch_each_other() {
    let some = |hazard: f64| with_nodes(unknown(), &[(Some(hazard), Some(1.0), Some(0.0))]);
    let blind = with_nodes(unknown(), &[(Some(1.0), None, Some(0.0))]);
    let rows = found(&[some(1.0), blind, unknown(), some(2.0)]);
    let exposures: Vec<Option<f64>> = rows.iter().map(|row| row.exposure_per_hour).collect();
    assert_eq!(exposures, [Some(1.0), None, Some(0.0), Some(2.0)]);
}

#[test]
fn a_stored_table_is_found_again_in_its_order_and_what_does_not_follow_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let whole = with_loss(risk_row(1, "q"), [Some(1.0), Some(2.0), Some(0.0), Some(0.5)]);
    let whole = RiskRow { loss_total: Some(3.5), ..whole };
    let rows = vec![whole.clone(), risk_row(1, "p"), RiskRow { loss_total: Some(3.6), ..whole.clone() }];
    let rows = [rows, vec![RiskRow { at: at(2), risk: None, ..whole }]].concat();
    store.append(Derived { risks: rows, ..Derived::default() }, at(10)).unwrap();
    let (reader, all) = (store.reader(), Span::default());
    let (stored, again) = (reader.risk_rows(all).unwrap(), reader.risk_columns(all, WEIGHTS).unwrap());
    assert_eq!(stored.iter().map(|row| row.partition.as_str()).collect::<Vec<_>>(), ["p", "q", "q", "q"]);
    let losses: Vec<Option<f64>> = again.iter().map(|row| row.loss_total).collect();
    assert_eq!(losses, [None, Some(3.5), Some(3.5), Some(3.5)]);
    assert!(again.iter().all(|row| close(row.risk, Some(0.125))));
    let file = &reader.segment_files().unwrap()[0];
    assert_eq!(reader.verify(file).unwrap(), [Flaw::NotFollowing { rows: 2 }]);
}

/// A cluster of five nodes in two racks, and partitions on three of them.
type Cluster = (Vec<(Option<f64>, f64)>, [f64; 2], Vec<(usize, [f64; 3], f64)>);

fn cluster() -> impl Strategy<Value = Cluster> {
    let capacity = prop::option::weighted(0.8, 50.0..2_000.0f64);
    let partition = (0..5usize, prop::array::uniform3(0.0..1.0f64), 0.0..200.0f64);
    (
        prop::collection::vec((capacity, prop_oneof![Just(0.0), 1e-6..0.1f64]), 5),
        prop::array::uniform2(0.0..0.01f64),
        prop::collection::vec(partition, 1..8),
    )
}

fn holding((subset, shares, reads): &([Node; 3], [f64; 3], f64)) -> Holding<'_> {
    Holding { subset, shares, reads_per_s: *reads }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_columns_equal_the_pure_functions((nodes, racks, partitions) in cluster()) {
        let bearings: Vec<Bearing> =
            nodes.iter().map(|(capacity, _)| Bearing { capacity_per_s: *capacity, other_per_s: 1.0 }).collect();
        let hazards: Vec<f64> = nodes.iter().map(|(_, hazard)| *hazard).collect();
        let rack = |node: usize| Domain((node % 2) as u32);
        let of_nodes: Vec<[Domain; 1]> = (0..5).map(|node| [rack(node)]).collect();
        let domains = Domains::new(of_nodes.iter().map(<[Domain; 1]>::as_slice), racks.to_vec()).unwrap();
        let lies: Vec<([Node; 3], [f64; 3], f64)> = partitions
            .iter()
            .map(|(first, weights, reads)| {
                let sum: f64 = weights.iter().sum::<f64>() + 1e-9;
                let subset = [0, 1, 2].map(|next| Node(((first + next) % 5) as u32));
                (subset, weights.map(|weight| (weight + 1e-9 / 3.0) / sum), *reads)
            })
            .collect();
        let field = Field::build(&bearings, lies.iter().map(holding), FieldPolicy::default()).unwrap();
        let surroundings = Surroundings::new(&field, &hazards, &domains, None).unwrap();
        let policy = ExposurePolicy::default();
        let weights =
            RiskWeights { incident_share: policy.incident_share, survivors_weight: policy.survivors_weight };
        for lies in &lies {
            let held = holding(lies);
            let want = surroundings.exposure(Some(held), &held, &policy);
            let overload = |failover: f64, survivors: f64| if survivors == 0.0 { 0.0 } else { survivors / failover };
            let nodes: Vec<Factor> = want
                .by_node
                .iter()
                .zip(held.shares)
                .map(|(part, share)| {
                    let survivors = part.survivors_per_hour;
                    let overload = survivors.map(|survivors| overload(part.failover_per_hour, survivors));
                    (Some(hazards[part.node.0 as usize]), Some(*share), overload)
                })
                .collect();
            let in_rack = |number: usize| {
                let of = held.subset.iter().zip(held.shares);
                of.filter(|(node, _)| rack(node.0 as usize).0 as usize == number).map(|(_, share)| share).sum()
            };
            let domains = [0, 1].map(|number| (racks[number], in_rack(number)));
            let frame = RiskRow::frame(&[&with_domains(with_nodes(unknown(), &nodes), &domains)]).unwrap();
            let got = found_again(frame.lazy(), weights).unwrap()[0];
            prop_assert!(close(got.exposure_per_hour, want.per_hour()), "{got:?} {want:?}");
        }
    }

    #[test]
    fn risk_is_that_of_the_second_order(paths in prop::collection::vec(prop_oneof![0.0..0.1f64, 0.0..20.0f64], 1..30)) {
        let mean = paths.iter().sum::<f64>() / paths.len() as f64;
        let variance = paths.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / paths.len() as f64;
        let row = RiskRow { exposure_mean: Some(mean), exposure_variance: Some(variance), ..unknown() };
        let got = one(row.clone()).risk;
        prop_assert!(close(got, Some(isotherm_risk::second_order(mean, variance))), "{got:?}");
        prop_assert_eq!(one(RiskRow { exposure_variance: None, ..row }).risk, None);
    }

    #[test]
    fn a_loss_is_the_sum_of_its_parts(
        parts in prop::array::uniform7(0.0..1e6f64),
        (after, present) in (prop::option::of(0.0..1e6f64), prop::option::of(0.0..1e6f64)),
    ) {
        let [failover, domains, _, _, gray, quorum, data] = parts;
        let want = LossParts {
            failover, domains, after_failures: after, present_overload: present, gray, quorum, data,
        };
        // What fails over does so at once, and too few replicas are one state: the table has four of the seven.
        let parts = [Some(failover + domains + gray), after, present, Some(quorum + data)];
        let got = one(with_loss(unknown(), parts)).loss_total;
        prop_assert!(close(got, want.per_hour()), "{got:?} {want:?}");
    }
}
