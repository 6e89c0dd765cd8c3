//! The one who owns all migrations.
//!
//! It lives on a thread of its own, as it writes to the disk. Everything reaches it as a [`Message`]; calls of adapters
//! are tasks beside it, whose answers are messages too. Each message becomes an event of a migration, the migration that
//! follows is written, and only then is done what it asks for. What it cannot write it does not do: it ends, and is begun
//! anew with what the journal has, under a new term.

mod calls;
mod seen;
mod shifts;
mod told;

use crate::diary::{Kind, Line};
use crate::journal::score::Score;
use crate::journal::trust::Trust;
use crate::journal::{About, Entry, Freeze, Journal, JournalError, Trigger, name_of};
use crate::limits::Limits;
use crate::shift::ShiftRefused;
use calls::Calls;
use futures::future::BoxFuture;
use isotherm_adapter::client::Answered;
use isotherm_migration::{
    Action, Command, Denied, Event, Migration, MigrationId, Moment, Outcome, Phase, Progress, Question,
    RequestId, Revision, Spec, SpecError, Told,
};
use isotherm_model::SystemId;
use seen::Pace;
pub use seen::{Board, Eta, Seen};
pub use shifts::UndoShift;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// Messages that wait. Callers wait too once it is full.
const MESSAGES: usize = 1_024;

/// How often it is looked whether the world lets anything begin again, while something waits for that.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What the runner has to be told of the world.
pub trait Connect: Send + Sync + 'static {
    /// A connection to the adapter of a system, or why there is none.
    fn connect(&self, system: &SystemId) -> BoxFuture<'static, Result<Channel, String>>;

    /// How many migrations that adapter takes at a time; 0 if nobody knows it.
    fn takes(&self, system: &SystemId) -> u32;

    /// The revision of the topology, if what a migration was decided on is not so any more.
    fn moved(&self, spec: &Spec) -> Option<Revision>;

    /// Why nothing new may begin at this moment, apart from a freeze that the journal has; a sentence. `None` if it may.
    /// Asked before anything begins, so it must be quick.
    fn frozen(&self) -> Option<String>;

    /// Milliseconds since 1970.
    fn now_ms(&self) -> u64;
}

/// A migration that somebody wants.
#[derive(Debug, Clone)]
pub struct Start {
    /// What.
    pub spec: Spec,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// What made it begin.
    pub trigger: Trigger,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There can be no such migration.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// There is none of this id that has not ended.
    #[error("no migration {0} is under way")]
    NotFound(String),
    /// The machine says no.
    #[error("{0}")]
    Denied(#[from] Denied),
    /// Nothing new is begun.
    #[error("migrations are frozen by {by}: {reason}; `isotherm unfreeze` ends that")]
    Frozen {
        /// Who wanted it.
        by: String,
        /// Why.
        reason: String,
    },
    /// Nothing new is begun, as the world says.
    #[error("{0}")]
    Withheld(String),
    /// Nothing is frozen, or it is already.
    #[error("{0}")]
    Freeze(&'static str),
    /// Reads are not shifted, or not undone.
    #[error(transparent)]
    Shift(#[from] ShiftRefused),
    /// The journal refuses.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The runner has ended.
    #[error("migrations are being taken up again; try again in a moment")]
    Away,
}

/// Something for the journal that is no business of migrations.
type Work = Box<dyn FnOnce(&mut Journal) -> Result<(), JournalError> + Send>;

type Reply<T> = oneshot::Sender<Result<T, Refused>>;

/// What reaches the runner.
enum Message {
    Start(Box<Start>, Reply<MigrationId>),
    Act { id: MigrationId, action: Action, by: String, reason: String, reply: Reply<()> },
    Freeze(Option<Freeze>, Line, Reply<()>),
    Note(Line),
    Keep(Work, Reply<()>),
    TopologyMoved,
    Answered { id: MigrationId, request: RequestId, answered: Answered<Outcome> },
    Observed { id: MigrationId, question: Question, answered: Answered<Told> },
    Progressed { id: MigrationId, progress: Progress },
    Unwatched(MigrationId),
    Shift(shifts::Heard),
}

/// How everybody else reaches it.
#[derive(Clone)]
pub struct Handle {
    messages: mpsc::Sender<Message>,
    board: watch::Receiver<Arc<Board>>,
}

/// The other end of a [`Handle`]: it outlives a runner, so that the next one goes on with it.
pub struct Inbox {
    messages: mpsc::Receiver<Message>,
    sender: mpsc::Sender<Message>,
    board: watch::Sender<Arc<Board>>,
}

/// A handle and its other end.
#[must_use]
pub fn handle() -> (Handle, Inbox) {
    let (sender, messages) = mpsc::channel(MESSAGES);
    let (board, seen) = watch::channel(Arc::new(Board::default()));
    (Handle { messages: sender.clone(), board: seen }, Inbox { messages, sender, board })
}

impl Inbox {
    /// Turns away whoever waits: nobody is there to answer.
    pub fn turn_away(&mut self) {
        while self.messages.try_recv().is_ok() {}
    }
}

impl Handle {
    /// Begins a migration; it waits for room if there is none.
    pub async fn start(&self, start: Start) -> Result<MigrationId, Refused> {
        self.ask(|reply| Message::Start(Box::new(start), reply)).await
    }

    /// Does what somebody wants of a migration, or says why not.
    pub async fn act(&self, id: MigrationId, action: Action, by: &str, reason: &str) -> Result<(), Refused> {
        let (by, reason) = (by.to_owned(), reason.to_owned());
        self.ask(|reply| Message::Act { id, action, by, reason, reply }).await
    }

    /// Begins nothing new from now on, or with `None` does again.
    pub async fn freeze(&self, freeze: Option<Freeze>, line: Line) -> Result<(), Refused> {
        self.ask(|reply| Message::Freeze(freeze, line, reply)).await
    }

    /// Writes a line into the diary.
    pub async fn note(&self, line: Line) {
        let _ = self.messages.send(Message::Note(line)).await;
    }

    /// Writes something into the journal that belongs to no migration, such as a plan.
    pub async fn keep(
        &self,
        work: impl FnOnce(&mut Journal) -> Result<(), JournalError> + Send + 'static,
    ) -> Result<(), Refused> {
        self.ask(|reply| Message::Keep(Box::new(work), reply)).await
    }

    /// Writes what is remembered of a system's repairs, with the lines that tell of it.
    pub async fn keep_repairs(
        &self,
        system: SystemId,
        state: String,
        lines: Vec<Line>,
    ) -> Result<(), Refused> {
        self.keep(move |journal| journal.keep_repairs(&system, &state, &lines)).await
    }

    /// Keeps a part of the score of a migration.
    pub async fn score(&self, id: MigrationId, score: Score, lines: Vec<Line>) -> Result<(), Refused> {
        self.keep(move |journal| journal.score(&id, &score, &lines)).await
    }

    /// Keeps what is thought of a system.
    pub async fn trust(&self, system: SystemId, trust: Trust, line: Option<Line>) -> Result<(), Refused> {
        self.keep(move |journal| journal.trust(&system, &trust, line.as_slice())).await
    }

    /// Says that the topology is another one.
    pub async fn topology_moved(&self) {
        let _ = self.messages.send(Message::TopologyMoved).await;
    }

    /// What is under way, at any time.
    #[must_use]
    pub fn board(&self) -> watch::Receiver<Arc<Board>> {
        self.board.clone()
    }

    async fn ask<T>(&self, message: impl FnOnce(Reply<T>) -> Message) -> Result<T, Refused> {
        let (reply, answer) = oneshot::channel();
        self.messages.send(message(reply)).await.map_err(|_| Refused::Away)?;
        answer.await.map_err(|_| Refused::Away)?
    }
}

/// A migration, and what is known of it only while this runs.
struct Running {
    entry: Entry,
    pace: Pace,
    watched: bool,
}

struct Runner<'a> {
    journal: Journal,
    frozen: Option<Freeze>,
    limits: Limits,
    outside: Arc<dyn Connect>,
    calls: Calls,
    running: BTreeMap<MigrationId, Running>,
    shifts: BTreeMap<MigrationId, shifts::Held>,
    /// Something could have begun, but for what the world said when it was asked last.
    withheld: bool,
    board: &'a watch::Sender<Arc<Board>>,
}

/// Runs migrations until `stop`, on a thread that may block. What is under way then is left to the next run.
///
/// # Errors
/// The journal cannot be written, or another controller has it.
pub fn run(
    journal: Journal,
    limits: Limits,
    outside: Arc<dyn Connect>,
    inbox: &mut Inbox,
    runtime: &tokio::runtime::Handle,
    stop: &CancellationToken,
) -> Result<(), JournalError> {
    let calls = Calls::new(Arc::clone(&outside), inbox.sender.clone(), runtime.clone());
    let frozen = journal.frozen()?;
    let (running, shifts) = (BTreeMap::new(), BTreeMap::new());
    let board = &inbox.board;
    let mut runner =
        Runner { journal, frozen, limits, outside, calls, running, shifts, withheld: false, board };
    runner.resume()?;
    loop {
        runner.admit()?;
        runner.publish();
        let wait = runner.wait();
        let message = runtime.block_on(async {
            tokio::select! {
                biased;
                () = stop.cancelled() => None,
                message = inbox.messages.recv() => Some(message),
                () = tokio::time::sleep(wait) => Some(None),
            }
        });
        match message {
            None => break,
            Some(Some(message)) => runner.hear(message)?,
            Some(None) => runner.tick()?,
        }
    }
    runner.calls.end();
    Ok(())
}

impl Runner<'_> {
    /// Takes over what the journal has.
    fn resume(&mut self) -> Result<(), JournalError> {
        let term = self.journal.term();
        for entry in self.journal.unfinished()? {
            let id = entry.migration.spec().id.clone();
            tracing::info!(migration = %id, phase = %name_of(entry.migration.phase()), "a migration goes on");
            self.running.insert(id.clone(), Running { entry, pace: Pace::default(), watched: false });
            self.happen(&id, Event::Resumed { term }, Vec::new())?;
        }
        self.resume_shifts()?;
        self.topology_moved()
    }

    fn hear(&mut self, message: Message) -> Result<(), JournalError> {
        match message {
            Message::Start(start, reply) => {
                let did = self.start(*start);
                answer(reply, did)?;
            }
            Message::Act { id, action, by, reason, reply } => {
                let did = self.act(&id, action, &by, &reason);
                answer(reply, did)?;
            }
            Message::Freeze(freeze, line, reply) => {
                let did = self.freeze(freeze, line);
                answer(reply, did)?;
            }
            Message::Note(line) => self.journal.note(&[line])?,
            Message::Keep(work, reply) => {
                let did = work(&mut self.journal).map_err(Refused::Journal);
                answer(reply, did)?;
            }
            Message::TopologyMoved => self.topology_moved()?,
            Message::Answered { id, request, answered } => {
                let line = self.line(&id, Kind::Outcome, told::outcome(&request, &answered));
                self.learn(&id, told::learned(&request, &answered));
                let event = Event::Answered { request, outcome: answered.answer };
                self.happen(&id, event, line.into_iter().collect())?;
            }
            Message::Observed { id, question, answered } => {
                let line =
                    told::observed(&question, &answered).and_then(|text| self.line(&id, Kind::Outcome, text));
                self.learn(&id, told::observation(&question, &answered));
                if let Told::State(state) = &answered.answer
                    && let Some((running, progress)) = self.running.get_mut(&id).zip(state.progress.clone())
                {
                    running.pace.told(progress);
                }
                let event = Event::Observed { question, told: answered.answer };
                self.happen(&id, event, line.into_iter().collect())?;
            }
            Message::Progressed { id, progress } => {
                if let Some(running) = self.running.get_mut(&id) {
                    running.pace.told(progress.clone());
                }
                self.happen(&id, Event::Progressed(progress), Vec::new())?;
            }
            Message::Unwatched(id) => {
                if let Some(running) = self.running.get_mut(&id) {
                    running.watched = false;
                }
            }
            Message::Shift(heard) => self.hear_of_shift(heard)?,
        }
        Ok(())
    }

    fn start(&mut self, start: Start) -> Result<MigrationId, Refused> {
        self.not_frozen()?;
        let now_ms = self.outside.now_ms();
        let Start { spec, by, reason, trigger } = start;
        let id = spec.id.clone();
        let partition = spec.partition.clone();
        let what = format!("move {} from {} to {}", spec.partition, spec.origin.node(), spec.target);
        let migration = Migration::new(spec, self.journal.term(), self.journal.now())?;
        let about = About {
            created_ms: now_ms,
            ended_ms: None,
            by: by.clone(),
            reason: reason.clone(),
            trigger,
            words: None,
            compared: Vec::new(),
            rolled_back: false,
        };
        let entry = Entry { migration, about };
        let wanted = Line::own(now_ms, Kind::Wanted, what).of(&id, &partition).by(&by, &reason);
        self.journal.begin(&entry, &[wanted])?;
        self.running.insert(id.clone(), Running { entry, pace: Pace::default(), watched: false });
        Ok(id)
    }

    fn act(&mut self, id: &MigrationId, action: Action, by: &str, reason: &str) -> Result<(), Refused> {
        let running = self.running.get(id).ok_or_else(|| Refused::NotFound(id.to_string()))?;
        let what = seen::name_of_action(&action);
        let line = |kind, what: String| self.line(id, kind, what).map(|line| line.by(by, reason));
        match running.entry.migration.permits(&action) {
            Err(denied) => {
                let line = line(Kind::Refused, format!("{what}: {denied}"));
                self.journal.note(&line.into_iter().collect::<Vec<_>>())?;
                Err(denied.into())
            }
            Ok(()) => {
                let line = line(Kind::Wanted, what.to_owned());
                self.happen(id, Event::Wanted(action), line.into_iter().collect())?;
                Ok(())
            }
        }
    }

    /// Refuses while nothing new may begin.
    fn not_frozen(&self) -> Result<(), Refused> {
        if let Some(Freeze { by, reason, .. }) = self.frozen.clone() {
            return Err(Refused::Frozen { by, reason });
        }
        self.outside.frozen().map_or(Ok(()), |why| Err(Refused::Withheld(why)))
    }

    fn freeze(&mut self, freeze: Option<Freeze>, line: Line) -> Result<(), Refused> {
        match (&self.frozen, &freeze) {
            (Some(_), Some(_)) => return Err(Refused::Freeze("migrations are frozen already")),
            (None, None) => return Err(Refused::Freeze("migrations are not frozen")),
            (Some(_), None) | (None, Some(_)) => {}
        }
        self.journal.freeze(freeze.as_ref(), line)?;
        self.frozen = freeze;
        Ok(())
    }

    fn topology_moved(&mut self) -> Result<(), JournalError> {
        let undecided = |phase| matches!(phase, Phase::Planned | Phase::AwaitingApproval | Phase::Preflight);
        let open = self.running.iter().filter(|(_, running)| undecided(running.entry.migration.phase()));
        let moved: Vec<_> = open
            .filter_map(|(id, running)| {
                Some((id.clone(), self.outside.moved(running.entry.migration.spec())?))
            })
            .collect();
        for (id, revision) in moved {
            self.happen(&id, Event::TopologyMoved { revision }, Vec::new())?;
        }
        Ok(())
    }

    /// Lets those begin that there is room for: repairs after a failure first, then by their creation.
    fn admit(&mut self) -> Result<(), JournalError> {
        let phase = |running: &Running| running.entry.migration.phase();
        let mut waiting: Vec<_> = self
            .running
            .iter()
            .filter(|(_, running)| phase(running) == Phase::Planned)
            .map(|(id, running)| (running.entry.about.turn(), id.clone()))
            .collect();
        waiting.sort();
        let frozen = !waiting.is_empty() && self.not_frozen().is_err();
        self.withheld = frozen && self.frozen.is_none();
        if frozen {
            return Ok(());
        }
        // Those that wait for their reads have their room already.
        let mut next: Vec<Spec> = Vec::new();
        for (_, id) in waiting {
            let under_way = self
                .running
                .values()
                .filter(|running| !matches!(phase(running), Phase::Planned | Phase::AwaitingApproval))
                .map(|running| running.entry.migration.spec())
                .chain(&next);
            let spec = self.running[&id].entry.migration.spec().clone();
            let takes = self.outside.takes(spec.partition.system());
            if self.limits.admit(&spec, under_way, takes).is_err() {
                continue;
            }
            match self.clear_reads(&spec)? {
                None => self.happen(&id, Event::Admitted, Vec::new())?,
                Some(_) => next.push(spec),
            }
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<(), JournalError> {
        let now = self.journal.now();
        let due = |running: &Running| running.entry.migration.deadline().is_some_and(|at| at <= now);
        let due: Vec<_> =
            self.running.iter().filter(|(_, running)| due(running)).map(|(id, _)| id.clone()).collect();
        for id in due {
            self.happen(&id, Event::Due, Vec::new())?;
        }
        self.tick_shifts()
    }

    /// How long nothing is due.
    fn wait(&self) -> Duration {
        let now = self.journal.now();
        let next = self.running.values().filter_map(|running| running.entry.migration.deadline());
        let next = next.chain(self.shifts_due()).min();
        let Moment(next) = next.unwrap_or(now.after_ms(60_000));
        let wait = Duration::from_millis(next.saturating_sub(now.0).clamp(1, 60_000));
        if self.withheld { wait.min(LOOK_AGAIN) } else { wait }
    }

    /// Something happened to a migration: what follows is written, and then done. One that has ended hears no more.
    fn happen(&mut self, id: &MigrationId, event: Event, mut lines: Vec<Line>) -> Result<(), JournalError> {
        let now_ms = self.outside.now_ms();
        let Some(running) = self.running.get_mut(id) else { return Ok(()) };
        let quiet = matches!(event, Event::Progressed(_) | Event::Due);
        let before = running.entry.migration.phase();
        let next = running.entry.migration.handle(event, self.journal.now());
        let after = next.migration.phase();
        let (id, partition) = (id.clone(), next.migration.spec().partition.clone());
        running.entry.migration = next.migration;
        if after != before {
            running.pace = Pace::default();
            let mut line = Line::own(now_ms, Kind::Phase, name_of(after)).of(&id, &partition);
            line.why = running.entry.migration.cause().map(ToString::to_string).unwrap_or_default();
            lines.push(line);
        }
        for command in &next.commands {
            if let Command::Perform { request, .. } = command {
                lines.push(Line::own(now_ms, Kind::Call, request.id.to_string()).of(&id, &partition));
            }
        }
        let ended = running.entry.migration.end().is_some();
        running.entry.about.ended_ms = ended.then_some(now_ms);
        running.entry.about.rolled_back = ended && told::rolled_back(before, after);
        if !quiet || !lines.is_empty() || !next.commands.is_empty() {
            self.journal.write(&running.entry, &lines)?;
        }
        if let Some(theirs) = running.entry.migration.superseded() {
            return Err(JournalError::Superseded { theirs: theirs.0, ours: self.journal.term().0 });
        }
        if after != before {
            let cause = running.entry.migration.cause().map(ToString::to_string);
            let words = running.entry.about.words.as_deref();
            tracing::info!(migration = %id, %partition, phase = %name_of(after), cause, words, "a migration's phase");
        }
        for command in next.commands {
            self.calls.command(&running.entry.migration, command, &mut running.watched);
        }
        if ended && let Some(running) = self.running.remove(&id) {
            self.reads_moved(&running.entry.migration)?;
        }
        Ok(())
    }

    /// Takes what an answer has for people: a success makes the words of a refusal old.
    fn learn(&mut self, id: &MigrationId, learned: told::Learned) {
        let now_ms = self.outside.now_ms();
        let Some(running) = self.running.get_mut(id) else { return };
        let told::Learned { words, compared } = learned;
        if let Some(words) = words {
            running.entry.about.words = words;
        }
        if let Some(compared) = compared {
            let serving = running.entry.migration.serving();
            running.entry.about.keep(compared.at(now_ms, serving));
        }
    }

    fn line(&self, id: &MigrationId, kind: Kind, what: String) -> Option<Line> {
        let partition = &self.running.get(id)?.entry.migration.spec().partition;
        Some(Line::own(self.outside.now_ms(), kind, what).of(id, partition))
    }

    fn publish(&self) {
        let seen = |running: &Running| running.pace.seen(running.entry.clone());
        let planned = |running: &Running| running.entry.migration.phase() == Phase::Planned;
        let frozen = self.running.values().any(planned).then(|| self.not_frozen().err()).flatten();
        let waits = |running: &Running| {
            if let Some(frozen) = &frozen {
                return Some(frozen.to_string());
            }
            let spec = running.entry.migration.spec();
            if let Some(waits) = self.waits_for_reads(spec) {
                return Some(waits);
            }
            let others = self.running.values().map(|running| &running.entry.migration);
            let others =
                others.filter(|other| !matches!(other.phase(), Phase::Planned | Phase::AwaitingApproval));
            let takes = self.outside.takes(spec.partition.system());
            self.limits.admit(spec, others.map(Migration::spec), takes).err().map(|waits| waits.to_string())
        };
        let migrations = self.running.values().map(|running| Seen {
            waits: planned(running).then(|| waits(running)).flatten(),
            ..seen(running)
        });
        let migrations = migrations.collect();
        let shifts = self.shifts.values().map(|held| held.shift.clone()).collect();
        let board = Board { migrations, shifts, frozen: self.frozen.clone(), term: self.journal.term() };
        self.board.send_replace(Arc::new(board));
    }
}

/// Answers, and keeps for the runner what it cannot go on after.
fn answer<T>(reply: Reply<T>, did: Result<T, Refused>) -> Result<(), JournalError> {
    match did {
        Err(Refused::Journal(error @ (JournalError::Database { .. } | JournalError::Superseded { .. }))) => {
            drop(reply);
            Err(error)
        }
        did => {
            // Whoever asked may have gone.
            let _ = reply.send(did);
            Ok(())
        }
    }
}
