//! What must be so at an end, and where a migration stopped.

use super::super::row::{Fault, Kind, Phase};
use super::super::store::{Late, Way};
use super::{Lane, Try};
use anyhow::{Context, Result, ensure};
use isotherm_tests::history::{Operation, Registers, Violation, violations};
use isotherm_tests::process::wait_for;
use serde_json::Value;
use std::ops::Range;
use std::thread;
use std::time::Duration;

/// What a master or a cluster learns of its servers only at their next heartbeat may be late by this.
const LATE: Duration = Duration::from_secs(15);

/// For so long a key is asked for when all clients have stopped.
const LAST: Duration = Duration::from_secs(20);

/// So many wrong things are named.
const NAMED: usize = 10;

impl Lane {
    /// The end is one that the fault may have; what is told of it is so; the store is as it says, and nothing is left.
    pub(super) fn ended(&self, tried: &Try, phase: &str) -> Result<()> {
        let (allowed, told) = (allowed(tried), self.programs.status(&tried.id)?);
        let anew = self.is_to_begin_anew(phase, &told);
        let right = allowed.contains(&phase) || anew;
        ensure!(right, "it ended {phase}, which is none of {allowed:?}: {told}");
        ensure!(told["has_objects"] == false && told["writes_stopped"] == false, "something is left: {told}");
        let watched = self.watched(&tried.id)?;
        let mismatch = tried.row.fault == Fault::Corrupt && phase == "FAILED" && !anew;
        let expected = if phase == "COMPLETED" {
            0
        } else if mismatch {
            5
        } else {
            1
        };
        ensure!(
            watched == expected,
            "`migrate watch` ended with {watched}, not {expected}, after {phase}: {told}"
        );
        if [Fault::Occupied, Fault::Keyless].contains(&tried.row.fault) {
            let phases = self.programs.phases(&tried.id)?;
            ensure!(
                phases.iter().all(|phase| ["PLANNED", "PREFLIGHT", "FAILED"].contains(&phase.as_str())),
                "{phases:?}"
            );
        }
        let (serving, empty) =
            if phase == "COMPLETED" { (tried.target, tried.source) } else { (tried.source, tried.target) };
        self.clean(serving, empty)?;
        let orphans = self.programs.parsed(&["migrate", "orphans"])?;
        ensure!(orphans["orphans"].as_array().is_some_and(Vec::is_empty), "left behind: {orphans:#}");
        Ok(())
    }

    /// Whether it was given up for a reason that is the store's own.
    pub(super) fn is_to_begin_anew(&self, phase: &str, told: &Value) -> bool {
        let says = |words: &str| told["words"].as_str().is_some_and(|told| told.contains(words));
        phase == "FAILED" && self.store.begins_anew().is_some_and(says)
    }

    fn clean(&self, serving: usize, empty: usize) -> Result<()> {
        let mut odd = Vec::new();
        let clean = wait_for("a store that is as told", LATE, || {
            odd = match self.store.odd(serving, empty) {
                Ok(odd) => odd,
                Err(error) => vec![format!("{error:#}")],
            };
            if !odd.is_empty() {
                thread::sleep(Duration::from_millis(200));
            }
            Ok(odd.is_empty().then_some(()))
        });
        odd.truncate(NAMED);
        clean.with_context(|| odd.join("; "))
    }

    /// Where one stopped before the switch the source serves, and after it the target.
    pub(super) fn told_is_so(&self, tried: &Try, stopped_in: &str) -> Result<()> {
        let is = |phase: &Phase| phase.name() == stopped_in;
        let before = [Phase::Preparing, Phase::CatchingUp, Phase::Verifying, Phase::Ready, Phase::Fencing];
        let after = [Phase::Switched, Phase::Retiring];
        let serves = match (before.iter().any(is), after.iter().any(is)) {
            (true, _) => tried.source,
            (_, true) => tried.target,
            (false, false) => return Ok(()),
        };
        wait_for("a store that serves as told", LATE, || {
            Ok(self.store.serving().is_ok_and(|now| now.contains(&serves)).then_some(()))
        })
        .with_context(|| format!("it stopped in {stopped_in}, and {:?} serve", self.store.serving()))
    }

    /// No client read what was not there, and what was acknowledged is there now that nobody writes. Returns how many reads
    /// were stale that the store may answer so.
    pub(super) fn histories(
        &self,
        tried: &Try,
        registers: &Registers,
        operations: &[Operation],
    ) -> Result<usize> {
        let mut attempts = Vec::new();
        for id in &tried.ids {
            attempts.push(self.programs.spells(id)?);
        }
        let told = |wrong: &Violation| told_of(&attempts, wrong);
        let stale = |wrong: &Violation| {
            let (fault, (phases, ended)) = (tried.row.fault, told(wrong));
            let mended_us = tried.mended_us.unwrap_or(u64::MAX);
            let after_mending = Duration::from_micros(wrong.begun_us.saturating_sub(mended_us));
            let by = wrong.stale_us.map(Duration::from_micros);
            let is_nothing = wrong.found == 0;
            by.is_some_and(|by| {
                let phases = &phases;
                self.store.may_be_late(&Late { fault, phases, ended, by, after_mending, is_nothing })
            })
        };
        let (stale, wrong): (Vec<_>, Vec<_>) =
            violations(&self.registers, operations).into_iter().partition(stale);
        let said = |wrong: Violation| format!("{} (in {})", wrong.what, told(&wrong).0.join(", "));
        let mut wrong: Vec<String> = wrong.into_iter().map(said).collect();
        let mut session = self.store.sessions()(Way::Told);
        for (key, register) in registers {
            let mut failed = String::new();
            let found = wait_for("a last read", LAST, || match session.read_everywhere(*key) {
                Ok(found) => Ok(Some(found)),
                Err(error) => {
                    failed = format!("{error:#}");
                    Ok(None)
                }
            });
            let found = found.with_context(|| format!("key {key}: {failed}"))?;
            if !found.iter().all(|found| register.allows(*found)) {
                wrong.push(format!(
                    "key {key} holds {found:?} in the end: {} was acknowledged, {} tried",
                    register.acknowledged, register.tried
                ));
            }
        }
        let count = wrong.len();
        wrong.truncate(NAMED);
        ensure!(wrong.is_empty(), "{count} violations: {}", wrong.join("; "));
        Ok(stale.len())
    }
}

/// When a migration was in which phase.
type Spells = Vec<(String, Range<i64>)>;

/// The phases that a migration was in while this was read, and the one that it ended in: the last one that had begun.
fn told_of<'a>(attempts: &'a [Spells], wrong: &Violation) -> (Vec<&'a str>, &'a str) {
    let [begun_us, ended_us] =
        [wrong.begun_us, wrong.ended_us].map(|us| i64::try_from(us).unwrap_or(i64::MAX));
    let had_begun = |spells: &&Spells| spells.first().is_some_and(|(_, spell)| spell.start <= ended_us);
    let Some(spells) = attempts.iter().rev().find(had_begun) else { return (Vec::new(), "") };
    let met = spells.iter().filter(|(_, spell)| begun_us < spell.end && spell.start <= ended_us);
    let ended = spells.last().map_or("", |(phase, _)| phase.as_str());
    (met.map(|(phase, _)| phase.as_str()).collect(), ended)
}

/// Ends that a row may have. Whoever kills a program of ours only delays; a store that fails may make its migration
/// fail; what a person has taken back stays so.
fn allowed(tried: &Try) -> &'static [&'static str] {
    match (tried.row.fault, tried.row.phase) {
        // An engine that is handing over goes on, whoever could not be told to stop it.
        (fault, Phase::Aborting) if fault != Fault::Nothing && tried.row.kind == Kind::Valkey => {
            &["CANCELLED", "COMPLETED"]
        }
        (_, Phase::Aborting) => &["CANCELLED"],
        (_, Phase::Reversing) => &["REVERSED"],
        (Fault::Occupied | Fault::Keyless, _) => &["FAILED"],
        (Fault::Corrupt, _) => &["FAILED", "REVERSED"],
        (Fault::Nothing | Fault::KillAnalyzer | Fault::KillAdapter, _) => &["COMPLETED"],
        (_, Phase::Switched | Phase::Retiring) => &["COMPLETED"],
        (
            Fault::KillSource
            | Fault::KillTarget
            | Fault::CutAdapter
            | Fault::CutSource
            | Fault::LoseAdapter
            | Fault::LoseSource
            | Fault::FullDisk,
            Phase::Preflight
            | Phase::Preparing
            | Phase::Replicating
            | Phase::CatchingUp
            | Phase::Verifying
            | Phase::Ready
            | Phase::Fencing
            | Phase::Committing,
        ) => &["COMPLETED", "FAILED"],
    }
}
