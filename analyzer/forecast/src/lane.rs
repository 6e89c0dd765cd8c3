//! Numbers that the likelihood is computed with: several series side by side, and values with a derivative.
//!
//! The likelihood is written once, for any [`Lane`]: one series, or as many as a processor's register holds. No
//! operation crosses lanes, so each has the same bits whatever lies beside it. With [`Dual`] the same code
//! gives exact derivatives (forward-mode differentiation).

use std::ops::{Add, Div, Mul, Neg, Sub};

/// What the small algebra needs of a number.
pub(crate) trait Real:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self> + Neg<Output = Self>
{
    fn splat(value: f64) -> Self;

    /// `self + a b`, rounded once where the processor can.
    #[inline(always)]
    fn plus(self, a: Self, b: Self) -> Self {
        self + a * b
    }

    /// `self - a b`, rounded once where the processor can.
    #[inline(always)]
    fn minus(self, a: Self, b: Self) -> Self {
        self - a * b
    }

    #[inline(always)]
    fn zero() -> Self {
        Self::splat(0.0)
    }

    #[inline(always)]
    fn one() -> Self {
        Self::splat(1.0)
    }
}

/// A number of each of several series.
pub(crate) trait Lane: Real {
    /// How many series.
    const WIDTH: usize;

    fn get(self, lane: usize) -> f64;

    fn set(&mut self, lane: usize, value: f64);

    fn sqrt(self) -> Self;

    /// Puts one value after the other into a lane of one number after the other.
    fn fill(numbers: &mut [Self], lane: usize, values: &[f64]);

    /// Slow: lane by lane.
    #[inline(always)]
    fn ln(self) -> Self {
        let mut out = self;
        for lane in 0..Self::WIDTH {
            out.set(lane, self.get(lane).ln());
        }
        out
    }
}

/// One series.
impl Real for f64 {
    #[inline(always)]
    fn splat(value: f64) -> Self {
        value
    }
}

impl Lane for f64 {
    const WIDTH: usize = 1;

    #[inline(always)]
    fn get(self, _: usize) -> f64 {
        self
    }

    #[inline(always)]
    fn set(&mut self, _: usize, value: f64) {
        *self = value;
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }

    fn fill(numbers: &mut [Self], _: usize, values: &[f64]) {
        for (number, value) in numbers.iter_mut().zip(values) {
            *number = *value;
        }
    }
}

/// A value and its derivative with respect to one parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Dual<T> {
    pub(crate) value: T,
    pub(crate) slope: T,
}

impl<T: Real> Real for Dual<T> {
    #[inline(always)]
    fn splat(value: f64) -> Self {
        Self { value: T::splat(value), slope: T::zero() }
    }
}

impl<T: Real> Add for Dual<T> {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self { value: self.value + other.value, slope: self.slope + other.slope }
    }
}

impl<T: Real> Sub for Dual<T> {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self { value: self.value - other.value, slope: self.slope - other.slope }
    }
}

impl<T: Real> Mul for Dual<T> {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self { value: self.value * other.value, slope: self.slope * other.value + self.value * other.slope }
    }
}

impl<T: Real> Div for Dual<T> {
    type Output = Self;

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        let value = self.value / other.value;
        Self { value, slope: (self.slope - value * other.slope) / other.value }
    }
}

impl<T: Real> Neg for Dual<T> {
    type Output = Self;

    #[inline(always)]
    fn neg(self) -> Self {
        Self { value: -self.value, slope: -self.slope }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dual_knows_the_derivative() {
        let x = Dual { value: 3.0, slope: 1.0 };
        let y = x * x / (x + Dual::splat(1.0)) - -x;
        // (x^2 / (x + 1) + x)' = (x^2 + 2x) / (x + 1)^2 + 1
        assert_eq!((y.value, y.slope), (5.25, 1.9375));
    }
}
