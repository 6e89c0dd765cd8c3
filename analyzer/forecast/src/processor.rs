//! The likelihood with the widest instructions that the processor has.

use crate::lane::Lanes;
use crate::likelihood::{Evaluation, MAX_PARAMETERS, Scratch, Shape, evaluate};

/// Instructions that were found at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instructions {
    /// What every processor of the platform has.
    Plain,
    /// 256 bits.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512 bits.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Instructions {
    /// The widest there are.
    pub(crate) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx512f") {
                return Self::Avx512;
            }
            if std::arch::is_x86_feature_detected!("avx2") {
                return Self::Avx2;
            }
        }
        Self::Plain
    }

    /// [`evaluate`], with the same bits whatever the instructions.
    pub(crate) fn evaluate<const W: usize>(
        self,
        shape: Shape,
        w: &[Lanes<W>],
        partial: &[Lanes<W>; MAX_PARAMETERS],
        scratch: &mut Scratch<W>,
    ) -> Evaluation<W> {
        match self {
            Self::Plain => evaluate(shape, w, partial, scratch),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the value is made by `best` only, after the processor was asked.
            Self::Avx2 => unsafe { evaluate_avx2(shape, w, partial, scratch) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Self::Avx512 => unsafe { evaluate_avx512(shape, w, partial, scratch) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn evaluate_avx2<const W: usize>(
    shape: Shape,
    w: &[Lanes<W>],
    partial: &[Lanes<W>; MAX_PARAMETERS],
    scratch: &mut Scratch<W>,
) -> Evaluation<W> {
    evaluate(shape, w, partial, scratch)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn evaluate_avx512<const W: usize>(
    shape: Shape,
    w: &[Lanes<W>],
    partial: &[Lanes<W>; MAX_PARAMETERS],
    scratch: &mut Scratch<W>,
) -> Evaluation<W> {
    evaluate(shape, w, partial, scratch)
}
