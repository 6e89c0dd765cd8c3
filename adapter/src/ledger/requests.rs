//! Steps: heard before they are begun, settled when they have ended.

use super::record::{Begun, Content, FenceMade, Heard, Outcome, Partition};
use super::{
    Ledger, Look, Result, begun, explains, find, hear, put_begun, put_partition, read, rules, steps, written,
};
use crate::contract::{Answer, Asked, Refusal};
use isotherm_migration::{Done, Reason, Side, StepKind};
use isotherm_model::NodeId;
use rusqlite::{Connection, params};

/// How long requests of migrations that have ended are answered as they were.
const REMEMBERED_MS: i64 = 24 * 3_600 * 1_000;

/// How many of them.
const REMEMBERED: i64 = 20_000;

/// When an adapter that has enough to do should be asked again.
const ROOM_AFTER_MS: u64 = 1_000;

/// What the adapter can do, as far as it matters to what is refused.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Migrations whose copies may run at a time.
    pub max_concurrent: u32,
    /// The copy is also the switch.
    pub engine: bool,
}

/// What is made of a step that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admitted {
    /// It is written down, and to be begun when these have been stopped.
    Begin {
        /// Names of requests, the oldest first.
        stop: Vec<String>,
    },
    /// It was heard before; this came of it.
    Again(Answer),
    /// It is refused.
    Refused(Refusal),
}

impl Ledger {
    /// Hears a step, and decides. Whatever it is refused for has no effect; what is begun is written down.
    pub fn admit(&self, asked: &Asked, look: &Look<'_>, terms: Terms, now_ms: i64) -> Result<Admitted> {
        let mut inner = self.lock();
        let name = asked.migration.partition.name().to_owned();
        let nodes = explains(&inner.sql, &name, now_ms)?;
        let mut partition = inner.looked(&name, look, self.leaders, &nodes);
        let changes = inner.sql.transaction()?;
        if let Err(refusal) = hear(&changes, asked.term)? {
            return Ok(Admitted::Refused(refusal));
        }
        if let Some(first) = find(&changes, &asked.request_id)? {
            changes.commit()?;
            let again = rules::repeats(&first, asked).map(|()| first.fate().cloned());
            return Ok(match again {
                Ok(answer) => Admitted::Again(answer.unwrap_or(Answer::Unheard)),
                Err(refusal) => Admitted::Refused(refusal),
            });
        }
        let before = begun(&changes, &asked.migration.id)?;
        let decided = decide(&changes, asked, before.as_ref(), &mut partition, terms)?;
        put_partition(&changes, &name, &partition)?;
        let outcome = match &decided {
            Ok(_) => Answer::Running,
            Err(refusal) => Answer::Refused(refusal.clone()),
        };
        put_request(&changes, asked, &outcome, now_ms)?;
        if decided.is_ok() {
            put_begun(&changes, &called(before, asked, &partition))?;
        }
        changes.commit()?;
        inner.remember(&name, partition);
        inner.touch(&name);
        Ok(match decided {
            Ok(stop) => Admitted::Begin { stop },
            Err(refusal) => Admitted::Refused(refusal),
        })
    }

    /// Whether the partition is still served as the step expects; something that was stopped for it may have ended
    /// well instead.
    pub fn still_expected(&self, asked: &Asked) -> Result<std::result::Result<(), Refusal>> {
        let inner = self.lock();
        let (Some(kept), Some(proposal)) =
            (inner.partitions.get(asked.migration.partition.name()), asked.epochs)
        else {
            return Ok(Ok(()));
        };
        if kept.partition.serving == proposal.expected {
            return Ok(Ok(()));
        }
        let message = format!("epoch {} serves, not {}", kept.partition.serving, proposal.expected);
        Ok(Err(Refusal::new(Reason::StaleEpoch, message)))
    }

    /// Writes down what came of a step, with all that follows from it. `holders` is who holds the partition after it,
    /// if the store could say.
    pub fn settle(
        &self,
        asked: &Asked,
        answer: &Answer,
        holders: Option<&[NodeId]>,
        terms: Terms,
        now_ms: i64,
    ) -> Result<()> {
        let done = match answer {
            Answer::Done(done) => Some(done),
            Answer::Refused(_) | Answer::Running | Answer::Unheard => None,
        };
        self.follow(asked, answer, done, holders, terms, now_ms)
    }

    /// Writes down that the engine has switched although it was to be stopped, which a step was refused for.
    pub fn settle_overtaken(
        &self,
        asked: &Asked,
        refusal: &Refusal,
        holders: Option<&[NodeId]>,
        terms: Terms,
        now_ms: i64,
    ) -> Result<()> {
        let answer = Answer::Refused(refusal.clone());
        self.follow(asked, &answer, Some(&Done::Replicated), holders, terms, now_ms)
    }

    /// Writes down an answer, and what follows from that something was done.
    fn follow(
        &self,
        asked: &Asked,
        answer: &Answer,
        done: Option<&Done>,
        holders: Option<&[NodeId]>,
        terms: Terms,
        now_ms: i64,
    ) -> Result<()> {
        let mut inner = self.lock();
        let name = asked.migration.partition.name().to_owned();
        let mut partition = inner.partitions.get(&name).map(|kept| kept.partition.clone());
        let changes = inner.sql.transaction()?;
        changes.execute(
            "UPDATE requests SET running = 0, outcome = ?2 WHERE id = ?1",
            params![asked.request_id, written(&Outcome::Step(answer.clone()))?],
        )?;
        let before = begun(&changes, &asked.migration.id)?;
        if let (Some(done), Some(before), Some(partition)) = (done, before, partition.as_mut()) {
            let after = followed(before, asked, done, partition, terms, now_ms);
            let ended = after.ended_ms.is_some();
            if let Some(holders) =
                holders.filter(|_| ended || after.at == partition.serving && switches(done, terms))
            {
                partition.holders = holders.iter().map(|node| node.name().to_owned()).collect();
            }
            put_begun(&changes, &after)?;
            put_partition(&changes, &name, partition)?;
            if ended {
                changes.execute("DELETE FROM notes WHERE migration = ?1", [asked.migration.id.as_str()])?;
                prune(&changes, now_ms)?;
            }
        }
        changes.commit()?;
        if let Some(partition) = partition {
            inner.remember(&name, partition);
        }
        inner.touch(&name);
        Ok(())
    }

    /// The steps that were under way when the adapter ended, the oldest first.
    pub fn under_way(&self) -> Result<Vec<Asked>> {
        let inner = self.lock();
        Ok(steps(running(&inner.sql, None)?).into_iter().map(|(asked, _)| asked).collect())
    }
}

/// The requests that are to be stopped first, or why not.
fn decide(
    sql: &Connection,
    asked: &Asked,
    before: Option<&Begun>,
    partition: &mut Partition,
    terms: Terms,
) -> Result<std::result::Result<Vec<String>, Refusal>> {
    let Some(proposal) = asked.epochs else { return Ok(Ok(Vec::new())) };
    if let Err(refusal) = rules::epochs(partition, proposal) {
        return Ok(Err(refusal));
    }
    partition.highest = partition.highest.max(proposal.new);
    let others = others(sql, asked)?;
    let under_way: Vec<Asked> = steps(running(sql, None)?).into_iter().map(|(asked, _)| asked).collect();
    let (own, foreign): (Vec<Asked>, Vec<Asked>) =
        under_way.into_iter().partition(|other| other.migration.id == asked.migration.id);
    let copies = foreign.iter().filter(|other| is_bulk(other.step.kind())).count();
    let decided = rules::same_subject(before, asked)
        .and_then(|()| rules::alone(&others, asked))
        .and_then(|()| rules::stops(&own, asked.step.kind()))
        .and_then(|()| rules::commit(before, partition.serving, asked))
        .and_then(|()| room(copies, asked.step.kind(), terms));
    Ok(decided.map(|()| own.into_iter().map(|other| other.request_id).collect()))
}

fn room(copies: usize, step: StepKind, terms: Terms) -> std::result::Result<(), Refusal> {
    let most = terms.max_concurrent;
    if !is_bulk(step) || copies < usize::try_from(most).unwrap_or(usize::MAX) {
        return Ok(());
    }
    let reason = Reason::Throttled { retry_after_ms: Some(ROOM_AFTER_MS) };
    Err(Refusal::new(reason, format!("{copies} migrations are copying, and max_concurrent is {most}")))
}

fn is_bulk(step: StepKind) -> bool {
    matches!(step, StepKind::PrepareTarget | StepKind::StartReplication)
}

/// The migration once a step of it is to be begun.
fn called(before: Option<Begun>, asked: &Asked, partition: &Partition) -> Begun {
    let fresh = || Begun {
        migration: asked.migration.clone(),
        term: asked.term,
        at: partition.serving,
        side: Side::Source,
        fence: None,
        verified: None,
        last_request: String::new(),
        ended_ms: None,
    };
    let mut begun = before.unwrap_or_else(fresh);
    begun.term = begun.term.max(asked.term);
    begun.last_request.clone_from(&asked.request_id);
    begun.ended_ms = None;
    if is_bulk(asked.step.kind()) {
        // It was of another copy.
        begun.verified = None;
    }
    begun
}

/// The migration after a step that ended well, and the partition's epoch with it.
fn followed(
    mut begun: Begun,
    asked: &Asked,
    done: &Done,
    partition: &mut Partition,
    terms: Terms,
    now_ms: i64,
) -> Begun {
    let new = asked.epochs.map_or(partition.serving, |epochs| epochs.new);
    let mut serve = |begun: &mut Begun, side| {
        (begun.side, begun.at, begun.fence) = (side, new, None);
        (partition.serving, partition.highest) = (new, partition.highest.max(new));
    };
    match done {
        Done::Committed => serve(&mut begun, Side::Target),
        Done::Replicated if terms.engine => serve(&mut begun, Side::Target),
        Done::Reversed => serve(&mut begun, Side::Source),
        Done::Fenced { .. } => begun.fence = Some(FenceMade { epoch: new, since_ms: now_ms }),
        // Writes go on: what was compared is not what will be switched to.
        Done::Unfenced => (begun.fence, begun.verified) = (None, None),
        Done::Verified(verification) => begun.verified = Some(verification.clone()),
        Done::Retired | Done::Aborted => (begun.ended_ms, begun.fence) = (Some(now_ms), None),
        Done::Validated(_) | Done::Prepared | Done::Replicated | Done::CaughtUp { .. } => {}
    }
    begun
}

fn switches(done: &Done, terms: Terms) -> bool {
    matches!(done, Done::Committed | Done::Reversed) || terms.engine && matches!(done, Done::Replicated)
}

/// Other migrations of the partition that have not ended.
fn others(sql: &Connection, asked: &Asked) -> Result<Vec<Begun>> {
    let mut all = sql.prepare_cached(
        "SELECT kept FROM migrations WHERE partition = ?1 AND ended_ms IS NULL AND id != ?2 ORDER BY id",
    )?;
    let rows = all.query_map([asked.migration.partition.name(), asked.migration.id.as_str()], |row| {
        row.get::<_, String>(0)
    })?;
    rows.map(|row| read(&row?)).collect()
}

/// Requests that are under way, of one partition's shifts or migration's steps or of all.
pub(super) fn running(sql: &Connection, of: Option<&str>) -> Result<Vec<Heard>> {
    let mut all = sql.prepare_cached(
        "SELECT content, outcome FROM requests WHERE running = 1 AND (?1 IS NULL OR of = ?1) ORDER BY seq",
    )?;
    let rows = all.query_map([of], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    rows.map(|row| {
        let (content, outcome) = row?;
        super::heard(&content, &outcome)
    })
    .collect()
}

fn put_request(sql: &Connection, asked: &Asked, answer: &Answer, now_ms: i64) -> Result<()> {
    let (content, outcome) = (Content::Step(asked.clone()), Outcome::Step(answer.clone()));
    let of = format!("migration {}", asked.migration.id);
    put_heard(sql, &asked.request_id, &of, *answer == Answer::Running, now_ms, &Heard { content, outcome })
}

pub(super) fn put_heard(
    sql: &Connection,
    id: &str,
    of: &str,
    running: bool,
    now_ms: i64,
    heard: &Heard,
) -> Result<()> {
    sql.execute(
        "INSERT INTO requests (id, of, running, heard_ms, content, outcome) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![id, of, running, now_ms, written(&heard.content)?, written(&heard.outcome)?],
    )?;
    Ok(())
}

/// Forgets requests and migrations that ended long ago, or too many ago.
pub(super) fn prune(sql: &Connection, now_ms: i64) -> Result<()> {
    let since = now_ms - REMEMBERED_MS;
    sql.execute(
        "DELETE FROM requests WHERE running = 0 \
         AND (heard_ms < ?1 OR seq <= (SELECT max(seq) FROM requests) - ?2) \
         AND of NOT IN (SELECT 'migration ' || id FROM migrations WHERE ended_ms IS NULL)",
        params![since, REMEMBERED],
    )?;
    sql.execute(
        "DELETE FROM migrations WHERE ended_ms < ?1 \
         AND NOT EXISTS (SELECT 1 FROM requests WHERE of = 'migration ' || migrations.id)",
        params![since],
    )?;
    Ok(())
}
