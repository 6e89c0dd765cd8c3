//! Passes over the values: the only loops whose length is the series'.

use crate::lane::Real;

/// `out = x / (1 - c(B))`, with zeros before the first value; of two series at once, as each value waits for
/// the one before it and a processor can wait for two.
#[inline(always)]
pub(crate) fn divide_both<T: Real>(c: &[T], x: [&[T]; 2], out: [&mut [T]; 2]) {
    match c.len() {
        0 => {
            out[0].copy_from_slice(x[0]);
            out[1].copy_from_slice(x[1]);
        }
        1 => divide_both_by::<1, T>(c, x, out),
        2 => divide_both_by::<2, T>(c, x, out),
        3 => divide_both_by::<3, T>(c, x, out),
        4 => divide_both_by::<4, T>(c, x, out),
        _ => divide_both_by::<5, T>(c, x, out),
    }
}

#[inline(always)]
fn divide_both_by<const Q: usize, T: Real>(c: &[T], x: [&[T]; 2], out: [&mut [T]; 2]) {
    let c: [T; Q] = std::array::from_fn(|j| c[j]);
    let (mut one, mut other) = ([T::zero(); Q], [T::zero(); Q]);
    let [first, second] = x;
    let [first_out, second_out] = out;
    let len = first.len();
    let (second, first_out, second_out) = (&second[..len], &mut first_out[..len], &mut second_out[..len]);
    for t in 0..len {
        first_out[t] = step(&c, first[t], &mut one);
        second_out[t] = step(&c, second[t], &mut other);
    }
}

/// `out = x / (1 - c(B))`, with zeros before the first value.
#[inline(always)]
pub(crate) fn divide<T: Real>(c: &[T], x: &[T], out: &mut [T]) {
    match c.len() {
        0 => out.copy_from_slice(x),
        1 => divide_by::<1, T>(c, x, out),
        2 => divide_by::<2, T>(c, x, out),
        3 => divide_by::<3, T>(c, x, out),
        4 => divide_by::<4, T>(c, x, out),
        _ => divide_by::<5, T>(c, x, out),
    }
}

#[inline(always)]
fn divide_by<const Q: usize, T: Real>(c: &[T], x: &[T], out: &mut [T]) {
    let c: [T; Q] = std::array::from_fn(|j| c[j]);
    let mut past = [T::zero(); Q];
    let out = &mut out[..x.len()];
    for t in 0..x.len() {
        out[t] = step(&c, x[t], &mut past);
    }
}

/// The newest of the past comes last, so that only one multiplication and one addition lie between two values.
#[inline(always)]
fn step<const Q: usize, T: Real>(c: &[T; Q], x: T, past: &mut [T; Q]) -> T {
    let mut y = x;
    for j in (0..Q).rev() {
        y = y + c[j] * past[j];
    }
    for j in (1..Q).rev() {
        past[j] = past[j - 1];
    }
    past[0] = y;
    y
}

/// `out = (1 - c(B)) x`, with zeros before the first value.
#[inline(always)]
pub(crate) fn multiply<T: Real>(c: &[T], x: &[T], out: &mut [T]) {
    match c.len() {
        0 => out.copy_from_slice(x),
        1 => multiply_by::<1, T>(c, x, out),
        2 => multiply_by::<2, T>(c, x, out),
        3 => multiply_by::<3, T>(c, x, out),
        4 => multiply_by::<4, T>(c, x, out),
        _ => multiply_by::<5, T>(c, x, out),
    }
}

#[inline(always)]
fn multiply_by<const P: usize, T: Real>(c: &[T], x: &[T], out: &mut [T]) {
    let c: [T; P] = std::array::from_fn(|j| c[j]);
    let mut past = [T::zero(); P];
    let out = &mut out[..x.len()];
    for t in 0..x.len() {
        let mut y = x[t];
        for j in (0..P).rev() {
            y = y - c[j] * past[j];
        }
        for j in (1..P).rev() {
            past[j] = past[j - 1];
        }
        past[0] = x[t];
        out[t] = y;
    }
}

/// `sum_t a_t b_{t - lag}` over the values that both have.
#[inline(always)]
pub(crate) fn dot<T: Real>(a: &[T], b: &[T], lag: usize) -> T {
    let mut sum = T::zero();
    if lag < a.len() {
        let a = &a[lag..];
        let b = &b[..a.len().min(b.len())];
        let a = &a[..b.len()];
        for t in 0..a.len() {
            sum = sum + a[t] * b[t];
        }
    }
    sum
}
