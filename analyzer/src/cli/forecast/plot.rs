//! The end of a series, its forecast and the interval, drawn with characters.
//!
//! Lines are of Braille dots, two by four to a character; the interval is a shade behind them. None of the
//! crates that draw in a terminal without taking it over draws a band, and none without colour.

use crossterm::style::Stylize;
use isotherm_forecast::Interval;

/// What is drawn.
pub(super) struct Plot<'a> {
    /// All values of the series; `NaN` where one is missing. The last ones are drawn.
    pub(super) series: &'a [f64],
    pub(super) mean: &'a [f64],
    pub(super) intervals: &'a [Interval],
}

/// Of the whole picture, in characters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) width: usize,
    pub(super) height: usize,
}

/// Whether colours tell the forecast from the series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    Plain,
    Coloured,
}

/// Narrower pictures, and lower ones, say nothing.
const SMALLEST: Size = Size { width: 30, height: 5 };

/// The series has at least so many values of it, where it has them.
const FEWEST_VALUES: usize = 40;

/// Values of the series for each step of the forecast.
const VALUES_PER_STEP: usize = 3;

/// What a character of the picture shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Cell {
    #[default]
    Empty,
    Interval,
    Series(u8),
    Forecast(u8),
}

impl Plot<'_> {
    /// The picture, in lines; nothing if there is no place for it or nothing to draw.
    pub(super) fn draw(&self, size: Size, paint: Paint) -> Option<String> {
        let tail = (VALUES_PER_STEP * self.mean.len()).max(FEWEST_VALUES).min(self.series.len());
        let first = self.series.len() - tail;
        let series = &self.series[first..];
        let range = Range::of(series, self.mean, self.intervals)?;
        if size.width < SMALLEST.width || size.height < SMALLEST.height {
            return None;
        }
        // Two lines are for the axis.
        let rows = size.height - 2;
        let labels: Vec<String> = (0..rows).map(|row| range.label(row, rows)).collect();
        let margin = labels.iter().map(String::len).max()? + 1;
        let columns = size.width.checked_sub(margin + 1).filter(|columns| *columns >= SMALLEST.width / 2)?;
        let mut canvas = Canvas::new(columns, rows, tail + self.mean.len(), range);
        for (step, interval) in self.intervals.iter().enumerate() {
            canvas.shade(tail + step, *interval);
        }
        canvas.line(0, series, Cell::Series);
        match series.last() {
            Some(last) if !last.is_nan() => {
                let joined: Vec<f64> = std::iter::once(last).chain(self.mean).copied().collect();
                canvas.line(tail - 1, &joined, Cell::Forecast);
            }
            Some(_) | None => canvas.line(tail, self.mean, Cell::Forecast),
        }
        let mut text = String::new();
        for (label, row) in labels.iter().zip(&canvas.cells) {
            let axis = if label.is_empty() { '│' } else { '┤' };
            text += &format!("{label:>width$} {axis}{}\n", drawn(row, paint), width = margin - 1);
        }
        text += &canvas.axis(margin, tail, first, self.series.len());
        Some(text)
    }
}

/// Ends of the vertical axis.
#[derive(Debug, Clone, Copy)]
struct Range {
    low: f64,
    high: f64,
}

impl Range {
    fn of(series: &[f64], mean: &[f64], intervals: &[Interval]) -> Option<Self> {
        let ends = intervals.iter().flat_map(|interval| [interval.low, interval.high]);
        let all = series.iter().chain(mean).copied().chain(ends).filter(|value| value.is_finite());
        let (low, high) = all
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            return None;
        }
        // A constant is drawn in the middle. Beyond double precision there is no picture.
        let room = if low == high { low.abs().max(1.0) * 0.5 } else { 0.0 };
        let range = Self { low: low - room, high: high + room };
        (range.high - range.low).is_finite().then_some(range)
    }

    /// From 0 at the top to 1 at the bottom.
    fn depth(&self, value: f64) -> f64 {
        (self.high - value) / (self.high - self.low)
    }

    /// What is written beside the top, the middle and the bottom.
    fn label(&self, row: usize, rows: usize) -> String {
        if row != 0 && row != rows / 2 && row != rows - 1 {
            return String::new();
        }
        let value = self.high - (self.high - self.low) * row as f64 / (rows - 1) as f64;
        let size = self.low.abs().max(self.high.abs());
        let decimals = 2 - (self.high - self.low).log10().floor() as i64;
        match usize::try_from(decimals.max(0)) {
            Ok(decimals) if decimals <= 9 && size < 1e9 => format!("{value:.decimals$}"),
            Ok(_) | Err(_) => format!("{value:.3e}"),
        }
    }
}

struct Canvas {
    /// Top row first.
    cells: Vec<Vec<Cell>>,
    columns: usize,
    /// Values from left to right.
    values: usize,
    range: Range,
}

impl Canvas {
    fn new(columns: usize, rows: usize, values: usize, range: Range) -> Self {
        Self { cells: vec![vec![Cell::Empty; columns]; rows], columns, values, range }
    }

    /// The column of dots of a value.
    fn x(&self, at: usize) -> usize {
        let last = (2 * self.columns - 1) as f64;
        (at as f64 / self.values.saturating_sub(1).max(1) as f64 * last).round() as usize
    }

    /// The row of dots of a value.
    fn y(&self, value: f64) -> usize {
        let last = 4 * self.cells.len() - 1;
        ((self.range.depth(value) * last as f64).round().max(0.0) as usize).min(last)
    }

    /// From half a step before a value to half a step after it, there is no gap in the interval.
    fn shade(&mut self, at: usize, interval: Interval) {
        let (top, bottom) = (self.y(interval.high) / 4, self.y(interval.low) / 4);
        let from = (self.x(at - usize::from(at > 0)) + self.x(at)).div_ceil(2) / 2;
        let to = (self.x(at) + self.x((at + 1).min(self.values - 1))) / 4;
        for row in &mut self.cells[top..=bottom] {
            for cell in &mut row[from..=to.max(from)] {
                *cell = Cell::Interval;
            }
        }
    }

    /// Values from one on, joined where none is missing.
    fn line(&mut self, first: usize, values: &[f64], kind: fn(u8) -> Cell) {
        let place = |canvas: &Self, at: usize| (canvas.x(first + at), canvas.y(values[at]));
        for at in (0..values.len()).filter(|at| !values[*at].is_nan()) {
            let (x, y) = place(self, at);
            self.dot(x, y, kind);
            if at > 0 && !values[at - 1].is_nan() {
                let (left, before) = place(self, at - 1);
                let steps = (x - left).max(y.abs_diff(before)).max(1);
                for step in 1..steps {
                    let share = step as f64 / steps as f64;
                    let between = |from: usize, to: usize| {
                        (from as f64 + share * (to as f64 - from as f64)).round() as usize
                    };
                    self.dot(between(left, x), between(before, y), kind);
                }
            }
        }
    }

    fn dot(&mut self, x: usize, y: usize, kind: fn(u8) -> Cell) {
        // Unicode's order of the dots: down the left side, down the right side, then the lowest two.
        const DOTS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        let cell = &mut self.cells[y / 4][x / 2];
        let dots = match *cell {
            Cell::Series(dots) | Cell::Forecast(dots) => dots,
            Cell::Empty | Cell::Interval => 0,
        };
        *cell = kind(dots | DOTS[y % 4][x % 2]);
    }

    /// A line with a mark at the last value of the series, and which values there are.
    fn axis(&self, margin: usize, tail: usize, first: usize, last: usize) -> String {
        let mark = self.x(tail.saturating_sub(1)) / 2;
        let line: String = (0..self.columns).map(|at| if at == mark { '┴' } else { '─' }).collect();
        let (left, middle) = ((first + 1).to_string(), last.to_string());
        let right = format!("+{}", self.values - tail);
        let mut labels = left.clone();
        let room = mark.checked_sub(labels.len() + 1 + middle.len() / 2);
        if let Some(room) = room.filter(|_| last > first + 1) {
            labels += &format!("{}{middle}", " ".repeat(room + 1));
        }
        let room = self.columns.saturating_sub(labels.len() + right.len()).max(1);
        let indent = " ".repeat(margin);
        format!("{indent}└{line}\n{indent} {labels}{}{right}\n", " ".repeat(room))
    }
}

/// A row, without blanks at its end. Neighbours of the same colour are painted at once.
fn drawn(row: &[Cell], paint: Paint) -> String {
    let end = row.iter().rposition(|cell| *cell != Cell::Empty).map_or(0, |at| at + 1);
    let mut text = String::new();
    for run in row[..end].chunk_by(|a, b| std::mem::discriminant(a) == std::mem::discriminant(b)) {
        let characters: String = run.iter().map(|cell| character(*cell)).collect();
        text += &match (paint, run[0]) {
            (Paint::Plain, _) | (_, Cell::Empty | Cell::Series(_)) => characters,
            (Paint::Coloured, Cell::Forecast(_)) => characters.cyan().to_string(),
            (Paint::Coloured, Cell::Interval) => characters.dark_grey().to_string(),
        };
    }
    text
}

fn character(cell: Cell) -> char {
    match cell {
        Cell::Empty => ' ',
        Cell::Interval => '░',
        Cell::Series(dots) | Cell::Forecast(dots) => {
            char::from_u32(0x2800 + u32::from(dots)).expect("Braille patterns are U+2800 to U+28FF")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { width: 40, height: 8 };

    fn around(mean: &[f64], width: f64) -> Vec<Interval> {
        mean.iter().map(|mean| Interval { low: mean - width, high: mean + width }).collect()
    }

    fn draw(series: &[f64], mean: &[f64], width: f64) -> Option<String> {
        let intervals = around(mean, width);
        Plot { series, mean, intervals: &intervals }.draw(SIZE, Paint::Plain)
    }

    #[test]
    fn a_rising_line_goes_from_below_to_above() {
        let series: Vec<f64> = (0..=9).map(f64::from).collect();
        let picture = draw(&series, &[10.0, 11.0], 0.0).expect("a picture");
        let lines: Vec<&str> = picture.lines().collect();
        assert_eq!(lines.len(), SIZE.height);
        assert!(lines.iter().all(|line| line.chars().count() <= SIZE.width), "{picture}");
        assert!(lines[0].starts_with("11.0 ┤") && lines[5].starts_with(" 0.0 ┤"), "{picture}");
        let place = |line: &str| line.chars().skip(6).position(|character| character != ' ');
        assert_eq!(place(lines[5]), Some(0), "{picture}");
        let places: Vec<_> = lines[..6].iter().map(|line| place(line).expect("a part of the line")).collect();
        assert!(places.is_sorted_by(|upper, lower| upper > lower), "{picture}");
        // The last value is the tenth of twelve.
        assert_eq!(lines[7].split_whitespace().collect::<Vec<_>>(), ["1", "10", "+2"], "{picture}");
    }

    #[test]
    fn the_interval_is_shaded_over_the_forecast_only() {
        let series = [0.0; 30];
        let picture = draw(&series, &[0.0; 10], 1.0).expect("a picture");
        let rows: Vec<Vec<char>> = picture.lines().take(6).map(|line| line.chars().collect()).collect();
        let shaded = |row: &[char]| row.iter().position(|character| *character == '░');
        // 34 columns for 40 values: the 31st is in column 25.
        let at = shaded(&rows[0]).expect("a shade") - 7;
        assert!((24..=26).contains(&at), "{at}\n{picture}");
        assert_eq!(rows[0].iter().filter(|character| **character == '░').count(), SIZE.width - 7 - at);
        assert!(rows.iter().all(|row| row.len() == SIZE.width), "{picture}");
    }

    #[test]
    fn a_missing_value_breaks_the_line() {
        let mut series = [1.0; 40];
        series[10..20].fill(f64::NAN);
        let picture = draw(&series, &[1.0], 0.0).expect("a picture");
        let braille = |character| ('\u{2801}'..='\u{28ff}').contains(&character);
        let row = picture.lines().find(|line| line.contains(braille)).expect("a line of dots");
        let row = row.trim_end().split_once('│').map_or(row, |(_, row)| row);
        assert!(row.contains("     "), "{picture}");
    }

    #[test]
    fn there_is_no_picture_without_place_or_range() {
        let plot = Plot { series: &[1.0, 2.0], mean: &[1.0], intervals: &[] };
        assert!(plot.draw(Size { width: 29, height: 20 }, Paint::Plain).is_none());
        assert!(plot.draw(Size { width: 80, height: 4 }, Paint::Plain).is_none());
        assert!(draw(&[f64::NAN], &[], 0.0).is_none());
        assert!(draw(&[-f64::MAX, f64::MAX], &[0.0], 1.0).is_none());
    }

    #[test]
    fn any_finite_series_has_a_picture_in_its_size() {
        for scale in [1e-300, 1e-9, 1.0, 1e12, 1e300] {
            for (values, steps) in [(1, 1), (1, 10_000), (2, 3), (5_000, 12), (50, 400)] {
                let series: Vec<f64> = (0..values).map(|t| scale * f64::from(t % 7 - 3)).collect();
                let mean = vec![scale; steps];
                let picture = draw(&series, &mean, 2.0 * scale).expect("a picture");
                assert_eq!(picture.lines().count(), SIZE.height);
                let widest = picture.lines().map(|line| line.chars().count()).max();
                assert!(widest <= Some(SIZE.width), "{scale} {values} {steps}\n{picture}");
            }
        }
    }

    #[test]
    fn only_a_coloured_picture_has_escapes() {
        let plot = Plot { series: &[1.0, 2.0], mean: &[1.0], intervals: &around(&[1.0], 1.0) };
        let [plain, coloured] =
            [Paint::Plain, Paint::Coloured].map(|paint| plot.draw(SIZE, paint).expect("a picture"));
        assert!(!plain.contains('\u{1b}'));
        if std::env::var_os("NO_COLOR").is_none() {
            assert!(coloured.contains('\u{1b}'));
        }
    }
}
