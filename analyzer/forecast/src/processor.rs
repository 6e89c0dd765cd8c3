//! The likelihood with the instructions that the processor has.

#[cfg(target_arch = "x86_64")]
use crate::avx::Four;
use crate::likelihood::{
    Evaluation, Impulse, Levels, MAX_PARAMETERS, Passes, Scratch, Shape, Slopes, Terms, evaluate, impulse_of,
    levels_of, slopes_of,
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
            let wide =
                std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma");
            if wide {
                return Self::Avx2;
            }
        }
        Self::Plain
    }
}

/// Numbers that the likelihood is computed with, by the instructions that are theirs.
pub(crate) trait Computed: Passes {
    /// [`evaluate`]. What is in a lane does not depend on the others; between types it differs by rounding.
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
        evaluate(shape, w, partial, scratch, out);
    }
}

#[cfg(target_arch = "x86_64")]
impl Computed for Four {
    fn evaluate(
        shape: Shape,
        w: &[Self],
        partial: &[Self; MAX_PARAMETERS],
        scratch: &mut Scratch<Self>,
        out: &mut Evaluation<Self>,
    ) {
        #[target_feature(enable = "avx2,fma")]
        fn wide(
            shape: Shape,
            w: &[Four],
            partial: &[Four; MAX_PARAMETERS],
            scratch: &mut Scratch<Four>,
            out: &mut Evaluation<Four>,
        ) {
            evaluate(shape, w, partial, scratch, out);
        }
        // SAFETY: values of this type are made only where AVX2 and FMA were found.
        unsafe { wide(shape, w, partial, scratch, out) }
    }
}

impl Passes for f64 {
    #[inline(never)]
    fn impulse<const P: usize, const Q: usize>(c: &[Self], g: &mut [Self], out: &mut Impulse<Self>) {
        impulse_of::<P, Q, Self>(c, g, out);
    }

    #[inline(never)]
    fn levels<const P: usize, const Q: usize, const ONES: bool>(
        w: &[Self],
        terms: &Terms<'_, Self>,
        out: &mut Levels<Self>,
    ) {
        levels_of::<P, Q, ONES, Self>(w, terms, out);
    }

    #[inline(never)]
    fn slopes<const P: usize, const Q: usize>(
        w: &[Self],
        constant: Self,
        state: &[Self; MAX],
        terms: &Terms<'_, Self>,
        out: &mut Slopes<Self>,
    ) {
        slopes_of::<P, Q, Self>(w, constant, state, terms, out);
    }
}

#[cfg(target_arch = "x86_64")]
impl Passes for Four {
    fn impulse<const P: usize, const Q: usize>(c: &[Four], g: &mut [Four], out: &mut Impulse<Four>) {
        #[target_feature(enable = "avx2,fma")]
        #[inline(never)]
        fn wide<const P: usize, const Q: usize>(c: &[Four], g: &mut [Four], out: &mut Impulse<Four>) {
            impulse_of::<P, Q, Four>(c, g, out);
        }
        // SAFETY: values of this type are made only where AVX2 and FMA were found.
        unsafe { wide::<P, Q>(c, g, out) }
    }

    fn levels<const P: usize, const Q: usize, const ONES: bool>(
        w: &[Four],
        terms: &Terms<'_, Four>,
        out: &mut Levels<Four>,
    ) {
        #[target_feature(enable = "avx2,fma")]
        #[inline(never)]
        fn wide<const P: usize, const Q: usize, const ONES: bool>(
            w: &[Four],
            terms: &Terms<'_, Four>,
            out: &mut Levels<Four>,
        ) {
            levels_of::<P, Q, ONES, Four>(w, terms, out);
        }
        // SAFETY: values of this type are made only where AVX2 and FMA were found.
        unsafe { wide::<P, Q, ONES>(w, terms, out) }
    }

    fn slopes<const P: usize, const Q: usize>(
        w: &[Four],
        constant: Four,
        state: &[Four; MAX],
        terms: &Terms<'_, Four>,
        out: &mut Slopes<Four>,
    ) {
        #[target_feature(enable = "avx2,fma")]
        #[inline(never)]
        fn wide<const P: usize, const Q: usize>(
            w: &[Four],
            constant: Four,
            state: &[Four; MAX],
            terms: &Terms<'_, Four>,
            out: &mut Slopes<Four>,
        ) {
            slopes_of::<P, Q, Four>(w, constant, state, terms, out);
        }
        // SAFETY: values of this type are made only where AVX2 and FMA were found.
        unsafe { wide::<P, Q>(w, constant, state, terms, out) }
    }
}
