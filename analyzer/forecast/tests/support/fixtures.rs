//! The values of other programs, as `tests/fixtures` has them.

use crate::support::order;
use isotherm_forecast::{Coefficients, Order};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// Of `r_reference.json`.
#[derive(Deserialize)]
pub(crate) struct Reference {
    series: BTreeMap<String, Vec<Option<f64>>>,
    arima_ml: Vec<MaximumLikelihood>,
    /// Orders that R chose.
    pub(crate) auto_arima: Vec<Automatic>,
}

/// A fit of `stats::arima(method = "ML")`.
#[derive(Deserialize)]
pub(crate) struct MaximumLikelihood {
    pub(crate) series: String,
    order: [usize; 3],
    seasonal: [usize; 3],
    mean: bool,
    coef: Named,
    pub(crate) se: Vec<f64>,
    pub(crate) sigma2: f64,
    pub(crate) loglik: f64,
    pub(crate) aicc: f64,
    pub(crate) nobs: usize,
    pub(crate) forecast: Vec<f64>,
    pub(crate) fse: Vec<f64>,
    pub(crate) lo95: Vec<f64>,
    pub(crate) hi95: Vec<f64>,
}

impl MaximumLikelihood {
    /// Its order.
    pub(crate) fn order(&self) -> Order {
        let [p, d, q] = self.order;
        order(p, d, q, self.mean)
    }

    /// What it found.
    pub(crate) fn coefficients(&self) -> Coefficients {
        self.coef.coefficients(self.order())
    }

    /// Series and order, for a message.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.series, self.order())
    }
}

/// What `forecast::auto.arima` chose.
#[derive(Deserialize)]
pub(crate) struct Automatic {
    pub(crate) series: String,
    pub(crate) mode: String,
    order: [usize; 3],
    coef: Named,
    pub(crate) sigma2_unbiased: f64,
    pub(crate) aicc: f64,
    pub(crate) ndiffs: BTreeMap<String, usize>,
    pub(crate) forecast: Vec<f64>,
    pub(crate) lo95: Vec<f64>,
    pub(crate) hi95: Vec<f64>,
}

impl Automatic {
    /// The order it chose.
    pub(crate) fn order(&self) -> Order {
        let [p, d, q] = self.order;
        order(p, d, q, self.coef.constant().is_some())
    }

    /// Its coefficients.
    pub(crate) fn coefficients(&self) -> Coefficients {
        self.coef.coefficients(self.order())
    }
}

/// Of `exact_differenced_reference.json`: the maximum of the exact likelihood of the differenced series.
#[derive(Deserialize)]
pub(crate) struct ExactDifferenced {
    pub(crate) series: String,
    order: [usize; 3],
    params: Named,
    pub(crate) llf: f64,
}

impl ExactDifferenced {
    /// Its order.
    pub(crate) fn order(&self) -> Order {
        let [p, d, q] = self.order;
        order(p, d, q, false)
    }

    /// Where the maximum is.
    pub(crate) fn coefficients(&self) -> Coefficients {
        self.params.coefficients(self.order())
    }

    /// Variance of the innovations there.
    pub(crate) fn sigma2(&self) -> f64 {
        self.params.get("sigma2").expect("the reference has it")
    }
}

/// Of `statsmodels_reference.json`.
#[derive(Deserialize)]
pub(crate) struct Statsmodels {
    arima_ml: Vec<StatsmodelsFit>,
}

/// A fit of statsmodels.
#[derive(Deserialize)]
pub(crate) struct StatsmodelsFit {
    series: String,
    order: [usize; 3],
    seasonal: [usize; 3],
    /// At the coefficients of R.
    #[serde(rename = "llf_at_R_coef")]
    at_coefficients_of_r: f64,
}

/// Of `held_out.json`.
#[derive(Deserialize)]
pub(crate) struct HeldOut {
    /// Steps ahead of the forecasts.
    pub(crate) steps: Vec<usize>,
    pub(crate) series: Vec<HeldOutSeries>,
}

/// A series and what R makes of it.
#[derive(Deserialize)]
pub(crate) struct HeldOutSeries {
    pub(crate) name: String,
    series: Vec<Option<f64>>,
    pub(crate) ndiffs: usize,
    pub(crate) fits: Vec<HeldOutFit>,
    pub(crate) auto: HeldOutAutomatic,
}

/// A fit of `forecast::Arima(method = "ML")`, the variance being that of maximum likelihood.
#[derive(Deserialize)]
pub(crate) struct HeldOutFit {
    order: [usize; 3],
    constant: bool,
    coef: Named,
    /// `null` where R could not say.
    pub(crate) se: Vec<Option<f64>>,
    pub(crate) sigma2: f64,
    pub(crate) loglik: f64,
    pub(crate) nobs: usize,
    pub(crate) aicc: Option<f64>,
    pub(crate) mean: Vec<f64>,
    pub(crate) standard_error: Vec<f64>,
}

/// What `forecast::auto.arima` chose.
#[derive(Deserialize)]
pub(crate) struct HeldOutAutomatic {
    pub(crate) default: HeldOutChoice,
    pub(crate) exhaustive: HeldOutChoice,
}

/// An order and where R found its maximum.
#[derive(Deserialize)]
pub(crate) struct HeldOutChoice {
    order: [usize; 3],
    constant: bool,
    coef: Named,
    pub(crate) aicc: f64,
}

impl HeldOutSeries {
    /// The series, `NaN` where a value is missing.
    pub(crate) fn values(&self) -> Vec<f64> {
        values(&self.series)
    }
}

impl HeldOutFit {
    /// Its order.
    pub(crate) fn order(&self) -> Order {
        let [p, d, q] = self.order;
        order(p, d, q, self.constant)
    }

    /// What R found.
    pub(crate) fn coefficients(&self) -> Coefficients {
        self.coef.coefficients(self.order())
    }
}

impl HeldOutChoice {
    /// The order R chose.
    pub(crate) fn order(&self) -> Order {
        let [p, d, q] = self.order;
        order(p, d, q, self.constant)
    }

    /// Its coefficients.
    pub(crate) fn coefficients(&self) -> Coefficients {
        self.coef.coefficients(self.order())
    }
}

/// Coefficients by the names of R (`ar1`, `ma1`, `intercept`, `drift`) or of statsmodels (`ar.L1`, `ma.L1`). R writes
/// an empty list as `[]`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Named {
    Some(BTreeMap<String, f64>),
    None([f64; 0]),
}

impl Named {
    fn get(&self, name: &str) -> Option<f64> {
        match self {
            Self::Some(values) => values.get(name).copied(),
            Self::None([]) => None,
        }
    }

    fn constant(&self) -> Option<f64> {
        self.get("intercept").or_else(|| self.get("drift"))
    }

    fn coefficients(&self, order: Order) -> Coefficients {
        let numbered = |kind: &str, count: usize| {
            (1..=count)
                .map(|lag| self.get(&format!("{kind}{lag}")).or_else(|| self.get(&format!("{kind}.L{lag}"))))
                .map(|value| value.expect("a coefficient for each lag"))
                .collect()
        };
        let constant = self.constant();
        assert_eq!(constant.is_some(), order.has_constant());
        Coefficients { ar: numbered("ar", order.p()), ma: numbered("ma", order.q()), constant }
    }
}

impl Reference {
    /// A series, `NaN` where a value is missing.
    pub(crate) fn series(&self, name: &str) -> Vec<f64> {
        values(&self.series[name])
    }

    /// Every series, by name.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, Vec<f64>)> {
        self.series.iter().map(|(name, series)| (name.as_str(), values(series)))
    }

    /// The fits that are not seasonal.
    pub(crate) fn fits(&self) -> impl Iterator<Item = &MaximumLikelihood> {
        self.arima_ml.iter().filter(|fit| fit.seasonal == [0; 3])
    }
}

impl Statsmodels {
    /// The likelihood at R's coefficients.
    pub(crate) fn at(&self, of: &MaximumLikelihood) -> f64 {
        let same = |fit: &&StatsmodelsFit| {
            fit.series == of.series && fit.order == of.order && fit.seasonal == of.seasonal
        };
        self.arima_ml.iter().find(same).expect("each fit of R is in it").at_coefficients_of_r
    }
}

/// `r_reference.json`.
pub(crate) fn reference() -> Reference {
    read(include_str!("../fixtures/r_reference.json"))
}

/// `statsmodels_reference.json`.
pub(crate) fn statsmodels() -> Statsmodels {
    read(include_str!("../fixtures/statsmodels_reference.json"))
}

/// `exact_differenced_reference.json`.
pub(crate) fn exact_differenced() -> Vec<ExactDifferenced> {
    read(include_str!("../fixtures/exact_differenced_reference.json"))
}

/// `held_out.json`.
pub(crate) fn held_out() -> HeldOut {
    read(include_str!("../fixtures/held_out.json"))
}

fn values(series: &[Option<f64>]) -> Vec<f64> {
    series.iter().map(|value| value.unwrap_or(f64::NAN)).collect()
}

fn read<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).expect("the fixture is as described")
}
