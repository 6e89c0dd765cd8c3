//! Rows of a report, as xtask reads them.

use serde::Serialize;

/// A median, beside what it is compared with.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
    pub(crate) beside: Option<f64>,
    pub(crate) of: Option<String>,
    pub(crate) ratio: Option<f64>,
}

impl Row {
    pub(crate) fn alone(name: &str, value: f64, unit: &str) -> Self {
        Self { name: name.to_owned(), value, unit: unit.to_owned(), beside: None, of: None, ratio: None }
    }

    pub(crate) fn beside(name: &str, value: f64, unit: &str, beside: f64, of: &str) -> Self {
        let (beside, of, ratio) = (Some(beside), Some(of.to_owned()), Some(value / beside));
        Self { beside, of, ratio, ..Self::alone(name, value, unit) }
    }
}

/// The middle one, or the mean of both. There must be one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}
