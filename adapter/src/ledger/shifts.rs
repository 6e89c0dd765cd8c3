//! Shifts of reads: heard before they are made, settled when they have been.

use super::record::{Content, Heard, Outcome, ShiftMade, Shifted};
use super::requests::{prune, put_heard, running};
use super::{Ledger, Look, Result, explains, find, hear, put_partition, rules, written};
use crate::contract::{AskedShift, Refusal};
use isotherm_model::NodeId;
use rusqlite::params;

impl Ledger {
    /// Hears a shift, and decides: what came of it before, or with `None` that it is written down and to be made.
    pub fn admit_shift(
        &self,
        asked: &AskedShift,
        look: &Look<'_>,
        now_ms: i64,
    ) -> Result<std::result::Result<Option<Shifted>, Refusal>> {
        let mut inner = self.lock();
        let name = asked.partition.name().to_owned();
        let nodes = explains(&inner.sql, &name, now_ms)?;
        let mut partition = inner.looked(&name, look, self.leaders, &nodes);
        let made = ShiftMade::new(asked, look.holders);
        let changes = inner.sql.transaction()?;
        if let Err(refusal) = hear(&changes, asked.term)? {
            return Ok(Err(refusal));
        }
        if let Some(first) = find(&changes, &asked.request_id)? {
            changes.commit()?;
            let again = rules::repeats_shift(&asked.request_id, &first, &made);
            return Ok(again.map(|()| match first.outcome {
                Outcome::Shift(shifted) => Some(shifted),
                Outcome::Step(_) => None,
            }));
        }
        let mut decided = rules::epochs(&partition, asked.epochs);
        if decided.is_ok() {
            partition.highest = partition.highest.max(asked.epochs.new);
            let open: Option<String> = changes.query_row(
                "SELECT min(id) FROM migrations WHERE partition = ?1 AND ended_ms IS NULL",
                [&name],
                |row| row.get(0),
            )?;
            if let Some(open) = open {
                let message =
                    format!("migration {open} of {} is under way; it must end first", asked.partition);
                decided = Err(Refusal::conflict(message));
            } else if !running(&changes, Some(&of(&name)))?.is_empty() {
                let message = format!("another shift of reads of {} is being made", asked.partition);
                decided = Err(Refusal::conflict(message));
            }
        }
        let outcome = match &decided {
            Ok(()) => Shifted::Running,
            Err(refusal) => Shifted::Refused(refusal.clone()),
        };
        let heard = Heard { content: Content::Shift(made), outcome: Outcome::Shift(outcome) };
        put_partition(&changes, &name, &partition)?;
        put_heard(&changes, &asked.request_id, &of(&name), decided.is_ok(), now_ms, &heard)?;
        changes.commit()?;
        inner.remember(&name, partition);
        inner.touch(&name);
        Ok(decided.map(|()| None))
    }

    /// Writes down what came of a shift: where reads moved, the proposed epoch serves.
    pub fn settle_shift(
        &self,
        id: &str,
        made: &ShiftMade,
        outcome: std::result::Result<Option<String>, Refusal>,
        holders: Option<&[NodeId]>,
        now_ms: i64,
    ) -> Result<Shifted> {
        let mut inner = self.lock();
        let mut partition = inner.partitions.get(&made.partition).map(|kept| kept.partition.clone());
        let changed = matches!(outcome, Ok(Some(_)));
        if let Some(partition) = partition.as_mut().filter(|_| changed) {
            partition.serving = made.epochs.new;
            partition.highest = partition.highest.max(made.epochs.new);
            if let Some(holders) = holders {
                partition.holders = holders.iter().map(|node| node.name().to_owned()).collect();
            }
        }
        let serving = partition.as_ref().map_or(made.epochs.expected, |partition| partition.serving);
        let shifted = match outcome {
            Ok(undo) => Shifted::Done { serving, undo },
            Err(refusal) => Shifted::Refused(refusal),
        };
        let changes = inner.sql.transaction()?;
        changes.execute(
            "UPDATE requests SET running = 0, outcome = ?2 WHERE id = ?1",
            params![id, written(&Outcome::Shift(shifted.clone()))?],
        )?;
        if let Some(partition) = &partition {
            put_partition(&changes, &made.partition, partition)?;
        }
        prune(&changes, now_ms)?;
        changes.commit()?;
        if let Some(partition) = partition {
            inner.remember(&made.partition, partition);
        }
        inner.touch(&made.partition);
        Ok(shifted)
    }

    /// The shifts that were being made when the adapter ended, with their names.
    pub fn shifts_under_way(&self) -> Result<Vec<(String, ShiftMade)>> {
        let inner = self.lock();
        let mut all = inner.sql.prepare("SELECT id, content FROM requests WHERE running = 1 ORDER BY seq")?;
        let rows = all.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        let mut found = Vec::new();
        for row in rows {
            let (id, content) = row?;
            match super::read::<Content>(&content)? {
                Content::Shift(made) => found.push((id, made)),
                Content::Step(_) => {}
            }
        }
        Ok(found)
    }
}

fn of(partition: &str) -> String {
    format!("partition {partition}")
}
