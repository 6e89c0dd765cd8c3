//! Four series side by side in a register of 256 bits.
//!
//! Written out, as a compiler that is left to find the lanes by itself turns them against each other. Two registers
//! a number were measured to be slower: the sums of a pass no longer fit into what there is.

use crate::lane::{Lane, Real};
use std::arch::x86_64::{
    __m256d, _mm256_add_pd, _mm256_div_pd, _mm256_fmadd_pd, _mm256_fnmadd_pd, _mm256_mul_pd, _mm256_set1_pd,
    _mm256_sqrt_pd, _mm256_sub_pd,
};
use std::ops::{Add, Div, Mul, Neg, Sub};

/// Series in a register.
const WIDTH: usize = 4;

/// One number of each of four series. Only for code that runs where AVX2 and FMA were found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Four(__m256d);

macro_rules! operator {
    ($trait:ident, $method:ident, $instruction:ident) => {
        impl $trait for Four {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                // SAFETY: values of this type are made only where AVX2 and FMA were found.
                Self(unsafe { $instruction(self.0, other.0) })
            }
        }
    };
}

operator!(Add, add, _mm256_add_pd);
operator!(Sub, sub, _mm256_sub_pd);
operator!(Mul, mul, _mm256_mul_pd);
operator!(Div, div, _mm256_div_pd);

impl Neg for Four {
    type Output = Self;

    #[inline(always)]
    fn neg(self) -> Self {
        // As the negation of a number, also of zero.
        Self::splat(-0.0) - self
    }
}

impl Real for Four {
    #[inline(always)]
    fn splat(value: f64) -> Self {
        // SAFETY: called only where AVX2 and FMA were found.
        Self(unsafe { _mm256_set1_pd(value) })
    }

    #[inline(always)]
    fn plus(self, a: Self, b: Self) -> Self {
        // SAFETY: values of this type are made only where AVX2 and FMA were found.
        Self(unsafe { _mm256_fmadd_pd(a.0, b.0, self.0) })
    }

    #[inline(always)]
    fn minus(self, a: Self, b: Self) -> Self {
        // SAFETY: values of this type are made only where AVX2 and FMA were found.
        Self(unsafe { _mm256_fnmadd_pd(a.0, b.0, self.0) })
    }
}

impl Lane for Four {
    const WIDTH: usize = WIDTH;

    #[inline(always)]
    fn get(self, lane: usize) -> f64 {
        // SAFETY: a register is four numbers without padding.
        let numbers: [f64; WIDTH] = unsafe { std::mem::transmute(self.0) };
        numbers[lane]
    }

    #[inline(always)]
    fn set(&mut self, lane: usize, value: f64) {
        // SAFETY: a register is four numbers without padding, and any numbers are a register.
        let mut numbers: [f64; WIDTH] = unsafe { std::mem::transmute(self.0) };
        numbers[lane] = value;
        // SAFETY: as above.
        self.0 = unsafe { std::mem::transmute::<[f64; WIDTH], __m256d>(numbers) };
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: values of this type are made only where AVX2 and FMA were found.
        Self(unsafe { _mm256_sqrt_pd(self.0) })
    }

    fn fill(numbers: &mut [Self], lane: usize, values: &[f64]) {
        let len = numbers.len() * WIDTH;
        // SAFETY: a register is four numbers without padding, and any numbers are a register.
        let flat = unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast::<f64>(), len) };
        for (number, value) in flat.chunks_exact_mut(WIDTH).zip(values) {
            number[lane] = *value;
        }
    }
}
