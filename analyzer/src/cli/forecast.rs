//! `isotherm forecast`: what comes after the numbers of a file. It asks no analyzer.

mod answer;
mod arguments;
mod csv;
mod plot;
mod report;

use super::Failure;
use super::print::Format;
use anyhow::Context;
use arguments::{Constant, Intervals, Level, OrderArg, Search};
use clap::Args;
use crossterm::terminal;
use csv::{Column, CsvError};
use plot::{Paint, Size};
use std::fs::File;
use std::io::{self, BufReader, IsTerminal};
use std::path::Path;

/// Forecast a column of a CSV file
///
/// The file has one row per step, oldest first, steps of equal length; a first row without any number is its
/// header. Empty fields, NA, NaN and null are missing values, which are handled exactly; anything else that is
/// not a number is an error.
///
/// An ARIMA model is fitted by exact maximum likelihood. Its order, unless given, is the one with the smallest
/// AICc among all up to ARIMA(5,d,5), after as many differences as the KPSS test asks for; that takes
/// milliseconds for hundreds of values. Gaussian intervals suppose that the model is right, and hold less than
/// they say where it is not: conformal ones are as wide as earlier errors on this series were.
///
/// A constant or a straight line has no noise: the line is the forecast, and has no width.
#[derive(Args)]
pub(super) struct ForecastArgs {
    /// CSV file, or - for the standard input
    file: String,
    /// Column, by its name in the header or its number, from 1 [default: the only one with numbers]
    #[arg(long, value_name = "NAME|N")]
    column: Option<String>,
    /// Steps to forecast, up to 10000
    #[arg(long, value_name = "STEPS", default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    horizon: u16,
    /// Order of the model: auto, or p,d,q with p and q up to 5 and d up to 2
    #[arg(long, value_name = "auto|P,D,Q", default_value = "auto")]
    order: OrderArg,
    /// How to look for the order; stepwise tries fewer and can miss the best
    #[arg(long, value_enum, default_value_t = Search::Exhaustive)]
    search: Search,
    /// Differences to take, 0 to 2, whatever the KPSS test says; for an automatic order
    #[arg(long, value_name = "D", value_parser = clap::value_parser!(u8).range(0..=2))]
    differences: Option<u8>,
    /// A mean (d = 0) or drift (d = 1); auto: for a given order a mean if d = 0, as R's Arima
    #[arg(long, value_enum, default_value_t = Constant::Auto)]
    constant: Constant,
    /// Level of the intervals: 95 is .95
    #[arg(long, value_name = "LEVEL", default_value = "95")]
    level: Level,
    /// What intervals are made from
    #[arg(long, value_enum, default_value_t = Intervals::Gaussian)]
    intervals: Intervals,
    /// All values lie between 0 and 1, as a normalised entropy does, and so does the forecast: model
    /// arcsin(sqrt(x))
    #[arg(long)]
    bounded: bool,
    /// Say how likely the series reaches X, from where it stands, at or before each step (10000 simulated paths
    /// with Gaussian noise)
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    threshold: Option<f64>,
    /// Seed of the simulated paths
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How to answer
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Do not draw
    #[arg(long)]
    no_plot: bool,
}

pub(super) fn run(args: &ForecastArgs) -> Result<(), Failure> {
    let question = args.question()?;
    let Column { name, values } = read(&args.file, args.column.as_deref())?;
    let answer = answer::answer(&question, &values)
        .with_context(|| format!("{}, column {name}", shown(&args.file)))?;
    let source = report::Source { file: &args.file, column: &name, values: &values };
    match args.output {
        Format::Json => report::json(&source, &question, &answer),
        Format::Table => {
            let drawing = (!args.no_plot).then(drawing);
            report::table(&source, &question, &answer, drawing)
        }
    }
}

fn shown(file: &str) -> &str {
    if file == "-" { "the standard input" } else { file }
}

fn read(file: &str, column: Option<&str>) -> Result<Column, Failure> {
    let column = if file == "-" {
        csv::read(io::stdin().lock(), column)
    } else {
        let opened = File::open(Path::new(file)).with_context(|| format!("cannot open {file}"))?;
        csv::read(BufReader::new(opened), column)
    };
    column.map_err(|error| {
        if let CsvError::NoSuchColumn { .. } = error {
            Failure::NotFound(format!("{}: {error}", shown(file)))
        } else {
            Failure::Failed(anyhow::Error::new(error).context(shown(file).to_owned()))
        }
    })
}

/// What there is to draw on: the terminal, or 80 columns without colour where the output is something else.
fn drawing() -> (Size, Paint) {
    const ELSEWHERE: Size = Size { width: 80, height: 16 };
    // Wider or higher, a picture says no more.
    const LARGEST: Size = Size { width: 160, height: 24 };
    if !io::stdout().is_terminal() {
        return (ELSEWHERE, Paint::Plain);
    }
    let size = terminal::size().map_or(ELSEWHERE, |(width, height)| Size {
        width: usize::from(width).min(LARGEST.width),
        height: (usize::from(height) / 2).min(LARGEST.height),
    });
    let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    (size, if colour { Paint::Coloured } else { Paint::Plain })
}
