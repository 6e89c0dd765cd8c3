//! A model as a recursion over a state.
//!
//! With `Phi(B) = phi(B) (1 - B)^d` of coefficients `Phi_1 .. Phi_(p+d)`:
//! `y_t = k + a_t[0] + e_t` and `a_(t+1)[i-1] = Phi_i y_t + theta_i e_t + a_t[i]`, where `k = phi(1) c` for
//! `d = 1`. For `d = 0` the mean is taken off the values instead, and k is 0. So `a_t[i]` is what the values
//! and innovations before t add to `y_(t+i)` (Harvey 1989, section 3.3; Hyndman et al. 2008, chapter 11).

use crate::Model;
use std::array::from_fn;

/// Dimensions that are stored: the 7 of the largest model, and one that stays 0, so that a shift needs no
/// bounds.
pub(crate) const LANES: usize = 8;

/// A state, or a column of its covariance's factor.
pub(crate) type Lanes = [f64; LANES];

/// The constants of the recursion.
#[derive(Clone, Copy, Debug)]
pub(crate) struct System {
    /// `Phi_1` first.
    level: Lanes,
    /// `theta_1` first.
    ma: Lanes,
    /// `phi(B)`: 1, then the autoregressive coefficients with a minus.
    stationary: Lanes,
    intercept: f64,
    constant: f64,
    p: usize,
    q: usize,
    d: usize,
}

impl System {
    /// Of at most 5, 5 and 2 coefficients and differences.
    #[inline]
    pub(crate) fn new(ar: &[f64], ma: &[f64], d: usize, constant: f64) -> Self {
        let mut stationary = [0.0; LANES];
        stationary[0] = 1.0;
        for (to, from) in stationary[1..].iter_mut().zip(ar) {
            *to = -from;
        }
        let mut differenced = stationary;
        for _ in 0..d {
            for lag in (1..LANES).rev() {
                differenced[lag] -= differenced[lag - 1];
            }
        }
        let mut level = [0.0; LANES];
        for lag in 1..LANES {
            level[lag - 1] = -differenced[lag];
        }
        let mut padded = [0.0; LANES];
        padded[..ma.len()].copy_from_slice(ma);
        let intercept = if d == 0 { 0.0 } else { constant * stationary.iter().sum::<f64>() };
        Self { level, ma: padded, stationary, intercept, constant, p: ar.len(), q: ma.len(), d }
    }

    pub(crate) fn of(model: &Model) -> Self {
        let (coefficients, order) = (model.coefficients(), model.order());
        Self::new(&coefficients.ar, &coefficients.ma, order.d(), coefficients.constant.unwrap_or(0.0))
    }

    /// What each value has that is not in the state.
    pub(crate) fn intercept(&self) -> f64 {
        self.intercept
    }

    /// The mean, or the drift; 0 without one.
    pub(crate) fn constant(&self) -> f64 {
        self.constant
    }

    pub(crate) fn p(&self) -> usize {
        self.p
    }

    pub(crate) fn q(&self) -> usize {
        self.q
    }

    pub(crate) fn d(&self) -> usize {
        self.d
    }

    /// r, the dimension of the state.
    pub(crate) fn size(&self) -> usize {
        (self.p + self.d).max(self.q)
    }

    /// `phi(B)` from lag 0, with the signs of the polynomial.
    pub(crate) fn stationary(&self) -> &Lanes {
        &self.stationary
    }

    /// `Phi_1` first.
    pub(crate) fn level(&self) -> &Lanes {
        &self.level
    }

    /// `theta_1` first.
    pub(crate) fn ma(&self) -> &Lanes {
        &self.ma
    }

    /// What an innovation does to the next state: `K = Phi + theta`.
    #[inline]
    pub(crate) fn impact(&self) -> Lanes {
        from_fn(|lane| self.level[lane] + self.ma[lane])
    }

    /// The next state, where the value and the innovation are known and the innovation comes in by `gain`.
    #[inline]
    pub(crate) fn advance(&self, state: &Lanes, value: f64, gain: &Lanes, error: f64) -> Lanes {
        let ahead = shift(state);
        from_fn(|lane| ahead[lane] + self.level[lane] * value + gain[lane] * error)
    }

    /// The next state, where the value was the expected one.
    #[inline]
    pub(crate) fn carry(&self, state: &Lanes, value: f64) -> Lanes {
        let ahead = shift(state);
        from_fn(|lane| ahead[lane] + self.level[lane] * value)
    }

    /// What is left, one step on, of an error in the state if the value is observed: `(shift - theta Z) x`.
    #[inline]
    pub(crate) fn correct(&self, column: &Lanes) -> Lanes {
        let ahead = shift(column);
        from_fn(|lane| ahead[lane] - self.ma[lane] * column[0])
    }
}

/// Each lane takes the value of the one after it.
#[inline]
pub(crate) fn shift(lanes: &Lanes) -> Lanes {
    let mut next = [0.0; LANES];
    next[..LANES - 1].copy_from_slice(&lanes[1..]);
    next
}
