//! A model: an order and its coefficients.

use crate::polynomial::roots_beyond;
use crate::{ModelError, Order};
use serde::{Deserialize, Serialize};

/// Roots of the moving average may lie on the unit circle, up to rounding.
const ON_THE_CIRCLE: f64 = 1.0 - 1e-9;

/// The coefficients of a model, in the signs of [`Order`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coefficients {
    /// Autoregressive, lag 1 first; p of them.
    pub ar: Vec<f64>,
    /// Moving average, lag 1 first; q of them, with a plus before them in the polynomial.
    pub ma: Vec<f64>,
    /// The mean (`d = 0`) or the drift per step (`d = 1`).
    pub constant: Option<f64>,
}

/// An order and coefficients that belong together: stationary and invertible.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct Model {
    order: Order,
    coefficients: Coefficients,
}

impl Model {
    /// Checks that the coefficients are those of the order.
    ///
    /// # Errors
    /// A wrong number of coefficients, one that is not finite, an autoregressive root on or inside the unit
    /// circle, or a moving-average root inside it.
    pub fn new(order: Order, coefficients: Coefficients) -> Result<Self, ModelError> {
        check("ar", &coefficients.ar, order.p())?;
        check("ma", &coefficients.ma, order.q())?;
        check("constant", coefficients.constant.as_slice(), usize::from(order.has_constant()))?;
        if !roots_beyond(&coefficients.ar, 1.0) {
            return Err(ModelError::NotStationary);
        }
        let turned: Vec<f64> = coefficients.ma.iter().map(|theta| -theta).collect();
        if !roots_beyond(&turned, ON_THE_CIRCLE) {
            return Err(ModelError::NotInvertible);
        }
        Ok(Self { order, coefficients })
    }

    /// Its order.
    #[must_use]
    pub fn order(&self) -> Order {
        self.order
    }

    /// Its coefficients.
    #[must_use]
    pub fn coefficients(&self) -> &Coefficients {
        &self.coefficients
    }
}

fn check(kind: &'static str, values: &[f64], need: usize) -> Result<(), ModelError> {
    if values.len() != need {
        return Err(ModelError::Count { kind, have: values.len(), need });
    }
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(ModelError::NotFinite { kind, index, value: values[index] }),
        None => Ok(()),
    }
}

/// How a model is written down.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    order: Order,
    coefficients: Coefficients,
}

impl TryFrom<Parts> for Model {
    type Error = ModelError;

    fn try_from(parts: Parts) -> Result<Self, ModelError> {
        Self::new(parts.order, parts.coefficients)
    }
}

impl From<Model> for Parts {
    fn from(model: Model) -> Self {
        Self { order: model.order, coefficients: model.coefficients }
    }
}
