//! From the state and the cluster to a record of every partition.
//!
//! First the load field of the whole cluster, which needs all partitions; then each partition by itself, on all cores.
//! A partition whose shares are not known is not part of the field: the loads of its nodes lack it, and its record
//! says that nothing is known. Where no capacity is known, headroom is not, and exposures are lower bounds.

use crate::band::Kind;
use crate::cluster::{Cluster, Coming, PartitionFacts, Shift};
use crate::horizon::{Ladder, Table, integrate};
use crate::names::{ByName, Named};
use crate::partition::{Ahead, Partition};
use crate::policy::Settings;
use crate::record::{At, DomainPart, Exposed, Holder, Judged, Record, Status, Surging, Verdict};
use crate::state::{Name, State};
use isotherm_model::Timestamp;
use isotherm_risk::surge::Verdict as SurgeVerdict;
use isotherm_risk::{
    Bearing, Domain, Domains, DomainsError, Exposure, Field, FieldError, Holding, Loss, Node, Redundancy,
    RiskPolicy, Surroundings, SurroundingsError, normalised_entropy, second_order, tilt,
};
use rayon::prelude::*;
use thiserror::Error;

/// A cluster that cannot be assessed. Facts were checked before, so that this is a fault of the program's.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum AssessError {
    /// Domains.
    #[error(transparent)]
    Domains(#[from] DomainsError),
    /// Loads.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// Hazards.
    #[error(transparent)]
    Surroundings(#[from] SurroundingsError),
}

/// A partition where it lies, with what is known of its reads.
#[derive(Debug, Clone)]
pub struct Placed {
    /// Its holders, leader first.
    pub subset: Vec<Node>,
    /// Share that each serves; `None` if they are not known.
    pub shares: Option<Vec<f64>>,
    /// What is habitual; `None` if it is not known.
    pub habitual: Option<Vec<f64>>,
    /// Reads per second; `None` if they are not known.
    pub reads_per_s: Option<f64>,
    /// Bytes of a replica; `None` if unknown.
    pub size_bytes: Option<u64>,
    /// How many holders it can do without.
    pub redundancy: Redundancy,
    /// Whether it must stay: pinned, or being moved already.
    pub stays: bool,
    /// What is known of the days to come.
    pub ahead: Ahead,
    /// The shift of its reads that is in force.
    pub shift: Option<Shift>,
    /// What is on its way.
    pub coming: Option<Coming>,
}

impl Placed {
    /// As the field sees it; `None` if the shares or the reads are not known.
    #[must_use]
    pub fn holding(&self) -> Option<Holding<'_>> {
        Some(Holding {
            subset: &self.subset,
            shares: self.shares.as_deref()?,
            reads_per_s: self.reads_per_s?,
        })
    }
}

/// What was assessed of the whole cluster: loads, hazards, and where everything lies.
#[derive(Debug, Clone)]
pub struct Landscape {
    /// Loads and spills.
    pub field: Field,
    /// Of nodes, per hour.
    pub hazard_per_hour: Vec<f64>,
    /// The failure domains.
    pub domains: Domains,
    /// Share of reads that fail at gray nodes; empty if nobody knows of any.
    pub failing: Vec<f64>,
    /// In the order of the records.
    pub placed: Vec<Placed>,
}

impl Landscape {
    /// As the functions of risk take it.
    ///
    /// # Panics
    /// Never: it was checked when it was made.
    #[must_use]
    pub fn surroundings(&self) -> Surroundings<'_> {
        let failing = (!self.failing.is_empty()).then_some(self.failing.as_slice());
        Surroundings::new(&self.field, &self.hazard_per_hour, &self.domains, failing)
            .expect("it was checked when it was made")
    }
}

/// Assesses all partitions at a moment. Records are by system and name, and so are the landscape's places.
///
/// # Errors
/// A cluster whose facts do not belong together; [`Cluster::check`] says so with names.
pub fn assess(
    state: &State,
    cluster: &Cluster,
    settings: &Settings,
    at: Timestamp,
) -> Result<(Landscape, Vec<Record>), AssessError> {
    let numbers: Vec<Option<u32>> = cluster
        .nodes
        .iter()
        .map(|node| state.nodes.get(&(node.system.clone(), node.name.clone())).copied())
        .collect();
    let known = Known { state, cluster, settings, numbers: &numbers };
    let all: Vec<(&Name, &Partition)> =
        state.partitions.iter().map(|(name, partition)| (name, &**partition)).collect();
    let mut known_facts = ByName::new(&cluster.partitions);
    let facts: Vec<_> = all.iter().map(|(name, _)| known_facts.find(name.name())).collect();
    let placed: Vec<Placed> =
        all.par_iter().zip(&facts).map(|((_, partition), facts)| known.place(partition, *facts)).collect();
    let bearing = |node: &crate::cluster::NodeFacts| Bearing {
        capacity_per_s: node.capacity_per_s.filter(|capacity| *capacity > 0.0),
        other_per_s: 0.0,
    };
    let bearings: Vec<Bearing> = cluster.nodes.iter().map(bearing).collect();
    let field = Field::build(&bearings, placed.iter().filter_map(Placed::holding), settings.field.clone())?;
    let of_nodes: Vec<Vec<Domain>> =
        cluster.nodes.iter().map(|node| node.domains.iter().copied().map(Domain).collect()).collect();
    let domains = Domains::new(
        of_nodes.iter().map(Vec::as_slice),
        cluster.domains.iter().map(|domain| domain.hazard.per_hour).collect(),
    )?;
    let hazard_per_hour: Vec<f64> = cluster.nodes.iter().map(|node| node.hazard.per_hour).collect();
    Surroundings::new(&field, &hazard_per_hour, &domains, None)?;
    let landscape =
        Landscape { field, hazard_per_hour, domains, failing: failing(state, cluster, settings), placed };
    let surroundings = landscape.surroundings();
    let records = all
        .par_iter()
        .zip(&landscape.placed)
        .enumerate()
        .map(|(seed, ((name, partition), placed))| {
            known.record(name, partition, placed, &surroundings, at, seed as u64)
        })
        .collect();
    Ok((landscape, records))
}

/// Share of the reads that fail at each node; empty if none is suspected of answering badly.
fn failing(state: &State, cluster: &Cluster, settings: &Settings) -> Vec<f64> {
    let suspected = |node: &crate::cluster::NodeFacts| {
        let memory = state.memory(&(node.system.clone(), node.name.clone()));
        memory.is_some_and(crate::nodes::Memory::is_suspected)
    };
    let all: Vec<f64> =
        cluster.nodes.iter().map(|node| if suspected(node) { settings.gray_failing } else { 0.0 }).collect();
    if all.iter().any(|share| *share > 0.0) { all } else { Vec::new() }
}

struct Known<'a> {
    state: &'a State,
    cluster: &'a Cluster,
    settings: &'a Settings,
    /// The state's number of each node of the cluster.
    numbers: &'a [Option<u32>],
}

impl Known<'_> {
    fn place(&self, partition: &Partition, facts: Option<&PartitionFacts>) -> Placed {
        let holders: Vec<u32> = match facts {
            Some(facts) => facts.holders.clone(),
            // Nobody says who holds it: those that were seen to serve it.
            None => (0_u32..)
                .zip(self.numbers)
                .filter(|(_, number)| {
                    number.is_some_and(|number| partition.slots.iter().any(|slot| slot.node == number))
                })
                .map(|(at, _)| at)
                .collect(),
        };
        let shares = |of: fn(&Partition, u32, &Settings) -> Option<f64>| -> Option<Vec<f64>> {
            let raw: Vec<f64> = holders
                .iter()
                .map(|node| match self.numbers[*node as usize] {
                    Some(number) => of(partition, number, self.settings),
                    // A holder that nobody ever counted: unknown, not idle.
                    None => None,
                })
                .collect::<Option<_>>()?;
            isotherm_risk::shares_of(&raw)
        };
        let replicas = facts.map_or(holders.len() as u8, |facts| facts.replicas);
        Placed {
            shares: shares(Partition::share),
            habitual: shares(Partition::habitual_share),
            reads_per_s: partition.reads_per_s(self.settings),
            size_bytes: facts.and_then(|facts| facts.size_bytes),
            redundancy: Redundancy {
                quorum_bears: self.settings.reads_need.bears(replicas),
                missing: replicas.saturating_sub(holders.len() as u8),
            },
            stays: facts.is_none_or(|facts| facts.pinned || facts.moving),
            ahead: partition.ahead(self.state.until_ms),
            shift: facts.and_then(|facts| facts.shift),
            coming: facts.and_then(|facts| facts.coming),
            subset: holders.into_iter().map(Node).collect(),
        }
    }

    fn record(
        &self,
        name: &Name,
        partition: &Partition,
        placed: &Placed,
        surroundings: &Surroundings<'_>,
        at: Timestamp,
        seed: u64,
    ) -> Record {
        let settings = self.settings;
        let lead = settings.lead_min as usize;
        let judged = partition.last.judged;
        let forecast = self.state.bands[0].foresee(Kind::Node, &partition.minute, lead);
        let ahead = Timestamp::from_ms(at.as_ms() + u64::from(settings.lead_min) * settings.step_ms);
        let later = partition.habit.baseline(&settings.habit, ahead);
        let forecast_surge = forecast
            .zip(later)
            .map(|(forecast, later)| settings.surge.forecast_surge(forecast.lower_80, later.value));
        let mut record = Record {
            at: At::from(at),
            revision: self.cluster.revision,
            system: name.0.clone(),
            partition: name.1.clone(),
            status: partition.last.status,
            node: judged,
            bits: partition.last.bits,
            effective_nodes: partition.last.effective,
            class: partition.class,
            offset: partition.offset.as_ref().map(|signal| signal.judged),
            peer: partition.peer.as_ref().map(|signal| signal.judged),
            surge: surging(partition.surging(settings)),
            forecast,
            order: partition.minute.order(),
            forecast_surge,
            reads_per_s: placed.reads_per_s,
            exposure: None,
            calibrated: None,
            loss: None,
            holders: self.holders(placed),
            domains: Vec::new(),
            action: None,
            shift: None,
            verdict: Verdict::Unknown,
            reason: unknown(partition.last.status, placed),
        };
        let Some(held) = placed.holding() else { return record };
        let policy = &settings.risk;
        let exposure = surroundings.exposure(Some(held), &held, &policy.exposure);
        let loss = surroundings.loss(Some(held), &held, placed.redundancy, policy);
        self.fill(&mut record, &exposure, &loss, surroundings);
        record.loss = Some(loss.parts);
        let exposed = self.exposed(partition, placed, &held, &exposure, surroundings, judged, seed);
        record.calibrated = self.state.calibrator.calibrated(exposed.risk, settings);
        record.exposure = Some(exposed);
        record
    }

    /// Holders of whom no more is known than who they are.
    fn holders(&self, placed: &Placed) -> Vec<Holder> {
        let of = |(at, node): (usize, &Node)| {
            let facts = &self.cluster.nodes[node.at()];
            Holder {
                node: node.0,
                share: placed.shares.as_ref().map(|shares| shares[at]),
                hazard: facts.hazard.per_hour,
                hazard_over_class: facts.hazard.over_class,
                overload: None,
                exposure: None,
                loss: None,
            }
        };
        placed.subset.iter().enumerate().map(of).collect()
    }

    fn fill(&self, record: &mut Record, exposure: &Exposure, loss: &Loss, surroundings: &Surroundings<'_>) {
        let weight = self.settings.risk.exposure.survivors_weight;
        for ((holder, part), (_, loss)) in record.holders.iter_mut().zip(&exposure.by_node).zip(&loss.by_node)
        {
            let scale = part.failover_per_hour * weight;
            holder.overload = part
                .survivors_per_hour
                .and_then(|survivors| if scale > 0.0 { Some(survivors / scale) } else { None });
            holder.exposure = Some(part.failover_per_hour + part.survivors_per_hour.unwrap_or(0.0));
            holder.loss = Some(*loss);
        }
        record.domains = exposure
            .by_domain
            .iter()
            .map(|part| DomainPart {
                domain: part.domain.0,
                share: part.share,
                hazard: surroundings.domains().hazard_per_hour(part.domain),
                exposure: part.per_hour,
            })
            .collect();
    }

    #[expect(clippy::too_many_arguments, reason = "all of it is what is known of one partition")]
    fn exposed(
        &self,
        partition: &Partition,
        placed: &Placed,
        held: &Holding<'_>,
        exposure: &Exposure,
        surroundings: &Surroundings<'_>,
        judged: Judged,
        seed: u64,
    ) -> Exposed {
        let policy = &self.settings.risk;
        let present = exposure.failover_per_hour
            + exposure.domains_per_hour
            + exposure.survivors_per_hour.unwrap_or(0.0);
        let table = tabulate(placed, held, exposure, surroundings, policy);
        let horizon_h = self.settings.horizon_of(placed.size_bytes);
        let ladder = Ladder { minute: &partition.minute, quarter: &partition.quarter, hour: &partition.hour };
        let all = match &table {
            Some(table) => {
                integrate(ladder, table, present, [horizon_h, self.settings.step_ms as f64 / 3.6e6], seed)
            }
            None => crate::horizon::Integrated {
                horizon_h,
                mean: present * horizon_h,
                variance: 0.0,
                forecast_share: 0.0,
            },
        };
        let habitual = judged.habitual.zip(table.as_ref());
        Exposed {
            per_hour: present,
            habitual_per_hour: habitual.map(|(habitual, table)| table.at_entropy(habitual.value)),
            headroom_known: exposure.survivors_per_hour.is_some(),
            horizon_h,
            mean: all.mean,
            variance: all.variance,
            forecast_share: all.forecast_share,
            risk: second_order(all.mean, all.variance),
        }
    }
}

/// Shares this near to even cannot be tilted to less.
const EVEN: f64 = 0.999;

/// Powers that are tabulated, as tau / (1 + tau).
const POWERS: usize = 24;

/// The exposure at any entropy: the present shares, or where they are even the habitual ones, raised to powers. What
/// survivors would exceed is taken as it is at present. `None` with fewer than two holders that serve.
fn tabulate(
    placed: &Placed,
    held: &Holding<'_>,
    exposure: &Exposure,
    surroundings: &Surroundings<'_>,
    policy: &RiskPolicy,
) -> Option<Table> {
    let even = normalised_entropy(held.shares)? > EVEN;
    let family = placed.habitual.as_deref().filter(|_| even).unwrap_or(held.shares);
    let (domains, felt) = (surroundings.domains(), |share: f64| policy.exposure.felt(share));
    // Failures per hour of each holder, with the survivors' overload counted in.
    let weights: Vec<f64> = held
        .subset
        .iter()
        .zip(&exposure.by_node)
        .map(|(node, part)| {
            let hazard = surroundings.hazard_per_hour(*node);
            let more = part.survivors_per_hour.unwrap_or(0.0) / part.failover_per_hour;
            if more.is_finite() { hazard * (1.0 + more) } else { hazard }
        })
        .collect();
    let mut tilted = Vec::with_capacity(family.len());
    let mut points = Vec::with_capacity(POWERS + 1);
    for power in 0..=POWERS {
        let x = power as f64 / (POWERS + 1) as f64;
        tilt(family, x / (1.0 - x), &mut tilted);
        let h = normalised_entropy(&tilted)?;
        let mut value: f64 = tilted.iter().zip(&weights).map(|(share, weight)| weight * felt(*share)).sum();
        for part in &exposure.by_domain {
            let share = domains.share(part.domain, held.subset, &tilted);
            value += domains.hazard_per_hour(part.domain) * felt(share);
        }
        points.push((h, value));
    }
    Table::of_points(points)
}

fn surging(verdict: SurgeVerdict) -> Surging {
    match verdict {
        SurgeVerdict::Surging { since, .. } => Surging::Since(since.as_ms()),
        SurgeVerdict::Quiet => Surging::Quiet,
        SurgeVerdict::Unknown => Surging::Unknown,
    }
}

fn unknown(status: Status, placed: &Placed) -> String {
    if placed.subset.is_empty() {
        return "nobody says who holds it, and nobody was seen to serve it".to_owned();
    }
    let why = match status {
        Status::Unknown => "a node that may serve it was not watched",
        Status::Unseen => "nobody has counted it",
        Status::Known | Status::NotApplicable | Status::Insufficient => "its reads have not been counted yet",
    };
    format!("{why}, so it is not known which nodes its clients lean on")
}
