//! What is on record about nodes: when they were down and why, when they were observed, and what operators say of their
//! hazards.
//!
//! The tables lie in the catalog, and are written through a connection of their own: a record is a few rows, and need
//! not wait behind a group of batches, only for its transaction. Nothing is ever deleted; an end is added to what goes on. How records
//! become failures and exposure is decided when they are read ([`outage`], [`observed`]), so that a better rule reads
//! old records better.

mod known;
mod observed;
mod outage;
mod tables;
mod watched;

use crate::catalog::{FILE, signed, time};
use crate::error::QueryError;
use crate::read::Reader;
use isotherm_model::{InvalidName, NodeId, SystemId, Timestamp};
pub use known::Records;
pub use observed::NodeHistory;
pub use outage::{DomainEvent, Histories, Outage, OutageCause};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use std::time::Duration;
pub(crate) use tables::TABLES;

/// The longest note, reason or name of a person, in bytes.
pub const MAX_WORDS: usize = 1_024;

/// Why a node was down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// It failed.
    Failure,
    /// On purpose.
    Maintenance,
    /// Its agent was silent and nothing else said that it was down: neither failure nor exposure.
    AgentLoss,
}

/// Who says that a node was down, those who know best last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Recorder {
    /// Agents, and probes where they are silent.
    Agent,
    /// The topology's health.
    Topology,
    /// A record from elsewhere.
    Import,
    /// A person.
    Operator,
}

/// Who saw that a node was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Witness {
    /// Windows of its agent, complete and with a process.
    Agent,
    /// The topology's health.
    Topology,
}

/// A failure domain of a node, and how many nodes lay in it when the node went down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainSize {
    /// Its name within the domain around it; no control characters.
    pub name: String,
    /// Its nodes.
    pub nodes: u64,
}

/// A time in which a node was down, or its agent silent, as somebody recorded it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownInterval {
    /// Which node.
    pub node: NodeId,
    /// Since when.
    pub from: Timestamp,
    /// Until when, after `from`; `None` while it goes on.
    pub to: Option<Timestamp>,
    /// Why.
    pub cause: Cause,
    /// Who says so.
    pub source: Recorder,
    /// Its failure domains at that time, outermost first; empty where they were not known.
    pub domains: Vec<DomainSize>,
    /// What else there is to say.
    pub note: String,
    /// Who recorded it; empty for what was detected.
    pub who: String,
    /// When it was recorded.
    pub recorded: Timestamp,
}

/// What a record did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recording {
    /// It is new.
    Added,
    /// It was on record already.
    Known,
    /// It was on record as going on, and has ended by this.
    Ended,
}

/// What an operator says of a node's hazard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Word {
    /// Failures per hour, finite and at least 0.
    PerHour(f64),
    /// Times what is estimated, finite and above 0.
    Factor(f64),
}

/// An operator's word that stands for a node's hazard for some time.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    /// Which node.
    pub node: NodeId,
    /// The word.
    pub word: Word,
    /// Since when.
    pub set: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Why.
    pub reason: String,
    /// Whose word it is.
    pub who: String,
    /// When it was taken back or replaced before its end, by whom and why.
    pub cleared: Option<Changed>,
}

/// Who changed a record, when and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub who: String,
    /// Why.
    pub reason: String,
}

/// Why something was not recorded. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// An interval that ends before it begins.
    #[error("{node}: {} is not before {}", from, to)]
    Backwards {
        /// The node.
        node: NodeId,
        /// Its beginning.
        from: Timestamp,
        /// Its end.
        to: Timestamp,
    },
    /// The record says something else of the same interval.
    #[error("{node}: an interval from {from} is on record already, and ends at {to}")]
    Differs {
        /// The node.
        node: NodeId,
        /// Its beginning.
        from: Timestamp,
        /// The end on record.
        to: Timestamp,
    },
    /// There is nothing to end or to take back.
    #[error("{node}: {what}")]
    Nothing {
        /// The node.
        node: NodeId,
        /// What is not there.
        what: &'static str,
    },
    /// The catalog refused it.
    #[error("cannot write to the catalog")]
    Catalog(#[from] rusqlite::Error),
}

/// Writes the record. Calls block; each is one transaction, and on the disk when it returns.
#[derive(Debug)]
pub struct History {
    catalog: Connection,
}

impl History {
    /// Opens the record of the data folder of `reader`, whose [`Store`](crate::Store) is open.
    pub fn open(reader: &Reader) -> Result<Self, HistoryError> {
        let catalog = Connection::open(reader.dir().join(FILE))?;
        catalog.busy_timeout(Duration::from_secs(10))?;
        catalog.pragma_update(None, "synchronous", "full")?;
        Ok(Self { catalog })
    }

    /// Puts intervals on record, all or none. One with the node, beginning, cause and source of another is the same: it
    /// may end it, and may not end it at another time.
    pub fn record(&mut self, intervals: &[DownInterval]) -> Result<Vec<Recording>, HistoryError> {
        let transaction = self.begin()?;
        let recorded =
            intervals.iter().map(|interval| record(&transaction, interval)).collect::<Result<_, _>>()?;
        transaction.commit()?;
        Ok(recorded)
    }

    /// What [`History::record`] would do. Nothing is recorded.
    pub fn try_record(&mut self, intervals: &[DownInterval]) -> Result<Vec<Recording>, HistoryError> {
        let transaction = self.begin()?;
        intervals.iter().map(|interval| record(&transaction, interval)).collect()
    }

    /// Ends what goes on at a node, of these causes and sources. Returns it as it is now on record; none if nothing goes on.
    pub fn end(
        &mut self,
        node: &NodeId,
        causes: &[Cause],
        sources: &[Recorder],
        ended: &Changed,
        keep: Keep,
    ) -> Result<Vec<DownInterval>, HistoryError> {
        let transaction = self.begin()?;
        let mut open = open_intervals(&transaction, node)?;
        open.retain(|interval| causes.contains(&interval.cause) && sources.contains(&interval.source));
        for interval in &mut open {
            if ended.at <= interval.from {
                return Err(HistoryError::Backwards {
                    node: node.clone(),
                    from: interval.from,
                    to: ended.at,
                });
            }
            interval.to = Some(ended.at);
            add_words(&mut interval.note, &ended.reason);
            transaction
                .prepare_cached(
                    "UPDATE down SET to_ms = ?1, note = ?2, ended_by = ?3
                     WHERE system = ?4 AND node = ?5 AND from_ms = ?6 AND cause = ?7 AND source = ?8",
                )?
                .execute(params![
                    signed(ended.at.as_ms()),
                    interval.note,
                    ended.who,
                    node.system().as_str(),
                    node.name(),
                    signed(interval.from.as_ms()),
                    interval.cause.as_str(),
                    interval.source.as_str(),
                ])?;
        }
        match keep {
            Keep::Yes => transaction.commit()?,
            Keep::No => transaction.rollback()?,
        }
        Ok(open)
    }

    /// Says of an interval of agent loss that goes on that it is a failure.
    pub fn failed_after_all(
        &mut self,
        node: &NodeId,
        from: Timestamp,
        reason: &str,
    ) -> Result<(), HistoryError> {
        let changed = self.catalog.execute(
            "UPDATE OR IGNORE down SET cause = ?1, note = trim(note || '; ' || ?2, '; ')
             WHERE system = ?3 AND node = ?4 AND from_ms = ?5 AND cause = ?6 AND to_ms IS NULL",
            params![
                Cause::Failure.as_str(),
                reason,
                node.system().as_str(),
                node.name(),
                signed(from.as_ms()),
                Cause::AgentLoss.as_str(),
            ],
        )?;
        if changed == 0 {
            return Err(HistoryError::Nothing { node: node.clone(), what: "no agent loss goes on" });
        }
        Ok(())
    }

    /// Records that nodes were seen to be up, in whole or half-open stretches. One that begins where another of the same
    /// witness does replaces its end if that is earlier.
    pub fn observe(
        &mut self,
        seen: &[(NodeId, Witness, isotherm_model::Interval)],
    ) -> Result<(), HistoryError> {
        if seen.is_empty() {
            return Ok(());
        }
        let transaction = self.begin()?;
        {
            let mut statement = transaction.prepare_cached(
                "INSERT INTO observed (system, node, witness, from_ms, to_ms) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET to_ms = max(to_ms, excluded.to_ms)",
            )?;
            for (node, witness, time) in seen {
                statement.execute(params![
                    node.system().as_str(),
                    node.name(),
                    witness.as_str(),
                    signed(time.start().as_ms()),
                    signed(time.end().as_ms()),
                ])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Lets an operator's word stand, in the place of one that stands.
    pub fn set_hazard(&mut self, new: &Override, keep: Keep) -> Result<(), HistoryError> {
        if new.until <= new.set {
            return Err(HistoryError::Backwards { node: new.node.clone(), from: new.set, to: new.until });
        }
        let transaction = self.begin()?;
        let replaced = Changed { at: new.set, who: new.who.clone(), reason: "replaced".to_owned() };
        clear(&transaction, &new.node, &replaced)?;
        let (kind, value) = new.word.parts();
        transaction.execute(
            "INSERT INTO hazards (system, node, kind, value, set_ms, until_ms, reason, who)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                new.node.system().as_str(),
                new.node.name(),
                kind,
                value,
                signed(new.set.as_ms()),
                signed(new.until.as_ms()),
                new.reason,
                new.who,
            ],
        )?;
        match keep {
            Keep::Yes => transaction.commit()?,
            Keep::No => transaction.rollback()?,
        }
        Ok(())
    }

    /// Takes back the word that stands, and returns it.
    pub fn clear_hazard(&mut self, node: &NodeId, cleared: &Changed) -> Result<Override, HistoryError> {
        let transaction = self.begin()?;
        let found = clear(&transaction, node, cleared)?;
        transaction.commit()?;
        found.ok_or(HistoryError::Nothing { node: node.clone(), what: "no operator's word stands" })
    }

    fn begin(&mut self) -> Result<Transaction<'_>, rusqlite::Error> {
        self.catalog.transaction_with_behavior(TransactionBehavior::Immediate)
    }
}

/// Whether a change is kept, or only tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// It is.
    Yes,
    /// It is taken back at once.
    No,
}

impl Reader {
    /// Intervals that lasted until after `since`, all if `None`, by beginning, then node.
    pub fn down_intervals(&self, since: Option<Timestamp>) -> Result<Vec<DownInterval>, QueryError> {
        let catalog = self.catalog()?;
        intervals(&catalog, since)
    }

    /// Until when a witness has seen each node.
    pub fn observed_until(
        &self,
        witness: Witness,
    ) -> Result<std::collections::BTreeMap<NodeId, Timestamp>, QueryError> {
        let catalog = self.catalog()?;
        let mut statement = catalog.prepare_cached(
            "SELECT system, node, max(to_ms) FROM observed WHERE witness = ?1 GROUP BY system, node",
        )?;
        let mut rows = statement.query([witness.as_str()])?;
        let mut until = std::collections::BTreeMap::new();
        while let Some(row) = rows.next()? {
            until.insert(node(row)??, time(row.get(2)?));
        }
        Ok(until)
    }

    /// Operators' words that stand at `at`, or all there ever were, by node, then the time they were set.
    pub fn hazard_overrides(&self, at: Option<Timestamp>) -> Result<Vec<Override>, QueryError> {
        let catalog = self.catalog()?;
        let mut statement =
            catalog.prepare_cached(&format!("{OVERRIDES} ORDER BY system, node, set_ms, id"))?;
        let mut rows = statement.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let word = word(row)??;
            if at.is_none_or(|at| word.stands(at)) {
                found.push(word);
            }
        }
        Ok(found)
    }
}

impl Override {
    /// Whether the word counts at a moment.
    #[must_use]
    pub fn stands(&self, at: Timestamp) -> bool {
        self.set <= at && at < self.until && self.cleared.as_ref().is_none_or(|cleared| at < cleared.at)
    }
}

const OVERRIDES: &str =
    "SELECT system, node, kind, value, set_ms, until_ms, reason, who, cleared_ms, cleared_by,
        cleared_reason FROM hazards";

const INTERVALS: &str =
    "SELECT system, node, from_ms, to_ms, cause, source, domains, note, who, recorded_ms FROM down";

fn record(transaction: &Transaction<'_>, new: &DownInterval) -> Result<Recording, HistoryError> {
    if let Some(to) = new.to.filter(|to| *to <= new.from) {
        return Err(HistoryError::Backwards { node: new.node.clone(), from: new.from, to });
    }
    let key = params![
        new.node.system().as_str(),
        new.node.name(),
        signed(new.from.as_ms()),
        new.cause.as_str(),
        new.source.as_str()
    ];
    let known: Option<Option<i64>> = transaction
        .prepare_cached(
            "SELECT to_ms FROM down
             WHERE system = ?1 AND node = ?2 AND from_ms = ?3 AND cause = ?4 AND source = ?5",
        )?
        .query_row(key, |row| row.get(0))
        .optional()?;
    match (known.map(|to| to.map(time)), new.to) {
        (Some(None), Some(to)) => {
            transaction
                .prepare_cached(
                    "UPDATE down SET to_ms = ?6, ended_by = ?7
                     WHERE system = ?1 AND node = ?2 AND from_ms = ?3 AND cause = ?4 AND source = ?5",
                )?
                .execute(params![
                    new.node.system().as_str(),
                    new.node.name(),
                    signed(new.from.as_ms()),
                    new.cause.as_str(),
                    new.source.as_str(),
                    signed(to.as_ms()),
                    new.who,
                ])?;
            Ok(Recording::Ended)
        }
        (Some(Some(known)), Some(to)) if known != to => {
            Err(HistoryError::Differs { node: new.node.clone(), from: new.from, to: known })
        }
        // An older copy of a record that has ended since says nothing new.
        (Some(_), _) => Ok(Recording::Known),
        (None, _) => {
            insert(transaction, new)?;
            Ok(Recording::Added)
        }
    }
}

fn insert(transaction: &Transaction<'_>, new: &DownInterval) -> Result<(), rusqlite::Error> {
    transaction
        .prepare_cached(
            "INSERT INTO down (system, node, from_ms, to_ms, cause, source, domains, note, who, recorded_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            new.node.system().as_str(),
            new.node.name(),
            signed(new.from.as_ms()),
            new.to.map(|to| signed(to.as_ms())),
            new.cause.as_str(),
            new.source.as_str(),
            tables::domains_to_text(&new.domains),
            new.note,
            new.who,
            signed(new.recorded.as_ms()),
        ])
        .map(drop)
}

fn open_intervals(catalog: &Connection, of: &NodeId) -> Result<Vec<DownInterval>, rusqlite::Error> {
    let mut statement = catalog.prepare_cached(&format!(
        "{INTERVALS} WHERE system = ?1 AND node = ?2 AND to_ms IS NULL ORDER BY from_ms, cause, source"
    ))?;
    let rows = statement.query_map([of.system().as_str(), of.name()], |row| interval(row, of.clone()))?;
    rows.collect()
}

fn intervals(catalog: &Connection, since: Option<Timestamp>) -> Result<Vec<DownInterval>, QueryError> {
    let mut statement = catalog.prepare_cached(&format!(
        "{INTERVALS} WHERE to_ms IS NULL OR to_ms > ?1 ORDER BY from_ms, system, node, cause, source"
    ))?;
    let mut rows = statement.query([signed(since.map_or(0, Timestamp::as_ms))])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(interval(row, node(row)??)?);
    }
    Ok(found)
}

fn interval(row: &Row<'_>, node: NodeId) -> Result<DownInterval, rusqlite::Error> {
    Ok(DownInterval {
        node,
        from: time(row.get(2)?),
        to: row.get::<_, Option<i64>>(3)?.map(time),
        cause: Cause::from_text(&row.get::<_, String>(4)?),
        source: Recorder::from_text(&row.get::<_, String>(5)?),
        domains: tables::domains_from_text(&row.get::<_, String>(6)?),
        note: row.get(7)?,
        who: row.get(8)?,
        recorded: time(row.get(9)?),
    })
}

fn node(row: &Row<'_>) -> Result<Result<NodeId, InvalidName>, rusqlite::Error> {
    let (system, name): (String, String) = (row.get(0)?, row.get(1)?);
    Ok(SystemId::new(system).and_then(|system| NodeId::new(system, name)))
}

fn clear(
    transaction: &Transaction<'_>,
    of: &NodeId,
    cleared: &Changed,
) -> Result<Option<Override>, HistoryError> {
    let standing = format!(
        "{OVERRIDES} WHERE system = ?1 AND node = ?2 AND until_ms > ?3 AND cleared_ms IS NULL
         ORDER BY id DESC LIMIT 1"
    );
    let key = params![of.system().as_str(), of.name(), signed(cleared.at.as_ms())];
    let found = transaction.query_row(&standing, key, word).optional()?;
    let Some(Ok(mut found)) = found else { return Ok(None) };
    transaction.execute(
        "UPDATE hazards SET cleared_ms = ?3, cleared_by = ?4, cleared_reason = ?5
         WHERE system = ?1 AND node = ?2 AND until_ms > ?3 AND cleared_ms IS NULL",
        params![of.system().as_str(), of.name(), signed(cleared.at.as_ms()), cleared.who, cleared.reason],
    )?;
    found.cleared = Some(cleared.clone());
    Ok(Some(found))
}

fn word(row: &Row<'_>) -> Result<Result<Override, InvalidName>, rusqlite::Error> {
    let word = Word::from_parts(&row.get::<_, String>(2)?, row.get(3)?);
    let cleared = match row.get::<_, Option<i64>>(8)? {
        Some(at) => Some(Changed { at: time(at), who: row.get(9)?, reason: row.get(10)? }),
        None => None,
    };
    let (set, until) = (time(row.get(4)?), time(row.get(5)?));
    let (reason, who): (String, String) = (row.get(6)?, row.get(7)?);
    Ok(node(row)?.map(|node| Override { node, word, set, until, reason, who, cleared }))
}

fn add_words(note: &mut String, more: &str) {
    if !note.is_empty() && !more.is_empty() {
        note.push_str("; ");
    }
    note.push_str(more);
}

#[cfg(test)]
mod tests;
