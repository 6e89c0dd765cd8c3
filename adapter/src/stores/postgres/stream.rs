//! Logical replication of one table: a publication and a slot on one server, a subscription on another.
//!
//! Slots are made and dropped here and not by the subscription, so that each side can be cleaned up while the other is
//! down.

use super::link::Link;
use super::names::{Table, literal, quoted};
use crate::contract::Refusal;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between two looks at what is waited for.
pub(super) const POLL: Duration = Duration::from_millis(20);

/// How long a slot may be in use by a subscription that is gone.
const RELEASE: Duration = Duration::from_secs(5);

/// Makes the giving side: first the publication, since a slot has no eyes for what came before it.
pub(super) async fn publish(link: &Link, name: &str, table: &Table) -> Result<(), Refusal> {
    if !link.has("SELECT FROM pg_publication WHERE pubname = $1", &[&name]).await? {
        link.run(&format!("CREATE PUBLICATION {} FOR TABLE {table}", quoted(name))).await?;
    }
    if !link.has("SELECT FROM pg_replication_slots WHERE slot_name = $1", &[&name]).await? {
        link.rows("SELECT pg_create_logical_replication_slot($1::text::name, 'pgoutput')", &[&name]).await?;
    }
    Ok(())
}

/// Removes the giving side, with slots of a first copy that begin with `copies`.
pub(super) async fn unpublish(link: &Link, name: &str, copies: Option<&str>) -> Result<(), Refusal> {
    let slots = "SELECT slot_name::text, active_pid FROM pg_replication_slots \
        WHERE slot_name = $1 OR slot_name LIKE $2";
    // What is always another than a name, if there are none.
    let copies = copies.map_or_else(|| name.replace('_', "\\_"), str::to_owned);
    let deadline = Instant::now() + RELEASE;
    loop {
        let left = link.rows(slots, &[&name, &copies]).await?;
        if left.is_empty() {
            break;
        }
        for slot in &left {
            let (slot, user): (String, Option<i32>) = (slot.get(0)?, slot.get(1)?);
            match user {
                Some(process) => link.rows("SELECT pg_terminate_backend($1)", &[&process]).await?,
                None => link.rows("SELECT pg_drop_replication_slot($1::text::name)", &[&slot]).await?,
            };
        }
        if Instant::now() > deadline {
            return Err(Refusal::not_now(format!("slot {name} on {} is still in use", link.name)));
        }
        sleep(POLL).await;
    }
    link.run(&format!("DROP PUBLICATION IF EXISTS {}", quoted(name))).await
}

/// Makes the taking side. With `copy`, what the table has is copied first.
pub(super) async fn subscribe(link: &Link, name: &str, conninfo: &str, copy: bool) -> Result<(), Refusal> {
    if subscribed(link, name).await? {
        return Ok(());
    }
    link.run(&format!(
        "CREATE SUBSCRIPTION {0} CONNECTION {1} PUBLICATION {0} \
            WITH (create_slot = false, slot_name = {2}, copy_data = {copy})",
        quoted(name),
        literal(conninfo),
        literal(name),
    ))
    .await
}

/// Whether the taking side is there.
pub(super) async fn subscribed(link: &Link, name: &str) -> Result<bool, Refusal> {
    link.has(SUBSCRIPTION, &[&name]).await
}

const SUBSCRIPTION: &str = "SELECT s.oid, (SELECT system_identifier FROM pg_control_system())::text \
    FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid \
    WHERE s.subname = $1 AND d.datname = current_database()";

/// What slots of the first copy of a subscription are called on the giving side, as LIKE takes it.
pub(super) async fn copies(link: &Link, name: &str) -> Result<Option<String>, Refusal> {
    let rows = link.rows(SUBSCRIPTION, &[&name]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let (number, system): (u32, String) = (row.get(0)?, row.get(1)?);
    Ok(Some(format!("pg\\_{number}\\_sync\\_%\\_{system}")))
}

/// Removes the taking side, whether or not the other is there.
pub(super) async fn unsubscribe(link: &Link, name: &str) -> Result<(), Refusal> {
    if !subscribed(link, name).await? {
        return Ok(());
    }
    let name = quoted(name);
    link.run(&format!("ALTER SUBSCRIPTION {name} DISABLE")).await?;
    link.run(&format!("ALTER SUBSCRIPTION {name} SET (slot_name = NONE)")).await?;
    link.run(&format!("DROP SUBSCRIPTION IF EXISTS {name}")).await
}

/// How far the taking side is behind, in bytes of the giving side's log. Refused if it can never catch up.
pub(super) async fn lag(link: &Link, slot: &str, position: Option<&str>) -> Result<u64, Refusal> {
    let sql = "SELECT coalesce(wal_status, ''), greatest(0, pg_wal_lsn_diff( \
        coalesce($2::text::pg_lsn, pg_current_wal_lsn()), confirmed_flush_lsn))::bigint \
        FROM pg_replication_slots WHERE slot_name = $1";
    let rows = link.rows(sql, &[&slot, &position]).await?;
    let Some(row) = rows.first() else {
        return Err(Refusal::conflict(format!(
            "slot {slot} on {} is gone: the copy cannot follow",
            link.name
        )));
    };
    if row.get::<&str>(0)? == "lost" {
        return Err(Refusal::conflict(format!(
            "{} has thrown away log that the copy needed: raise max_slot_wal_keep_size, and begin again",
            link.name
        )));
    }
    Ok(u64::try_from(row.get::<Option<i64>>(1)?.unwrap_or(i64::MAX)).unwrap_or(0))
}

/// Waits until the taking side has reached a position.
pub(super) async fn reached(
    link: &Link,
    slot: &str,
    position: &str,
    longest: Duration,
) -> Result<(), Refusal> {
    let deadline = Instant::now() + longest;
    loop {
        let lag = lag(link, slot, Some(position)).await?;
        if lag == 0 {
            return Ok(());
        }
        if Instant::now() > deadline {
            let waited = longest.as_millis();
            return Err(Refusal::not_now(format!("the copy lags {lag} bytes behind after {waited} ms")));
        }
        sleep(POLL).await;
    }
}
