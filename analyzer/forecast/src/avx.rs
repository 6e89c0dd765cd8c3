//! Eight series side by side in registers of 256 bits.
//!
//! Written out, as a compiler that is left to find the lanes by itself turns them against each other.

use crate::lane::{Lane, Real};
use std::arch::x86_64::{
    __m256d, _mm256_add_pd, _mm256_div_pd, _mm256_mul_pd, _mm256_set1_pd, _mm256_sqrt_pd, _mm256_sub_pd,
};
use std::ops::{Add, Div, Mul, Neg, Sub};

/// Registers a number: two, as each value waits for the one before it and a processor can wait for two.
const REGISTERS: usize = 2;

/// Numbers in a register.
const PER_REGISTER: usize = 4;

/// One number of each of eight series. Only for code that runs where AVX was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Eight([__m256d; REGISTERS]);

macro_rules! operator {
    ($trait:ident, $method:ident, $instruction:ident) => {
        impl $trait for Eight {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                // SAFETY: values of this type are made only where AVX was found.
                unsafe { Self([$instruction(self.0[0], other.0[0]), $instruction(self.0[1], other.0[1])]) }
            }
        }
    };
}

operator!(Add, add, _mm256_add_pd);
operator!(Sub, sub, _mm256_sub_pd);
operator!(Mul, mul, _mm256_mul_pd);
operator!(Div, div, _mm256_div_pd);

impl Neg for Eight {
    type Output = Self;

    #[inline(always)]
    fn neg(self) -> Self {
        // As the negation of a number, also of zero.
        Self::splat(-0.0) - self
    }
}

impl Real for Eight {
    #[inline(always)]
    fn splat(value: f64) -> Self {
        // SAFETY: called only where AVX was found.
        Self([unsafe { _mm256_set1_pd(value) }; REGISTERS])
    }
}

impl Lane for Eight {
    const WIDTH: usize = REGISTERS * PER_REGISTER;

    #[inline(always)]
    fn get(self, lane: usize) -> f64 {
        // SAFETY: a register is four numbers without padding.
        let numbers: [f64; PER_REGISTER] = unsafe { std::mem::transmute(self.0[lane / PER_REGISTER]) };
        numbers[lane % PER_REGISTER]
    }

    #[inline(always)]
    fn set(&mut self, lane: usize, value: f64) {
        let register = &mut self.0[lane / PER_REGISTER];
        // SAFETY: a register is four numbers without padding, and any numbers are a register.
        let mut numbers: [f64; PER_REGISTER] = unsafe { std::mem::transmute(*register) };
        numbers[lane % PER_REGISTER] = value;
        // SAFETY: as above.
        *register = unsafe { std::mem::transmute::<[f64; PER_REGISTER], __m256d>(numbers) };
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: values of this type are made only where AVX was found.
        unsafe { Self([_mm256_sqrt_pd(self.0[0]), _mm256_sqrt_pd(self.0[1])]) }
    }
}
