//! How often to difference, by the test of Kwiatkowski, Phillips, Schmidt and Shin (1992).
//!
//! The null hypothesis is a level with stationary noise, so a series is differenced only when there is evidence
//! against that. Tests of a unit root ask the other way round and difference whatever is short, which costs a
//! forecast its level. Lag, weights and rules are those of R's `ndiffs` (Hyndman and Khandakar 2008), so that
//! orders can be compared with R's. One rule differs: R calls a series constant whose values agree in eight
//! digits, this module one whose values agree up to rounding, so that adding a number to a series changes
//! nothing.

/// Critical value at 5 % (Kwiatkowski et al. 1992, table 1, level).
pub const CRITICAL: f64 = 0.463;

/// The statistic for stationarity around a level: the mean square of the partial sums of the deviations from
/// the mean, over n times the long-run variance, with Bartlett weights up to lag `trunc(3 sqrt(n) / 13)`.
///
/// Missing values are left out before. `None` if fewer than two values are left, if one is infinite, or if they
/// are all the same up to rounding. The statistic does not change when a number is added to the series or the
/// series is multiplied by one.
///
/// ```
/// let ramp: Vec<f64> = (0..50).map(f64::from).collect();
/// assert!(isotherm_forecast::kpss::statistic(&ramp).is_some_and(|value| value > isotherm_forecast::kpss::CRITICAL));
/// assert_eq!(isotherm_forecast::kpss::statistic(&[1.0, 1.0]), None);
/// ```
#[must_use]
pub fn statistic(series: &[f64]) -> Option<f64> {
    let mut deviations = Vec::with_capacity(series.len());
    let rounding = gather(series, &mut deviations)?;
    centre(&mut deviations, rounding).then(|| of_deviations(&deviations))
}

/// How often to difference a series until a level is not rejected at 5 %, at most `max` times.
///
/// Missing values are left out before, as R does, so a gap counts as one step. A series that is constant after
/// some differences, or too short to say, is not differenced further; nor is one with an infinite value.
#[must_use]
pub fn differences(series: &[f64], max: usize) -> usize {
    differences_in(series, max, &mut Vec::new())
}

/// [`differences`] in a buffer that is kept from one series to the next.
pub(crate) fn differences_in(series: &[f64], max: usize, buffer: &mut Vec<f64>) -> usize {
    let Some(mut rounding) = gather(series, buffer) else { return 0 };
    let mut count = 0;
    while centre(buffer, rounding) && count < max && of_deviations(buffer) > CRITICAL {
        difference(buffer);
        rounding *= 2.0;
        count += 1;
    }
    count
}

/// Puts the values that are not missing into the buffer, by a power of two brought to a magnitude whose squares
/// neither overflow nor vanish. Gives the size of their rounding errors.
fn gather(series: &[f64], buffer: &mut Vec<f64>) -> Option<f64> {
    buffer.clear();
    buffer.extend(series.iter().filter(|value| !value.is_nan()));
    let (low, high) = range(buffer);
    let magnitude = high.max(-low);
    if !magnitude.is_finite() {
        return None;
    }
    // Halves, as the difference of two large numbers may be infinite.
    let half_range = high / 2.0 - low / 2.0;
    if half_range > 0.0 && !(1e-100..=1e100).contains(&half_range) {
        let scale = 2f64.powi(-(half_range.log2() as i32).clamp(-1000, 1000));
        buffer.iter_mut().for_each(|value| *value *= scale);
        return Some(ROUNDING * magnitude * scale);
    }
    Some(ROUNDING * magnitude)
}

/// A value, its deviation from the mean and the mean are each off by half a unit in the last place.
const ROUNDING: f64 = 4.0 * f64::EPSILON;

/// Takes the mean off. False if the values are too few, or the same up to rounding.
fn centre(values: &mut [f64], rounding: f64) -> bool {
    let (low, high) = range(values);
    if values.len() < 2 || high - low <= rounding {
        return false;
    }
    // Deviations from any of the values, as the mean of large values is only known up to their rounding.
    let origin = values[0];
    let mean = sum(values, |value| value - origin) / values.len() as f64;
    values.iter_mut().for_each(|value| *value = (*value - origin) - mean);
    true
}

/// The statistic of a centred series that is not constant.
fn of_deviations(deviations: &[f64]) -> f64 {
    let n = deviations.len() as f64;
    let lags = (3.0 * n.sqrt() / 13.0) as usize;
    let mut long_run = product(deviations, deviations);
    for lag in 1..=lags {
        let weight = 1.0 - lag as f64 / (lags + 1) as f64;
        long_run += 2.0 * weight * product(&deviations[lag..], deviations);
    }
    let (mut partial, mut squares) = (0.0, 0.0);
    for deviation in deviations {
        partial += deviation;
        squares += partial * partial;
    }
    squares / (n * long_run)
}

/// `x[i] = x[i + 1] - x[i]`, one value shorter.
fn difference(values: &mut Vec<f64>) {
    for at in 1..values.len() {
        values[at - 1] = values[at] - values[at - 1];
    }
    values.pop();
}

/// How many sums run side by side: one waits for the result of the addition before.
const LANES: usize = 8;

/// Smallest and largest value.
fn range(values: &[f64]) -> (f64, f64) {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let (mut low, mut high) = ([f64::INFINITY; LANES], [f64::NEG_INFINITY; LANES]);
    for chunk in chunks {
        for lane in 0..LANES {
            low[lane] = if chunk[lane] < low[lane] { chunk[lane] } else { low[lane] };
            high[lane] = if chunk[lane] > high[lane] { chunk[lane] } else { high[lane] };
        }
    }
    let low = rest.iter().chain(&low).copied().fold(f64::INFINITY, f64::min);
    (low, rest.iter().chain(&high).copied().fold(f64::NEG_INFINITY, f64::max))
}

/// Sum of a term of each value.
fn sum(values: &[f64], term: impl Fn(f64) -> f64) -> f64 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] += term(chunk[lane]);
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|value| term(*value)).sum::<f64>()
}

/// Scalar product, as far as both go.
fn product(left: &[f64], right: &[f64]) -> f64 {
    let len = left.len().min(right.len());
    let (left, left_rest) = left[..len].as_chunks::<LANES>();
    let (right, right_rest) = right[..len].as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in left.iter().zip(right) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f64>() + left_rest.iter().zip(right_rest).map(|(a, b)| a * b).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Annual flow of the Nile at Aswan, 1871-1970, 10^8 m^3 (Cobb 1978; R's `Nile`).
    const NILE: [i32; 100] = [
        1120, 1160, 963, 1210, 1160, 1160, 813, 1230, 1370, 1140, 995, 935, 1110, 994, 1020, 960, 1180, 799,
        958, 1140, 1100, 1210, 1150, 1250, 1260, 1220, 1030, 1100, 774, 840, 874, 694, 940, 833, 701, 916,
        692, 1020, 1050, 969, 831, 726, 456, 824, 702, 1120, 1100, 832, 764, 821, 768, 845, 864, 862, 698,
        845, 744, 796, 1040, 759, 781, 865, 845, 944, 984, 897, 822, 1010, 771, 676, 649, 846, 812, 742, 801,
        1040, 860, 874, 848, 890, 744, 749, 838, 1050, 918, 986, 797, 923, 975, 815, 1020, 906, 901, 1170,
        912, 746, 919, 718, 714, 740,
    ];

    fn nile() -> Vec<f64> {
        NILE.map(f64::from).to_vec()
    }

    fn close(series: &[f64], expected: f64) {
        let found = statistic(series).expect("not constant");
        assert!((found / expected - 1.0).abs() < 1e-12, "{found} {expected}");
    }

    /// From urca 1.3-3 in R 4.2.2: `ur.kpss(x, "mu", use.lag = trunc(3 * sqrt(n) / 13))@teststat`, `ndiffs` of
    /// forecast 8.20.
    #[test]
    fn statistics_and_differences_are_those_of_r() {
        close(&nile(), 1.31522646317767);
        assert_eq!(differences(&nile(), 2), 1);
        let steps: Vec<f64> = nile().windows(2).map(|pair| pair[1] - pair[0]).collect();
        close(&steps, 0.0196221315461299);

        close(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 20.0], 0.740285714285714);
        let squares = |n: i32, modulus: i32| (1..=n).map(move |i| f64::from(i * i % modulus));
        close(&squares(25, 17).collect::<Vec<_>>(), 0.088982178141352);
        close(&squares(200, 37).collect::<Vec<_>>(), 0.0369415338142564);
        let mut twice: Vec<f64> = squares(60, 11).map(|value| value - 4.0).collect();
        for _ in 0..2 {
            let mut total = 0.0;
            for value in &mut twice {
                total += *value;
                *value = total;
            }
        }
        close(&twice, 3.02785724792661);
        assert_eq!(differences(&twice, 2), 1);
        assert_eq!(differences(&twice, 0), 0);
    }

    #[test]
    fn missing_values_are_left_out_before_differencing() {
        let mut gaps = nile();
        for at in [0, 10, 11, 12, 60, 99] {
            gaps[at] = f64::NAN;
        }
        let kept: Vec<f64> = gaps.iter().copied().filter(|value| !value.is_nan()).collect();
        assert_eq!(statistic(&gaps), statistic(&kept));
        assert!(kept.len() == 94 && statistic(&gaps).is_some());
    }

    #[test]
    fn what_is_constant_is_not_differenced_further() {
        assert_eq!(differences(&[0.3; 40], 2), 0);
        assert_eq!(differences(&[0.3, 0.1 + 0.2, 0.3, 0.3], 2), 0);
        let power = |exponent: i32, step: f64| (1..=30).map(move |i| (f64::from(i) * step).powi(exponent));
        for step in [1.0, 0.1, 1e-7, 1e9 / 3.0] {
            assert_eq!(differences(&power(1, step).collect::<Vec<_>>(), 2), 1, "a line of slope {step}");
            assert_eq!(differences(&power(2, step).collect::<Vec<_>>(), 2), 2, "a parabola of {step}");
            assert_eq!(differences(&power(3, step).collect::<Vec<_>>(), 5), 3, "a cubic of {step}");
        }
    }

    #[test]
    fn what_says_nothing_has_no_statistic() {
        for series in [&[][..], &[1.0], &[f64::NAN; 5], &[f64::NAN, 2.0], &[1.0, f64::INFINITY, 2.0]] {
            assert_eq!(statistic(series), None, "{series:?}");
            assert_eq!(differences(series, 2), 0, "{series:?}");
        }
        assert_eq!(statistic(&[1.0, 2.0]), Some(0.25));
        assert_eq!(differences(&[1.0, 5.0, 2.0], 2), 0);
    }

    #[test]
    fn shift_and_scale_change_nothing() {
        let expected = 1.31522646317767;
        for scale in [1e-320, 1e-160, 1e-8, 1.0, -3.0, 1e12, 1e200, 1e304] {
            let found = statistic(&nile().iter().map(|value| value * scale).collect::<Vec<_>>())
                .expect("not constant");
            // Values near the smallest number have few digits.
            let tolerance = if scale < 1e-300 && scale > 0.0 { 1e-2 } else { 1e-12 };
            assert!((found / expected - 1.0).abs() < tolerance, "{scale}: {found}");
        }
        for shift in [1e3, -1e9, 1e12] {
            close(&nile().iter().map(|value| value + shift).collect::<Vec<_>>(), expected);
        }
        let opposite = [f64::MAX, -f64::MAX, f64::MAX, -f64::MAX];
        assert_eq!(statistic(&opposite), statistic(&[1.0, -1.0, 1.0, -1.0]));
    }

    /// The definition, term by term.
    fn by_definition(series: &[f64]) -> f64 {
        let n = series.len();
        let mean = series.iter().sum::<f64>() / n as f64;
        let lags = (3.0 * (n as f64).sqrt() / 13.0).floor() as usize;
        let variance: f64 = (0..=lags)
            .map(|lag| {
                let weight = if lag == 0 { 1.0 } else { 2.0 * (1.0 - lag as f64 / (lags as f64 + 1.0)) };
                weight * (lag..n).map(|t| (series[t] - mean) * (series[t - lag] - mean)).sum::<f64>()
                    / n as f64
            })
            .sum();
        let partial = |t: usize| series[..=t].iter().map(|value| value - mean).sum::<f64>();
        (0..n).map(|t| partial(t).powi(2)).sum::<f64>() / (n * n) as f64 / variance
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_length_follows_the_definition(series in prop::collection::vec(-5.0..5.0f64, 3..400)) {
            let expected = by_definition(&series);
            let found = statistic(&series).expect("not constant");
            prop_assert!((found / expected - 1.0).abs() < 1e-9, "{found} {expected}");
        }

        #[test]
        fn anything_finite_has_a_number_of_differences(
            series in prop::collection::vec(prop_oneof![any::<f64>(), Just(f64::NAN), -1.0..1.0f64], 0..60),
        ) {
            prop_assert!(differences(&series, 2) <= 2);
            prop_assert!(statistic(&series).is_none_or(|value| value >= 0.0 && value.is_finite()));
        }
    }
}
