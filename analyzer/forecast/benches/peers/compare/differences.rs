//! What is compared, and how far it may differ.

use super::case::Case;
use super::check::Check;
use super::only;
use crate::peer::{Answer, HORIZON, LEVEL, Peer, Said};
use anyhow::Result;
use isotherm_forecast::{Coefficients, Fit, FitError, Fitted, Model, Order, Select};

/// Likelihoods of the same coefficients, where both are exact.
const SAME_LIKELIHOOD: f64 = 1e-5;

/// R stands alone if statsmodels is closer to us than this part of the distance between R and us. Within 1e-4 of
/// a unit root R's stationary covariance is wrong in its first digits, and statsmodels' in its sixth.
const ALONE: f64 = 0.01;

/// A change of coefficients that must not matter.
const EPSILON: f64 = 1e-11;

/// By how much a maximum may be missed.
const MAXIMUM: f64 = 1e-4;

/// Means and limits from the same coefficients, in standard errors of the step.
const SAME_FORECAST: f64 = 1e-4;

/// Variances from the same coefficients, relative.
const SAME_VARIANCE: f64 = 1e-6;

/// Likelihoods so close that estimates are of the same maximum.
const SAME_MAXIMUM: f64 = 1e-6;

/// Estimates of the same maximum, in standard errors.
const SAME_ESTIMATE: f64 = 0.02;

/// By how much our AICc may be above that of R's model.
const SAME_CRITERION: f64 = 1e-3;

/// All checks.
pub(crate) struct Differences {
    r: Beside,
    /// With d >= 1, where R's likelihood is another.
    r_differenced: Beside,
    statsmodels: Beside,
    r_alone: Check,
    ours_by_statsmodels: Check,
    same_differences: Check,
    automatic: Check,
    below: Check,
    criterion: Check,
}

/// Ours beside one peer's answers to one kind of model.
struct Beside {
    likelihood: Check,
    variance: Check,
    mean: Check,
    limits: Check,
    maximum: Check,
    estimate: Check,
}

impl Differences {
    pub(crate) fn new() -> Self {
        Self {
            r: Beside {
                likelihood: Check::judged("likelihood at R's coefficients, d = 0", SAME_LIKELIHOOD),
                variance: Check::judged("variance there, relative", SAME_VARIANCE),
                mean: Check::judged("12-step means there, in standard errors", SAME_FORECAST),
                limits: Check::judged("12-step limits there, in standard errors", SAME_FORECAST),
                maximum: Check::judged("our maximum below R's, d = 0", MAXIMUM),
                estimate: Check::judged("coefficients beside R's, in standard errors", SAME_ESTIMATE),
            },
            r_differenced: Beside {
                likelihood: Check::told("likelihood at R's coefficients, d >= 1 (its prior differs)"),
                variance: Check::told("variance there, relative"),
                mean: Check::told("12-step means there, in standard errors"),
                limits: Check::told("12-step limits there, in standard errors"),
                maximum: Check::judged("our maximum below that at R's coefficients, d >= 1", MAXIMUM),
                estimate: Check::told("coefficients beside R's, in standard errors"),
            },
            statsmodels: Beside {
                likelihood: Check::judged("likelihood at statsmodels' coefficients", SAME_LIKELIHOOD),
                variance: Check::judged("variance there, relative", SAME_VARIANCE),
                mean: Check::judged("12-step means there, in standard errors", SAME_FORECAST),
                limits: Check::judged("12-step limits there, in standard errors", SAME_FORECAST),
                maximum: Check::judged("our maximum below statsmodels'", MAXIMUM),
                estimate: Check::judged(
                    "coefficients beside statsmodels', in standard errors",
                    SAME_ESTIMATE,
                ),
            },
            r_alone: Check::told("likelihoods that R alone has, or that rounding decides"),
            ours_by_statsmodels: Check::judged("our likelihood as statsmodels judges it", SAME_LIKELIHOOD),
            same_differences: Check::judged("automatic: d beside R's", 0.0),
            automatic: Check::judged("automatic: our AICc above that of R's model", SAME_CRITERION),
            below: Check::told("automatic: our AICc below that of R's model"),
            criterion: Check::told("automatic: AICc of R's model, by us and by R"),
        }
    }

    pub(crate) fn checks(self) -> Vec<Check> {
        let of = |beside: Beside| {
            let Beside { likelihood, variance, mean, limits, maximum, estimate } = beside;
            [likelihood, variance, mean, limits, maximum, estimate]
        };
        let rest = [self.r_alone, self.ours_by_statsmodels];
        let automatic = [self.same_differences, self.automatic, self.below, self.criterion];
        [self.r, self.r_differenced, self.statsmodels]
            .into_iter()
            .flat_map(of)
            .chain(rest)
            .chain(automatic)
            .collect()
    }

    /// One order on one series.
    pub(crate) fn order(
        &mut self,
        case: &Case,
        order: Order,
        r: Option<&Answer>,
        statsmodels: Option<&Answer>,
        mut judge: Option<&mut Peer>,
    ) -> Result<()> {
        let name = format!("{case}, {order}");
        let ours = Fit::new(order).fit(&case.series);
        if let Some(answer) = r {
            let beside = if order.d() == 0 { &mut self.r } else { &mut self.r_differenced };
            let there = beside.there(&name, case, order, answer);
            if let Some((said, there)) = there {
                let apart =
                    said.log_likelihood.map_or(f64::NAN, |said| (said - there.log_likelihood()).abs());
                let apart_at_all = order.d() == 0 && apart > SAME_LIKELIHOOD;
                let mine = there.log_likelihood();
                if apart_at_all
                    && (rounding_decides(case, &there)
                        || judged(judge.as_deref_mut(), case, &there)?
                            .is_some_and(|second| (second - mine).abs() < ALONE * apart))
                {
                    self.r_alone.add(&name, apart, String::new);
                } else {
                    beside.same_coefficients(&name, said, &there);
                }
                beside.estimates(&name, case, &ours, &there);
            }
        }
        if let Some(answer) = statsmodels
            && let Some((said, there)) = self.statsmodels.there(&name, case, order, answer)
        {
            self.statsmodels.same_coefficients(&name, said, &there);
            self.statsmodels.estimates(&name, case, &ours, &there);
        }
        if let (Some(judge), Ok(ours)) = (judge, &ours) {
            let mine = ours.log_likelihood();
            match judged(Some(judge), case, ours)? {
                Some(said) => self.ours_by_statsmodels.add(&name, (mine - said).abs(), || {
                    format!("ours {mine}, theirs {said} at {}", written(ours.coefficients()))
                }),
                None => self.ours_by_statsmodels.unanswered(),
            }
        }
        Ok(())
    }

    /// The automatic order beside R's: the same, or of no higher AICc.
    pub(crate) fn automatic(&mut self, case: &Case, answer: &Answer) {
        let name = case.to_string();
        let said = match answer {
            Answer::Said(said) => said.order.zip(said.coefficients.clone()).zip(said.aicc),
            Answer::Refused { .. } => None,
        };
        let Some(((theirs, coefficients), aicc)) = said else {
            return self.automatic.unanswered();
        };
        let ours = match Select::new().select(&case.series) {
            Ok(selection) => selection.fitted,
            Err(error) => return self.automatic.refused(&name, format!("we say: {error}; R: {theirs}")),
        };
        let d = ours.order().d().abs_diff(theirs.d());
        self.same_differences.add(&name, d as f64, || format!("ours {}, theirs {theirs}", ours.order()));
        if d > 0 {
            return;
        }
        // R's model by our reckoning, as criteria of different likelihoods cannot be compared.
        let model = Model::new(theirs, coefficients).ok();
        let Some(beside) = model.and_then(|model| model.apply(&case.series).ok()) else {
            return self.automatic.unanswered();
        };
        let above = ours.aicc() - beside.aicc();
        self.automatic.add(&name, above.max(0.0), || {
            let (mine, other) = (ours.aicc(), beside.aicc());
            format!("ours {} with {mine:.4}, theirs {theirs} with {other:.4}", ours.order())
        });
        self.below.add(&name, (-above).max(0.0), String::new);
        self.criterion.add(&name, (beside.aicc() - aicc).abs(), String::new);
    }
}

impl Beside {
    /// What the peer says, and ours at its coefficients.
    fn there<'a>(
        &mut self,
        name: &str,
        case: &Case,
        order: Order,
        answer: &'a Answer,
    ) -> Option<(&'a Said, Fitted)> {
        let said = match answer {
            Answer::Said(said) if said.log_likelihood.is_some() => Some(said),
            Answer::Said(_) | Answer::Refused { .. } => None,
        };
        // A peer's estimate can lie on the edge, where rounding decides whether it is a model.
        let model = said.and_then(|said| Model::new(order, said.coefficients.clone()?).ok());
        let (Some(said), Some(model)) = (said, model) else {
            self.unanswered();
            return None;
        };
        match model.apply(&case.series) {
            Ok(there) => Some((said, there)),
            Err(error) => {
                let what = format!("we say at {}: {error}", written(model.coefficients()));
                self.likelihood.refused(name, what);
                None
            }
        }
    }

    /// What follows from the same coefficients.
    fn same_coefficients(&mut self, name: &str, said: &Said, there: &Fitted) {
        let at = || written(there.coefficients());
        if let Some(theirs) = said.log_likelihood {
            let ours = there.log_likelihood();
            let what = || format!("ours {ours}, theirs {theirs} at {}", at());
            self.likelihood.add(name, (ours - theirs).abs(), what);
        }
        if let Some(theirs) = said.sigma2 {
            let ours = there.sigma2();
            let what = || format!("ours {ours}, theirs {theirs} at {}", at());
            self.variance.add(name, (ours / theirs - 1.0).abs(), what);
        }
        self.forecast(name, there, said);
    }

    /// Forecasts from the same coefficients.
    fn forecast(&mut self, name: &str, there: &Fitted, said: &Said) {
        // Theirs is the variance of maximum likelihood, without the degrees of freedom of the coefficients.
        let forecast = there.forecast_with_variance(HORIZON, there.sigma2());
        let intervals = forecast.and_then(|forecast| Ok((forecast.interval(LEVEL)?, forecast)));
        let (intervals, forecast) = match intervals {
            Ok(both) => both,
            Err(error) => return self.limits.refused(name, format!("we say: {error}")),
        };
        let errors = forecast.standard_error();
        let largest = |theirs: &[f64], ours: &[f64]| {
            let steps = theirs.iter().zip(ours).zip(errors);
            steps.map(|((a, b), error)| (a - b).abs() / error).fold(0.0, f64::max)
        };
        self.mean.add(name, largest(&said.mean, forecast.mean()), || {
            format!("ours {:?}, theirs {:?}", forecast.mean(), said.mean)
        });
        let low: Vec<f64> = intervals.iter().map(|interval| interval.low).collect();
        let high: Vec<f64> = intervals.iter().map(|interval| interval.high).collect();
        let worse = largest(&said.low, &low).max(largest(&said.high, &high));
        self.limits.add(name, worse, || {
            format!("ours {low:?} to {high:?}, theirs {:?} to {:?}", said.low, said.high)
        });
    }

    /// Our maximum beside the likelihood at their coefficients, both by our reckoning.
    fn estimates(&mut self, name: &str, case: &Case, ours: &Result<Fitted, FitError>, there: &Fitted) {
        let ours = match ours {
            Ok(ours) => ours,
            Err(error) => {
                let what = format!("we say: {error}; they are at {}", written(there.coefficients()));
                return self.maximum.refused(name, what);
            }
        };
        let short = there.log_likelihood() - ours.log_likelihood();
        self.maximum.add(name, short.max(0.0), || {
            let (mine, theirs) = (written(ours.coefficients()), written(there.coefficients()));
            format!("{:.6} at {mine}, {:.6} at their {theirs}", ours.log_likelihood(), there.log_likelihood())
        });
        if short.abs() > SAME_MAXIMUM {
            return;
        }
        // Where the information matrix says nothing, equal likelihoods do not mean equal coefficients.
        let Ok(errors) = ours.standard_errors(&case.series) else { return self.estimate.unanswered() };
        let Some(errors) = errors.into_iter().collect::<Option<Vec<f64>>>() else {
            return self.estimate.unanswered();
        };
        let pairs = flat(ours.coefficients()).into_iter().zip(flat(there.coefficients()));
        let apart = pairs.zip(errors).map(|((a, b), error)| (a - b).abs() / error).fold(0.0, f64::max);
        self.estimate.add(name, apart, || {
            format!("ours {}, theirs {}", written(ours.coefficients()), written(there.coefficients()))
        });
    }

    fn unanswered(&mut self) {
        let Self { likelihood, variance, mean, limits, maximum, estimate } = self;
        for check in [likelihood, variance, mean, limits, maximum, estimate] {
            check.unanswered();
        }
    }
}

/// Whether the likelihood moves by more than its tolerance with the eleventh digit of the autoregressive part: so
/// near to a unit root no number of double precision is right.
fn rounding_decides(case: &Case, at: &Fitted) -> bool {
    let moved = |factor: f64| {
        let mut coefficients = at.coefficients().clone();
        coefficients.ar.iter_mut().for_each(|coefficient| *coefficient *= factor);
        Model::new(at.order(), coefficients).ok()?.apply(&case.series).ok()
    };
    [1.0 - EPSILON, 1.0 + EPSILON].into_iter().map(moved).any(|moved| {
        moved.is_none_or(|moved| (moved.log_likelihood() - at.log_likelihood()).abs() > SAME_LIKELIHOOD)
    })
}

/// The likelihood of our coefficients as statsmodels has it.
fn judged(judge: Option<&mut Peer>, case: &Case, at: &Fitted) -> Result<Option<f64>> {
    let Some(judge) = judge else { return Ok(None) };
    let answers = judge.judge(at.order(), std::slice::from_ref(at.coefficients()), &[&case.series])?;
    Ok(match only(answers)? {
        Answer::Said(said) => said.log_likelihood,
        Answer::Refused { .. } => None,
    })
}

/// All coefficients, in the order of their standard errors.
fn flat(coefficients: &Coefficients) -> Vec<f64> {
    [coefficients.ar.as_slice(), &coefficients.ma, coefficients.constant.as_slice()].concat()
}

fn written(coefficients: &Coefficients) -> String {
    let Coefficients { ar, ma, constant } = coefficients;
    format!("ar {ar:?}, ma {ma:?}, constant {constant:?}")
}
