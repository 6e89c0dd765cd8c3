//! The switch, there and back: one transaction on the router, after which the side that does not serve follows.
//!
//! Before the switch the target's log is pinned by a slot of its own, moved to where its log ends under the fence. From
//! there the source, still fenced for clients, is fed by the target until it is retired, so that the way back has all
//! that was written since.

use super::Postgres;
use super::fence::{self, Held};
use super::link::Link;
use super::moving::Moving;
use super::names::quoted;
use super::stream;
use crate::contract::Refusal;
use crate::store::Task;
use isotherm_migration::{Position, Side};
use isotherm_model::PartitionId;
use std::time::Duration;
use tokio::time::sleep;

/// How long the side that is left may need to apply the last of what it follows, before anybody waits for it.
const CATCH_UP: Duration = Duration::from_secs(60);

/// Between two questions after an outcome that is unknown.
const ASK: Duration = Duration::from_millis(500);

impl Postgres {
    /// Stops writes to the source. Clients of the router wait from here on.
    pub(super) async fn stop_writes(&self, task: &Task) -> Result<Position, Refusal> {
        let moving = self.moving(&task.migration).await?;
        moving.source_serves()?;
        let source = self.node(moving.source).await?;
        source.wait_for_locks(self.servers.lock_wait).await?;
        let held = self.locked(&moving.id, &moving.place.parent).await?;
        let position = fence::raise(&source, moving.data(), &moving.names).await?;
        self.keep(&moving.id, held).await;
        Ok(Position(position))
    }

    pub(super) async fn allow_writes(&self, task: &Task) -> Result<(), Refusal> {
        let moving = self.moving(&task.migration).await?;
        moving.source_serves()?;
        let source = self.node(moving.source).await?;
        source.wait_for_locks(self.servers.lock_wait).await?;
        fence::lower(&source, moving.data(), &moving.names).await?;
        self.let_go(&moving.id).await;
        Ok(())
    }

    pub(super) async fn switch(&self, task: &Task) -> Result<(), Refusal> {
        let moving = self.moving(&task.migration).await?;
        match moving.side() {
            Side::Neither => return Err(moving.elsewhere()),
            Side::Source => {
                let (source, target) = self.both(&moving).await?;
                self.ready(task, &moving, &source, &target).await?;
                let held = self.locked(&moving.id, &moving.place.parent).await?;
                let old = moving.names.old();
                exchange(&held.link, &moving, &old, moving.names.forth()).await?;
                self.settle(task, held, moving.target).await?;
            }
            Side::Target => {}
        }
        self.let_go(&moving.id).await;
        // The switch has happened. What is missing of the way back is made up for by the step that needs it.
        if let Err(refusal) = self.turn_round(task, &moving).await {
            tracing::warn!(migration = %moving.id, "the source does not follow yet: {refusal}");
        }
        Ok(())
    }

    /// Refused unless the copy is whole and nobody writes; pins the target's log for the way back.
    async fn ready(&self, task: &Task, moving: &Moving, source: &Link, target: &Link) -> Result<(), Refusal> {
        if !fence::is_up(source, moving.data(), &moving.names).await? {
            return Err(Refusal::conflict(format!("writes to {} are not stopped", moving.data())));
        }
        let position = source.position().await?;
        stream::reached(source, moving.names.forth(), &position, self.servers.lock_wait).await?;
        self.compared_again(task, moving, source, target).await?;
        let back = moving.names.back();
        stream::publish(target, &back, moving.data()).await?;
        let advance = "SELECT FROM pg_replication_slot_advance($1::text::name, pg_current_wal_flush_lsn())";
        target.rows(advance, &[&back]).await.map(drop)
    }

    /// Commits what a session did on the router. An unknown outcome is asked about until it is known.
    async fn settle(&self, task: &Task, held: Held, now: usize) -> Result<(), Refusal> {
        let Err(refusal) = held.link.run("COMMIT").await else { return Ok(()) };
        loop {
            match self.outcome(&task.migration.partition, held.process).await {
                Ok(Some(node)) if node == now => return Ok(()),
                Ok(Some(_)) => return Err(refusal),
                Ok(None) | Err(_) => sleep(ASK).await,
            }
            if task.stop.is_cancelled() {
                return Err(refusal);
            }
        }
    }

    /// Where a partition lies once a session on the router is surely over; `None` while it is not.
    async fn outcome(&self, partition: &PartitionId, process: i32) -> Result<Option<usize>, Refusal> {
        let router = self.router().await?;
        router.rows("SELECT pg_terminate_backend($1)", &[&process]).await?;
        if router.has("SELECT FROM pg_stat_activity WHERE pid = $1", &[&process]).await? {
            return Ok(None);
        }
        Ok(self.place(&router, partition).await?.node)
    }

    /// Ends the stream to the target, then begins the one from it: never both, or writes would go round.
    async fn turn_round(&self, task: &Task, moving: &Moving) -> Result<(), Refusal> {
        let (source, target) = self.both(moving).await?;
        let forth = moving.names.forth();
        self.note_copies(task, &target, forth).await?;
        stream::unsubscribe(&target, forth).await?;
        stream::unpublish(&source, forth, task.notes.get(super::COPIES)?.as_deref()).await?;
        let conninfo = self.login.conninfo(&self.servers.nodes[moving.target].at);
        stream::subscribe(&source, &moving.names.back(), &conninfo, false).await
    }

    pub(super) async fn switch_back(&self, task: &Task) -> Result<(), Refusal> {
        let moving = self.moving(&task.migration).await?;
        match moving.side() {
            Side::Neither => Err(moving.elsewhere()),
            Side::Source => {
                let source = self.node(moving.source).await?;
                self.reopen(&moving, &source).await
            }
            Side::Target => {
                self.turn_round(task, &moving).await?;
                let (source, target) = self.both(&moving).await?;
                let position = target.position().await?;
                stream::reached(&target, &moving.names.back(), &position, CATCH_UP).await?;
                let back = self.return_to(task, &moving, &source, &target).await;
                if back.is_err() {
                    self.stay(&moving).await?;
                }
                back
            }
        }
    }

    /// Fences the target, waits for the source, and lets it serve.
    async fn return_to(
        &self,
        task: &Task,
        moving: &Moving,
        source: &Link,
        target: &Link,
    ) -> Result<(), Refusal> {
        target.wait_for_locks(self.servers.lock_wait).await?;
        source.wait_for_locks(self.servers.lock_wait).await?;
        let held = self.lock(&moving.place.parent).await?;
        let position = fence::raise(target, moving.data(), &moving.names).await?;
        let back = moving.names.back();
        stream::reached(target, &back, &position, self.servers.lock_wait).await?;
        self.compared_again(task, moving, target, source).await?;
        exchange(&held.link, moving, moving.names.forth(), &moving.names.old()).await?;
        // From here on the source takes writes, an instant before the router sends them.
        self.reopen(moving, source).await?;
        self.settle(task, held, moving.source).await
    }

    /// After a way back that came to nothing: the target takes writes as before, and the source does not.
    async fn stay(&self, moving: &Moving) -> Result<(), Refusal> {
        match self.node(moving.source).await {
            Ok(source) => drop(fence::raise(&source, moving.data(), &moving.names).await?),
            Err(refusal) => tracing::warn!("the source takes no writes as long as it is away: {refusal}"),
        }
        let target = self.node(moving.target).await?;
        fence::lower(&target, moving.data(), &moving.names).await
    }

    /// Has the source follow nobody, and take writes.
    async fn reopen(&self, moving: &Moving, source: &Link) -> Result<(), Refusal> {
        stream::unsubscribe(source, &moving.names.back()).await?;
        fence::lower(source, moving.data(), &moving.names).await
    }
}

/// Puts one table of the router aside under the name `aside`, and the one called `instead` in its place. Not committed.
async fn exchange(held: &Link, moving: &Moving, aside: &str, instead: &str) -> Result<(), Refusal> {
    let place = &moving.place;
    let (parent, table) = (&place.parent, &place.table);
    let Some(bound) = &place.bound else {
        return Err(Refusal::not_now(format!("{table} was dropped on the router while it was looked at")));
    };
    let instead_table = table.beside(instead);
    same_bound(held, moving).await?;
    held.run(&format!(
        "ALTER TABLE {parent} DETACH PARTITION {table}; \
         ALTER FOREIGN TABLE {table} RENAME TO {}; \
         ALTER FOREIGN TABLE {instead_table} RENAME TO {}; \
         ALTER TABLE {parent} ATTACH PARTITION {table} {bound}",
        quoted(aside),
        quoted(&table.name),
    ))
    .await
}

/// Refused if somebody else has changed the partition since it was looked at.
async fn same_bound(held: &Link, moving: &Moving) -> Result<(), Refusal> {
    let sql = "SELECT FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid \
        WHERE c.oid = $1 AND c.oid = to_regclass($2::text) AND i.inhparent = to_regclass($3::text) \
        AND pg_get_expr(c.relpartbound, c.oid) = $4";
    let place = &moving.place;
    let (table, parent) = (place.table.to_string(), place.parent.to_string());
    if held.has(sql, &[&place.oid, &table, &parent, &place.bound]).await? {
        return Ok(());
    }
    Err(Refusal::conflict(format!("{} was changed on the router meanwhile", place.table)))
}
