//! Numbers that the likelihood is computed with: several series side by side, and values with a derivative.
//!
//! The likelihood is written once, for any [`Real`]. With [`Lanes`] it is computed for `W` series at a time; as
//! only additions, multiplications, divisions and square roots are used, never a fused one, each lane has the
//! same bits whatever lies beside it, whatever `W`, and whatever the processor. With [`Dual`] the same code
//! gives exact derivatives (forward-mode differentiation).

use std::array;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// What the small algebra needs of a number.
pub(crate) trait Real:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self> + Neg<Output = Self>
{
    fn splat(value: f64) -> Self;

    #[inline(always)]
    fn zero() -> Self {
        Self::splat(0.0)
    }

    #[inline(always)]
    fn one() -> Self {
        Self::splat(1.0)
    }
}

/// One number of each of `W` series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Lanes<const W: usize>(pub(crate) [f64; W]);

impl<const W: usize> Lanes<W> {
    #[inline(always)]
    pub(crate) fn map(self, f: impl Fn(f64) -> f64) -> Self {
        Self(array::from_fn(|lane| f(self.0[lane])))
    }

    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        Self(array::from_fn(|lane| f(self.0[lane], other.0[lane])))
    }
}

impl<const W: usize> Real for Lanes<W> {
    #[inline(always)]
    fn splat(value: f64) -> Self {
        Self([value; W])
    }
}

impl<const W: usize> Add for Lanes<W> {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
}

impl<const W: usize> Sub for Lanes<W> {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
}

impl<const W: usize> Mul for Lanes<W> {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
}

impl<const W: usize> Div for Lanes<W> {
    type Output = Self;

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }
}

impl<const W: usize> Neg for Lanes<W> {
    type Output = Self;

    #[inline(always)]
    fn neg(self) -> Self {
        self.map(|a| -a)
    }
}

/// One series: what needs no lanes.
impl Real for f64 {
    #[inline(always)]
    fn splat(value: f64) -> Self {
        value
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
