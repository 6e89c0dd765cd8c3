//! The copy: made, watched, and waited for.

use super::Postgres;
use super::compare::{Sessions, compare};
use super::link::Link;
use super::moving::Moving;
use super::stream::{self, POLL};
use super::{schema, stream::lag};
use crate::contract::Refusal;
use crate::store::{Task, Told};
use isotherm_migration::{Position, Progress};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long source or target may be away in the middle of a copy: replication goes on by itself once both are back.
const AWAY: Duration = Duration::from_secs(60);

/// Failures of the replication, one every few seconds, after which somebody has to look.
const FAILURES: i64 = 6;

/// Between two looks at a copy.
const LOOK: Duration = Duration::from_millis(200);

/// How long the last comparison took, for the one under the fence.
const VERIFIED: &str = "verified_ms";

impl Postgres {
    pub(super) async fn make_target(&self, task: &Task) -> Result<(), Refusal> {
        let moving = self.moving(&task.migration).await?;
        moving.source_serves()?;
        let server = self
            .server_of(&moving.router, moving.target)
            .await?
            .ok_or_else(|| Refusal::conflict("the router has no foreign server for the target"))?;
        let (source, target) = self.both(&moving).await?;
        let ours = schema::is_marked(&target, moving.data(), &moving.names).await?;
        if !ours && schema::exists(&target, moving.data()).await? {
            return Err(Refusal::conflict(format!("{} has a {} already", target.name, moving.data())));
        }
        schema::copy(&source, &target, moving.data(), &moving.names).await?;
        schema::foreign(&moving.router, &moving.place, &server, &moving.names).await
    }

    pub(super) async fn follow(&self, task: &Task) -> Result<(), Refusal> {
        let moving = self.moving(&task.migration).await?;
        moving.source_serves()?;
        let name = moving.names.forth();
        let (source, target) = self.both(&moving).await?;
        stream::publish(&source, name, moving.data()).await?;
        let conninfo = self.login.conninfo(&self.servers.nodes[moving.source].at);
        stream::subscribe(&target, name, &conninfo, true).await?;
        self.note_copies(task, &target, name).await?;
        let mut seen = Instant::now();
        let failed = failures(&target, name).await?;
        loop {
            match self.copied(task, &moving, failed).await {
                Ok(true) => return Ok(()),
                Ok(false) => seen = Instant::now(),
                Err(refusal) if !passes(&refusal) || seen.elapsed() > AWAY => return Err(refusal),
                Err(_) => {}
            }
            pause(task, LOOK).await?;
        }
    }

    /// Notes what the first copy's slots are called, while the subscription can still tell.
    pub(super) async fn note_copies(&self, task: &Task, target: &Link, name: &str) -> Result<(), Refusal> {
        match stream::copies(target, name).await? {
            Some(copies) => task.notes.set(super::COPIES, &copies),
            None => Ok(()),
        }
    }

    /// Looks at the copy once, tells how far it is, and whether it is whole.
    async fn copied(&self, task: &Task, moving: &Moving, failed: i64) -> Result<bool, Refusal> {
        const STATE: &str = "SELECT r.srsubstate::text, (SELECT max(tuples_processed) FROM pg_stat_progress_copy p \
                WHERE p.relid = r.srrelid AND p.datname = current_database()) \
            FROM pg_subscription s JOIN pg_subscription_rel r ON r.srsubid = s.oid \
            WHERE s.subname = $1 AND r.srrelid = to_regclass($2::text)";
        let name = moving.names.forth();
        let (source, target) = self.both(moving).await?;
        let rows = target.rows(STATE, &[&name, &moving.data().to_string()]).await?;
        let Some(row) = rows.first() else {
            return Err(Refusal::conflict(format!("subscription {name} on {} is gone", target.name)));
        };
        let estimate =
            "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass($1::text)";
        let total: i64 = source.row(estimate, &[&moving.data().to_string()]).await?.get(0)?;
        let state: &str = row.get(0)?;
        // A copy that has begun and is in no progress view any more has been read to its end.
        let done = match (state, row.get::<Option<i64>>(1)?) {
            (_, Some(rows)) => rows,
            ("i" | "d", None) => 0,
            (_, None) => total,
        };
        let behind = lag(&source, name, None).await?;
        tell(task, done, Some(total), Some(behind), &source.position().await?);
        let failures = failures(&target, name).await? - failed;
        if failures >= FAILURES {
            return Err(Refusal::conflict(format!(
                "replication to {} failed {failures} times: its log says why",
                target.name
            )));
        }
        Ok(state == "r")
    }

    pub(super) async fn wait(
        &self,
        task: &Task,
        position: Option<&Position>,
        max_lag_bytes: u64,
    ) -> Result<u64, Refusal> {
        let moving = self.moving(&task.migration).await?;
        let source = self.node(moving.source).await?;
        let position = position.map(|position| position.0.as_str());
        let most = if position.is_some() { 0 } else { max_lag_bytes };
        loop {
            let behind = lag(&source, moving.names.forth(), position).await?;
            tell(task, 0, None, Some(behind), position.unwrap_or_default());
            if behind <= most {
                return Ok(behind);
            }
            pause(task, POLL).await?;
        }
    }

    pub(super) async fn compared(&self, task: &Task) -> Result<String, Refusal> {
        let moving = self.moving(&task.migration).await?;
        moving.source_serves()?;
        let sessions = Sessions {
            gate: self.node(moving.source).await?,
            source: self.node(moving.source).await?,
            target: self.node(moving.target).await?,
        };
        sessions.align(moving.data(), moving.names.forth(), self.servers.lock_wait).await?;
        let begun = Instant::now();
        let evidence = compare(&sessions.source, &sessions.target, moving.data()).await?;
        task.notes.set(VERIFIED, &begun.elapsed().as_millis().to_string())?;
        Ok(evidence)
    }

    /// Compares once more while neither side takes writes, if that takes a third of the longest pause at most.
    pub(super) async fn compared_again(
        &self,
        task: &Task,
        moving: &Moving,
        source: &Link,
        target: &Link,
    ) -> Result<(), Refusal> {
        let took = task.notes.get(VERIFIED)?.and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
        if took.is_some_and(|took| took <= self.servers.pause / 3) {
            compare(source, target, moving.data()).await?;
        }
        Ok(())
    }
}

/// How often applying or copying has failed.
async fn failures(target: &Link, name: &str) -> Result<i64, Refusal> {
    let sql =
        "SELECT apply_error_count + sync_error_count FROM pg_stat_subscription_stats WHERE subname = $1";
    target.rows(sql, &[&name]).await?.first().map_or(Ok(0), |row| row.get(0))
}

/// Whether a refusal may pass by itself.
fn passes(refusal: &Refusal) -> bool {
    matches!(refusal.reason, isotherm_migration::Reason::Transient { .. })
}

/// Waits, unless the step is not wanted any more.
async fn pause(task: &Task, time: Duration) -> Result<(), Refusal> {
    tokio::select! {
        () = sleep(time) => Ok(()),
        () = task.stop.cancelled() => Err(Refusal::conflict("stopped")),
    }
}

fn tell(task: &Task, done: i64, total: Option<i64>, lag_bytes: Option<u64>, position: &str) {
    let count = |rows: i64| u64::try_from(rows).unwrap_or(0);
    let done = count(done);
    let progress = Progress {
        done,
        total: total.map(|total| count(total).max(done)),
        lag_bytes,
        throttled_by: None,
        resume: None,
        handing_over: false,
    };
    let position = Some(Position(position.to_owned()));
    task.progress.tell(Told { progress, unit: "rows", estimated: true, position });
}
