//! A journal, adapters, and a runner that dies where it is told to.

use crate::fake::{Fake, World};
use futures::future::BoxFuture;
use isotherm_adapter::client::Client;
use isotherm_adapter::contract;
use isotherm_migration::{
    Capabilities, Fence, MigrationId, Origin, Phase, Policy, Request, RequestId, Retry, Revision, Spec, Step,
    Switch, Term,
};
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_runner::journal::{Diary, FILE, Listed, Reading};
use isotherm_runner::{Connect, Handle, Journal, Kind, Limits, Line, Start, Trigger, handle, run};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tracing::span;

/// The longest that all of a scene may take, on a machine that has much else to do.
const LIMIT: Duration = Duration::from_secs(300);

/// Nobody counts so far.
const NEVER: u64 = u64::MAX / 2;

/// What a runner that is killed says. It is no panic of a test.
struct Killed;

/// Counts down to a death; beyond all that is counted, there is none.
#[derive(Debug)]
pub(crate) struct Countdown(AtomicU64);

impl Countdown {
    pub(crate) fn new(at: u64) -> Self {
        Self(AtomicU64::new(at))
    }

    fn count(&self) {
        if self.0.fetch_sub(1, Ordering::Relaxed) == 0 {
            // The runner that follows is not killed.
            self.0.store(NEVER, Ordering::Relaxed);
            resume_unwind(Box::new(Killed));
        }
    }
}

impl Default for Countdown {
    fn default() -> Self {
        Self::new(NEVER)
    }
}

/// Where the runner dies by itself.
#[derive(Debug, Default)]
pub(crate) struct Deaths {
    /// Before something is written.
    pub(crate) before_write: Countdown,
    /// When a phase has been written, and nothing of it is done.
    pub(crate) after_phase: Countdown,
}

/// The runner tells its log of a phase once that is written, and before it makes the calls of it.
struct Log(Arc<Deaths>);

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target() == "isotherm_runner::runner"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        if event.metadata().fields().field("cause").is_some() {
            self.0.after_phase.count();
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Outside {
    /// Of each system: the address of its adapter, and how many migrations that takes.
    adapters: BTreeMap<SystemId, (String, u32)>,
    deaths: Arc<Deaths>,
}

impl Connect for Outside {
    fn connect(&self, system: &SystemId) -> BoxFuture<'static, Result<Channel, String>> {
        let endpoint = Endpoint::from_shared(self.adapters[system].0.clone()).unwrap();
        Box::pin(async move { endpoint.connect().await.map_err(|error| error.to_string()) })
    }

    fn takes(&self, system: &SystemId) -> u32 {
        self.adapters[system].1
    }

    fn moved(&self, _: &Spec) -> Option<Revision> {
        None
    }

    fn frozen(&self) -> Option<String> {
        None
    }

    fn now_ms(&self) -> u64 {
        // Whatever is written has a time, which is asked for before.
        self.deaths.before_write.count();
        u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
    }
}

/// A way of migrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) switch: Switch,
    pub(crate) fence: Fence,
    pub(crate) repair: bool,
}

pub(crate) struct Scene {
    runtime: Runtime,
    folder: TempDir,
    pub(crate) world: Arc<Mutex<World>>,
    outside: Arc<Outside>,
    limits: Limits,
    /// How it is reached, and whether it was killed, once it has ended.
    runner: Option<(Handle, std::thread::JoinHandle<bool>)>,
    /// How often it died.
    pub(crate) died: u32,
}

pub(crate) fn system(name: &str) -> SystemId {
    SystemId::new(name).unwrap()
}

pub(crate) fn spec(id: &str, of: &SystemId, way: Way, from: &str, to: &str) -> Spec {
    let node = |name: &str| NodeId::new(of.clone(), name).unwrap();
    Spec {
        id: MigrationId::new(id).unwrap(),
        partition: PartitionId::new(of.clone(), id).unwrap(),
        origin: if way.repair {
            Origin::Repair { dead: node(from) }
        } else {
            Origin::Move { source: node(from) }
        },
        target: node(to),
        revision: Revision(1),
        capabilities: Capabilities {
            switch: way.switch,
            fence: way.fence,
            repair_from_replica: true,
            reverse: true,
        },
        policy: Policy {
            probation_ms: 20,
            call_timeout_ms: 5_000,
            poll_ms: 2,
            retry: Retry { first_ms: 2, longest_ms: 20, ..Retry::default() },
            ..Policy::default()
        },
    }
}

impl Scene {
    /// With an adapter for each of `systems`, which takes so many migrations.
    pub(crate) fn new(way: Way, systems: &[(&str, u32)], limits: Limits, deaths: Deaths) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.unwrap();
        // Processes die here, and no machine: what is written need not reach a disk.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let world = World::new(Some(Reading::new(folder.path().join(FILE))));
        let adapter = |(name, takes): &(&str, u32)| {
            let url = Fake::serve(&world, runtime.handle(), &system(name), way.switch);
            (system(name), (url, *takes))
        };
        let adapters = systems.iter().map(adapter).collect();
        let outside = Arc::new(Outside { adapters, deaths: Arc::new(deaths) });
        let mut scene = Self { runtime, folder, world, outside, limits, runner: None, died: 0 };
        scene.start();
        scene
    }

    fn start(&mut self) {
        let (handle, mut inbox) = handle();
        let stop = CancellationToken::new();
        self.world().stop = stop.clone();
        let journal = Journal::open(self.folder.path()).unwrap();
        let (limits, outside) = (self.limits.clone(), Arc::clone(&self.outside));
        let (runtime, log) = (self.runtime.handle().clone(), Log(Arc::clone(&self.outside.deaths)));
        let thread = std::thread::spawn(move || {
            let lives = || run(journal, limits, outside, &mut inbox, &runtime, &stop).unwrap();
            let lived = catch_unwind(AssertUnwindSafe(|| tracing::subscriber::with_default(log, lives)));
            match lived {
                Ok(()) => false,
                Err(death) if death.is::<Killed>() => true,
                Err(death) => resume_unwind(death),
            }
        });
        self.runner = Some((handle, thread));
    }

    /// Begins anew if the runner has died.
    fn look(&mut self) {
        if self.runner.as_ref().is_some_and(|(_, thread)| thread.is_finished()) {
            self.close();
            self.start();
        }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn reading(&self) -> Reading {
        Reading::new(self.folder.path().join(FILE))
    }

    /// Begins a migration; again, where the runner died before it was written.
    pub(crate) fn begin(&mut self, spec: &Spec) {
        while self.reading().migration(spec.id.as_str()).unwrap().is_none() {
            let (by, reason) = ("ann".to_owned(), "smoke".to_owned());
            let start = Start { spec: spec.clone(), by, reason, trigger: Trigger::Manual };
            let handle = self.runner.as_ref().unwrap().0.clone();
            if self.runtime.block_on(handle.start(start)).is_err() {
                // It answers only once it has ended.
                std::thread::sleep(Duration::from_millis(2));
            }
            self.look();
        }
    }

    /// Makes the first call of a migration, past the runner.
    pub(crate) fn call(&self, spec: &Spec) {
        let step = Step::ValidateMigration;
        let id = RequestId { migration: spec.id.clone(), step: step.kind(), epoch: None, attempt: 1 };
        let request = Request { id, epochs: None, step };
        self.runtime.block_on(async {
            let channel = self.outside.connect(spec.partition.system()).await.unwrap();
            let client = Client::new(channel, Duration::from_secs(5));
            let _ = client.perform(&contract::Migration::from(spec), Term(1), &request).await;
        });
    }

    /// Has the runner end, if it lives still, and notes whether it had died: by itself, or with a call.
    fn close(&mut self) {
        let (_, thread) = self.runner.take().unwrap();
        let stop = self.world().stop.clone();
        let struck = stop.is_cancelled();
        stop.cancel();
        self.died += u32::from(thread.join().unwrap() || struck);
    }

    /// Waits for all to end, and for the last runner, with as many runners as that takes.
    pub(crate) fn end_all(&mut self) {
        let begun = Instant::now();
        let open = Listed { ended: false, limit: 1_000 };
        loop {
            self.look();
            let left = self.reading().migrations(&open).unwrap();
            let stopped = left.iter().any(|entry| entry.migration.phase() == Phase::NeedsOperator);
            if left.is_empty() {
                return self.close();
            }
            let phases: Vec<_> = left
                .iter()
                .map(|entry| (entry.migration.phase(), entry.migration.cause().cloned()))
                .collect();
            assert!(
                !stopped && begun.elapsed() < LIMIT,
                "they do not end: {phases:?}, {:?}",
                self.world().heard
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// What the diary has of a migration.
    pub(crate) fn lines(&self, id: &str) -> Vec<Line> {
        let asked = Diary { migration: Some(id.to_owned()), limit: 10_000, ..Diary::default() };
        self.reading().diary(&asked).unwrap()
    }

    /// The phases it was in, as they were told.
    pub(crate) fn phases(&self, id: &str) -> Vec<String> {
        let lines = self.lines(id).into_iter();
        lines.filter(|line| line.kind == Kind::Phase).map(|line| line.what).collect()
    }
}

impl Drop for Scene {
    /// Also where a test has failed.
    fn drop(&mut self) {
        self.world.lock().unwrap_or_else(std::sync::PoisonError::into_inner).stop.cancel();
        if let Some((_, thread)) = self.runner.take() {
            drop(thread.join());
        }
    }
}
