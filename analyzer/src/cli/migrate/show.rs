//! Migrations for people.

use super::super::Failure;
use super::super::print::{self, Column};
use super::super::time::{rfc3339, span};
use isotherm_proto::control::v1::{DiaryLine, FreezeState, Migration, MigrationAction};
use std::fmt::Write;
use std::time::Duration;

/// Letters of an id that tell it from others, nearly always.
const SHORT: usize = 8;

/// The beginning of an id, which is enough to name it. Those of a plan begin alike.
pub(super) fn short(id: &str) -> &str {
    if id.contains('-') { id } else { id.get(..SHORT).unwrap_or(id) }
}

pub(super) fn all(
    migrations: &[Migration],
    freeze: Option<&FreezeState>,
    ended: bool,
) -> Result<(), Failure> {
    let header =
        ["ID", "PARTITION", "FROM", "TO", "PHASE", "PROGRESS", "ETA", "SINCE", "WHY"].map(Column::Text);
    let row = |migration: &Migration| {
        vec![
            short(&migration.id).to_owned(),
            migration.partition.clone(),
            migration.source.clone(),
            migration.target.clone(),
            phase(migration),
            progress(migration),
            eta(migration),
            rfc3339(migration.created_ms),
            why(migration),
        ]
    };
    let none = if ended { "there was no migration yet" } else { "nothing is under way" };
    print::table(&header, migrations.iter().map(row).collect(), none)?;
    let Some((since_ms, freeze)) = freeze.and_then(|freeze| Some((freeze.since_ms?, freeze))) else {
        return Ok(());
    };
    print::out(&format!(
        "\nfrozen by {} since {}: {}; nothing new begins until `isotherm unfreeze`\n",
        freeze.who,
        rfc3339(since_ms),
        if freeze.reason.is_empty() { "no reason was given" } else { &freeze.reason }
    ))
}

/// The phase, with what is special about it.
pub(super) fn phase(migration: &Migration) -> String {
    let mut text = migration.phase.clone();
    if !migration.stopped_in.is_empty() {
        let _ = write!(text, " in {}", migration.stopped_in);
    }
    if migration.paused {
        text.push_str(" (paused)");
    }
    text
}

pub(super) fn progress(migration: &Migration) -> String {
    let mut text = match (migration.done, migration.total) {
        (Some(done), Some(total)) if total > 0 => {
            format!("{:.0}%", (done as f64 / total as f64 * 100.0).min(100.0))
        }
        (Some(done), _) => done.to_string(),
        (None, _) => String::new(),
    };
    if let Some(lag) = migration.lag_bytes {
        let _ = write!(text, " lag {}", print::bytes(lag));
    }
    if !migration.throttled_by.is_empty() {
        let _ = write!(text, " throttled by {}", migration.throttled_by);
    }
    text.trim_start().to_owned()
}

pub(super) fn eta(migration: &Migration) -> String {
    let told = |ms: u64| span(Duration::from_secs(ms.div_ceil(1_000)));
    match (migration.eta_least_ms, migration.eta_most_ms) {
        (Some(least), Some(most)) if told(least) == told(most) => told(least),
        (Some(least), Some(most)) => format!("{} to {}", told(least), told(most)),
        (_, _) => String::new(),
    }
}

/// What it waits for, why it stopped, or what the adapter said last, whichever matters most.
pub(super) fn why(migration: &Migration) -> String {
    let words = &migration.words;
    match (migration.waits.as_str(), migration.cause.as_str()) {
        ("", "") if words.is_empty() => String::new(),
        // What cannot be left as it is.
        ("", "") => format!("tries again: {words}"),
        (waits, "") => format!("waits: {waits}"),
        (_, cause) if words.is_empty() => cause.to_owned(),
        (_, cause) => format!("{cause} ({words})"),
    }
}

/// `more` are whole lines that are told before the diary.
pub(super) fn one(migration: &Migration, more: &str, diary: &[DiaryLine]) -> Result<(), Failure> {
    let verb = if migration.repair { "repair" } else { "move" };
    let mut text = format!(
        "{} {} from {} to {}\nid:        {}\nphase:     {}\n",
        verb,
        migration.partition,
        migration.source,
        migration.target,
        migration.id,
        phase(migration)
    );
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "{name:<10} {value}");
        }
    };
    line("why:", &why(migration));
    line("progress:", &progress(migration));
    line("eta:", &eta(migration));
    line(
        "wanted by:",
        &format!("{} ({}), {}", migration.who, migration.trigger, rfc3339(migration.created_ms)),
    );
    line("reason:", &migration.reason);
    line("ended:", &migration.ended_ms.map(rfc3339).unwrap_or_default());
    line("epoch:", &migration.serving_epoch.map(|epoch| epoch.to_string()).unwrap_or_default());
    let left = match (migration.has_objects, migration.writes_stopped) {
        (false, false) => "nothing",
        (true, false) => "a copy and what feeds it",
        (false, true) => "writes are stopped",
        (true, true) => "a copy and what feeds it; writes are stopped",
    };
    line("in store:", left);
    for permission in migration.permissions.iter().filter(|permission| permission.denied.is_empty()) {
        let command = command(permission.action());
        line("you may:", &format!("isotherm migrate {command} {}", short(&migration.id)));
    }
    print::out(&(text + more + "\n"))?;
    let row = |line: &DiaryLine| {
        let why = if line.why.is_empty() { String::new() } else { format!("{}: {}", line.who, line.why) };
        vec![rfc3339(line.at_ms), line.kind.clone(), line.what.clone(), why]
    };
    let header = ["TIME", "KIND", "WHAT", "WHY"].map(Column::Text);
    print::table(&header, diary.iter().map(row).collect(), "the diary has no line of it")
}

/// The command of an action.
pub(super) fn command(action: MigrationAction) -> &'static str {
    match action {
        MigrationAction::Unspecified => "status",
        MigrationAction::Approve => "approve",
        MigrationAction::Pause => "pause",
        MigrationAction::Resume => "resume",
        MigrationAction::Cancel => "cancel",
        MigrationAction::Switch => "switch",
        MigrationAction::Complete => "complete",
        MigrationAction::Reverse => "reverse",
        MigrationAction::AcceptDataLoss => "accept-loss",
        MigrationAction::Retry => "retry",
        MigrationAction::Verify => "verify",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_foretold_in_whole_seconds_that_are_not_too_few() {
        let told =
            |eta_least_ms, eta_most_ms| eta(&Migration { eta_least_ms, eta_most_ms, ..Migration::default() });
        assert_eq!(told(Some(1_000), Some(61_000)), "1s to 1m 1s");
        assert_eq!(told(Some(1_001), Some(2_000)), "2s", "both are two seconds");
        assert_eq!(told(Some(0), Some(1)), "0s to 1s");
        assert_eq!((told(None, Some(1)), told(Some(1), None)), (String::new(), String::new()), "unknown");
    }
}
