use super::*;
use isotherm_risk::{
    Bearing, Domain, Domains, ExposurePolicy, Field, FieldPolicy, Holding, LossParts, Node, Surroundings,
};
use proptest::prelude::*;

const WEIGHTS: RiskWeights = RiskWeights { incident_share: 0.2, survivors_weight: 1.0 };

fn close(got: Option<f64>, want: Option<f64>) -> bool {
    match (got, want) {
        (Some(got), Some(want)) => (got - want).abs() <= 1e-9 * want.abs().max(1.0),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn one(factors: RiskFactors) -> RiskColumns {
    risk_columns(&[factors], WEIGHTS).unwrap()[0]
}

fn node(hazard: f64, share: f64, overload: Option<f64>) -> RiskFactor {
    RiskFactor { hazard_per_hour: Some(hazard), share: Some(share), overload }
}

#[test]
fn a_factor_that_is_unknown_makes_unknown_what_depends_on_it() {
    assert_eq!(risk_columns(&[], WEIGHTS).unwrap(), []);
    let nothing = one(RiskFactors { loss: [Some(0.0); 7], ..RiskFactors::default() });
    assert_eq!(
        (nothing.exposure_per_hour, nothing.risk, nothing.loss_per_hour),
        (Some(0.0), None, Some(0.0))
    );
    let nodes = vec![node(0.01, 0.5, Some(0.25)), node(0.02, 0.1, Some(0.0))];
    // .01 x 1 x 1.25 + .02 x .5.
    let known = RiskFactors { nodes: nodes.clone(), ..RiskFactors::default() };
    assert!(close(one(known.clone()).exposure_per_hour, Some(0.0225)));
    assert_eq!(one(known.clone()).loss_per_hour, None);
    for unknown in [
        RiskFactor { hazard_per_hour: None, ..nodes[0] },
        RiskFactor { share: None, ..nodes[0] },
        RiskFactor { overload: None, ..nodes[0] },
    ] {
        let factors = RiskFactors { nodes: vec![unknown, nodes[1]], ..known.clone() };
        assert_eq!(one(factors).exposure_per_hour, None, "{unknown:?}");
    }
    let idle = RiskFactors { nodes: vec![node(0.01, 0.0, None), nodes[1]], ..known.clone() };
    assert!(close(one(idle).exposure_per_hour, Some(0.01)), "nobody asks for overload that has no weight");
    let domain = RiskFactor { overload: None, ..node(0.001, 1.0, None) };
    let both = RiskFactors { domains: vec![domain], ..known };
    assert!(close(one(both).exposure_per_hour, Some(0.0235)));
}

#[test]
fn rows_do_not_touch_each_other() {
    let some =
        |hazard: f64| RiskFactors { nodes: vec![node(hazard, 1.0, Some(0.0))], ..RiskFactors::default() };
    let mut unknown = some(1.0);
    unknown.nodes[0].share = None;
    let found = risk_columns(&[some(1.0), unknown, RiskFactors::default(), some(2.0)], WEIGHTS).unwrap();
    let exposures: Vec<Option<f64>> = found.iter().map(|row| row.exposure_per_hour).collect();
    assert_eq!(exposures, [Some(1.0), None, Some(0.0), Some(2.0)]);
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
            let factors = RiskFactors {
                nodes: want
                    .by_node
                    .iter()
                    .zip(held.shares)
                    .map(|(part, share)| RiskFactor {
                        hazard_per_hour: Some(hazards[part.node.0 as usize]),
                        share: Some(*share),
                        overload: part
                            .survivors_per_hour
                            .map(|survivors| if survivors == 0.0 { 0.0 } else { survivors / part.failover_per_hour }),
                    })
                    .collect(),
                domains: [0, 1]
                    .map(|rack_number| RiskFactor {
                        hazard_per_hour: Some(racks[rack_number]),
                        share: Some(
                            held.subset
                                .iter()
                                .zip(held.shares)
                                .filter(|(node, _)| rack(node.0 as usize).0 as usize == rack_number)
                                .map(|(_, share)| share)
                                .sum(),
                        ),
                        overload: None,
                    })
                    .to_vec(),
                ..RiskFactors::default()
            };
            let got = risk_columns(&[factors], weights).unwrap()[0];
            prop_assert!(close(got.exposure_per_hour, want.per_hour()), "{got:?} {want:?}");
        }
    }

    #[test]
    fn risk_is_that_of_the_second_order(paths in prop::collection::vec(prop_oneof![0.0..0.1f64, 0.0..20.0f64], 1..30)) {
        let mean = paths.iter().sum::<f64>() / paths.len() as f64;
        let variance = paths.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / paths.len() as f64;
        let factors = RiskFactors {
            exposure_mean: Some(mean),
            exposure_variance: Some(variance),
            ..RiskFactors::default()
        };
        let got = one(factors.clone()).risk;
        prop_assert!(close(got, Some(isotherm_risk::second_order(mean, variance))), "{got:?}");
        prop_assert_eq!(one(RiskFactors { exposure_variance: None, ..factors }).risk, None);
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
        let loss = [Some(failover), Some(domains), after, present, Some(gray), Some(quorum), Some(data)];
        let got = one(RiskFactors { loss, ..RiskFactors::default() }).loss_per_hour;
        prop_assert!(close(got, want.per_hour()), "{got:?} {want:?}");
    }
}
