//! Scores: what is predicted when a migration begins is kept, and what is measured some time after its end beside it.
//!
//! The task follows the board for what begins and the journal for what has ended, so a restart loses nothing but the
//! prediction of what began and switched while nobody looked. What decides is pure: [predict], [measure] and [words].

mod measure;
mod predict;
mod words;

use super::Migrations;
use crate::cycle::{Cycled, Cycles};
use crate::topology::Topologies;
use crate::writer::{now, with_causes};
use isotherm_cycle::record::Record;
use isotherm_migration::{MigrationId, Phase};
use isotherm_model::{PartitionId, Timestamp};
use isotherm_runner::journal::score::{Course, Score, Scorecard, Scored};
use isotherm_runner::journal::{Diary, JournalError, Reading};
use isotherm_runner::{Kind, Line};
use isotherm_store::{Reader, Span};
use measure::{Found, Latencies};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long nothing is looked for at the most: the clock may be set meanwhile.
const LONGEST: Duration = Duration::from_secs(600);

/// Before something is tried again that could not be done.
const AGAIN: Duration = Duration::from_secs(2);

/// How long after it was due a score waits for a cycle that has judged the partition where it lies now.
const PATIENCE: Duration = Duration::from_secs(300);

/// Scores that are made at a time; the others follow at once.
const AT_A_TIME: u32 = 20;

/// Lines of a migration's diary: phases are a few among them.
const LINES: u32 = 10_000;

/// What the scores are made from.
pub(super) struct Keeper {
    pub(super) migrations: Migrations,
    pub(super) cycles: Cycles,
    pub(super) topologies: Topologies,
    pub(super) reader: Reader,
}

/// Keeps scores until `stop`.
pub(super) async fn follow(keeper: Keeper, stop: CancellationToken) {
    let mut board = keeper.migrations.handle.board();
    let (mut open, mut predicted) = (BTreeSet::new(), BTreeSet::new());
    let mut look = Instant::now();
    loop {
        let seen: BTreeSet<MigrationId> = keeper.predict(&mut predicted).await;
        if !open.is_subset(&seen) {
            look = Instant::now();
        }
        open = seen;
        if look <= Instant::now() {
            look = Instant::now() + keeper.measure().await;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = board.changed() => if changed.is_err() { return },
            () = tokio::time::sleep_until(look) => {}
        }
    }
}

impl Keeper {
    /// Keeps what is expected of migrations that were not seen before and have not switched. Returns all that are open.
    async fn predict(&self, predicted: &mut BTreeSet<MigrationId>) -> BTreeSet<MigrationId> {
        let board = self.migrations.handle.board().borrow().clone();
        let open: BTreeSet<MigrationId> =
            board.migrations.iter().map(|seen| seen.entry.migration.spec().id.clone()).collect();
        predicted.retain(|id| open.contains(id));
        for seen in &board.migrations {
            let migration = &seen.entry.migration;
            let spec = migration.spec();
            if predicted.contains(&spec.id) || !is_ahead(migration.phase()) {
                continue;
            }
            let cycled = self.cycles.borrow().clone();
            let size_bytes = self.size_bytes(&spec.partition);
            let expected = predict::predicted(spec, cycled.as_deref(), size_bytes, now().as_ms());
            let kept = self.migrations.handle.score(spec.id.clone(), Score::Predicted(expected), Vec::new());
            match kept.await {
                Ok(()) => drop(predicted.insert(spec.id.clone())),
                Err(error) => tracing::warn!(migration = %spec.id, %error, "a prediction is not kept"),
            }
        }
        open
    }

    /// Scores what is due. Returns how long nothing is.
    async fn measure(&self) -> Duration {
        let unscored = match self.read(|reading| reading.unscored(AT_A_TIME)).await {
            Ok(unscored) => unscored,
            Err(error) => {
                tracing::warn!(%error, "migrations are not scored");
                return AGAIN;
            }
        };
        let mut next = LONGEST;
        for scored in unscored {
            let wait = match self.wait(&scored) {
                Some(wait) => wait,
                None => self.score(scored).await.map_or(AGAIN, |()| Duration::ZERO),
            };
            next = next.min(wait);
        }
        next
    }

    /// How long a score has to wait; `None` if it is due.
    fn wait(&self, scored: &Scored) -> Option<Duration> {
        let ended_ms = scored.entry.about.ended_ms?;
        let after = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (now_ms, due_ms) =
            (now().as_ms(), ended_ms.saturating_add(after(self.migrations.config.trust.score_after)));
        if now_ms < due_ms {
            return Some(Duration::from_millis(due_ms - now_ms).min(LONGEST));
        }
        let judged = self.cycles.borrow().as_ref().is_some_and(|cycled| cycled.at.as_ms() >= ended_ms);
        let awaited = scored.card.as_ref().is_some_and(|card| card.predicted.loss.is_some());
        (awaited && !judged && now_ms < due_ms.saturating_add(after(PATIENCE))).then_some(AGAIN)
    }

    async fn score(&self, scored: Scored) -> Result<(), ()> {
        let spec = scored.entry.migration.spec().clone();
        let Some(predicted) = scored.card.map(|card| card.predicted) else { return Ok(()) };
        let refused = |error: String| tracing::warn!(migration = %spec.id, %error, "it is not scored yet");
        let ended_ms = scored.entry.about.ended_ms.unwrap_or(0);
        let course = self.course(&spec.id).await.map_err(refused)?;
        let latencies = self.latencies(&spec.partition, &course, ended_ms).await.map_err(refused)?;
        let cycled = self.cycles.borrow().clone().filter(|cycled| cycled.at.as_ms() >= ended_ms);
        let found = Found {
            course,
            cycled: cycled.as_deref(),
            size_bytes: self.size_bytes(&spec.partition),
            latencies,
            now_ms: now().as_ms(),
        };
        let measured = measure::measured(&spec, &predicted, &found);
        let card = Scorecard { predicted, measured: Some(measured.clone()) };
        let line = Line::own(found.now_ms, Kind::Outcome, words::told(&card)).of(&spec.id, &spec.partition);
        let kept = self.migrations.handle.score(spec.id.clone(), Score::Measured(measured), vec![line]);
        kept.await.map_err(|error| refused(error.to_string()))
    }

    async fn course(&self, id: &MigrationId) -> Result<Course, String> {
        let asked = Diary { migration: Some(id.to_string()), limit: LINES, ..Diary::default() };
        Ok(Course::of(&self.read(move |reading| reading.diary(&asked)).await?))
    }

    /// What is stored of the partition's latencies before it began and after it ended.
    async fn latencies(
        &self,
        partition: &PartitionId,
        course: &Course,
        ended_ms: u64,
    ) -> Result<Latencies, String> {
        let time_ms = u64::try_from(self.migrations.config.trust.score_after.as_millis()).unwrap_or(u64::MAX);
        let span = |since_ms: u64, until_ms: u64| Span {
            since: Some(Timestamp::from_ms(since_ms)),
            until: Some(Timestamp::from_ms(until_ms)),
        };
        let before = course.began_ms.map(|began_ms| span(began_ms.saturating_sub(time_ms), began_ms));
        let after = span(ended_ms, ended_ms.saturating_add(time_ms));
        let (reader, partition) = (self.reader.clone(), partition.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let before = before.map(|span| reader.latencies(&partition, span)).transpose()?;
            Ok(Latencies { before: before.unwrap_or_default(), after: reader.latencies(&partition, after)? })
        });
        let asked = asked.await.map_err(|error| error.to_string())?;
        asked.map_err(|error: isotherm_store::QueryError| with_causes(&error))
    }

    fn size_bytes(&self, partition: &PartitionId) -> Option<u64> {
        self.topologies.borrow().partitions.get(partition)?.size_bytes
    }

    /// Reads the journal on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Reading) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, String> {
        let reading = self.migrations.reading.clone();
        let read = tokio::task::spawn_blocking(move || question(&reading)).await;
        read.map_err(|error| error.to_string())?.map_err(|error| with_causes(&error))
    }
}

/// Whether the switch is still to come, so that what is known describes the start.
fn is_ahead(phase: Phase) -> bool {
    match phase {
        Phase::AwaitingApproval
        | Phase::Planned
        | Phase::Preflight
        | Phase::Preparing
        | Phase::Replicating
        | Phase::Repairing
        | Phase::CatchingUp
        | Phase::Verifying
        | Phase::Ready
        | Phase::Fencing => true,
        Phase::Unfencing
        | Phase::Committing
        | Phase::Switched
        | Phase::Retiring
        | Phase::Aborting
        | Phase::Reversing
        | Phase::NeedsOperator
        | Phase::Completed
        | Phase::Cancelled
        | Phase::Failed
        | Phase::Reversed
        | Phase::Expired => false,
    }
}

/// What a cycle says of a partition; records are by system and name.
fn record<'a>(cycled: &'a Cycled, partition: &PartitionId) -> Option<&'a Record> {
    let name = (partition.system().as_str(), partition.name());
    let key = |record: &'a Record| (record.system.as_str(), record.partition.as_str());
    let at = cycled.records.binary_search_by(|record| key(record).cmp(&name)).ok()?;
    cycled.records.get(at)
}

/// The probability of an incident, calibrated where it can be.
fn risk(record: &Record) -> Option<f64> {
    record.calibrated.or(record.exposure.as_ref().map(|exposed| exposed.risk))
}

/// What it loses; `None` where overload is not known.
fn loss(record: &Record) -> Option<isotherm_runner::journal::score::Loss> {
    let parts = record.loss?;
    let per_hour = parts.per_hour()?;
    Some(isotherm_runner::journal::score::Loss { per_hour, gray_per_hour: parts.gray })
}
