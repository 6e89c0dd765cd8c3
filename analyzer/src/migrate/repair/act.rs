//! What follows from a look: repairs that are begun, and those that are not wanted any more.

use super::book::Breaker;
use super::decide::{Known, Standing, Verdict, verdict};
use super::destine::{self, Destinations, Repair};
use super::keeper::HOUR_MS;
use super::status::{self, Unrepaired};
use super::told::Subject;
use super::track::{Lack, Told, id, lacks, told};
use super::{Keeper, Scene, SystemStatus};
use crate::migrate::{Asked, specify};
use isotherm_migration::{Action, Approval, End, MigrationId, Origin, Phase};
use isotherm_model::{NodeId, PartitionId};
use isotherm_risk::Mode;
use isotherm_runner::{Board, Entry, Refused, Start, Trigger};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How long somebody may take to agree.
const APPROVAL: Duration = Duration::from_secs(24 * 3_600);

/// Repairs that are under way or wait for the runner's limits, at most: where there is more to do, the next are planned
/// once there is room, on the cluster as it is then.
const MOST_OPEN: usize = 64;

/// Lines that are told of single partitions in one look.
const MOST_TOLD: usize = 200;

/// How long a plan is used again while nothing changes, milliseconds.
const PLAN_MS: u64 = 60_000;

/// A plan, and what it was made for.
pub(super) struct Planned {
    at_ms: u64,
    revision: u64,
    wanted: Vec<PartitionId>,
    destinations: Destinations,
}

/// What is to be done about everything that lacks a replica.
#[derive(Default)]
struct Sorted {
    repairs: Vec<Repair>,
    under_way: Vec<Lack>,
    held: Vec<Lack>,
    not: Vec<(Lack, String)>,
}

impl Keeper {
    /// Does what follows from a look at a system whose source is fresh, and says how things stand then.
    pub(super) async fn act(&mut self, mut scene: Scene) -> Result<SystemStatus, String> {
        let board = self.parts.migrations.handle.board().borrow().clone();
        self.withdraw(&mut scene, &board).await?;
        let mut sorted = self.sort(&scene, &board);
        let hold = self.hold(&scene);
        let begun = scene.begun_within_hour();
        let mut still = BTreeSet::new();
        if hold.is_none() && !sorted.repairs.is_empty() {
            let open = board.migrations.iter().filter(|seen| scene.is_own(&seen.entry)).count();
            let room =
                (self.settings.per_hour as usize).saturating_sub(begun).min(MOST_OPEN.saturating_sub(open));
            let later = sorted.repairs.split_off(room.min(sorted.repairs.len()));
            self.begin(&mut scene, &board, &mut sorted).await?;
            sorted.held.extend(later.into_iter().map(|repair| repair.lack));
        }
        self.tell_of_nodes(&scene, &sorted, hold.as_deref(), begun, &mut still).await;
        self.tell_of_partitions(&scene, &sorted, &mut still).await;
        self.tell_of_surplus(&scene, &mut still).await;
        self.told.retain(&scene.system, &still);
        Ok(status::of(&scene, &self.settings, &sorted.report(hold.as_deref()), Some(begun)))
    }

    /// Cancels repairs whose dead node is back with its replica, and while the breaker is open those that wait.
    async fn withdraw(&mut self, scene: &mut Scene, board: &Board) -> Result<(), String> {
        let open = matches!(scene.book.breaker, Breaker::Open { .. });
        let own = board.migrations.iter().map(|seen| &seen.entry).filter(|entry| scene.is_own(entry));
        let unwanted: Vec<(MigrationId, NodeId, &str)> = own
            .filter_map(|entry| {
                let spec = entry.migration.spec();
                let waits = matches!(entry.migration.phase(), Phase::Planned | Phase::AwaitingApproval);
                let why = match &spec.origin {
                    Origin::Repair { dead } if scene.has_again(dead, &spec.partition) => {
                        "its node is back with its replica"
                    }
                    Origin::Repair { .. } | Origin::Move { .. } if open && waits => {
                        "the breaker of repairs is open"
                    }
                    Origin::Repair { .. } | Origin::Move { .. } => return None,
                };
                let permitted = entry.migration.permits(&Action::Cancel).is_ok();
                permitted.then(|| (spec.id.clone(), spec.origin.node().clone(), why))
            })
            .collect();
        for (id, dead, why) in unwanted {
            if let Some(failure) = scene.book.failures.get_mut(dead.name())
                && failure.withdrawn.insert(id.to_string())
            {
                self.write(&scene.system, &scene.book, Vec::new())
                    .await
                    .map_err(|refused| refused.to_string())?;
            }
            match self.parts.migrations.handle.act(id, Action::Cancel, "isotherm", why).await {
                // It went on meanwhile; what follows from that is told once it has ended.
                Ok(()) | Err(Refused::Denied(_) | Refused::NotFound(_)) => {}
                Err(refused) => return Err(refused.to_string()),
            }
        }
        Ok(())
    }

    /// What becomes of everything that lacks a replica.
    fn sort(&self, scene: &Scene, board: &Board) -> Sorted {
        let moving: BTreeSet<&PartitionId> =
            board.migrations.iter().map(|seen| &seen.entry.migration.spec().partition).collect();
        let mut sorted = Sorted::default();
        for lack in lacks(&scene.book, &scene.system, &scene.topology) {
            let known = Known {
                failures: &scene.book.failures,
                standings: &scene.standings,
                repairs: &scene.repairs,
                moving: moving.contains(&lack.partition),
                forbidden: self.parts.migrations.untouchable(&lack.partition),
                somebody_agrees: self.settings.mode == Mode::Approve,
                settings: &self.settings,
                now_ms: scene.now_ms,
            };
            match verdict(&lack, &known) {
                Verdict::Repair { dead } => {
                    let failure = scene.book.failures.get(dead.name());
                    let domains = failure.map(|failure| failure.domains.clone()).unwrap_or_default();
                    sorted.repairs.push(Repair { lack, dead, domains });
                }
                Verdict::UnderWay => sorted.under_way.push(lack),
                Verdict::Held => sorted.held.push(lack),
                Verdict::Not(why) => sorted.not.push((lack, why)),
            }
        }
        // What has the fewest replicas left comes first.
        sorted.repairs.sort_by_key(|repair| repair.lack.survivors.len());
        sorted
    }

    /// Why nothing at all is begun, if so.
    fn hold(&self, scene: &Scene) -> Option<String> {
        if let Breaker::Open { cause, .. } = &scene.book.breaker {
            return Some(format!(
                "the breaker of repairs is open: {cause}; `isotherm repair resume` closes it"
            ));
        }
        if self.settings.mode == Mode::Observe {
            return Some("the mode of repairs is to observe".to_owned());
        }
        self.parts.migrations.frozen()
    }

    /// Begins repairs, or says where they would go. What could not be begun is then among those that are not.
    async fn begin(&mut self, scene: &mut Scene, board: &Board, sorted: &mut Sorted) -> Result<(), String> {
        if sorted.repairs.is_empty() {
            return Ok(());
        }
        let repairs = std::mem::take(&mut sorted.repairs);
        let destinations = self.planned(scene, board, &repairs).await?;
        let acts = matches!(self.settings.mode, Mode::Approve | Mode::Auto);
        if acts {
            self.note_begun(scene, &repairs).await?;
        }
        for repair in repairs {
            let target = destinations.get(&repair.lack.partition).cloned();
            let target = target.unwrap_or_else(|| Err("the planner does not place it".to_owned()));
            let done = match target {
                Ok(target) if acts => self.start(scene, &repair, target).await,
                Ok(target) => {
                    Err(format!("the mode of repairs is to recommend; it would go to {}", target.name()))
                }
                Err(why) => Err(why),
            };
            match done {
                Ok(()) => sorted.under_way.push(repair.lack),
                Err(why) => sorted.not.push((repair.lack, why)),
            }
        }
        Ok(())
    }

    /// Where these go: as planned before, while nothing has changed.
    async fn planned(
        &mut self,
        scene: &Scene,
        board: &Board,
        repairs: &[Repair],
    ) -> Result<Destinations, String> {
        let wanted: Vec<PartitionId> = repairs.iter().map(|repair| repair.lack.partition.clone()).collect();
        let revision = scene.topology.revision;
        if let Some(planned) = self.planned.get(&scene.system)
            && (planned.revision, &planned.wanted) == (revision, &wanted)
            && planned.at_ms.saturating_add(PLAN_MS) > scene.now_ms
        {
            return Ok(planned.destinations.clone());
        }
        let (system, topology) = (scene.system.clone(), Arc::clone(&scene.topology));
        let cycled = self.parts.cycles.borrow().clone();
        let (repairs, now_ms) = (repairs.to_vec(), scene.now_ms);
        let open = board.migrations.iter().map(|seen| seen.entry.clone());
        let ended = scene.repairs.iter().filter(|entry| entry.about.ended_ms.is_some()).cloned();
        let migrations: Vec<Entry> = open.chain(ended).collect();
        let planning = tokio::task::spawn_blocking(move || {
            destine::destinations(&destine::Asked {
                system: &system,
                topology: &topology,
                cycled: cycled.as_deref(),
                repairs: &repairs,
                migrations: &migrations,
                now_ms,
            })
        });
        let destinations = planning.await.map_err(|error| error.to_string())?;
        let planned = Planned { at_ms: now_ms, revision, wanted, destinations: destinations.clone() };
        self.planned.insert(scene.system.clone(), planned);
        Ok(destinations)
    }

    /// Writes down that these failures are acted on, before they are.
    async fn note_begun(&mut self, scene: &mut Scene, repairs: &[Repair]) -> Result<(), String> {
        let before = scene.book.clone();
        for repair in repairs {
            if let Some(failure) = scene.book.failures.get_mut(repair.dead.name()) {
                failure.begun = true;
            }
        }
        if before == scene.book {
            return Ok(());
        }
        let written = self.write(&scene.system, &scene.book, Vec::new()).await;
        written.map_err(|refused| refused.to_string())
    }

    async fn start(&self, scene: &Scene, repair: &Repair, target: NodeId) -> Result<(), String> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let asked = Asked {
            id: MigrationId::new(id).map_err(|error| error.to_string())?,
            partition: repair.lack.partition.clone(),
            source: Some(repair.dead.clone()),
            repair: true,
            target,
            gated: false,
            probation_ms: None,
            bytes_per_s: None,
        };
        let config = &self.parts.migrations.config;
        let mut spec = specify(&scene.topology, config, asked).map_err(|problem| problem.to_string())?;
        if self.settings.mode == Mode::Approve {
            let ms = u64::try_from(APPROVAL.as_millis()).unwrap_or(u64::MAX);
            spec.policy.approval = Approval::Within { ms };
        }
        let standing = scene.standings.get(repair.dead.name());
        let said = standing.map(|standing| standing.why(&self.settings)).unwrap_or_default();
        let reason = format!("{} has failed: {said}", repair.dead.name());
        let start = Start { spec, by: "isotherm".to_owned(), reason, trigger: Trigger::Failure };
        let started = self.parts.migrations.handle.start(start).await;
        started.map(drop).map_err(|refused| refused.to_string())
    }

    /// Tells of nodes whose replicas are not made again, or not by isotherm.
    async fn tell_of_nodes(
        &mut self,
        scene: &Scene,
        sorted: &Sorted,
        hold: Option<&str>,
        begun: usize,
        still: &mut BTreeSet<Subject>,
    ) {
        let held = sorted.held.iter().chain(sorted.repairs.iter().map(|repair| &repair.lack));
        let mut missing: BTreeMap<&NodeId, usize> = BTreeMap::new();
        for node in held.flat_map(|lack| &lack.dead) {
            *missing.entry(node).or_default() += 1;
        }
        for (node, missing) in missing {
            let Some(standing) = scene.standings.get(node.name()) else { continue };
            let (what, why) = match (standing, hold) {
                (Standing::Back, _) => (
                    format!("{node} is back without {missing} of its replicas"),
                    "`isotherm migrate start --dead` makes them again".to_owned(),
                ),
                (Standing::Confirmed(said), Some(hold)) => {
                    (format!("would make again what {node} held: {said}"), hold.to_owned())
                }
                (Standing::Confirmed(_), None) if begun >= self.settings.per_hour as usize => (
                    format!("would make again more of what {node} held"),
                    format!(
                        "as many repairs as may be were begun within an hour, {}",
                        self.settings.per_hour
                    ),
                ),
                (Standing::Confirmed(_), None) => continue,
                (
                    Standing::Maintenance
                    | Standing::Unsaid
                    | Standing::Contradicted(_)
                    | Standing::Waits
                    | Standing::OneSignal,
                    _,
                ) => (format!("does not make again what {node} held"), standing.why(&self.settings)),
            };
            let subject =
                Subject { system: scene.system.clone(), node: node.name().to_owned(), partition: None };
            still.insert(subject.clone());
            self.told.tell(&self.parts.migrations, subject, scene.now_ms, what, why).await;
        }
    }

    /// Tells of single partitions that are not repaired for a reason of their own.
    async fn tell_of_partitions(&mut self, scene: &Scene, sorted: &Sorted, still: &mut BTreeSet<Subject>) {
        for (at, (lack, why)) in sorted.not.iter().enumerate() {
            let Some(dead) = lack.dead.first() else { continue };
            let subject = Subject {
                system: scene.system.clone(),
                node: dead.name().to_owned(),
                partition: Some(lack.partition.clone()),
            };
            still.insert(subject.clone());
            if at < MOST_TOLD {
                let what = format!("would make its replica on {dead} again");
                self.told.tell(&self.parts.migrations, subject, scene.now_ms, what, why.clone()).await;
            }
        }
    }

    /// Tells of replicas that were made again and whose nodes are back with theirs.
    async fn tell_of_surplus(&mut self, scene: &Scene, still: &mut BTreeSet<Subject>) {
        let ended = scene.repairs.iter().filter(|entry| entry.migration.end() == Some(&End::Completed));
        for spec in ended.map(|entry| entry.migration.spec()) {
            let dead = spec.origin.node();
            let subset = scene.topology.subsets.get(&spec.partition);
            let both = subset.is_some_and(|subset| subset.contains(dead) && subset.contains(&spec.target));
            if !scene.owns_partition(&spec.partition) || !both || told(&scene.topology, dead) != Told::Up {
                continue;
            }
            let subject = Subject {
                system: scene.system.clone(),
                node: dead.name().to_owned(),
                partition: Some(spec.partition.clone()),
            };
            still.insert(subject.clone());
            let what = format!("it has a replica too many: {dead} is back with its own");
            let why = format!("it was made again on {} meanwhile; remove one of them", spec.target);
            self.told.tell(&self.parts.migrations, subject, scene.now_ms, what, why).await;
        }
    }
}

impl Sorted {
    /// The same for people.
    fn report(&self, hold: Option<&str>) -> status::Report {
        let mut report = status::Report::default();
        self.under_way.iter().for_each(|lack| report.count(lack, true));
        let waiting = self.held.iter().chain(self.repairs.iter().map(|repair| &repair.lack));
        waiting.for_each(|lack| report.count(lack, false));
        for (lack, why) in &self.not {
            report.count(lack, false);
            report.unrepaired.push(Unrepaired { partition: lack.partition.clone(), why: why.clone() });
        }
        report.hold = hold.map(str::to_owned);
        report
    }
}

impl Scene {
    /// Whether a migration is a repair of this system that a failure began.
    fn is_own(&self, entry: &Entry) -> bool {
        entry.about.trigger == Trigger::Failure && self.owns(entry)
    }

    fn owns_partition(&self, partition: &PartitionId) -> bool {
        *partition.system() == self.system
    }

    /// Whether a node is up and holds a partition, as the topology says.
    fn has_again(&self, node: &NodeId, partition: &PartitionId) -> bool {
        let holds = self.topology.subsets.get(partition).is_some_and(|subset| subset.contains(node));
        holds && told(&self.topology, node) == Told::Up
    }

    fn begun_within_hour(&self) -> usize {
        let recent = |entry: &&Entry| entry.about.created_ms.saturating_add(HOUR_MS) > self.now_ms;
        self.repairs.iter().filter(|entry| self.is_own(entry)).filter(recent).count()
    }

    /// The node of a failure.
    pub(super) fn node(&self, name: &str) -> Option<NodeId> {
        id(&self.system, name)
    }
}
