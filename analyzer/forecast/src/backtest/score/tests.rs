use super::*;
use proptest::prelude::*;
use statrs::distribution::{ContinuousCDF, Normal};

const MISSING: f64 = f64::NAN;

fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-12 * expected.abs().max(1.0), "{found} {expected}");
}

fn between(low: f64, high: f64) -> Interval {
    Interval { low, high }
}

#[test]
fn the_scale_is_the_mean_step_between_neighbours_that_are_there() {
    assert_eq!(naive_scale(&[1.0, 3.0, 2.0, MISSING, 9.0, 8.0]), Some(4.0 / 3.0));
    for history in [&[][..], &[1.0], &[2.0, 2.0, 2.0], &[1.0, MISSING, 2.0], &[1.0, f64::INFINITY, 2.0]] {
        assert_eq!(naive_scale(history), None, "{history:?}");
    }
}

/// `accuracy(rwf(x[1:20], h = 4), x[21:24])` of forecast 8.20 on the first two years of AirPassengers.
#[test]
fn mase_is_that_of_r() {
    let passengers = [
        112, 118, 132, 129, 121, 135, 148, 148, 136, 119, 104, 118, 115, 126, 141, 135, 125, 149, 170, 170,
        158, 133, 114, 140,
    ]
    .map(f64::from);
    let score = mase(&passengers[20..], &[170.0; 4], &passengers[..20]).expect("finite").expect("a scale");
    near(score.value, 3.112_864_077_669_903);
    assert_eq!((score.count, score.missing), (4, 0));
    assert_eq!(mase(&[1.0], &[2.0], &[3.0, 3.0]), Ok(None));
}

#[test]
fn missing_values_are_left_out_and_counted() {
    let score = smape(&[1.0, MISSING, 0.0, 3.0], &[3.0, 7.0, 0.0, 3.0]).expect("finite");
    near(score.value, 100.0 / 3.0);
    assert_eq!((score.count, score.missing), (3, 1));
    assert_eq!(smape(&[MISSING], &[1.0]), Err(ScoreError::Nothing));
    assert_eq!(smape(&[], &[]), Err(ScoreError::Nothing));
    near(smape(&[f64::MAX], &[-f64::MAX]).expect("finite").value, 200.0);
    let covered = coverage(&[0.5, MISSING, 2.0, 1.0], &[between(0.0, 1.0); 4]).expect("finite");
    assert_eq!((covered.value, covered.count, covered.missing), (2.0 / 3.0, 3, 1));
}

#[test]
fn what_cannot_be_scored_is_named() {
    let length = ScoreError::Length { name: "means", have: 1, need: 2 };
    assert_eq!(smape(&[1.0, 2.0], &[1.0]), Err(length));
    assert_eq!(length.to_string(), "1 means for 2 actual values");
    let missing = mase(&[1.0, 2.0], &[1.0, MISSING], &[1.0, 2.0]).expect_err("a mean is missing");
    assert!(matches!(missing, ScoreError::NotFinite { name: "mean", index: 1, .. }));
    assert_eq!(
        smape(&[1.0, f64::INFINITY], &[1.0, 1.0]),
        Err(ScoreError::NotFinite { name: "actual value", index: 1, value: f64::INFINITY })
    );
    let forecast = Forecast::new(vec![0.0], vec![-1.0]);
    assert_eq!(
        crps(&[1.0], &forecast),
        Err(ScoreError::Negative { name: "standard error", index: 0, value: -1.0 })
    );
    assert_eq!(
        coverage(&[1.0], &[between(2.0, 1.0)]),
        Err(ScoreError::Negative { name: "width", index: 0, value: -1.0 })
    );
    assert_eq!(mean_width(&[]), Err(ScoreError::Nothing));
    assert_eq!(interval_score(&[1.0], &[between(0.0, 1.0)], 1.0), Err(ScoreError::Level(1.0)));
    assert_eq!(
        brier(&[0.5, 1.5], &[true, false]),
        Err(ScoreError::NotProbability { name: "probability", index: 1, value: 1.5 })
    );
    assert!(brier(&[MISSING], &[true]).is_err() && brier(&[], &[]).is_err());
    assert!(roc_auc(&[MISSING], &[true]).is_err() && average_precision(&[0.1], &[]).is_err());
}

/// `crps_gaussian` of properscoring 0.1.
#[test]
fn crps_of_a_gaussian_is_that_of_properscoring() {
    let cases = [
        (0.3, 0.0, 1.0, 0.2693329006866635),
        (-1.2, -1.0, 0.5, 0.14834404517357486),
        (2.5, 1.0, 2.0, 0.8962885043931006),
        (0.0, 0.5, 0.1, 0.4435810523375554),
    ];
    for (actual, mean, deviation, expected) in cases {
        near(crps(&[actual], &Forecast::new(vec![mean], vec![deviation])).expect("finite").value, expected);
    }
    let forecast = Forecast::new(vec![0.0, -1.0, 1.0, 0.5], vec![1.0, 0.5, 2.0, 0.1]);
    let actual = [0.3, -1.2, 2.5, 0.0];
    near(crps(&actual, &forecast).expect("finite").value, 0.43938662564772357);
    let scaled = scaled_crps(&actual, &forecast, &[0.0, 2.0]).expect("finite").expect("a scale");
    near(scaled.value, 0.43938662564772357 / 2.0);
    assert_eq!(scaled_crps(&actual, &forecast, &[1.0]), Ok(None));
}

#[test]
fn crps_without_width_is_the_absolute_error() {
    for deviation in [0.0, 1e-300, 1e-12] {
        near(gaussian_crps(-2.5, deviation), 2.5);
    }
    assert_eq!(gaussian_crps(0.0, 0.0), 0.0);
}

/// `crps_ensemble` of properscoring 0.1; the fair one by its definition in numpy.
#[test]
fn crps_of_a_sample_is_that_of_properscoring() {
    let sample = [0.1, 0.9, 0.3, -0.5, 2.0];
    let of = |kind| sample_crps(0.4, &sample, kind).expect("finite").expect("enough values");
    near(of(Sample::Plain), 0.21600000000000008);
    near(of(Sample::Fair), 0.09999999999999998);
    assert_eq!(sample_crps(0.4, &[1.0], Sample::Plain), Ok(Some(0.6)));
    assert_eq!(sample_crps(0.4, &[1.0], Sample::Fair), Ok(None));
    assert_eq!(sample_crps(0.4, &[], Sample::Plain), Ok(None));
    assert!(sample_crps(0.4, &[1.0, MISSING], Sample::Plain).is_err());
}

#[test]
fn crps_of_many_quantiles_is_that_of_the_gaussian() {
    let normal = Normal::new(1.0, 2.0).expect("a deviation above 0");
    let sample: Vec<f64> = (0..20_000).map(|i| normal.inverse_cdf((f64::from(i) + 0.5) / 20_000.0)).collect();
    for actual in [-3.0, 0.5, 1.0, 6.0] {
        let found = sample_crps(actual, &sample, Sample::Plain).expect("finite").expect("enough");
        assert!((found - gaussian_crps(actual - 1.0, 2.0)).abs() < 1e-4, "{actual}: {found}");
    }
}

/// Widths 2; the second lies 1 below and costs 2 / 0.2, the third 0.5 above.
#[test]
fn the_interval_score_charges_for_what_lies_outside() {
    let intervals = [between(0.0, 2.0); 3];
    let score = interval_score(&[1.0, -1.0, 2.5], &intervals, 0.8).expect("finite");
    near(score.value, 2.0 + (10.0 + 5.0) / 3.0);
    assert_eq!(mean_width(&intervals), Ok(2.0));
}

/// `brier_score_loss`, `average_precision_score` and `roc_auc_score` of scikit-learn 1.9.1.
#[test]
fn scores_of_probabilities_are_those_of_scikit_learn() {
    let scores = [0.1, 0.4, 0.35, 0.8, 0.4, 0.7, 0.7, 0.2, 0.9, 0.4];
    let outcomes = [0, 0, 1, 1, 1, 0, 1, 0, 1, 0].map(|outcome| outcome == 1);
    near(brier(&scores, &outcomes).expect("probabilities"), 0.17824999999999996);
    near(average_precision(&scores, &outcomes).expect("numbers").expect("positives"), 0.7892857142857141);
    near(roc_auc(&scores, &outcomes).expect("numbers").expect("both"), 0.78);
}

#[test]
fn ties_are_one_threshold_and_one_kind_has_no_curve() {
    // Any order among equal scores would give another number than the share of positives.
    assert_eq!(average_precision(&[0.5; 4], &[true, false, false, false]), Ok(Some(0.25)));
    assert_eq!(roc_auc(&[0.0, -0.0], &[true, false]), Ok(Some(0.5)));
    assert_eq!(average_precision(&[0.1, 0.2], &[false, false]), Ok(None));
    assert_eq!(roc_auc(&[0.1, 0.2], &[true, true]), Ok(None));
    assert_eq!(roc_auc(&[f64::INFINITY, f64::NEG_INFINITY], &[true, false]), Ok(Some(1.0)));
}

proptest! {
    #[test]
    fn crps_of_a_sample_follows_its_definition(
        sample in prop::collection::vec(-3.0..3.0f64, 2..30),
        actual in -4.0..4.0f64,
    ) {
        let m = sample.len() as f64;
        let error = sample.iter().map(|x| (x - actual).abs()).sum::<f64>() / m;
        let spread: f64 = sample.iter().flat_map(|x| sample.iter().map(move |y| (x - y).abs())).sum();
        for (kind, pairs) in [(Sample::Plain, m * m), (Sample::Fair, m * (m - 1.0))] {
            let found = sample_crps(actual, &sample, kind).expect("finite").expect("enough");
            prop_assert!((found - (error - spread / (2.0 * pairs))).abs() < 1e-12);
        }
    }

    #[test]
    fn roc_auc_is_the_share_of_pairs_in_order(
        ranked in prop::collection::vec((0..6u8, any::<bool>()), 1..40),
    ) {
        let scores: Vec<f64> = ranked.iter().map(|(score, _)| f64::from(*score)).collect();
        let outcomes: Vec<bool> = ranked.iter().map(|(_, outcome)| *outcome).collect();
        let (mut sum, mut pairs) = (0.0, 0);
        for (high, _) in ranked.iter().filter(|(_, outcome)| *outcome) {
            for (low, _) in ranked.iter().filter(|(_, outcome)| !*outcome) {
                sum += if high > low { 1.0 } else if high == low { 0.5 } else { 0.0 };
                pairs += 1;
            }
        }
        match roc_auc(&scores, &outcomes).expect("numbers") {
            Some(found) => prop_assert!((found - sum / f64::from(pairs)).abs() < 1e-12),
            None => prop_assert_eq!(pairs, 0),
        }
    }
}
