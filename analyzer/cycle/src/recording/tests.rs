use super::*;
use crate::input::{NodeStep, PartitionStep};
use isotherm_model::entropy::{NodeEntropy, over_nodes};
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_risk::gray::Latency;
use proptest::prelude::*;

const MINUTE: u64 = 60_000;

fn frame(number: u64, names: &[&str], reads: &[Option<u64>], moving: bool) -> Frame {
    let system = SystemId::new("s").expect("a name");
    let latency = (number.is_multiple_of(2)).then_some(Latency { median_ns: 1.5, p99_ns: 9.0 });
    let node = |name: &str| NodeStep {
        node: NodeId::new(system.clone(), name).expect("a name"),
        reads: reads.first().copied().flatten(),
        latency,
    };
    let served: Vec<(u32, Option<u64>)> = (0..2).zip(reads.iter().copied()).collect();
    let counts: Option<Vec<u64>> = served.iter().map(|(_, reads)| *reads).collect();
    let partition = |name: &&str| PartitionStep {
        partition: PartitionId::new(system.clone(), *name).expect("a name"),
        reads: reads.iter().copied().sum(),
        served: served.clone(),
        entropy: counts
            .as_ref()
            .map_or_else(|| NodeEntropy::Unknown { silent: vec!["b".into()] }, |counts| over_nodes(counts)),
        offset_h: reads.first().copied().flatten().map(|reads| 1.0 / (reads + 1) as f64),
        peer_h: None,
    };
    let step = |length| Step {
        end: Timestamp::from_ms(number * MINUTE),
        length,
        nodes: ["a", "b"].map(node).to_vec(),
        partitions: names.iter().map(partition).collect(),
    };
    let facts = |name: &&str| PartitionFacts {
        system: "s".into(),
        name: (*name).to_owned(),
        holders: Vec::new(),
        size_bytes: None,
        replicas: 3,
        moving,
        pinned: false,
        shift: None,
        coming: None,
    };
    Frame {
        gaps: number % 3,
        incidents: vec![Incident { at_ms: number, nodes: vec![("s".into(), "a".into())] }],
        longer: if number.is_multiple_of(15) { vec![step(StepLength::Quarter)] } else { Vec::new() },
        minute: step(StepLength::Minute),
        cluster: Cluster {
            revision: number,
            partitions: names.iter().map(facts).collect(),
            ..Cluster::default()
        },
        purpose: if number.is_multiple_of(2) { Purpose::Learn } else { Purpose::Decide },
    }
}

fn unpacked(packed: &[Packed]) -> Result<Vec<Frame>, UnpackError> {
    let mut unpacker = Unpacker::default();
    packed.iter().map(|packed| unpacker.unpack(packed.clone(), MINUTE)).collect()
}

proptest! {
    #[test]
    fn what_comes_out_is_what_went_in(
        frames in prop::collection::vec(
            (1..4_u64, 0..3_usize, prop::collection::vec(prop::option::of(0..500_u64), 2), any::<bool>()),
            1..40,
        )
    ) {
        const NAMES: [&[&str]; 3] = [&["p", "q"], &["q"], &[]];
        let mut at = 0;
        let frames: Vec<Frame> = frames
            .into_iter()
            .map(|(later, names, reads, moving)| {
                at += later;
                frame(at, NAMES[names], &reads, moving)
            })
            .collect();
        let mut packer = Packer::default();
        let packed: Vec<Packed> = frames.iter().map(|frame| packer.pack(frame)).collect();
        prop_assert_eq!(unpacked(&packed), Ok(frames));
    }
}

#[test]
fn what_did_not_change_is_not_written_again() {
    let mut packer = Packer::default();
    let reads = [Some(40), Some(60)];
    let first = packer.pack(&frame(1, &["p", "q"], &reads, false));
    let second = packer.pack(&frame(3, &["p", "q"], &reads, false));
    assert!(first.partitions.is_some() && second.partitions.is_none());
    let bytes = [&first, &second].map(|packed| postcard::to_stdvec(packed).expect("it can be written").len());
    assert!(bytes[1] < bytes[0] - 20, "{bytes:?}");
    assert_eq!(unpacked(&[second]), Err(UnpackError::NothingBefore));
}

#[test]
fn frames_that_nobody_could_have_packed_are_refused_by_name() {
    let pack = |frame: &Frame| Packer::default().pack(frame);
    let whole = frame(15, &["p", "q"], &[Some(40), Some(60)], false);
    let refused = |change: &dyn Fn(&mut Frame)| {
        let mut frame = whole.clone();
        change(&mut frame);
        unpacked(&[pack(&frame)]).expect_err("it cannot be").to_string()
    };
    let position = refused(&|frame| frame.minute.partitions[0].served[1].0 = 2);
    assert_eq!(position, "s/p is served by node number 2, of 2");
    let order = refused(&|frame| frame.minute.partitions.swap(0, 1));
    assert_eq!(order, "s/p is not in the order of names");
    let number = refused(&|frame| frame.minute.partitions[1].offset_h = Some(f64::NAN));
    assert_eq!(number, "s/q: offset entropy is NaN");
    let time = refused(&|frame| frame.minute.end = Timestamp::from_ms(MINUTE + 1));
    assert!(time.contains("multiple of its length"), "{time}");
    let time = refused(&|frame| frame.longer[0].end = Timestamp::from_ms(30 * MINUTE));
    assert!(time.contains("longer steps beside it"), "{time}");
    let mut packer = Packer::default();
    let twice = [packer.pack(&whole), packer.pack(&whole)];
    assert!(unpacked(&twice).expect_err("time stands still").to_string().contains("after the one before"));
}
