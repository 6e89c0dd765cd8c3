use super::*;
use crate::diary::Kind;
use isotherm_migration::{Action, Capabilities, Event, Fence, Origin, Policy, Revision, Spec, Switch};
use isotherm_model::{NodeId, PartitionId, SystemId};

pub(super) fn entry(id: &str, partition: &str, term: Term) -> Entry {
    let system = || SystemId::new("s").unwrap();
    let node = |name: &str| NodeId::new(system(), name).unwrap();
    let spec = Spec {
        id: MigrationId::new(id).unwrap(),
        partition: PartitionId::new(system(), partition).unwrap(),
        origin: Origin::Move { source: node("a") },
        target: node("b"),
        revision: Revision(1),
        capabilities: Capabilities {
            switch: Switch::Gated,
            fence: Fence::AtSwitch,
            repair_from_replica: false,
            reverse: false,
        },
        policy: Policy::default(),
    };
    let about = About {
        created_ms: 5,
        ended_ms: None,
        by: "ann".to_owned(),
        reason: "because".to_owned(),
        trigger: Trigger::Manual,
        words: None,
        compared: Vec::new(),
        rolled_back: false,
    };
    Entry { migration: Migration::new(spec, term, Moment(0)).unwrap(), about }
}

fn line(what: &str) -> Line {
    Line::own(7, Kind::Wanted, what)
}

#[test]
fn what_was_written_is_there_after_a_start_under_a_higher_term() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.term(), Term(1));
    let mut one = entry("m1", "p", journal.term());
    journal.begin(&one, &[line("begin")]).unwrap();
    one.migration = one.migration.handle(Event::Admitted, journal.now()).migration;
    one.about.words = Some("not now".to_owned());
    let moment = journal.now();
    journal.write(&one, &[line("preflight"), line("call")]).unwrap();
    drop(journal);

    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.term(), Term(2));
    assert!(journal.now() >= moment, "the clock never falls");
    assert_eq!(journal.unfinished().unwrap(), std::slice::from_ref(&one));
    let reading = journal.reading();
    let lines = reading.diary(&Diary { limit: 10, ..Diary::default() }).unwrap();
    assert_eq!(
        lines.iter().map(|line| line.what.as_str()).collect::<Vec<_>>(),
        ["begin", "preflight", "call"]
    );
    let newer = reading.diary(&Diary { after: lines[0].number, limit: 1, ..Diary::default() }).unwrap();
    assert_eq!(newer, [lines[1].clone()]);
    assert_eq!(reading.migration("m1").unwrap(), Some(one));
    assert_eq!(reading.migration("m2").unwrap(), None);
}

#[test]
fn whoever_has_an_older_term_writes_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut old = Journal::open(dir.path()).unwrap();
    let one = entry("m1", "p", old.term());
    old.begin(&one, &[]).unwrap();
    let mut new = Journal::open(dir.path()).unwrap();
    let refused = old.write(&one, &[line("late")]).unwrap_err();
    assert!(matches!(refused, JournalError::Superseded { theirs: 2, ours: 1 }), "{refused}");
    assert!(old.note(&[line("late")]).is_err() && old.begin(&entry("m2", "q", Term(1)), &[]).is_err());
    new.write(&one, &[line("mine")]).unwrap();
    let lines = new.reading().diary(&Diary { limit: 10, ..Diary::default() }).unwrap();
    assert_eq!(lines.len(), 1);
}

#[test]
fn a_partition_is_moved_by_one_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    let mut one = entry("m1", "p", journal.term());
    journal.begin(&one, &[]).unwrap();
    let refused = journal.begin(&entry("m2", "p", journal.term()), &[line("not written")]).unwrap_err();
    assert_eq!(refused.to_string(), "s/p is being moved already, by migration m1");
    assert!(journal.reading().diary(&Diary { limit: 9, ..Diary::default() }).unwrap().is_empty());
    // It ends, and another one may begin.
    one.migration = one.migration.handle(Event::Wanted(Action::Cancel), journal.now()).migration;
    one.about.ended_ms = Some(9);
    journal.write(&one, &[]).unwrap();
    journal.begin(&entry("m2", "p", journal.term()), &[]).unwrap();
    let listed = |ended| journal.reading().migrations(&Listed { ended, limit: 9 }).unwrap().len();
    assert_eq!((listed(false), listed(true)), (1, 2));
}

#[test]
fn a_freeze_outlives_whoever_wanted_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.frozen().unwrap(), None);
    let freeze = Freeze { since_ms: 1, by: "ann".to_owned(), reason: "the fair".to_owned() };
    journal.freeze(Some(&freeze), line("freeze")).unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.frozen().unwrap(), Some(freeze));
    journal.freeze(None, line("unfreeze")).unwrap();
    assert_eq!(journal.reading().frozen().unwrap(), None);
}

#[test]
fn what_is_no_journal_is_refused_by_its_path() {
    let dir = tempfile::tempdir().unwrap();
    Connection::open(dir.path().join(FILE)).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    let told = Journal::open(dir.path()).unwrap_err().to_string();
    assert!(told.contains(FILE) && told.contains("another program"), "{told}");
    std::fs::remove_file(dir.path().join(FILE)).unwrap();
    drop(Journal::open(dir.path()).unwrap());
    Connection::open(dir.path().join(FILE)).unwrap().pragma_update(None, "user_version", 9).unwrap();
    let told = Journal::open(dir.path()).unwrap_err().to_string();
    assert!(told.contains("version 9"), "{told}");
}

#[test]
fn phases_are_told_in_capitals() {
    assert_eq!(name_of(Phase::NeedsOperator), "NEEDS_OPERATOR");
    assert_eq!(name_of(Phase::Planned), "PLANNED");
}

#[test]
fn repairs_go_before_what_was_wanted_earlier() {
    let about = |created_ms, trigger| About { created_ms, trigger, ..entry("m", "p", Term(1)).about };
    let mut waiting = [
        about(1, Trigger::Gate),
        about(2, Trigger::Manual),
        about(4, Trigger::Failure),
        about(3, Trigger::Failure),
    ];
    waiting.sort_by_key(About::turn);
    assert_eq!(waiting.map(|about| about.created_ms), [3, 4, 1, 2]);
}

#[test]
fn what_is_remembered_of_repairs_is_replaced_and_outlives_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    let system = SystemId::new("s").unwrap();
    assert!(journal.reading().repairs().unwrap().is_empty());
    journal.keep_repairs(&system, "one", &[line("failed")]).unwrap();
    journal.keep_repairs(&system, "two", &[]).unwrap();
    let mut newer = Journal::open(dir.path()).unwrap();
    assert_eq!(newer.reading().repairs().unwrap(), [("s".to_owned(), "two".to_owned())]);
    let refused = journal.keep_repairs(&system, "three", &[]);
    assert!(matches!(refused, Err(JournalError::Superseded { .. })), "{refused:?}");
    newer.begin(&entry("m1", "p", newer.term()), &[]).unwrap();
    let mut repair = entry("m2", "q", newer.term());
    (repair.about.trigger, repair.about.created_ms) = (Trigger::Failure, 9);
    newer.begin(&repair, &[]).unwrap();
    let since = |ms| newer.reading().repaired_since(ms).unwrap();
    assert_eq!((since(9), since(10)), (vec![repair], vec![]), "only what a failure began counts");
}

#[test]
fn what_was_open_at_a_moment_is_told_as_it_was_then() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Reading::new(dir.path().join("none")).migrations_open(7).unwrap().is_empty());
    let mut journal = Journal::open(dir.path()).unwrap();
    let [mut one, other] = ["q", "p"].map(|partition| entry(partition, partition, journal.term()));
    journal.begin(&one, &[]).unwrap();
    journal.begin(&other, &[]).unwrap();
    one.migration = one.migration.handle(Event::Wanted(Action::Cancel), journal.now()).migration;
    one.about.ended_ms = Some(20);
    journal.write(&one, &[]).unwrap();
    let open = |at_ms| -> Vec<String> {
        let entries = journal.reading().migrations_open(at_ms).unwrap();
        entries.iter().map(|entry| entry.migration.spec().partition.name().to_owned()).collect()
    };
    assert!(open(4).is_empty(), "none was begun");
    assert_eq!([open(5), open(19)], [["p", "q"], ["p", "q"]]);
    assert_eq!(open(20), ["p"]);
}
