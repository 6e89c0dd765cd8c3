//! Frames that were written down and read back decide what they decided as they came.

mod scene;

use isotherm_cycle::cluster::Cluster;
use isotherm_cycle::frame::{Frame, Incident, Purpose};
use isotherm_cycle::input::StepLength;
use isotherm_cycle::record::{Record, Verdict};
use isotherm_cycle::recording::{Packer, Unpacker};
use isotherm_cycle::{Settings, State, assess, decide_all};
use isotherm_model::Timestamp;
use scene::{START_MS, cluster, led, step};

const MINUTES: u64 = 150;

/// A node fails in the hundredth minute; minute 60 is lost; the first half hour is for warmth.
fn frames(cluster: &Cluster) -> Vec<Frame> {
    let lead = |p: u32, n: u64| led(if p == 4 && n >= 120 { 0.4 } else { 0.8 }, p, n);
    let frame = |minute: u64| {
        let ended = START_MS + (minute + 1) * 60_000;
        let longer = [StepLength::Quarter, StepLength::Hour].into_iter();
        let longer = longer.filter(|length| (minute + 1).is_multiple_of(length.steps()));
        Frame {
            gaps: u64::from(minute == 61),
            incidents: (minute == 100)
                .then(|| Incident { at_ms: ended - 1, nodes: vec![("made-up".into(), "n00002".into())] })
                .into_iter()
                .collect(),
            longer: longer
                .map(|length| step(cluster, length, (minute + 1) / length.steps() - 1, lead))
                .collect(),
            minute: step(cluster, StepLength::Minute, minute, lead),
            cluster: cluster.clone(),
            purpose: if minute < 30 { Purpose::Learn } else { Purpose::Decide },
        }
    };
    (0..MINUTES).filter(|minute| *minute != 60).map(frame).collect()
}

fn written_and_read(frames: &[Frame]) -> Vec<Frame> {
    let (mut packer, mut unpacker) = (Packer::default(), Unpacker::default());
    let bytes =
        frames.iter().map(|frame| postcard::to_stdvec(&packer.pack(frame)).expect("it can be written"));
    bytes
        .map(|bytes| {
            let packed = postcard::from_bytes(&bytes).expect("it can be read");
            unpacker.unpack(packed, 60_000).expect("it was packed")
        })
        .collect()
}

fn replayed(frames: &[Frame], settings: &Settings) -> Vec<Vec<Record>> {
    let mut state = State::default();
    let mut cycles = Vec::new();
    for frame in frames {
        state.take_in(frame, settings);
        if frame.purpose == Purpose::Decide {
            cycles.push(state.decide(frame, settings, |_| {}).expect("facts that fit").records);
        }
    }
    cycles
}

/// Step by step, as the parts of a cycle are called by hand.
fn live(frames: &[Frame], settings: &Settings) -> Vec<Vec<Record>> {
    let mut state = State::default();
    let mut cycles = Vec::new();
    for frame in frames {
        if frame.gaps > 0 {
            state.skip(StepLength::Minute, frame.gaps, settings);
        }
        for incident in &frame.incidents {
            let nodes: Vec<(&str, &str)> =
                incident.nodes.iter().map(|node| (node.0.as_str(), node.1.as_str())).collect();
            state.incident(&nodes, Timestamp::from_ms(incident.at_ms), settings);
        }
        for step in frame.longer.iter().chain([&frame.minute]) {
            state.absorb(step, &frame.cluster, settings);
        }
        if frame.purpose == Purpose::Decide {
            let (landscape, mut records) =
                assess(&state, &frame.cluster, settings, frame.end()).expect("facts that fit");
            state.predicted(&records, settings);
            decide_all(&mut records, &landscape, &frame.cluster, settings);
            state.cycled();
            cycles.push(records);
        }
    }
    cycles
}

#[test]
fn a_replay_decides_what_was_decided_live_on_any_number_of_threads() {
    let frames = frames(&cluster(9, 20));
    let settings = Settings::default();
    let expected = live(&frames, &settings);
    assert_eq!(expected.len() as u64, MINUTES - 31);
    let read = written_and_read(&frames);
    assert_eq!(read, frames);
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        assert_eq!(pool.install(|| replayed(&read, &settings)), expected, "{threads} threads");
    }
}

#[test]
fn other_settings_decide_otherwise_on_the_same_frames() {
    let mut cluster = cluster(9, 20);
    cluster.nodes[2].hazard.per_hour *= 6.0;
    cluster.nodes[2].hazard.over_class = 6.0;
    let frames = frames(&cluster);
    let mut calm = Settings::default();
    calm.gate.hazard_trigger = 10.0;
    let verdicts = |settings: &Settings| -> Vec<Verdict> {
        replayed(&frames, settings).pop().expect("cycles").iter().map(|record| record.verdict).collect()
    };
    assert_ne!(verdicts(&Settings::default()), verdicts(&calm));
    assert!(verdicts(&calm).iter().all(|verdict| *verdict == Verdict::Nothing));
}

#[test]
fn minutes_that_were_taken_in_are_not_given_up() {
    let frames = frames(&cluster(9, 5));
    let settings = Settings::default();
    let mut state = State::default();
    frames[..20].iter().for_each(|frame| state.take_in(frame, &settings));
    let (before, end) = (state.clone(), frames[19].end());
    assert_eq!(state.give_up_until(end, &settings), 0);
    assert_eq!(state, before);
    let later = end.plus_ms(3 * 60_000);
    assert_eq!(state.give_up_until(later, &settings), 3);
    assert_eq!(state.until(), Some(later));
    let mut skipped = before;
    skipped.skip(StepLength::Minute, 3, &settings);
    assert_ne!(state, skipped, "time went on");
    assert_eq!(State::default().give_up_until(later, &settings), 1, "nothing is known of what was before");
}
