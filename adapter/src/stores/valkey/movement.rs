//! Moving a bucket: the engine does it, and goes on if nobody looks. Here it is begun once, watched, and cancelled.

use super::Valkey;
use super::baseline::Baseline;
use super::jobs::{Job, Operation, Stage};
use super::nodes::Failure;
use super::sight::{Ends, Scene};
use crate::contract::Refusal;
use crate::store::{Task, Told};
use isotherm_migration::{Progress, Reason, Side};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between two looks at a migration under way.
const POLL: Duration = Duration::from_millis(200);

/// Between the two looks at the sample before the engine is told to begin.
const FIRST_LOOKS: Duration = Duration::from_millis(500);

/// Between two looks at the sample while it copies.
const LOOK: Duration = Duration::from_secs(1);

/// Between two notes of what was seen.
const NOTE: Duration = Duration::from_secs(5);

/// For how long nodes may not answer, or contradict each other, before a step gives up. A failover takes as long.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// What is remembered of the source.
pub(super) const BASELINE: &str = "baseline";

/// When to ask again while the source sends something else.
const TURN_MS: u64 = 2_000;

/// A way that a bucket is moved, and the note that says so.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    pub(super) ends: Ends,
    /// The name of the note.
    note: &'static str,
    /// Whether the source is remembered.
    compared: bool,
}

/// What is noted before the engine is told to move a bucket: by it, the migration is found again.
#[derive(Debug, Serialize, Deserialize)]
struct Begun {
    /// The node that was told.
    by: String,
    /// The migrations of the bucket that it had had until then.
    before: Vec<String>,
}

/// What one look brought.
enum Turn {
    /// The bucket is at the other end.
    Arrived,
    /// It is under way.
    Goes,
    /// It will not get there.
    Over(Refusal),
}

/// What was found of the migration that was noted.
enum Own<'a> {
    /// None was noted.
    NotBegun,
    /// This is it.
    Job(&'a Job),
    /// The node has forgotten it.
    Lost,
}

/// What is known from one look to the next.
struct Watch {
    /// Keys at the source when it began, if known.
    total: Option<u64>,
    /// Keys that the target had at most.
    done: u64,
    /// The source, where it is compared.
    baseline: Option<Baseline>,
    looked: Instant,
    noted: Instant,
}

impl Way {
    /// From source to target.
    pub(super) fn forth(ends: Ends) -> Self {
        Self { ends, note: "forth", compared: true }
    }

    /// From target to source.
    pub(super) fn back(ends: Ends) -> Self {
        Self { ends: ends.reversed(), note: "back", compared: false }
    }
}

impl Valkey {
    /// Moves the bucket, from wherever it is on the way.
    pub(super) async fn carry(&self, task: &Task, way: Way) -> Result<(), Refusal> {
        let mut watch = Watch::resume(task, way)?;
        let mut answered = Instant::now();
        loop {
            match self.turn(task, way, &mut watch).await {
                Ok(Turn::Arrived) => return watch.note(task),
                Ok(Turn::Goes) => answered = Instant::now(),
                Ok(Turn::Over(refusal)) => return Err(refusal),
                Err(refusal) if is_passing(&refusal) && answered.elapsed() < PATIENCE => {}
                Err(refusal) => return Err(refusal),
            }
            tokio::select! {
                () = task.stop.cancelled() => return Err(Refusal::not_now("stopped")),
                () = sleep(POLL) => {}
            }
        }
    }

    async fn turn(&self, task: &Task, way: Way, watch: &mut Watch) -> Result<Turn, Refusal> {
        let scene = self.scene(way.ends).await?;
        match scene.side {
            Side::Target => return Ok(Turn::Arrived),
            Side::Neither => {
                let what = "the slots are neither at the source nor at the target: somebody else moved them";
                return Ok(Turn::Over(Refusal::conflict(what)));
            }
            Side::Source => {}
        }
        let jobs = self.jobs(scene.from.address).await?;
        let begun = way.begun(task)?;
        match begun.as_ref().map_or(Own::NotBegun, |begun| begun.find(way, &scene, &jobs)) {
            Own::NotBegun => self.begin(task, way, &scene, watch).await,
            Own::Lost => {
                let what =
                    format!("{} was restarted or replaced, and its migration is lost", scene.from.address);
                self.over(task, way, &scene, Refusal::not_now(what)).await
            }
            Own::Job(job) => match job.stage {
                Stage::Copying | Stage::HandingOver => {
                    self.follow(task, way, &scene, job, watch).await?;
                    Ok(Turn::Goes)
                }
                Stage::Succeeded => {
                    Err(Refusal::not_now("the slots were handed over, and are still seen at the source"))
                }
                Stage::Failed => {
                    let what = format!("the engine gave the migration up: {}", job.message);
                    self.over(task, way, &scene, Refusal::not_now(what)).await
                }
                Stage::Cancelled => {
                    let what = "somebody cancelled the migration in the engine";
                    self.over(task, way, &scene, Refusal::conflict(what)).await
                }
            },
        }
    }

    /// Tells the engine to move the bucket, if the source moves nothing else: what is cancelled, is cancelled for all
    /// that a node sends.
    async fn begin(&self, task: &Task, way: Way, scene: &Scene, watch: &mut Watch) -> Result<Turn, Refusal> {
        let _one_at_a_time = self.starts.lock().await;
        let source = scene.from.address;
        let jobs = self.jobs(source).await?;
        if let Some(other) = jobs.iter().find(|job| job.is_active_export()) {
            let reason = Reason::Throttled { retry_after_ms: Some(TURN_MS) };
            let what = format!("{source} is sending slot migration {} ({})", other.name, other.state);
            return Ok(Turn::Over(Refusal::new(reason, what)));
        }
        watch.total = Some(self.keys(source, way.ends.bucket).await?);
        if way.compared {
            let mut baseline = self.first_look(source, way.ends.bucket).await?;
            // However quick the engine is: what is written all the time is known before.
            sleep(FIRST_LOOKS).await;
            let again = self.look(source, way.ends.bucket, baseline.keys()).await?;
            baseline.look(&again);
            watch.baseline = Some(baseline);
            watch.note(task)?;
        }
        let before =
            jobs.iter().filter(|job| job.moves(way.ends.bucket)).map(|job| job.name.clone()).collect();
        way.note(task, Some(&Begun { by: scene.from.id.clone(), before }))?;
        let mut command = redis::cmd("CLUSTER");
        let (first, last) = (way.ends.bucket.first, way.ends.bucket.last);
        command.arg("MIGRATESLOTS").arg("SLOTSRANGE").arg(first).arg(last).arg("NODE").arg(&scene.to.id);
        match self.nodes.ask::<()>(source, &command).await {
            Ok(()) => Ok(Turn::Goes),
            // It may have heard; the next look tells.
            Err(failure @ Failure::Unreachable { .. }) => Err(failure.into()),
            Err(failure @ (Failure::Busy { .. } | Failure::Forbidden { .. } | Failure::Refused { .. })) => {
                way.note(task, None)?;
                Ok(Turn::Over(failure.into()))
            }
        }
    }

    /// The migration has ended at the source. It is over once the target has thrown its part away.
    async fn over(&self, task: &Task, way: Way, scene: &Scene, refusal: Refusal) -> Result<Turn, Refusal> {
        self.settle(scene.to.address, way.ends).await?;
        way.note(task, None)?;
        Ok(Turn::Over(refusal))
    }

    /// Tells how far the migration is, and looks at the source's sample now and then.
    async fn follow(
        &self,
        task: &Task,
        way: Way,
        scene: &Scene,
        job: &Job,
        watch: &mut Watch,
    ) -> Result<(), Refusal> {
        let keys = self.keys(scene.to.address, way.ends.bucket).await?;
        task.progress.tell(watch.told(keys, job));
        let Some(baseline) = &mut watch.baseline else { return Ok(()) };
        if watch.looked.elapsed() < LOOK || job.stage == Stage::HandingOver {
            return Ok(());
        }
        let source = scene.from.address;
        let Ok(look) = self.look(source, way.ends.bucket, baseline.keys()).await else { return Ok(()) };
        // What was read while slots went away says nothing: it counts if the migration was copying also afterwards.
        let copying = |later: &Job| later.name == job.name && later.stage == Stage::Copying;
        if self.jobs(source).await?.iter().any(copying) {
            baseline.look(&look);
            watch.looked = Instant::now();
        }
        if watch.noted.elapsed() >= NOTE { watch.note(task) } else { Ok(()) }
    }

    /// Waits until a node has nothing of a bucket that it does not serve. One that does not answer has lost its
    /// connection to the source, too, or its process: either way it throws its part away by itself.
    pub(super) async fn settle(&self, node: SocketAddr, ends: Ends) -> Result<(), Refusal> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.left_at(node, ends).await {
                Ok(None) => return Ok(()),
                Ok(Some(_)) if Instant::now() < deadline => sleep(POLL).await,
                Ok(Some(left)) => return Err(Refusal::not_now(left)),
                Err(refusal) if is_passing(&refusal) => return Ok(()),
                Err(refusal) => return Err(refusal),
            }
        }
    }

    /// What a node has of a bucket that it does not serve.
    pub(super) async fn left_at(&self, node: SocketAddr, ends: Ends) -> Result<Option<String>, Refusal> {
        let jobs = self.jobs(node).await?;
        let active = jobs.iter().find(|job| job.stage.is_active() && job.touches(ends.bucket));
        if let Some(job) = active {
            return Ok(Some(format!("slot migration {} ({}) on {node}", job.name, job.state)));
        }
        let keys = self.keys(node, ends.bucket).await?;
        Ok((keys > 0).then(|| format!("{keys} keys of {} on {node}", ends.bucket.name())))
    }

    /// Restores the start: the migration is cancelled, and the target has nothing of it.
    pub(super) async fn cancel(&self, ends: Ends) -> Result<(), Refusal> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let scene = self.scene(ends).await?;
            if scene.side != Side::Source {
                let what = "the slots are not at the source any more: reverse the migration instead";
                return Err(Refusal::new(Reason::StaleEpoch, what));
            }
            if !self.cancelled(&scene, ends).await? {
                if Instant::now() >= deadline {
                    return Err(Refusal::not_now("the engine does not end the migration"));
                }
                sleep(POLL).await;
                continue;
            }
            self.settle(scene.to.address, ends).await?;
            // The target may have taken over in the last moment.
            if self.scene(ends).await?.side == Side::Source {
                return Ok(());
            }
        }
    }

    /// Whether nothing of the bucket leaves the source any more; if something does, it is told to stop.
    async fn cancelled(&self, scene: &Scene, ends: Ends) -> Result<bool, Refusal> {
        let source = scene.from.address;
        let jobs = match self.jobs(source).await {
            Ok(jobs) => jobs,
            // A process that is gone sends nothing.
            Err(_) if scene.from.health == isotherm_proto::Health::Down => return Ok(true),
            Err(refusal) => return Err(refusal),
        };
        let active: Vec<&Job> = jobs.iter().filter(|job| job.is_active_export()).collect();
        let Some(own) = active.iter().find(|job| job.touches(ends.bucket)) else { return Ok(true) };
        if own.stage == Stage::HandingOver {
            return Ok(false);
        }
        if let Some(other) = active.iter().find(|job| job.name != own.name) {
            let what = format!(
                "{source} also sends slot migration {}, which would be cancelled with it; wait for its end",
                other.name
            );
            return Err(Refusal::not_now(what));
        }
        match self.nodes.ask::<()>(source, redis::cmd("CLUSTER").arg("CANCELSLOTMIGRATIONS")).await {
            // It says no if there is nothing to cancel: the next look tells.
            Ok(()) | Err(Failure::Refused { .. }) => Ok(false),
            Err(
                failure @ (Failure::Unreachable { .. } | Failure::Busy { .. } | Failure::Forbidden { .. }),
            ) => Err(failure.into()),
        }
    }
}

impl Way {
    fn begun(self, task: &Task) -> Result<Option<Begun>, Refusal> {
        Ok(read::<Option<Begun>>(task, self.note)?.flatten())
    }

    fn note(self, task: &Task, begun: Option<&Begun>) -> Result<(), Refusal> {
        write(task, self.note, &begun)
    }
}

impl Begun {
    fn find<'a>(&self, way: Way, scene: &Scene, jobs: &'a [Job]) -> Own<'a> {
        let own = |job: &&Job| {
            job.operation == Operation::Export
                && job.moves(way.ends.bucket)
                && job.target == scene.to.id
                && !self.before.contains(&job.name)
        };
        match jobs.iter().find(own) {
            Some(job) if self.by == scene.from.id => Own::Job(job),
            Some(_) | None => Own::Lost,
        }
    }
}

impl Watch {
    fn resume(task: &Task, way: Way) -> Result<Self, Refusal> {
        let baseline: Option<Baseline> = if way.compared { read(task, BASELINE)? } else { None };
        let total = baseline.as_ref().map(Baseline::count);
        Ok(Self { total, done: 0, baseline, looked: Instant::now(), noted: Instant::now() })
    }

    fn note(&mut self, task: &Task) -> Result<(), Refusal> {
        self.noted = Instant::now();
        match &self.baseline {
            Some(baseline) => write(task, BASELINE, baseline),
            None => Ok(()),
        }
    }

    fn told(&mut self, keys: u64, job: &Job) -> Told {
        self.done = self.done.max(keys);
        let progress = Progress {
            done: self.done,
            total: self.total.map(|total| total.max(self.done)),
            // While the snapshot is made, the engine says 0: it does not count what is left of that.
            lag_bytes: job
                .unsent_bytes
                .filter(|_| job.state == "replicating" || job.stage == Stage::HandingOver),
            throttled_by: None,
            resume: None,
            handing_over: job.stage == Stage::HandingOver,
        };
        Told { progress, unit: "keys", estimated: true, position: None }
    }
}

/// Whether it may be otherwise in a moment.
fn is_passing(refusal: &Refusal) -> bool {
    matches!(refusal.reason, Reason::Transient { .. })
}

/// What was noted under a name.
pub(super) fn read<T: for<'a> Deserialize<'a>>(task: &Task, name: &str) -> Result<Option<T>, Refusal> {
    let Some(text) = task.notes.get(name)? else { return Ok(None) };
    let noted = serde_json::from_str(&text);
    noted.map_err(|error| {
        Refusal::conflict(format!("note {name:?} of {} cannot be read: {error}", task.migration.id))
    })
}

fn write<T: Serialize>(task: &Task, name: &str, value: &T) -> Result<(), Refusal> {
    let text = serde_json::to_string(value);
    task.notes.set(
        name,
        &text.map_err(|error| Refusal::conflict(format!("note {name:?} cannot be written: {error}")))?,
    )
}
