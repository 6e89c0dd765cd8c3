//! What the unknown state takes off the sum of squares and adds to the determinant.

use super::initial::Square;
use super::matrix::{Column, apply, apply_transposed, cholesky, inner, solve, solve_transposed, unit};
use crate::lane::Lane;
use crate::polynomial::MAX;

/// The correction for a state that is not known: with `A = Z'Z = C C'` and `K = I + C'V C`, whose eigenvalues are
/// not below 1, so that nothing is divided by a small number even if `V` is singular.
pub(crate) struct Correction<T: Lane> {
    r: usize,
    c: Square<T>,
    /// `K = R R'`.
    root: Square<T>,
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
        let c = cholesky(a, r);
        let mut k = [[T::zero(); MAX]; MAX];
        for j in 0..r {
            let column = apply(&c, &unit(j), r);
            let mut through = [T::zero(); MAX];
            for i in 0..r {
                through[i] = inner(&covariance[i], &column, r);
            }
            let column = apply_transposed(&c, &through, r);
            for i in 0..r {
                k[i][j] = column[i];
            }
            k[j][j] = k[j][j] + T::one();
        }
        let root = cholesky(&k, r);
        let mut determinant = T::one();
        for (i, row) in root.iter().enumerate().take(r) {
            determinant = determinant * row[i] * row[i];
        }
        let (mut q, mut w) = ([[T::zero(); MAX]; MAX], [[T::zero(); MAX]; MAX]);
        for j in 0..r {
            let column = solve(&c, &unit(j), r);
            let inverse = solve_transposed(&root, &solve(&root, &column, r), r);
            let mut rest = [T::zero(); MAX];
            for i in 0..r {
                rest[i] = column[i] - inverse[i];
            }
            let of_q = solve_transposed(&c, &rest, r);
            let through = apply_transposed(&c, &unit(j), r);
            let of_w = apply(&c, &solve_transposed(&root, &solve(&root, &through, r), r), r);
            for i in 0..r {
                q[i][j] = of_q[i];
                w[i][j] = of_w[i];
            }
        }
        Self { r, c, root, determinant, q, w }
    }

    /// `x'Q y`.
    #[inline(always)]
    pub(crate) fn taken_off(&self, x: &Column<T>, y: &Column<T>) -> T {
        let (x, y) = (solve(&self.c, x, self.r), solve(&self.c, y, self.r));
        let (rest_x, rest_y) = (solve(&self.root, &x, self.r), solve(&self.root, &y, self.r));
        inner(&x, &y, self.r) - inner(&rest_x, &rest_y, self.r)
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
        let y = solve(&self.c, b, self.r);
        apply(&self.c, &solve_transposed(&self.root, &solve(&self.root, &y, self.r), self.r), self.r)
    }
}
