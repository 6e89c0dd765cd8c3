//! Clients that write through the router, remember what was acknowledged, and read it back.

use crate::lab::{DATABASE, Lab, ROUTER, connect};
use anyhow::Result;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

/// Ids of clients begin here; below are rows that nobody writes to. Each client has as many.
const FIRST: i64 = 500_000;
const IDS: i64 = 10_000;

/// What one client did.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) operations: u64,
    pub(crate) errors: Vec<String>,
    pub(crate) stale: Vec<String>,
    /// The version of each row that was acknowledged last, and the one that was tried last.
    rows: BTreeMap<i64, (i64, i64)>,
}

/// Clients that write.
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    slowest: Arc<Mutex<Duration>>,
    running: Vec<JoinHandle<History>>,
}

impl Clients {
    pub(crate) fn start(lab: &Lab, clients: i64) -> Self {
        let (stop, slowest) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Duration::ZERO)));
        let router = lab.address(ROUTER);
        let running = (0..clients).map(|client| {
            let (stop, slowest) = (Arc::clone(&stop), Arc::clone(&slowest));
            tokio::spawn(write(router.clone(), FIRST + client * IDS, stop, slowest))
        });
        let running = running.collect();
        Self { stop, slowest, running }
    }

    /// The longest that any operation took since this was asked last.
    pub(crate) fn slowest(&self) -> Duration {
        std::mem::take(&mut *self.slowest.lock().unwrap())
    }

    /// Stops them, and looks by the router whether all that was acknowledged is there.
    pub(crate) async fn end(self, lab: &Lab) -> Result<History> {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = History::default();
        for client in self.running {
            let history = client.await?;
            all.operations += history.operations;
            all.errors.extend(history.errors);
            all.stale.extend(history.stale);
            all.rows.extend(history.rows);
        }
        let rows = lab.client(ROUTER).await?.query("SELECT id, version FROM orders", &[]).await?;
        let there: BTreeMap<i64, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        for (id, (acknowledged, tried)) in &all.rows {
            let found = there.get(id).copied().unwrap_or(-1);
            if found < *acknowledged || found > *tried {
                all.stale.push(format!("row {id} has version {found} of {acknowledged} to {tried}"));
            }
        }
        Ok(all)
    }
}

/// Inserts rows and updates earlier ones, and reads each back.
async fn write(router: String, first: i64, stop: Arc<AtomicBool>, slowest: Arc<Mutex<Duration>>) -> History {
    let mut history = History::default();
    let mut client = None;
    let mut chance = fastrand::Rng::with_seed(u64::try_from(first).unwrap_or(0));
    for turn in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let there = i64::try_from(history.rows.len()).unwrap_or(0);
        let id = if (turn % 2 == 0 && there < IDS) || there == 0 {
            first + there
        } else {
            first + chance.i64(0..there)
        };
        let (acknowledged, tried) = history.rows.get(&id).copied().unwrap_or((-1, -1));
        history.rows.insert(id, (acknowledged, tried + 1));
        let begun = Instant::now();
        let result = operate(&mut client, &router, id, tried + 1).await;
        let mut slowest = slowest.lock().unwrap();
        *slowest = slowest.max(begun.elapsed());
        history.operations += 1;
        match result {
            Ok(found) => {
                history.rows.insert(id, (tried + 1, tried + 1));
                if found != Some(tried + 1) {
                    history.stale.push(format!("row {id} was read as {found:?} after {}", tried + 1));
                }
            }
            Err(error) => {
                history.errors.push(format!("{error:#}"));
                client = None;
            }
        }
    }
    history
}

async fn operate(client: &mut Option<Client>, router: &str, id: i64, version: i64) -> Result<Option<i64>> {
    if client.is_none() {
        *client = Some(connect(router, DATABASE).await?);
    }
    let Some(client) = client else { anyhow::bail!("was connected") };
    let updated = client.execute("UPDATE orders SET version = $2 WHERE id = $1", &[&id, &version]).await;
    if updated.map_err(told)? == 0 {
        client
            .execute("INSERT INTO orders (id, version) VALUES ($1, $2)", &[&id, &version])
            .await
            .map_err(told)?;
    }
    let row = client.query_opt("SELECT version FROM orders WHERE id = $1", &[&id]).await.map_err(told)?;
    Ok(row.map(|row| row.get(0)))
}

/// The server's own words.
fn told(error: tokio_postgres::Error) -> anyhow::Error {
    error.as_db_error().map(|told| anyhow::anyhow!("{told}")).unwrap_or_else(|| error.into())
}
