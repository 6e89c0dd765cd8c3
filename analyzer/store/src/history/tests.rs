use super::*;
use crate::write::Store;
use isotherm_model::Interval;

const HOUR: u64 = 3_600_000;

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn id(name: &str) -> NodeId {
    NodeId::new(SystemId::new("s").unwrap(), name).unwrap()
}

fn down(name: &str, from: u64, to: Option<u64>, cause: Cause, source: Recorder) -> DownInterval {
    DownInterval {
        node: id(name),
        from: at(from),
        to: to.map(at),
        cause,
        source,
        domains: Vec::new(),
        note: String::new(),
        who: String::new(),
        recorded: at(1),
    }
}

fn in_domains(mut interval: DownInterval, domains: &[(&str, u64)]) -> DownInterval {
    let size = |(name, nodes): &(&str, u64)| DomainSize { name: (*name).to_owned(), nodes: *nodes };
    interval.domains = domains.iter().map(size).collect();
    interval
}

fn changed(at_ms: u64, who: &str, reason: &str) -> Changed {
    Changed { at: at(at_ms), who: who.to_owned(), reason: reason.to_owned() }
}

struct Scene {
    _dir: tempfile::TempDir,
    _store: Store,
    reader: Reader,
    history: History,
}

fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let reader = store.reader();
    let history = History::open(&reader).unwrap();
    Scene { _dir: dir, _store: store, reader, history }
}

#[test]
fn the_same_interval_twice_is_one() {
    let mut scene = scene();
    let open = down("a", 10, None, Cause::Failure, Recorder::Import);
    let ended = DownInterval { to: Some(at(20)), ..open.clone() };
    assert_eq!(scene.history.try_record(std::slice::from_ref(&open)).unwrap(), [Recording::Added]);
    assert!(scene.reader.down_intervals(None).unwrap().is_empty(), "it was only tried");
    let intervals = [open.clone(), open.clone(), ended.clone(), ended.clone(), open];
    let did = scene.history.record(&intervals).unwrap();
    let want = [Recording::Added, Recording::Known, Recording::Ended, Recording::Known, Recording::Known];
    assert_eq!(did, want);
    assert_eq!(scene.reader.down_intervals(None).unwrap(), std::slice::from_ref(&ended));
    let other = DownInterval { to: Some(at(21)), ..ended.clone() };
    let error = scene.history.record(&[down("b", 1, Some(2), Cause::Failure, Recorder::Import), other]);
    assert!(matches!(error, Err(HistoryError::Differs { .. })), "{error:?}");
    let error = scene.history.record(&[down("b", 2, Some(2), Cause::Failure, Recorder::Import)]);
    assert!(matches!(error, Err(HistoryError::Backwards { .. })), "{error:?}");
    assert_eq!(scene.reader.down_intervals(None).unwrap(), [ended], "all or none are recorded");
    assert!(scene.reader.down_intervals(Some(at(20))).unwrap().is_empty());
}

#[test]
fn what_goes_on_is_ended_once_with_who_and_why() {
    let mut scene = scene();
    let intervals = [
        down("a", 10, None, Cause::Failure, Recorder::Topology),
        down("a", 11, None, Cause::Maintenance, Recorder::Operator),
        down("a", 12, None, Cause::AgentLoss, Recorder::Agent),
    ];
    scene.history.record(&intervals).unwrap();
    let (causes, all) = (
        [Cause::Failure, Cause::Maintenance],
        [Recorder::Agent, Recorder::Topology, Recorder::Import, Recorder::Operator],
    );
    let back = changed(40, "ann", "new disk");
    let tried = scene.history.end(&id("a"), &causes, &all, &back, Keep::No).unwrap();
    let early = scene.history.end(&id("a"), &causes, &all, &changed(11, "ann", ""), Keep::Yes);
    assert!(matches!(early, Err(HistoryError::Backwards { .. })));
    let ended = scene.history.end(&id("a"), &causes, &all, &back, Keep::Yes).unwrap();
    assert_eq!(tried, ended);
    assert_eq!((ended.len(), ended[1].to, ended[1].note.as_str()), (2, Some(at(40)), "new disk"));
    assert!(scene.history.end(&id("a"), &causes, &all, &changed(50, "", ""), Keep::Yes).unwrap().is_empty());
    scene.history.failed_after_all(&id("a"), at(12), "no answer").unwrap();
    let third = &scene.reader.down_intervals(None).unwrap()[2];
    assert_eq!((third.cause, third.note.as_str(), third.to), (Cause::Failure, "no answer", None));
    let again = scene.history.failed_after_all(&id("a"), at(12), "no answer");
    assert!(matches!(again, Err(HistoryError::Nothing { .. })));
}

#[test]
fn records_that_overlap_are_one_outage_of_who_knows_best() {
    let intervals = vec![
        down("a", 100, Some(200), Cause::Failure, Recorder::Topology),
        down("a", 150, Some(260), Cause::Maintenance, Recorder::Operator),
        down("a", 255, Some(256), Cause::Failure, Recorder::Agent),
        down("a", 260, None, Cause::Failure, Recorder::Topology),
        down("b", 100, None, Cause::AgentLoss, Recorder::Agent),
    ];
    let histories = Histories::new(intervals, vec![(id("a"), (0, 90)), (id("b"), (0, 500))]);
    let outages: Vec<_> = histories.nodes[&id("a")]
        .outages
        .iter()
        .map(|outage| (outage.from.as_ms(), outage.to.map(Timestamp::as_ms), outage.cause))
        .collect();
    let want = [(100, Some(260), OutageCause::Maintenance), (260, None, OutageCause::Failure)];
    assert_eq!(outages, want);
    assert!(histories.nodes[&id("b")].outages.is_empty(), "agent loss is unknown");
    let observed = histories.nodes[&id("b")].observed_h() * HOUR as f64;
    assert!((observed - 500.0).abs() < 1e-6, "{observed}");
}

#[test]
fn exposure_is_what_was_observed_and_up() {
    let mut scene = scene();
    let seen = |name: &str, witness, from, to| (id(name), witness, Interval::new(at(from), at(to)).unwrap());
    let observed = [
        seen("a", Witness::Agent, 0, 4 * HOUR),
        seen("a", Witness::Topology, 2 * HOUR, 10 * HOUR),
        seen("a", Witness::Topology, 2 * HOUR, 9 * HOUR),
        seen("a", Witness::Agent, 23 * HOUR, 26 * HOUR),
    ];
    scene.history.observe(&observed).unwrap();
    scene.history.observe(&[]).unwrap();
    let failures = [
        down("a", 8 * HOUR, Some(9 * HOUR), Cause::Failure, Recorder::Topology),
        down("a", 15 * HOUR, Some(16 * HOUR), Cause::Failure, Recorder::Import),
    ];
    scene.history.record(&failures).unwrap();
    let histories = scene.reader.histories(None).unwrap();
    let a = &histories.nodes[&id("a")];
    assert!((a.observed_h() - 12.0).abs() < 1e-9, "{}", a.observed_h());
    let days: Vec<f64> = a.observed_h_by_day().into_values().collect();
    assert_eq!(days, [10.0, 2.0]);
    let before: Vec<bool> = a.outages.iter().map(|outage| outage.observed_before).collect();
    assert_eq!(before, [true, false], "nobody looked in the hour before the second");
    let later = scene.reader.histories(Some(at(3 * HOUR))).unwrap();
    assert!((later.nodes[&id("a")].observed_h() - 9.0).abs() < 1e-9, "the hours before are left out");
    let until = scene.reader.observed_until(Witness::Topology).unwrap();
    assert_eq!(until[&id("a")], at(10 * HOUR), "an end never moves back");
}

#[test]
fn nodes_of_a_domain_that_go_down_together_are_one_failure_of_it() {
    let failed = |name: &str, from, domains: &[(&str, u64)]| {
        let interval = down(name, from, Some(from + HOUR), Cause::Failure, Recorder::Topology);
        in_domains(interval, domains)
    };
    let (rack_a, rack_b) = ([("dc1", 40), ("rackA", 4)], [("dc1", 40), ("rackB", 36)]);
    let histories = |intervals| Histories::new(intervals, Vec::new());
    let rack = histories(vec![
        failed("a1", 1_000, &rack_a),
        failed("b1", 2_000, &rack_b),
        failed("a2", 100_000, &rack_a),
        failed("a3", 121_001, &rack_a),
    ]);
    let [event] = &rack.domain_events[..] else { panic!("{:?}", rack.domain_events) };
    assert_eq!((event.domain.join("/"), event.from.as_ms()), ("dc1/rackA".to_owned(), 1_000));
    assert_eq!(event.nodes, std::collections::BTreeSet::from([id("a1"), id("a2")]), "the third is too late");
    assert_eq!(rack.intervals.iter().filter(|(_, domain)| domain.is_some()).count(), 2);
    assert_eq!(rack.nodes[&id("b1")].outages[0].domain, None, "one of 36 failed alone");

    let few = histories(vec![failed("a", 1, &[("dc1", 5)]), failed("b", 2, &[("dc1", 5)])]);
    assert!(few.domain_events.is_empty(), "two of five are less than half");
    let all =
        histories(vec![failed("a", 1, &[("dc1", 2), ("r1", 1)]), failed("b", 2, &[("dc1", 2), ("r2", 1)])]);
    assert_eq!(all.domain_events[0].domain, ["dc1"], "both racks are the data centre");
    let mut planned = vec![failed("a", 1, &[("dc1", 2)]), failed("b", 2, &[("dc1", 2)])];
    planned.iter_mut().for_each(|interval| interval.cause = Cause::Maintenance);
    assert!(histories(planned).domain_events.is_empty());
}

#[test]
fn an_operators_word_stands_until_it_is_replaced_taken_back_or_over() {
    let mut scene = scene();
    let word = |word, set, until| Override {
        node: id("a"),
        word,
        set: at(set),
        until: at(until),
        reason: "smart".to_owned(),
        who: "ann".to_owned(),
        cleared: None,
    };
    let (first, second) = (word(Word::Factor(5.0), 10, 100), word(Word::PerHour(0.01), 20, 200));
    scene.history.set_hazard(&first, Keep::No).unwrap();
    assert!(scene.reader.hazard_overrides(None).unwrap().is_empty());
    scene.history.set_hazard(&first, Keep::Yes).unwrap();
    scene.history.set_hazard(&second, Keep::Yes).unwrap();
    assert_eq!(scene.reader.hazard_overrides(Some(at(50))).unwrap(), std::slice::from_ref(&second));
    let all = scene.reader.hazard_overrides(None).unwrap();
    assert_eq!(all[0].cleared, Some(changed(20, "ann", "replaced")));
    assert!(scene.reader.hazard_overrides(Some(at(200))).unwrap().is_empty(), "it is over");
    let cleared = scene.history.clear_hazard(&id("a"), &changed(60, "bob", "new disk")).unwrap();
    assert_eq!(cleared.word, Word::PerHour(0.01));
    assert!(scene.reader.hazard_overrides(Some(at(60))).unwrap().is_empty());
    let again = scene.history.clear_hazard(&id("a"), &changed(61, "bob", ""));
    assert!(matches!(again, Err(HistoryError::Nothing { .. })));
    let backwards = scene.history.set_hazard(&word(Word::Factor(2.0), 70, 70), Keep::Yes);
    assert!(matches!(backwards, Err(HistoryError::Backwards { .. })));
}

#[test]
fn what_was_known_at_a_moment_leaves_out_what_was_recorded_or_ended_after_it() {
    let mut scene = scene();
    let mut failure = down("a", 5 * HOUR, Some(7 * HOUR), Cause::Failure, Recorder::Topology);
    failure.recorded = at(6 * HOUR);
    scene.history.record(&[failure]).unwrap();
    let seen = Interval::new(at(0), at(5 * HOUR)).unwrap();
    scene.history.observe(&[(id("a"), Witness::Agent, seen)]).unwrap();
    let records = scene.reader.records().unwrap();
    let known = |recorded: u64, observed: u64| {
        let histories = records.histories(at(recorded * HOUR), at(observed * HOUR));
        let a = histories.nodes.get(&id("a")).cloned().unwrap_or_default();
        let ends: Vec<_> = a.outages.iter().map(|outage| outage.to.map(Timestamp::as_ms)).collect();
        (ends, (a.observed_h() * 10.0).round() as u64)
    };
    assert_eq!(known(6, 2), (vec![], 20), "it is recorded in that moment, not before");
    assert_eq!(known(7, 5), (vec![None], 50), "it goes on");
    assert_eq!(known(8, 9), (vec![Some(7 * HOUR)], 50));
    assert_eq!(records.histories(at(9 * HOUR), at(9 * HOUR)), scene.reader.histories(None).unwrap());
}
