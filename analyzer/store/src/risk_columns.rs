//! Exposure, risk and loss as columns over the columns of their factors.
//!
//! `isotherm_risk` defines them, for one partition at a time, where decisions are made. Here they are found again for
//! many at once from what was kept of those decisions: the table `risks` keeps factors, never only a result.
//!
//! A factor that is unknown makes unknown whatever depends on it, and nothing else. Losing nothing is known: a
//! partition without nodes or domains has an exposure of 0.

use crate::derived::{Record, RiskRow};
use crate::error::QueryError;
use crate::read::{Reader, Span};
use crate::table::Table;
use polars::prelude::{
    DataType, ExplodeOptions, Expr, JoinArgs, JoinType, LazyFrame, NULL, PolarsResult, SortMultipleOptions,
    col, cols, len, lit, when,
};

/// How factors are weighed; as in `isotherm_risk::ExposurePolicy`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RiskWeights {
    /// Share of a partition's reads whose loss is fully an incident, above 0.
    pub incident_share: f64,
    /// How many incidents more one counts if the survivors lack headroom.
    pub survivors_weight: f64,
}

/// What follows from the factors of a decision record; `None` where one that it depends on is unknown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RiskColumns {
    /// Incidents per hour.
    pub exposure_per_hour: Option<f64>,
    /// Probability of an incident over the horizon, 0 to 1, to the second order.
    pub risk: Option<f64>,
    /// Client-minutes per hour: the sum of the parts.
    pub loss_total: Option<f64>,
}

impl Reader {
    /// Exposure, risk and loss of the decision records of cycles in `span`, found again from their factors, in the
    /// order of [`Reader::risk_rows`].
    pub fn risk_columns(&self, span: Span, weights: RiskWeights) -> Result<Vec<RiskColumns>, QueryError> {
        let rows = self.rows_of(&self.catalog()?, Table::Risks, span.start(), span.end())?;
        let order = SortMultipleOptions::default();
        Ok(found_again(rows.sort(RiskRow::ORDER.iter().copied(), order), weights)?)
    }
}

/// Those of rows of the table, in their order.
fn found_again(rows: LazyFrame, weights: RiskWeights) -> PolarsResult<Vec<RiskColumns>> {
    let frame =
        with_risk(rows.with_row_index(ROW, None), weights).sort([ROW], Default::default()).collect()?;
    let column = |name: &str| -> PolarsResult<_> { Ok(frame.column(name)?.f64()?.clone()) };
    let (exposure, risk, loss) = (column(EXPOSURE)?, column(RISK)?, column(LOSS)?);
    let row = |row| RiskColumns {
        exposure_per_hour: exposure.get(row),
        risk: risk.get(row),
        loss_total: loss.get(row),
    };
    Ok((0..frame.height()).map(row).collect())
}

/// How many rows of the table have a risk, or a loss, that does not follow from their factors. Exposure is left out:
/// what it was weighed with is not in the table.
pub(crate) fn not_following(rows: LazyFrame) -> PolarsResult<u64> {
    const TOLERANCE: f64 = 1e-9;
    let apart = |stored: &str, again: Expr| {
        let scale = when(col(stored).gt(lit(1.0))).then(col(stored)).otherwise(lit(1.0));
        let far = (again.clone() - col(stored)).abs().gt(lit(TOLERANCE) * scale).fill_null(lit(false));
        again.is_null().neq(col(stored).is_null()).or(far)
    };
    let differs = apart(RISK, second_order(col(MEAN), col(VARIANCE))).or(apart(LOSS, loss()));
    let found = rows.filter(differs).select([len().cast(DataType::UInt64)]).collect()?;
    Ok(found.columns()[0].u64()?.get(0).unwrap_or(0))
}

const ROW: &str = "row";
/// Lists, one value per node; those of a row have the same length.
const NODES: [&str; 3] = ["hazards", "shares", "overloads"];
/// Lists, one value per domain.
const DOMAINS: [&str; 2] = ["domain_hazards", "domain_shares"];
const MEAN: &str = "exposure_mean";
const VARIANCE: &str = "exposure_variance";
/// Parts of an expected loss in client-minutes per hour.
const LOSS_PARTS: [&str; 4] =
    ["loss_failover", "loss_survivors_overload", "loss_present_overload", "loss_under_replication"];
const EXPOSURE: &str = "exposure_per_hour";
const RISK: &str = "risk";
const LOSS: &str = "loss_total";

/// Puts the columns of results into a frame of factors, which has a number of its own in every row.
fn with_risk(factors: LazyFrame, weights: RiskWeights) -> LazyFrame {
    let [hazards, shares, overloads] = NODES;
    let [domain_hazards, domain_shares] = DOMAINS;
    let failover = col(hazards) * felt(col(shares), weights);
    let weighted = failover.clone() * lit(weights.survivors_weight);
    let survivors = when(weighted.clone().eq(lit(0.0))).then(lit(0.0)).otherwise(weighted * col(overloads));
    let by_node = summed(&factors, &NODES, failover + survivors, "by_node");
    let by_domain = col(domain_hazards) * felt(col(domain_shares), weights);
    let by_domain = summed(&factors, &DOMAINS, by_domain, "by_domain");
    let join =
        |left: LazyFrame, right| left.join(right, [col(ROW)], [col(ROW)], JoinArgs::new(JoinType::Left));
    join(join(factors, by_node), by_domain).with_columns([
        (known_sum("by_node", hazards) + known_sum("by_domain", domain_hazards)).alias(EXPOSURE),
        second_order(col(MEAN), col(VARIANCE)).alias(RISK),
        loss().alias(LOSS),
    ])
}

/// The sum of the parts.
fn loss() -> Expr {
    let [first, rest @ ..] = LOSS_PARTS.map(col);
    rest.into_iter().fold(first, |sum, part| sum + part)
}

/// To what extent losing a share of the reads is an incident: 0 to 1.
fn felt(share: Expr, weights: RiskWeights) -> Expr {
    let felt = share / lit(weights.incident_share);
    when(felt.clone().gt(lit(1.0))).then(lit(1.0)).otherwise(felt)
}

/// 1 - exp(-m + v/2), kept from 0 to 1.
fn second_order(mean: Expr, variance: Expr) -> Expr {
    let risk = lit(1.0) - (variance * lit(0.5) - mean).exp();
    let at_least = when(risk.clone().lt(lit(0.0))).then(lit(0.0)).otherwise(risk);
    when(at_least.clone().gt(lit(1.0))).then(lit(1.0)).otherwise(at_least)
}

/// Sums `term` over the elements of lists, by row. A term that is unknown makes the sum so; a row of empty lists is
/// absent.
fn summed(factors: &LazyFrame, lists: &[&'static str], term: Expr, name: &str) -> LazyFrame {
    let columns: Vec<Expr> = std::iter::once(&ROW).chain(lists).map(|name| col(*name)).collect();
    let unknown = col(name).is_null().any(true);
    factors
        .clone()
        .select(columns)
        .explode(cols(lists.iter().copied()), ExplodeOptions { empty_as_null: false, keep_nulls: true })
        .select([col(ROW), term.alias(name)])
        .group_by([col(ROW)])
        .agg([when(unknown).then(lit(NULL)).otherwise(col(name).sum()).alias(name)])
}

/// A sum that was joined; 0 where its list is empty.
fn known_sum(name: &str, list: &str) -> Expr {
    when(col(list).list().len().eq(lit(0u32))).then(lit(0.0)).otherwise(col(name))
}

#[cfg(test)]
mod tests;
