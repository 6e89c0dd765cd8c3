//! Node entropy as polars expressions, tested equal to the scalar definitions of `isotherm_model::entropy`.

use crate::plug_in;
use isotherm_model::entropy::{MIN_ACCESSES, Measured};
use polars::prelude::{DataFrame, IntoLazy};
use polars::prelude::{DataType, Expr, PolarsResult, col, lit, when};
use std::f64::consts::LN_2;

/// What can be said of the counts of one group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    /// Miller-Madow in bits, capped at `log2(places)`; `None` without accesses.
    pub(crate) bits: Option<f64>,
    /// `bits / log2(places)`; `None` below two places.
    pub(crate) normalised: Option<f64>,
    /// `2^bits`.
    pub(crate) effective: Option<f64>,
    /// Rows of the group.
    pub(crate) places: u64,
    /// Sum of the counts.
    pub(crate) accesses: u64,
}

impl Estimate {
    /// As a measured entropy, if there are enough accesses over enough places.
    pub(crate) fn measured(self) -> Option<Measured> {
        (self.accesses >= MIN_ACCESSES).then_some(())?;
        Some(Measured {
            bits: self.bits?,
            normalised: self.normalised?,
            effective: self.effective?,
            places: usize::try_from(self.places).ok()?,
            accesses: self.accesses,
        })
    }
}

const GROUP: &str = "group";
const COUNT: &str = "count";
const BITS: &str = "bits";
const PLACES: &str = "places";
const ACCESSES: &str = "accesses";

/// The estimates of groups of counts, by group. Each group holds one count per place an access could have
/// gone to, zeros included; groups without places get no estimate.
pub(crate) fn estimates(groups: &[Vec<u64>]) -> PolarsResult<Vec<Option<Estimate>>> {
    let mut keys = Vec::new();
    let mut counts = Vec::new();
    for (key, group) in (0..).zip(groups) {
        keys.extend(std::iter::repeat_n(key, group.len()));
        counts.extend_from_slice(group);
    }
    estimates_by_group(keys, counts, groups.len())
}

/// The estimates of `groups` groups, whose counts lie one after the other: `keys` says which group a count is of.
pub(crate) fn estimates_by_group(
    keys: Vec<u32>,
    counts: Vec<u64>,
    groups: usize,
) -> PolarsResult<Vec<Option<Estimate>>> {
    let frame = polars::df!(GROUP => keys, COUNT => counts)?
        .lazy()
        .group_by([col(GROUP)])
        .agg([
            miller_madow(COUNT).alias(BITS),
            col(COUNT).len().cast(DataType::UInt64).alias(PLACES),
            col(COUNT).sum().alias(ACCESSES),
        ])
        .with_columns([
            when(col(PLACES).gt(lit(1u64)))
                .then(col(BITS) / plug_in::log2(col(PLACES).cast(DataType::Float64)))
                .otherwise(lit(polars::prelude::NULL))
                .alias("normalised"),
            (col(BITS) * lit(LN_2)).exp().alias("effective"),
        ])
        .collect()?;
    read(&frame, groups)
}

/// Plug-in entropy plus `(m - 1) / (2 n ln 2)`, kept within `0 ..= log2(rows)`; null without accesses.
/// `count` must be the counts of one group, as in an aggregation.
fn miller_madow(count: &str) -> Expr {
    let n = col(count).cast(DataType::Float64).sum();
    let occupied = col(count).gt(lit(0u64)).cast(DataType::Float64).sum();
    let plug_in = plug_in::bits(n.clone(), plug_in::weighted(col(count)).sum());
    let corrected = plug_in + (occupied - lit(1.0)) / (lit(2.0 * LN_2) * n.clone());
    let cap = plug_in::log2(col(count).len().cast(DataType::Float64));
    let capped = when(corrected.clone().gt(cap.clone())).then(cap).otherwise(corrected);
    when(n.gt(lit(0.0))).then(capped).otherwise(lit(polars::prelude::NULL))
}

fn read(frame: &DataFrame, groups: usize) -> PolarsResult<Vec<Option<Estimate>>> {
    let mut found = vec![None; groups];
    let (keys, places, accesses) =
        (frame.column(GROUP)?.u32()?, frame.column(PLACES)?.u64()?, frame.column(ACCESSES)?.u64()?);
    let bits = frame.column(BITS)?.f64()?;
    let (normalised, effective) = (frame.column("normalised")?.f64()?, frame.column("effective")?.f64()?);
    for row in 0..frame.height() {
        let slot = keys.get(row).and_then(|key| found.get_mut(usize::try_from(key).ok()?));
        if let Some(slot) = slot {
            *slot = Some(Estimate {
                bits: bits.get(row),
                normalised: normalised.get(row),
                effective: effective.get(row),
                places: places.get(row).unwrap_or(0),
                accesses: accesses.get(row).unwrap_or(0),
            });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_model::entropy;
    use proptest::prelude::*;

    fn close(got: Option<f64>, want: Option<f64>) -> bool {
        match (got, want) {
            (Some(got), Some(want)) => (got - want).abs() < 1e-9,
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    #[test]
    fn groups_without_places_have_no_estimate() {
        assert_eq!(estimates(&[]).unwrap(), []);
        let found = estimates(&[vec![], vec![0, 0]]).unwrap();
        assert_eq!(found[0], None);
        assert_eq!(found[1].unwrap().bits, None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_columns_equal_the_scalar_definition(
            groups in prop::collection::vec(
                prop::collection::vec(prop_oneof![Just(0u64), 1..50u64, 0..1_000_000_000u64], 1..9),
                1..12,
            )
        ) {
            for (group, found) in groups.iter().zip(estimates(&groups).unwrap()) {
                let found = found.unwrap();
                prop_assert!(close(found.bits, entropy::miller_madow(group)), "{group:?}: {found:?}");
                prop_assert_eq!(found.places, group.len() as u64);
                prop_assert_eq!(found.accesses, group.iter().sum::<u64>());
                if let entropy::NodeEntropy::Known(want) = entropy::over_nodes(group) {
                    prop_assert!(close(found.normalised, Some(want.normalised)), "{group:?}: {found:?}");
                    prop_assert!(close(found.effective, Some(want.effective)), "{group:?}: {found:?}");
                }
            }
        }
    }
}
