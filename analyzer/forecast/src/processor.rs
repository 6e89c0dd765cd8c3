//! The likelihood with the instructions that the processor has.

#[cfg(target_arch = "x86_64")]
use crate::avx::Eight;
use crate::lane::{Lane, Real};
use crate::likelihood::{
    Evaluation, Levels, MAX_PARAMETERS, Passes, Scratch, Shape, Slopes, Terms, evaluate, levels_of, slopes_of,
};
use crate::polynomial::MAX;

/// Instructions that were found at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instructions {
    /// What every processor of the platform has: one series at a time.
    Plain,
    /// 256 bits. Wider ones would serve as well; they are left out until they can be measured.
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Instructions {
    /// The widest there are.
    pub(crate) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx2") {
                return Self::Avx2;
            }
        }
        Self::Plain
    }
}

/// Numbers that the likelihood is computed with, by the instructions that are theirs.
pub(crate) trait Computed: Lane {
    /// [`evaluate`], with the same bits in each lane whatever the type.
    fn evaluate(
        shape: Shape,
        w: &[Self],
        partial: &[Self; MAX_PARAMETERS],
        scratch: &mut Scratch<Self>,
        out: &mut Evaluation<Self>,
    );
}

impl Computed for f64 {
    fn evaluate(
        shape: Shape,
        w: &[Self],
        partial: &[Self; MAX_PARAMETERS],
        scratch: &mut Scratch<Self>,
        out: &mut Evaluation<Self>,
    ) {
        evaluate::<Plain, Self>(shape, w, partial, scratch, out);
    }
}

#[cfg(target_arch = "x86_64")]
impl Computed for Eight {
    fn evaluate(
        shape: Shape,
        w: &[Self],
        partial: &[Self; MAX_PARAMETERS],
        scratch: &mut Scratch<Self>,
        out: &mut Evaluation<Self>,
    ) {
        #[target_feature(enable = "avx2")]
        fn wide(
            shape: Shape,
            w: &[Eight],
            partial: &[Eight; MAX_PARAMETERS],
            scratch: &mut Scratch<Eight>,
            out: &mut Evaluation<Eight>,
        ) {
            evaluate::<Avx2, Eight>(shape, w, partial, scratch, out);
        }
        // SAFETY: values of this type are made only where AVX2 was found.
        unsafe { wide(shape, w, partial, scratch, out) }
    }
}

/// Passes with [`Instructions::Plain`].
struct Plain;

impl<T: Real> Passes<T> for Plain {
    #[inline(never)]
    fn levels<const P: usize, const Q: usize, const ONES: bool>(w: &[T], terms: &Terms<'_, T>) -> Levels<T> {
        levels_of::<P, Q, ONES, T>(w, terms)
    }

    #[inline(never)]
    fn slopes<const P: usize, const Q: usize>(
        w: &[T],
        constant: T,
        state: &[T; MAX],
        terms: &Terms<'_, T>,
    ) -> Slopes<T> {
        slopes_of::<P, Q, T>(w, constant, state, terms)
    }
}

/// Passes with [`Instructions::Avx2`].
#[cfg(target_arch = "x86_64")]
struct Avx2;

#[cfg(target_arch = "x86_64")]
impl Passes<Eight> for Avx2 {
    fn levels<const P: usize, const Q: usize, const ONES: bool>(
        w: &[Eight],
        terms: &Terms<'_, Eight>,
    ) -> Levels<Eight> {
        #[target_feature(enable = "avx2")]
        #[inline(never)]
        fn wide<const P: usize, const Q: usize, const ONES: bool>(
            w: &[Eight],
            terms: &Terms<'_, Eight>,
        ) -> Levels<Eight> {
            levels_of::<P, Q, ONES, Eight>(w, terms)
        }
        // SAFETY: values of this type are made only where AVX2 was found.
        unsafe { wide::<P, Q, ONES>(w, terms) }
    }

    fn slopes<const P: usize, const Q: usize>(
        w: &[Eight],
        constant: Eight,
        state: &[Eight; MAX],
        terms: &Terms<'_, Eight>,
    ) -> Slopes<Eight> {
        #[target_feature(enable = "avx2")]
        #[inline(never)]
        fn wide<const P: usize, const Q: usize>(
            w: &[Eight],
            constant: Eight,
            state: &[Eight; MAX],
            terms: &Terms<'_, Eight>,
        ) -> Slopes<Eight> {
            slopes_of::<P, Q, Eight>(w, constant, state, terms)
        }
        // SAFETY: values of this type are made only where AVX2 was found.
        unsafe { wide::<P, Q>(w, constant, state, terms) }
    }
}
