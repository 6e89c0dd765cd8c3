//! The made-up cluster itself: nodes, replicas with their bytes, writes that copies have not taken over, fences.
//!
//! Every call is one transaction of SQLite, so that it is done or not, whatever dies.

mod moves;

use super::Simulated;
use super::table::name;
use crate::contract::{Migration, Refusal};
use crate::store::Cluster;
use isotherm_migration::Origin;
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_proto::{Health, NodeFacts, PartitionFacts};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Racks that nodes are spread over.
const RACKS: u32 = 3;

/// Where the first node would serve.
const FIRST_PORT: u16 = 9_000;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS node (name TEXT PRIMARY KEY, number INTEGER, up INTEGER) STRICT;
    CREATE TABLE IF NOT EXISTS part (name TEXT PRIMARY KEY, writes INTEGER) STRICT;
    CREATE TABLE IF NOT EXISTS replica (
        part TEXT, node TEXT, rank INTEGER, serves INTEGER, drained INTEGER, made_for TEXT, PRIMARY KEY (part, node)
    ) STRICT;
    CREATE TABLE IF NOT EXISTS block (
        part TEXT, node TEXT, number INTEGER, data BLOB, PRIMARY KEY (part, node, number)
    ) STRICT;
    CREATE TABLE IF NOT EXISTS feed (
        migration TEXT PRIMARY KEY, part TEXT, source TEXT, target TEXT, applied INTEGER, whole INTEGER
    ) STRICT;
    CREATE TABLE IF NOT EXISTS write (
        part TEXT, seq INTEGER, number INTEGER, data BLOB, PRIMARY KEY (part, seq)
    ) STRICT;
    CREATE TABLE IF NOT EXISTS fence (part TEXT PRIMARY KEY, migration TEXT) STRICT;
";

/// The cluster.
pub(super) struct World {
    sql: Mutex<Connection>,
    block_bytes: usize,
    blocks: u32,
}

/// How far a copy is.
pub(super) struct Copied {
    pub(super) blocks: u64,
    /// The last write that it has taken over, and how many it has not; absent before it takes any.
    pub(super) applied: Option<u64>,
    pub(super) lag: Option<u64>,
}

/// What SQLite says is no refusal that anybody could expect: nothing is known, so it is tried again.
fn failed(error: rusqlite::Error) -> Refusal {
    Refusal::not_now(format!("the simulated cluster: {error}"))
}

impl World {
    /// Opens the cluster in a file, or makes it up.
    pub(super) fn open(table: &Simulated, state: Option<&Path>) -> rusqlite::Result<Self> {
        let mut sql = match state {
            Some(path) => Connection::open(path)?,
            None => Connection::open_in_memory()?,
        };
        sql.pragma_update(None, "journal_mode", "WAL")?;
        // It has to outlive a killed process, not the machine.
        sql.pragma_update(None, "synchronous", "NORMAL")?;
        sql.execute_batch(TABLES)?;
        let made: Option<i64> = sql.query_row("SELECT max(number) FROM node", [], |row| row.get(0))?;
        let changes = sql.transaction()?;
        if made.is_none() {
            make_up(&changes, table)?;
        }
        for number in 1..=table.nodes {
            let node = name("n", number);
            let up = !table.down.contains(&node);
            changes.execute("UPDATE node SET up = ?2 WHERE name = ?1", params![node, up])?;
        }
        changes.commit()?;
        Ok(Self {
            sql: Mutex::new(sql),
            block_bytes: usize::try_from(table.block_bytes).unwrap_or(1),
            blocks: table.blocks,
        })
    }

    /// Does something as a whole, or not at all.
    fn change<T>(&self, change: impl FnOnce(&Transaction<'_>) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let mut sql = self.sql.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = sql.transaction().map_err(failed)?;
        let done = change(&changes)?;
        changes.commit().map_err(failed)?;
        Ok(done)
    }

    pub(super) fn is_up(&self, node: &str) -> Result<bool, Refusal> {
        self.change(|sql| {
            let up =
                sql.query_row("SELECT up FROM node WHERE name = ?1", [node], |row| row.get(0)).optional();
            let unknown = || Refusal::unsupported(format!("there is no node {node}"));
            up.map_err(failed)?.ok_or_else(unknown)
        })
    }

    pub(super) fn cluster(&self, system: &SystemId) -> Result<Cluster, Refusal> {
        self.change(|sql| {
            let mut cluster = Cluster::default();
            for (node, number, up) in rows(sql, "SELECT name, number, up FROM node")? {
                let facts = node_facts(number, up);
                cluster.nodes.insert(node_id(system, &node)?, facts);
            }
            let size = u64::from(self.blocks) * self.block_bytes as u64;
            for (part, _, _) in rows(sql, "SELECT name, 0, 0 FROM part")? {
                let nodes = holders(sql, system, &part)?;
                let facts = PartitionFacts { size_bytes: Some(size), nodes, epoch: 0, locators: Vec::new() };
                cluster.partitions.insert(partition_id(system, &part)?, facts);
            }
            Ok(cluster)
        })
    }

    pub(super) fn holders(&self, partition: &PartitionId) -> Result<Vec<NodeId>, Refusal> {
        self.change(|sql| {
            let found = holders(sql, partition.system(), partition.name())?;
            if found.is_empty() {
                return Err(Refusal::unsupported(format!("there is no partition {partition}")));
            }
            Ok(found)
        })
    }

    /// A node whose copy a migration could be made from.
    pub(super) fn giver(&self, migration: &Migration) -> Result<Option<String>, Refusal> {
        self.change(|sql| giver(sql, migration))
    }

    /// A client's write: on every copy that serves, or refused.
    pub(super) fn write(&self, partition: u32, block: u32, value: u64) -> Result<(), Refusal> {
        let part = name("p", partition);
        let data = filled(value, self.block_bytes);
        self.change(|sql| {
            if fence(sql, &part)?.is_some() {
                return Err(Refusal::not_now(format!("writes to {part} are stopped")));
            }
            let written = sql.execute(
                "UPDATE block SET data = ?3 WHERE part = ?1 AND number = ?2 AND node IN \
                 (SELECT node FROM replica JOIN node ON name = node WHERE part = ?1 AND serves AND up)",
                params![part, block, data],
            );
            if written.map_err(failed)? == 0 {
                return Err(Refusal::not_now(format!("no copy of {part} takes writes")));
            }
            sql.execute("UPDATE part SET writes = writes + 1 WHERE name = ?1", [&part]).map_err(failed)?;
            sql.execute(
                "INSERT INTO write SELECT name, writes, ?2, ?3 FROM part \
                 WHERE name = ?1 AND EXISTS (SELECT 1 FROM feed WHERE part = ?1)",
                params![part, block, data],
            )
            .map_err(failed)?;
            Ok(())
        })
    }

    /// Feeds every whole copy with writes that it has not, at most so many each.
    pub(super) fn feed(&self, most: u32) -> Result<(), Refusal> {
        self.change(|sql| {
            let behind =
                "SELECT migration, 0, 0 FROM feed JOIN part ON name = part WHERE whole AND applied < writes";
            for (migration, _, _) in rows(sql, behind)? {
                moves::apply(sql, &migration, most)?;
            }
            Ok(())
        })
    }
}

fn make_up(sql: &Transaction<'_>, table: &Simulated) -> rusqlite::Result<()> {
    let mut chance = fastrand::Rng::with_seed(table.seed);
    for number in 1..=table.nodes {
        sql.execute("INSERT INTO node VALUES (?1, ?2, 1)", params![name("n", number), number])?;
    }
    let bytes = usize::try_from(table.block_bytes).unwrap_or(1);
    for number in 1..=table.partitions {
        let part = name("p", number);
        sql.execute("INSERT INTO part VALUES (?1, 0)", [&part])?;
        let nodes: Vec<String> =
            (0..table.replicas).map(|rank| name("n", (number - 1 + rank) % table.nodes + 1)).collect();
        for (rank, node) in nodes.iter().enumerate() {
            sql.execute(
                "INSERT INTO replica VALUES (?1, ?2, ?3, 1, 0, NULL)",
                params![part, node, rank as i64],
            )?;
        }
        for block in 0..table.blocks {
            let data = filled(chance.u64(..), bytes);
            for node in &nodes {
                sql.execute("INSERT INTO block VALUES (?1, ?2, ?3, ?4)", params![part, node, block, data])?;
            }
        }
    }
    Ok(())
}

/// Bytes that are told apart by a number.
fn filled(value: u64, bytes: usize) -> Vec<u8> {
    value.to_le_bytes().into_iter().cycle().take(bytes).collect()
}

fn node_facts(number: i64, up: i64) -> NodeFacts {
    let number = u16::try_from(number).unwrap_or(0);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST_PORT + number));
    NodeFacts {
        addresses: vec![address],
        domains: vec!["hall1".to_owned(), format!("rack{}", u32::from(number) % RACKS + 1)],
        capacity_bytes: Some(1 << 40),
        load_capacity_ops_per_s: None,
        class: None,
        health: if up == 1 { Health::Up } else { Health::Down },
    }
}

/// Who holds a partition: the leader first, drained ones last.
fn holders(sql: &Connection, system: &SystemId, part: &str) -> Result<Vec<NodeId>, Refusal> {
    let mut all = sql
        .prepare_cached("SELECT node FROM replica WHERE part = ?1 AND serves ORDER BY drained, rank, node")
        .map_err(failed)?;
    let names = all.query_map([part], |row| row.get::<_, String>(0)).map_err(failed)?;
    names.map(|node| node_id(system, &node.map_err(failed)?)).collect()
}

fn giver(sql: &Connection, migration: &Migration) -> Result<Option<String>, Refusal> {
    let (part, from) = (migration.partition.name(), migration.origin.node().name());
    let found = match migration.origin {
        Origin::Move { .. } => sql.query_row(
            "SELECT node FROM replica JOIN node ON name = node WHERE part = ?1 AND node = ?2 AND up",
            [part, from],
            |row| row.get(0),
        ),
        Origin::Repair { .. } => sql.query_row(
            "SELECT node FROM replica JOIN node ON name = node \
             WHERE part = ?1 AND node != ?2 AND serves AND up AND made_for IS NULL ORDER BY rank",
            [part, from],
            |row| row.get(0),
        ),
    };
    found.optional().map_err(failed)
}

fn fence(sql: &Connection, part: &str) -> Result<Option<String>, Refusal> {
    let found = sql.query_row("SELECT migration FROM fence WHERE part = ?1", [part], |row| row.get(0));
    found.optional().map_err(failed)
}

fn rows(sql: &Connection, query: &str) -> Result<Vec<(String, i64, i64)>, Refusal> {
    let mut all = sql.prepare_cached(query).map_err(failed)?;
    let found = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).map_err(failed)?;
    found.collect::<rusqlite::Result<_>>().map_err(failed)
}

fn node_id(system: &SystemId, name: &str) -> Result<NodeId, Refusal> {
    NodeId::new(system.clone(), name).map_err(|error| Refusal::not_now(error.to_string()))
}

fn partition_id(system: &SystemId, name: &str) -> Result<PartitionId, Refusal> {
    PartitionId::new(system.clone(), name).map_err(|error| Refusal::not_now(error.to_string()))
}
