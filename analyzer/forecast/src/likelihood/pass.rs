//! Passes over the values: the only loops whose length is the series'.
//!
//! Each is one loop that keeps all it needs in registers, for a fixed number of terms, and leaves sums behind.

use super::impulse::Impulse;
use super::truncated;
use crate::lane::{Lane, Real};
use crate::polynomial::MAX;

/// A model's terms, the impulse response `g` of `1 / theta(B)`, and how much of it is not zero.
pub(crate) struct Terms<'a, T> {
    pub(crate) phi: &'a [T],
    /// `1 - c(B) = theta(B)`.
    pub(crate) c: &'a [T],
    /// At least `support` long, and zero from there on.
    pub(crate) g: &'a [T],
    pub(crate) support: usize,
    /// The last values of g.
    pub(crate) last_g: &'a Past<T>,
}

impl<T> Terms<'_, T> {
    fn states(&self) -> usize {
        self.phi.len().max(self.c.len())
    }
}

/// Inner products of the innovations `e` of the values and those of a column of ones, for a state of zero.
#[derive(Clone, Copy)]
pub(crate) struct Levels<T> {
    pub(crate) values: T,
    pub(crate) both: T,
    pub(crate) ones: T,
    /// `Z'e`.
    pub(crate) b: [T; MAX],
    pub(crate) b_ones: [T; MAX],
}

/// Values of a series that are kept, the newest first.
pub(crate) type Past<T> = [T; MAX + 1];

/// Sums of products of series that the derivatives of the innovations for the expected state are made of:
/// `u = (w - c) / theta(B)` and `v = e / theta(B)`.
pub(crate) struct Slopes<T> {
    /// `sum_t e_t u_{t-l}`, from l = 1.
    pub(crate) eu: [T; MAX],
    /// `sum_t e_t v_{t-l}`, from l = 1.
    pub(crate) ev: [T; MAX],
    /// `sum_s u_s u_{s+m}` up to the end of the series, from m = 0; likewise all below.
    uu: [T; MAX],
    vv: [T; MAX],
    /// `sum_s v_s u_{s+m}` at `MAX + m`.
    vu: [T; 2 * MAX],
    /// `sum_s u_s g_{s+m}` at `MAX + m`.
    ug: [T; 2 * MAX + 1],
    vg: [T; 2 * MAX + 1],
    last_u: Past<T>,
    last_v: Past<T>,
    /// Zeros where the impulse response has ended before the series.
    last_g: Past<T>,
}

impl<T: Real> Levels<T> {
    pub(crate) fn zero() -> Self {
        let zero = T::zero();
        Self { values: zero, both: zero, ones: zero, b: [zero; MAX], b_ones: [zero; MAX] }
    }
}

impl<T: Real> Slopes<T> {
    pub(crate) fn zero() -> Self {
        let zero = T::zero();
        Self {
            eu: [zero; MAX],
            ev: [zero; MAX],
            uu: [zero; MAX],
            vv: [zero; MAX],
            vu: [zero; 2 * MAX],
            ug: [zero; 2 * MAX + 1],
            vg: [zero; 2 * MAX + 1],
            last_u: [zero; MAX + 1],
            last_v: [zero; MAX + 1],
            last_g: [zero; MAX + 1],
        }
    }

    /// `sum_t u_{t-i} u_{t-j}`, `i >= j`.
    #[inline(always)]
    pub(crate) fn uu(&self, i: usize, j: usize) -> T {
        truncated(self.uu[i - j], &self.last_u, &self.last_u, i, j)
    }

    /// `sum_t v_{t-i} v_{t-j}`, `i >= j`.
    #[inline(always)]
    pub(crate) fn vv(&self, i: usize, j: usize) -> T {
        truncated(self.vv[i - j], &self.last_v, &self.last_v, i, j)
    }

    /// `sum_t v_{t-i} u_{t-j}`.
    #[inline(always)]
    pub(crate) fn vu(&self, i: usize, j: usize) -> T {
        truncated(self.vu[MAX + i - j], &self.last_v, &self.last_u, i, j)
    }

    /// `sum_t u_{t-i} g_{t-s}`.
    #[inline(always)]
    pub(crate) fn ug(&self, i: usize, s: usize) -> T {
        truncated(self.ug[MAX + i - s], &self.last_u, &self.last_g, i, s)
    }

    /// `sum_t v_{t-i} g_{t-s}`.
    #[inline(always)]
    pub(crate) fn vg(&self, i: usize, s: usize) -> T {
        truncated(self.vg[MAX + i - s], &self.last_v, &self.last_g, i, s)
    }
}

/// The passes, compiled for some instructions. Terms come in fixed numbers, 0 to 3 or 5 of either kind; where the
/// model has 4, the fifth coefficient is zero.
pub(crate) trait Passes: Lane {
    /// [`super::impulse::impulse_of`].
    fn impulse<const P: usize, const Q: usize>(c: &[Self], g: &mut [Self], out: &mut Impulse<Self>);

    /// [`levels_of`].
    fn levels<const P: usize, const Q: usize, const ONES: bool>(
        w: &[Self],
        terms: &Terms<'_, Self>,
        out: &mut Levels<Self>,
    );

    /// [`slopes_of`].
    fn slopes<const P: usize, const Q: usize>(
        w: &[Self],
        constant: Self,
        state: &[Self; MAX],
        terms: &Terms<'_, Self>,
        out: &mut Slopes<Self>,
    );
}

/// Calls a function of fixed numbers of terms.
macro_rules! with_terms {
    ($phi:expr, $c:expr, $numbers:ident :: $function:ident, [$($after:tt)*], $arguments:tt) => {
        match $phi.len() {
            0 => with_terms!(@q 0, $c, $numbers, $function, [$($after)*], $arguments),
            1 => with_terms!(@q 1, $c, $numbers, $function, [$($after)*], $arguments),
            2 => with_terms!(@q 2, $c, $numbers, $function, [$($after)*], $arguments),
            3 => with_terms!(@q 3, $c, $numbers, $function, [$($after)*], $arguments),
            _ => with_terms!(@q 5, $c, $numbers, $function, [$($after)*], $arguments),
        }
    };
    (@q $p:literal, $c:expr, $numbers:ident, $function:ident, [$($after:tt)*], ($($argument:expr),*)) => {
        match $c.len() {
            0 => $numbers::$function::<$p, 0 $($after)*>($($argument),*),
            1 => $numbers::$function::<$p, 1 $($after)*>($($argument),*),
            2 => $numbers::$function::<$p, 2 $($after)*>($($argument),*),
            3 => $numbers::$function::<$p, 3 $($after)*>($($argument),*),
            _ => $numbers::$function::<$p, 5 $($after)*>($($argument),*),
        }
    };
}

/// What an unknown state adds to the innovations.
#[inline(always)]
pub(crate) fn impulse<T: Passes>(phi: &[T], c: &[T], g: &mut [T], out: &mut Impulse<T>) {
    with_terms!(phi, c, T::impulse, [], (c, g, out));
}

/// The first pass: what the constant and the expected state follow from. Without a constant the sums with ones
/// are of no use.
#[inline(always)]
pub(crate) fn levels<T: Passes>(w: &[T], with_constant: bool, terms: &Terms<'_, T>, out: &mut Levels<T>) {
    if with_constant {
        with_terms!(terms.phi, terms.c, T::levels, [, true], (w, terms, out));
    } else {
        with_terms!(terms.phi, terms.c, T::levels, [, false], (w, terms, out));
    }
}

/// The second pass: derivatives at the constant and the expected state.
#[inline(always)]
pub(crate) fn slopes<T: Passes>(
    w: &[T],
    constant: T,
    state: &[T; MAX],
    terms: &Terms<'_, T>,
    out: &mut Slopes<T>,
) {
    with_terms!(terms.phi, terms.c, T::slopes, [], (w, constant, state, terms, out));
}

/// The first coefficients, and zeros where there are none.
#[inline(always)]
pub(crate) fn fixed<const N: usize, T: Real>(coefficients: &[T]) -> [T; N] {
    let mut fixed = [T::zero(); N];
    for (fixed, coefficient) in fixed.iter_mut().zip(coefficients) {
        *fixed = *coefficient;
    }
    fixed
}

/// Inner products at a constant of zero.
#[inline(always)]
pub(crate) fn levels_of<const P: usize, const Q: usize, const ONES: bool, T: Real>(
    w: &[T],
    terms: &Terms<'_, T>,
    out: &mut Levels<T>,
) {
    let phi: [T; P] = fixed(terms.phi);
    let c: [T; Q] = fixed(terms.c);
    let zero = T::zero();
    let (mut values, mut both, mut ones) = (zero, zero, zero);
    let (mut b, mut b_ones) = ([zero; MAX], [zero; MAX]);
    let (mut u, mut u_ones, mut g) = ([zero; MAX + 1], [zero; MAX + 1], [zero; MAX + 1]);
    let with_state = w.len().min(terms.support + terms.states());
    for (t, &w) in w.iter().enumerate() {
        let (next, e) = innovation(&phi, &c, w, &u);
        push(&mut u, next, P.max(Q));
        values = values.plus(e, e);
        let mut e_ones = zero;
        if ONES {
            let (next, innovation) = innovation(&phi, &c, T::one(), &u_ones);
            push(&mut u_ones, next, P.max(Q));
            e_ones = innovation;
            both = both.plus(e, e_ones);
            ones = ones.plus(e_ones, e_ones);
        }
        if t < with_state {
            push(&mut g, if t < terms.support { terms.g[t] } else { zero }, P.max(Q));
            for i in 0..P.max(Q) {
                b[i] = b[i].plus(e, g[i]);
                if ONES {
                    b_ones[i] = b_ones[i].plus(e_ones, g[i]);
                }
            }
        }
    }
    (out.values, out.both, out.ones) = (values, both, ones);
    let r = P.max(Q);
    out.b[..r].copy_from_slice(&b[..r]);
    out.b_ones[..r].copy_from_slice(&b_ones[..r]);
}

/// `u_t` and `e_t` from the value and the `u` before it.
#[inline(always)]
fn innovation<const P: usize, const Q: usize, T: Real>(
    phi: &[T; P],
    c: &[T; Q],
    w: T,
    u: &Past<T>,
) -> (T, T) {
    // The newest comes last, so that only one multiplication and one addition lie between two values.
    let mut next = w;
    for j in (0..Q).rev() {
        next = next.plus(c[j], u[j]);
    }
    let mut e = next;
    for i in (0..P).rev() {
        e = e.minus(phi[i], u[i]);
    }
    (next, e)
}

#[inline(always)]
pub(crate) fn push<T: Real>(past: &mut Past<T>, newest: T, keep: usize) {
    for i in (1..=keep).rev() {
        past[i] = past[i - 1];
    }
    past[0] = newest;
}

/// Sums at a constant and a state.
#[inline(always)]
pub(crate) fn slopes_of<const P: usize, const Q: usize, T: Real>(
    w: &[T],
    constant: T,
    state: &[T; MAX],
    terms: &Terms<'_, T>,
    out: &mut Slopes<T>,
) {
    let phi: [T; P] = fixed(terms.phi);
    let c: [T; Q] = fixed(terms.c);
    let zero = T::zero();
    let (mut u, mut v, mut g) = ([zero; MAX + 1], [zero; MAX + 1], [zero; MAX + 1]);
    let (mut eu, mut ev) = ([zero; MAX], [zero; MAX]);
    let (mut uu, mut vv, mut vu) = ([zero; MAX], [zero; MAX], [zero; 2 * MAX]);
    let (mut ug, mut vg) = ([zero; 2 * MAX + 1], [zero; 2 * MAX + 1]);
    let with_state = w.len().min(terms.support + terms.states());
    for (t, &w) in w.iter().enumerate() {
        let (u_next, mut e) = innovation(&phi, &c, w - constant, &u);
        let in_state = t < with_state;
        if in_state {
            push(&mut g, if t < terms.support { terms.g[t] } else { zero }, P.max(Q));
            for i in 0..P.max(Q) {
                e = e.minus(state[i], g[i]);
            }
        }
        let mut v_next = e;
        for j in (0..Q).rev() {
            v_next = v_next.plus(c[j], v[j]);
        }
        for l in 0..P {
            eu[l] = eu[l].plus(e, u[l]);
        }
        for l in 0..Q {
            ev[l] = ev[l].plus(e, v[l]);
        }
        push(&mut u, u_next, P.max(Q));
        push(&mut v, v_next, P.max(Q));
        for m in 0..P {
            uu[m] = uu[m].plus(u_next, u[m]);
        }
        for m in 0..Q {
            vv[m] = vv[m].plus(v_next, v[m]);
        }
        if P > 0 {
            // v_s u_{s+m}, m from 0.
            for m in 0..Q {
                vu[MAX + m] = vu[MAX + m].plus(v[m], u_next);
            }
        }
        if Q > 0 {
            // v_{s+m} u_s, m from 1.
            for m in 1..P {
                vu[MAX - m] = vu[MAX - m].plus(v_next, u[m]);
            }
        }
        if in_state {
            if P > 0 {
                against(&mut ug, &u, &g, P, P.max(Q));
            }
            if Q > 0 {
                against(&mut vg, &v, &g, Q, P.max(Q));
            }
        }
    }
    let r = P.max(Q);
    out.eu[..P].copy_from_slice(&eu[..P]);
    out.uu[..P].copy_from_slice(&uu[..P]);
    out.ev[..Q].copy_from_slice(&ev[..Q]);
    out.vv[..Q].copy_from_slice(&vv[..Q]);
    out.vu[MAX - r..MAX + r].copy_from_slice(&vu[MAX - r..MAX + r]);
    out.ug[MAX - r..=MAX + r].copy_from_slice(&ug[MAX - r..=MAX + r]);
    out.vg[MAX - r..=MAX + r].copy_from_slice(&vg[MAX - r..=MAX + r]);
    out.last_u[..=r].copy_from_slice(&u[..=r]);
    out.last_v[..=r].copy_from_slice(&v[..=r]);
    out.last_g[..=r].copy_from_slice(&terms.last_g[..=r]);
}

/// Adds the products of a series' newest value with `g`'s, and of `g`'s newest with the series'.
#[inline(always)]
fn against<T: Real>(sums: &mut [T; 2 * MAX + 1], x: &Past<T>, g: &Past<T>, lags: usize, states: usize) {
    // x_s g_{s+m}, m from 0.
    for m in 0..=lags {
        sums[MAX + m] = sums[MAX + m].plus(x[m], g[0]);
    }
    // x_{s+m} g_s, m from 1.
    for m in 1..states.saturating_sub(1) {
        sums[MAX - m] = sums[MAX - m].plus(x[0], g[m]);
    }
}
