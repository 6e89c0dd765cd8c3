use super::super::located::tests::{at, known, node, partition};
use super::*;
use isotherm_proto::place_to_wire;

fn watching(targets: &[&str]) -> Watching {
    Watching { targets: targets.iter().map(|name| node(name)).collect(), ..Watching::default() }
}

/// Nodes that are whole, and places with their file; none for one of which only the name is said.
fn message(revision: u64, whole: &[&str], places: &[(&str, &str, Option<&str>)]) -> wire::Locators {
    let target = |name: &&str| wire::Target { system: "s".into(), node: (*name).into() };
    let place = |(on, id, file): &(&str, &str, Option<&str>)| {
        let at: Vec<_> = file.iter().map(|file| at(&[file])).collect();
        place_to_wire(&node(on), &partition(id), &at)
    };
    wire::Locators {
        revision,
        whole: whole.iter().map(target).collect(),
        locators: places.iter().map(place).collect(),
        ..wire::Locators::default()
    }
}

fn files(known: &Known) -> Vec<(String, String, String)> {
    let one = |(on, id, at): (&NodeId, &isotherm_model::PartitionId, &[isotherm_proto::Locator])| {
        let file = at.first().map(|at| at.files.join(" ")).unwrap_or_default();
        (on.name().to_owned(), id.name().to_owned(), file)
    };
    known.all().map(one).collect()
}

fn row(on: &str, id: &str, file: &str) -> (String, String, String) {
    (on.to_owned(), id.to_owned(), file.to_owned())
}

#[test]
fn a_node_is_said_anew_and_then_changes() {
    let Ways { mut follower, known: newest, .. } =
        ways(known(&[("n", "1", "/old/1"), ("n", "9", "/old/9")]), watching(&["n", "m"]));
    follower.begin();
    assert!(follower.take(message(6, &["n"], &[("n", "1", Some("/d/1")), ("n", "2", Some("/d/2"))])));
    assert_eq!(files(&newest.borrow()), [row("n", "1", "/d/1"), row("n", "2", "/d/2")]);
    let mut change = message(7, &["m"], &[("m", "1", Some("/m/1")), ("n", "3", Some("/d/3"))]);
    change.removed = vec![place_to_wire(&node("n"), &partition("2"), &[])];
    assert!(follower.take(change));
    let rows = [row("m", "1", "/m/1"), row("n", "1", "/d/1"), row("n", "3", "/d/3")];
    assert_eq!(files(&newest.borrow()), rows);
    assert_eq!(newest.borrow().revision(), 7);
    // Of a node that is no target nothing is kept.
    assert!(follower.take(message(8, &["x"], &[("x", "1", Some("/x/1"))])));
    assert_eq!(files(&newest.borrow()), rows);
}

#[test]
fn what_nobody_can_say_at_this_moment_still_holds() {
    let Ways { mut follower, known: newest, .. } = ways(known(&[("n", "1", "/d/1")]), watching(&["n"]));
    follower.begin();
    assert!(follower.take(message(6, &["n"], &[("n", "1", None), ("n", "2", None)])));
    assert_eq!(files(&newest.borrow()), [row("n", "1", "/d/1"), row("n", "2", "")]);
}

#[test]
fn a_message_counts_as_a_whole() {
    let Ways { mut follower, known: newest, .. } = ways(Known::default(), watching(&["n"]));
    follower.begin();
    let mut first = message(6, &["n"], &[("n", "1", Some("/d/1"))]);
    first.more = true;
    assert!(follower.take(first));
    assert_eq!(newest.borrow().all().count(), 0);
    assert!(follower.take(message(6, &[], &[("n", "2", Some("/d/2"))])));
    assert_eq!(newest.borrow().all().count(), 2);
}

#[test]
fn what_contradicts_itself_changes_nothing_until_the_next_stream() {
    let good = || message(6, &["n"], &[("n", "1", Some("/d/1"))]);
    let parts = |then: wire::Locators| {
        let mut first = good();
        first.more = true;
        vec![first, then]
    };
    let cases = [
        (vec![message(6, &[], &[("n", "1", Some("/d/1"))])], "nothing was said of it before"),
        (vec![good(), message(5, &[], &[])], "revision 5 came after 6"),
        (parts(message(7, &[], &[])), "revisions 6 and 7"),
        (parts(message(6, &[], &[("n", "1", Some("/d/2"))])), "is in two parts"),
        (vec![message(6, &["n"], &[("n", "1", Some("d/1"))])], "expected an absolute path"),
    ];
    for (messages, why) in cases {
        let Ways { mut follower, known: newest, .. } = ways(Known::default(), watching(&["n"]));
        follower.begin();
        let taken: Vec<bool> = messages.into_iter().map(|message| follower.take(message)).collect();
        assert_eq!(taken.last(), Some(&false), "{why}");
        assert!(follower.watching().problem.contains(why), "{}", follower.watching().problem);
        let before = newest.borrow().clone();
        assert!(!follower.take(message(9, &["n"], &[])), "nothing more of this stream is believed");
        assert_eq!(*newest.borrow(), before);
        follower.begin();
        assert!(follower.take(message(1, &["n"], &[("n", "1", Some("/d/1"))])), "another stream begins anew");
        assert_eq!(follower.watching().problem, "");
    }
}
