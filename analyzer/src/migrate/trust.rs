//! How far isotherm is trusted on a system: what a rollback, a gap in what is known, or somebody else at work keeps it from.

use super::Migrations;
use isotherm_model::SystemId;
use isotherm_runner::journal::trust::{Cause, Distrust};
use std::time::Duration;

/// What an operator may set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// How long after its end a migration is scored, and over how long latencies are compared. Default 1 h: series have
    /// judged what is new by then.
    pub(crate) score_after: Duration,
    /// For how long after somebody else moved something isotherm begins nothing by itself. Default 30 min: balancers of
    /// stores go on in rounds of minutes.
    pub(crate) other_movers_quiet: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { score_after: Duration::from_secs(3_600), other_movers_quiet: Duration::from_secs(1_800) }
    }
}

/// Somebody else who is at work on a system at this moment, if one is.
pub(super) fn other_mover<'a>(
    known: &'a [Distrust],
    system: &SystemId,
    now_ms: u64,
    quiet: Duration,
) -> Option<&'a Distrust> {
    let of_it = |one: &&Distrust| one.system == system.as_str() && one.cause == Cause::OtherMover;
    known.iter().find(of_it).filter(|one| until_ms(one, quiet).is_some_and(|until_ms| until_ms > now_ms))
}

/// Why isotherm begins nothing by itself on a system at this moment, if so.
pub(super) fn stands_back(
    known: &[Distrust],
    system: &SystemId,
    now_ms: u64,
    settings: &Settings,
) -> Option<String> {
    let mover = other_mover(known, system, now_ms, settings.other_movers_quiet)?;
    Some(format!("somebody else moves partitions of {system}: {}", mover.why))
}

/// Whether what isotherm would do by itself on a system waits for approval.
pub(super) fn demoted(known: &[Distrust], system: &SystemId) -> bool {
    known.iter().any(|one| one.system == system.as_str() && one.cause == Cause::Demoted)
}

/// When a distrust passes by itself, milliseconds since 1970; `None` if it does not.
pub(crate) fn until_ms(distrust: &Distrust, quiet: Duration) -> Option<u64> {
    let quiet_ms = u64::try_from(quiet.as_millis()).unwrap_or(u64::MAX);
    match distrust.cause {
        Cause::Demoted => None,
        Cause::OtherMover => Some(distrust.at_ms.saturating_add(quiet_ms)),
    }
}

impl Migrations {
    /// Why isotherm begins nothing by itself on a system at this moment, if so.
    pub(super) fn stands_back(&self, known: &[Distrust], system: &SystemId, now_ms: u64) -> Option<String> {
        stands_back(known, system, now_ms, &self.config.trust)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_mover_passes_and_a_demotion_stays() {
        let distrust = |cause| Distrust { system: "s".into(), cause, at_ms: 1_000, why: String::new() };
        let known = [distrust(Cause::Demoted), distrust(Cause::OtherMover)];
        let [system, other] = ["s", "t"].map(|name| SystemId::new(name).unwrap());
        let quiet = Duration::from_secs(1);
        let at = |now_ms| other_mover(&known, &system, now_ms, quiet).is_some();
        assert_eq!((at(1_000), at(1_999), at(2_000)), (true, true, false));
        assert!(other_mover(&known, &other, 1_000, quiet).is_none());
        assert!(other_mover(&known[..1], &system, 1_000, quiet).is_none());
        assert!(demoted(&known, &system) && !demoted(&known, &other) && !demoted(&known[1..], &system));
        assert_eq!(known.each_ref().map(|one| until_ms(one, quiet)), [None, Some(2_000)]);
    }
}
