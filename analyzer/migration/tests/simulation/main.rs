//! Migrations against a store, an adapter, a network and a controller that all fail, by seeds.
//!
//! Nothing here is the machine's own opinion: the store knows which copy takes writes, the clients know which writes
//! they were promised, and both are asked at every tick. A seed that fails prints the line that shows it again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod adapter;
mod chance;
mod flaw;
mod grounds;
mod scenario;
mod store;
mod world;

use chance::Chance;
use flaw::{AdapterFlaw, RunnerFlaw};
use isotherm_migration::{Path, Phase};
use scenario::{Scenario, path_name};
use std::collections::{BTreeMap, BTreeSet};
use world::{Watchers, Watching, World};

/// Seeds of a run. `ISOTHERM_MIGRATION_SEEDS` has more of them run.
const SEEDS: u64 = 5_000;

/// Ways that only trouble at the right moment leads to. A simulation that misses them proves little.
const RARE_WAYS: [(Phase, Phase); 9] = [
    // Over the budget, or a start.
    (Phase::Fencing, Phase::Unfencing),
    // It surely has not switched.
    (Phase::Committing, Phase::Unfencing),
    // It has switched after all.
    (Phase::Unfencing, Phase::Switched),
    // The engine was faster than its cancellation.
    (Phase::Aborting, Phase::Switched),
    (Phase::Unfencing, Phase::Ready),
    // Writes went on that the copy was not compared with.
    (Phase::Unfencing, Phase::Verifying),
    (Phase::Unfencing, Phase::Aborting),
    (Phase::Switched, Phase::Reversing),
    (Phase::NeedsOperator, Phase::Committing),
];

/// What is wrong with the adapter, and with the runner.
type Flaws = (AdapterFlaw, RunnerFlaw);

/// What became of a seed.
struct Life {
    path: &'static str,
    phase: Phase,
    events: u64,
    ways: BTreeSet<(Phase, Phase)>,
    course: Vec<String>,
    violations: Vec<String>,
}

fn live(seed: u64, flaws: Flaws, verbose: bool) -> Life {
    let mut chance = Chance::new(seed);
    let scenario = Scenario::new(&mut chance);
    lives(&scenario, chance, flaws, Watchers::new(Watching::Usual, seed), verbose)
}

fn lives(scenario: &Scenario, chance: Chance, flaws: Flaws, watchers: Watchers, verbose: bool) -> Life {
    let mut world = World::new(scenario, chance, flaws, watchers, verbose);
    let violations = world.run();
    Life {
        path: path_name(scenario.spec.path()),
        phase: world.journal.phase(),
        events: world.events,
        ways: world.ways,
        course: world.course,
        violations,
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn every_seed_ends_as_told_with_nothing_lost_and_nothing_left() {
    let flawless = (AdapterFlaw::None, RunnerFlaw::None);
    if let Some(seed) = number("ISOTHERM_MIGRATION_SEED") {
        let life = live(seed, flawless, true);
        assert_eq!(life.violations, [""; 0], "seed {seed}, {}", life.path);
        return;
    }
    let seeds = number("ISOTHERM_MIGRATION_SEEDS").unwrap_or(SEEDS);
    let mut ends: BTreeMap<(&str, Phase), u64> = BTreeMap::new();
    let mut ways = BTreeSet::new();
    let mut events = 0;
    let mut failed = Vec::new();
    for seed in 0..seeds {
        let life = live(seed, flawless, false);
        if !life.violations.is_empty() {
            failed.push(format!(
                "seed {seed}, {}: {:?}\n  ISOTHERM_MIGRATION_SEED={seed} cargo test -p isotherm-migration \
                 --test simulation every_seed -- --nocapture",
                life.path, life.violations,
            ));
        }
        *ends.entry((life.path, life.phase)).or_default() += 1;
        ways.extend(life.ways);
        events += life.events;
    }
    let shown = failed[..failed.len().min(9)].join("\n");
    assert!(failed.is_empty(), "{} seeds failed; to see one again:\n{shown}", failed.len());
    println!("{seeds} seeds, {events} events");
    for ((path, phase), count) in &ends {
        println!("{path}: {phase:?} {count}");
    }
    if seeds >= SEEDS {
        meets_all(&ends, &ways);
    }
}

/// A simulation in which nothing happens proves nothing.
fn meets_all(ends: &BTreeMap<(&str, Phase), u64>, ways: &BTreeSet<(Phase, Phase)>) {
    for path in ["fence at switch", "fence before copy", "engine", "repair"] {
        for phase in [Phase::Completed, Phase::Cancelled, Phase::Failed] {
            assert!(ends.contains_key(&(path, phase)), "no {phase:?} on the path {path}");
        }
        let reversed = ends.contains_key(&(path, Phase::Reversed));
        assert_eq!(reversed, path != "repair", "reversed on the path {path}");
    }
    for way in RARE_WAYS {
        assert!(ways.contains(&way), "no seed went from {:?} to {:?}", way.0, way.1);
    }
}

/// The first seed on which flaws show, and as what.
fn shown(flaws: Flaws, seeds: u64) -> Option<(u64, Vec<String>)> {
    (0..seeds).map(|seed| (seed, live(seed, flaws, false).violations)).find(|(_, found)| !found.is_empty())
}

#[test]
fn flaws_of_adapters_and_runners_are_seen() {
    for flaws in [
        (AdapterFlaw::SkipsEpochs, RunnerFlaw::None),
        (AdapterFlaw::SkipsTerms, RunnerFlaw::None),
        (AdapterFlaw::AbortLeavesSlot, RunnerFlaw::None),
        (AdapterFlaw::VerifiesBlindly, RunnerFlaw::None),
        (AdapterFlaw::UnfencesBlindly, RunnerFlaw::UnknownIsRefused),
        (AdapterFlaw::None, RunnerFlaw::UnknownIsDone),
        (AdapterFlaw::None, RunnerFlaw::CallsBeforeWriting),
    ] {
        let found = shown(flaws, SEEDS);
        println!("{flaws:?}: {found:?}");
        assert!(found.is_some(), "{flaws:?} shows on none of {SEEDS} seeds");
    }
}

/// Flaws that harm nobody but by bad luck: the check of their own rule sees them, whatever comes of it.
#[test]
fn what_a_switch_and_a_removal_need_is_checked() {
    for (flaws, violation) in [
        ((AdapterFlaw::KeepsVerification, RunnerFlaw::None), "a switch without a comparison"),
        ((AdapterFlaw::VerifiesBlindly, RunnerFlaw::None), "a switch without a comparison"),
        ((AdapterFlaw::TakesAnyWarrant, RunnerFlaw::UnknownIsVerified), "a switch without a comparison"),
        ((AdapterFlaw::None, RunnerFlaw::UnknownIsVerified), "a removal without a comparison"),
        ((AdapterFlaw::None, RunnerFlaw::RetiresEarly), "in a probation that ends"),
        ((AdapterFlaw::None, RunnerFlaw::LooksAway), "a removal without a look"),
    ] {
        let found = (0..500)
            .map(|seed| (seed, live(seed, flaws, false).violations))
            .find(|(_, found)| found.iter().any(|found| found.contains(violation)));
        println!("{flaws:?}: {found:?}");
        assert!(found.is_some(), "{flaws:?} does not show as {violation:?}");
    }
}

/// The first seed of `seeds` that differs by its watchers, and where; beside it how many were compared.
fn differs_by_watchers(flaws: Flaws, seeds: u64) -> (u64, Option<String>) {
    let mut compared = 0;
    for seed in 0..seeds {
        let course = |watching| {
            let mut chance = Chance::new(seed);
            let mut scenario = Scenario::new(&mut chance);
            // An engine that hands over says so, and cannot be cancelled any more: what is wished then depends on who
            // has heard it.
            if scenario.spec.path() == Path::Engine {
                scenario.operator = 0;
            }
            lives(&scenario, chance, flaws, Watchers::new(watching, seed), false).course
        };
        let usual = course(Watching::Usual);
        for watching in [Watching::Nobody, Watching::Crowd] {
            compared += 1;
            let other = course(watching);
            if usual != other {
                let at = usual.iter().zip(&other).position(|(one, other)| one != other);
                let at = at.unwrap_or(usual.len().min(other.len()));
                let differ = format!("{:?} and {:?}", usual.get(at), other.get(at));
                return (compared, Some(format!("seed {seed}, {watching:?}: {differ}")));
            }
        }
    }
    (compared, None)
}

/// A stream of progress that breaks, never tells anything, or is opened thrice, changes nothing of what is done.
#[test]
fn watchers_do_not_matter() {
    let flawless = (AdapterFlaw::None, RunnerFlaw::None);
    assert_eq!(differs_by_watchers(flawless, 1_000), (2_000, None));
    for flaws in [
        (AdapterFlaw::StopsUnwatched, RunnerFlaw::None),
        (AdapterFlaw::None, RunnerFlaw::EndOfWatchIsFailure),
    ] {
        let (_, found) = differs_by_watchers(flaws, 100);
        println!("{flaws:?}: {found:?}");
        assert!(found.is_some(), "{flaws:?} makes no difference");
    }
}

/// Epochs hold where one of the other safeguards does not. Whoever weakens them finds it here.
#[test]
fn epochs_are_a_second_line_of_defence() {
    for flaws in
        [(AdapterFlaw::ForgetsRequests, RunnerFlaw::None), (AdapterFlaw::None, RunnerFlaw::UnknownIsRefused)]
    {
        assert_eq!(shown(flaws, 500), None, "{flaws:?}");
    }
}
