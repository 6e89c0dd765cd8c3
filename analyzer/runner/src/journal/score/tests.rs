use super::*;
use crate::journal::tests::entry;
use crate::journal::trust::Cause;
use crate::journal::{Diary, Trigger};
use isotherm_migration::{Action, Approval, Event, Migration, Moment, Term};

fn loss(per_hour: f64) -> Option<Loss> {
    Some(Loss { per_hour, gray_per_hour: 0.0 })
}

fn predicted() -> Predicted {
    let benefit = Benefit { expected: 200.0, lower: 150.0, upper: 250.0, lasting_h: 100.0, gray_h: 4.0 };
    Predicted { at_ms: 5, loss: loss(3.0), benefit: Some(benefit), ..Predicted::default() }
}

fn card(measured: Option<Loss>) -> Scorecard {
    let measured = Measured { at_ms: 90, loss: measured, ..Measured::default() };
    Scorecard { predicted: predicted(), measured: Some(measured) }
}

#[test]
fn what_is_saved_is_the_difference_of_losses_over_the_hours_that_were_counted() {
    let saved = card(loss(1.0)).saved().unwrap();
    assert!((saved - 200.0).abs() < 1e-9, "{saved}");
    // Of 3 an hour 1 is of gray nodes, which counts for 4 hours and not for 100.
    let mut gray = card(loss(1.0));
    gray.predicted.loss = Some(Loss { per_hour: 3.0, gray_per_hour: 1.0 });
    assert!((gray.saved().unwrap() - (100.0 + 4.0)).abs() < 1e-9);
}

#[test]
fn the_interval_has_its_bounds_and_nothing_beyond_them() {
    let within = |after: f64| card(loss(after)).within();
    assert_eq!(within(1.5), Some(true), "saves the lower bound");
    assert_eq!(within(0.5), Some(true), "saves the upper bound");
    assert_eq!((within(1.6), within(0.4)), (Some(false), Some(false)));
}

#[test]
fn what_is_not_known_is_neither_saved_nor_within() {
    let unmeasured = card(None);
    assert_eq!((unmeasured.saved(), unmeasured.within()), (None, None));
    let mut manual = card(loss(1.0));
    manual.predicted.benefit = None;
    assert_eq!((manual.saved(), manual.within()), (None, None));
    let pending = Scorecard { predicted: predicted(), measured: None };
    assert_eq!(pending.within(), None);
}

#[test]
fn only_what_was_predicted_can_be_missing() {
    let nothing = Measured::default();
    assert!(Scorecard::unmeasured(&predicted(), &nothing).unwrap().contains("no cycle"));
    let judged = Measured { judged_ms: Some(9), ..Measured::default() };
    assert!(Scorecard::unmeasured(&predicted(), &judged).unwrap().contains("not watched"));
    assert_eq!(Scorecard::unmeasured(&Predicted::default(), &nothing), None);
    assert_eq!(Scorecard::unmeasured(&predicted(), &Measured { loss: loss(1.0), ..nothing }), None);
}

/// A migration of the partition that is its id, proposed and approved, brought to its end.
fn ended(id: &str, end: fn(Migration) -> Migration) -> Entry {
    let mut entry = entry(id, id, Term(1));
    let mut spec = entry.migration.spec().clone();
    spec.policy.approval = Approval::Within { ms: 1_000 };
    entry.migration = end(Migration::new(spec, Term(1), Moment(0)).unwrap());
    entry.about.trigger = Trigger::Gate;
    entry.about.ended_ms = Some(30);
    entry
}

fn completed(migration: Migration) -> Migration {
    // The end is all that a summary looks at.
    let mut kept = serde_json::to_value(&migration).unwrap();
    kept["state"] = serde_json::json!({ "Ended": "Completed" });
    serde_json::from_value(kept).unwrap()
}

fn cancelled(migration: Migration) -> Migration {
    migration.handle(Event::Wanted(Action::Cancel), Moment(1)).migration
}

fn scored(card: Option<Scorecard>) -> Scored {
    Scored { entry: ended("m", completed), card }
}

#[test]
fn auto_is_suggested_after_enough_approved_moves_in_their_intervals() {
    let good = || scored(Some(card(loss(1.0))));
    let system = isotherm_model::SystemId::new("s").unwrap();
    let of = |newest_first: &[Scored]| summaries(newest_first)[&system].clone();
    let enough: Vec<Scored> = (0..ENOUGH).map(|_| good()).collect();
    assert!(of(&enough).suggests_auto() && !of(&enough[1..]).suggests_auto());

    // One that nobody could judge is not counted, and ends nothing.
    let mut with_unknown = enough.clone();
    with_unknown.insert(3, scored(None));
    let told = of(&with_unknown);
    assert_eq!((told.moves, told.judged, told.within, told.earned), (ENOUGH + 1, ENOUGH, ENOUGH, ENOUGH));

    // One outside its interval, or undone, begins the count anew: here the three newest are left of it.
    let mut outside = enough.clone();
    outside.insert(3, scored(Some(card(loss(2.9)))));
    assert_eq!((of(&outside).earned, of(&outside).within), (3, ENOUGH));
    let mut undone = enough.clone();
    let mut rolled_back = Scored { entry: ended("m", cancelled), card: None };
    rolled_back.entry.about.rolled_back = true;
    undone.insert(3, rolled_back);
    assert_eq!((of(&undone).earned, of(&undone).rollbacks, of(&undone).moves), (3, 1, ENOUGH));

    // What people begin, or isotherm without being allowed to, earns nothing.
    let mut manual = good();
    manual.entry.about.trigger = Trigger::Manual;
    assert_eq!((of(&[manual.clone()]).earned, of(&[manual]).within), (0, 1));
    assert_eq!(Summary::default().share_within(), None);
    assert_eq!(of(&outside).share_within(), Some(ENOUGH as f64 / (ENOUGH + 1) as f64));
}

#[test]
fn a_prediction_is_kept_once_and_its_measurement_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    let one = ended("m1", completed);
    journal.begin(&ended("m1", |migration| migration), &[]).unwrap();
    let id = one.migration.spec().id.clone();
    let reading = journal.reading();
    assert_eq!(reading.scorecard("m1").unwrap(), None);
    journal.score(&id, &Score::Predicted(predicted()), &[]).unwrap();
    let late = Predicted { at_ms: 99, ..Predicted::default() };
    journal.score(&id, &Score::Predicted(late), &[]).unwrap();
    assert_eq!(reading.unscored(9).unwrap().len(), 0, "it has not ended");
    journal.write(&one, &[]).unwrap();
    assert_eq!(reading.unscored(9).unwrap()[0].card.as_ref().unwrap().predicted, predicted());

    let measured = Measured { at_ms: 40, loss: loss(1.0), ..Measured::default() };
    journal.score(&id, &Score::Measured(measured.clone()), &[]).unwrap();
    assert_eq!(reading.unscored(9).unwrap().len(), 0);
    let kept = Scorecard { predicted: predicted(), measured: Some(measured) };
    assert_eq!(reading.scorecard("m1").unwrap(), Some(kept.clone()));
    assert_eq!(reading.scored(9).unwrap()[0].card, Some(kept));
    assert!(reading.distrust().unwrap().is_empty());
}

#[test]
fn what_cannot_be_measured_though_it_was_predicted_demotes_the_system() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    let one = ended("m1", completed);
    journal.begin(&one, &[]).unwrap();
    journal.write(&one, &[]).unwrap();
    let id = one.migration.spec().id.clone();
    journal.score(&id, &Score::Predicted(predicted()), &[]).unwrap();
    let measured = Measured { at_ms: 40, gap: Some("nobody watched".to_owned()), ..Measured::default() };
    journal.score(&id, &Score::Measured(measured), &[]).unwrap();
    let known = journal.reading().distrust().unwrap();
    assert_eq!((known[0].system.as_str(), known[0].cause, known[0].at_ms), ("s", Cause::Demoted, 40));
    assert!(known[0].why.contains("nobody watched") && known[0].why.contains("m1"), "{}", known[0].why);
    let lines = journal.reading().diary(&Diary { limit: 9, ..Diary::default() }).unwrap();
    assert!(lines.iter().any(|line| line.what.contains("waits for approval")));
}
