//! Reads that are shifted by verdict, and shifts that are undone again.
//!
//! A shift is undone once each cycle of a while has found its cause gone, and at once when no other holder is up. What
//! is not done though a verdict asks for it goes into the diary with the reason, once for as long as nothing changes
//! about it.

mod lately;

use super::Migrations;
use super::arrivals::{self, Arrivals};
use crate::cycle::{Cycled, Cycles};
use crate::topology::{Freshness, Topologies, Topology};
use crate::writer::now;
use isotherm_cycle::record::{Action, Cause, How, Record};
use isotherm_migration::MigrationId;
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_proto::{Health, ShiftReads};
use isotherm_risk::{Standing, Trigger as Rule};
use isotherm_runner::shift::{Stage, Wanted, What, Why};
use isotherm_runner::{Kind, Line, Refused, Shift, Trigger, UndoShift};
use lately::Lately;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What an operator may set of shifts that isotherm makes by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    /// After a shift of a partition has begun or ended, it begins none of it for so long. Two days.
    pub(crate) cool_down: Duration,
    /// How long the cause must have been gone. An hour.
    pub(crate) undo_after: Duration,
    /// How long somebody may take to agree. A day.
    pub(crate) approve_within: Duration,
    /// Shifts in 24 hours at the most. 50.
    pub(crate) per_day: u32,
}

impl Default for Policy {
    fn default() -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        Self { cool_down: hours(48), undo_after: hours(1), approve_within: hours(24), per_day: 50 }
    }
}

/// A new id.
pub(crate) fn new_id() -> Result<MigrationId, String> {
    MigrationId::new(uuid::Uuid::new_v4().simple().to_string()).map_err(|error| error.to_string())
}

/// The record of a partition; records are by system and name.
pub(crate) fn record_of<'a>(records: &'a [Record], partition: &PartitionId) -> Option<&'a Record> {
    let key = (partition.system().as_str(), partition.name());
    let at = records.binary_search_by(|record| (&*record.system, &*record.partition).cmp(&key)).ok()?;
    Some(&records[at])
}

/// What stands in the way of a shift, as far as the topology says, a sentence each.
pub(crate) fn in_the_way(topology: &Topology, partition: &PartitionId, what: &What) -> Vec<String> {
    let system = partition.system();
    let source = topology.sources.get(system);
    let Some(capabilities) = source.and_then(|source| source.capabilities.as_ref()) else {
        return vec![format!("{system} has no adapter that was heard; `isotherm get topology` says why")];
    };
    let mut findings = Vec::new();
    if source.is_some_and(|source| source.freshness != Freshness::Fresh) {
        findings.push(format!(
            "what the adapter of {system} says of its cluster is old; `isotherm get topology` says why"
        ));
    }
    match (capabilities.shift_reads, what) {
        (ShiftReads::LeaderSwitch, What::Lead { .. }) | (ShiftReads::DrainReplica, What::Drain { .. }) => {}
        (ShiftReads::None, _) => findings.push(format!("the adapter of {system} cannot shift reads")),
        (ShiftReads::LeaderSwitch, What::Drain { .. }) => {
            findings.push(format!("the adapter of {system} can drain nothing; let another node lead"));
        }
        (ShiftReads::DrainReplica, What::Lead { .. }) => {
            findings.push(format!("nobody leads in {system}; drain a node"));
        }
    }
    let Some(holders) = topology.subsets.get(partition) else { return findings };
    if !holders.contains(what.node()) {
        findings.push(format!("{partition} does not lie on {}", what.node()));
    }
    let serves = |node: &NodeId| topology.health(node) != Some(Health::Down);
    match what {
        What::Lead { to } if !serves(to) => findings.push(format!("{to} is down, and cannot lead")),
        What::Drain { node } if !holders.iter().any(|other| other != node && serves(other)) => {
            findings.push(format!("no other holder of {partition} is up: {node} has to serve it"));
        }
        What::Lead { .. } | What::Drain { .. } => {}
    }
    findings
}

/// Follows cycles and topologies until `stop`.
pub(super) async fn follow(
    migrations: Migrations,
    mut cycles: Cycles,
    mut topologies: Topologies,
    stop: CancellationToken,
) {
    let mut follower = Follower { migrations, gone: BTreeMap::new(), told: BTreeMap::new() };
    let mut last = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = cycles.changed() => if changed.is_err() { return },
            changed = topologies.changed() => if changed.is_err() { return },
        }
        let topology = topologies.borrow_and_update().clone();
        follower.rescue(&topology).await;
        let Some(cycled) = cycles.borrow_and_update().clone() else { continue };
        if last.replace(cycled.number) != Some(cycled.number) {
            follower.undo(&cycled).await;
            follower.shift(&cycled, &topology).await;
        }
    }
}

struct Follower {
    migrations: Migrations,
    /// Since which cycle's moment, milliseconds, each shift's cause has been gone.
    gone: BTreeMap<MigrationId, u64>,
    /// What was told of verdicts that were not acted on.
    told: BTreeMap<PartitionId, String>,
}

/// A verdict that somebody, or isotherm itself, may act on.
struct Verdict<'a> {
    partition: PartitionId,
    what: What,
    record: &'a Record,
    action: &'a Action,
}

impl Follower {
    fn open(&self) -> Vec<Shift> {
        self.migrations.handle.board().borrow().shifts.clone()
    }

    /// Restores drained replicas of which no other is up.
    async fn rescue(&mut self, topology: &Topology) {
        for shift in self.open().iter().filter(|shift| shift.stage == Stage::InForce) {
            if alone(topology, shift) {
                self.undo_one(shift, Why::NobodyElse).await;
            }
        }
    }

    /// Undoes what has not been needed for a while. What people wanted is theirs to end. A freeze holds that up.
    async fn undo(&mut self, cycled: &Cycled) {
        let mut open = self.open();
        open.retain(|shift| shift.stage == Stage::InForce && shift.trigger != Trigger::Manual);
        let at_ms = cycled.at.as_ms();
        let mut gone = BTreeMap::new();
        for shift in &open {
            let record = record_of(&cycled.records, &shift.partition);
            if record.and_then(|record| record.shift).is_some_and(|shifted| shifted.cause == Cause::Gone) {
                let since = self.gone.get(&shift.id).copied().unwrap_or(at_ms);
                gone.insert(shift.id.clone(), since);
            }
        }
        self.gone = gone;
        let after_ms = ms(self.migrations.config.reads.undo_after);
        let due = |shift: &&Shift| self.gone.get(&shift.id).is_some_and(|since| at_ms >= since + after_ms);
        let due: Vec<&Shift> = open.iter().filter(due).collect();
        let frozen = self.migrations.frozen().is_some();
        for shift in due {
            if !frozen && self.migrations.untouchable(&shift.partition).is_none() {
                self.undo_one(shift, Why::CauseGone).await;
            }
        }
    }

    async fn undo_one(&mut self, shift: &Shift, why: Why) {
        self.gone.remove(&shift.id);
        let (id, by) = (shift.id.to_string(), "isotherm".to_owned());
        let undo = UndoShift { id, why, forget: false, by, reason: String::new() };
        if let Err(error) = self.migrations.handle.undo_shift(undo).await {
            tracing::warn!(shift = %shift.id, %error, "a shift of reads is not undone now");
        }
    }

    /// Begins what verdicts ask for, what saves the most first.
    async fn shift(&mut self, cycled: &Cycled, topology: &Topology) {
        let verdicts = verdicts(cycled);
        let wanted: BTreeSet<&PartitionId> = verdicts.iter().map(|verdict| &verdict.partition).collect();
        self.told.retain(|partition, _| wanted.contains(partition));
        if verdicts.is_empty() {
            return;
        }
        let mut lately = match Lately::read(&self.migrations).await {
            Ok(lately) => lately,
            Err(error) => return tracing::warn!(%error, "reads are not shifted"),
        };
        let trigger = match cycled.settings.gate.trigger {
            Rule::Gate => Trigger::Gate,
            Rule::Threshold => Trigger::Threshold,
        };
        // Of what this cycle has begun; the board may not have it yet.
        let mut arrivals = Arrivals::default();
        for verdict in &verdicts {
            if lately.is_open(&verdict.partition) {
                continue;
            }
            let gaining = arrivals::gaining(topology, &verdict.partition, &verdict.what);
            let since =
                Arrivals::since(&self.migrations.handle.board().borrow(), topology, cycled.at.as_ms());
            let free = arrivals.permit(&gaining).and_then(|()| since.permit(&gaining));
            match self.begin(verdict, &lately, topology, trigger, free).await {
                Ok(()) => {
                    lately.begun();
                    arrivals.bring(gaining);
                }
                Err(why) => self.tell(verdict, why).await,
            }
        }
    }

    /// Begins a shift, or has it wait for approval. `free` is whether those who would serve more may be brought more.
    async fn begin(
        &self,
        verdict: &Verdict<'_>,
        lately: &Lately,
        topology: &Topology,
        trigger: Trigger,
        free: Result<(), String>,
    ) -> Result<(), String> {
        let (partition, config) = (verdict.partition.clone(), &self.migrations.config);
        let asks = asks(verdict.action.standing, lately.demoted(partition.system()))?;
        let approval = asks.then(|| now().as_ms() + ms(config.reads.approve_within));
        if let Some(why) = self.migrations.withholds(&partition) {
            return Err(why);
        }
        lately.permits(&partition, config)?;
        if let Some(finding) = in_the_way(topology, &partition, &verdict.what).pop() {
            return Err(finding);
        }
        free?;
        let wanted = Wanted {
            partition,
            what: verdict.what.clone(),
            by: "isotherm".to_owned(),
            reason: verdict.record.reason.clone(),
            trigger,
            gray: verdict.action.gray,
            approval_until_ms: approval,
        };
        match self.migrations.handle.shift(new_id()?, wanted).await {
            Ok(_) => Ok(()),
            Err(Refused::Away) => Err("migrations stand still; the log says why".to_owned()),
            Err(refused) => Err(refused.to_string()),
        }
    }

    async fn tell(&mut self, verdict: &Verdict<'_>, why: String) {
        let what = format!("would {}", verdict.what);
        let text = format!("{what}: {why}");
        if self.told.get(&verdict.partition) == Some(&text) {
            return;
        }
        let mut line = Line::own(now().as_ms(), Kind::Noticed, what);
        line.partition = Some(verdict.partition.to_string());
        line.why = why;
        self.migrations.handle.note(line).await;
        self.told.insert(verdict.partition.clone(), text);
    }
}

/// Whether somebody has to agree to a shift first: by the mode, or as the system is demoted. An error where nothing is
/// begun.
fn asks(standing: Standing, demoted: bool) -> Result<bool, String> {
    match standing {
        Standing::Recorded | Standing::Recommended => Err("the mode is to recommend".to_owned()),
        Standing::AwaitsApproval => Ok(true),
        Standing::Carried => Ok(demoted),
    }
}

/// Shifts that verdicts ask for and that may be more than noted.
fn verdicts(cycled: &Cycled) -> Vec<Verdict<'_>> {
    let mut all: Vec<Verdict<'_>> = cycled.records.iter().filter_map(verdict).collect();
    all.sort_by(|a, b| b.action.benefit_lower.total_cmp(&a.action.benefit_lower));
    all
}

fn verdict(record: &Record) -> Option<Verdict<'_>> {
    let action = record.action.as_deref().filter(|action| action.standing != Standing::Recorded)?;
    let system = SystemId::new(record.system.clone()).ok()?;
    let node = |name: &String| NodeId::new(system.clone(), name.clone()).ok();
    let what = match &action.how {
        How::Lead { to } => What::Lead { to: node(to)? },
        How::Drain { from } => What::Drain { node: node(from)? },
        How::Move { .. } => return None,
    };
    let partition = PartitionId::new(system.clone(), record.partition.clone()).ok()?;
    Some(Verdict { partition, what, record, action })
}

/// Whether a drained replica is the only one that is up. What nobody says is no reason.
fn alone(topology: &Topology, shift: &Shift) -> bool {
    let What::Drain { node } = &shift.what else { return false };
    let Some(holders) = topology.subsets.get(&shift.partition) else { return false };
    let down = |other: &NodeId| topology.health(other) == Some(Health::Down);
    let mut others = holders.iter().filter(|other| *other != node).peekable();
    others.peek().is_some() && others.all(down) && topology.health(node) == Some(Health::Up)
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
