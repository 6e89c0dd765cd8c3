//! Clients as applications have them: they ask the master where a volume lies, remember that for a while, read from any
//! of its replicas, and write new objects where the master says. Every operation is recorded by its volume.
//!
//! A read goes to one replica and is not tried again: whatever keeps it from its object is an error that a user would
//! see. A write that is refused gets another place from the master, as SeaweedFS's own clients do; it is an error if
//! there is none to be had. What was acknowledged is remembered and can be looked for in the end.

use crate::load::Volume;
use crate::netns::Namespace;
use crate::seaweed::{Place, assign, content, http, locations, put};
use anyhow::{Context, Result, anyhow, ensure};
use fastrand::Rng;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Workers; a request that waits for a server holds up one of them.
const WORKERS: usize = 4;

/// Places that a write tries.
const PLACES: usize = 20;

/// Between two of them.
const PAUSE: Duration = Duration::from_millis(50);

/// Errors whose text is kept; all are counted.
const TEXTS: usize = 100;

/// What clients do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// All alike.
    pub volumes: Arc<[Volume]>,
    /// The same seed gives the same requests.
    pub seed: u64,
    /// Requests per second at the most.
    pub rate_per_second: f64,
    /// One request of so many is a PUT.
    pub put_every: NonZeroU64,
    /// How long a client remembers where a volume lies.
    pub remembers: Duration,
}

/// What became of the requests for a volume.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// GETs that brought the object.
    pub reads: u64,
    /// GETs that did not.
    pub read_errors: u64,
    /// PUTs that were acknowledged.
    pub writes: u64,
    /// PUTs that were refused here, and went elsewhere.
    pub writes_elsewhere: u64,
    /// PUTs for which there was no place at all; the last one tried was here.
    pub write_errors: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.reads += more.reads;
        self.read_errors += more.read_errors;
        self.writes += more.writes;
        self.writes_elsewhere += more.writes_elsewhere;
        self.write_errors += more.write_errors;
    }
}

/// What happened so far.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// By volume.
    pub volumes: BTreeMap<u32, Counts>,
    /// Volume and key of each object that was acknowledged.
    pub acknowledged: Vec<(u32, String)>,
    /// The first errors, by volume.
    pub errors: Vec<(u32, String)>,
}

impl History {
    fn of(&mut self, volume: u32) -> &mut Counts {
        self.volumes.entry(volume).or_default()
    }

    fn failed(&mut self, volume: u32, error: &anyhow::Error) {
        if self.errors.len() < TEXTS {
            self.errors.push((volume, format!("{error:#}")));
        }
    }
}

/// Running clients.
#[derive(Debug)]
pub struct Clients {
    stop: Arc<AtomicBool>,
    history: Arc<Mutex<History>>,
    workers: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Starts them inside the namespace of the store.
    pub fn start(namespace: &Namespace, plan: Plan) -> Result<Self> {
        ensure!(plan.volumes.iter().all(|volume| !volume.keys.is_empty()), "a volume is empty");
        let (stop, history) = (Arc::<AtomicBool>::default(), Arc::<Mutex<History>>::default());
        let (flag, seen) = (Arc::clone(&stop), Arc::clone(&history));
        let workers = namespace.run(move || {
            let start = |number| {
                let (plan, stop, history) = (plan.clone(), Arc::clone(&flag), Arc::clone(&seen));
                thread::spawn(move || Worker::new(plan, number, history).work(&stop))
            };
            (0..WORKERS).map(start).collect()
        })?;
        Ok(Self { stop, history, workers })
    }

    /// What happened so far.
    #[must_use]
    pub fn so_far(&self) -> History {
        locked(&self.history).clone()
    }

    /// Ends them, and says what happened.
    pub fn end(mut self) -> Result<History> {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            worker.join().map_err(|_| anyhow!("a client panicked"))?;
        }
        Ok(self.so_far())
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

/// Acknowledged objects that some server which is said to have them does not give back as they were written, with what it
/// said instead. Runs in the store's namespace.
pub fn missing(acknowledged: &[(u32, String)], object_bytes: usize) -> Result<Vec<String>> {
    let http = http();
    let mut places: HashMap<u32, Vec<String>> = HashMap::new();
    let mut missing = Vec::new();
    for (volume, key) in acknowledged {
        if !places.contains_key(volume) {
            places.insert(*volume, locations(&http, *volume)?);
        }
        for node in &places[volume] {
            if let Err(error) = read(&http, node, *volume, key, object_bytes, true) {
                missing.push(format!("{volume},{key} on {node}: {error:#}"));
            }
        }
    }
    Ok(missing)
}

fn locked(history: &Mutex<History>) -> MutexGuard<'_, History> {
    history.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Worker {
    plan: Plan,
    number: usize,
    rng: Rng,
    http: ureq::Agent,
    history: Arc<Mutex<History>>,
    remembered: HashMap<u32, (Instant, Vec<String>)>,
}

impl Worker {
    fn new(plan: Plan, number: usize, history: Arc<Mutex<History>>) -> Self {
        let rng = Rng::with_seed(plan.seed.wrapping_mul(1_000).wrapping_add(number as u64));
        Self { plan, number, rng, http: http(), history, remembered: HashMap::new() }
    }

    fn work(mut self, stop: &AtomicBool) {
        let started = Instant::now();
        for request in (self.number as u64..).step_by(WORKERS) {
            let due = started + Duration::from_secs_f64(request as f64 / self.plan.rate_per_second);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if stop.load(Ordering::Relaxed) {
                return;
            }
            if request % self.plan.put_every == 0 { self.put_one() } else { self.get_one() }
        }
    }

    fn get_one(&mut self) {
        let volumes = Arc::clone(&self.plan.volumes);
        let volume = &volumes[self.rng.usize(..volumes.len())];
        let key = &volume.keys[self.rng.usize(..volume.keys.len())];
        let did = self.replica(volume.id).and_then(|node| {
            // What was there before is known by its length; the server compares its checksum.
            read(&self.http, &node, volume.id, key, volume.object_bytes, false)
        });
        let mut history = locked(&self.history);
        match did {
            Ok(()) => history.of(volume.id).reads += 1,
            Err(error) => {
                history.of(volume.id).read_errors += 1;
                history.failed(volume.id, &error);
            }
        }
    }

    /// One of the servers that are remembered to have a volume.
    fn replica(&mut self, volume: u32) -> Result<String> {
        let fresh = self.remembered.get(&volume).is_some_and(|(at, _)| at.elapsed() < self.plan.remembers);
        if !fresh {
            let places = locations(&self.http, volume)?;
            self.remembered.insert(volume, (Instant::now(), places));
        }
        let (_, places) = self.remembered.get(&volume).context("it was just looked up")?;
        let place = self.rng.choice(places).with_context(|| format!("nobody has volume {volume}"))?;
        Ok(place.clone())
    }

    fn put_one(&mut self) {
        let bytes = self.plan.volumes.first().map_or(0, |volume| volume.object_bytes);
        let mut tried = None;
        for _ in 0..PLACES {
            let did = assign(&self.http).map(|Place { volume, key, node }| {
                let did =
                    put(&self.http, &format!("http://{node}/{volume},{key}"), &own_content(&key, bytes));
                (volume, key, did)
            });
            match did {
                Ok((volume, key, Ok(()))) => {
                    let mut history = locked(&self.history);
                    history.of(volume).writes += 1;
                    history.acknowledged.push((volume, key));
                    return;
                }
                Ok((volume, _, Err(error))) => {
                    locked(&self.history).of(volume).writes_elsewhere += 1;
                    tried = Some((volume, error));
                }
                Err(error) => tried = Some((tried.map_or(0, |(volume, _)| volume), error)),
            }
            thread::sleep(PAUSE);
        }
        if let Some((volume, error)) = tried {
            let mut history = locked(&self.history);
            history.of(volume).write_errors += 1;
            history.failed(volume, &error);
        }
    }
}

/// What a client writes under a key: incompressible, and known to whoever knows the key.
fn own_content(key: &str, bytes: usize) -> Vec<u8> {
    let seed = key.bytes().fold(0_u64, |seed, byte| seed.wrapping_mul(257).wrapping_add(byte.into()));
    content(&mut Rng::with_seed(seed), bytes)
}

/// Reads an object that has so many bytes; `own`: as a client of these wrote it.
fn read(http: &ureq::Agent, node: &str, volume: u32, key: &str, bytes: usize, own: bool) -> Result<()> {
    let url = format!("http://{node}/{volume},{key}");
    let mut response = http.get(&url).call().with_context(|| format!("GET {url}"))?;
    ensure!(response.status() == 200, "GET {url}: status {}", response.status());
    let body = response.body_mut().read_to_vec().with_context(|| format!("read {url}"))?;
    ensure!(body.len() == bytes, "GET {url}: {} bytes, wrote {bytes}", body.len());
    ensure!(!own || body == own_content(key, bytes), "GET {url}: other bytes than were written");
    Ok(())
}
