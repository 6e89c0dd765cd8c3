//! Clients that write and read keys of the bucket, and remember what was acknowledged.
//!
//! A key has one writer, which writes 1, 2, 3, ...; so what a read must answer is known: no less than what was
//! acknowledged before it began.

use anyhow::{Context, Result, bail};
use isotherm_tests::stores::valkey::client::{Client, tags};
use redis::{Cmd, Value};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Keys of one client.
const KEYS_EACH: usize = 20;

/// Clients under way.
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    slowest_us: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Result<History>>>,
}

/// What clients saw.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Operations that were answered.
    pub(crate) operations: u64,
    /// Operations that were given up.
    pub(crate) errors: u64,
    /// Reads that answered less than what had been acknowledged.
    pub(crate) stale: u64,
    /// The last acknowledged value of each key.
    pub(crate) acknowledged: BTreeMap<String, u64>,
}

impl Clients {
    /// Starts so many clients.
    pub(crate) fn start(seeds: &[SocketAddr], count: usize) -> Self {
        let (stop, slowest_us) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..count).map(|number| {
            let (client, stop, slowest_us) = (Client::new(seeds), Arc::clone(&stop), Arc::clone(&slowest_us));
            thread::spawn(move || work(client, number, &stop, &slowest_us))
        });
        Self { threads: threads.collect(), stop, slowest_us }
    }

    /// The longest that an operation took since the last question.
    pub(crate) fn slowest(&self) -> Duration {
        Duration::from_micros(self.slowest_us.swap(0, Ordering::Relaxed))
    }

    /// Ends them, and reads every key once more: what was acknowledged must be there.
    pub(crate) fn end(self, seeds: &[SocketAddr]) -> Result<History> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = History::default();
        for thread in self.threads {
            let history = thread.join().ok().context("a client panicked")??;
            all.operations += history.operations;
            all.errors += history.errors;
            all.stale += history.stale;
            all.acknowledged.extend(history.acknowledged);
        }
        let mut client = Client::new(seeds);
        for (key, acknowledged) in &all.acknowledged {
            let found: Option<u64> =
                client.run(redis::cmd("GET").arg(key))?.and_then(|value| redis::from_redis_value(value).ok());
            if found < Some(*acknowledged) {
                bail!("{key} is {found:?}, and {acknowledged} was acknowledged");
            }
        }
        Ok(all)
    }
}

fn work(mut client: Client, number: usize, stop: &AtomicBool, slowest_us: &AtomicU64) -> Result<History> {
    let keys: Vec<String> = tags()
        .skip(number * KEYS_EACH)
        .take(KEYS_EACH)
        .map(|tag| format!("{{{tag}}}:of client {number}"))
        .collect();
    let mut history = History::default();
    for value in 1.. {
        for key in &keys {
            if stop.load(Ordering::Relaxed) {
                return Ok(history);
            }
            if timed(&mut client, redis::cmd("SET").arg(key).arg(value), slowest_us, &mut history)?.is_some()
            {
                history.acknowledged.insert(key.clone(), value);
            }
            let read = timed(&mut client, redis::cmd("GET").arg(key), slowest_us, &mut history)?;
            let found: Option<u64> = read.and_then(|value| redis::from_redis_value(value).ok());
            if found < history.acknowledged.get(key).copied() {
                history.stale += 1;
            }
        }
    }
    Ok(history)
}

fn timed(
    client: &mut Client,
    command: &Cmd,
    slowest_us: &AtomicU64,
    history: &mut History,
) -> Result<Option<Value>> {
    let begun = Instant::now();
    let answer = client.run(command)?;
    slowest_us.fetch_max(u64::try_from(begun.elapsed().as_micros())?, Ordering::Relaxed);
    history.operations += 1;
    history.errors += u64::from(answer.is_none());
    Ok(answer)
}
