//! Clients that write and read the partition all the time, and record every attempt.

use super::store::{Session, Sessions, Way};
use anyhow::Context as _;
use isotherm_tests::history::{Action, Operation, Register, Registers};
use isotherm_tests::process::wait_for;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Two that write and read what they wrote, one that only reads, and one that writes straight to a server.
const WRITERS: usize = 2;
const READER: usize = WRITERS;
pub(crate) const STRAIGHT: usize = WRITERS + 1;

/// Keys of each client, of which it makes one in four attempts until there are so many.
const SPACE: u64 = 10_000;
const MOST: u64 = 120;

/// After an attempt that failed, at least.
const PATIENCE: Duration = Duration::from_millis(30);

/// How long clients may take to be served again once everything is in order.
const LIMIT: Duration = Duration::from_secs(40);

/// Clients at work.
pub(crate) struct Clients {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Vec<Operation>>>,
}

struct Shared {
    stop: AtomicBool,
    begun: Instant,
    /// That moment in microseconds since 1970.
    begun_us: u64,
    registers: Mutex<Registers>,
    /// Writes of each client that were acknowledged.
    acknowledged: [AtomicU64; WRITERS],
    /// What a client was told last when it was refused.
    refused: Mutex<String>,
    seed: u64,
    /// Between two attempts.
    pace: Duration,
}

impl Clients {
    /// Starts them on what keys hold; the last one writes straight to this server.
    pub(crate) fn start(
        sessions: &Sessions,
        registers: &Registers,
        server: usize,
        seed: u64,
        pace: Duration,
    ) -> Self {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            begun: Instant::now(),
            begun_us: since_1970_us(),
            registers: Mutex::new(registers.clone()),
            acknowledged: Default::default(),
            refused: Mutex::default(),
            seed,
            pace,
        });
        let threads = (0..=STRAIGHT).map(|client| {
            let (sessions, shared) = (Arc::clone(sessions), Arc::clone(&shared));
            let way = if client == STRAIGHT { Way::Straight(server) } else { Way::Told };
            thread::spawn(move || work(client, &mut *sessions(way), &shared))
        });
        let threads = threads.collect();
        Self { shared, threads }
    }

    /// Waits until every writer had a few more writes acknowledged.
    pub(crate) fn served(&self) -> anyhow::Result<()> {
        let now = || self.shared.acknowledged.each_ref().map(|count| count.load(Ordering::Relaxed));
        let before = now();
        let served = wait_for("writes that are acknowledged again", LIMIT, || {
            let more = before.iter().zip(now()).all(|(before, now)| now >= before + 5);
            Ok(more.then_some(()))
        });
        let refused = || self.shared.refused.lock().unwrap_or_else(PoisonError::into_inner).clone();
        served.with_context(|| format!("refused last: {}", refused()))
    }

    /// Stops them. Returns what each key may hold, and all that was tried.
    pub(crate) fn stop(self) -> anyhow::Result<(Registers, Vec<Operation>)> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut operations = Vec::new();
        for thread in self.threads {
            operations.extend(thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))?);
        }
        let registers = self.shared.registers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok((registers, operations))
    }
}

impl Shared {
    fn now_us(&self) -> u64 {
        self.begun_us.saturating_add(u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn update<T>(&self, change: impl FnOnce(&mut Registers) -> T) -> T {
        change(&mut self.registers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A key that anybody wrote.
    fn any(&self, chance: &mut fastrand::Rng) -> Option<u64> {
        self.update(|registers| {
            (!registers.is_empty()).then(|| registers.keys().nth(chance.usize(..registers.len())).copied())?
        })
    }
}

pub(crate) fn since_1970_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn work(client: usize, session: &mut dyn Session, shared: &Shared) -> Vec<Operation> {
    let mut chance = fastrand::Rng::with_seed(shared.seed.wrapping_mul(31).wrapping_add(client as u64));
    let mut operations = Vec::new();
    let mut last = None;
    while !shared.stop.load(Ordering::Relaxed) {
        let reads = client == READER || (client != STRAIGHT && chance.u8(..3) == 0);
        let operation = if reads {
            // What was written last is what an old copy would not have.
            let Some(key) = last.take().or_else(|| shared.any(&mut chance)) else {
                thread::sleep(shared.pace);
                continue;
            };
            read(client, key, session, shared)
        } else {
            let operation = write(client, session, shared, &mut chance);
            last = Some(operation.key);
            operation
        };
        thread::sleep(if operation.error().is_some() { shared.pace.max(PATIENCE) } else { shared.pace });
        operations.push(operation);
    }
    operations
}

fn read(client: usize, key: u64, session: &mut dyn Session, shared: &Shared) -> Operation {
    let begun_us = shared.now_us();
    let found = session.read(key).map_err(|error| format!("{error:#}"));
    Operation { client, key, action: Action::Read(found), begun_us, ended_us: shared.now_us() }
}

fn write(client: usize, session: &mut dyn Session, shared: &Shared, chance: &mut fastrand::Rng) -> Operation {
    let first = client as u64 * SPACE;
    let (key, value) = shared.update(|registers| {
        let own = registers.range(first..first + SPACE).count() as u64;
        let new = own == 0 || (own < MOST && chance.u8(..4) == 0);
        let key = first + if new { own } else { chance.u64(..own) };
        let register: &mut Register = registers.entry(key).or_default();
        register.tried += 1;
        (key, register.tried)
    });
    let begun_us = shared.now_us();
    let result = session.write(key, value).map_err(|error| format!("{error:#}"));
    let ended_us = shared.now_us();
    if let Err(error) = &result
        && client != STRAIGHT
    {
        shared.refused.lock().unwrap_or_else(PoisonError::into_inner).clone_from(error);
    }
    if result.is_ok() {
        shared.update(|registers| registers.entry(key).or_default().acknowledged = value);
        if let Some(count) = shared.acknowledged.get(client) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
    Operation { client, key, action: Action::Write(value, result), begun_us, ended_us }
}
