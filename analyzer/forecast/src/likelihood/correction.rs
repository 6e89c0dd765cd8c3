//! What the unknown state takes off the sum of squares and adds to the determinant.

use super::initial::Square;
use super::matrix::{Column, Triangle, inner, unit};
use crate::lane::Lane;
use crate::polynomial::MAX;

/// The correction for a state that is not known: with `A = Z'Z = C C'` and `K = I + C'V C`, whose eigenvalues are
/// not below 1, so that nothing is divided by a small number even if `V` is singular.
pub(crate) struct Correction<T> {
    r: usize,
    c: Triangle<T>,
    /// `K = R R'`.
    root: Triangle<T>,
    /// `|K|`.
    pub(crate) determinant: T,
    /// `Q = (V^-1 + A)^-1 = C'^-1 (I - K^-1) C^-1`.
    pub(crate) q: Square<T>,
    /// `(A^-1 + V)^-1 = C K^-1 C'`.
    pub(crate) w: Square<T>,
}

impl<T: Lane> Correction<T> {
    #[inline(always)]
    pub(crate) fn new(a: &Square<T>, covariance: &Square<T>, r: usize) -> Self {
        let c = Triangle::of(a, r);
        let mut k = [[T::zero(); MAX]; MAX];
        for j in 0..r {
            let column = c.apply(&unit(j));
            let mut through = [T::zero(); MAX];
            for i in 0..r {
                through[i] = inner(&covariance[i], &column, r);
            }
            let column = c.apply_transposed(&through);
            for i in 0..r {
                k[i][j] = column[i];
            }
            k[j][j] = k[j][j] + T::one();
        }
        let root = Triangle::of(&k, r);
        let (mut q, mut w) = ([[T::zero(); MAX]; MAX], [[T::zero(); MAX]; MAX]);
        for j in 0..r {
            let column = c.solve(&unit(j));
            let inverse = root.solve_both(&column);
            let mut rest = [T::zero(); MAX];
            for i in 0..r {
                rest[i] = column[i] - inverse[i];
            }
            let of_q = c.solve_transposed(&rest);
            let of_w = c.apply(&root.solve_both(&c.apply_transposed(&unit(j))));
            for i in 0..r {
                q[i][j] = of_q[i];
                w[i][j] = of_w[i];
            }
        }
        Self { r, determinant: root.determinant(), c, root, q, w }
    }

    /// `x'Q y`.
    #[inline(always)]
    pub(crate) fn taken_off(&self, x: &Column<T>, y: &Column<T>) -> T {
        let (x, y) = (self.c.solve(x), self.c.solve(y));
        inner(&x, &y, self.r) - inner(&self.root.solve(&x), &self.root.solve(&y), self.r)
    }

    /// The expected state, `Q b`.
    #[inline(always)]
    pub(crate) fn state(&self, b: &Column<T>) -> Column<T> {
        let mut state = [T::zero(); MAX];
        for i in 0..self.r {
            state[i] = inner(&self.q[i], b, self.r);
        }
        state
    }

    /// `V^-1 Q b = C K^-1 C^-1 b`.
    #[inline(always)]
    pub(crate) fn lambda(&self, b: &Column<T>) -> Column<T> {
        self.c.apply(&self.root.solve_both(&self.c.solve(b)))
    }
}
