//! The exposure of a partition integrated over a horizon, along simulated paths of its entropy.
//!
//! Near times come from the series of minutes, later ones from quarters of an hour, the rest from hours: a model of
//! minutes knows nothing of tomorrow, and one of hours nothing of the next ten minutes. Paths of different series are
//! drawn independently. Where a series has no model its part keeps the exposure of the present, which is said by the
//! share of the horizon that was forecast.
//!
//! Paths are of `z = arcsin(sqrt(h))`; the exposure is tabulated over z once per partition, so that a step of a path
//! costs a look at the table.

use crate::series::Series;
use std::f64::consts::FRAC_PI_2;

/// Paths that are simulated. The seed is the partition's own and does not change, so that a risk moves because the
/// series did.
const PATHS: usize = 32;

/// Places of the table over z: at a kink interpolation is exact to a hundredth of the range of the exposure.
const PLACES: usize = 65;

/// Where one series hands over to the next, in the shortest steps: half an hour, six hours.
const MINUTES_UNTIL: f64 = 30.0;
const QUARTERS_UNTIL: f64 = 360.0;

/// The exposure at any entropy, tabulated.
#[derive(Debug, Clone)]
pub struct Table {
    per_hour: [f64; PLACES],
}

impl Table {
    /// Tabulates an exposure per hour, as a function of `h` in 0..=1.
    pub fn new(mut exposure_per_hour: impl FnMut(f64) -> f64) -> Self {
        let z = |place: usize| FRAC_PI_2 * place as f64 / (PLACES - 1) as f64;
        Self { per_hour: std::array::from_fn(|place| exposure_per_hour(z(place).sin().powi(2))) }
    }

    /// From exposures at some entropies, in any order: straight lines over z between them, and beyond the outermost
    /// their values. `None` without a point.
    #[must_use]
    pub fn of_points(mut points: Vec<(f64, f64)>) -> Option<Self> {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let z: Vec<f64> = points.iter().map(|(h, _)| h.clamp(0.0, 1.0).sqrt().asin()).collect();
        let (first, last) = (points.first()?.1, points.last()?.1);
        let mut right = 0;
        let per_hour = std::array::from_fn(|place| {
            let at = FRAC_PI_2 * place as f64 / (PLACES - 1) as f64;
            while right < z.len() && z[right] < at {
                right += 1;
            }
            match right {
                0 => first,
                right if right == z.len() => last,
                right => {
                    let width = z[right] - z[right - 1];
                    let share = if width > 0.0 { (at - z[right - 1]) / width } else { 1.0 };
                    points[right - 1].1 * (1.0 - share) + points[right].1 * share
                }
            }
        });
        Some(Self { per_hour })
    }

    /// The exposure at an entropy, 0 to 1.
    #[must_use]
    pub fn at_entropy(&self, h: f64) -> f64 {
        self.at(h.clamp(0.0, 1.0).sqrt().asin())
    }

    /// The exposure at `z`, which is held within 0 and pi / 2.
    #[must_use]
    pub fn at(&self, z: f64) -> f64 {
        let place = (z.clamp(0.0, FRAC_PI_2) / FRAC_PI_2) * (PLACES - 1) as f64;
        let below = (place as usize).min(PLACES - 2);
        let share = place - below as f64;
        self.per_hour[below] * (1.0 - share) + self.per_hour[below + 1] * share
    }
}

/// The integral of an exposure over a horizon: how it is distributed over the paths.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Integrated {
    /// Hours.
    pub horizon_h: f64,
    /// Mean over the paths.
    pub mean: f64,
    /// Variance over the paths.
    pub variance: f64,
    /// Share of the horizon for which there was a model.
    pub forecast_share: f64,
}

/// The series of one partition's node entropy, from short to long steps.
#[derive(Debug, Clone, Copy)]
pub struct Ladder<'a> {
    /// Of minutes.
    pub minute: &'a Series,
    /// Of quarters of an hour.
    pub quarter: &'a Series,
    /// Of hours.
    pub hour: &'a Series,
}

/// Integrates over `horizon_h` hours (above 0), where the shortest step has `step_h`. `present_per_hour` is the exposure where nothing is forecast.
#[must_use]
pub fn integrate(
    ladder: Ladder<'_>,
    table: &Table,
    present_per_hour: f64,
    [horizon_h, step_h]: [f64; 2],
    seed: u64,
) -> Integrated {
    let mut paths = [0.0; PATHS];
    let mut forecast_h = 0.0;
    let rungs = [
        (ladder.minute, step_h, 0.0, MINUTES_UNTIL * step_h),
        (ladder.quarter, 15.0 * step_h, MINUTES_UNTIL * step_h, QUARTERS_UNTIL * step_h),
        (ladder.hour, 60.0 * step_h, QUARTERS_UNTIL * step_h, f64::INFINITY),
    ];
    for (rung, (series, step_h, from_h, until_h)) in rungs.into_iter().enumerate() {
        let until_h = until_h.min(horizon_h);
        if until_h <= from_h {
            break;
        }
        let covered = until_h - from_h;
        let added = add(&mut paths, series, table, [step_h, from_h, until_h], seed ^ rung as u64);
        if added {
            forecast_h += covered;
        } else {
            paths.iter_mut().for_each(|path| *path += present_per_hour * covered);
        }
    }
    let mean = paths.iter().sum::<f64>() / PATHS as f64;
    let variance = paths.iter().map(|path| (path - mean).powi(2)).sum::<f64>() / PATHS as f64;
    Integrated { horizon_h, mean, variance, forecast_share: forecast_h / horizon_h }
}

/// Adds what a series says of `from_h .. until_h` to every path. Says whether it could.
fn add(
    paths: &mut [f64; PATHS],
    series: &Series,
    table: &Table,
    [step_h, from_h, until_h]: [f64; 3],
    seed: u64,
) -> bool {
    let steps = (until_h / step_h).ceil() as usize;
    // The part of a step that lies within.
    let within = |step: usize| {
        let (start, end) = (step as f64 * step_h, (step + 1) as f64 * step_h);
        (end.min(until_h) - start.max(from_h)).max(0.0)
    };
    if series.is_still() {
        let Some(forecast) = series.forecast(1) else { return false };
        let per_hour = table.at(forecast.mean()[0]);
        paths.iter_mut().for_each(|path| *path += per_hour * (until_h - from_h));
        return true;
    }
    let Some(simulated) = series.paths(steps, PATHS, seed) else { return false };
    for step in 0..steps {
        let hours = within(step);
        let values = simulated.step(step).unwrap_or(&[]);
        if hours > 0.0 {
            for (path, z) in paths.iter_mut().zip(values) {
                *path += table.at(*z) * hours;
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Due;
    use isotherm_forecast::Select;

    const MINUTE_H: f64 = 1.0 / 60.0;

    fn series(values: impl Iterator<Item = f64>) -> Series {
        let mut series = Series::new(120, 0);
        for value in values {
            if series.update(Some(value)) == Due::Select {
                let values = series.values();
                series.selected(Select::new().quick().select(&values));
            }
        }
        series
    }

    fn noise(around: f64) -> Series {
        series((0..100_u32).map(move |at| around + 0.02 * (f64::from(at * 7919 % 101) / 101.0 - 0.5)))
    }

    #[test]
    fn without_models_the_present_goes_on() {
        let empty = Series::new(120, 0);
        let ladder = Ladder { minute: &empty, quarter: &empty, hour: &empty };
        let table = Table::new(|h| h);
        let all = integrate(ladder, &table, 0.01, [24.0, MINUTE_H], 7);
        assert!((all.mean - 0.24).abs() < 1e-12);
        assert!(all.variance < 1e-24);
        assert_eq!(all.forecast_share, 0.0);
    }

    #[test]
    fn an_exposure_that_does_not_depend_on_the_entropy_is_its_product_with_the_horizon() {
        let minute = noise(0.6);
        let ladder = Ladder { minute: &minute, quarter: &minute, hour: &minute };
        let all = integrate(ladder, &Table::new(|_| 0.002), 5.0, [24.0, MINUTE_H], 7);
        assert!((all.mean - 0.048).abs() < 1e-12, "{}", all.mean);
        assert_eq!(all.forecast_share, 1.0);
    }

    #[test]
    fn the_mean_follows_what_is_forecast_and_the_seed_decides_the_rest() {
        let (low, high) = (noise(0.3), noise(0.8));
        let of = |series: &Series, seed| {
            let ladder = Ladder { minute: series, quarter: series, hour: series };
            integrate(ladder, &Table::new(|h| h / 1_000.0), 0.0, [24.0, MINUTE_H], seed)
        };
        let (below, above) = (of(&low, 7), of(&high, 7));
        assert!((below.mean / 24.0 * 1_000.0 - 0.3).abs() < 0.03, "{}", below.mean);
        assert!((above.mean / 24.0 * 1_000.0 - 0.8).abs() < 0.03, "{}", above.mean);
        assert!(above.variance > 0.0);
        assert_eq!(of(&high, 7), above);
    }

    #[test]
    fn between_its_places_the_table_is_exact_to_a_hundredth_of_its_range() {
        let exposure = |h: f64| 0.01 * (h / 0.2).min(1.0) + 0.02 * h * h;
        let table = Table::new(exposure);
        for step in 0..=1_000 {
            let z = FRAC_PI_2 * f64::from(step) / 1_000.0;
            assert!((table.at(z) - exposure(z.sin().powi(2))).abs() < 3e-4, "at {z}");
        }
    }
}
