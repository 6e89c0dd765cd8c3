//! Seeded series of many kinds, and the orders to try on them.

use isotherm_forecast::Order;
use rand_distr::{Distribution, StandardNormal, StandardUniform, StudentT};
use rand_pcg::Pcg64;
use rand_pcg::rand_core::SeedableRng;
use std::fmt::{self, Display, Formatter};

/// What is peculiar about a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An ARMA process about a mean.
    Stationary,
    /// An autoregressive root within 5 % of the unit circle.
    NearUnitRoot,
    /// The sum of an ARMA process, with or without a drift.
    Integrated,
    /// The sum of a sum.
    TwiceIntegrated,
    /// A stationary or integrated process of which up to a quarter is missing, alone and in runs.
    Missing,
    /// 12 to 30 values.
    Short,
    /// A level that jumps.
    Shift,
    /// Of a size far from 1.
    Scaled,
    /// Rounded until neighbours are equal.
    Rounded,
    /// Innovations of Student's t with three degrees of freedom.
    HeavyTails,
}

const KINDS: [Kind; 10] = [
    Kind::Stationary,
    Kind::Integrated,
    Kind::Missing,
    Kind::Short,
    Kind::NearUnitRoot,
    Kind::TwiceIntegrated,
    Kind::Scaled,
    Kind::Shift,
    Kind::Rounded,
    Kind::HeavyTails,
];

/// Orders by their differences: p, d, q, and whether with a constant.
const ORDERS: [&[(usize, usize, usize, bool)]; 3] = [
    &[
        (0, 0, 0, true),
        (1, 0, 0, true),
        (1, 0, 0, false),
        (0, 0, 1, true),
        (1, 0, 1, true),
        (2, 0, 0, true),
        (0, 0, 2, true),
        (2, 0, 1, true),
        (2, 0, 2, true),
        (3, 0, 1, true),
        (5, 0, 0, true),
        (2, 0, 3, false),
    ],
    &[
        (0, 1, 0, false),
        (0, 1, 0, true),
        (1, 1, 0, false),
        (0, 1, 1, false),
        (1, 1, 1, false),
        (1, 1, 1, true),
        (0, 1, 1, true),
        (2, 1, 1, false),
        (2, 1, 2, false),
        (3, 1, 0, true),
        (0, 1, 4, false),
    ],
    &[(0, 2, 0, false), (0, 2, 1, false), (1, 2, 1, false), (0, 2, 2, false), (2, 2, 1, false)],
];

/// Orders per series.
const TRIED: usize = 3;

/// A series and what to try on it.
pub(crate) struct Case {
    pub(crate) kind: Kind,
    pub(crate) seed: u64,
    pub(crate) series: Vec<f64>,
    pub(crate) orders: Vec<Order>,
}

impl Case {
    /// The case of a seed. Neighbouring seeds give neighbouring kinds, so that each has its share.
    pub(crate) fn new(seed: u64) -> Self {
        let kind = KINDS[(seed % KINDS.len() as u64) as usize];
        let mut chance = Chance(Pcg64::seed_from_u64(seed));
        let (series, d) = series(kind, &mut chance);
        let observed = series.iter().filter(|value| !value.is_nan()).count();
        let mut left: Vec<Order> = ORDERS[d].iter().filter_map(order).collect();
        left.retain(|order| order.coefficients() + d + 6 <= observed);
        let mut orders = Vec::new();
        while orders.len() < TRIED && !left.is_empty() {
            orders.push(left.swap_remove(chance.below(left.len())));
        }
        Self { kind, seed, series, orders }
    }
}

impl Display for Case {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, seed {}, n = {}", self.kind, self.seed, self.series.len())
    }
}

fn order(&(p, d, q, constant): &(usize, usize, usize, bool)) -> Option<Order> {
    let order = Order::new(p, d, q).ok()?;
    if constant { order.with_constant().ok() } else { Some(order) }
}

/// The series, and the number of differences to try on it.
fn series(kind: Kind, chance: &mut Chance) -> (Vec<f64>, usize) {
    match kind {
        Kind::Stationary => {
            let n = 40 + chance.below(260);
            (process(chance, n, 0.9), 0)
        }
        Kind::NearUnitRoot => {
            let n = 60 + chance.below(200);
            let ar = chance.between(0.95, 0.999);
            let mut value = 0.0;
            let steps = process(chance, n, 0.3).into_iter().map(|step| {
                value = ar * value + step;
                value
            });
            (steps.collect(), 0)
        }
        Kind::Integrated => {
            let n = 40 + chance.below(260);
            let drift = if chance.below(2) == 0 { 0.0 } else { chance.between(-0.5, 0.5) };
            (sum(centred(process(chance, n, 0.8)).into_iter().map(|step| step + drift)), 1)
        }
        Kind::TwiceIntegrated => {
            let n = 40 + chance.below(160);
            (sum(sum(centred(process(chance, n, 0.5)).into_iter()).into_iter()), 2)
        }
        Kind::Missing => {
            let n = 50 + chance.below(150);
            let d = chance.below(3);
            let mut series = process(chance, n, 0.8);
            for _ in 0..d {
                series = sum(centred(series).into_iter());
            }
            (with_gaps(chance, series), d)
        }
        Kind::Short => {
            let n = 12 + chance.below(19);
            let d = chance.below(2);
            let series = process(chance, n, 0.8);
            (if d == 0 { series } else { sum(series.into_iter()) }, d)
        }
        Kind::Shift => {
            let n = 60 + chance.below(140);
            let (at, size) = (chance.below(n), chance.between(2.0, 8.0));
            let level = |(t, value): (usize, f64)| if t < at { value } else { value + size };
            (process(chance, n, 0.6).into_iter().enumerate().map(level).collect(), chance.below(2))
        }
        Kind::Scaled => {
            let n = 50 + chance.below(150);
            let scale = 10_f64.powf(chance.between(-6.0, 6.0));
            let d = chance.below(2);
            let series = process(chance, n, 0.8);
            let series = if d == 0 { series } else { sum(centred(series).into_iter()) };
            (series.into_iter().map(|value| scale * value).collect(), d)
        }
        Kind::Rounded => {
            let n = 50 + chance.below(150);
            let d = chance.below(2);
            let series = process(chance, n, 0.8);
            let series = if d == 0 { series } else { sum(centred(series).into_iter()) };
            (series.into_iter().map(|value| (2.0 * value).round() / 2.0).collect(), d)
        }
        Kind::HeavyTails => {
            let n = 60 + chance.below(200);
            let tails = StudentT::new(3.0).expect("three degrees are more than none");
            let (ar, mean) = (chance.between(-0.5, 0.9), chance.between(-5.0, 5.0));
            let mut value = 0.0;
            let next = |_| {
                value = ar * value + tails.sample(&mut chance.0);
                mean + value
            };
            ((0..n).map(next).collect(), 0)
        }
    }
}

/// An ARMA process about a mean, of up to three autoregressive terms with roots up to `1 / most`, and of up
/// to two of moving average.
fn process(chance: &mut Chance, n: usize, most: f64) -> Vec<f64> {
    let (p, q) = (chance.below(4), chance.below(3));
    let ar: Vec<f64> = (0..p).map(|_| chance.between(-most, most)).collect();
    let ma: Vec<f64> = (0..q).map(|_| chance.between(-0.9, 0.9)).collect();
    let (mean, deviation) = (chance.between(-10.0, 10.0), chance.between(0.2, 3.0));
    // Each term of first order filters what the one before it made, so that the roots are known.
    let mut values: Vec<f64> = (0..n + 100).map(|_| deviation * chance.normal()).collect();
    for coefficient in ma {
        let before = [0.0].into_iter().chain(values.clone());
        values = values.iter().zip(before).map(|(value, before)| value + coefficient * before).collect();
    }
    for coefficient in ar {
        let mut state = 0.0;
        for value in &mut values {
            state = coefficient * state + *value;
            *value = state;
        }
    }
    values.into_iter().skip(100).map(|value| mean + value).collect()
}

fn centred(values: Vec<f64>) -> Vec<f64> {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.into_iter().map(|value| value - mean).collect()
}

fn sum(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let add = |total: &mut f64, value| {
        *total += value;
        Some(*total)
    };
    values.scan(0.0, add).collect()
}

/// Leaves out single values and one run, at the ends too.
fn with_gaps(chance: &mut Chance, mut series: Vec<f64>) -> Vec<f64> {
    let n = series.len();
    for _ in 0..chance.below(n / 8) + 1 {
        series[chance.below(n)] = f64::NAN;
    }
    let (start, length) = (chance.below(n), chance.below(n / 8) + 1);
    for value in series.iter_mut().skip(start).take(length) {
        *value = f64::NAN;
    }
    series
}

struct Chance(Pcg64);

impl Chance {
    fn between(&mut self, low: f64, high: f64) -> f64 {
        let unit: f64 = StandardUniform.sample(&mut self.0);
        low + (high - low) * unit
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.between(0.0, bound as f64) as usize).min(bound.saturating_sub(1))
    }

    fn normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.0)
    }
}
