//! What is left of a migration, and its removal, each side as far as it can be reached.

use super::Postgres;
use super::fence;
use super::link::Link;
use super::moving::Moving;
use super::{COPIES, schema, stream};
use crate::contract::Refusal;
use crate::store::Task;
use isotherm_migration::Side;

/// Everything of a migration on one server but its tables.
const LEFT: &str = "
    SELECT 'slot ' || slot_name FROM pg_replication_slots
        WHERE slot_name IN ($1, $2) OR ($4::text IS NOT NULL AND slot_name LIKE $4)
    UNION ALL SELECT 'publication ' || pubname FROM pg_publication WHERE pubname IN ($1, $2)
    UNION ALL SELECT 'subscription ' || subname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
        WHERE subname IN ($1, $2) AND d.datname = current_database()
    UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE tgname = $3
    UNION ALL SELECT 'function ' || proname FROM pg_proc WHERE proname = $3
    ORDER BY 1";

impl Postgres {
    pub(super) async fn left(&self, task: &Task) -> Result<Vec<String>, Refusal> {
        let moving = self.moving(&task.migration).await?;
        let (source, target) = self.both(&moving).await?;
        let (forth, back, fence) = (moving.names.forth(), moving.names.back(), moving.names.fence());
        let copies = task.notes.get(COPIES)?;
        let mut left = Vec::new();
        for link in [&source, &target] {
            let rows = link.rows(LEFT, &[&forth, &back, &fence, &copies]).await?;
            for row in rows {
                left.push(format!("{} on {}", row.get::<&str>(0)?, link.name));
            }
        }
        if schema::is_marked(&target, moving.data(), &moving.names).await? {
            left.push(format!("table {} on {}", moving.data(), target.name));
        }
        for name in [forth, &moving.names.old()] {
            let table = moving.place.table.beside(name);
            if schema::exists(&moving.router, &table).await? {
                left.push(format!("foreign table {table} on {}", moving.router.name));
            }
        }
        Ok(left)
    }

    /// Restores the start. What a side that is away has is left, and named in the refusal.
    pub(super) async fn restore(&self, task: &Task) -> Result<(), Refusal> {
        let moving = self.moving(&task.migration).await?;
        if moving.side() == Side::Target {
            moving.source_serves()?;
        }
        let target = match self.node(moving.target).await {
            Ok(target) => self.clear_target(task, &moving, &target).await,
            Err(refusal) => Err(refusal),
        };
        let source = match self.node(moving.source).await {
            Ok(source) => self.clear_source(task, &moving, &source).await,
            Err(refusal) => Err(refusal),
        };
        // Whatever is left elsewhere, clients of the router have waited long enough.
        self.let_go(&moving.id).await;
        let router = self.clear_router(&moving, &[moving.names.forth(), &moving.names.old()]).await;
        all([target, source, router])
    }

    async fn clear_target(&self, task: &Task, moving: &Moving, target: &Link) -> Result<(), Refusal> {
        target.wait_for_locks(self.servers.lock_wait).await?;
        self.note_copies(task, target, moving.names.forth()).await?;
        stream::unsubscribe(target, moving.names.forth()).await?;
        stream::unpublish(target, &moving.names.back(), None).await?;
        if schema::is_marked(target, moving.data(), &moving.names).await? {
            target.run(&format!("DROP TABLE {}", moving.data())).await?;
        }
        fence::forget(target, moving.data(), &moving.names).await
    }

    async fn clear_source(&self, task: &Task, moving: &Moving, source: &Link) -> Result<(), Refusal> {
        source.wait_for_locks(self.servers.lock_wait).await?;
        fence::lower(source, moving.data(), &moving.names).await?;
        stream::unsubscribe(source, &moving.names.back()).await?;
        let copies = task.notes.get(COPIES)?;
        stream::unpublish(source, moving.names.forth(), copies.as_deref()).await
    }

    async fn clear_router(&self, moving: &Moving, names: &[&str]) -> Result<(), Refusal> {
        moving.router.wait_for_locks(self.servers.lock_wait).await?;
        for name in names {
            let table = moving.place.table.beside(name);
            moving.router.run(&format!("DROP FOREIGN TABLE IF EXISTS {table}")).await?;
        }
        Ok(())
    }

    /// Removes the source's table, and all that was made.
    pub(super) async fn finish(&self, task: &Task) -> Result<(), Refusal> {
        let moving = self.moving(&task.migration).await?;
        match moving.side() {
            Side::Target => {}
            Side::Source => return Err(Refusal::conflict("the source serves; there is nothing to retire")),
            Side::Neither => return Err(moving.elsewhere()),
        }
        let (source, target) = self.both(&moving).await?;
        let (table, names) = (moving.data(), &moving.names);
        self.note_copies(task, &target, names.forth()).await?;
        stream::unsubscribe(&target, names.forth()).await?;
        stream::unsubscribe(&source, &names.back()).await?;
        stream::unpublish(&source, names.forth(), task.notes.get(COPIES)?.as_deref()).await?;
        stream::unpublish(&target, &names.back(), None).await?;
        target.wait_for_locks(self.servers.lock_wait).await?;
        if schema::is_marked(&target, table, names).await? {
            let comment = schema::comment(&source, table).await?;
            target.run(&format!("COMMENT ON TABLE {table} IS {comment}")).await?;
        }
        source.wait_for_locks(self.servers.lock_wait).await?;
        // The fence tells the table that was left from another that somebody made since.
        if fence::is_up(&source, table, names).await? {
            source.run(&format!("DROP TABLE {table}")).await?;
        }
        fence::forget(&source, table, names).await?;
        self.clear_router(&moving, &[&names.old()]).await
    }
}

/// The first refusal, with what the others say.
fn all<const N: usize>(results: [Result<(), Refusal>; N]) -> Result<(), Refusal> {
    let refusals: Vec<Refusal> = results.into_iter().filter_map(Result::err).collect();
    let messages: Vec<&str> = refusals.iter().map(|refusal| refusal.message.as_str()).collect();
    match refusals.first() {
        None => Ok(()),
        Some(first) => Err(Refusal::new(first.reason.clone(), messages.join("; "))),
    }
}
