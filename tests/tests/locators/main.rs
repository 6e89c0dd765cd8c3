//! Nothing is configured twice: an agent that knows only who listens where counts by the locators of a real adapter.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod boundary;
mod scene;

use scene::Scene;

/// Every volume is counted on each of its nodes, though no rule names one; also where it has gone, and after a restart
/// without anybody to ask.
#[test]
fn volumes_are_counted_wherever_they_go_and_nothing_is_configured_twice() {
    let name = "volumes_are_counted_wherever_they_go_and_nothing_is_configured_twice";
    let Some(mut scene) = Scene::set(name) else { return };
    scene.start_analyzer();
    scene.start_agent();
    let first = scene.locators_in_force(8);
    scene.counts_are_the_truth_of(scene.load(400));
    scene.says_where_rules_come_from(first);

    // A replica goes to another server, and is its volume's there from the next windows on.
    let (volume, source, target) = scene.way();
    scene.moves(volume, &source, &target);
    scene.names(volume, &target, true);
    scene.names(volume, &source, false);
    assert!(scene.locators_in_force(8) > first, "where it lies is another revision");
    scene.is_settled();
    scene.counts_are_the_truth_of(scene.load(400));

    // An agent that starts without an analyzer counts as it did before.
    scene.stop_analyzer();
    scene.restart_agent();
    scene.goes_on_by_what_it_kept();
    let load = scene.load(200);
    scene.start_analyzer();
    scene.counts_are_the_truth_of(load);
}
