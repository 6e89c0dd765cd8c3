//! Small symmetric matrices. All loops run over the first `r` rows and columns.

use super::initial::Square;
use crate::lane::Lane;
use crate::polynomial::MAX;

/// A small vector.
pub(crate) type Column<T> = [T; MAX];

/// A lower triangle `C` with `C C'` = a matrix (Cholesky), and the reciprocals of its diagonal: a division takes as
/// long as a dozen multiplications.
pub(crate) struct Triangle<T> {
    r: usize,
    rows: Square<T>,
    reciprocals: Column<T>,
}

impl<T: Lane> Triangle<T> {
    #[inline(always)]
    pub(crate) fn of(matrix: &Square<T>, r: usize) -> Self {
        let (mut rows, mut reciprocals) = ([[T::zero(); MAX]; MAX], [T::zero(); MAX]);
        for i in 0..r {
            for j in 0..=i {
                let mut sum = matrix[i][j];
                for k in 0..j {
                    sum = sum.minus(rows[i][k], rows[j][k]);
                }
                if i == j {
                    rows[i][i] = sum.sqrt();
                    reciprocals[i] = T::one() / rows[i][i];
                } else {
                    rows[i][j] = sum * reciprocals[j];
                }
            }
        }
        Self { r, rows, reciprocals }
    }

    /// The determinant of the matrix.
    #[inline(always)]
    pub(crate) fn determinant(&self) -> T {
        let mut determinant = T::one();
        for i in 0..self.r {
            determinant = determinant * (self.rows[i][i] * self.rows[i][i]);
        }
        determinant
    }

    /// `C^-1 b`.
    #[inline(always)]
    pub(crate) fn solve(&self, b: &Column<T>) -> Column<T> {
        let mut y = [T::zero(); MAX];
        for i in 0..self.r {
            let mut sum = b[i];
            for k in 0..i {
                sum = sum.minus(self.rows[i][k], y[k]);
            }
            y[i] = sum * self.reciprocals[i];
        }
        y
    }

    /// `C'^-1 b`.
    #[inline(always)]
    pub(crate) fn solve_transposed(&self, b: &Column<T>) -> Column<T> {
        let mut y = [T::zero(); MAX];
        for i in (0..self.r).rev() {
            let mut sum = b[i];
            for k in i + 1..self.r {
                sum = sum.minus(self.rows[k][i], y[k]);
            }
            y[i] = sum * self.reciprocals[i];
        }
        y
    }

    /// `(C C')^-1 b`.
    #[inline(always)]
    pub(crate) fn solve_both(&self, b: &Column<T>) -> Column<T> {
        self.solve_transposed(&self.solve(b))
    }

    /// `C b`.
    #[inline(always)]
    pub(crate) fn apply(&self, b: &Column<T>) -> Column<T> {
        let mut y = [T::zero(); MAX];
        for i in 0..self.r {
            for k in 0..=i {
                y[i] = y[i].plus(self.rows[i][k], b[k]);
            }
        }
        y
    }

    /// `C' b`.
    #[inline(always)]
    pub(crate) fn apply_transposed(&self, b: &Column<T>) -> Column<T> {
        let mut y = [T::zero(); MAX];
        for i in 0..self.r {
            for k in i..self.r {
                y[i] = y[i].plus(self.rows[k][i], b[k]);
            }
        }
        y
    }
}

/// `a' b`.
#[inline(always)]
pub(crate) fn inner<T: Lane>(a: &Column<T>, b: &Column<T>, r: usize) -> T {
    let mut sum = T::zero();
    for i in 0..r {
        sum = sum.plus(a[i], b[i]);
    }
    sum
}

/// Column `j` of the unit matrix.
#[inline(always)]
pub(crate) fn unit<T: Lane>(j: usize) -> Column<T> {
    let mut column = [T::zero(); MAX];
    column[j] = T::one();
    column
}
