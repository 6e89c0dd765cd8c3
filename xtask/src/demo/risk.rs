//! What the analyzer's cycles make of the volumes: forecast, surge, exposure, with the factors.
//!
//! There is no truth to hold that against, as nothing fails in the demo. A step is a second here and not a minute, so
//! that series grow while somebody looks; a day of the horizon is a day all the same.

use super::command;
use super::report::columns;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The answer to `isotherm analyze risk`.
#[derive(Debug, Deserialize)]
struct Answer {
    records: Vec<Risk>,
}

/// A volume in the last cycle. What is absent is not known.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(super) struct Risk {
    partition: String,
    status: String,
    h: Option<f64>,
    class: String,
    node_habit: Option<Habit>,
    surge: String,
    forecast_surge: Option<bool>,
    forecast: Option<Forecast>,
    exposure_per_hour: Option<f64>,
    horizon_h: f64,
    risk: Option<f64>,
    loss: Option<Loss>,
    holders: Vec<Holder>,
    verdict: String,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
struct Habit {
    baseline: f64,
    z: Option<f64>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
struct Forecast {
    h: f64,
    lower_80: f64,
    upper_80: f64,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
struct Loss {
    total: Option<f64>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
struct Holder {
    node: String,
    share: Option<f64>,
    hazard: f64,
    overload: Option<f64>,
}

/// Asks for the last cycle; empty before the first.
pub(super) fn ask(endpoint: &str) -> Result<Vec<Risk>> {
    let answer: Answer = command::ask(endpoint, &["analyze", "risk", "--top", "0"])?;
    Ok(answer.records)
}

impl Risk {
    /// The volume's number.
    pub(super) fn volume(&self) -> &str {
        &self.partition
    }

    /// Whether its reads have spread beyond what is habitual.
    pub(super) fn surges(&self) -> bool {
        self.surge == "surging"
    }

    /// Whether that is foreseen.
    pub(super) fn surge_is_forecast(&self) -> bool {
        self.forecast_surge == Some(true)
    }

    /// Its exposure, per hour.
    pub(super) fn exposure_per_hour(&self) -> Option<f64> {
        self.exposure_per_hour
    }

    /// What it is expected to lose, per hour.
    pub(super) fn loss_per_hour(&self) -> Option<f64> {
        self.loss.as_ref().and_then(|loss| loss.total)
    }

    /// Whether a node holds the volume.
    pub(super) fn leans_on(&self, node: &str) -> bool {
        self.holders.iter().any(|holder| holder.node == node)
    }
}

/// The verdict about a volume.
pub(super) fn verdict<'a>(risks: &'a [Risk], volume: &str) -> Option<&'a str> {
    risks.iter().find(|risk| risk.partition == volume).map(|risk| risk.verdict.as_str())
}

/// How many of them have a forecast.
pub(super) fn forecast(risks: &[Risk]) -> usize {
    risks.iter().filter(|risk| risk.forecast.is_some() && risk.risk.is_some()).count()
}

/// The volumes of a cycle, for people.
pub(super) struct Shown<'a>(pub(super) &'a [Risk]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dash = || "-".to_owned();
        let number =
            |value: Option<f64>, digits: usize| value.map_or_else(dash, |value| format!("{value:.digits$}"));
        let rows = self.0.iter().map(|risk| {
            let forecast = risk.forecast.as_ref();
            let factors = risk.holders.iter().map(|holder| {
                format!(
                    "{} {} x {:.1e}/h{}",
                    holder.node,
                    number(holder.share, 2),
                    holder.hazard,
                    holder.overload.map_or_else(String::new, |overload| format!(" x (1 + {overload:.2})"))
                )
            });
            [
                risk.partition.clone(),
                risk.h.map_or_else(|| risk.status.replace('_', " "), |h| format!("{h:.3}")),
                number(risk.node_habit.as_ref().map(|habit| habit.baseline), 3),
                risk.surge.clone(),
                forecast.map_or_else(dash, |forecast| {
                    format!("{:.3} ({:.3} .. {:.3})", forecast.h, forecast.lower_80, forecast.upper_80)
                }),
                risk.exposure_per_hour.map_or_else(dash, |exposure| format!("{exposure:.2e}")),
                risk.risk.map_or_else(dash, |value| format!("{:.3} %", value * 100.0)),
                number(risk.loss.as_ref().and_then(|loss| loss.total), 3),
                factors.collect::<Vec<_>>().join(", "),
            ]
        });
        let header = [
            "VOLUME",
            "ENTROPY",
            "HABIT",
            "SURGE",
            "FORECAST (80 %)",
            "EXPOSURE/h",
            "RISK OF A DAY",
            "LOSS/h",
            "FACTORS: SHARE x HAZARD x (1 + LACK OF HEADROOM)",
        ];
        write!(f, "{}", columns(header, rows))
    }
}
