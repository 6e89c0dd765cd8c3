//! Who looks after failures: what is seen becomes books, books are written, and then something is done.

use super::book::{self, Book, Breaker};
use super::decide::{self, Standing};
use super::recent::Recent;
use super::settings::{Settings, ms};
use super::status::{self, Status, SystemStatus};
use super::told::{self, Told};
use super::track::{self, Look};
use super::{Denied, Parts, Turn, Wish, act, breaker};
use crate::migrate::Migrations;
use crate::topology::kept::Past as Record;
use crate::topology::{Freshness, Origin, Topology};
use crate::writer::{now, with_causes};
use isotherm_migration::Phase;
use isotherm_model::{NodeId, PartitionId, SystemId, Timestamp};
use isotherm_runner::{Entry, Kind, Line, Refused};
use isotherm_store::Cause;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Between two looks.
const TICK: Duration = Duration::from_secs(1);

/// Within what repairs are counted for `per_hour`.
pub(super) const HOUR_MS: u64 = 3_600_000;

/// Longer than topologies are remembered, and adapters take to tell of a change.
const LATELY_MS: u64 = 60_000;

/// How old a record of the topology may be to tell what a node held before a start. One is written every day.
const RECORD_MS: u64 = 2 * 86_400_000;

/// Who looks after failures.
pub(super) struct Keeper {
    pub(super) parts: Parts,
    pub(super) settings: Settings,
    hold_ms: u64,
    books: BTreeMap<SystemId, Book>,
    recent: BTreeMap<SystemId, Recent>,
    /// What was being moved, and when that was last so: as long as a topology is remembered that may have its copy.
    lately: BTreeMap<PartitionId, ((NodeId, NodeId), u64)>,
    /// The topology of a start, from the record.
    record: Option<Arc<Topology>>,
    /// The topology that each book was last tracked on.
    tracked: BTreeMap<SystemId, u64>,
    pub(super) told: Told,
    pub(super) planned: BTreeMap<SystemId, act::Planned>,
    trouble: Option<String>,
}

/// One system at one look.
pub(super) struct Scene {
    pub(super) system: SystemId,
    pub(super) topology: Arc<Topology>,
    pub(super) book: Book,
    pub(super) standings: BTreeMap<String, Standing>,
    /// Repairs that a failure began, as far back as anybody looks.
    pub(super) repairs: Vec<Entry>,
    pub(super) now_ms: u64,
}

impl Keeper {
    /// Takes over what the journal has; waits until it has been opened. `None` if what it has cannot be understood.
    pub(super) async fn open(parts: Parts, settings: Settings) -> Option<Self> {
        let mut board = parts.migrations.handle.board();
        board.wait_for(|board| board.term.0 > 0).await.ok()?;
        let (reading, dir) = (parts.migrations.reading.clone(), parts.dir.clone());
        let opened = tokio::task::spawn_blocking(move || (reading.repairs(), recorded(&dir)));
        let (kept, record) = opened.await.ok()?;
        let books = kept.map_err(|error| with_causes(&error)).and_then(books);
        let books =
            books.map_err(|error| tracing::error!(%error, "there are no repairs until that is mended"));
        Some(Self {
            hold_ms: ms(parts.hold_down),
            books: books.ok()?,
            parts,
            settings,
            recent: BTreeMap::new(),
            lately: BTreeMap::new(),
            record,
            tracked: BTreeMap::new(),
            told: Told::default(),
            planned: BTreeMap::new(),
            trouble: None,
        })
    }

    pub(super) async fn run(
        mut self,
        mut wishes: mpsc::Receiver<Wish>,
        publish: watch::Sender<Arc<Status>>,
        stop: CancellationToken,
    ) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wish = tokio::select! {
                () = stop.cancelled() => return,
                Some(wish) = wishes.recv() => Some(wish),
                _ = ticks.tick() => None,
            };
            let done = match &wish {
                Some(wish) => self.turn(wish).await,
                None => Ok(Vec::new()),
            };
            if let Some(Some(status)) = stop.run_until_cancelled(self.look()).await {
                publish.send_replace(Arc::new(status));
            }
            // Who asks for the status after the answer sees what came of the wish. Whoever asked may have gone.
            let _ = wish.map(|wish| wish.reply.send(done));
        }
    }

    /// Looks at every system once. `None` if what is seen could not be written.
    async fn look(&mut self) -> Option<Status> {
        let mut status = Status::of(&self.settings);
        for system in self.systems() {
            match self.look_at(&system).await {
                Ok(one) => status.systems.push(one),
                Err(trouble) => {
                    if self.trouble.as_ref() != Some(&trouble) {
                        tracing::warn!(%system, %trouble, "repairs stand still; trying again");
                    }
                    self.trouble = Some(trouble);
                    // What was seen is not in the book yet.
                    self.tracked.remove(&system);
                    return None;
                }
            }
        }
        self.trouble = None;
        Some(status)
    }

    /// Systems with an adapter: nobody else could tell of failures, or make a replica.
    fn systems(&self) -> Vec<SystemId> {
        let topology = self.parts.topologies.borrow();
        let adapters = topology.sources.iter().filter(|(_, source)| match source.origin {
            Origin::Adapter { .. } => true,
            Origin::Configuration => false,
        });
        adapters.map(|(system, _)| system.clone()).collect()
    }

    async fn look_at(&mut self, system: &SystemId) -> Result<SystemStatus, String> {
        let now = now();
        let topology = self.parts.topologies.borrow().clone();
        let before = self.books.get(system).cloned().unwrap_or_default();
        let fresh = topology.sources.get(system).map(|source| source.freshness);
        let book = match fresh {
            Some(Freshness::Fresh) => self.track(system, &before, &topology, now),
            Some(Freshness::Stale | Freshness::Never) | None => before.clone(),
        };
        if book.failures.is_empty() && book.past.is_empty() {
            self.keep(system, &before, &book, now).await?;
            self.told.forget(system);
            return Ok(status::quiet(system, &book));
        }
        let maintained = self.maintained(now).await?;
        let standings = self.standings(system, &book, &topology, &maintained, now);
        let repairs = self.repairs(&book, now).await?;
        let system = system.clone();
        let mut scene = Scene { system, topology, book, standings, repairs, now_ms: now.as_ms() };
        if let Some(cause) = self.trip(&scene, fresh) {
            scene.book.open(now.as_ms(), cause, "isotherm");
        }
        self.keep(&scene.system, &before, &scene.book, now).await?;
        match fresh {
            Some(Freshness::Fresh) => self.act(scene).await,
            Some(Freshness::Stale | Freshness::Never) | None => Ok(status::unheard(&scene, &self.settings)),
        }
    }

    /// The next book, from what is seen.
    fn track(&mut self, system: &SystemId, book: &Book, topology: &Arc<Topology>, now: Timestamp) -> Book {
        let recent = self.recent.entry(system.clone());
        let recent = recent.or_insert_with(|| Recent::from_record(self.record.clone()));
        let (all, moving) = (recent.all(), moving(&self.parts.migrations));
        let now_ms = now.as_ms();
        self.lately.retain(|_, (_, at_ms)| at_ms.saturating_add(LATELY_MS) > now_ms);
        self.lately.extend(moving.iter().map(|(partition, way)| (partition.clone(), (way.clone(), now_ms))));
        let lately =
            self.lately.iter().map(|(partition, (way, _))| (partition.clone(), way.clone())).collect();
        recent.take(topology, now.as_ms());
        let moved = self.tracked.insert(system.clone(), topology.revision) != Some(topology.revision);
        let look = Look {
            system,
            topology,
            before: &all,
            moved,
            moving: &moving,
            lately: &lately,
            hold_ms: self.hold_ms,
            now_ms: now.as_ms(),
        };
        let mut next = track::track(book, &look);
        let window_ms = ms(self.settings.breaker_window);
        next.past.retain(|past| past.since_ms.saturating_add(window_ms) > now.as_ms());
        next
    }

    /// Nodes that are on record as taken down on purpose.
    async fn maintained(&self, now: Timestamp) -> Result<BTreeSet<NodeId>, String> {
        let reader = self.parts.reader.clone();
        let read = tokio::task::spawn_blocking(move || reader.down_intervals(Some(now))).await;
        let intervals = read.map_err(|error| error.to_string())?.map_err(|error| with_causes(&error))?;
        let going_on = intervals.into_iter().filter(|one| match one.cause {
            Cause::Maintenance => one.from <= now,
            Cause::Failure | Cause::AgentLoss => false,
        });
        Ok(going_on.map(|one| one.node).collect())
    }

    fn standings(
        &self,
        system: &SystemId,
        book: &Book,
        topology: &Topology,
        maintained: &BTreeSet<NodeId>,
        now: Timestamp,
    ) -> BTreeMap<String, Standing> {
        let witnesses = self.parts.witnesses.borrow().clone();
        let wait_ms = ms(self.settings.wait).max(self.hold_ms);
        let standing = |(name, failure): (&String, &book::Failure)| {
            let node = track::id(system, name)?;
            let witness = witnesses.get(&node).cloned().unwrap_or_default();
            let told = track::told(topology, &node);
            let maintained = maintained.contains(&node);
            let standing = decide::standing(failure, told, &witness, maintained, wait_ms, now.as_ms());
            Some((name.clone(), standing))
        };
        book.failures.iter().filter_map(standing).collect()
    }

    /// Repairs that a failure began: those of failures that are not over, of this hour, and since the breaker closed.
    async fn repairs(&self, book: &Book, now: Timestamp) -> Result<Vec<Entry>, String> {
        let first = book.failures.values().map(|failure| failure.since_ms).min();
        let hour = now.as_ms().saturating_sub(HOUR_MS);
        let since_ms = hour.min(first.unwrap_or(hour));
        let reading = self.parts.migrations.reading.clone();
        let read = tokio::task::spawn_blocking(move || reading.repaired_since(since_ms)).await;
        read.map_err(|error| error.to_string())?.map_err(|error| with_causes(&error))
    }

    /// Why the breaker must open, if it must and is not.
    fn trip(&self, scene: &Scene, fresh: Option<Freshness>) -> Option<String> {
        let Breaker::Closed { since_ms } = scene.book.breaker else { return None };
        let trip = match fresh {
            Some(Freshness::Stale) => {
                let counts = scene.standings.values().any(Standing::counts);
                let source = scene.topology.sources.get(&scene.system);
                let problem = source.and_then(|source| source.problem.clone()).unwrap_or_default();
                counts.then_some(breaker::Trip::Stale { problem })
            }
            Some(Freshness::Never) | None => None,
            Some(Freshness::Fresh) => {
                let book = &scene.book;
                let failed =
                    breaker::failed(book, &scene.standings, &self.settings, self.hold_ms, scene.now_ms);
                let named = scene.topology.nodes.keys().filter(|node| *node.system() == scene.system);
                let forgotten = book.failures.keys().filter_map(|name| track::id(&scene.system, name));
                let nodes = named.cloned().chain(forgotten).collect::<BTreeSet<NodeId>>().len();
                let of_system = scene.repairs.iter().filter(|entry| scene.owns(entry)).cloned();
                let in_a_row = breaker::in_a_row(&of_system.collect::<Vec<_>>(), since_ms);
                breaker::trips(&breaker::Counted { failed, nodes, in_a_row }, &self.settings)
            }
        };
        trip.map(|trip| trip.to_string())
    }

    /// Writes a book that is another than before, with what there is to tell of that.
    async fn keep(
        &mut self,
        system: &SystemId,
        before: &Book,
        book: &Book,
        now: Timestamp,
    ) -> Result<(), String> {
        if before == book {
            return Ok(());
        }
        let lines = told::changes(system, before, book, now.as_ms());
        self.write(system, book, lines).await.map_err(|refused| refused.to_string())
    }

    pub(super) async fn write(
        &mut self,
        system: &SystemId,
        book: &Book,
        lines: Vec<Line>,
    ) -> Result<(), Refused> {
        let state = serde_json::to_string(book).expect("a book has no keys but text");
        self.parts.migrations.handle.keep_repairs(system.clone(), state, lines).await?;
        self.books.insert(system.clone(), book.clone());
        Ok(())
    }

    /// Turns breakers by hand, or says which would be.
    async fn turn(&mut self, wish: &Wish) -> Result<Vec<SystemId>, Denied> {
        let systems = self.systems();
        let chosen: Vec<SystemId> = match &wish.system {
            Some(system) if !systems.contains(system) => return Err(Denied::NoSystem(system.clone())),
            Some(system) => vec![system.clone()],
            None if systems.is_empty() => return Err(Denied::NoSystems),
            None => systems,
        };
        let now_ms = now().as_ms();
        let mut turned = Vec::new();
        for system in chosen {
            let mut book = self.books.get(&system).cloned().unwrap_or_default();
            let what = match (wish.what, &book.breaker) {
                (Turn::Pause, Breaker::Closed { .. }) => {
                    book.open(now_ms, format!("paused: {}", wish.reason), &wish.by);
                    format!("pause repairs of {system}")
                }
                (Turn::Resume, Breaker::Open { .. }) => {
                    book.close(now_ms);
                    format!("resume repairs of {system}")
                }
                (Turn::Pause, Breaker::Open { .. }) | (Turn::Resume, Breaker::Closed { .. }) => continue,
            };
            if !wish.validate_only {
                let line = Line::own(now_ms, Kind::Wanted, what).by(&wish.by, &wish.reason);
                self.write(&system, &book, vec![line]).await?;
            }
            turned.push(system);
        }
        let state = match wish.what {
            Turn::Pause => "open",
            Turn::Resume => "closed",
        };
        if turned.is_empty() { Err(Denied::Same(state)) } else { Ok(turned) }
    }
}

impl Scene {
    pub(super) fn owns(&self, entry: &Entry) -> bool {
        *entry.migration.spec().partition.system() == self.system
    }
}

/// Books as they were written.
fn books(kept: Vec<(String, String)>) -> Result<BTreeMap<SystemId, Book>, String> {
    let book = |(system, state): (String, String)| {
        let problem = |error: String| format!("what is remembered of repairs of {system:?}: {error}");
        let id = SystemId::new(system.clone()).map_err(|error| problem(error.to_string()))?;
        Ok((id, serde_json::from_str(&state).map_err(|error| problem(error.to_string()))?))
    };
    kept.into_iter().map(book).collect()
}

/// The last topology that is on record, if it is not too old; without it nothing is known from before the start.
fn recorded(dir: &std::path::Path) -> Option<Arc<Topology>> {
    let now = now();
    let read = || -> anyhow::Result<Option<(Timestamp, Arc<Topology>)>> {
        let Some(mut record) = Record::open(dir)? else { return Ok(None) };
        record.newest(now)
    };
    let record =
        read().inspect_err(|error| tracing::warn!("the record of the topology is not used: {error:#}"));
    let (at, topology) = record.ok().flatten()?;
    (at.plus_ms(RECORD_MS) > now).then_some(topology)
}

/// Where partitions come from and go to that are being copied.
fn moving(migrations: &Migrations) -> BTreeMap<PartitionId, (NodeId, NodeId)> {
    let board = migrations.handle.board().borrow().clone();
    let under_way = board.migrations.iter().map(|seen| &seen.entry.migration);
    let under_way = under_way.filter(|one| !matches!(one.phase(), Phase::Planned | Phase::AwaitingApproval));
    let spec = under_way.map(isotherm_migration::Migration::spec);
    spec.map(|spec| (spec.partition.clone(), (spec.origin.node().clone(), spec.target.clone()))).collect()
}
