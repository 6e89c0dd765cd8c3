//! An answer as text, or as JSON.

use super::answer::{Answer, Crossing, Described, Found, Step};
use super::arguments::{Intervals, Question};
use super::plot::{Paint, Plot, Size};
use crate::cli::Failure;
use crate::cli::print::{self, Column};
use isotherm_forecast::{Fitted, Interval, Order, Side, Tried};
use serde::Serialize;

/// Where the values are from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) file: &'a str,
    pub(super) column: &'a str,
    pub(super) values: &'a [f64],
}

impl Source<'_> {
    fn missing(&self) -> usize {
        self.values.iter().filter(|value| value.is_nan()).count()
    }
}

#[derive(Serialize)]
struct ForecastJson<'a> {
    file: &'a str,
    column: &'a str,
    observations: usize,
    missing: usize,
    bounded: bool,
    model: Option<ModelJson<'a>>,
    line: Option<LineJson>,
    tried: Option<&'a [Tried]>,
    level: f64,
    intervals: &'static str,
    conformal_errors: Option<usize>,
    threshold: Option<ThresholdJson>,
    forecast: Vec<StepJson>,
}

#[derive(Serialize)]
struct ModelJson<'a> {
    order: Order,
    name: String,
    ar: &'a [f64],
    ma: &'a [f64],
    constant: Option<f64>,
    standard_errors: &'a [Option<f64>],
    sigma2: f64,
    sigma2_unbiased: f64,
    log_likelihood: f64,
    aic: f64,
    aicc: Option<f64>,
    bic: f64,
}

#[derive(Serialize)]
struct LineJson {
    last: f64,
    slope: f64,
}

#[derive(Serialize)]
struct ThresholdJson {
    value: f64,
    side: Side,
    paths: Option<usize>,
    seed: u64,
}

#[derive(Serialize)]
struct StepJson {
    step: usize,
    mean: f64,
    standard_error: Option<f64>,
    low: f64,
    high: f64,
    reached: Option<f64>,
}

fn reached(answer: &Answer, at: usize) -> Option<f64> {
    answer.crossing.as_ref().map(|crossing| crossing.probability[at])
}

/// Everything, in full precision.
pub(super) fn json(source: &Source<'_>, question: &Question, answer: &Answer) -> Result<(), Failure> {
    let (model, line, tried) = match &answer.model {
        Found::Model(model) => (Some(model_json(model)), None, model.tried.as_deref()),
        Found::Line(line) => (None, Some(LineJson { last: line.last, slope: line.slope }), None),
    };
    let missing = source.missing();
    let step = |(at, step): (usize, &Step)| StepJson {
        step: at + 1,
        mean: step.mean,
        standard_error: step.standard_error,
        low: step.interval.low,
        high: step.interval.high,
        reached: reached(answer, at),
    };
    print::json(&ForecastJson {
        file: source.file,
        column: source.column,
        observations: source.values.len() - missing,
        missing,
        bounded: question.bounded,
        model,
        line,
        tried,
        level: question.level,
        intervals: word(question.intervals),
        conformal_errors: answer.errors,
        threshold: answer.crossing.as_ref().map(|crossing| ThresholdJson {
            value: crossing.threshold,
            side: crossing.side,
            paths: crossing.paths,
            seed: question.seed,
        }),
        forecast: answer.steps.iter().enumerate().map(step).collect(),
    })
}

fn model_json(Described { fitted, standard_errors, .. }: &Described) -> ModelJson<'_> {
    let coefficients = fitted.coefficients();
    ModelJson {
        order: fitted.order(),
        name: fitted.order().to_string(),
        ar: &coefficients.ar,
        ma: &coefficients.ma,
        constant: coefficients.constant,
        standard_errors,
        sigma2: fitted.sigma2(),
        sigma2_unbiased: fitted.sigma2_unbiased(),
        log_likelihood: fitted.log_likelihood(),
        aic: fitted.aic(),
        aicc: Some(fitted.aicc()).filter(|aicc| aicc.is_finite()),
        bic: fitted.bic(),
    }
}

fn word(intervals: Intervals) -> &'static str {
    match intervals {
        Intervals::Gaussian => "gaussian",
        Intervals::Conformal => "conformal",
    }
}

/// For people: the model, the steps, the picture.
pub(super) fn table(
    source: &Source<'_>,
    question: &Question,
    answer: &Answer,
    drawing: Option<(Size, Paint)>,
) -> Result<(), Failure> {
    print::out(&format!("{}\n", summary(source)))?;
    match &answer.model {
        Found::Model(described) => model(described, question)?,
        Found::Line(line) if line.slope == 0.0 => {
            print::out("No noise: all values are the same. The forecast has no width.\n")?;
        }
        Found::Line(_) => {
            let of = if question.bounded { ", as arcsin(sqrt(x))" } else { "" };
            print::out(&format!(
                "No noise: all values lie on a straight line{of}. The forecast has no width.\n"
            ))?;
        }
    }
    print::out(&format!("\n{}\n", meaning(question, answer)))?;
    steps(answer)?;
    let Some((size, paint)) = drawing else {
        return Ok(());
    };
    let mean: Vec<f64> = answer.steps.iter().map(|step| step.mean).collect();
    let intervals: Vec<Interval> = answer.steps.iter().map(|step| step.interval).collect();
    match (Plot { series: source.values, mean: &mean, intervals: &intervals }).draw(size, paint) {
        Some(picture) => print::out(&format!("\n{picture}")),
        None => Ok(()),
    }
}

fn summary(source: &Source<'_>) -> String {
    let missing = match source.missing() {
        0 => "none missing".to_owned(),
        missing => format!("{missing} missing"),
    };
    let file = super::shown(source.file);
    let count = source.values.len();
    format!("{file}, column {}: {count} steps, {missing}", source.column)
}

fn model(described: &Described, question: &Question) -> Result<(), Failure> {
    let Described { fitted, standard_errors, tried } = described;
    let of = if question.bounded { " of arcsin(sqrt(x))" } else { "" };
    let from = match tried {
        Some(tried) => format!("the smallest AICc of {} orders", tried.len()),
        None => "as asked".to_owned(),
    };
    print::out(&format!("{}{of}, {from}\n\n", fitted.order()))?;
    let columns = [Column::Text("COEFFICIENT"), Column::Number("ESTIMATE"), Column::Number("STANDARD ERROR")];
    let row = |((name, value), error): ((String, f64), &Option<f64>)| {
        vec![name, significant(value), error.map_or_else(|| "-".to_owned(), significant)]
    };
    let rows: Vec<Vec<String>> = coefficients(fitted).into_iter().zip(standard_errors).map(row).collect();
    if !rows.is_empty() {
        print::table(&columns, rows, "")?;
        print::out("\n")?;
    }
    let aicc = fitted.aicc();
    let aicc = if aicc.is_finite() { format!("{aicc:.3}") } else { "none: too few values".to_owned() };
    print::out(&format!(
        "sigma2 {} (maximum likelihood {}), log-likelihood {:.3}\nAIC {:.3}, AICc {aicc}, BIC {:.3}\n",
        significant(fitted.sigma2_unbiased()),
        significant(fitted.sigma2()),
        fitted.log_likelihood(),
        fitted.aic(),
        fitted.bic(),
    ))
}

/// In R's words.
fn coefficients(fitted: &Fitted) -> Vec<(String, f64)> {
    let of = fitted.coefficients();
    let numbered =
        |name: &'static str| move |(at, value): (usize, &f64)| (format!("{name}{}", at + 1), *value);
    let constant = if fitted.order().d() == 0 { "mean" } else { "drift" };
    let ar = of.ar.iter().enumerate().map(numbered("ar"));
    let ma = of.ma.iter().enumerate().map(numbered("ma"));
    ar.chain(ma).chain(of.constant.map(|value| (constant.to_owned(), value))).collect()
}

/// What the columns of the steps are.
fn meaning(question: &Question, answer: &Answer) -> String {
    let intervals = match (answer.errors, &answer.model) {
        (_, Found::Line(_)) => "Low and high are the line.".to_owned(),
        (Some(errors), Found::Model(_)) => format!(
            "Low and high: {} % conformal intervals, from {errors} errors at each step.",
            significant(100.0 * question.level)
        ),
        (None, Found::Model(_)) => {
            format!("Low and high: {} % Gaussian intervals.", significant(100.0 * question.level))
        }
    };
    let Some(Crossing { threshold, side, paths, .. }) = &answer.crossing else {
        return intervals;
    };
    let direction = match side {
        Side::Above => "rises to",
        Side::Below => "falls to",
    };
    let from = paths.map_or_else(String::new, |paths| format!(", of {paths} simulated paths"));
    format!(
        "{intervals}\nReached: the probability that it {direction} {threshold} at or before the step{from}."
    )
}

fn steps(answer: &Answer) -> Result<(), Failure> {
    let mut columns = vec![Column::Number("STEP"), Column::Number("MEAN")];
    columns.extend([Column::Number("LOW"), Column::Number("HIGH")]);
    if answer.crossing.is_some() {
        columns.push(Column::Number("REACHED"));
    }
    let decimals = Decimals::of(answer);
    let row = |(at, step): (usize, &Step)| {
        let Step { mean, interval, .. } = *step;
        let mut row = vec![(at + 1).to_string()];
        row.extend([mean, interval.low, interval.high].map(|value| decimals.shown(value)));
        row.extend(reached(answer, at).map(|probability| format!("{probability:.4}")));
        row
    };
    print::table(&columns, answer.steps.iter().enumerate().map(row).collect(), "")
}

/// Digits after the point that all steps have: enough to show four of the narrowest interval.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Decimals {
    Fixed(usize),
    Scientific,
}

impl Decimals {
    fn of(answer: &Answer) -> Self {
        let width = |step: &Step| step.interval.high - step.interval.low;
        let widths = answer.steps.iter().map(width).filter(|width| *width > 0.0);
        let largest = answer
            .steps
            .iter()
            .fold(0.0, |most: f64, step| most.max(step.interval.low.abs()).max(step.interval.high.abs()));
        Self::fit(widths.fold(f64::INFINITY, f64::min), largest)
    }

    /// An infinite width stands for none.
    fn fit(width: f64, largest: f64) -> Self {
        let scale = if width.is_finite() { width } else { largest * 1e-2 };
        let decimals = if scale > 0.0 { 3.0 - scale.log10().floor() } else { 0.0 };
        if largest >= 1e12 || decimals > 12.0 {
            Self::Scientific
        } else {
            Self::Fixed(decimals.max(0.0) as usize)
        }
    }

    fn shown(self, value: f64) -> String {
        match self {
            Self::Fixed(decimals) => format!("{value:.decimals$}"),
            Self::Scientific => format!("{value:.6e}"),
        }
    }
}

/// Five significant digits, without zeros at the end.
fn significant(value: f64) -> String {
    let exponent = if value == 0.0 { 0 } else { value.abs().log10().floor() as i32 };
    if !(-5..=11).contains(&exponent) {
        return format!("{value:.4e}");
    }
    let decimals = usize::try_from(4 - exponent).unwrap_or(0);
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_digits_say_enough() {
        let shown = [0.0, 95.0, 99.9, 0.254_371_37, -0.000_012_345_678, 20_176.6, 1.5e12, 123_456.7, -1e-9]
            .map(significant);
        assert_eq!(
            shown,
            ["0", "95", "99.9", "0.25437", "-0.000012346", "20177", "1.5000e12", "123457", "-1.0000e-9"]
        );
    }

    #[test]
    fn steps_show_four_digits_of_the_narrowest_interval() {
        assert_eq!(Decimals::fit(560.0, 1_000.0), Decimals::Fixed(1));
        assert_eq!(Decimals::fit(0.023, 1.0), Decimals::Fixed(5));
        assert_eq!(Decimals::fit(1e7, 1e9), Decimals::Fixed(0));
        assert_eq!(Decimals::fit(1e-14, 1.0), Decimals::Scientific);
        assert_eq!(Decimals::fit(1.0, 1e15), Decimals::Scientific);
        assert_eq!(Decimals::fit(f64::INFINITY, 5.0), Decimals::Fixed(5));
        assert_eq!(Decimals::fit(f64::INFINITY, 0.0), Decimals::Fixed(0));
    }
}
