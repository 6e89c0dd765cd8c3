//! Exposure, risk and loss as columns over the columns of their factors.
//!
//! `isotherm_risk` defines them, for one partition at a time, where decisions are made. Here they are found again for
//! many at once from what was kept of those decisions: a table of risks keeps factors, never only a result.
//!
//! A factor that is unknown makes unknown whatever depends on it, and nothing else. Losing nothing is known: a
//! partition without nodes or domains has an exposure of 0.

use crate::error::QueryError;
use polars::prelude::{
    DataFrame, DataType, ExplodeOptions, Expr, IntoLazy, JoinArgs, JoinType, LazyFrame, NULL, NamedFrom,
    PolarsResult, Series, col, cols, lit, when,
};

/// How factors are weighed; as in `isotherm_risk::ExposurePolicy`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RiskWeights {
    /// Share of a partition's reads whose loss is fully an incident, above 0.
    pub incident_share: f64,
    /// How many incidents more one counts if the survivors lack headroom.
    pub survivors_weight: f64,
}

/// What a node, or a failure domain, contributes to the exposure of a partition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RiskFactor {
    /// Its failures per hour.
    pub hazard_per_hour: Option<f64>,
    /// Share of the partition's reads that are lost with it.
    pub share: Option<f64>,
    /// Probability that the survivors exceed their headroom without it. Not asked for where it has no weight, nor of
    /// domains.
    pub overload: Option<f64>,
}

/// Parts of an expected loss in client-minutes per hour, in the order of `isotherm_risk::LossParts`.
pub const LOSS_PARTS: [&str; 7] = [
    "loss_failover",
    "loss_domains",
    "loss_after_failures",
    "loss_present_overload",
    "loss_gray",
    "loss_quorum",
    "loss_data",
];

/// What is kept of one partition's risk.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RiskFactors {
    /// The nodes that hold it.
    pub nodes: Vec<RiskFactor>,
    /// The failure domains that these are in.
    pub domains: Vec<RiskFactor>,
    /// Mean over simulated paths of the exposure integrated over the horizon.
    pub exposure_mean: Option<f64>,
    /// Its variance over them.
    pub exposure_variance: Option<f64>,
    /// Parts of the loss, as [`LOSS_PARTS`] names them.
    pub loss: [Option<f64>; LOSS_PARTS.len()],
}

/// What follows from it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RiskColumns {
    /// Incidents per hour.
    pub exposure_per_hour: Option<f64>,
    /// Probability of an incident over the horizon, 0 to 1, to the second order.
    pub risk: Option<f64>,
    /// Client-minutes per hour: the sum of the parts.
    pub loss_per_hour: Option<f64>,
}

/// The risk columns of partitions, in their order.
pub fn risk_columns(factors: &[RiskFactors], weights: RiskWeights) -> Result<Vec<RiskColumns>, QueryError> {
    let frame = with_risk(frame(factors)?.lazy(), weights).sort([ROW], Default::default()).collect()?;
    let column = |name: &str| -> PolarsResult<_> { Ok(frame.column(name)?.f64()?.clone()) };
    let (exposure, risk, loss) = (column(EXPOSURE)?, column(RISK)?, column(LOSS)?);
    let row = |row| RiskColumns {
        exposure_per_hour: exposure.get(row),
        risk: risk.get(row),
        loss_per_hour: loss.get(row),
    };
    Ok((0..frame.height()).map(row).collect())
}

const ROW: &str = "row";
/// Lists, one value per node; those of a row have the same length.
const NODES: [&str; 3] = ["hazards", "shares", "overloads"];
/// Lists, one value per domain.
const DOMAINS: [&str; 2] = ["domain_hazards", "domain_shares"];
const MEAN: &str = "exposure_mean";
const VARIANCE: &str = "exposure_variance";
const EXPOSURE: &str = "exposure_per_hour";
const RISK: &str = "risk";
const LOSS: &str = "loss_per_hour";

/// Adds the columns of results to a frame of factors, which has a number of its own in every row.
fn with_risk(factors: LazyFrame, weights: RiskWeights) -> LazyFrame {
    let [hazards, shares, overloads] = NODES;
    let [domain_hazards, domain_shares] = DOMAINS;
    let failover = col(hazards) * felt(col(shares), weights);
    let weighted = failover.clone() * lit(weights.survivors_weight);
    let survivors = when(weighted.clone().eq(lit(0.0))).then(lit(0.0)).otherwise(weighted * col(overloads));
    let by_node = summed(&factors, &NODES, failover + survivors, "by_node");
    let by_domain = col(domain_hazards) * felt(col(domain_shares), weights);
    let by_domain = summed(&factors, &DOMAINS, by_domain, "by_domain");
    let [first, rest @ ..] = LOSS_PARTS.map(col);
    let join =
        |left: LazyFrame, right| left.join(right, [col(ROW)], [col(ROW)], JoinArgs::new(JoinType::Left));
    join(join(factors, by_node), by_domain).with_columns([
        (known_sum("by_node", hazards) + known_sum("by_domain", domain_hazards)).alias(EXPOSURE),
        second_order(col(MEAN), col(VARIANCE)).alias(RISK),
        rest.into_iter().fold(first, |sum, part| sum + part).alias(LOSS),
    ])
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

fn frame(factors: &[RiskFactors]) -> PolarsResult<DataFrame> {
    let lists = |name: &str, of: fn(&RiskFactors) -> &[RiskFactor], value: fn(&RiskFactor) -> Option<f64>| {
        let list = |row: &RiskFactors| {
            Series::new("".into(), of(row).iter().map(value).collect::<Vec<Option<f64>>>())
        };
        let lists: Vec<Series> = factors.iter().map(list).collect();
        // Without rows it would not know what its lists are of.
        Series::new(name.into(), lists).cast(&DataType::List(Box::new(DataType::Float64)))
    };
    let numbers = |name: &str, value: &dyn Fn(&RiskFactors) -> Option<f64>| {
        Series::new(name.into(), factors.iter().map(value).collect::<Vec<Option<f64>>>())
    };
    let [hazards, shares, overloads] = NODES;
    let [domain_hazards, domain_shares] = DOMAINS;
    let mut columns = vec![
        Series::new(ROW.into(), (0..factors.len() as u64).collect::<Vec<u64>>()),
        lists(hazards, |row| &row.nodes, |node| node.hazard_per_hour)?,
        lists(shares, |row| &row.nodes, |node| node.share)?,
        lists(overloads, |row| &row.nodes, |node| node.overload)?,
        lists(domain_hazards, |row| &row.domains, |domain| domain.hazard_per_hour)?,
        lists(domain_shares, |row| &row.domains, |domain| domain.share)?,
        numbers(MEAN, &|row| row.exposure_mean),
        numbers(VARIANCE, &|row| row.exposure_variance),
    ];
    columns.extend(LOSS_PARTS.iter().enumerate().map(|(part, name)| numbers(name, &|row| row.loss[part])));
    DataFrame::new(factors.len(), columns.into_iter().map(Into::into).collect())
}

#[cfg(test)]
mod tests;
