//! The story: a server with a history of failures, of whose volumes some are taken off it before it fails. The others
//! are held out, so that one sees what would have been.
//!
//! Clients read and write all the time, and every operation of theirs is on record. What isotherm does it does by itself
//! or through its command line, as an operator would; the story only breaks the server.

mod checks;
mod said;
mod table;

pub(super) use checks::Check;

use super::command::isotherm;
use super::go_on;
use super::risk::{self, Risk};
use super::stage::Stage;
use super::stop::Stop;
use super::watched::{Signs, Watched};
use anyhow::{Context, Result, bail};
use checks::Evidence;
use isotherm_tests::clients::{Clients, Counts, History, Plan, missing};
use isotherm_tests::seaweed::holders;
use said::{Migration, all_shifts, migrations};
use serde::Serialize;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Requests per second of the story's clients.
const RATE_PER_SECOND: f64 = 200.0;

/// How long clients remember where a volume lies.
const REMEMBERS: Duration = Duration::from_secs(3);

/// How long clients go on after the last act.
const EPILOGUE: Duration = Duration::from_secs(5);

/// For an act: a debug build on two busy cores.
const LIMIT: Duration = Duration::from_secs(180);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// What came of it.
#[derive(Debug, Serialize)]
pub(super) struct Story {
    /// The server that failed in the end.
    weak: String,
    /// Volumes of it that were taken off it in time.
    moved: Vec<u32>,
    /// Volumes of it that were not.
    held_out: Vec<u32>,
    /// What happened, and how many seconds after the clients began.
    acts: Vec<Act>,
    /// The weak server's volumes while it was hardly leaned on.
    before: Vec<Risk>,
    /// When cycles first told that reads of these would spread, and that they had.
    signs: Vec<Signs>,
    /// The same volumes when their reads had spread.
    spread: Vec<Risk>,
    /// All that isotherm moved, made again, or gave up.
    migrations: Vec<Migration>,
    /// What clients saw.
    clients: Groups,
    /// Objects that clients wrote and that were acknowledged.
    acked_writes: usize,
    /// Acknowledged objects that a server which is said to have them did not give back in the end.
    acked_writes_lost: usize,
    /// Which, and what it said instead; the first few.
    lost: Vec<String>,
    /// The first errors that clients saw.
    errors: Vec<String>,
    /// What must be so at the end; the report has them.
    #[serde(skip)]
    checks: Vec<Check>,
}

/// Something that happened.
#[derive(Debug, Serialize)]
struct Act {
    after_s: f64,
    what: String,
}

/// What clients saw, by the part that a volume plays.
#[derive(Debug, Serialize)]
struct Groups {
    moved: Counts,
    held_out: Counts,
    others: Counts,
}

impl Story {
    /// What must be so at the end.
    pub(super) fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Acknowledged writes that are gone.
    pub(super) fn acked_writes_lost(&self) -> usize {
        self.acked_writes_lost
    }

    /// Errors that clients of the moved volumes saw.
    pub(super) fn client_errors_moved(&self) -> u64 {
        errors(&self.clients.moved)
    }

    /// Errors that clients of the volumes that were held out saw.
    pub(super) fn client_errors_held_out(&self) -> u64 {
        errors(&self.clients.held_out)
    }
}

fn errors(counts: &Counts) -> u64 {
    counts.read_errors + counts.write_errors
}

/// Keeps isotherm from acting until the story wants it to.
pub(super) fn hold(stage: &Stage) -> Result<()> {
    isotherm(&stage.endpoint, &["freeze", "--reason", "to see its verdicts first"])?;
    Ok(())
}

/// Plays it. `before` is what a cycle made of the volumes while the weak server was hardly leaned on, `then` what cycles
/// said while their reads spread.
pub(super) fn play(stage: &mut Stage, before: &[Risk], then: &Watched, stop: &Stop) -> Result<Story> {
    let plan = Plan {
        volumes: Arc::clone(&stage.volumes),
        seed: 3,
        rate_per_second: RATE_PER_SECOND,
        put_every: NonZeroU64::new(20).context("20 is not 0")?,
        remembers: REMEMBERS,
    };
    let object_bytes = plan.volumes.first().map_or(0, |volume| volume.object_bytes);
    let clients = Clients::start(&stage.namespace, plan)?;
    let mut teller = Teller { stage, stop, clients, began: Instant::now(), acts: Vec::new() };
    let told = acts(&mut teller);
    let Teller { stage, clients, acts, .. } = teller;
    let Ended { spread, died_ms, healthy } = told.with_context(|| {
        let diary = said::diary(&stage.endpoint).unwrap_or_else(|error| error.to_string());
        format!("the story broke off; the diary says\n{diary}")
    })?;
    let history = clients.end()?;
    let acknowledged = history.acknowledged.clone();
    let lost = stage.namespace.run(move || missing(&acknowledged, object_bytes))??;
    let cast = stage.cast.clone();
    let of_weak = |risks: &[Risk]| -> Vec<Risk> {
        let named = |risk: &&Risk| risk.leans_on(&cast.weak);
        risks.iter().filter(named).cloned().collect()
    };
    let (before, spread) = (of_weak(before), of_weak(&spread));
    let signs = then.signs_of(&[&cast.cared_for[..], &cast.held_out].concat());
    let (migrations, shifts) = (migrations(&stage.endpoint)?, all_shifts(&stage.endpoint)?);
    let clients = groups(stage, &history);
    let evidence = Evidence {
        held_out: &cast.held_out,
        healthy: &healthy,
        died_ms,
        signs: &signs,
        before: &before,
        spread: &spread,
        migrations: &migrations,
        shifts: &shifts,
        acked_writes: history.acknowledged.len(),
        acked_writes_lost: lost.len(),
        moved_requests: clients.moved.reads + clients.moved.writes,
        moved_errors: errors(&clients.moved),
        held_out_errors: errors(&clients.held_out),
    };
    Ok(Story {
        checks: evidence.checks(),
        before,
        signs,
        spread,
        migrations,
        clients,
        acked_writes: history.acknowledged.len(),
        acked_writes_lost: lost.len(),
        lost: lost.into_iter().take(10).collect(),
        errors: history
            .errors
            .iter()
            .take(10)
            .map(|(volume, text)| format!("volume {volume}: {text}"))
            .collect(),
        weak: cast.weak,
        moved: cast.cared_for,
        held_out: cast.held_out,
        acts,
    })
}

fn groups(stage: &Stage, history: &History) -> Groups {
    let sum = |of: &dyn Fn(u32) -> bool| {
        let mut sum = Counts::default();
        history.volumes.iter().filter(|(volume, _)| of(**volume)).for_each(|(_, counts)| sum += *counts);
        sum
    };
    let (cared_for, held_out) = (&stage.cast.cared_for, &stage.cast.held_out);
    Groups {
        moved: sum(&|volume| cared_for.contains(&volume)),
        held_out: sum(&|volume| held_out.contains(&volume)),
        others: sum(&|volume| !cared_for.contains(&volume) && !held_out.contains(&volume)),
    }
}

/// Says what happens, and waits for it.
struct Teller<'a> {
    stage: &'a mut Stage,
    stop: &'a Stop,
    clients: Clients,
    began: Instant,
    acts: Vec<Act>,
}

impl Teller<'_> {
    fn tell(&mut self, what: impl Into<String>) {
        let act = Act { after_s: self.began.elapsed().as_secs_f64(), what: what.into() };
        eprintln!("{:6.1} s  {}", act.after_s, act.what);
        self.acts.push(act);
    }

    /// Waits until `look` finds something.
    fn until<T>(&mut self, what: &str, mut look: impl FnMut(&mut Stage) -> Result<Option<T>>) -> Result<T> {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(found) = look(self.stage)? {
                return Ok(found);
            }
            if Instant::now() > deadline {
                bail!("waited {} s in vain for {what}", LIMIT.as_secs());
            }
            self.stage.pause(LOOK, self.stop)?;
            go_on(self.stop)?;
        }
    }
}

/// What the acts leave.
struct Ended {
    /// What the cycle made of all volumes that first asked for shifts.
    spread: Vec<Risk>,
    /// When the weak server was killed, in milliseconds since 1970.
    died_ms: u64,
    /// The others.
    healthy: Vec<String>,
}

fn acts(teller: &mut Teller<'_>) -> Result<Ended> {
    let cast = teller.stage.cast.clone();
    let endpoint = teller.stage.endpoint.clone();
    let ours: Vec<String> = cast.cared_for.iter().map(ToString::to_string).collect();
    teller.tell(format!("clients read both replicas alike; {} has failed often before", cast.weak));
    let spread = teller.until("verdicts to shift reads", |stage| {
        let risks = risk::ask(&stage.endpoint)?;
        let all = ours.iter().all(|volume| risk::verdict(&risks, volume) == Some("shift_reads"));
        Ok(all.then_some(risks))
    })?;
    teller
        .tell(format!("isotherm would take the reads of volumes {} off it, but is frozen", ours.join(", ")));
    isotherm(&endpoint, &["unfreeze", "--reason", "the verdicts are right"])?;
    teller.until("reads to be shifted", |stage| {
        let shifts = said::shifts(&stage.endpoint)?;
        let shifted = |volume: &String| shifts.iter().any(|shift| shift.is_of(volume) && shift.in_force());
        Ok(ours.iter().all(shifted).then_some(()))
    })?;
    teller.tell("unfrozen, it has: their reads go to the healthy replicas alone");
    relieve(teller, &ours)?;
    teller.tell("and has moved their replicas to healthy servers");
    // Whoever still remembers the server asks it once more.
    teller.stage.pause(REMEMBERS + LOOK, teller.stop)?;
    let died = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let died_ms = u64::try_from(died.as_millis()).context("the clock is far away")?;
    teller.stage.cluster.kill(&cast.weak)?;
    teller.tell(format!("{} dies", cast.weak));
    let nodes: Vec<String> = teller.stage.cluster.nodes().iter().map(|node| node.name.clone()).collect();
    let healthy: Vec<String> = nodes.into_iter().filter(|node| *node != cast.weak).collect();
    let held_out = cast.held_out.clone();
    teller.until("the held-out volumes to be whole again", |stage| {
        let volumes = held_out.clone();
        let found =
            stage.namespace.run(move || volumes.into_iter().map(holders).collect::<Result<Vec<_>>>())?;
        let whole = |nodes: &Vec<String>| nodes.iter().filter(|node| healthy.contains(node)).count() == 2;
        let open = migrations(&stage.endpoint)?.iter().any(|migration| migration.ended_ms.is_none());
        Ok((found.is_ok_and(|found| found.iter().all(whole)) && !open).then_some(()))
    })?;
    teller.tell("the volumes that were held out have been made whole again on healthy servers");
    teller.stage.pause(EPILOGUE, teller.stop)?;
    Ok(Ended { spread, died_ms, healthy })
}

/// Moves what is cared for off the weak server, as an operator does: a plan that is looked at, approved and carried out.
fn relieve(teller: &mut Teller<'_>, ours: &[String]) -> Result<()> {
    let (endpoint, weak) = (teller.stage.endpoint.clone(), teller.stage.cast.weak.clone());
    let plan = said::plan_to_empty(&endpoint, &weak)?;
    teller.tell(format!("an operator approves plan {}: {} replicas leave {weak}", plan.id, plan.move_count));
    let reason = ["--reason", "it fails every week"];
    isotherm(&endpoint, &[&["plan", "approve", &plan.id], &reason[..]].concat())?;
    isotherm(&endpoint, &["plan", "execute", &plan.id, "--yes"])?;
    teller.until("the plan to be carried out", |stage| {
        let moved = migrations(&stage.endpoint)?;
        if let Some(failed) = moved.iter().find(|one| one.ended_ms.is_some() && !one.completed()) {
            bail!("migration {} of {} ended {}: {}", failed.id, failed.partition, failed.phase, failed.cause);
        }
        let done = |volume: &String| moved.iter().any(|one| one.is_of(volume) && one.completed());
        Ok(ours.iter().all(done).then_some(()))
    })
}
