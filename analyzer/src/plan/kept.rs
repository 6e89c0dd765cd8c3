//! A plan as it is kept: what was asked for, what was decided and why, who agreed, and how far it is.
//!
//! By names, so that it means the same after a restart and on another day's cluster. What its migrations came to is in
//! the journal beside it, and not repeated here.

use isotherm_migration::MigrationId;
use isotherm_model::{InvalidName, NodeId, PartitionId, SystemId};
use isotherm_runner::journal::KeptPlan;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use thiserror::Error;

/// How long an approval holds, where nobody says: a day.
pub(crate) const APPROVAL_MS: u64 = 86_400_000;

/// A plan. Names are those within its system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    pub(crate) id: String,
    pub(crate) system: String,
    pub(crate) created_ms: u64,
    pub(crate) by: String,
    pub(crate) reason: String,
    pub(crate) asked: Asked,
    /// Of the topology it was made from.
    pub(crate) revision: u64,
    /// The end of the minute that loads and hazards are of, if a cycle had been.
    pub(crate) cycle_ms: Option<u64>,
    pub(crate) moves: Vec<Move>,
    pub(crate) bytes: u64,
    pub(crate) waves: u32,
    pub(crate) before: Pressure,
    pub(crate) after: Pressure,
    pub(crate) refusals: Vec<String>,
    pub(crate) left_out: Vec<String>,
    pub(crate) closed: Vec<String>,
    pub(crate) no_load: Option<String>,
    pub(crate) approval: Option<Approval>,
    /// How long sources are kept after their switch, where somebody said so.
    pub(crate) probation_ms: Option<u64>,
    pub(crate) state: State,
}

/// What a plan is to do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    pub(crate) drain: Vec<String>,
    /// Shares of the capacities that count.
    pub(crate) relieve: BTreeMap<String, f64>,
    pub(crate) fill: Vec<String>,
    pub(crate) repair: bool,
    pub(crate) balance: bool,
    pub(crate) proactive: bool,
    pub(crate) most_moves: Option<u32>,
    pub(crate) most_bytes: Option<u64>,
    pub(crate) capacities: BTreeMap<String, u64>,
}

/// One replica gets another node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Move {
    pub(crate) partition: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) bytes: u64,
    pub(crate) epoch: u64,
    /// From 0 on.
    pub(crate) wave: u32,
    pub(crate) reason: Reason,
    pub(crate) gain: String,
    /// `None` where it is no finite number.
    pub(crate) score: Option<f64>,
    pub(crate) runner_up: Option<(String, Option<f64>)>,
    pub(crate) rejected: Vec<(String, u32)>,
    /// Why it is as it is, node by node; kept of the first moves.
    pub(crate) explanation: Option<String>,
    /// How often it was begun again.
    pub(crate) attempt: u32,
    /// Why its last attempt could not be begun.
    pub(crate) refused: Option<String>,
}

/// Why something is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    Lost,
    Draining,
    Overfull,
    Underfull,
    Balance,
    Risk,
}

/// How evenly nodes are pressed: the highest share over the mean; `None` where it is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pressure {
    pub(crate) size: Option<f64>,
    pub(crate) load: Option<f64>,
}

/// Somebody agrees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Approval {
    pub(crate) by: String,
    pub(crate) reason: String,
    pub(crate) at_ms: u64,
    pub(crate) until_ms: u64,
}

/// Where a plan is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum State {
    Draft,
    Approved,
    Executing,
    Done { at_ms: u64 },
    Failed { at_ms: u64, why: String },
    Cancelled { at_ms: u64, why: String },
}

/// Why somebody cannot have what they want of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Denied {
    #[error("plan {id} is {state}; only {only} can be {what}")]
    State { id: String, state: &'static str, only: &'static str, what: &'static str },
    #[error("the approval of plan {id} has expired; `isotherm plan approve {id}` renews it")]
    Expired { id: String },
}

impl State {
    /// The word that is told and kept.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Draft => "DRAFT",
            Self::Approved => "APPROVED",
            Self::Executing => Self::EXECUTING,
            Self::Done { .. } => "DONE",
            Self::Failed { .. } => "FAILED",
            Self::Cancelled { .. } => "CANCELLED",
        }
    }

    /// The word of a plan that is carried out.
    pub(crate) const EXECUTING: &'static str = "EXECUTING";
}

impl Reason {
    /// The word that is told.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Draining => "draining",
            Self::Overfull => "overfull",
            Self::Underfull => "underfull",
            Self::Balance => "balance",
            Self::Risk => "risk",
        }
    }
}

impl Plan {
    /// As the journal keeps it, in the place of that version.
    pub(crate) fn row(&self, version: u64) -> KeptPlan {
        KeptPlan {
            id: self.id.clone(),
            system: self.system.clone(),
            state: self.state.word().to_owned(),
            created_ms: self.created_ms,
            version,
            document: serde_json::to_string(self).expect("plans have no keys but text"),
        }
    }

    /// From what the journal keeps.
    ///
    /// # Errors
    /// A document that is none of ours.
    pub(crate) fn of_row(row: &KeptPlan) -> Result<Self, serde_json::Error> {
        serde_json::from_str(&row.document)
    }

    /// Somebody agrees, for so long.
    pub(crate) fn approve(
        &mut self,
        by: &str,
        reason: &str,
        now_ms: u64,
        within_ms: u64,
    ) -> Result<(), Denied> {
        match self.state {
            State::Draft | State::Approved => {}
            State::Executing | State::Done { .. } | State::Failed { .. } | State::Cancelled { .. } => {
                return Err(self.denied("a DRAFT", "approved"));
            }
        }
        self.state = State::Approved;
        let (by, reason) = (by.to_owned(), reason.to_owned());
        self.approval =
            Some(Approval { by, reason, at_ms: now_ms, until_ms: now_ms.saturating_add(within_ms) });
        Ok(())
    }

    /// It is carried out from now on.
    pub(crate) fn execute(&mut self, now_ms: u64, probation_ms: Option<u64>) -> Result<(), Denied> {
        match self.state {
            State::Approved => {}
            State::Draft
            | State::Executing
            | State::Done { .. }
            | State::Failed { .. }
            | State::Cancelled { .. } => return Err(self.denied("what is APPROVED", "carried out")),
        }
        if self.approval.as_ref().is_none_or(|approval| approval.until_ms <= now_ms) {
            return Err(Denied::Expired { id: self.id.clone() });
        }
        self.state = State::Executing;
        self.probation_ms = probation_ms;
        Ok(())
    }

    /// Nothing more of it is begun.
    pub(crate) fn cancel(&mut self, by: &str, reason: &str, now_ms: u64) -> Result<(), Denied> {
        match self.state {
            // Twice, so that what is under way can be given up again.
            State::Draft | State::Approved | State::Executing | State::Cancelled { .. } => {}
            State::Done { .. } | State::Failed { .. } => {
                return Err(self.denied("what has not ended", "cancelled"));
            }
        }
        let why = if reason.is_empty() { format!("by {by}") } else { format!("by {by}: {reason}") };
        self.state = State::Cancelled { at_ms: now_ms, why };
        Ok(())
    }

    /// What failed is begun again, and with it what waits for that.
    pub(crate) fn retry(&mut self, failed: &[usize]) -> Result<(), Denied> {
        match self.state {
            State::Executing | State::Failed { .. } => {}
            State::Draft | State::Approved | State::Done { .. } | State::Cancelled { .. } => {
                return Err(self.denied("what is EXECUTING or FAILED", "retried"));
            }
        }
        for at in failed {
            if let Some(decided) = self.moves.get_mut(*at) {
                decided.attempt += 1;
                decided.refused = None;
            }
        }
        self.state = State::Executing;
        Ok(())
    }

    /// Whether it may be forgotten.
    pub(crate) fn removable(&self) -> Result<(), Denied> {
        match self.state {
            State::Executing => Err(self.denied("what is not EXECUTING", "removed; cancel it first")),
            State::Draft
            | State::Approved
            | State::Done { .. }
            | State::Failed { .. }
            | State::Cancelled { .. } => Ok(()),
        }
    }

    fn denied(&self, only: &'static str, what: &'static str) -> Denied {
        Denied::State { id: self.id.clone(), state: self.state.word(), only, what }
    }

    /// The migration that a move becomes: the same name whenever it is asked for, so that it is begun once.
    pub(crate) fn migration(&self, at: usize) -> Option<MigrationId> {
        let attempt = self.moves.get(at)?.attempt;
        MigrationId::new(format!("{}-{}-{attempt}", self.id, at + 1)).ok()
    }

    /// Its system.
    pub(crate) fn system(&self) -> Result<SystemId, InvalidName> {
        SystemId::new(self.system.clone())
    }

    /// A node of its system.
    pub(crate) fn node(&self, name: &str) -> Result<NodeId, InvalidName> {
        NodeId::new(self.system()?, name)
    }

    /// A partition of its system.
    pub(crate) fn partition(&self, name: &str) -> Result<PartitionId, InvalidName> {
        PartitionId::new(self.system()?, name)
    }
}

impl Asked {
    /// In a few words, for lists and diaries.
    pub(crate) fn words(&self) -> String {
        let mut words = Vec::new();
        let mut names = |verb: &str, names: Vec<&str>| {
            if !names.is_empty() {
                words.push(format!("{verb} {}", names.join(", ")));
            }
        };
        names("drain", self.drain.iter().map(String::as_str).collect());
        names("relieve", self.relieve.keys().map(String::as_str).collect());
        names("fill", self.fill.iter().map(String::as_str).collect());
        let flags = [("repair", self.repair), ("proactive", self.proactive), ("balance", self.balance)];
        words.extend(flags.into_iter().filter(|(_, on)| *on).map(|(word, _)| word.to_owned()));
        words.join("; ")
    }

    /// Whether anything is asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.words().is_empty()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A plan of moves: partition, source, target, wave.
    pub(crate) fn plan(moves: &[(&str, &str, &str, u32)]) -> Plan {
        let decided = |(partition, from, to, wave): &(&str, &str, &str, u32)| Move {
            partition: (*partition).to_owned(),
            from: (*from).to_owned(),
            to: (*to).to_owned(),
            bytes: 1,
            epoch: 0,
            wave: *wave,
            reason: Reason::Draining,
            gain: String::new(),
            score: None,
            runner_up: None,
            rejected: Vec::new(),
            explanation: None,
            attempt: 0,
            refused: None,
        };
        Plan {
            id: "abc".to_owned(),
            system: "s".to_owned(),
            created_ms: 1,
            by: "ann".to_owned(),
            reason: String::new(),
            asked: Asked { drain: vec!["a".to_owned()], ..Asked::default() },
            revision: 1,
            cycle_ms: None,
            moves: moves.iter().map(decided).collect(),
            bytes: 1,
            waves: 1,
            before: Pressure::default(),
            after: Pressure::default(),
            refusals: Vec::new(),
            left_out: Vec::new(),
            closed: Vec::new(),
            no_load: None,
            approval: None,
            probation_ms: None,
            state: State::Draft,
        }
    }

    #[test]
    fn nothing_is_carried_out_that_nobody_agreed_to_in_time() {
        let mut plan = plan(&[("p", "a", "b", 0)]);
        assert!(plan.execute(5, None).is_err() && plan.retry(&[]).is_err());
        plan.approve("ann", "yes", 10, 100).unwrap();
        assert_eq!(plan.clone().execute(110, None), Err(Denied::Expired { id: "abc".to_owned() }));
        plan.execute(109, Some(7)).unwrap();
        assert_eq!((plan.state.word(), plan.probation_ms), ("EXECUTING", Some(7)));
        assert!(plan.approve("ann", "", 10, 100).is_err() && plan.removable().is_err());
        plan.retry(&[0]).unwrap();
        assert_eq!(plan.migration(0).unwrap().as_str(), "abc-1-1", "another attempt is another migration");
        plan.cancel("bob", "no", 200).unwrap();
        assert!(plan.execute(109, None).is_err() && plan.removable().is_ok());
    }

    #[test]
    fn a_plan_is_the_same_after_it_was_kept() {
        let mut plan = plan(&[("p", "a", "b", 0)]);
        plan.moves[0].score = Some(0.1);
        plan.asked.relieve.insert("a".to_owned(), 0.5);
        plan.state = State::Failed { at_ms: 3, why: "x".to_owned() };
        assert_eq!(Plan::of_row(&plan.row(4)).unwrap(), plan);
        assert_eq!(plan.asked.words(), "drain a; relieve a");
    }
}
