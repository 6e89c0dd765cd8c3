use super::*;
use crate::sample::near;
use proptest::prelude::*;

#[test]
fn three_quarters_squared_are_nine_tenths() {
    let mut tilted = Vec::new();
    tilt(&[0.75, 0.25], 2.0, &mut tilted);
    assert!(near(tilted[0], 0.9) && near(tilted[1], 0.1), "{tilted:?}");
}

#[test]
fn a_power_of_nothing_makes_even_what_serves() {
    let mut tilted = Vec::new();
    tilt(&[0.9, 0.1, 0.0], 0.0, &mut tilted);
    assert_eq!(tilted, [0.5, 0.5, 0.0]);
}

#[test]
fn even_shares_that_should_be_less_even_tilt_the_baseline() {
    let even = [1.0 / 3.0; 3];
    let usual = [0.6, 0.3, 0.1];
    let tilted = tilt_to(&even, Some(&usual), 0.4).unwrap();
    assert_eq!(tilted.reached, Reached::Baseline);
    assert!((normalised_entropy(&tilted.shares).unwrap() - 0.4).abs() < 1e-9);
    assert!(tilted.shares[0] > tilted.shares[1] && tilted.shares[1] > tilted.shares[2]);
}

#[test]
fn what_no_power_reaches_is_the_nearest_and_says_so() {
    let leader = tilt_to(&[1.0, 0.0, 0.0], None, 1.0).unwrap();
    assert_eq!((leader.shares, leader.reached), (vec![1.0, 0.0, 0.0], Reached::Nearest { entropy: 0.0 }));
    let two = tilt_to(&[0.8, 0.2, 0.0], None, 1.0).unwrap();
    let Reached::Nearest { entropy } = two.reached else { panic!("{two:?}") };
    assert!(near(entropy, 1.0 / 3.0_f64.log2()));
    assert_eq!(two.shares, [0.5, 0.5, 0.0]);
    let tied = tilt_to(&[0.4, 0.4, 0.2], None, 0.1).unwrap();
    let Reached::Nearest { entropy } = tied.reached else { panic!("{tied:?}") };
    assert!((entropy - 1.0 / 3.0_f64.log2()).abs() < 1e-6, "the two that are tied stay so: {entropy}");
}

#[test]
fn one_node_or_no_shares_have_no_tilt() {
    assert_eq!(tilt_to(&[1.0], None, 0.5), None);
    assert_eq!(tilt_to(&[0.0, 0.0], None, 0.5), None);
    assert_eq!(tilt_to(&[0.5, 0.5], None, f64::NAN), None);
}

#[test]
fn a_new_node_gets_the_share_of_the_one_it_replaces() {
    let (present, shares) = ([Node(1), Node(2), Node(3)], [0.7, 0.2, 0.1]);
    let mut got = Vec::new();
    inherit(&present, &shares, &[Node(1), Node(9), Node(3)], Inherit::ByPlace, &mut got);
    assert!(got.iter().zip(shares).all(|(got, share)| near(*got, share)), "{got:?}");
    inherit(&present, &shares, &[Node(3), Node(9), Node(1)], Inherit::ByNode, &mut got);
    assert!(got.iter().zip([0.1, 0.2, 0.7]).all(|(got, share)| near(*got, share)), "{got:?}");
}

#[test]
fn another_leader_gets_the_leaders_share_by_place_only() {
    let (present, shares) = ([Node(1), Node(2)], [0.9, 0.1]);
    let mut got = Vec::new();
    inherit(&present, &shares, &[Node(2), Node(1)], Inherit::ByPlace, &mut got);
    assert_eq!(got, [0.9, 0.1], "node 2 leads");
    inherit(&present, &shares, &[Node(2), Node(1)], Inherit::ByNode, &mut got);
    assert_eq!(got, [0.1, 0.9], "node 2 is listed first");
}

#[test]
fn a_further_holder_gets_the_least_share_there_is() {
    let mut got = Vec::new();
    let nodes = [Node(0), Node(1), Node(2)];
    inherit(&nodes[..2], &[0.5, 0.5], &nodes, Inherit::ByPlace, &mut got);
    assert!(got.iter().all(|share| near(*share, 1.0 / 3.0)));
    inherit(&nodes[..2], &[1.0, 0.0], &nodes, Inherit::ByPlace, &mut got);
    assert_eq!(got, [1.0, 0.0, 0.0]);
}

#[test]
fn others_serve_what_a_drained_holder_served() {
    let mut got = Vec::new();
    drained(&[0.5, 0.3, 0.2], 0, &mut got);
    assert!(near(got[1], 0.6) && near(got[2], 0.4) && got[0] == 0.0);
    drained(&[1.0, 0.0, 0.0], 0, &mut got);
    assert_eq!(got, [0.0, 0.5, 0.5]);
    drained(&[1.0], 0, &mut got);
    assert_eq!(got, [1.0]);
}

proptest! {
    #[test]
    fn a_tilt_hits_its_entropy_and_keeps_the_order(
        weights in prop::collection::vec(0.001..1.0_f64, 2..9),
        target in 0.001..0.999_f64,
    ) {
        let shares = shares_of(&weights).unwrap();
        let tilted = tilt_to(&shares, None, target).unwrap();
        let entropy = normalised_entropy(&tilted.shares).unwrap();
        match tilted.reached {
            Reached::Present => prop_assert!((entropy - target).abs() <= 1e-9, "{entropy} for {target}"),
            Reached::Baseline => prop_assert!(false, "there is none"),
            // Two shares that are nearly tied need a power beyond all bounds.
            Reached::Nearest { entropy: nearest } => prop_assert!(nearest > target && tilted.tau > 1e5),
        }
        prop_assert!(near(tilted.shares.iter().sum(), 1.0));
        for at in 1..shares.len() {
            let order = |of: &[f64]| of[at - 1] <= of[at];
            let kept = !order(&shares) || order(&tilted.shares);
            prop_assert!(kept, "{shares:?} became {:?}", tilted.shares);
        }
    }

    #[test]
    fn entropy_falls_with_the_power(
        weights in prop::collection::vec(0.001..1.0_f64, 2..9),
        low in 0.0..5.0_f64,
        more in 0.01..5.0_f64,
    ) {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let shares = shares_of(&weights).unwrap();
        tilt(&shares, low, &mut a);
        tilt(&shares, low + more, &mut b);
        prop_assert!(entropy_bits(&b) <= entropy_bits(&a) + 1e-12);
    }
}
