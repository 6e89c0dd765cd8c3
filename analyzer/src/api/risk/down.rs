//! The first question of an operator: what if this node died now?

use crate::cycle::Cycled;
use isotherm_cycle::record::Verdict;
use isotherm_proto::control::v1::{NodeDown, NodeRecord, Responsible, Survivor};
use isotherm_risk::{Holders, Lying, MovingHelps, Node};

/// What would happen, of every node; the worst `top` of them, with as many partitions each.
pub(super) fn all(cycled: &Cycled, top: usize) -> Vec<NodeDown> {
    let (lying, records) = lying(cycled);
    let surroundings = cycled.landscape.surroundings();
    let downs = surroundings.node_downs(&lying, &cycled.settings.risk);
    downs.into_iter().take(top).map(|down| told(cycled, &lying, &records, &down, top)).collect()
}

/// What would happen if one node died.
pub(super) fn of(cycled: &Cycled, node: usize, top: usize) -> NodeDown {
    let (lying, records) = lying(cycled);
    let surroundings = cycled.landscape.surroundings();
    let holders = Holders::of(&lying, cycled.cluster.nodes.len());
    let dead = Node(u32::try_from(node).expect("nodes are counted in 32 bits"));
    let down = surroundings.node_down(&lying, &holders, dead, &cycled.settings.risk);
    told(cycled, &lying, &records, &down, top)
}

/// The partitions whose shares are known, and the positions of their records.
fn lying(cycled: &Cycled) -> (Vec<Lying<'_>>, Vec<usize>) {
    let known = cycled.landscape.placed.iter().enumerate().filter_map(|(at, placed)| {
        let held = placed.holding()?;
        Some((Lying { held, redundancy: placed.redundancy }, at))
    });
    known.unzip()
}

fn told(
    cycled: &Cycled,
    lying: &[Lying<'_>],
    records: &[usize],
    down: &isotherm_risk::NodeDown,
    top: usize,
) -> NodeDown {
    let facts = &cycled.cluster.nodes[down.node.at()];
    let verdict_of = |partition: usize| cycled.records[records[partition]].verdict;
    let moving = down.moving_helps(|partition| match verdict_of(partition) {
        Verdict::Move | Verdict::ShiftReads => Some(true),
        Verdict::Nothing | Verdict::MovingWillNotHelp | Verdict::SplitIt | Verdict::SlowDownClients => {
            Some(false)
        }
        Verdict::Unknown => None,
    });
    let overloaded = down.survivors.iter().filter(|survivor| {
        survivor.exceeds.is_some_and(|exceeds| exceeds >= cycled.settings.gate.headroom_trigger)
    });
    let survivor = |survivor: &isotherm_risk::Survivor| Survivor {
        node: cycled.cluster.nodes[survivor.node.at()].name.clone(),
        before_per_s: survivor.before_per_s,
        after_per_s: survivor.after_per_s,
        capacity_per_s: survivor.capacity_per_s.unwrap_or(f64::NAN),
    };
    let responsible = |one: &isotherm_risk::Responsible| {
        let held = lying[one.partition].held;
        let share = held.subset.iter().zip(held.shares).find(|(node, _)| **node == down.node);
        Responsible {
            partition: cycled.records[records[one.partition]].partition.clone(),
            share: share.map_or(0.0, |(_, share)| *share),
            reads_per_s: held.reads_per_s,
            client_minutes: one.client_minutes,
        }
    };
    let unknown = cycled
        .landscape
        .placed
        .iter()
        .filter(|placed| placed.holding().is_none() && placed.subset.contains(&down.node));
    NodeDown {
        unknown_partitions: unknown.count() as u64,
        system: facts.system.clone(),
        node: facts.name.clone(),
        failover_client_minutes: down.failover + down.unserved,
        // A sum of nothing is a negative zero.
        overload_client_minutes: down.overload.map(|overload| overload + 0.0),
        overloaded: overloaded.map(survivor).collect(),
        responsible: down.responsible.iter().take(top).map(responsible).collect(),
        other_partitions: down.responsible.len().saturating_sub(top) as u64,
        partitions: down.responsible.len() as u64,
        without_quorum: down.without_quorum.len() as u64,
        without_data: down.only_copy.len() as u64,
        verdict: match moving {
            MovingHelps::Yes { partitions, client_minutes } => {
                format!("helps: {partitions} partitions, {client_minutes:.2} client-minutes")
            }
            MovingHelps::No => "will not help".to_owned(),
            MovingHelps::Unknown => "not known".to_owned(),
        },
    }
}

/// A node in words: its load, its hazard, how it answers, what its death would do.
pub(super) fn words(cycled: &Cycled, at: usize, facts: &NodeRecord, down: &NodeDown) -> Vec<String> {
    let node = &cycled.cluster.nodes[at];
    let domains = node.domains.last().map_or_else(
        || "in no known failure domain".to_owned(),
        |domain| format!("in {}", cycled.cluster.domains[*domain as usize].name),
    );
    let load = match (facts.reads_per_s, facts.capacity_per_s) {
        (Some(reads), Some(capacity)) => {
            format!(
                "{reads:.1} reads/s, {:.0} % of the {capacity:.0} that it can bear",
                reads / capacity * 100.0
            )
        }
        (Some(reads), None) => format!("{reads:.1} reads/s; what it can bear is not known"),
        (None, _) => "its reads are not known, as it was not watched for all of the last minute".to_owned(),
    };
    let source = match facts.hazard_source.as_str() {
        "override" => "as an operator says",
        "observed" => "by its own record and its class's",
        _ => "assumed, as there is hardly any record",
    };
    let minutes = down.overload_client_minutes.map_or_else(
        || format!("at least {:.2} client-minutes; survivors' overload is not known", down.failover_client_minutes),
        |overload| {
            format!(
                "{:.2} client-minutes: {:.2} until clients have gone elsewhere, {overload:.2} by survivors' overload",
                down.failover_client_minutes + overload,
                down.failover_client_minutes
            )
        },
    );
    let minutes = match (down.partitions, down.unknown_partitions) {
        (_, 0) => minutes,
        (0, unknown) => format!("not known, as the reads of its {unknown} partitions are not"),
        (_, unknown) => format!("{minutes}, without {unknown} partitions whose reads are not known"),
    };
    let overloaded: Vec<&str> = down.overloaded.iter().map(|survivor| survivor.node.as_str()).collect();
    let overloaded = if overloaded.is_empty() {
        String::new()
    } else {
        format!(" {} would be overloaded.", overloaded.join(", "))
    };
    vec![
        format!(
            "Node {}/{}, {domains}, holds {} partitions: {load}.",
            facts.system, facts.name, facts.partitions
        ),
        format!(
            "Hazard {:.2e} failures per hour, {:.1} times its class's ({source}); {} failures in {:.0} observed hours.",
            facts.hazard_per_hour, facts.hazard_over_class, facts.failures, facts.observed_h
        ),
        format!("Does it answer badly? {}: {}.", facts.gray.replace('_', " "), facts.gray_evidence),
        format!("If it died now: {minutes}.{overloaded} Moving {}.", down.verdict),
    ]
}
