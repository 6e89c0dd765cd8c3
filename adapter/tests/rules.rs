//! The rules of the ledger, and that it keeps what they are about.

#![allow(clippy::unwrap_used, reason = "tests")]

use isotherm_adapter::contract::{Answer, Asked, Migration, Refusal};
use isotherm_adapter::ledger::record::Partition;
use isotherm_adapter::ledger::rules::{self, Leaders};
use isotherm_adapter::ledger::{Admitted, Ledger, LedgerError, LedgerNotes, Look, Terms};
use isotherm_adapter::store::Notes as _;
use isotherm_migration::{
    Done, Epoch, MigrationId, Origin, Position, Proposal, Reason, Side, Step, Term, Verification, Warrant,
};
use isotherm_model::{NodeId, PartitionId, SystemId};
use std::collections::BTreeSet;
use std::sync::Arc;
use tempfile::TempDir;

const TERMS: Terms = Terms { max_concurrent: 1, engine: false };

fn system() -> SystemId {
    SystemId::new("demo").unwrap()
}

fn node(name: &str) -> NodeId {
    NodeId::new(system(), name).unwrap()
}

fn migration(id: &str, partition: &str) -> Migration {
    Migration {
        id: MigrationId::new(id).unwrap(),
        partition: PartitionId::new(system(), partition).unwrap(),
        origin: Origin::Move { source: node("a") },
        target: node("b"),
    }
}

fn asked(id: &str, new: u64, step: Step) -> Asked {
    Asked {
        request_id: format!("{id}/{}/{new}", step.kind()),
        term: Term(1),
        epochs: Some(Proposal { expected: Epoch(1), new: Epoch(new) }),
        migration: migration(id, "p"),
        step,
    }
}

struct Bench {
    folder: TempDir,
    ledger: Arc<Ledger>,
}

impl Bench {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let ledger = Arc::new(Ledger::open(folder.path(), &system(), Leaders::Matter).unwrap());
        Self { folder, ledger }
    }

    /// As after a crash.
    fn again(self) -> Self {
        drop(self.ledger);
        let ledger = Arc::new(Ledger::open(self.folder.path(), &system(), Leaders::Matter).unwrap());
        Self { folder: self.folder, ledger }
    }

    fn admit(&self, asked: &Asked) -> Admitted {
        let holders = [node("a")];
        let look = Look { moment: self.ledger.moment(), holders: &holders };
        self.ledger.admit(asked, &look, TERMS, 0).unwrap()
    }

    fn reason(&self, asked: &Asked) -> Reason {
        match self.admit(asked) {
            Admitted::Refused(refusal) => refusal.reason,
            other @ (Admitted::Begin { .. } | Admitted::Again(_)) => {
                panic!("{} was not refused: {other:?}", asked.request_id)
            }
        }
    }

    fn settle(&self, asked: &Asked, done: Done) {
        self.ledger.settle(asked, &Answer::Done(done), None, TERMS, 0).unwrap();
    }

    fn done(&self, asked: &Asked, done: Done) {
        assert!(matches!(self.admit(asked), Admitted::Begin { .. }), "{}", asked.request_id);
        self.settle(asked, done);
    }
}

#[test]
fn a_lower_term_is_refused_also_after_a_crash() {
    let bench = Bench::new();
    assert!(bench.ledger.hear(Term(u64::MAX)).unwrap().is_ok());
    let bench = bench.again();
    let refusal = bench.ledger.hear(Term(7)).unwrap().unwrap_err();
    assert_eq!(refusal.reason, Reason::StaleTerm { seen: Term(u64::MAX) });
    assert_eq!(bench.reason(&asked("m", 2, Step::PrepareTarget)), refusal.reason);
}

#[test]
fn a_request_that_is_repeated_has_its_first_answer_also_after_a_crash_and_the_end() {
    let bench = Bench::new();
    let first = asked("m", 2, Step::PrepareTarget);
    assert_eq!(bench.admit(&first), Admitted::Begin { stop: vec![] });
    assert_eq!(bench.admit(&first), Admitted::Again(Answer::Running));
    bench.settle(&first, Done::Prepared);
    bench.done(&asked("m", 3, Step::Abort), Done::Aborted);
    let bench = bench.again();
    let newer = Asked { term: Term(9), ..first };
    assert_eq!(bench.admit(&newer), Admitted::Again(Answer::Done(Done::Prepared)));
    let other = Asked { step: Step::Verify, ..newer };
    assert_eq!(bench.reason(&other), Reason::AlreadyExists);
}

#[test]
fn what_runs_is_known_after_a_crash() {
    let bench = Bench::new();
    let copy = asked("m", 2, Step::StartReplication { resume: None, bytes_per_s: Some(7) });
    bench.admit(&copy);
    let abort = asked("m", 3, Step::Abort);
    assert_eq!(bench.admit(&abort), Admitted::Begin { stop: vec![copy.request_id.clone()] });
    assert_eq!(bench.again().ledger.under_way().unwrap(), [copy, abort]);
}

#[test]
fn epochs_that_do_not_serve_or_are_below_one_proposed_are_refused() {
    let bench = Bench::new();
    bench.done(&asked("m", 5, Step::PrepareTarget), Done::Prepared);
    assert_eq!(bench.reason(&asked("m", 4, Step::Abort)), Reason::StaleEpoch);
    let mut other = asked("m", 9, Step::Abort);
    other.epochs = Some(Proposal { expected: Epoch(2), new: Epoch(9) });
    assert_eq!(bench.reason(&other), Reason::StaleEpoch);
    bench.done(&asked("m", 5, Step::Abort), Done::Aborted);
}

#[test]
fn a_partition_and_the_adapter_have_one_migration_at_a_time() {
    let bench = Bench::new();
    bench.admit(&asked("one", 2, Step::PrepareTarget));
    assert_eq!(bench.reason(&asked("two", 2, Step::PrepareTarget)), Reason::Conflict);
    let elsewhere = Asked { migration: migration("three", "q"), ..asked("three", 2, Step::PrepareTarget) };
    assert!(matches!(bench.reason(&elsewhere), Reason::Throttled { .. }), "max_concurrent is 1");
    assert_eq!(bench.reason(&asked("one", 2, Step::Verify)), Reason::Conflict, "a step runs");
}

#[test]
fn a_switch_needs_its_own_verification_and_the_fence_of_its_epoch() {
    let bench = Bench::new();
    let verification =
        Verification { migration: MigrationId::new("m").unwrap(), epoch: Epoch(1), evidence: "equal".into() };
    let commit = |new, name: &str, verification: &Verification| Asked {
        request_id: name.to_owned(),
        ..asked("m", new, Step::CommitSwitch { warrant: Warrant::Verified(verification.clone()) })
    };
    bench.done(&asked("m", 2, Step::PrepareTarget), Done::Prepared);
    assert_eq!(bench.reason(&commit(2, "unverified", &verification)), Reason::Mismatch);
    bench.done(&asked("m", 2, Step::Verify), Done::Verified(verification.clone()));
    assert_eq!(bench.reason(&commit(2, "unfenced", &verification)), Reason::Conflict);
    bench.done(&asked("m", 2, Step::FenceSource), Done::Fenced { position: Position("1".into()) });
    let other = Verification { evidence: "hearsay".into(), ..verification.clone() };
    assert_eq!(bench.reason(&commit(2, "hearsay", &other)), Reason::Mismatch);
    let bench = bench.again();
    bench.done(&commit(2, "good", &verification), Done::Committed);
    let id = &MigrationId::new("m").unwrap();
    let known = bench.ledger.known(&PartitionId::new(system(), "p").unwrap(), id, None, 0).unwrap().unwrap();
    assert_eq!(known.partition.serving, Epoch(2));
    assert_eq!(rules::side(known.begun.as_ref(), &known.partition), Side::Target);
    let moved = Partition { serving: Epoch(3), highest: Epoch(3), ..known.partition };
    assert_eq!(rules::side(known.begun.as_ref(), &moved), Side::Neither);
}

#[test]
fn an_engine_that_hands_over_while_it_is_to_be_stopped_has_switched() {
    let engine = Terms { engine: true, ..TERMS };
    let bench = Bench::new();
    let copy = asked("m", 2, Step::StartReplication { resume: None, bytes_per_s: None });
    let abort = asked("m", 3, Step::Abort);
    bench.admit(&copy);
    bench.admit(&abort);
    // Both ends were looked at before the engine handed over.
    let stopped = Answer::Refused(Refusal::conflict("stopped, because the start was to be restored"));
    bench.ledger.settle(&copy, &stopped, None, engine, 0).unwrap();
    let gone = Refusal::new(Reason::StaleEpoch, "the slots are not at the source any more");
    bench.ledger.settle_overtaken(&abort, &gone, Some(&[node("b")]), engine, 0).unwrap();
    let bench = bench.again();
    let id = &MigrationId::new("m").unwrap();
    let known = bench.ledger.known(&PartitionId::new(system(), "p").unwrap(), id, None, 0).unwrap().unwrap();
    assert_eq!(
        (known.partition.serving, known.partition.holders.as_slice()),
        (Epoch(3), &["b".to_owned()][..])
    );
    assert_eq!(rules::side(known.begun.as_ref(), &known.partition), Side::Target);
    assert_eq!(bench.admit(&abort), Admitted::Again(Answer::Refused(gone)), "it was refused all the same");
    assert_eq!(bench.reason(&asked("m", 4, Step::Abort)), Reason::StaleEpoch, "and has nothing to restore");
}

#[test]
fn who_moves_without_a_migration_makes_a_new_epoch() {
    let kept = Partition { serving: Epoch(4), highest: Epoch(6), holders: vec!["a".into(), "b".into()] };
    let looked = |told: &[&str], leaders, explains: &[&str]| {
        let told: Vec<NodeId> = told.iter().map(|name| node(name)).collect();
        let explains: BTreeSet<String> = explains.iter().map(|name| (*name).to_owned()).collect();
        rules::looked(Some(&kept), &told, leaders, &explains).serving
    };
    assert_eq!(looked(&["a", "b"], Leaders::Matter, &[]), Epoch(4));
    assert_eq!(looked(&["b", "a"], Leaders::Alike, &[]), Epoch(4));
    assert_eq!(looked(&["b", "a"], Leaders::Matter, &[]), Epoch(7));
    assert_eq!(looked(&["a", "c"], Leaders::Matter, &[]), Epoch(7));
    assert_eq!(looked(&["a", "c"], Leaders::Matter, &["b", "c"]), Epoch(4), "a migration explains it");
    assert_eq!(looked(&["a", "d"], Leaders::Matter, &["b", "c"]), Epoch(7), "not to there");
    // A shard is left for another: `b` followed `a`, and `d` follows `c`.
    assert_eq!(
        looked(&["c", "d"], Leaders::Matter, &["a", "c"]),
        Epoch(4),
        "replicas go with who leads them"
    );
    assert_eq!(
        looked(&["c", "d"], Leaders::Alike, &["a", "c"]),
        Epoch(7),
        "where nobody leads, nobody follows"
    );
    assert_eq!(looked(&["b", "d"], Leaders::Matter, &["a", "c"]), Epoch(7), "a failover is no switch");
}

#[test]
fn a_look_that_is_older_than_a_switch_says_nothing() {
    let bench = Bench::new();
    let partition = PartitionId::new(system(), "p").unwrap();
    let before = bench.ledger.moment();
    bench.done(&asked("m", 2, Step::PrepareTarget), Done::Prepared);
    let holders = [node("somewhere")];
    let seen = |moment| bench.ledger.observe(&[(&partition, Look { moment, holders: &holders })], 0).unwrap();
    assert_eq!(seen(before)[0].serving, Epoch(1));
    assert_eq!(seen(bench.ledger.moment())[0].serving, Epoch(3), "above the one that was proposed");
}

#[test]
fn notes_outlive_a_crash_and_not_the_migration() {
    let bench = Bench::new();
    let notes = |bench: &Bench| LedgerNotes::new(Arc::clone(&bench.ledger), MigrationId::new("m").unwrap());
    bench.done(&asked("m", 2, Step::PrepareTarget), Done::Prepared);
    notes(&bench).set("slot", "iso_m").unwrap();
    let bench = bench.again();
    assert_eq!(notes(&bench).get("slot").unwrap().as_deref(), Some("iso_m"));
    bench.done(&asked("m", 3, Step::Abort), Done::Aborted);
    assert_eq!(notes(&bench).get("slot").unwrap(), None);
}

#[test]
fn a_ledger_has_one_process_and_one_system() {
    let bench = Bench::new();
    let again = Ledger::open(bench.folder.path(), &system(), Leaders::Alike);
    assert!(matches!(again, Err(LedgerError::InUse { .. })));
    let Bench { folder, ledger } = bench;
    drop(ledger);
    let other = Ledger::open(folder.path(), &SystemId::new("other").unwrap(), Leaders::Alike);
    assert!(matches!(other, Err(LedgerError::OtherSystem { .. })));
}
