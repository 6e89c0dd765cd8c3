//! Plug-in entropy as expressions over columns of counts: `log2 n - sum(x log2 x) / n`.
//!
//! Nearly all counts are small, and a logarithm takes as long as reading ten of them. So `x log2 x` of small counts
//! is looked up; it is the same number, as the table is made by the same function.

use polars::prelude::{DataType, Expr, Field, Float64Chunked, IntoColumn, NULL, arity, lit, when};
use std::sync::LazyLock;

/// Counts below it are looked up: 128 KiB, which stays in a second-level cache.
const LOOKED_UP: usize = 1 << 14;

static TABLE: LazyLock<Vec<f64>> = LazyLock::new(|| (0..LOOKED_UP as u64).map(computed).collect());

/// `x log2 x` of every count (`UInt64`), 0 for 0; null stays null.
pub(crate) fn weighted(count: Expr) -> Expr {
    count.map(
        |counts| {
            let table = TABLE.as_slice();
            let weigh = |count: u64| {
                let known = usize::try_from(count).ok().and_then(|count| table.get(count));
                known.copied().unwrap_or_else(|| computed(count))
            };
            let weights: Float64Chunked = arity::unary_elementwise_values(counts.u64()?, weigh);
            Ok(weights.into_column())
        },
        |_, field| Ok(Field::new(field.name().clone(), DataType::Float64)),
    )
}

/// Bits from the sum of counts and the sum of what they weigh; null where there are none.
pub(crate) fn bits(sum: Expr, weighted: Expr) -> Expr {
    let n = sum.cast(DataType::Float64);
    let bits = log2(n.clone()) - weighted / n.clone();
    let known = when(bits.clone().lt(lit(0.0))).then(lit(0.0)).otherwise(bits);
    when(n.gt(lit(0.0))).then(known).otherwise(lit(NULL))
}

/// The logarithm that counts are weighed with: another one would not cancel out where all of them are in one place.
pub(crate) fn log2(x: Expr) -> Expr {
    x.map(
        |numbers| {
            let logarithms: Float64Chunked = arity::unary_elementwise_values(numbers.f64()?, f64::log2);
            Ok(logarithms.into_column())
        },
        |_, field| Ok(field.clone()),
    )
}

fn computed(count: u64) -> f64 {
    if count == 0 { 0.0 } else { count as f64 * (count as f64).log2() }
}
