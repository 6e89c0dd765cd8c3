//! How far a plan is, and what is next: a function of the plan and of what its migrations have come to.
//!
//! Waves are done one after the other: a wave begins when every move of those before it has switched, or cannot be made.
//! A move waits for an earlier one of the same partition to be over altogether; if that fails, it is held.

use super::kept::Plan;
use isotherm_migration::{End, Phase};
use isotherm_runner::Entry;
use isotherm_runner::journal::name_of;
use std::collections::BTreeMap;

/// Moves of a plan that are under way at a time. The runner has limits of its own, and lets the others wait.
const MOST_UNDER_WAY: usize = 64;

/// Where a move is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It was not begun.
    Planned,
    /// Its migration goes on, or stopped where an operator is needed.
    UnderWay,
    /// The target serves; the source is not gone yet.
    Switched,
    Done,
    /// It ended otherwise, or could not be begun.
    Failed(String),
    /// An earlier move of its partition, by position, failed or is held.
    Held(usize),
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Begin these, by position; none while there is nothing to do but wait.
    Begin(Vec<usize>),
    Done,
    /// Nothing more can be done, and not all is.
    Failed(String),
}

impl Standing {
    /// The word that is told.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::UnderWay => "under_way",
            Self::Switched => "switched",
            Self::Done => "done",
            Self::Failed(_) => "failed",
            Self::Held(_) => "held",
        }
    }

    /// Whether the next wave need not wait for it.
    fn lets_on(&self) -> bool {
        match self {
            Self::Switched | Self::Done | Self::Failed(_) | Self::Held(_) => true,
            Self::Planned | Self::UnderWay => false,
        }
    }
}

/// Where each move is, by its position. `entries` are the plan's migrations, by id.
pub(crate) fn standings(plan: &Plan, entries: &BTreeMap<&str, &Entry>) -> Vec<Standing> {
    let mut standings: Vec<Standing> = Vec::with_capacity(plan.moves.len());
    let mut last: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, decided) in plan.moves.iter().enumerate() {
        let id = plan.migration(at);
        let entry = id.as_ref().and_then(|id| entries.get(id.as_str()));
        let before = last.insert(&decided.partition, at);
        let standing = match (entry, &decided.refused, before) {
            (Some(entry), _, _) => of_entry(entry),
            (None, Some(why), _) => Standing::Failed(why.clone()),
            (None, None, Some(before)) => match &standings[before] {
                Standing::Failed(_) | Standing::Held(_) => Standing::Held(before),
                Standing::Planned | Standing::UnderWay | Standing::Switched | Standing::Done => {
                    Standing::Planned
                }
            },
            (None, None, None) => Standing::Planned,
        };
        standings.push(standing);
    }
    standings
}

fn of_entry(entry: &Entry) -> Standing {
    let migration = &entry.migration;
    let failed = |why: String| Standing::Failed(format!("{}: {why}", name_of(migration.phase())));
    match migration.end() {
        Some(End::Completed) => Standing::Done,
        Some(End::Failed(cause)) => failed(match &entry.about.words {
            Some(words) => format!("{cause} ({words})"),
            None => cause.to_string(),
        }),
        Some(End::Expired(expiry)) => failed(expiry.to_string()),
        Some(End::Cancelled) => failed("somebody gave it up".to_owned()),
        Some(End::Reversed) => failed("somebody took it back".to_owned()),
        None => match migration.phase() {
            Phase::Switched | Phase::Retiring => Standing::Switched,
            Phase::Planned
            | Phase::AwaitingApproval
            | Phase::Preflight
            | Phase::Preparing
            | Phase::Replicating
            | Phase::Repairing
            | Phase::CatchingUp
            | Phase::Verifying
            | Phase::Ready
            | Phase::Fencing
            | Phase::Unfencing
            | Phase::Committing
            | Phase::Aborting
            | Phase::Reversing
            | Phase::NeedsOperator
            | Phase::Completed
            | Phase::Cancelled
            | Phase::Failed
            | Phase::Reversed
            | Phase::Expired => Standing::UnderWay,
        },
    }
}

/// What follows from where the moves are.
pub(crate) fn next(plan: &Plan, standings: &[Standing]) -> Next {
    let count = |which: fn(&Standing) -> bool| standings.iter().filter(|one| which(one)).count();
    let failed = count(|one| matches!(one, Standing::Failed(_)));
    let held = count(|one| matches!(one, Standing::Held(_)));
    if count(|one| matches!(one, Standing::Done)) == standings.len() {
        return Next::Done;
    }
    let going = count(|one| matches!(one, Standing::Planned | Standing::UnderWay | Standing::Switched));
    if going == 0 {
        let held = if held > 0 { format!(", and {held} wait for those") } else { String::new() };
        return Next::Failed(format!("{failed} of {} moves failed{held}", standings.len()));
    }
    let open = plan.moves.iter().zip(standings).filter(|(_, standing)| !standing.lets_on());
    let wave = open.map(|(decided, _)| decided.wave).min();
    let under_way = count(|one| matches!(one, Standing::UnderWay));
    let mut last: BTreeMap<&str, usize> = BTreeMap::new();
    let mut begin = Vec::new();
    for (at, (decided, standing)) in plan.moves.iter().zip(standings).enumerate() {
        let before = last.insert(&decided.partition, at);
        let over = before.is_none_or(|before| standings[before] == Standing::Done);
        if *standing == Standing::Planned && Some(decided.wave) == wave && over {
            begin.push(at);
        }
    }
    begin.truncate(MOST_UNDER_WAY.saturating_sub(under_way));
    Next::Begin(begin)
}

#[cfg(test)]
mod tests {
    use super::super::kept::tests::plan;
    use super::*;

    fn failed() -> Standing {
        Standing::Failed("FAILED: no".to_owned())
    }

    #[test]
    fn a_wave_begins_when_those_before_it_have_switched_or_cannot_be_made() {
        let plan = plan(&[("p", "a", "b", 0), ("q", "a", "c", 0), ("r", "a", "d", 1)]);
        let [planned, going, switched] = [Standing::Planned, Standing::UnderWay, Standing::Switched];
        let begun = |of: [&Standing; 3]| next(&plan, &of.map(Clone::clone));
        assert_eq!(begun([&planned, &planned, &planned]), Next::Begin(vec![0, 1]));
        assert_eq!(begun([&going, &switched, &planned]), Next::Begin(vec![]));
        assert_eq!(begun([&switched, &Standing::Done, &planned]), Next::Begin(vec![2]));
        assert_eq!(begun([&failed(), &switched, &planned]), Next::Begin(vec![2]));
        assert_eq!(begun([&failed(), &switched, &Standing::Done]), Next::Begin(vec![]), "probation goes on");
        let done = Standing::Done;
        assert_eq!(begun([&done, &done, &done]), Next::Done);
        assert_eq!(begun([&failed(), &done, &done]), Next::Failed("1 of 3 moves failed".to_owned()));
    }

    #[test]
    fn a_move_waits_for_an_earlier_one_of_its_partition_and_is_held_if_that_fails() {
        let mut plan = plan(&[("p", "a", "b", 0), ("p", "c", "d", 1), ("p", "e", "f", 2)]);
        let none = BTreeMap::new();
        assert_eq!(standings(&plan, &none), [Standing::Planned, Standing::Planned, Standing::Planned]);
        let probation = [Standing::Switched, Standing::Planned, Standing::Planned];
        assert_eq!(next(&plan, &probation), Next::Begin(vec![]));
        plan.moves[0].refused = Some("there is no such node".to_owned());
        let held = standings(&plan, &none);
        assert_eq!(held[1..], [Standing::Held(0), Standing::Held(1)]);
        let Next::Failed(why) = next(&plan, &held) else { panic!("{held:?}") };
        assert_eq!(why, "1 of 3 moves failed, and 2 wait for those");
        plan.retry(&[]).unwrap_err();
        plan.moves[0].refused = None;
        assert_eq!(next(&plan, &standings(&plan, &none)), Next::Begin(vec![0]));
    }

    #[test]
    fn no_more_is_under_way_than_may_be() {
        let names: Vec<String> = (0..100).map(|at| format!("p{at}")).collect();
        let moves: Vec<(&str, &str, &str, u32)> =
            names.iter().map(|name| (name.as_str(), "a", "b", 0)).collect();
        let plan = plan(&moves);
        let mut standings = vec![Standing::Planned; 100];
        standings[..10].fill(Standing::UnderWay);
        let Next::Begin(begin) = next(&plan, &standings) else { panic!("it goes on") };
        assert_eq!((begin.len(), begin[0]), (MOST_UNDER_WAY - 10, 10));
    }
}
