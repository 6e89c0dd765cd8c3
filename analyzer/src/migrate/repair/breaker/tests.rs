use super::*;
use crate::migrate::repair::book::{Failure, Past};
use isotherm_migration::{
    Action, Capabilities, Event, Fence, Migration, MigrationId, Moment, Origin, Policy, Revision, Spec,
    Switch, Term,
};
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_runner::{About, Trigger};
use proptest::prelude::*;

fn settings(most_nodes: u32, most_share: f64) -> Settings {
    Settings { most_nodes, most_share, breaker_window: Duration::from_secs(60), ..Settings::default() }
}

fn counted(failed: usize, nodes: usize) -> Counted {
    Counted { failed: (0..failed).map(|at| format!("n{at}")).collect(), nodes, in_a_row: 0 }
}

#[test]
fn one_node_alone_is_never_too_many_and_two_are_by_default() {
    for nodes in 1..50 {
        assert_eq!(trips(&counted(1, nodes), &Settings::default()), None);
        assert!(matches!(trips(&counted(2, nodes), &Settings::default()), Some(Trip::Nodes { most: 1, .. })));
    }
    let said = trips(&counted(2, 9), &Settings::default()).unwrap().to_string();
    assert_eq!(said, "2 nodes have failed within 1h, more than 1: n0, n1");
}

#[test]
fn a_share_of_the_nodes_is_too_much_where_their_number_is_not() {
    let said = trips(&counted(2, 9), &settings(5, 0.2)).unwrap().to_string();
    assert_eq!(said, "2 of 9 nodes have failed within 1m, a larger share than 0.2: n0, n1");
    assert_eq!(trips(&counted(2, 10), &settings(5, 0.2)), None);
    assert_eq!(trips(&counted(1, 1), &settings(5, 0.2)), None);
}

#[test]
fn repairs_that_fail_in_a_row_open_it() {
    let of = |in_a_row| trips(&Counted { in_a_row, ..counted(1, 9) }, &Settings::default());
    assert_eq!((of(2), of(3)), (None, Some(Trip::Repairs { failed: 3 })));
}

proptest! {
    /// More failures never close what fewer open.
    #[test]
    fn it_opens_the_sooner_the_more_fails(failed in 0_usize..20, nodes in 1_usize..50, most in 1_u32..9, share in 0.01..1.0) {
        let settings = settings(most, share);
        if trips(&counted(failed, nodes), &settings).is_some() {
            prop_assert!(trips(&counted(failed + 1, nodes), &settings).is_some());
            prop_assert!(failed > 1);
        }
    }
}

#[test]
fn nodes_count_within_the_window_unless_on_purpose_acknowledged_or_back() {
    let mut book = Book::default();
    let mut fail = |name: &str, since_ms: u64, acknowledged: bool| {
        let failure = Failure { since_ms, acknowledged, ..Failure::default() };
        book.failures.insert(name.to_owned(), failure);
    };
    fail("new", 99_950, false);
    fail("waits", 90_000, false);
    fail("old", 40_000, false);
    fail("kept", 90_000, false);
    fail("seen", 90_000, true);
    fail("back", 90_000, false);
    let past = |node: &str, since_ms| Past { node: node.to_owned(), since_ms };
    book.past = vec![past("mended", 90_000), past("long ago", 1_000)];
    let standing = |name: &String| match name.as_str() {
        "kept" => Standing::Maintenance,
        "back" => Standing::Back,
        _ => Standing::Waits,
    };
    let standings = book.failures.keys().map(|name| (name.clone(), standing(name))).collect();
    let counted = failed(&book, &standings, &settings(1, 0.2), 100, 100_000);
    assert_eq!(
        counted,
        ["mended", "waits"],
        "one that is down for less than the hold-down may be no failure"
    );
}

/// A repair that was created and has ended at these times, as the events leave it.
fn repair(created_ms: u64, ended_ms: Option<u64>, events: Vec<Event>) -> Entry {
    let system = || SystemId::new("s").unwrap();
    let node = |name: &str| NodeId::new(system(), name).unwrap();
    let spec = Spec {
        id: MigrationId::new("m").unwrap(),
        partition: PartitionId::new(system(), "1").unwrap(),
        origin: Origin::Repair { dead: node("a") },
        target: node("b"),
        revision: Revision(1),
        capabilities: Capabilities {
            switch: Switch::Gated,
            fence: Fence::AtSwitch,
            repair_from_replica: true,
            reverse: false,
        },
        policy: Policy::default(),
    };
    let mut migration = Migration::new(spec, Term(1), Moment(0)).unwrap();
    for event in events {
        migration = migration.handle(event, Moment(1)).migration;
    }
    let about = About {
        created_ms,
        ended_ms,
        by: "isotherm".to_owned(),
        reason: String::new(),
        trigger: Trigger::Failure,
        words: None,
        compared: Vec::new(),
        rolled_back: false,
    };
    Entry { migration, about }
}

/// One that an adapter will not do: the first call is refused for good.
fn refused(created_ms: u64, ended_ms: u64) -> Entry {
    use isotherm_migration::{Command, Outcome, Reason};
    let planned = repair(created_ms, None, Vec::new());
    let admitted = planned.migration.handle(Event::Admitted, Moment(1));
    let asked = |command: &Command| {
        if let Command::Perform { request, .. } = command { Some(request.id.clone()) } else { None }
    };
    let request = admitted.commands.iter().find_map(asked);
    let event = Event::Answered { request: request.unwrap(), outcome: Outcome::Refused(Reason::Unsupported) };
    let migration = admitted.migration.handle(event, Moment(2)).migration;
    assert!(matches!(migration.end(), Some(End::Failed(_))), "{:?}", migration.phase());
    Entry { about: repair(created_ms, Some(ended_ms), Vec::new()).about, migration }
}

fn cancelled(created_ms: u64, ended_ms: u64) -> Entry {
    let entry = repair(created_ms, Some(ended_ms), vec![Event::Wanted(Action::Cancel)]);
    assert_eq!(entry.migration.end(), Some(&End::Cancelled));
    entry
}

#[test]
fn only_what_failed_by_itself_since_it_was_closed_counts() {
    let all =
        [refused(10, 20), refused(30, 40), cancelled(50, 60), refused(70, 80), repair(90, None, Vec::new())];
    assert_eq!(in_a_row(&all, 0), 3, "what was cancelled or runs says nothing");
    assert_eq!(in_a_row(&all, 30), 2);
    assert_eq!(in_a_row(&all, 71), 0);
}
