//! A report for people.

use super::moves::{Largest, Moved};
use super::order::Ordered;
use super::refusals::Refused;
use super::{Blast, Evenness, Report, Seconds, Size, Spread};
use crate::cli::Failure;
use crate::cli::print::{self, Column};
use isotherm_placement::Gain;
use std::fmt::Write;

pub(super) fn print(report: &Report) -> Result<(), Failure> {
    let Report { data, event, hash, parent, out, .. } = report;
    print::out(&format!(
        "{event} on {data}: {}\nplan {hash} of revision {parent}, in {out}\n\n",
        size(&report.cluster)
    ))?;
    before_and_after(&report.pressure, &report.copysets)?;
    print::out(&format!("\n{}", facts(report)))?;
    if !report.refused.is_empty() {
        print::out("\n")?;
        refused(&report.refused)?;
    }
    if !report.largest.is_empty() {
        print::out("\n")?;
        largest(&report.largest)?;
    }
    if let Some(lines) = &report.explained {
        print::out(&format!("\n{}\n", lines.join("\n")))?;
    }
    Ok(())
}

pub(super) fn size(cluster: &Size) -> String {
    let mut text = format!("{}, {} up", count(cluster.nodes, "node"), cluster.up);
    for (nodes, state) in [(cluster.draining, "draining"), (cluster.down, "down")] {
        if nodes > 0 {
            let _ = write!(text, ", {nodes} {state}");
        }
    }
    for level in &cluster.domains {
        let _ = write!(text, ", {}", count(level.domains, &level.level));
    }
    let replicas = cluster
        .replicas
        .map_or_else(String::new, |replicas| format!(" of {}", count(usize::from(replicas), "replica")));
    let _ = write!(text, "; {}{replicas}", count(cluster.partitions, "partition"));
    text
}

pub(super) fn count(number: usize, of: &str) -> String {
    if number == 1 { format!("1 {of}") } else { format!("{number} {of}s") }
}

pub(super) fn before_and_after(pressure: &Evenness, copysets: &Spread) -> Result<(), Failure> {
    let columns =
        [Column::Text("WHAT"), Column::Number("BEFORE"), Column::Number("AFTER"), Column::Number("AT BEST")];
    let even = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    let row =
        |what: &str, before: String, after: String, best: String| vec![what.to_owned(), before, after, best];
    let of = |what: &str, shown: fn(&Blast) -> String| {
        row(what, shown(&copysets.before), shown(&copysets.after), String::new())
    };
    let rows = vec![
        row(
            "size, highest over mean",
            even(pressure.before.size),
            even(pressure.after.size),
            even(Some(pressure.feasible)),
        ),
        row("load, highest over mean", even(pressure.before.load), even(pressure.after.load), String::new()),
        of("copysets", |blast| blast.copysets.to_string()),
        of("scatter width, mean", |blast| format!("{:.1}", blast.scatter_width)),
        of("the same, effective", |blast| format!("{:.1}", blast.scatter_effective)),
        of("P(loss | 3 nodes)", |blast| format!("{:.2e}", blast.loss_given_three.value)),
        of("P(quorum lost | 2 nodes)", |blast| format!("{:.4}", blast.quorum_loss_given_two)),
        of("quorums of the worst node", |blast| blast.worst_node.without_quorum.to_string()),
    ];
    print::table(&columns, rows, "")
}

/// A line for each thing that has one value.
fn facts(report: &Report) -> String {
    let mut lines = vec![("moves", moves(&report.moves)), ("bytes", bytes(&report.moves))];
    if report.moves.copies > 0 {
        lines.push(("receivers", receivers(&report.moves)));
    }
    if report.moves.moves > 0 {
        lines.push(("schedule", schedule(&report.schedule)));
    }
    lines.push(("checker", checker(&report.violations)));
    lines.push(("refused", refused_in_short(&report.refused)));
    if report.restores > 0 {
        let text = format!("{} from a backup, where the placement says", count(report.restores, "replica"));
        lines.push(("restore", text));
    }
    lines.push(("time", time(&report.seconds, report.peak_rss_bytes)));
    self::lines(&lines)
}

/// Named texts, one below the other.
pub(super) fn lines(lines: &[(&str, String)]) -> String {
    lines.iter().map(|(name, text)| format!("{name:<11}{text}\n")).collect()
}

fn moves(moved: &Moved) -> String {
    if moved.moves == 0 {
        return "none".to_owned();
    }
    let reasons: Vec<String> = moved
        .by_reason
        .iter()
        .map(|of| format!("{} {}", of.moves, format!("{:?}", of.reason).to_lowercase()))
        .collect();
    let shifts = match moved.moves - moved.copies {
        0 => String::new(),
        shifts => format!(" ({shifts} without bytes)"),
    };
    format!("{}{shifts}: {}", moved.moves, reasons.join(", "))
}

fn bytes(moved: &Moved) -> String {
    let over = moved.over_least.map_or_else(String::new, |over| format!(", {over:.4} of the least possible"));
    format!("{}{over}", print::bytes(moved.bytes))
}

fn receivers(moved: &Moved) -> String {
    let share = moved
        .largest_receiver_share
        .map_or_else(String::new, |share| format!(", the largest takes {:.1} %", 100.0 * share));
    format!("{}{share}", count(moved.receivers, "node"))
}

fn schedule(order: &Ordered) -> String {
    let waves = count(order.waves as usize, "wave");
    let time = match (order.makespan_s, order.over_bound) {
        (Some(makespan_s), Some(over)) => {
            format!("{} in {waves}, {over:.3} of the least possible", duration(makespan_s))
        }
        (Some(makespan_s), None) => format!("{} in {waves}", duration(makespan_s)),
        (None, _) => format!("{waves}; how long is not known without nic_mbit of all nodes"),
    };
    let stuck = order.stuck_example.as_ref().map_or_else(String::new, |why| {
        format!("; {} cannot be done, the first: {why}", count(order.stuck, "move"))
    });
    format!("{time}{stuck}")
}

/// In the largest unit that leaves at least 1, with one decimal.
fn duration(seconds: f64) -> String {
    match seconds {
        ..120.0 => format!("{seconds:.1} s"),
        120.0..7_200.0 => format!("{:.1} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3_600.0),
    }
}

fn checker(violations: &[String]) -> String {
    match violations {
        [] => "clean".to_owned(),
        [first, ..] => format!("{} VIOLATIONS, a bug of the planner; the first: {first}", violations.len()),
    }
}

fn refused_in_short(refused: &[Refused]) -> String {
    let (all, undone) = refused.iter().fold((0, 0), |(all, undone), of| (all + of.count, undone + of.undone));
    match (all, undone) {
        (0, _) => "nothing".to_owned(),
        (all, 0) => format!("{all}, none of which had to be done"),
        (all, undone) => format!("{all}, of which {undone} had to be done"),
    }
}

pub(super) fn time(seconds: &Seconds, peak_rss_bytes: Option<u64>) -> String {
    let parts = [
        ("reading", seconds.reading),
        ("planning", seconds.planning),
        ("scheduling", seconds.scheduling),
        ("checking", seconds.checking),
        ("writing", seconds.writing),
    ];
    let parts: Vec<String> = parts.iter().map(|(name, seconds)| format!("{name} {seconds:.3}")).collect();
    let rss = peak_rss_bytes.map_or_else(String::new, |bytes| format!(", {}", print::bytes(bytes)));
    format!("{:.3} s: {}{rss}", seconds.total(), parts.join(", "))
}

fn refused(groups: &[Refused]) -> Result<(), Failure> {
    let columns = [
        Column::Text("REFUSED"),
        Column::Number("COUNT"),
        Column::Number("HAD TO BE DONE"),
        Column::Text("FOR EXAMPLE"),
    ];
    let row = |group: &Refused| {
        let example = &group.example;
        let of = match (&example.partition, &example.node) {
            (Some(partition), Some(node)) => format!("partition {partition} on node {node}: "),
            (Some(partition), None) => format!("partition {partition}: "),
            (None, Some(node)) => format!("node {node}: "),
            (None, None) => String::new(),
        };
        vec![
            group.cause.to_owned(),
            group.count.to_string(),
            group.undone.to_string(),
            format!("{of}{}", example.why),
        ]
    };
    print::table(&columns, groups.iter().map(row).collect(), "")
}

fn largest(moves: &[Largest]) -> Result<(), Failure> {
    let columns = [
        Column::Text("PARTITION"),
        Column::Text("MOVE"),
        Column::Number("BYTES"),
        Column::Text("REASON"),
        Column::Text("GAIN"),
        Column::Number("SCORE"),
        Column::Text("RUNNER-UP"),
        Column::Text("REJECTED"),
    ];
    let row = |of: &Largest| {
        let node = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".to_owned());
        vec![
            of.partition.clone(),
            format!("{} {} -> {}", of.action, node(&of.from), node(&of.to)),
            print::bytes(of.bytes),
            format!("{:?}", of.reason).to_lowercase(),
            gain(of.gain),
            format!("{:.4}", of.score),
            of.runner_up.as_ref().map_or_else(|| "-".to_owned(), |up| format!("{} {:.4}", up.node, up.score)),
            rejected(of),
        ]
    };
    print::table(&columns, moves.iter().map(row).collect(), "")
}

fn gain(gain: Gain) -> String {
    match gain {
        Gain::Replicas { before, after } => format!("replicas {before} -> {after}"),
        Gain::Pressure { before, after } => format!("pressure {before:.4} -> {after:.4}"),
        Gain::Loss { benefit, cost } => format!("loss {benefit:.3} for {cost:.3}"),
    }
}

fn rejected(of: &Largest) -> String {
    let by = &of.rejected;
    let counts = [
        (by.not_a_target, "no target"),
        (by.risk, "risk"),
        (by.holds, "holds it"),
        (by.domain, "domain"),
        (by.capacity, "capacity"),
        (by.returned, "returned"),
        (by.headroom, "headroom"),
        (by.copysets, "copysets"),
    ];
    let told: Vec<String> =
        counts.iter().filter(|(nodes, _)| *nodes > 0).map(|(nodes, by)| format!("{nodes} {by}")).collect();
    if told.is_empty() { "-".to_owned() } else { told.join(", ") }
}
