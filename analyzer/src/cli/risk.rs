//! `isotherm analyze risk` and `isotherm analyze forecast`: the records of the last cycle, as tables.

use super::Failure;
use super::client::ClientArgs;
use super::print::{self, Column, Format};
use super::time::rfc3339;
use clap::{Args, ValueEnum};
use isotherm_proto::control::v1::{Cycle, DecisionRecord, ListRisksRequest, ListRisksResponse, RiskOrder};

/// Which partitions an incident is likely for, and what it would cost
///
/// Of the last cycle, once a minute. RISK is the probability of an incident within the horizon: that a failure takes
/// a fifth or more of the partition's reads. It ranks and explains; it is `uncalibrated` until enough incidents have
/// been seen. LOSS is what failures are expected to cost in client-minutes per hour: reads that fail until clients
/// have gone elsewhere, the survivors' overload, the time with fewer replicas. EXPOSURE is failures per hour that the
/// partition's clients would feel. A dash is what is not known; none of them is 0.
///
/// A high entropy alone is not a risk: reads spread evenly over healthy replicas are as they should be.
#[derive(Args)]
pub(super) struct RiskArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Only so many partitions; 0 for all
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: u32,
    /// Which come first
    #[arg(long, value_enum, default_value_t = OrderArg::Risk)]
    by: OrderArg,
    /// Only this partition, by name or system/name
    #[arg(long, value_name = "NAME")]
    partition: Option<String>,
}

/// Where the entropy of partitions is going, beside what is habitual
///
/// Of the last cycle. HABIT is the median of the same hour of the week once two weeks are known, before that the mean
/// of the last day; Z how many robust standard deviations the value is off. SURGE: the entropy is well above the
/// habit in three of five windows. FORECAST is the median some minutes ahead, LOWER and UPPER are passed with
/// probabilities of .8 and .2, from errors that earlier forecasts had (`group`, `pooled`), or, while there are too
/// few of them, the model's own (`model`). A `still` series never changed.
#[derive(Args)]
pub(super) struct ForecastsArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Only so many partitions, surging ones first; 0 for all
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: u32,
    /// Only this partition, by name or system/name
    #[arg(long, value_name = "NAME")]
    partition: Option<String>,
}

/// What comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OrderArg {
    /// The highest probability of an incident
    Risk,
    /// The highest expected loss
    Loss,
    /// What is farthest above its habit
    Surge,
}

pub(super) async fn risks(args: RiskArgs) -> Result<(), Failure> {
    let order = match args.by {
        OrderArg::Risk => RiskOrder::Unspecified,
        OrderArg::Loss => RiskOrder::Loss,
        OrderArg::Surge => RiskOrder::Surge,
    };
    let answer = ask(&args.client, args.top, order, args.partition).await?;
    match args.client.output {
        Format::Json => print::json(&answer),
        Format::Table => {
            head(answer.cycle.as_ref())?;
            let columns = [
                Column::Text("PARTITION"),
                Column::Number("RISK"),
                Column::Number("HORIZON"),
                Column::Number("EXPOSURE/h"),
                Column::Number("LOSS/h"),
                Column::Number("READS/s"),
                Column::Text("LEANS ON"),
                Column::Text("SURGE"),
                Column::Text("VERDICT"),
            ];
            print::table(&columns, answer.records.iter().map(risk_row).collect(), NONE)
        }
    }
}

pub(super) async fn forecasts(args: ForecastsArgs) -> Result<(), Failure> {
    let answer = ask(&args.client, args.top, RiskOrder::Surge, args.partition).await?;
    match args.client.output {
        Format::Json => print::json(&answer),
        Format::Table => {
            head(answer.cycle.as_ref())?;
            let columns = [
                Column::Text("PARTITION"),
                Column::Number("NOW"),
                Column::Text("CLASS"),
                Column::Number("HABIT"),
                Column::Number("Z"),
                Column::Text("SURGE"),
                Column::Number("FORECAST"),
                Column::Number("LOWER"),
                Column::Number("UPPER"),
                Column::Text("AHEAD"),
                Column::Text("FROM"),
                Column::Text("MODEL"),
            ];
            print::table(&columns, answer.records.iter().map(forecast_row).collect(), NONE)
        }
    }
}

const NONE: &str = "no partition was judged in the last cycle";

async fn ask(
    args: &ClientArgs,
    top: u32,
    order: RiskOrder,
    partition: Option<String>,
) -> Result<ListRisksResponse, Failure> {
    let mut client = args.connect().await?;
    let request = ListRisksRequest { top, order: order.into(), partition: partition.unwrap_or_default() };
    let answer = client.risk.list_risks(request).await.map_err(|status| client.failure(&status))?;
    Ok(answer.into_inner())
}

fn head(cycle: Option<&Cycle>) -> Result<(), Failure> {
    let Some(cycle) = cycle else {
        return print::out("no cycle yet: the first comes when a minute has been counted\n");
    };
    let skipped = match cycle.skipped {
        0 => String::new(),
        skipped => format!(", {skipped} left out since the start"),
    };
    print::out(&format!(
        "cycle {} of the minute until {}: {} partitions, {} known, {} surging, {} with a forecast; {} ms{skipped}\n\n",
        cycle.number,
        rfc3339(cycle.at_ms),
        cycle.partitions,
        cycle.known,
        cycle.surging,
        cycle.forecast,
        cycle.took_ms,
    ))
}

fn risk_row(record: &DecisionRecord) -> Vec<String> {
    let risk = match (record.calibrated, record.risk) {
        (Some(calibrated), _) => format!("{calibrated:.4}"),
        (None, Some(raw)) => format!("{raw:.4} uncalibrated"),
        (None, None) => dash(),
    };
    vec![
        format!("{}/{}", record.system, record.partition),
        risk,
        format!("{:.0} h", record.horizon_h),
        small(record.exposure_per_hour),
        record.loss.as_ref().and_then(|loss| loss.total).map_or_else(dash, |loss| format!("{loss:.3}")),
        record.reads_per_s.map_or_else(dash, |reads| format!("{reads:.1}")),
        leans_on(record),
        surge(record),
        record.verdict.clone(),
    ]
}

fn forecast_row(record: &DecisionRecord) -> Vec<String> {
    let now = record.h.map_or_else(|| record.status.replace('_', " "), |h| format!("{h:.3}"));
    let habit = record.node_habit.as_ref();
    let mut row = vec![
        format!("{}/{}", record.system, record.partition),
        now,
        if record.class.is_empty() { dash() } else { record.class.clone() },
        habit.map_or_else(dash, |habit| format!("{:.3}", habit.baseline)),
        habit.and_then(|habit| habit.z).map_or_else(dash, |z| format!("{z:+.1}")),
        surge(record),
    ];
    match &record.forecast {
        Some(foreseen) => row.extend([
            format!("{:.3}", foreseen.h),
            format!("{:.3}", foreseen.lower_80),
            format!("{:.3}", foreseen.upper_80),
            format!("{:.0} min", foreseen.ahead_min),
            foreseen.source.clone(),
            order(&foreseen.order),
        ]),
        None => row.extend(std::iter::repeat_with(dash).take(6)),
    }
    row
}

/// The holders that serve most, in whole percent.
fn leans_on(record: &DecisionRecord) -> String {
    let mut holders: Vec<_> =
        record.holders.iter().filter_map(|holder| Some((holder.share?, holder.node.as_str()))).collect();
    holders.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    if holders.is_empty() {
        return dash();
    }
    let words = holders.iter().take(3).map(|(share, node)| format!("{node} {:.0} %", share * 100.0));
    words.collect::<Vec<_>>().join(", ")
}

fn surge(record: &DecisionRecord) -> String {
    match (record.surge.as_str(), record.forecast_surge) {
        ("surging", _) => "surging".to_owned(),
        (_, Some(true)) => "forecast".to_owned(),
        ("unknown", _) => dash(),
        _ => "no".to_owned(),
    }
}

fn order(order: &[u32]) -> String {
    match order {
        [p, d, q] => format!("({p},{d},{q})"),
        _ => dash(),
    }
}

/// Numbers that are often far below one.
fn small(value: Option<f64>) -> String {
    match value {
        Some(value) if value >= 0.001 => format!("{value:.4}"),
        Some(value) => format!("{value:.1e}"),
        None => dash(),
    }
}

fn dash() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_proto::control::v1::{Foreseen, Holder};

    fn record() -> DecisionRecord {
        DecisionRecord {
            system: "s".into(),
            partition: "7".into(),
            horizon_h: 24.0,
            ..DecisionRecord::default()
        }
    }

    #[test]
    fn what_is_not_known_is_a_dash_and_never_a_zero() {
        let row = risk_row(&DecisionRecord { status: "unknown".into(), ..record() });
        assert_eq!(row[1..], ["-", "24 h", "-", "-", "-", "-", "no", ""]);
        let row = forecast_row(&DecisionRecord {
            status: "not_applicable".into(),
            surge: "unknown".into(),
            ..record()
        });
        assert_eq!(row[1..], ["not applicable", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-"]);
    }

    #[test]
    fn a_risk_says_whether_it_is_calibrated() {
        let raw = DecisionRecord { risk: Some(0.25), ..record() };
        assert_eq!(risk_row(&raw)[1], "0.2500 uncalibrated");
        assert_eq!(risk_row(&DecisionRecord { calibrated: Some(0.1), ..raw })[1], "0.1000");
    }

    #[test]
    fn a_partition_leans_on_those_that_serve_most() {
        let holder = |node: &str, share| Holder { node: node.into(), share, ..Holder::default() };
        let holders = vec![holder("a", Some(0.2)), holder("b", Some(0.7)), holder("c", None)];
        assert_eq!(risk_row(&DecisionRecord { holders, ..record() })[6], "b 70 %, a 20 %");
    }

    #[test]
    fn a_forecast_surge_is_told_apart_from_one_that_is_there() {
        let forecast =
            Some(Foreseen { ahead_min: 15.0, h: 0.8, order: vec![1, 0, 2], ..Foreseen::default() });
        let rising =
            DecisionRecord { surge: "quiet".into(), forecast_surge: Some(true), forecast, ..record() };
        let row = forecast_row(&rising);
        assert_eq!((row[5].as_str(), row[9].as_str(), row[11].as_str()), ("forecast", "15 min", "(1,0,2)"));
        assert_eq!(surge(&DecisionRecord { surge: "surging".into(), ..rising }), "surging");
    }
}
