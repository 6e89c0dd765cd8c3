//! What migrations do to the cluster. Each may be done twice.

use super::{Copied, World, failed, fence, giver, node_id};
use crate::contract::{Migration, Refusal};
use isotherm_migration::{Fenced, Origin, Side};
use isotherm_model::{NodeId, PartitionId};
use rusqlite::{Connection, OptionalExtension, params};

/// Where a number of a block is mixed into a sum: the prime of FNV-1a.
const PRIME: u64 = 0x0100_0000_01b3;

/// A replica as it is.
struct Replica {
    serves: bool,
    made_for: Option<String>,
}

impl World {
    pub(in super::super) fn prepare(&self, migration: &Migration) -> Result<(), Refusal> {
        let (part, target, id) = names(migration);
        self.change(|sql| {
            match replica(sql, part, target)? {
                Some(there) if there.made_for.as_deref() != Some(id) => {
                    return Err(Refusal::conflict(format!("{target} holds {part} already")));
                }
                Some(_) => return Ok(()),
                None => {}
            }
            let giver = giver(sql, migration)?.ok_or_else(|| no_copy(migration))?;
            run(sql, "INSERT INTO replica VALUES (?1, ?2, 1000, 0, 0, ?3)", params![part, target, id])?;
            run(
                sql,
                "INSERT INTO feed SELECT ?3, name, ?4, ?2, writes, 0 FROM part WHERE name = ?1",
                params![part, target, id, giver],
            )
        })
    }

    /// Copies some blocks that the target has not. Returns how many.
    pub(in super::super) fn copy(&self, migration: &Migration, most: u32) -> Result<u32, Refusal> {
        let (part, target, id) = names(migration);
        self.change(|sql| {
            let there = replica(sql, part, target)?.filter(|there| there.made_for.as_deref() == Some(id));
            let there = there.ok_or_else(|| Refusal::conflict(format!("{target} is not prepared for {part}")))?;
            if there.serves {
                return Ok(0);
            }
            let giver = giver(sql, migration)?.ok_or_else(|| no_copy(migration))?;
            let copied = sql.execute(
                "INSERT INTO block SELECT part, ?2, number, data FROM block AS given WHERE part = ?1 AND node = ?3 \
                 AND NOT EXISTS (SELECT 1 FROM block WHERE part = ?1 AND node = ?2 AND number = given.number) \
                 ORDER BY number LIMIT ?4",
                params![part, target, giver, most],
            );
            let copied = copied.map_err(failed)?;
            if copied == 0 {
                run(sql, "UPDATE feed SET whole = 1 WHERE migration = ?1", params![id])?;
            }
            Ok(u32::try_from(copied).unwrap_or(u32::MAX))
        })
    }

    pub(in super::super) fn copied(&self, migration: &Migration) -> Result<Copied, Refusal> {
        let (part, target, id) = names(migration);
        self.change(|sql| {
            let blocks: i64 = sql
                .query_row(
                    "SELECT count(*) FROM block WHERE part = ?1 AND node = ?2",
                    [part, target],
                    |row| row.get(0),
                )
                .map_err(failed)?;
            let feed = feed(sql, id)?;
            Ok(Copied {
                blocks: blocks.unsigned_abs(),
                applied: feed.map(|(applied, _)| applied),
                lag: feed.map(|(applied, writes)| writes.saturating_sub(applied)),
            })
        })
    }

    /// Writes that the target has not, up to one of them or to the last.
    pub(in super::super) fn lag(&self, migration: &Migration, up_to: Option<u64>) -> Result<u64, Refusal> {
        let (part, target, id) = names(migration);
        self.change(|sql| {
            let (applied, writes) = feed(sql, id)?.ok_or_else(|| {
                Refusal::conflict(format!("the copy of {part} on {target} follows nothing"))
            })?;
            Ok(up_to.unwrap_or(writes).saturating_sub(applied))
        })
    }

    pub(in super::super) fn verify(&self, migration: &Migration) -> Result<String, Refusal> {
        let (part, target, id) = names(migration);
        self.change(|sql| {
            apply(sql, id, u32::MAX)?;
            let giver = giver(sql, migration)?.ok_or_else(|| no_copy(migration))?;
            let (from, to) = (sum(sql, part, &giver)?, sum(sql, part, target)?);
            if from == to {
                return Ok(format!("{} blocks, sum {:016x}", from.0, from.1));
            }
            Err(Refusal::mismatch(format!(
                "{part}: {} blocks of sum {:016x} on {giver}, {} of {:016x} on {target}",
                from.0, from.1, to.0, to.1
            )))
        })
    }

    pub(in super::super) fn fence(&self, migration: &Migration) -> Result<u64, Refusal> {
        let (part, _, id) = names(migration);
        self.change(|sql| {
            if let Some(other) = fence(sql, part)?.filter(|other| other != id) {
                return Err(Refusal::conflict(format!("migration {other} has stopped writes to {part}")));
            }
            if serves(sql, migration)? != Side::Source {
                return Err(Refusal::conflict(format!("{} does not serve {part}", migration.origin.node())));
            }
            run(sql, "INSERT OR REPLACE INTO fence VALUES (?1, ?2)", params![part, id])?;
            let writes: i64 = sql
                .query_row("SELECT writes FROM part WHERE name = ?1", [part], |row| row.get(0))
                .map_err(failed)?;
            Ok(writes.unsigned_abs())
        })
    }

    pub(in super::super) fn unfence(&self, migration: &Migration) -> Result<(), Refusal> {
        self.change(|sql| lift(sql, migration))
    }

    /// Lets the target serve, with every write.
    pub(in super::super) fn switch(&self, migration: &Migration) -> Result<(), Refusal> {
        let (part, target, id) = names(migration);
        self.change(|sql| {
            let there = replica(sql, part, target)?.filter(|there| there.made_for.as_deref() == Some(id));
            let there =
                there.ok_or_else(|| Refusal::conflict(format!("{target} is not prepared for {part}")))?;
            if there.serves {
                return Ok(());
            }
            apply(sql, id, u32::MAX)?;
            exchange(sql, migration, Side::Target)
        })
    }

    /// Lets the source serve again, with every write.
    pub(in super::super) fn reverse(&self, migration: &Migration) -> Result<(), Refusal> {
        if matches!(migration.origin, Origin::Repair { .. }) {
            return Err(Refusal::unsupported("a repair has nothing to go back to"));
        }
        self.change(|sql| {
            if serves(sql, migration)? == Side::Source {
                return Ok(());
            }
            apply(sql, names(migration).2, u32::MAX)?;
            exchange(sql, migration, Side::Source)
        })
    }

    pub(in super::super) fn retire(&self, migration: &Migration) -> Result<(), Refusal> {
        let (part, target, id) = names(migration);
        self.change(|sql| {
            if serves(sql, migration)? != Side::Target {
                return Err(Refusal::conflict(format!("{target} does not serve {part}")));
            }
            remove(sql, part, migration.origin.node().name())?;
            run(sql, "UPDATE replica SET made_for = NULL WHERE made_for = ?1", params![id])?;
            unfeed(sql, part, id)?;
            lift(sql, migration)
        })
    }

    pub(in super::super) fn abort(&self, migration: &Migration) -> Result<(), Refusal> {
        let (part, target, id) = names(migration);
        self.change(|sql| {
            match replica(sql, part, target)?.filter(|there| there.made_for.as_deref() == Some(id)) {
                Some(there) if there.serves => {
                    return Err(Refusal::conflict(format!(
                        "{target} serves {part}; the switch has happened"
                    )));
                }
                Some(_) => remove(sql, part, target)?,
                None => {}
            }
            unfeed(sql, part, id)?;
            lift(sql, migration)
        })
    }

    pub(in super::super) fn serves(&self, migration: &Migration) -> Result<Side, Refusal> {
        self.change(|sql| serves(sql, migration))
    }

    pub(in super::super) fn fenced(&self, migration: &Migration) -> Result<Fenced, Refusal> {
        let (part, _, id) = names(migration);
        self.change(|sql| Ok(if fence(sql, part)?.as_deref() == Some(id) { Fenced::Yes } else { Fenced::No }))
    }

    pub(in super::super) fn objects(&self, migration: &Migration) -> Result<Vec<String>, Refusal> {
        let (part, target, id) = names(migration);
        self.change(|sql| {
            let mut objects = Vec::new();
            if replica(sql, part, target)?.is_some_and(|there| there.made_for.as_deref() == Some(id)) {
                objects.push(format!("copy of {part} on {target}"));
            }
            if feed(sql, id)?.is_some() {
                objects.push(format!("feed of {part} for {id}"));
            }
            if fence(sql, part)?.as_deref() == Some(id) {
                objects.push(format!("fence of {part}"));
            }
            Ok(objects)
        })
    }

    /// Another node leads. Returns the one that did.
    pub(in super::super) fn lead(
        &self,
        partition: &PartitionId,
        node: &NodeId,
    ) -> Result<Option<NodeId>, Refusal> {
        let part = partition.name();
        self.change(|sql| {
            let holders = super::holders(sql, partition.system(), part)?;
            holds(&holders, partition, node)?;
            if holders.first() == Some(node) {
                return Ok(None);
            }
            if !is_up(sql, node.name())? {
                return Err(Refusal::conflict(format!("{node} is down and cannot lead {partition}")));
            }
            run(
                sql,
                "UPDATE replica SET drained = 0, rank = (SELECT min(rank) - 1 FROM replica WHERE part = ?1) \
                 WHERE part = ?1 AND node = ?2",
                params![part, node.name()],
            )?;
            Ok(holders.first().cloned())
        })
    }

    /// A node gets no reads, or gets them again. Returns it if that is a change.
    pub(in super::super) fn drain(
        &self,
        partition: &PartitionId,
        node: &NodeId,
        drained: bool,
    ) -> Result<Option<NodeId>, Refusal> {
        let part = partition.name();
        self.change(|sql| {
            holds(&super::holders(sql, partition.system(), part)?, partition, node)?;
            let left: i64 = sql
                .query_row(
                    "SELECT count(*) FROM replica JOIN node ON name = node \
                     WHERE part = ?1 AND serves AND up AND NOT drained AND node != ?2",
                    [part, node.name()],
                    |row| row.get(0),
                )
                .map_err(failed)?;
            if drained && left == 0 {
                let message = format!("no other live replica of {partition} would be left; drain another");
                return Err(Refusal::conflict(message));
            }
            let changed = sql.execute(
                "UPDATE replica SET drained = ?3 WHERE part = ?1 AND node = ?2 AND drained != ?3",
                params![part, node.name(), drained],
            );
            if changed.map_err(failed)? == 0 {
                return Ok(None);
            }
            node_id(partition.system(), node.name()).map(Some)
        })
    }
}

/// Feeds a copy with writes that it has not.
pub(super) fn apply(sql: &Connection, migration: &str, most: u32) -> Result<(), Refusal> {
    let found =
        sql.query_row("SELECT part, target, applied FROM feed WHERE migration = ?1", [migration], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
        });
    let Some((part, target, applied)) = found.optional().map_err(failed)? else { return Ok(()) };
    let last = applied.saturating_add(i64::from(most));
    run(
        sql,
        "INSERT OR REPLACE INTO block SELECT part, ?2, number, data FROM write \
         WHERE part = ?1 AND seq > ?3 AND seq <= ?4 ORDER BY seq",
        params![part, target, applied, last],
    )?;
    run(
        sql,
        "UPDATE feed SET applied = min(?3, (SELECT writes FROM part WHERE name = ?1)) WHERE migration = ?2",
        params![part, migration, last],
    )?;
    forget(sql, &part)
}

/// Forgets writes that every copy has.
fn forget(sql: &Connection, part: &str) -> Result<(), Refusal> {
    run(
        sql,
        "DELETE FROM write WHERE part = ?1 \
         AND seq <= coalesce((SELECT min(applied) FROM feed WHERE part = ?1), (SELECT max(seq) FROM write))",
        params![part],
    )
}

/// Lets a side serve instead of the other, which follows it from now on.
fn exchange(sql: &Connection, migration: &Migration, to: Side) -> Result<(), Refusal> {
    let (part, target, id) = names(migration);
    let source = migration.origin.node().name();
    let (gives, takes) = match to {
        Side::Target => (source, target),
        Side::Source | Side::Neither => (target, source),
    };
    let rank = "UPDATE replica SET serves = 1, drained = 0, \
                rank = coalesce((SELECT rank FROM replica WHERE part = ?1 AND node = ?2), rank) \
                WHERE part = ?1 AND node = ?3";
    run(sql, rank, params![part, gives, takes])?;
    run(sql, "UPDATE replica SET serves = 0 WHERE part = ?1 AND node = ?2", params![part, gives])?;
    match migration.origin {
        Origin::Move { .. } => run(
            sql,
            "UPDATE feed SET source = ?3, target = ?2 WHERE migration = ?1",
            params![id, gives, takes],
        )?,
        Origin::Repair { .. } => unfeed(sql, part, id)?,
    }
    lift(sql, migration)
}

fn names(migration: &Migration) -> (&str, &str, &str) {
    (migration.partition.name(), migration.target.name(), migration.id.as_str())
}

fn no_copy(migration: &Migration) -> Refusal {
    let message = match &migration.origin {
        Origin::Move { source } => {
            format!("{source} is down, and there is no copy of {} on it", migration.partition)
        }
        Origin::Repair { dead } => {
            format!("no replica of {} but that on {dead} is left", migration.partition)
        }
    };
    Refusal::new(isotherm_migration::Reason::NoLiveCopy, message)
}

fn serves(sql: &Connection, migration: &Migration) -> Result<Side, Refusal> {
    let (part, target, _) = names(migration);
    let there = |node| Ok::<_, Refusal>(replica(sql, part, node)?.is_some_and(|there| there.serves));
    let switched = there(target)? && !there(migration.origin.node().name())?;
    Ok(if switched { Side::Target } else { Side::Source })
}

fn replica(sql: &Connection, part: &str, node: &str) -> Result<Option<Replica>, Refusal> {
    let found = sql.query_row(
        "SELECT serves, made_for FROM replica WHERE part = ?1 AND node = ?2",
        [part, node],
        |row| Ok(Replica { serves: row.get(0)?, made_for: row.get(1)? }),
    );
    found.optional().map_err(failed)
}

/// The last write that a copy has, and the last there is.
fn feed(sql: &Connection, migration: &str) -> Result<Option<(u64, u64)>, Refusal> {
    let found = sql.query_row(
        "SELECT applied, writes FROM feed JOIN part ON name = part WHERE migration = ?1",
        [migration],
        |row| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, i64>(1)?.unsigned_abs())),
    );
    found.optional().map_err(failed)
}

fn unfeed(sql: &Connection, part: &str, migration: &str) -> Result<(), Refusal> {
    run(sql, "DELETE FROM feed WHERE migration = ?1", params![migration])?;
    forget(sql, part)
}

fn remove(sql: &Connection, part: &str, node: &str) -> Result<(), Refusal> {
    run(sql, "DELETE FROM block WHERE part = ?1 AND node = ?2", params![part, node])?;
    run(sql, "DELETE FROM replica WHERE part = ?1 AND node = ?2", params![part, node])
}

fn lift(sql: &Connection, migration: &Migration) -> Result<(), Refusal> {
    let (part, _, id) = names(migration);
    run(sql, "DELETE FROM fence WHERE part = ?1 AND migration = ?2", params![part, id])
}

fn is_up(sql: &Connection, node: &str) -> Result<bool, Refusal> {
    sql.query_row("SELECT up FROM node WHERE name = ?1", [node], |row| row.get(0)).map_err(failed)
}

fn holds(holders: &[NodeId], partition: &PartitionId, node: &NodeId) -> Result<(), Refusal> {
    if holders.contains(node) {
        return Ok(());
    }
    Err(Refusal::conflict(format!("{node} does not hold {partition}")))
}

/// The number of blocks, and a sum of them in their order.
fn sum(sql: &Connection, part: &str, node: &str) -> Result<(u64, u64), Refusal> {
    let mut all = sql
        .prepare_cached("SELECT number, data FROM block WHERE part = ?1 AND node = ?2 ORDER BY number")
        .map_err(failed)?;
    let mut rows = all.query([part, node]).map_err(failed)?;
    let (mut blocks, mut sum) = (0, 0xcbf2_9ce4_8422_2325_u64);
    while let Some(row) = rows.next().map_err(failed)? {
        let (number, data): (i64, Vec<u8>) = (row.get(0).map_err(failed)?, row.get(1).map_err(failed)?);
        for byte in number.to_le_bytes().into_iter().chain(data) {
            sum = (sum ^ u64::from(byte)).wrapping_mul(PRIME);
        }
        blocks += 1;
    }
    Ok((blocks, sum))
}

fn run(sql: &Connection, statement: &str, with: impl rusqlite::Params) -> Result<(), Refusal> {
    sql.execute(statement, with).map_err(failed)?;
    Ok(())
}
