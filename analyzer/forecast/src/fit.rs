//! How to estimate a model.

use crate::descent::{Effort, Point};
use crate::lane::Lanes;
use crate::likelihood::{MAX_PARAMETERS, Scratch, Shape};
use crate::polynomial::coefficients;
use crate::processor::Instructions;
use crate::search::{Minimum, minimise};
use crate::series::{Origin, Prepared};
use crate::{Coefficients, FitError, Fitted, Order};
use serde::{Deserialize, Serialize};

/// What is made as small, or as large, as it can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The exact Gaussian likelihood.
    #[default]
    Exact,
    /// The conditional sum of squares: the innovations before the first p values are taken as zero. Quicker,
    /// and nearly the same on long series away from unit roots.
    Conditional,
    /// Nothing: the coefficients were given.
    Given,
}

/// How to estimate a model of an order.
#[derive(Clone, Debug)]
pub struct Fit {
    order: Order,
    method: Method,
}

impl Fit {
    /// By exact maximum likelihood.
    #[must_use]
    pub fn new(order: Order) -> Self {
        Self { order, method: Method::Exact }
    }

    /// Estimates.
    ///
    /// # Errors
    /// See [`FitError`].
    pub fn fit(&self, series: &[f64]) -> Result<Fitted, FitError> {
        let _ = (series, self.order, self.method);
        Err(FitError::NoLikelihood)
    }
}

/// Temporary: what was estimated.
pub fn try_fit(order: Order, series: &[f64]) -> Result<(Coefficients, f64, f64, Vec<(f64, u32)>), FitError> {
    let origin = if order.has_constant() || order.d() > 0 { Origin::Free } else { Origin::Fixed };
    let prepared = Prepared::new(series, origin)?;
    prepared.check(order.d(), order.d() + order.coefficients() + 2)?;
    let w = prepared.differenced(order.d());
    let lanes: Vec<Lanes<8>> = w.iter().map(|&x| Lanes([x; 8])).collect();
    let shape = Shape { p: order.p(), q: order.q(), constant: order.has_constant() };
    let starts = starts(shape, &w);
    let effort = Effort { least_gain: 1e-9, evaluations: 200 };
    let minima: [Option<Minimum>; 8] =
        minimise(Instructions::best(), shape, &lanes, &starts, effort, &mut Scratch::new(w.len()));
    let all = minima.iter().flatten().map(|m| (m.deviance, m.evaluations)).collect();
    let best = minima
        .into_iter()
        .flatten()
        .min_by(|a, b| a.deviance.total_cmp(&b.deviance))
        .ok_or(FitError::NoLikelihood)?;
    let n = w.len() as f64;
    let ll = -0.5 * (best.deviance + n * ((2.0 * std::f64::consts::PI).ln() + 1.0)) - n * prepared.unit.ln();
    let ar = coefficients(&best.at[..shape.p])[..shape.p].to_vec();
    let ma = coefficients(&best.at[shape.p..shape.p + shape.q])[..shape.q].iter().map(|c| -c).collect();
    let shift = if order.d() == 0 { prepared.shift } else { 0.0 };
    let constant = shape.constant.then(|| best.constant * prepared.unit + shift);
    Ok((Coefficients { ar, ma, constant }, best.sum_of_squares / n * prepared.unit * prepared.unit, ll, all))
}

fn starts(shape: Shape, w: &[f64]) -> [Option<Point>; 8] {
    let Shape { p, q, .. } = shape;
    let mean = if shape.constant { w.iter().sum::<f64>() / w.len() as f64 } else { 0.0 };
    let x: Vec<f64> = w.iter().map(|x| x - mean).collect();
    let sample = crate::start::partial(&x, p.max(q));
    let make = |ar: &dyn Fn(usize) -> f64, ma: &dyn Fn(usize) -> f64| {
        let mut point = [0.0; MAX_PARAMETERS];
        for i in 0..p {
            point[i] = ar(i);
        }
        for i in 0..q {
            point[p + i] = ma(i);
        }
        Some(point)
    };
    [
        make(&|_| 0.0, &|_| 0.0),
        make(&|i| sample[i], &|_| 0.0),
        make(&|_| 0.0, &|i| -sample[i]),
        make(&|i| 0.5 * sample[i], &|i| -0.5 * sample[i]),
        make(&|i| if i == 0 { 0.9 } else { 0.0 }, &|i| if i == 0 { 0.6 } else { 0.0 }),
        make(&|i| if i == 0 { -0.6 } else { 0.0 }, &|i| if i == 0 { -0.3 } else { 0.0 }),
        make(&|i| [0.5, -0.5, 0.3, -0.3, 0.2][i], &|i| [-0.5, 0.5, -0.3, 0.3, -0.2][i]),
        make(&|i| [0.3, 0.6, -0.3, -0.5, 0.3][i], &|i| [0.6, -0.6, 0.4, 0.4, -0.3][i]),
    ]
}

pub fn time_it<const W: usize>(p: usize, q: usize, constant: bool, n: usize, plain: bool) -> f64 {
    use crate::lane::Real;
    let mut s = 1u64;
    let w: Vec<Lanes<W>> = (0..n).map(|_| Lanes(std::array::from_fn(|_| { s = s.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407); (s >> 11) as f64 / (1u64 << 53) as f64 - 0.5 }))).collect();
    let mut scratch = Scratch::new(n);
    let mut partial = [Lanes::<W>::zero(); MAX_PARAMETERS];
    for i in 0..p + q { partial[i] = Lanes::splat([0.6, -0.3, 0.2, 0.5, 0.3, -0.2][i]); }
    let ins = if plain { Instructions::Plain } else { Instructions::best() };
    let mut best = f64::INFINITY;
    for _ in 0..7 {
        let reps = 4000 / W;
        let t = std::time::Instant::now();
        for _ in 0..reps { std::hint::black_box(ins.evaluate(Shape { p, q, constant }, std::hint::black_box(&w), std::hint::black_box(&partial), &mut scratch).deviance); }
        best = best.min(t.elapsed().as_secs_f64() / (reps * W) as f64);
    }
    best * 1e6
}
