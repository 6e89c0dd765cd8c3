use super::*;

const NAN: f64 = f64::NAN;

/// Annual flow of the Nile at Aswan, 1871-1970, 10^8 m^3 (Cobb 1978; R's `Nile`).
fn nile() -> Vec<f64> {
    let flow = [
        1120, 1160, 963, 1210, 1160, 1160, 813, 1230, 1370, 1140, 995, 935, 1110, 994, 1020, 960, 1180, 799,
        958, 1140, 1100, 1210, 1150, 1250, 1260, 1220, 1030, 1100, 774, 840, 874, 694, 940, 833, 701, 916,
        692, 1020, 1050, 969, 831, 726, 456, 824, 702, 1120, 1100, 832, 764, 821, 768, 845, 864, 862, 698,
        845, 744, 796, 1040, 759, 781, 865, 845, 944, 984, 897, 822, 1010, 771, 676, 649, 846, 812, 742, 801,
        1040, 860, 874, 848, 890, 744, 749, 838, 1050, 918, 986, 797, 923, 975, 815, 1020, 906, 901, 1170,
        912, 746, 919, 718, 714, 740,
    ];
    flow.map(f64::from).to_vec()
}

/// Means, and lower limits at 95 %, of forecast 8.20 in R 4.2.2.
fn as_r(found: &Forecast, mean: &[f64], low: &[f64], tolerance: f64) {
    assert_eq!(found.mean().len(), mean.len());
    for step in 0..mean.len() {
        let limit = found.mean()[step] - 1.959963984540054 * found.standard_error()[step];
        assert!((found.mean()[step] / mean[step] - 1.0).abs() < tolerance, "{step}: {found:?}");
        assert!((limit / low[step] - 1.0).abs() < tolerance, "{step}: {limit}");
    }
}

#[test]
fn walks_are_those_of_r() {
    let found = naive(&nile(), 3).expect("values");
    as_r(&found, &[740.0; 3], &[412.0497307, 276.2082814, 171.9734712], 1e-9);
    let found = drift(&nile(), 3).expect("values");
    as_r(&found, &[736.1616162, 732.3232323, 728.4848485], &[404.9689936, 261.6100738, 149.1343734], 1e-9);
    let found = seasonal_naive(&nile(), NonZeroUsize::new(4).expect("four"), 6).expect("values");
    let low = [518.1949527, 317.1949527, 313.1949527, 339.1949527, 352.1760662, 151.1760662];
    as_r(&found, &[919.0, 718.0, 714.0, 740.0, 919.0, 718.0], &low, 1e-9);
}

/// R looks for the coefficient by Nelder and Mead, so both agree in what the sum of squares tells apart.
#[test]
fn theta_is_that_of_r() {
    let found = theta(&nile(), 4).expect("values");
    let mean = [799.8119962159, 798.4548435006, 797.0976907853, 795.7405380700];
    as_r(&found, &mean, &[517.1229425630, 507.3602131921, 497.8334821108, 488.5239218641], 1e-4);
    let values: Vec<f64> = nile().iter().map(|value| value - 1120.0).collect();
    let best = best_smoothing(&values);
    assert!(best.squares.sum <= 2038674.438 && (best.alpha - 0.2456681537).abs() < 1e-3, "{}", best.alpha);
}

/// With the coefficient at its upper bound, as of a random walk, R's `thetaf` has these.
#[test]
fn theta_of_a_walk_is_that_of_r() {
    let lake = [
        112, 118, 132, 129, 121, 135, 148, 148, 136, 119, 104, 118, 115, 126, 141, 135, 125, 149, 170, 170,
        158,
    ];
    let walk: Vec<f64> = lake.iter().copied().chain([133, 114, 140]).map(f64::from).collect();
    let found = theta(&walk, 4).expect("values");
    let mean = [140.4826648708, 140.9678822621, 141.4530996534, 141.9383170447];
    as_r(&found, &mean, &[111.4171127339, 99.8650404224, 91.1134443747, 83.8115746635], 1e-5);
}

/// By hand: the steps are 1 and 4 over two steps, so s^2 = (1 + 16 / 2) / 2, and two steps pass before the first
/// that is forecast.
#[test]
fn missing_values_are_steps_that_pass() {
    let found = naive(&[NAN, 1.0, 2.0, NAN, 6.0, NAN], 2).expect("values");
    assert_eq!(found.mean(), [6.0, 6.0]);
    assert!((found.standard_error()[0] - (4.5f64 * 2.0).sqrt()).abs() < 1e-12);
    assert!((found.standard_error()[1] - (4.5f64 * 3.0).sqrt()).abs() < 1e-12);

    // The drift is 5 / 3; the changes differ from it by -2 / 3 and, over two steps, 2 / 3.
    let found = drift(&[NAN, 1.0, 2.0, NAN, 6.0, NAN], 1).expect("values");
    assert!((found.mean()[0] - (6.0 + 10.0 / 3.0)).abs() < 1e-12);
    let variance: f64 = 4.0 / 9.0 + 4.0 / 9.0 / 2.0;
    assert!((found.standard_error()[0] - (variance * 2.0 * (1.0 + 2.0 / 3.0)).sqrt()).abs() < 1e-12);

    // Places 0 and 1; place 0 changes by 4 over two periods, place 1 by 1 over one.
    let found = seasonal_naive(&[1.0, 7.0, NAN, 8.0, 5.0, NAN], NonZeroUsize::new(2).expect("two"), 2);
    let found = found.expect("values");
    assert_eq!(found.mean(), [5.0, 8.0]);
    assert!((found.standard_error()[0] - 4.5f64.sqrt()).abs() < 1e-12);
    assert!((found.standard_error()[1] - 9f64.sqrt()).abs() < 1e-12);
}

/// A missing last value leaves the level and moves the horizon by one.
#[test]
fn theta_after_a_missing_value_is_theta_a_step_later() {
    let mut longer = nile();
    longer.push(NAN);
    let (found, expected) = (theta(&longer, 3).expect("values"), theta(&nile(), 4).expect("values"));
    for step in 0..3 {
        assert!((found.mean()[step] - expected.mean()[step + 1]).abs() < 1e-9);
        assert!((found.standard_error()[step] - expected.standard_error()[step + 1]).abs() < 1e-9);
    }
}

#[test]
fn without_noise_there_is_no_width() {
    let line: Vec<f64> = (0..20).map(|at| 0.5 * f64::from(at)).collect();
    let found = drift(&line, 2).expect("values");
    assert_eq!((found.mean(), found.standard_error()), (&[10.0, 10.5][..], &[0.0, 0.0][..]));
    for forecaster in [naive, drift, theta] {
        let found = forecaster(&[3.0; 9], 2).expect("values");
        assert_eq!((found.mean(), found.standard_error()), (&[3.0, 3.0][..], &[0.0, 0.0][..]));
    }
}

#[test]
fn what_says_nothing_is_named() {
    for (forecaster, need) in
        [(naive as fn(&[f64], usize) -> Result<Forecast, BaselineError>, 2), (drift, 3), (theta, 3)]
    {
        let have = need - 1;
        let too_short = SeriesError::TooShort { have, need };
        assert_eq!(forecaster(&vec![1.0; have], 3), Err(too_short.into()));
        assert_eq!(forecaster(&[NAN, NAN], 3), Err(SeriesError::AllMissing { len: 2 }.into()));
        assert_eq!(forecaster(&[], 3), Err(SeriesError::AllMissing { len: 0 }.into()));
        assert_eq!(forecaster(&[1.0, -f64::INFINITY, 2.0], 3), Err(SeriesError::Infinite { at: 1 }.into()));
        assert_eq!(forecaster(&[f64::MAX, -f64::MAX, 1.0], 3), Err(SeriesError::OutOfRange.into()));
        assert_eq!(forecaster(&[1e-200, 0.0, 3e-200, 0.0], 3), Err(SeriesError::OutOfRange.into()));
    }
    let three = NonZeroUsize::new(3).expect("three");
    let no_value = BaselineError::NoValueAtPlace { place: 1, period: 3 };
    assert_eq!(seasonal_naive(&[1.0, NAN, 2.0, 3.0, NAN, 4.0], three, 3), Err(no_value));
    assert_eq!(
        seasonal_naive(&[1.0, 2.0, 3.0], three, 3),
        Err(SeriesError::TooShort { have: 3, need: 4 }.into())
    );
    assert_eq!(naive(&[1.0, 2.0], 0).expect("values").mean().len(), 0);
}
