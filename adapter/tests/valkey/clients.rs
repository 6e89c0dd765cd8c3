//! Clients that write and read keys of the bucket, and remember what was acknowledged.
//!
//! A key has one writer, which writes 1, 2, 3, ...; so what a read must answer is known: no less than what was
//! acknowledged before it began.

use anyhow::{Context, Result, bail};
use redis::{Cmd, Connection, ErrorKind, RedisError, ServerErrorKind, Value};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// For how long an operation is tried again before it counts as an error.
const LIMIT: Duration = Duration::from_secs(20);

/// Keys of one client.
const KEYS_EACH: usize = 20;

/// A client of the cluster that follows redirections.
pub(crate) struct Client {
    connections: HashMap<SocketAddr, Connection>,
    at: SocketAddr,
    seeds: Vec<SocketAddr>,
}

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

impl Client {
    pub(crate) fn new(seeds: &[SocketAddr]) -> Self {
        Self { connections: HashMap::new(), at: seeds[0], seeds: seeds.to_vec() }
    }

    /// Runs a command where the cluster says. `None` if it was given up.
    pub(crate) fn run(&mut self, command: &Cmd) -> Result<Option<Value>> {
        let deadline = Instant::now() + LIMIT;
        for attempt in 0.. {
            let answer = self.connection().and_then(|connection| command.query::<Value>(connection));
            let error = match answer {
                Ok(value) => return Ok(Some(value)),
                Err(error) => error,
            };
            if Instant::now() >= deadline {
                return Ok(None);
            }
            self.learn(&error, attempt)?;
        }
        Ok(None)
    }

    fn connection(&mut self) -> Result<&mut Connection, RedisError> {
        if !self.connections.contains_key(&self.at) {
            let client = redis::Client::open(format!("redis://{}", self.at))?;
            let connection = client.get_connection_with_timeout(Duration::from_millis(500))?;
            connection.set_read_timeout(Some(Duration::from_secs(2)))?;
            self.connections.insert(self.at, connection);
        }
        Ok(self.connections.get_mut(&self.at).expect("it was inserted"))
    }

    /// Where and when to try again.
    fn learn(&mut self, error: &RedisError, attempt: usize) -> Result<()> {
        if let (ErrorKind::Server(ServerErrorKind::Moved), Some((address, _))) =
            (error.kind(), error.redirect_node())
        {
            self.at = address.parse()?;
            return Ok(());
        }
        if matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ResponseError)) {
            bail!("a client's command was refused: {error}");
        }
        if !matches!(error.kind(), ErrorKind::Server(_)) {
            self.connections.remove(&self.at);
            self.at = self.seeds[attempt % self.seeds.len()];
        }
        thread::sleep(Duration::from_millis(5));
        Ok(())
    }
}

/// Hash tags whose keys are in the first bucket.
pub(crate) fn tags() -> impl Iterator<Item = String> {
    (0..u32::MAX).map(|number| number.to_string()).filter(|tag| slot(tag) < super::lab::BUCKET_SLOTS)
}

/// The slot of a tag: CRC-16/XMODEM modulo 16,384, as the cluster specification has it.
fn slot(tag: &str) -> u16 {
    let crc = tag.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    crc % 16_384
}

/// Writes values of so many bytes to so many keys of the bucket, of all kinds that Valkey has.
pub(crate) fn fill(seeds: &[SocketAddr], keys: usize, bytes: usize) -> Result<()> {
    let mut client = Client::new(seeds);
    let tags: Vec<String> = tags().take(50).collect();
    let value = "x".repeat(bytes);
    for number in 0..keys {
        let key = format!("{{{}}}:{number}", tags[number % tags.len()]);
        let command = match number % 12 {
            0 => redis::cmd("RPUSH").arg(&key).arg(&[&value, "b", "c"]).clone(),
            1 => redis::cmd("SADD").arg(&key).arg(&[&value, "b", "3"]).clone(),
            2 => redis::cmd("HSET").arg(&key).arg(&["field", &value, "other", "1"]).clone(),
            3 => redis::cmd("ZADD").arg(&key).arg(&["1.5", &value, "2", "b"]).clone(),
            4 => redis::cmd("XADD").arg(&key).arg(&["*", "field", &value]).clone(),
            _ => redis::cmd("SET").arg(&key).arg(format!("{number}{value}")).clone(),
        };
        client.run(&command)?.with_context(|| format!("write {key}"))?;
    }
    Ok(())
}
