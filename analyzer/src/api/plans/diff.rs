//! What another plan does otherwise. Plans are of different snapshots, whose positions mean nothing to each other: both
//! are numbered anew by the names that either has.

use crate::plan::kept::{Move, Plan};
use isotherm_placement as placement;
use isotherm_placement::{Action, Gain, Node, Partition, PlanDiff, Pressure, Rejected, Totals};
use std::collections::BTreeSet;

/// Lines of moves and of what is refused; none if the plans do the same.
pub(super) fn lines(old: &Plan, new: &Plan) -> Vec<String> {
    let both = || old.moves.iter().chain(&new.moves);
    let partitions: Vec<&str> = distinct(both().map(|one| one.partition.as_str()));
    let nodes: Vec<&str> = distinct(both().flat_map(|one| [one.from.as_str(), one.to.as_str()]));
    let numbered = |plan: &Plan| {
        let moves = plan.moves.iter().filter_map(|one| numbered(one, &partitions, &nodes)).collect();
        let nothing = Pressure { size: None, load: None };
        let totals = Totals { bytes: 0, least_bytes: 0, before: nothing, after: nothing, feasible: 1.0 };
        placement::Plan::new(0, moves, Vec::new(), totals)
    };
    let diff = PlanDiff::new(&numbered(old), &numbered(new));
    let text =
        diff.text(&|partition| partitions[partition.at()].to_owned(), &|node| nodes[node.at()].to_owned());
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.extend(others("refused", &old.refusals, &new.refusals));
    lines.extend(others("left out", &old.left_out, &new.left_out));
    lines
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Epochs are not compared: that something else has changed of a partition is no difference between two plans.
fn numbered(decided: &Move, partitions: &[&str], nodes: &[&str]) -> Option<placement::Move> {
    let node = |name: &str| {
        let at = nodes.binary_search(&name).ok()?;
        u16::try_from(at).ok().map(Node)
    };
    let partition = partitions.binary_search(&decided.partition.as_str()).ok()?;
    Some(placement::Move {
        partition: Partition(u32::try_from(partition).ok()?),
        action: Action::Copy { from: Some(node(&decided.from)?), to: node(&decided.to)? },
        bytes: decided.bytes,
        epoch: 0,
        reason: crate::plan::make::reason_of(decided.reason),
        gain: Gain::Replicas { before: 0, after: 0 },
        score: 0.0,
        runner_up: None,
        rejected: Rejected::default(),
    })
}

fn others(what: &str, old: &[String], new: &[String]) -> Vec<String> {
    let (old, new): (BTreeSet<&String>, BTreeSet<&String>) = (old.iter().collect(), new.iter().collect());
    let added = new.difference(&old).map(|line| format!("+ {what}: {line}"));
    added.chain(old.difference(&new).map(|line| format!("- {what}: {line}"))).collect()
}
