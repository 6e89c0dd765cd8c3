//! Small symmetric matrices. All loops run over the first `r` rows and columns.

use super::initial::Square;
use crate::lane::Lane;
use crate::lane::Real;
use crate::polynomial::MAX;

/// A small vector.
pub(crate) type Column<T> = [T; MAX];

/// The lower triangle `C` with `C C' = m`.
#[inline(always)]
pub(crate) fn cholesky<T: Lane>(m: &Square<T>, r: usize) -> Square<T> {
    let mut c = [[T::zero(); MAX]; MAX];
    for i in 0..r {
        for j in 0..=i {
            let mut sum = m[i][j];
            for k in 0..j {
                sum = sum - c[i][k] * c[j][k];
            }
            c[i][j] = if i == j { sum.sqrt() } else { sum / c[j][j] };
        }
    }
    c
}

/// `C^-1 b` for a lower triangle.
#[inline(always)]
pub(crate) fn solve<T: Real>(c: &Square<T>, b: &Column<T>, r: usize) -> Column<T> {
    let mut y = [T::zero(); MAX];
    for i in 0..r {
        let mut sum = b[i];
        for k in 0..i {
            sum = sum - c[i][k] * y[k];
        }
        y[i] = sum / c[i][i];
    }
    y
}

/// `C'^-1 b` for a lower triangle.
#[inline(always)]
pub(crate) fn solve_transposed<T: Real>(c: &Square<T>, b: &Column<T>, r: usize) -> Column<T> {
    let mut y = [T::zero(); MAX];
    for i in (0..r).rev() {
        let mut sum = b[i];
        for k in i + 1..r {
            sum = sum - c[k][i] * y[k];
        }
        y[i] = sum / c[i][i];
    }
    y
}

/// `C b` for a lower triangle.
#[inline(always)]
pub(crate) fn apply<T: Real>(c: &Square<T>, b: &Column<T>, r: usize) -> Column<T> {
    let mut y = [T::zero(); MAX];
    for i in 0..r {
        for k in 0..=i {
            y[i] = y[i] + c[i][k] * b[k];
        }
    }
    y
}

/// `C' b` for a lower triangle.
#[inline(always)]
pub(crate) fn apply_transposed<T: Real>(c: &Square<T>, b: &Column<T>, r: usize) -> Column<T> {
    let mut y = [T::zero(); MAX];
    for i in 0..r {
        for k in i..r {
            y[i] = y[i] + c[k][i] * b[k];
        }
    }
    y
}

/// `a' b`.
#[inline(always)]
pub(crate) fn inner<T: Real>(a: &Column<T>, b: &Column<T>, r: usize) -> T {
    let mut sum = T::zero();
    for i in 0..r {
        sum = sum + a[i] * b[i];
    }
    sum
}

/// Column `j` of a lower triangle's product with its own transpose would need this column of the unit matrix.
#[inline(always)]
pub(crate) fn unit<T: Real>(j: usize) -> Column<T> {
    let mut column = [T::zero(); MAX];
    column[j] = T::one();
    column
}
