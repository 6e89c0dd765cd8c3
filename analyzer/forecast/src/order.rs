//! What kind of model: how many terms of which kind.

use crate::OrderError;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};

/// The order of an ARIMA(p, d, q) model, with or without a constant.
///
/// `(1 - ar_1 B - ... - ar_p B^p) ((1 - B)^d y_t - c) = (1 + ma_1 B + ... + ma_q B^q) e_t`, where `c`, the
/// constant, is the mean of the d-times differenced series: the mean for `d = 0`, the drift per step for
/// `d = 1`. With `d = 2` there is none, as it would be a quadratic trend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct Order {
    p: u8,
    d: u8,
    q: u8,
    constant: bool,
}

impl Order {
    /// Most autoregressive terms.
    pub const MAX_P: usize = 5;
    /// Most differences.
    pub const MAX_D: usize = 2;
    /// Most moving-average terms.
    pub const MAX_Q: usize = 5;

    /// ARIMA(p, d, q) without a constant.
    ///
    /// # Errors
    /// A number above [`Self::MAX_P`], [`Self::MAX_D`] or [`Self::MAX_Q`].
    pub fn new(p: usize, d: usize, q: usize) -> Result<Self, OrderError> {
        let part = |name, value: usize, max: usize| match u8::try_from(value) {
            Ok(small) if value <= max => Ok(small),
            Ok(_) | Err(_) => Err(OrderError::TooHigh { name, value, max }),
        };
        Ok(Self {
            p: part("p", p, Self::MAX_P)?,
            d: part("d", d, Self::MAX_D)?,
            q: part("q", q, Self::MAX_Q)?,
            constant: false,
        })
    }

    /// The same with a constant: a mean (`d = 0`) or a drift (`d = 1`).
    ///
    /// # Errors
    /// With `d = 2`.
    pub fn with_constant(self) -> Result<Self, OrderError> {
        if self.d > 1 {
            return Err(OrderError::ConstantWithTwoDifferences);
        }
        Ok(Self { constant: true, ..self })
    }

    /// The same without a constant.
    #[must_use]
    pub fn without_constant(self) -> Self {
        Self { constant: false, ..self }
    }

    /// p, the number of autoregressive terms.
    #[must_use]
    pub fn p(self) -> usize {
        usize::from(self.p)
    }

    /// d, how often the series is differenced.
    #[must_use]
    pub fn d(self) -> usize {
        usize::from(self.d)
    }

    /// q, the number of moving-average terms.
    #[must_use]
    pub fn q(self) -> usize {
        usize::from(self.q)
    }

    /// Whether there is a mean or a drift.
    #[must_use]
    pub fn has_constant(self) -> bool {
        self.constant
    }

    /// How many coefficients are estimated; the variance of the innovations is not among them.
    #[must_use]
    pub fn coefficients(self) -> usize {
        self.p() + self.q() + usize::from(self.constant)
    }
}

/// `ARIMA(1,1,1) with drift`, as R writes it.
impl Display for Order {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "ARIMA({},{},{})", self.p, self.d, self.q)?;
        match (self.constant, self.d) {
            (false, _) => Ok(()),
            (true, 0) => f.write_str(" with mean"),
            (true, _) => f.write_str(" with drift"),
        }
    }
}

/// How an order is written down.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    p: usize,
    d: usize,
    q: usize,
    constant: bool,
}

impl TryFrom<Parts> for Order {
    type Error = OrderError;

    fn try_from(parts: Parts) -> Result<Self, OrderError> {
        let order = Self::new(parts.p, parts.d, parts.q)?;
        if parts.constant { order.with_constant() } else { Ok(order) }
    }
}

impl From<Order> for Parts {
    fn from(order: Order) -> Self {
        Self { p: order.p(), d: order.d(), q: order.q(), constant: order.constant }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_out_of_range_is_refused_by_name() {
        let refused = Order::new(6, 1, 0).expect_err("p is at most 5");
        assert_eq!(refused, OrderError::TooHigh { name: "p", value: 6, max: 5 });
        assert!(Order::new(1, 2, 1).and_then(Order::with_constant).is_err());
        assert!(Order::new(1, 3, 1).is_err() && Order::new(1, 1, 300).is_err());
    }

    #[test]
    fn an_order_is_written_as_r_does() {
        let order = Order::new(2, 1, 3).and_then(Order::with_constant).expect("in range");
        assert_eq!(order.to_string(), "ARIMA(2,1,3) with drift");
        assert_eq!(order.without_constant().to_string(), "ARIMA(2,1,3)");
    }
}
