//! Shifts of reads, beside migrations: written before each call, and driven on by what comes of it.
//!
//! A partition is moved, or its reads are shifted, never both at a time. A migration that is to begin has a drained
//! replica restored first, as stores copy from replicas that serve; who leads may stay as it is.

use super::{Message, Refused, Reply, Runner, answer, seen};
use crate::diary::{Kind, Line};
use crate::journal::JournalError;
use crate::shift::{End, Next, Outcome, Shift, ShiftRefused, Stage, Wanted, What, Why};
use isotherm_migration::{Epoch, Migration, MigrationId, Moment, Origin, Phase, Reason, Spec};
use isotherm_model::PartitionId;

/// The first pause after something came to nothing; each that follows is twice as long, up to the last.
const PAUSE_MS: [u64; 2] = [500, 30_000];

/// After an undoing that was refused for good, before a migration has it tried again.
const LATER_MS: u64 = 30_000;

/// A shift that is to be undone.
#[derive(Debug, Clone)]
pub struct UndoShift {
    /// Which.
    pub id: String,
    /// Why.
    pub why: Why,
    /// Without the adapter: it is over, somebody says.
    pub forget: bool,
    /// Who wants it.
    pub by: String,
    /// Why, in their words.
    pub reason: String,
}

/// What reaches the runner of shifts.
pub(super) enum Heard {
    Wanted(Box<Wanted>, MigrationId, Reply<MigrationId>),
    Approve { id: String, by: String, reason: String, reply: Reply<()> },
    Undo(UndoShift, Reply<()>),
    Epochs { id: MigrationId, known: Result<[Epoch; 2], Outcome> },
    Answered { id: MigrationId, request: String, outcome: Outcome },
}

/// A shift, and what is known of it only while this runs.
pub(super) struct Held {
    pub(super) shift: Shift,
    /// Calls and questions in a row that came to nothing.
    attempts: u32,
    /// Nothing is called before.
    due: Option<Moment>,
    /// A call or a question is under way.
    busy: bool,
}

impl Held {
    fn new(shift: Shift) -> Self {
        Self { shift, attempts: 0, due: None, busy: false }
    }
}

impl Runner<'_> {
    /// Takes over the shifts that the journal has.
    pub(super) fn resume_shifts(&mut self) -> Result<(), JournalError> {
        for mut shift in self.journal.open_shifts()? {
            tracing::info!(shift = %shift.id, state = shift.state(), "a shift of reads goes on");
            shift.taken_over();
            let id = shift.id.clone();
            self.shifts.insert(id.clone(), Held::new(shift));
            self.keep(&id, Vec::new())?;
            self.drive(&id)?;
        }
        Ok(())
    }

    pub(super) fn hear_of_shift(&mut self, heard: Heard) -> Result<(), JournalError> {
        match heard {
            Heard::Wanted(wanted, id, reply) => {
                let did = self.begin_shift(*wanted, id);
                answer(reply, did)
            }
            Heard::Approve { id, by, reason, reply } => {
                let did = self.approve_shift(&id, &by, &reason);
                answer(reply, did)
            }
            Heard::Undo(undo, reply) => {
                let did = self.undo_shift(&undo);
                answer(reply, did)
            }
            Heard::Epochs { id, known: Ok([serving, promised]) } => {
                let Some(held) = self.shifts.get_mut(&id) else { return Ok(()) };
                held.busy = false;
                held.shift.propose(serving, promised);
                let Next::Call(call, order) = held.shift.next() else { return Ok(()) };
                let (expected, new) = (call.expected, call.new);
                let line = format!("{}: {order}, epoch {expected} to {new}", call.request_id);
                let line = self.shift_line(&id, Kind::Call, line);
                self.keep(&id, line)?;
                self.drive(&id)
            }
            Heard::Epochs { id, known: Err(outcome) } => self.came_of(&id, "epochs", outcome),
            Heard::Answered { id, request, outcome } => self.came_of(&id, &request, outcome),
        }
    }

    fn begin_shift(&mut self, wanted: Wanted, id: MigrationId) -> Result<MigrationId, Refused> {
        self.not_frozen()?;
        self.not_moving(&wanted.partition, |phase| phase != Phase::AwaitingApproval)?;
        if let Some(other) = self.shift_of(&wanted.partition) {
            let (partition, by) = (wanted.partition.to_string(), other.shift.id.to_string());
            return Err(ShiftRefused::Shifted { partition, by }.into());
        }
        let shift = Shift::new(id.clone(), wanted, self.outside.now_ms());
        let mut line = told(&shift, Kind::Wanted, shift.what.to_string(), self.outside.now_ms());
        line = line.by(&shift.by, &shift.reason);
        self.journal.begin_shift(&shift, &[line])??;
        self.shifts.insert(id.clone(), Held::new(shift));
        self.drive(&id)?;
        Ok(id)
    }

    fn approve_shift(&mut self, id: &str, by: &str, reason: &str) -> Result<(), Refused> {
        self.not_frozen()?;
        let id = self.open_shift(id)?;
        let partition = self.shifts[&id].shift.partition.clone();
        self.not_moving(&partition, |phase| phase != Phase::AwaitingApproval)?;
        self.change(&id, |shift, _| shift.approve(), "approve", by, reason)
    }

    fn undo_shift(&mut self, undo: &UndoShift) -> Result<(), Refused> {
        let id = self.open_shift(&undo.id)?;
        let (why, forget) = (undo.why, undo.forget);
        let what = if forget { "forget it".to_owned() } else { format!("undo: {}", why.as_str()) };
        if forget {
            if self.shifts[&id].busy {
                let state = self.shifts[&id].shift.state();
                let what = "a call is under way; try again once the adapter has answered";
                return Err(ShiftRefused::State { id: id.to_string(), state, what }.into());
            }
            let over = |shift: &mut Shift, now_ms| {
                shift.end(End::Forgotten, now_ms);
                Ok(())
            };
            return self.change(&id, over, &what, &undo.by, &undo.reason);
        }
        let partition = self.shifts[&id].shift.partition.clone();
        let begun = |phase| !matches!(phase, Phase::AwaitingApproval | Phase::Planned);
        self.not_moving(&partition, begun)?;
        self.change(&id, |shift, now_ms| shift.undo(why, now_ms), &what, &undo.by, &undo.reason)
    }

    /// Changes a shift, writes it with a line, and drives it on.
    fn change(
        &mut self,
        id: &MigrationId,
        change: impl FnOnce(&mut Shift, u64) -> Result<(), ShiftRefused>,
        what: &str,
        by: &str,
        reason: &str,
    ) -> Result<(), Refused> {
        let now_ms = self.outside.now_ms();
        let Some(held) = self.shifts.get_mut(id) else { return Ok(()) };
        if let Err(refused) = change(&mut held.shift, now_ms) {
            let line = told(&held.shift, Kind::Refused, format!("{what}: {refused}"), now_ms);
            self.journal.note(&[line.by(by, reason)])?;
            return Err(refused.into());
        }
        held.attempts = 0;
        held.due = None;
        let wanted = told(&held.shift, Kind::Wanted, what.to_owned(), now_ms).by(by, reason);
        let state = told(&held.shift, Kind::Phase, state(&held.shift), now_ms);
        self.keep(id, vec![wanted, state])?;
        self.drive(id)?;
        Ok(())
    }

    /// A call, or the question before it, has come to something.
    fn came_of(&mut self, id: &MigrationId, request: &str, outcome: Outcome) -> Result<(), JournalError> {
        if let Outcome::Refused(Reason::StaleTerm { seen }, _) = outcome {
            return Err(JournalError::Superseded { theirs: seen.0, ours: self.journal.term().0 });
        }
        let (now, now_ms) = (self.journal.now(), self.outside.now_ms());
        let Some(held) = self.shifts.get_mut(id) else { return Ok(()) };
        held.busy = false;
        let before = held.shift.state();
        let mut lines = vec![told(&held.shift, Kind::Outcome, words(request, &outcome), now_ms)];
        let done = matches!(outcome, Outcome::Done(_));
        let again = held.shift.hear(outcome, held.attempts, now_ms);
        held.attempts = if done { 0 } else { held.attempts + 1 };
        held.due = again.then(|| now.after_ms(pause_ms(held.attempts)));
        if before == "UNDOING" && held.shift.stage == Stage::InForce {
            held.due = Some(now.after_ms(LATER_MS));
        }
        if held.shift.state() != before {
            lines.push(told(&held.shift, Kind::Phase, state(&held.shift), now_ms));
            let (partition, state) = (&held.shift.partition, held.shift.state());
            tracing::info!(shift = %id, %partition, state, words = held.shift.words, "a shift of reads");
        }
        self.keep(id, lines)?;
        self.drive(id)
    }

    /// Makes the next call of a shift, if it is time; what has ended is let go.
    fn drive(&mut self, id: &MigrationId) -> Result<(), JournalError> {
        let (now, term) = (self.journal.now(), self.journal.term());
        let Some(held) = self.shifts.get_mut(id) else { return Ok(()) };
        if matches!(held.shift.stage, Stage::Ended(_)) {
            self.shifts.remove(id);
            return Ok(());
        }
        if held.busy || held.due.is_some_and(|due| due > now) {
            return Ok(());
        }
        match held.shift.next() {
            Next::Nothing => {}
            Next::Epochs => {
                held.busy = true;
                self.calls.epochs(term, &held.shift);
            }
            Next::Call(call, order) => {
                held.busy = true;
                self.calls.shift(term, &held.shift, call, order);
            }
        }
        Ok(())
    }

    /// Makes the calls that are due, and ends what nobody agreed to.
    pub(super) fn tick_shifts(&mut self) -> Result<(), JournalError> {
        let (now, now_ms) = (self.journal.now(), self.outside.now_ms());
        let due: Vec<MigrationId> = self
            .shifts
            .iter()
            .filter(|(_, held)| held.due.is_some_and(|due| due <= now))
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            self.drive(&id)?;
        }
        let late = |held: &Held| matches!(held.shift.stage, Stage::AwaitingApproval { until_ms } if until_ms <= now_ms);
        let late: Vec<MigrationId> =
            self.shifts.iter().filter(|(_, held)| late(held)).map(|(id, _)| id.clone()).collect();
        for id in late {
            self.over(&id, End::Expired)?;
        }
        Ok(())
    }

    /// When something of a shift is due.
    pub(super) fn shifts_due(&self) -> Option<Moment> {
        let (now, now_ms) = (self.journal.now(), self.outside.now_ms());
        let of = |held: &Held| match held.shift.stage {
            Stage::AwaitingApproval { until_ms } => Some(now.after_ms(until_ms.saturating_sub(now_ms))),
            Stage::Intent { .. } | Stage::Undoing { .. } if !held.busy => held.due,
            Stage::Intent { .. } | Stage::Undoing { .. } | Stage::InForce | Stage::Ended(_) => None,
        };
        self.shifts.values().filter_map(of).min()
    }

    /// What a migration that could begin has to wait for: a drained replica is restored first.
    pub(super) fn clear_reads(&mut self, spec: &Spec) -> Result<Option<String>, JournalError> {
        let Some(held) = self.shift_of(&spec.partition) else { return Ok(None) };
        let (id, busy) = (held.shift.id.clone(), held.busy);
        let drained = match &held.shift.what {
            What::Drain { node } => Some(node),
            What::Lead { .. } => None,
        };
        let lost = matches!(&spec.origin, Origin::Repair { dead } if drained == Some(dead));
        let waits = format!("its reads are shifted: {}, {}", held.shift.what, held.shift.state());
        match held.shift.stage {
            Stage::AwaitingApproval { .. } => {
                self.over(&id, End::Dropped)?;
                Ok(None)
            }
            Stage::InForce if drained.is_none() => Ok(None),
            Stage::InForce | Stage::Undoing { .. } if lost && !busy => {
                self.over(&id, End::Moved)?;
                Ok(None)
            }
            Stage::InForce if held.due.is_none_or(|due| due <= self.journal.now()) => {
                match self.change(
                    &id,
                    |shift, now_ms| shift.undo(Why::Move, now_ms),
                    "undo: the partition is to be moved",
                    "isotherm",
                    "",
                ) {
                    Err(Refused::Journal(error)) => Err(error),
                    Ok(()) | Err(_) => Ok(Some(waits)),
                }
            }
            Stage::Intent { .. } | Stage::InForce | Stage::Undoing { .. } => Ok(Some(waits)),
            Stage::Ended(_) => Ok(None),
        }
    }

    /// What a migration waits for because of a shift.
    pub(super) fn waits_for_reads(&self, spec: &Spec) -> Option<String> {
        let held = self.shift_of(&spec.partition)?;
        let shift = &held.shift;
        let stays = shift.stage == Stage::InForce && matches!(shift.what, What::Lead { .. });
        let words = shift.words.as_ref().map(|words| format!(" ({words})")).unwrap_or_default();
        let waits =
            || format!("reads must be as they were first: {} is {}{words}", shift.what, shift.state());
        (shift.may_be_in_force() && !stays).then(waits)
    }

    /// A partition was moved: who leads now is what there is.
    pub(super) fn reads_moved(&mut self, migration: &Migration) -> Result<(), JournalError> {
        let of_it = self.shift_of(&migration.spec().partition).filter(|held| !held.busy);
        match (migration.phase(), of_it.map(|held| held.shift.id.clone())) {
            (Phase::Completed, Some(id)) => self.over(&id, End::Moved),
            (_, _) => Ok(()),
        }
    }

    fn over(&mut self, id: &MigrationId, end: End) -> Result<(), JournalError> {
        let now_ms = self.outside.now_ms();
        let Some(held) = self.shifts.get_mut(id) else { return Ok(()) };
        held.shift.end(end, now_ms);
        let line = told(&held.shift, Kind::Phase, state(&held.shift), now_ms);
        self.keep(id, vec![line])?;
        self.drive(id)
    }

    fn keep(&mut self, id: &MigrationId, lines: Vec<Line>) -> Result<(), JournalError> {
        match self.shifts.get(id) {
            Some(held) => self.journal.write_shift(&held.shift, &lines),
            None => Ok(()),
        }
    }

    fn shift_line(&self, id: &MigrationId, kind: Kind, what: String) -> Vec<Line> {
        let held = self.shifts.get(id);
        held.map(|held| told(&held.shift, kind, what, self.outside.now_ms())).into_iter().collect()
    }

    fn shift_of(&self, partition: &PartitionId) -> Option<&Held> {
        self.shifts.values().find(|held| held.shift.partition == *partition)
    }

    fn open_shift(&self, id: &str) -> Result<MigrationId, Refused> {
        let missing = || ShiftRefused::NotFound(id.to_owned());
        let found = MigrationId::new(id).map_err(|_| missing())?;
        if self.shifts.contains_key(&found) { Ok(found) } else { Err(missing().into()) }
    }

    /// Refuses while a migration of the partition is in one of these phases.
    fn not_moving(&self, partition: &PartitionId, phases: impl Fn(Phase) -> bool) -> Result<(), Refused> {
        let moves =
            |migration: &Migration| migration.spec().partition == *partition && phases(migration.phase());
        let moving = self.running.values().map(|running| &running.entry.migration).find(|one| moves(one));
        match moving {
            Some(migration) => {
                let (partition, by) = (partition.to_string(), migration.spec().id.to_string());
                Err(ShiftRefused::Moving { partition, by }.into())
            }
            None => Ok(()),
        }
    }
}

impl super::Handle {
    /// Begins a shift of reads, or has it wait for approval.
    pub async fn shift(&self, id: MigrationId, wanted: Wanted) -> Result<MigrationId, Refused> {
        self.ask(|reply| Message::Shift(Heard::Wanted(Box::new(wanted), id, reply))).await
    }

    /// Agrees to a shift that waits for it.
    pub async fn approve_shift(&self, id: &str, by: &str, reason: &str) -> Result<(), Refused> {
        let (id, by, reason) = (id.to_owned(), by.to_owned(), reason.to_owned());
        self.ask(|reply| Message::Shift(Heard::Approve { id, by, reason, reply })).await
    }

    /// Undoes a shift, gives it up before it began, or forgets it.
    pub async fn undo_shift(&self, undo: UndoShift) -> Result<(), Refused> {
        self.ask(|reply| Message::Shift(Heard::Undo(undo, reply))).await
    }
}

/// A line about a shift.
fn told(shift: &Shift, kind: Kind, what: impl std::fmt::Display, at_ms: u64) -> Line {
    let mut line = Line::own(at_ms, kind, format!("reads {}: {what}", seen::short(&shift.id)));
    line.partition = Some(shift.partition.to_string());
    line
}

fn state(shift: &Shift) -> String {
    match shift.stage {
        Stage::Ended(end @ End::Undone(why)) => {
            format!("{}, {}: {}", shift.state(), end.as_str(), why.as_str())
        }
        Stage::Ended(end) => format!("{}, {}", shift.state(), end.as_str()),
        Stage::AwaitingApproval { .. } | Stage::Intent { .. } | Stage::InForce | Stage::Undoing { .. } => {
            shift.state().to_owned()
        }
    }
}

fn words(request: &str, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done(Some(undo)) => format!("{request}: done; undone by {undo}"),
        Outcome::Done(None) => format!("{request}: done, and nothing had to be changed"),
        Outcome::Refused(reason, words) => format!("{request}: refused: {reason}: {words}"),
        Outcome::Unknown(words) => format!("{request}: unknown: {words}"),
    }
}

fn pause_ms(attempts: u32) -> u64 {
    let [first, last] = PAUSE_MS;
    first.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(last)
}
