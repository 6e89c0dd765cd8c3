//! What stands in the way of a move, found before anything is made.

use super::Postgres;
use super::link::{Link, Row};
use super::moving::Moving;
use super::names::Table;
use super::schema;
use crate::contract::{Migration, Refusal};
use crate::store::Findings;
use isotherm_migration::{Copies, Side};

/// PostgreSQL 15, as the server counts.
const LEAST_VERSION: i32 = 150_000;

const SERVER: &str = "
    SELECT current_setting('server_version_num')::int, current_setting('wal_level'),
        current_setting('max_slot_wal_keep_size'),
        current_setting('max_replication_slots')::bigint - (SELECT count(*) FROM pg_replication_slots),
        current_setting('max_wal_senders')::bigint - (SELECT count(*) FROM pg_stat_replication),
        (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
        current_setting('max_logical_replication_workers')::bigint
            - (SELECT count(*) FROM pg_stat_subscription WHERE pid IS NOT NULL)";

const TABLE: &str = "
    SELECT c.relkind::text, c.relispartition OR c.relhassubclass, c.relpersistence::text, c.relreplident::text,
        EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND (i.indisprimary AND i.indisvalid AND
            c.relreplident = 'd' OR i.indisreplident AND c.relreplident = 'i')),
        EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal),
        EXISTS (SELECT FROM pg_constraint k WHERE (k.conrelid = c.oid OR k.confrelid = c.oid) AND k.contype = 'f'),
        EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attidentity <> '')
            OR EXISTS (SELECT FROM pg_depend d JOIN pg_attrdef f ON f.oid = d.objid
                JOIN pg_class q ON q.oid = d.refobjid
                WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass
                AND f.adrelid = c.oid AND q.relkind = 'S'),
        c.relrowsecurity, EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid),
        EXISTS (SELECT FROM pg_publication_rel r WHERE r.prrelid = c.oid)
    FROM pg_class c WHERE c.oid = to_regclass($1::text)";

/// Users of the router that reach the source and would not reach the target.
const UNMAPPED: &str = "
    SELECT coalesce(nullif(s.usename, 'public'), 'public')::text FROM pg_user_mappings s WHERE s.srvname = $1
        AND NOT EXISTS (SELECT FROM pg_user_mappings t WHERE t.srvname = $2 AND t.umuser IN (s.umuser, 0))";

impl Postgres {
    pub(super) async fn findings(&self, migration: &Migration) -> Result<Findings, Refusal> {
        let moving = self.moving(migration).await?;
        let mut findings = Vec::new();
        let (source, target) = (self.node(moving.source).await, self.node(moving.target).await);
        if moving.side() != Side::Source {
            findings.push(format!(
                "{} lies on {}; name it as the source",
                moving.place.table,
                self.holder(&moving.place).map_or_else(|_| "no node".to_owned(), |node| node.to_string())
            ));
        }
        self.on_router(&moving, &mut findings).await?;
        for (link, what) in [(&source, "source"), (&target, "target")] {
            match link {
                Ok(link) => server(link, &mut findings).await?,
                Err(refusal) => {
                    findings.push(format!("the {what} is away: {}; bring it up", refusal.message));
                }
            }
        }
        if let Ok(source) = &source {
            table(source, moving.data(), &mut findings).await?;
        }
        if let Ok(target) = &target {
            room(target, moving.data(), &mut findings).await?;
        }
        let copies = if source.is_ok() { Copies::Live } else { Copies::Lost };
        Ok(Findings { findings, copies })
    }

    /// The router's server of a node.
    pub(super) async fn server_of(&self, router: &Link, node: usize) -> Result<Option<String>, Refusal> {
        let sql = "SELECT s.srvname::text FROM pg_foreign_server s \
            JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw AND w.fdwname = 'postgres_fdw' \
            CROSS JOIN LATERAL (SELECT max(option_value) FILTER (WHERE option_name = 'host') AS host, \
                max(option_value) FILTER (WHERE option_name = 'hostaddr') AS hostaddr, \
                max(option_value) FILTER (WHERE option_name = 'port') AS port, \
                max(option_value) FILTER (WHERE option_name = 'dbname') AS dbname \
                FROM pg_options_to_table(s.srvoptions)) AS o \
            WHERE coalesce(o.host, o.hostaddr) = $1 AND coalesce(o.port, '5432') = $2 \
                AND coalesce(o.dbname, current_database()) = $3 ORDER BY s.srvname LIMIT 1";
        let (at, database) = (&self.servers.nodes[node].at, &self.servers.database);
        let rows = router.rows(sql, &[&at.host, &at.port.to_string(), database]).await?;
        rows.first().map(|row| row.get(0)).transpose()
    }

    async fn on_router(&self, moving: &Moving, findings: &mut Vec<String>) -> Result<(), Refusal> {
        let at = &self.servers.nodes[moving.target].at;
        let Some(from) = &moving.place.server else {
            findings.push(format!(
                "{} lies on the router itself, where its name cannot be given to another; \
                    keep what is to be moved on servers of its own, as foreign partitions",
                moving.place.table
            ));
            return Ok(());
        };
        let Some(to) = self.server_of(&moving.router, moving.target).await? else {
            findings.push(format!(
                "the router has no foreign server for {}:{}; CREATE SERVER ... FOREIGN DATA WRAPPER postgres_fdw \
                    OPTIONS (host '{}', port '{}', dbname '{}'), and user mappings for it",
                at.host, at.port, at.host, at.port, self.servers.database
            ));
            return Ok(());
        };
        for row in moving.router.rows(UNMAPPED, &[from, &to]).await? {
            findings.push(format!(
                "{} has no user mapping for server {to} on the router, and has one for {from}; CREATE USER MAPPING",
                row.get::<&str>(0)?
            ));
        }
        Ok(())
    }
}

/// What a server cannot do.
async fn server(link: &Link, findings: &mut Vec<String>) -> Result<(), Refusal> {
    let row = link.row(SERVER, &[]).await?;
    let name = &link.name;
    if row.get::<i32>(0)? < LEAST_VERSION {
        findings.push(format!("{name} is older than PostgreSQL 15; upgrade it"));
    }
    if row.get::<&str>(1)? != "logical" {
        findings
            .push(format!("wal_level of {name} is {}; set it to logical and restart", row.get::<&str>(1)?));
    }
    if row.get::<&str>(2)? == "-1" {
        findings.push(format!(
            "max_slot_wal_keep_size of {name} is unbounded: a copy that stops would fill its disk; set it"
        ));
    }
    // One for the stream, one for its first copy.
    for (at, setting) in
        [(3, "max_replication_slots"), (4, "max_wal_senders"), (6, "max_logical_replication_workers")]
    {
        if row.get::<i64>(at)? < 2 {
            findings.push(format!("{name} has fewer than two left of {setting}; raise it"));
        }
    }
    if !row.get::<Option<bool>>(5)?.unwrap_or(false) {
        findings
            .push(format!("the adapter's user is no superuser on {name}, and cannot subscribe; make it one"));
    }
    Ok(())
}

/// What of a table cannot be moved.
async fn table(link: &Link, table: &Table, findings: &mut Vec<String>) -> Result<(), Refusal> {
    let rows = link.rows(TABLE, &[&table.to_string()]).await?;
    let Some(row) = rows.first() else {
        findings.push(format!("{} has no table {table}; mend the router's foreign table", link.name));
        return Ok(());
    };
    let keyed = row.get::<bool>(4)? || row.get::<&str>(3)? == "f";
    let is = |row: &Row, at: usize| row.get::<bool>(at);
    let wrong = [
        (row.get::<&str>(0)? != "r", "is no plain table; move what it stands for"),
        (is(row, 1)?, "is itself partitioned, a partition or inherited from; move its parts"),
        (row.get::<&str>(2)? != "p", "is unlogged or temporary, and not replicated; SET LOGGED"),
        (
            !keyed,
            "has no primary key and no replica identity, so its updates would fail as soon as it is copied; \
            add a key, or ALTER TABLE ... REPLICA IDENTITY",
        ),
        (is(row, 5)?, "has triggers, which are not copied; drop them, or move it by hand"),
        (is(row, 6)?, "has foreign keys, or is referred to by one; drop them, or move it by hand"),
        (
            is(row, 7)?,
            "takes numbers from a sequence, which is not replicated; have the router give the numbers, and \
            drop the default",
        ),
        (is(row, 8)?, "has row security, which is not copied; disable it, or move it by hand"),
        (is(row, 9)?, "has rules, which are not copied; drop them, or move it by hand"),
        (is(row, 10)?, "is published to others, who would not follow it; take it out of their publications"),
    ];
    findings
        .extend(wrong.iter().filter(|(is, _)| *is).map(|(_, why)| format!("{table} on {} {why}", link.name)));
    Ok(())
}

/// What is in the copy's place.
async fn room(link: &Link, table: &Table, findings: &mut Vec<String>) -> Result<(), Refusal> {
    if !link.has("SELECT FROM pg_namespace WHERE nspname = $1", &[&table.schema]).await? {
        findings.push(format!("{} has no schema {}; create it", link.name, table.schema));
        return Ok(());
    }
    if !schema::exists(link, table).await? {
        return Ok(());
    }
    let name = table.to_string();
    let kind = "SELECT relkind IN ('r', 'p') FROM pg_class WHERE oid = to_regclass($1::text)";
    let rows = if link.row(kind, &[&name]).await?.get(0)? {
        let sql = format!("SELECT EXISTS (SELECT FROM {table})");
        if link.row(&sql, &[]).await?.get(0)? { "with rows" } else { "without rows" }
    } else {
        "which is no table"
    };
    findings
        .push(format!("{} has a {table} already, {rows}; look what it is, and drop or rename it", link.name));
    Ok(())
}
