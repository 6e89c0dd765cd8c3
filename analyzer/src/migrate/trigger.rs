//! What the last cycle would have done, done as far as the mode allows: told, put to somebody, or begun.
//!
//! What saves the most for each byte that it copies comes first.
//!
//! Whatever is not done though a verdict asks for it goes into the diary with the reason, once for as long as nothing
//! changes about it.

mod budget;

use super::arrivals::Arrivals;
use super::{Asked, Migrations, specify, trust};
use crate::cycle::{Cycled, Cycles};
use crate::topology::{Topologies, Topology};
use crate::writer::now;
use budget::{Budget, size_bytes};
use isotherm_cycle::record::{Action, How, Record};
use isotherm_migration::{Approval, MigrationId};
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_risk::{Standing, Trigger as Rule};
use isotherm_runner::journal::Listed;
use isotherm_runner::journal::trust::Distrust;
use isotherm_runner::{Entry, JournalError, Kind, Line, Refused, Start, Trigger};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long somebody may take to agree.
const APPROVAL: Duration = Duration::from_secs(24 * 3_600);

/// After a migration that isotherm began has ended, however it ended, it begins none of the same partition for so long.
const PAUSE: Duration = Duration::from_secs(24 * 3_600);

const DAY_MS: u64 = 86_400_000;

/// Migrations that are looked through for what was begun lately.
const LOOKED_AT: u32 = 10_000;

/// A verdict that somebody, or isotherm itself, may act on.
struct Wanted<'a> {
    partition: PartitionId,
    record: &'a Record,
    action: &'a Action,
    /// Of the replica; `None` if nobody says.
    bytes: Option<u64>,
}

impl Wanted<'_> {
    /// Client-minutes that are saved at the least for each byte. What has no size comes last.
    fn saved_per_byte(&self) -> f64 {
        self.bytes.map_or(f64::NEG_INFINITY, |bytes| self.action.benefit_lower / bytes.max(1) as f64)
    }
}

/// Follows cycles until `stop`.
pub(super) async fn follow(
    migrations: Migrations,
    mut cycles: Cycles,
    topologies: Topologies,
    stop: CancellationToken,
) {
    let mut told = Told::default();
    while let Some(Ok(())) = stop.run_until_cancelled(cycles.changed()).await {
        let Some(cycled) = cycles.borrow_and_update().clone() else { continue };
        let topology = topologies.borrow().clone();
        let wanted = wanted(&cycled.records, &topology);
        told.retain(&wanted);
        if !wanted.is_empty() {
            act(&migrations, &topology, &cycled, &wanted, &mut told).await;
        }
    }
}

/// Moves that may be acted on, what saves the most for each byte first. Shifts of reads are another's: [`super::reads`].
fn wanted<'a>(records: &'a [Record], topology: &Topology) -> Vec<Wanted<'a>> {
    let may = |record: &'_ &Record| {
        let is_move = |action: &Action| matches!(action.how, How::Move { .. });
        record.action.as_ref().is_some_and(|one| one.standing != Standing::Recorded && is_move(one))
    };
    let mut all: Vec<Wanted<'_>> = records
        .iter()
        .filter(may)
        .filter_map(|record| {
            let system = SystemId::new(record.system.clone()).ok()?;
            let partition = PartitionId::new(system, record.partition.clone()).ok()?;
            let bytes = size_bytes(topology, &partition);
            Some(Wanted { partition, record, action: record.action.as_deref()?, bytes })
        })
        .collect();
    all.sort_by(|a, b| b.saved_per_byte().total_cmp(&a.saved_per_byte()));
    all
}

async fn act(
    migrations: &Migrations,
    topology: &Topology,
    cycled: &Cycled,
    wanted: &[Wanted<'_>],
    told: &mut Told,
) {
    let trigger = match cycled.settings.gate.trigger {
        Rule::Gate => Trigger::Gate,
        Rule::Threshold => Trigger::Threshold,
    };
    let reading = migrations.reading.clone();
    let past = tokio::task::spawn_blocking(move || {
        let recent = reading.migrations(&Listed { ended: true, limit: LOOKED_AT })?;
        Ok::<_, JournalError>(Past { recent, distrust: reading.distrust()? })
    });
    let past = match past.await {
        Ok(Ok(past)) => past,
        Ok(Err(error)) => return tracing::warn!(%error, "verdicts are not acted on"),
        Err(_) => return,
    };
    let now_ms = now().as_ms();
    // Repairs after a failure have a cap of their own.
    let own = |entry: &&Entry| matches!(entry.about.trigger, Trigger::Gate | Trigger::Threshold);
    let lately: Vec<&PartitionId> = past
        .recent
        .iter()
        .filter(own)
        .filter(|entry| entry.about.created_ms + DAY_MS > now_ms)
        .map(|entry| &entry.migration.spec().partition)
        .collect();
    let share = migrations.config.limits.bytes_share_per_day;
    let mut day = Day {
        begun: lately.len(),
        budget: Budget::new(topology, share, lately),
        arrivals: Arrivals::default(),
    };
    for one in wanted {
        let why_not = match undone(migrations, &past, one, &day, now_ms) {
            Undone::Moving => continue,
            Undone::Because(why) => Some(why),
            Undone::No => {
                let asks = past.asks(one);
                let judged = Judged { trigger, asks, at_ms: cycled.at.as_ms() };
                begin(migrations, topology, one, judged, &mut day.arrivals).await.err()
            }
        };
        match why_not {
            Some(why) => told.tell(migrations, one, &why).await,
            None => {
                day.begun += 1;
                day.budget.begin(one.partition.system(), one.bytes);
            }
        }
    }
}

/// What isotherm has begun by itself within a day.
struct Day {
    begun: usize,
    budget: Budget,
    /// Of what this cycle has begun; the board may not have it yet.
    arrivals: Arrivals,
}

/// How a verdict came about, and what it needs.
struct Judged {
    trigger: Trigger,
    /// Somebody has to agree.
    asks: bool,
    /// The moment of the cluster that it was judged on, milliseconds since 1970.
    at_ms: u64,
}

/// What the journal says of what was.
struct Past {
    recent: Vec<Entry>,
    distrust: Vec<Distrust>,
}

impl Past {
    /// Whether somebody has to agree first: by the mode, or as the system is demoted.
    fn asks(&self, wanted: &Wanted<'_>) -> bool {
        wanted.action.standing == Standing::AwaitsApproval
            || trust::demoted(&self.distrust, wanted.partition.system())
    }
}

/// Whether something keeps a verdict from being acted on.
enum Undone {
    No,
    /// It is being acted on.
    Moving,
    Because(String),
}

fn undone(migrations: &Migrations, past: &Past, wanted: &Wanted<'_>, day: &Day, now_ms: u64) -> Undone {
    let partition = &wanted.partition;
    let of_it = || past.recent.iter().filter(|entry| entry.migration.spec().partition == *partition);
    if of_it().any(|entry| entry.about.ended_ms.is_none()) {
        return Undone::Moving;
    }
    if wanted.action.standing == Standing::Recommended {
        return Undone::Because("the mode is to recommend".to_owned());
    }
    if let Some(why) = migrations.withholds(partition) {
        return Undone::Because(why);
    }
    if let Some(why) = migrations.stands_back(&past.distrust, partition.system(), now_ms) {
        return Undone::Because(why);
    }
    let pause_ms = u64::try_from(PAUSE.as_millis()).unwrap_or(u64::MAX);
    let lately = of_it()
        .filter(|entry| entry.about.trigger.is_own())
        .filter_map(|entry| entry.about.ended_ms)
        .any(|ended| ended + pause_ms > now_ms);
    if lately {
        return Undone::Because("a migration that isotherm began of it has ended within a day".to_owned());
    }
    let most = migrations.config.limits.per_day as usize;
    if day.begun >= most {
        let begun = day.begun;
        return Undone::Because(format!(
            "isotherm has begun {begun} migrations within a day, as many as it may"
        ));
    }
    match day.budget.permits(partition.system(), wanted.bytes) {
        Err(why) => Undone::Because(why),
        Ok(()) => Undone::No,
    }
}

/// Begins a migration, or lets it wait for approval. Not where something else is on its way to its target that the
/// cycle did not know of: what was begun before in this one is among that.
async fn begin(
    migrations: &Migrations,
    topology: &Topology,
    wanted: &Wanted<'_>,
    judged: Judged,
    arrivals: &mut Arrivals,
) -> Result<(), String> {
    let Judged { trigger, asks, at_ms } = judged;
    let How::Move { from, to } = &wanted.action.how else {
        return Err("reads are shifted beside this".to_owned());
    };
    let partition = wanted.partition.clone();
    let node = |name: &str| NodeId::new(partition.system().clone(), name).map_err(|error| error.to_string());
    let target = node(to)?;
    arrivals.permit([&target])?;
    Arrivals::since(&migrations.handle.board().borrow(), topology, at_ms).permit([&target])?;
    let id = uuid::Uuid::new_v4().simple().to_string();
    let asked = Asked {
        id: MigrationId::new(id).map_err(|error| error.to_string())?,
        source: Some(node(from)?),
        repair: false,
        target: target.clone(),
        gated: false,
        probation_ms: None,
        bytes_per_s: None,
        partition: partition.clone(),
    };
    let mut spec = specify(topology, &migrations.config, asked).map_err(|problem| problem.to_string())?;
    if asks {
        let ms = u64::try_from(APPROVAL.as_millis()).unwrap_or(u64::MAX);
        spec.policy.approval = Approval::Within { ms };
    }
    let reason = wanted.record.reason.clone();
    let start = Start { spec, by: "isotherm".to_owned(), reason, trigger };
    match migrations.handle.start(start).await {
        Ok(_) => {
            arrivals.bring([target]);
            Ok(())
        }
        Err(Refused::Away) => Err("migrations stand still; the log says why".to_owned()),
        Err(refused) => Err(refused.to_string()),
    }
}

/// What was told of verdicts that were not acted on.
#[derive(Default)]
struct Told(BTreeMap<PartitionId, String>);

impl Told {
    /// Forgets what is not wanted any more.
    fn retain(&mut self, wanted: &[Wanted<'_>]) {
        let still: std::collections::BTreeSet<&PartitionId> =
            wanted.iter().map(|one| &one.partition).collect();
        self.0.retain(|partition, _| still.contains(partition));
    }

    async fn tell(&mut self, migrations: &Migrations, wanted: &Wanted<'_>, why: &str) {
        let what = match &wanted.action.how {
            How::Move { from, to } => format!("would move it from {from} to {to}"),
            How::Lead { to } => format!("would let {to} lead"),
            How::Drain { from } => format!("would drain {from}"),
        };
        let text = format!("{what}: {why}");
        if self.0.get(&wanted.partition) == Some(&text) {
            return;
        }
        let mut line = Line::own(now().as_ms(), Kind::Noticed, what);
        line.partition = Some(wanted.partition.to_string());
        line.why = why.to_owned();
        migrations.handle.note(line).await;
        self.0.insert(wanted.partition.clone(), text);
    }
}

#[cfg(test)]
mod tests;
