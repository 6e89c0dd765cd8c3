//! Migrations by a runner that dies: wherever that is, the next one brings them to their end, nothing happens twice, and
//! the diary has all of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fake;
mod limits;
mod scene;

use fake::When;
use isotherm_migration::{Fence, Switch};
use isotherm_runner::{Kind, Limits};
use scene::{Countdown, Deaths, Scene, Way, spec, system};

const FENCE_AT_SWITCH: Way = Way { switch: Switch::Gated, fence: Fence::AtSwitch, repair: false };
const FENCE_BEFORE_COPY: Way = Way { switch: Switch::Gated, fence: Fence::BeforeCopy, repair: false };
const ENGINE: Way = Way { switch: Switch::EngineAtomic, fence: Fence::AtSwitch, repair: false };
const REPAIR: Way = Way { switch: Switch::Gated, fence: Fence::AtSwitch, repair: true };

/// Where the runner dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    Never,
    Call(usize, When),
    BeforeWrite(u64),
    AfterPhase(u64),
}

/// A migration of which the runner dies at a point. Returns whether it came to that, and the phases that were told.
fn live(way: Way, point: Point) -> (bool, Vec<String>) {
    let mut deaths = Deaths::default();
    match point {
        Point::Never | Point::Call(..) => {}
        Point::BeforeWrite(at) => deaths.before_write = Countdown::new(at),
        Point::AfterPhase(at) => deaths.after_phase = Countdown::new(at),
    }
    let mut scene = Scene::new(way, &[("s", 4)], Limits::default(), deaths);
    if let Point::Call(at, when) = point {
        scene.world().strike = Some((at, when));
    }
    scene.begin(&spec("m1", &system("s"), way, "a", "b"));
    scene.end_all();
    let (phases, lines) = (scene.phases("m1"), scene.lines("m1"));
    let world = scene.world();
    let case = format!("{way:?} {point:?}: {phases:?} {:?}", world.heard);
    assert_eq!(world.violations, [""; 0], "{case}");
    assert!(world.parts["s/m1"].is_moved(), "{:?} {case}", world.parts);
    assert_eq!(
        (phases.first(), phases.last()),
        (Some(&"PREFLIGHT".into()), Some(&"COMPLETED".into())),
        "{case}"
    );
    // A repair has no probation, and need not be told as switched.
    let after =
        if way.repair { &["RETIRING", "COMPLETED"][..] } else { &["SWITCHED", "RETIRING", "COMPLETED"] };
    for phase in after {
        assert_eq!(phases.iter().filter(|told| told == phase).count(), 1, "{phase} once: {case}");
    }
    assert!(phases.windows(2).all(|two| two[0] != two[1]), "a phase is told once: {case}");
    assert!(lines.windows(2).all(|two| two[0].number + 1 == two[1].number), "no line is lost: {lines:#?}");
    let wanted = lines.iter().filter(|line| line.kind == Kind::Wanted).count();
    assert_eq!((wanted, lines[0].kind, &*lines[0].who), (1, Kind::Wanted, "ann"), "{case}");
    (scene.died > 0, phases)
}

/// Lives once for each point there is, up to the first that it does not come to. Returns how many there were.
fn dies_at_each(way: Way, point: impl Fn(u64) -> Point) -> u64 {
    (0..200).find(|at| !live(way, point(*at)).0).unwrap()
}

fn dies_everywhere(way: Way, order: &[&str]) {
    let (died, phases) = live(way, Point::Never);
    assert_eq!((died, phases), (false, order.iter().map(|phase| (*phase).to_owned()).collect()));
    // Each phase has a call but three: the open gate, the probation, and the end.
    let least = order.len() as u64;
    for when in [When::Before, When::After] {
        let calls = dies_at_each(way, |at| Point::Call(at as usize, when));
        assert!(calls + 3 >= least, "{calls} calls in {least} phases");
    }
    let written = dies_at_each(way, Point::AfterPhase);
    assert_eq!(written, least, "a death after each phase");
    let writes = dies_at_each(way, Point::BeforeWrite);
    assert!(writes > least, "{writes} writes in {least} phases");
    println!("{way:?}: {writes} writes, {written} phases");
}

#[test]
fn a_gated_move_ends_wherever_the_runner_dies() {
    let order = "PREFLIGHT PREPARING REPLICATING CATCHING_UP VERIFYING READY FENCING COMMITTING SWITCHED RETIRING COMPLETED";
    dies_everywhere(FENCE_AT_SWITCH, &order.split(' ').collect::<Vec<_>>());
}

#[test]
fn a_move_behind_a_fence_ends_wherever_the_runner_dies() {
    let order = "PREFLIGHT PREPARING FENCING REPLICATING CATCHING_UP VERIFYING COMMITTING SWITCHED RETIRING COMPLETED";
    dies_everywhere(FENCE_BEFORE_COPY, &order.split(' ').collect::<Vec<_>>());
}

#[test]
fn a_move_by_an_engine_ends_wherever_the_runner_dies() {
    let order = "PREFLIGHT PREPARING REPLICATING SWITCHED RETIRING COMPLETED";
    dies_everywhere(ENGINE, &order.split(' ').collect::<Vec<_>>());
}

#[test]
fn a_repair_ends_wherever_the_runner_dies() {
    let order = "PREFLIGHT PREPARING REPAIRING CATCHING_UP VERIFYING COMMITTING RETIRING COMPLETED";
    dies_everywhere(REPAIR, &order.split(' ').collect::<Vec<_>>());
}

#[test]
fn a_call_that_nobody_has_written_is_seen() {
    let scene = Scene::new(ENGINE, &[("s", 4)], Limits::default(), Deaths::default());
    scene.call(&spec("m1", &system("s"), ENGINE, "a", "b"));
    assert_eq!(scene.world().violations, ["m1/validate/-/1 came before its intent was written"]);
}
