//! The covariance of the state, as the columns of its factor S.
//!
//! Rotations from the right do not change `S S'`, so they are what brings the columns into shape (array form
//! of the filter: Kailath, Sayed and Hassibi 2000, chapter 12).

use super::system::{LANES, Lanes, System, shift};
use crate::Order;
use std::array::from_fn;

/// A column whose entries are all below this adds less than 1e-14 of the innovations' variance to anything.
const NEGLIGIBLE: f64 = 1e-7;

/// Most values of the autoregressive process that the state of the ARMA process is made of.
const PAST: usize = Order::MAX_P + Order::MAX_Q;

/// Takes an observed value into the covariance: the variance of its innovation, and the gain.
#[inline]
pub(crate) fn gain(system: &System, columns: &mut Vec<Lanes>) -> (f64, Lanes) {
    let mut gain = *system.ma();
    if columns.is_empty() {
        return (1.0, gain);
    }
    // The pre-array [1 ZS; 0 LS] is rotated to [root 0; lead S'].
    let mut variance = 1.0;
    let mut root = 1.0;
    let mut lead = [0.0; LANES];
    for column in columns.iter_mut() {
        let doubt = column[0];
        let mut moved = system.correct(column);
        if doubt != 0.0 {
            variance += doubt * doubt;
            let turned = variance.sqrt();
            let inverse = 1.0 / turned;
            rotate(&mut lead, &mut moved, root * inverse, doubt * inverse);
            root = turned;
        }
        *column = moved;
    }
    let inverse = 1.0 / root;
    for (to, lead) in gain.iter_mut().zip(&lead) {
        *to += lead * inverse;
    }
    columns.retain(|column| column.iter().any(|entry| entry.is_nan() || entry.abs() >= NEGLIGIBLE));
    (variance, gain)
}

/// Takes a missing value into the covariance: `P' = T P T' + K K'`.
pub(crate) fn grow(system: &System, columns: &mut Vec<Lanes>) {
    for column in columns.iter_mut() {
        *column = system.carry(column, column[0]);
    }
    columns.push(system.impact());
    reduce(columns, system.size());
}

/// The factor just after the second value of a model with two differences, from the one before it and what
/// the unknown slope does to the state. The value tells the slope, up to the errors of the state and the
/// innovation, which therefore come in by the slope as well.
pub(crate) fn collapse(system: &System, columns: &mut Vec<Lanes>, slope: &Lanes) {
    let per_value = slope.map(|effect| effect / slope[0]);
    let moved = shift(&per_value);
    for column in columns.iter_mut() {
        let (doubt, ahead) = (column[0], shift(column));
        *column = from_fn(|lane| ahead[lane] - moved[lane] * doubt);
    }
    columns.push(from_fn(|lane| system.ma()[lane] - moved[lane]));
    reduce(columns, system.size());
}

/// The factor of the covariance of the ARMA process's state before its first value, in its stationary
/// distribution. `None` if there is none: the autoregressive part is not stationary.
///
/// The process is `w = theta(B) x` with `phi(B) x = e`, so its state is linear in p + q past values of x. Those
/// are built up one after the other from the best predictors of lower orders (Durbin 1960, run downwards from
/// the given coefficients): `x_k = sum_j phi_(m,j) x_(k-j) + sqrt(v_m) u_k`, `m = min(k, p)`.
pub(crate) fn stationary(system: &System) -> Option<Vec<Lanes>> {
    let (p, q) = (system.p(), system.q());
    let (predictors, variances) = step_down(system)?;
    let past = p + q;
    let mut values = [[0.0; PAST]; PAST];
    for at in 0..past {
        let order = at.min(p);
        let mut value = [0.0; PAST];
        for (lag, weight) in predictors[order][..order].iter().enumerate() {
            for (to, from) in value[..at].iter_mut().zip(&values[at - 1 - lag]) {
                *to += weight * from;
            }
        }
        value[at] = variances[order].sqrt();
        values[at] = value;
    }
    // With room for those that missing values add.
    let mut columns = Vec::with_capacity(past.max(LANES) + 1);
    columns.resize(past, [0.0; LANES]);
    // What x_(t-lag) is in a_t[lane]: the sum over l > lane of theta_l c_(s-l) - c_l theta_(s-l), where c are the
    // coefficients of phi(B) and s = lane + lag. Of a sum s it is the one of the lane above and a term.
    let (phi, theta) = polynomials(system);
    for sum in 1..=past {
        let mut weight = 0.0;
        for l in (1..=sum).rev() {
            weight += theta[l] * phi[sum - l] - phi[l] * theta[sum - l];
            let (lane, lag) = (l - 1, sum + 1 - l);
            if lane < p.max(q) {
                for (column, value) in columns.iter_mut().zip(&values[past - lag]) {
                    column[lane] += weight * value;
                }
            }
        }
    }
    reduce(&mut columns, p.max(q));
    columns.iter().flatten().all(|entry| entry.is_finite()).then_some(columns)
}

/// `phi(B)` and `theta(B)` from lag 0, with the signs of the polynomials.
fn polynomials(system: &System) -> ([f64; PAST + 1], [f64; PAST + 1]) {
    let mut phi = [0.0; PAST + 1];
    phi[..LANES].copy_from_slice(system.stationary());
    let mut theta = [0.0; PAST + 1];
    theta[0] = 1.0;
    theta[1..=LANES].copy_from_slice(system.ma());
    (phi, theta)
}

type Predictors = [[f64; Order::MAX_P]; Order::MAX_P + 1];

/// Coefficients and error variances of the best predictors of orders 0 to p, lag 1 first.
fn step_down(system: &System) -> Option<(Predictors, [f64; Order::MAX_P + 1])> {
    let p = system.p();
    let mut predictors: Predictors = [[0.0; Order::MAX_P]; Order::MAX_P + 1];
    let mut variances = [1.0; Order::MAX_P + 1];
    for (predictor, coefficient) in predictors[p].iter_mut().zip(&system.stationary()[1..=p]) {
        *predictor = -coefficient;
    }
    for order in (1..=p).rev() {
        let above = predictors[order];
        let partial = above[order - 1];
        let left = (1.0 - partial) * (1.0 + partial);
        if left.is_nan() || left <= 0.0 {
            return None;
        }
        for lag in 0..order - 1 {
            predictors[order - 1][lag] = (above[lag] + partial * above[order - 2 - lag]) / left;
        }
        variances[order - 1] = variances[order] / left;
    }
    Some((predictors, variances))
}

/// Turns the columns until only the first `size` are not zero, and drops the rest.
fn reduce(columns: &mut Vec<Lanes>, size: usize) {
    if columns.len() <= size {
        return;
    }
    for row in 0..size {
        let (done, rest) = columns.split_at_mut(row + 1);
        let pivot = &mut done[row];
        for column in rest {
            let squared = pivot[row] * pivot[row] + column[row] * column[row];
            // What is smaller is no doubt, and a square of too few digits would be no rotation.
            if squared > 1e-280 {
                let inverse = 1.0 / squared.sqrt();
                let (cos, sin) = (pivot[row] * inverse, column[row] * inverse);
                rotate(pivot, column, cos, sin);
            }
        }
    }
    columns.truncate(size);
}

/// `(first, second)` becomes `(cos first + sin second, cos second - sin first)`.
#[inline]
fn rotate(first: &mut Lanes, second: &mut Lanes, cos: f64, sin: f64) {
    for (first, second) in first.iter_mut().zip(second) {
        let (one, two) = (*first, *second);
        *first = cos * one + sin * two;
        *second = cos * two - sin * one;
    }
}
