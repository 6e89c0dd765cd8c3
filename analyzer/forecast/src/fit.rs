//! How to estimate a model.

use crate::conditional;
use crate::descent::{Effort, Point};
use crate::estimate::{Task, ends, estimate};
use crate::ladder::climb;
use crate::likelihood::Shape;
use crate::polynomial::{coefficients, partial};
use crate::processor::Instructions;
use crate::search::Minimum;
use crate::series::{Origin, Prepared, Ready};
use crate::start::starts;
use crate::{Coefficients, FitError, Fitted, Model, Order};
use serde::{Deserialize, Serialize};

/// How the coefficients of a model are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// At the maximum of the exact Gaussian likelihood.
    #[default]
    Exact,
    /// At the minimum of the conditional sum of squares: the innovations before the first p values are taken as
    /// zero. Nearly the same on long series away from unit roots.
    Conditional,
    /// They were given.
    Given,
}

/// How to estimate a model of an order.
///
/// ```
/// use isotherm_forecast::{Fit, Order};
///
/// let series = [3.1, 3.4, 2.9, 3.8, 4.1, 3.7, 4.4, 4.0, 4.6, 4.9, 4.3, 5.2];
/// let fitted = Fit::new(Order::new(0, 1, 1)?).fit(&series)?;
/// assert!(fitted.coefficients().ma[0] < 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    order: Order,
    method: Method,
    /// Of all that are worth it if there is no number.
    starts: Option<usize>,
    from: Option<Point>,
}

/// Starts that can be asked for.
const MOST_STARTS: usize = 8;

/// Maxima of the filled series that are starts for one with gaps.
const GUIDES: usize = 4;

/// How far a fit goes: to where a step promises less than the likelihood's own rounding.
pub(crate) const THOROUGH: Effort = Effort { least_gain: 1e-9, evaluations: 200, gives_up: false };

impl Fit {
    /// By exact maximum likelihood, thoroughly: a likelihood can have many maxima, so the models of all smaller
    /// orders are fitted first and lead to this one, beside dozens of other starts. Milliseconds for a mixed model
    /// of high order; for many series [`Self::starts`] is a choice between time and maxima.
    #[must_use]
    pub fn new(order: Order) -> Self {
        Self { order, method: Method::Exact, starts: None, from: None }
    }

    /// By the conditional sum of squares. The likelihood that is reported is still the exact one.
    #[must_use]
    pub fn conditional(self) -> Self {
        Self { method: Method::Conditional, ..self }
    }

    /// From so many starts only, 1 to 8. Fewer are quicker and may end at a lower maximum.
    #[must_use]
    pub fn starts(self, starts: usize) -> Self {
        Self { starts: Some(starts.clamp(1, MOST_STARTS)), ..self }
    }

    /// From the coefficients of another model only, say those of the same series before its last values. Terms
    /// it does not have start at zero.
    #[must_use]
    pub fn starting_from(self, model: &Model) -> Self {
        Self { from: Some(point_of(model, self.order)), ..self }
    }

    /// The order.
    #[must_use]
    pub fn order(&self) -> Order {
        self.order
    }

    /// Estimates.
    ///
    /// # Errors
    /// [`FitError::Series`] for a series without values, with an infinite one, of a magnitude that cannot be
    /// squared, or with fewer than `d + k + 2` values, where k is the number of coefficients;
    /// [`FitError::NoNoise`] for a constant, and with `d > 0` for a straight line; [`FitError::Gap`] for a missing
    /// value within the series if the sum of squares is conditional.
    pub fn fit(&self, series: &[f64]) -> Result<Fitted, FitError> {
        let mut results = self.fit_all(&[series], Instructions::best());
        results.pop().unwrap_or(Err(FitError::NoLikelihood))
    }

    /// Of each series, one result.
    pub(crate) fn fit_all(
        &self,
        series: &[&[f64]],
        instructions: Instructions,
    ) -> Vec<Result<Fitted, FitError>> {
        let (order, shape) = (self.order, shape_of(self.order));
        if self.method == Method::Conditional {
            return series.iter().map(|series| self.fit_conditionally(series)).collect();
        }
        let prepared: Vec<_> = series.iter().map(|series| ready(order, series)).collect();
        let some: Vec<&Ready> = prepared.iter().flatten().collect();
        let minima: Vec<Option<Minimum>> = if self.from.is_none() && self.starts.is_none() {
            let w: Vec<&[f64]> = some.iter().map(|ready| ready.differenced.as_slice()).collect();
            let guides = climb(shape, &w, instructions);
            let thorough = some.iter().zip(guides).map(|(ready, mut points)| {
                if ready.prepared.has_gaps() {
                    // The points are those of the filled series.
                    points.truncate(GUIDES);
                    points.extend(starts(shape, &ready.differenced, MOST_STARTS));
                }
                Task { shape, values: ready.values(), starts: points, bar: None }
            });
            let tasks: Vec<_> = thorough.collect();
            ends(&tasks, THOROUGH, instructions).iter().map(|ends| ends.first().copied()).collect()
        } else {
            let tasks: Vec<_> = some
                .iter()
                .map(|ready| Task {
                    shape,
                    values: ready.values(),
                    starts: self.starting_points(&ready.differenced),
                    bar: None,
                })
                .collect();
            estimate(&tasks, THOROUGH, instructions)
        };
        let mut minima = minima.into_iter();
        let fitted = series.iter().zip(&prepared).map(|(series, ready)| {
            let ready = ready.as_ref().map_err(Clone::clone)?;
            let minimum = minima.next().flatten().ok_or(FitError::NoLikelihood)?;
            finish(order, &ready.prepared, &minimum, series, Method::Exact)
        });
        fitted.collect()
    }

    fn fit_conditionally(&self, series: &[f64]) -> Result<Fitted, FitError> {
        let Ready { prepared, differenced, .. } = ready(self.order, series)?;
        if let Some(at) = prepared.values.iter().position(|value| value.is_nan()) {
            let first = series.iter().position(|value| !value.is_nan()).unwrap_or(0);
            return Err(FitError::Gap { at: first + at });
        }
        let starts = self.starting_points(&differenced);
        let minimum = conditional::minimise(shape_of(self.order), &differenced, &starts);
        finish(self.order, &prepared, &minimum.ok_or(FitError::NoLikelihood)?, series, Method::Conditional)
    }

    fn starting_points(&self, w: &[f64]) -> Vec<Point> {
        match self.from {
            Some(from) => vec![from],
            None => starts(shape_of(self.order), w, self.starts.unwrap_or(MOST_STARTS)),
        }
    }
}

/// Checks that there is something to fit a model of the order to.
fn ready(order: Order, series: &[f64]) -> Result<Ready, FitError> {
    let free = order.has_constant() || order.d() > 0;
    let prepared = Prepared::new(series, if free { Origin::Free } else { Origin::Fixed })?;
    prepared.check(order.d(), order.d() + order.coefficients() + 2)?;
    Ok(Ready::new(prepared, order.d()))
}

pub(crate) fn shape_of(order: Order) -> Shape {
    Shape { p: order.p(), q: order.q(), constant: order.has_constant() }
}

/// The partial autocorrelations of a model, with terms that the order does not have left out, and zeros for
/// those the model does not have.
pub(crate) fn point_of(model: &Model, order: Order) -> Point {
    let turned: Vec<f64> = model.coefficients().ma.iter().map(|theta| -theta).collect();
    let mut point = Point::default();
    let parts = [(&model.coefficients().ar, 0, order.p()), (&turned, order.p(), order.q())];
    for (coefficients, from, count) in parts {
        // A root on the unit circle has no partial autocorrelations; zeros are as good a start as any.
        let partial = partial(coefficients).unwrap_or_default();
        point[from..from + count].copy_from_slice(&partial[..count]);
    }
    point
}

/// From what was found on the prepared series to the model of the series.
pub(crate) fn finish(
    order: Order,
    prepared: &Prepared,
    minimum: &Minimum,
    series: &[f64],
    method: Method,
) -> Result<Fitted, FitError> {
    let (p, q) = (order.p(), order.q());
    let ar = coefficients(&minimum.at[..p])[..p].to_vec();
    let ma = coefficients(&minimum.at[p..p + q])[..q].iter().map(|c| -c).collect();
    let shift = if order.d() == 0 { prepared.shift } else { 0.0 };
    let constant = order.has_constant().then_some(minimum.constant * prepared.unit + shift);
    let model = Model::new(order, Coefficients { ar, ma, constant }).map_err(|_| FitError::NoLikelihood)?;
    let mut fitted = model.apply(series)?;
    fitted.method = method;
    Ok(fitted)
}
