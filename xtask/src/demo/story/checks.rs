//! What the story is to show, each with what was found of it: whoever reads the report need not know what to look for.

use super::super::risk::Risk;
use super::super::watched::Signs;
use super::said::{Migration, Shift};
use serde::Serialize;

/// Something that must be so at the end.
#[derive(Debug, Clone, Serialize)]
pub(in crate::demo) struct Check {
    /// What must be so.
    pub(in crate::demo) name: &'static str,
    /// Whether it is.
    pub(in crate::demo) ok: bool,
    /// What was found, in words.
    pub(in crate::demo) found: String,
}

/// What the checks are made from.
pub(super) struct Evidence<'a> {
    /// Volumes that were not taken off the weak server.
    pub(super) held_out: &'a [u32],
    /// Nodes that live on when the weak server is dead.
    pub(super) healthy: &'a [String],
    /// When it died, in milliseconds since 1970.
    pub(super) died_ms: u64,
    /// When cycles told that reads would spread, and that they had.
    pub(super) signs: &'a [Signs],
    /// The weak server's volumes while it was hardly leaned on, and when their reads had spread.
    pub(super) before: &'a [Risk],
    pub(super) spread: &'a [Risk],
    /// All there ever were.
    pub(super) migrations: &'a [Migration],
    pub(super) shifts: &'a [Shift],
    pub(super) acked_writes: usize,
    pub(super) acked_writes_lost: usize,
    /// Requests of clients of the moved volumes, and how many of them failed.
    pub(super) moved_requests: u64,
    pub(super) moved_errors: u64,
    /// Failed requests of clients of the volumes that were held out.
    pub(super) held_out_errors: u64,
}

impl Evidence<'_> {
    /// Every check, passed or not.
    pub(super) fn checks(&self) -> Vec<Check> {
        vec![
            self.forecast(),
            risen("exposure on the weak server rises with the spread", self, Risk::exposure_per_hour),
            risen("expected loss on the weak server rises with the spread", self, Risk::loss_per_hour),
            self.held_out(),
            self.repairs(),
            self.migrations(),
            Check {
                name: "no acknowledged write is lost",
                ok: self.acked_writes_lost == 0 && self.acked_writes > 0,
                found: format!("{} of {} are lost", self.acked_writes_lost, self.acked_writes),
            },
            Check {
                name: "clients of moved volumes see no error",
                ok: self.moved_errors == 0 && self.moved_requests > 0,
                found: format!("{} errors in {} requests", self.moved_errors, self.moved_requests),
            },
            Check {
                name: "clients of held-out volumes see errors",
                ok: self.held_out_errors > 0,
                found: format!("{} errors", self.held_out_errors),
            },
        ]
    }

    /// When matters less here: reads spread within seconds, so that a forecast comes hardly before what it foretells.
    fn forecast(&self) -> Check {
        let told = || self.signs.iter().filter_map(|signs| signs.forecast_after_s);
        let first = told().min_by(f64::total_cmp);
        let first = first.map_or_else(String::new, |first| format!(", first after {first:.0} s"));
        Check {
            name: "the surge is forecast",
            ok: told().next().is_some(),
            found: format!("of {} of {} volumes{first}", told().count(), self.signs.len()),
        }
    }

    fn held_out(&self) -> Check {
        let name = "held-out volumes are neither shifted nor moved before the failure";
        let volumes: Vec<String> = self.held_out.iter().map(ToString::to_string).collect();
        let early = |created_ms: u64| created_ms < self.died_ms;
        let is = |of: &dyn Fn(&str) -> bool| volumes.iter().any(|volume| of(volume));
        let moved =
            self.migrations.iter().filter(|one| early(one.created_ms) && is(&|volume| one.is_of(volume)));
        let shifted =
            self.shifts.iter().filter(|one| early(one.created_ms) && is(&|volume| one.is_of(volume)));
        let (moved, shifted) = (moved.count(), shifted.count());
        let ok = moved == 0 && shifted == 0 && !volumes.is_empty();
        Check { name, ok, found: format!("{shifted} shifts and {moved} moves of {} volumes", volumes.len()) }
    }

    /// Every volume that was held out is made again, on a node that lives.
    fn repairs(&self) -> Check {
        let repairs = || self.migrations.iter().filter(|one| one.repair);
        let healthy = repairs().filter(|one| self.healthy.iter().any(|node| one.is_to(node))).count();
        let made = |volume: &&u32| repairs().any(|one| one.is_of(&volume.to_string()) && one.completed());
        let whole = self.held_out.iter().filter(made).count();
        Check {
            name: "repairs go onto healthy nodes",
            ok: whole == self.held_out.len() && whole > 0 && healthy == repairs().count(),
            found: format!(
                "{healthy} of {} onto healthy nodes; {whole} of {} volumes are made again",
                repairs().count(),
                self.held_out.len()
            ),
        }
    }

    fn migrations(&self) -> Check {
        let completed = self.migrations.iter().filter(|one| one.completed()).count();
        Check {
            name: "all migrations are completed",
            ok: completed == self.migrations.len() && completed > 0,
            found: format!("{completed} of {}", self.migrations.len()),
        }
    }
}

/// Compares sums over the volumes of which a figure is known both times: what is not known is not zero.
fn risen(name: &'static str, evidence: &Evidence<'_>, figure: impl Fn(&Risk) -> Option<f64>) -> Check {
    let pair = |before: &Risk| {
        let after = evidence.spread.iter().find(|risk| risk.volume() == before.volume())?;
        Some((figure(before)?, figure(after)?))
    };
    let pairs: Vec<(f64, f64)> = evidence.before.iter().filter_map(pair).collect();
    let (before, after) = pairs.iter().fold((0.0, 0.0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1));
    Check {
        name,
        ok: after > before,
        found: format!("{before:.2e}/h, then {after:.2e}/h, over {} volumes", pairs.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What a good run leaves.
    struct Run {
        signs: Vec<Signs>,
        before: Vec<Risk>,
        spread: Vec<Risk>,
        migrations: Vec<Migration>,
        shifts: Vec<Shift>,
    }

    fn risk(volume: &str, exposure: Option<f64>, loss: Option<f64>) -> Risk {
        serde_json::from_value(json!({
            "partition": volume, "status": "known", "class": "", "surge": "", "horizon_h": 24.0, "holders": [],
            "verdict": "", "exposure_per_hour": exposure, "loss": {"total": loss},
        }))
        .unwrap()
    }

    fn migration(volume: u32, target: &str, repair: bool, created_ms: u64) -> Migration {
        serde_json::from_value(json!({
            "id": "a", "partition": format!("seaweedfs/{volume}"), "source": "seaweedfs/weak",
            "target": format!("seaweedfs/{target}"), "repair": repair, "phase": "COMPLETED", "trigger": "",
            "cause": "", "created_ms": created_ms, "ended_ms": created_ms + 1,
        }))
        .unwrap()
    }

    fn shift(volume: u32, created_ms: u64) -> Shift {
        let partition = format!("seaweedfs/{volume}");
        Shift { partition, node: "weak".to_owned(), state: "ENDED".to_owned(), created_ms }
    }

    fn good() -> Run {
        let signs = |volume: &str, forecast_after_s, surging_after_s| Signs {
            volume: volume.to_owned(),
            forecast_after_s,
            surging_after_s,
        };
        Run {
            signs: vec![signs("1", Some(3.0), Some(9.0)), signs("2", None, Some(9.0))],
            before: vec![risk("1", Some(1e-4), Some(0.1)), risk("2", Some(1e-4), Some(0.1))],
            spread: vec![risk("1", Some(5e-4), Some(0.9)), risk("2", Some(5e-4), None)],
            migrations: vec![migration(1, "a", false, 10), migration(2, "b", true, 60)],
            shifts: vec![shift(1, 9)],
        }
    }

    fn evidence(run: &Run, check: impl FnOnce(&mut Evidence<'_>)) -> Vec<Check> {
        let healthy = ["a".to_owned(), "b".to_owned()];
        let mut evidence = Evidence {
            held_out: &[2],
            healthy: &healthy,
            died_ms: 50,
            signs: &run.signs,
            before: &run.before,
            spread: &run.spread,
            migrations: &run.migrations,
            shifts: &run.shifts,
            acked_writes: 9,
            acked_writes_lost: 0,
            moved_requests: 100,
            moved_errors: 0,
            held_out_errors: 4,
        };
        check(&mut evidence);
        evidence.checks()
    }

    /// The names of the checks that fail.
    fn failing(run: &Run) -> Vec<&'static str> {
        failed(&evidence(run, |_| {}))
    }

    fn failed(checks: &[Check]) -> Vec<&'static str> {
        checks.iter().filter(|check| !check.ok).map(|check| check.name).collect()
    }

    #[test]
    fn a_good_run_passes_and_says_what_was_found() {
        let checks = evidence(&good(), |_| {});
        assert_eq!((checks.len(), failed(&checks)), (9, vec![]));
        assert_eq!(checks[0].found, "of 1 of 2 volumes, first after 3 s");
        assert_eq!(checks[2].found, "1.00e-1/h, then 9.00e-1/h, over 1 volumes", "unknown is not zero");
    }

    #[test]
    fn a_surge_that_nobody_foretold_is_not_enough() {
        let mut run = good();
        run.signs[0].forecast_after_s = None;
        assert_eq!(failing(&run), ["the surge is forecast"]);
    }

    #[test]
    fn risks_must_rise() {
        let mut run = good();
        run.before = vec![risk("1", Some(5e-4), Some(0.1))];
        assert_eq!(failing(&run), ["exposure on the weak server rises with the spread"]);
        run.before = vec![risk("1", Some(1e-4), None)];
        assert_eq!(failing(&run), ["expected loss on the weak server rises with the spread"], "not known");
    }

    #[test]
    fn who_is_held_out_is_left_alone_until_the_failure() {
        let name = ["held-out volumes are neither shifted nor moved before the failure"];
        let mut run = good();
        run.shifts.push(shift(2, 49));
        assert_eq!(failing(&run), name);
        run.shifts = vec![shift(2, 51)];
        assert_eq!(failing(&run), [""; 0], "what follows the failure is meant to");
        run.migrations.push(migration(2, "a", false, 49));
        assert_eq!(failing(&run), name);
    }

    #[test]
    fn repairs_of_all_go_where_something_lives() {
        let name = "repairs go onto healthy nodes";
        let mut run = good();
        run.migrations[1] = migration(2, "weak", true, 60);
        assert_eq!(failing(&run), [name]);
        run.migrations.pop();
        assert_eq!(failing(&run), [name], "nothing was made again");
        run.migrations = good().migrations;
        run.migrations[1].phase = "FAILED".to_owned();
        assert_eq!(failing(&run), [name, "all migrations are completed"]);
    }

    #[test]
    fn what_clients_saw_counts() {
        let run = good();
        let failed = |change: fn(&mut Evidence<'_>)| failed(&evidence(&run, change));
        assert_eq!(failed(|run| run.acked_writes_lost = 1), ["no acknowledged write is lost"]);
        assert_eq!(failed(|run| run.acked_writes = 0), ["no acknowledged write is lost"], "none was tried");
        assert_eq!(failed(|run| run.moved_errors = 1), ["clients of moved volumes see no error"]);
        assert_eq!(failed(|run| run.moved_requests = 0), ["clients of moved volumes see no error"]);
        assert_eq!(failed(|run| run.held_out_errors = 0), ["clients of held-out volumes see errors"]);
    }
}
