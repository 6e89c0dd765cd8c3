//! The fence: a trigger on the table itself, which refuses writes however they come, and outlives whoever made it.
//!
//! Clients of the router should wait rather than be refused, so the router's table is locked first, by a session that
//! is kept until the switch. If that session ends, nothing is lost: writes are refused by the trigger. The router ends
//! it by itself when nothing has come of it for the longest pause.
//!
//! The trigger does not fire for replication, so the fenced side can follow the other.

use super::Postgres;
use super::link::Link;
use super::names::{Names, Table, literal, quoted};
use crate::contract::Refusal;
use isotherm_migration::MigrationId;

/// Stops writes to a table, once those that are under way have ended. Returns where the last one is.
pub(super) async fn raise(link: &Link, table: &Table, names: &Names) -> Result<String, Refusal> {
    let (function, trigger) = (table.beside(&names.fence()), quoted(&names.fence()));
    let message = literal(&format!("{}.{} is being moved to another server", table.schema, table.name));
    link.run(&format!(
        "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SET search_path = '' \
         AS $fence$ BEGIN \
            RAISE EXCEPTION USING MESSAGE = {message}, ERRCODE = '40001', HINT = 'Try again in a moment.'; \
         END $fence$; \
         CREATE OR REPLACE TRIGGER {trigger} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table} \
            FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
    ))
    .await?;
    link.position().await
}

/// Lets writes go on.
pub(super) async fn lower(link: &Link, table: &Table, names: &Names) -> Result<(), Refusal> {
    if is_up(link, table, names).await? {
        link.run(&format!("DROP TRIGGER IF EXISTS {} ON {table}", quoted(&names.fence()))).await?;
    }
    forget(link, table, names).await
}

/// Removes the function, after its trigger.
pub(super) async fn forget(link: &Link, table: &Table, names: &Names) -> Result<(), Refusal> {
    let there = "SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
        WHERE n.nspname = $1 AND p.proname = $2";
    if link.has(there, &[&table.schema, &names.fence()]).await? {
        link.run(&format!("DROP FUNCTION IF EXISTS {}()", table.beside(&names.fence()))).await?;
    }
    Ok(())
}

/// Whether writes to a table are stopped.
pub(super) async fn is_up(link: &Link, table: &Table, names: &Names) -> Result<bool, Refusal> {
    let sql = "SELECT FROM pg_trigger WHERE tgrelid = to_regclass($1::text) AND tgname = $2 \
        AND tgenabled IN ('O', 'A')";
    link.has(sql, &[&table.to_string(), &names.fence()]).await
}

/// The router, locked.
pub(super) struct Held {
    pub(super) link: Link,
    /// The router's process of the session.
    pub(super) process: i32,
}

impl Postgres {
    /// Locks the partitioned table: whoever uses it through the router waits.
    pub(super) async fn lock(&self, parent: &Table) -> Result<Held, Refusal> {
        let link = self.router().await?;
        let process = link.process().await?;
        link.wait_for_locks(self.servers.lock_wait).await?;
        let pause = self.servers.pause.as_millis();
        link.run(&format!(
            "BEGIN; SET LOCAL idle_in_transaction_session_timeout = {pause}; \
             LOCK TABLE ONLY {parent} IN ACCESS EXCLUSIVE MODE"
        ))
        .await?;
        Ok(Held { link, process })
    }

    /// The lock that is held for a migration, or one taken now.
    pub(super) async fn locked(&self, id: &MigrationId, parent: &Table) -> Result<Held, Refusal> {
        let kept = self.held.lock().await.remove(id);
        if let Some(held) = kept
            && held.link.run("SELECT").await.is_ok()
        {
            return Ok(held);
        }
        self.lock(parent).await
    }

    /// Keeps a lock until it is needed, or let go.
    pub(super) async fn keep(&self, id: &MigrationId, held: Held) {
        self.held.lock().await.insert(id.clone(), held);
    }

    /// Lets the router's clients go on.
    pub(super) async fn let_go(&self, id: &MigrationId) {
        let held = self.held.lock().await.remove(id);
        if let Some(held) = held {
            // A session that is gone has let go as well.
            let _ = held.link.run("ROLLBACK").await;
        }
    }
}
