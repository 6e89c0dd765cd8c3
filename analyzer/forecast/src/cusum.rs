//! Whether innovations are still those of the model: cumulative sums of Page (1954).
//!
//! Small shifts add up in them within a few steps, where no single innovation would stand out. A chart of the
//! innovations themselves sees a shift of their mean, one of their squares a change of their variance; each
//! has a sum for either side. A tripped chart stays tripped: what is to be done about it is the policy's.

use crate::Side;
use serde::{Deserialize, Serialize};

/// Larger innovations count as this many standard deviations, so that no sum leaves double precision.
const LARGEST: f64 = 1e6;

/// What a chart adds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Chart {
    Level,
    Spread,
}

impl Chart {
    /// Reference value and limit of the upper sum, then of the lower.
    ///
    /// The references are the best for a shift by one standard deviation, and for a standard deviation that
    /// is 1.5 times larger or smaller: `ln(rho) rho / (rho - 1)` with `rho = 1.5^2` or its inverse (Hawkins
    /// and Olwell 1998). With these limits and nothing amiss each chart side trips once in about 850 steps,
    /// both sides of the level in 770 (by the Markov chain of Brook and Evans 1972).
    fn limits(self) -> [(f64, f64); 2] {
        match self {
            Self::Level => [(0.5, 5.5), (-0.5, 5.5)],
            Self::Spread => [(1.459_674_389_192, 14.0), (0.648_744_172_973, 7.0)],
        }
    }
}

/// A two-sided chart of standardised innovations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cusum {
    chart: Chart,
    above: f64,
    below: f64,
    tripped: Option<Side>,
}

impl Cusum {
    /// Of the innovations: trips when their mean is no longer 0.
    #[must_use]
    pub fn of_level() -> Self {
        Self { chart: Chart::Level, above: 0.0, below: 0.0, tripped: None }
    }

    /// Of their squares: trips when their variance is no longer 1.
    #[must_use]
    pub fn of_spread() -> Self {
        Self { chart: Chart::Spread, above: 0.0, below: 0.0, tripped: None }
    }

    /// Adds an innovation in units of its standard deviation; one that is not a number adds nothing. Once
    /// tripped, nothing is added.
    pub fn update(&mut self, standardised: f64) {
        if self.tripped.is_some() || standardised.is_nan() {
            return;
        }
        let bounded = standardised.clamp(-LARGEST, LARGEST);
        let value = match self.chart {
            Chart::Level => bounded,
            Chart::Spread => bounded * bounded,
        };
        let [(high, upper), (low, lower)] = self.chart.limits();
        self.above = (self.above + value - high).max(0.0);
        self.below = (self.below - value + low).max(0.0);
        if self.above > upper {
            self.tripped = Some(Side::Above);
        } else if self.below > lower {
            self.tripped = Some(Side::Below);
        }
    }

    /// On which side it tripped; `None` if it did not.
    #[must_use]
    pub fn tripped(&self) -> Option<Side> {
        self.tripped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_distr::{Distribution, StandardNormal};
    use rand_pcg::Pcg64Mcg;
    use rand_pcg::rand_core::SeedableRng;

    /// Mean steps to the trip over many runs, and how many of them were above.
    fn run_length(chart: &Cusum, shift: f64, scale: f64) -> (f64, f64) {
        const RUNS: usize = 1500;
        let mut random = Pcg64Mcg::seed_from_u64(7);
        let (mut steps, mut above) = (0_u64, 0_u32);
        for _ in 0..RUNS {
            let mut cusum = chart.clone();
            while cusum.tripped().is_none() {
                let draw: f64 = StandardNormal.sample(&mut random);
                cusum.update(shift + scale * draw);
                steps += 1;
            }
            above += u32::from(cusum.tripped() == Some(Side::Above));
        }
        (steps as f64 / RUNS as f64, f64::from(above) / RUNS as f64)
    }

    /// The standard error of a mean over 1500 runs is 2.6 % of it.
    fn assert_length(have: f64, want: f64) {
        assert!((have / want - 1.0).abs() < 0.09, "{have} is not {want}");
    }

    /// Run lengths of the Markov chain, computed apart.
    #[test]
    fn a_chart_of_what_is_in_order_trips_as_rarely_as_is_said() {
        assert_length(run_length(&Cusum::of_level(), 0.0, 1.0).0, 771.1);
        // 846 for the upper and 810 for the lower sum: at least the half of the lower, at most that.
        let (steps, above) = run_length(&Cusum::of_spread(), 0.0, 1.0);
        assert_length(steps, 1.0 / (1.0 / 845.7 + 1.0 / 810.3));
        assert!((0.4..0.6).contains(&above), "{above}");
    }

    #[test]
    fn a_shift_trips_soon_and_on_its_side() {
        let (steps, above) = run_length(&Cusum::of_level(), 1.0, 1.0);
        assert!(steps < 12.5 && above > 0.999, "{steps} {above}");
        let (steps, above) = run_length(&Cusum::of_level(), -1.0, 1.0);
        assert!(steps < 12.5 && above < 0.001, "{steps} {above}");
        let (steps, above) = run_length(&Cusum::of_spread(), 0.0, 1.5);
        assert_length(steps, 18.57);
        assert!(above > 0.98, "{above}");
        let (steps, above) = run_length(&Cusum::of_spread(), 0.0, 1.0 / 1.5);
        assert_length(steps, 31.52);
        assert!(above < 0.02, "{above}");
    }

    #[test]
    fn a_tripped_chart_stays_tripped_and_a_missing_value_adds_nothing() {
        let mut cusum = Cusum::of_level();
        cusum.update(f64::NAN);
        assert_eq!(cusum, Cusum::of_level());
        cusum.update(f64::INFINITY);
        assert_eq!(cusum.tripped(), Some(Side::Above));
        let tripped = cusum.clone();
        cusum.update(-100.0);
        assert_eq!(cusum, tripped);
    }
}
