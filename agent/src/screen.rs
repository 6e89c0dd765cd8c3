//! How `top` looks on a terminal.

use anyhow::Context;
use comfy_table::{CellAlignment, Table, presets};
use crossterm::event::{self, Event, KeyCode, KeyModifiers};
use crossterm::{cursor, execute, terminal};
use isotherm_agent::top::{Query, Report, Top};
use std::io::{Write, stdout};
use std::time::{Duration, Instant};

/// Lines of the screen that the table does not get.
const AROUND_TABLE: usize = 4;

/// The report as a table of at most `rows` lines, and what does not fit into one.
pub(crate) fn table(report: &Report, rows: usize) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "SYSTEM",
        "NODE",
        "PARTITION / FILE",
        "READS/s",
        "READ",
        "WRITES/s",
        "WRITTEN",
        "OFFSET ENTROPY",
    ]);
    for line in report.lines.iter().take(rows) {
        let rate = |ops: u64| format!("{:.1}", ops as f64 / report.seconds.max(f64::EPSILON));
        let subject = match (&line.partition, &line.file) {
            (Some(partition), _) => format!("partition {partition}"),
            (None, Some(file)) => file.clone(),
            (None, None) => String::new(),
        };
        table.add_row([
            line.system.clone(),
            line.node.clone(),
            subject,
            rate(line.reads),
            bytes(line.read_bytes),
            rate(line.writes),
            bytes(line.written_bytes),
            line.offset_entropy_bits.map_or_else(|| "-".to_owned(), |bits| format!("{bits:.2} bits")),
        ]);
    }
    for column in [3, 4, 5, 6, 7] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let hidden = report.lines.len().saturating_sub(rows);
    format!(
        "{table}\n{} processes, {:.1} s; {} accesses without a known file, {} events lost{}",
        report.processes.len(),
        report.seconds,
        report.unattributed,
        report.lost,
        if hidden > 0 { format!("; {hidden} more lines") } else { String::new() },
    )
}

fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Gives the terminal back as it was, also when something fails.
struct Screen;

impl Screen {
    fn enter() -> std::io::Result<Self> {
        terminal::enable_raw_mode()?;
        let screen = Self;
        execute!(stdout(), terminal::EnterAlternateScreen, cursor::Hide)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is nobody left to tell if the terminal is gone.
        let _gone = execute!(stdout(), cursor::Show, terminal::LeaveAlternateScreen);
        let _gone = terminal::disable_raw_mode();
    }
}

/// Shows the table until q, Esc or Ctrl-C.
pub(crate) fn live(query: Query) -> anyhow::Result<()> {
    let mut top = Top::start(query)?;
    let _screen = Screen::enter().context("cannot use the terminal")?;
    let mut shown = Instant::now();
    let mut text = "counting ...".to_owned();
    loop {
        draw(&text)?;
        while shown.elapsed() < Duration::from_secs(1) {
            if event::poll(Duration::from_millis(200))?
                && let Event::Key(key) = event::read()?
            {
                let interrupt =
                    key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                if interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                    return Ok(());
                }
            }
            top.poll()?;
        }
        shown = Instant::now();
        let rows = terminal::size().map_or(24, |(_, rows)| usize::from(rows));
        text = table(&top.report()?, rows.saturating_sub(AROUND_TABLE));
    }
}

fn draw(text: &str) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    execute!(out, cursor::MoveTo(0, 0), terminal::Clear(terminal::ClearType::All))?;
    // Raw mode does not return the carriage.
    write!(out, "isotherm-agent top - q quits\r\n\r\n{}", text.replace('\n', "\r\n"))?;
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn bytes_are_shown_in_their_largest_unit() {
        for (count, text) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 << 30, "5.0 GiB"), (u64::MAX, "16384.0 PiB")]
        {
            assert_eq!(bytes(count), text);
        }
    }
}
