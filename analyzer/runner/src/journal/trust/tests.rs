use super::*;
use crate::journal::Diary;
use crate::journal::tests::entry;

fn lines(journal: &Journal) -> Vec<Line> {
    journal.reading().diary(&Diary { limit: 50, ..Diary::default() }).unwrap()
}

#[test]
fn a_rollback_demotes_a_system_once_and_until_somebody_promotes_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    for (id, ended_ms) in [("m1", 9), ("m2", 12)] {
        let mut one = entry(id, id, journal.term());
        journal.begin(&one, &[]).unwrap();
        one.about.ended_ms = Some(ended_ms);
        one.about.rolled_back = true;
        journal.write(&one, &[]).unwrap();
    }
    drop(journal);
    let mut journal = Journal::open(dir.path()).unwrap();
    let known = journal.reading().distrust().unwrap();
    assert_eq!(known.len(), 1);
    assert_eq!((known[0].system.as_str(), known[0].cause, known[0].at_ms), ("s", Cause::Demoted, 9));
    assert!(known[0].why.contains("m1"), "{}", known[0].why);
    let told = lines(&journal);
    assert_eq!(told.len(), 1, "it is told once: {told:?}");
    assert!(told[0].what.contains("waits for approval") && told[0].kind == Kind::Noticed);

    let promoted = Line::own(20, Kind::Wanted, "promote s").by("ann", "the disk was changed");
    journal.trust(&SystemId::new("s").unwrap(), &Trust::Promoted, &[promoted]).unwrap();
    assert!(journal.reading().distrust().unwrap().is_empty());
}

#[test]
fn another_mover_is_kept_by_the_last_thing_that_was_seen() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    let system = SystemId::new("s").unwrap();
    for (at_ms, why) in [(5, "p went"), (8, "q went")] {
        let trust = Trust::OtherMover { at_ms, why: why.to_owned() };
        journal.trust(&system, &trust, &[]).unwrap();
    }
    journal.trust(&system, &Trust::Promoted, &[]).unwrap();
    let known = journal.reading().distrust().unwrap();
    let last = Distrust { system: "s".into(), cause: Cause::OtherMover, at_ms: 8, why: "q went".into() };
    assert_eq!(known, [last], "to promote a system does not make others go away");
}
