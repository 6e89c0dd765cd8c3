//! A client of the cluster that follows redirections, and keys of the bucket that tests move.

use super::BUCKET_SLOTS;
use anyhow::{Context, Result, bail};
use redis::{Cmd, Connection, ErrorKind, RedisError, ServerErrorKind, Value};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

/// For how long an operation is tried again before it counts as an error.
const LIMIT: Duration = Duration::from_secs(20);

/// A client of the cluster that follows redirections.
#[allow(missing_debug_implementations, reason = "a connection has none")]
pub struct Client {
    connections: HashMap<SocketAddr, Connection>,
    at: SocketAddr,
    seeds: Vec<SocketAddr>,
    patience: Duration,
}

impl Client {
    /// A client that knows these nodes; it retries an operation for twenty seconds.
    #[must_use]
    pub fn new(seeds: &[SocketAddr]) -> Self {
        Self { connections: HashMap::new(), at: seeds[0], seeds: seeds.to_vec(), patience: LIMIT }
    }

    /// The same that gives an operation up earlier.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Runs a command where the cluster says. `None` if it was given up.
    pub fn run(&mut self, command: &Cmd) -> Result<Option<Value>> {
        let deadline = Instant::now() + self.patience;
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
pub fn tags() -> impl Iterator<Item = String> {
    (0..u32::MAX).map(|number| number.to_string()).filter(|tag| slot(tag) < BUCKET_SLOTS)
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
pub fn fill(seeds: &[SocketAddr], keys: usize, bytes: usize) -> Result<()> {
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
