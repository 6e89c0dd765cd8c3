use super::*;
use crate::evaluate::{Rule, measure};
use isotherm_cycle::cluster::{Cluster, Hazard, HazardSource, NodeFacts, NodeState, PartitionFacts};
use isotherm_cycle::frame::Purpose;
use isotherm_cycle::input::{NodeStep, PartitionStep, Step, StepLength};
use isotherm_cycle::{Shifts, State};
use isotherm_model::entropy::over_nodes;
use isotherm_model::{NodeId, PartitionId, SystemId, Timestamp};

const MINUTE: u64 = 60_000;

/// A Monday.
const START: u64 = 1_704_067_200_000;

fn cluster() -> Cluster {
    let hazard =
        Hazard { per_hour: 1e-3, sd_per_hour: 1e-3, over_class: 1.0, source: HazardSource::Observed };
    let node = |name: &str| NodeFacts {
        shifts: Shifts::None,
        system: "s".into(),
        name: name.into(),
        class: String::new(),
        domains: Vec::new(),
        capacity_per_s: None,
        capacity_bytes: None,
        state: NodeState::Up,
        hazard,
        failures: 0,
        observed_h: 0.0,
    };
    let partition = |name: &str| PartitionFacts {
        system: "s".into(),
        name: name.into(),
        holders: vec![0, 1, 2],
        size_bytes: None,
        replicas: 3,
        moving: false,
        pinned: false,
        shift: None,
        coming: None,
    };
    let (nodes, partitions) = (["a", "b", "c"].map(node).to_vec(), ["p", "q"].map(partition).to_vec());
    Cluster { revision: 1, nodes, domains: Vec::new(), partitions }
}

/// The minute of that number: node a leads both partitions, p from minute `shift` on no more than others.
fn frame(number: u64, shift: u64, incidents: &[Incident]) -> Frame {
    let system = SystemId::new("s").unwrap();
    let wobble = number * 7_919 % 11;
    let partition = |name: &str, reads: [u64; 3]| PartitionStep {
        partition: PartitionId::new(system.clone(), name).unwrap(),
        reads: Some(reads.iter().sum()),
        served: (0..3).zip(reads.map(Some)).collect(),
        entropy: over_nodes(&reads),
        offset_h: None,
        peer_h: None,
    };
    let led = [560 + wobble, 25, 15];
    let even = if number >= shift { [220 + wobble, 190, 190] } else { led };
    let node = |name: &str| NodeStep {
        node: NodeId::new(system.clone(), name).unwrap(),
        reads: None,
        latency: None,
    };
    let minute = Step {
        end: Timestamp::from_ms(START + (number + 1) * MINUTE),
        length: StepLength::Minute,
        nodes: ["a", "b", "c"].map(node).to_vec(),
        partitions: vec![partition("p", even), partition("q", led)],
    };
    let incidents = incidents.iter().filter(|one| one.at_ms < minute.end.as_ms()).cloned().collect();
    Frame { gaps: 0, incidents, longer: Vec::new(), minute, cluster: cluster(), purpose: Purpose::Decide }
}

fn found(minutes: u64, shift: u64, incidents: &[Incident], shifts: Vec<Shift>) -> Found {
    let settings = Settings { horizon_h: 1.0, ..Settings::default() };
    let (mut state, mut recorded) = (State::default(), Recorded::new(&settings, shifts));
    for number in 0..minutes {
        let frame = frame(number, shift, incidents);
        state.take_in(&frame, &settings);
        let decided = state.decide(&frame, &settings, |_| {}).expect("facts that fit");
        recorded.follow(&frame, &decided.records);
    }
    recorded.found()
}

fn failure(node: &str, at_ms: u64) -> Incident {
    Incident { at_ms, nodes: vec![("s".into(), node.into())] }
}

#[test]
fn a_failure_is_felt_by_those_who_leaned_on_the_node_though_it_is_told_late() {
    // Node a served nearly all; node c a fortieth. Both are told of with every minute that follows.
    let at_ms = START + 100 * MINUTE + 1;
    let told = [failure("a", at_ms), failure("c", START + 150 * MINUTE), failure("a", 1)];
    let found = found(240, u64::MAX, &told, Vec::new());
    assert_eq!(
        (found.failures, found.felt, found.unclear),
        (3, 2, 1),
        "the last was before anything was known"
    );
    let risk = &found.incidents[0];
    let came: Vec<(u64, Option<u64>)> =
        risk.cases.iter().map(|case| (case.step % 1_440, case.came_after)).collect();
    // Predictions at the full hours, of both partitions; the third hour's ends with the recording.
    let failed_at = at_ms / MINUTE % 1_440;
    assert_eq!(came.len(), 6, "{came:?}");
    for (step, after) in came {
        let within = step < failed_at && failed_at - step <= 60;
        assert_eq!(after, within.then(|| failed_at - step), "at {step}");
    }
    assert!(risk.cases.iter().all(|case| (0.0..1.0).contains(&case.score) && case.score > 0.0));
    assert!(measure(&risk.cases, risk.scores, &Rule::default()).is_ok());
}

#[test]
fn a_shift_is_called_once_soon_and_only_of_its_partition() {
    let (day, shift) = (1_440, 1_440 + 500);
    let known = Shift { partition: "s/p".to_owned(), at_ms: START + shift * MINUTE };
    let nobody = Shift { partition: "nobody".to_owned(), at_ms: START };
    let found = found(2 * day, shift, &[], vec![known, nobody]);
    assert_eq!((found.shifts, found.surged, found.failures), (1, 1, 0));
    let nodes = &found.called[0];
    assert_eq!((nodes.over, nodes.calls, nodes.found), (Over::Nodes, 1, Some(1.0)));
    assert!(nodes.delay_steps.is_some_and(|steps| steps <= 5), "{nodes:?}");
    assert_eq!(nodes.per_healthy_day, Some(0.0), "the call was of the shift");
    assert!(nodes.healthy_days < nodes.partition_days, "the day of the shift is not healthy");
    assert_eq!(found.called[1].partition_days, 0.0, "nobody knows offsets");
    let forecast = &found.surges[0];
    let came = forecast.cases.iter().filter(|case| case.came_after.is_some()).count();
    assert_eq!(came, 1, "one prediction within a quarter of an hour before it");
    assert!(found.incidents[0].cases.iter().all(|case| case.came_after.is_none()));
}
