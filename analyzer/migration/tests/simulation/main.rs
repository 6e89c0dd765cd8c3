//! Migrations against a store, an adapter, a network and a controller that all fail, by seeds.
//!
//! Nothing here is the machine's own opinion: the store knows which copy takes writes, the clients know which writes
//! they were promised, and both are asked at every tick. A seed that fails prints the line that shows it again.

mod adapter;
mod chance;
mod flaw;
mod scenario;
mod store;
mod world;

use chance::Chance;
use flaw::Flaw;
use isotherm_migration::{Phase, StepKind};
use scenario::{Scenario, path_name};
use std::collections::BTreeMap;
use world::World;

/// Seeds of a run. `ISOTHERM_MIGRATION_SEEDS` has more of them run.
const SEEDS: u64 = 4_000;

/// What became of a seed.
struct Outcome {
    path: &'static str,
    phase: Phase,
    events: u64,
    violations: Vec<String>,
}

fn live(seed: u64, flaw: Flaw, verbose: bool) -> Outcome {
    let mut chance = Chance::new(seed);
    let scenario = Scenario::new(&mut chance);
    let mut world = World::new(&scenario, chance, flaw, verbose);
    let violations = world.run();
    Outcome {
        path: path_name(scenario.spec.path()),
        phase: world.journal.phase(),
        events: world.events,
        violations,
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn every_seed_ends_as_told_with_nothing_lost_and_nothing_left() {
    if let Some(seed) = number("ISOTHERM_MIGRATION_SEED") {
        let outcome = live(seed, Flaw::None, true);
        assert_eq!(outcome.violations, [""; 0], "seed {seed}, {}", outcome.path);
        return;
    }
    let seeds = number("ISOTHERM_MIGRATION_SEEDS").unwrap_or(SEEDS);
    let mut ends: BTreeMap<(&str, Phase), u64> = BTreeMap::new();
    let mut events = 0;
    let mut failed = Vec::new();
    for seed in 0..seeds {
        let outcome = live(seed, Flaw::None, false);
        if !outcome.violations.is_empty() {
            failed.push(format!(
                "seed {seed}, {}: {:?}\n  ISOTHERM_MIGRATION_SEED={seed} cargo test -p isotherm-migration \
                 --test simulation every_seed -- --nocapture",
                outcome.path, outcome.violations,
            ));
        }
        *ends.entry((outcome.path, outcome.phase)).or_default() += 1;
        events += outcome.events;
    }
    assert!(
        failed.is_empty(),
        "{} seeds failed; to see one again:\n{}",
        failed.len(),
        failed[..failed.len().min(9)].join("\n")
    );
    println!("{seeds} seeds, {events} events: {ends:#?}");
    // A simulation in which nothing happens proves nothing: all ends are met on all paths that have them.
    for path in ["fence at switch", "fence before copy", "engine", "repair"] {
        for phase in [Phase::Completed, Phase::Cancelled, Phase::Failed] {
            assert!(ends.contains_key(&(path, phase)), "no {phase:?} on the path {path}");
        }
    }
    for path in ["fence at switch", "fence before copy", "engine"] {
        assert!(ends.contains_key(&(path, Phase::Reversed)), "nothing was reversed on the path {path}");
    }
    assert!(StepKind::ALL.len() == 11, "a new step has to be simulated");
}

/// The first seed on which a flaw shows, and as what.
fn found(flaw: Flaw) -> Option<(u64, Vec<String>)> {
    (0..SEEDS).map(|seed| (seed, live(seed, flaw, false).violations)).find(|(_, found)| !found.is_empty())
}

#[test]
fn flaws_of_adapters_and_runners_are_seen() {
    for flaw in [
        Flaw::SkipsEpochs,
        Flaw::SkipsTerms,
        Flaw::ForgetsRequests,
        Flaw::AbortLeavesSlot,
        Flaw::VerifiesBlindly,
        Flaw::UnknownIsRefused,
        Flaw::UnknownIsDone,
        Flaw::CallsBeforeWriting,
    ] {
        println!("{flaw:?}: {:?}", found(flaw));
    }
}
