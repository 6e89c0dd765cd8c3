use super::*;
use isotherm_cycle::cluster::Cluster;
use isotherm_cycle::frame::Purpose;
use isotherm_cycle::input::{PartitionStep, Step, StepLength};
use isotherm_model::entropy::over_nodes;
use isotherm_model::{PartitionId, SystemId, Timestamp};
use proptest::prelude::*;

fn about() -> About {
    let settings = Settings { lead_min: 7, gray_failing: 0.1 + 0.2, ..Settings::default() };
    About {
        isotherm: "0.1.0".to_owned(),
        made_ms: 1,
        source: "a folder".to_owned(),
        since_ms: 60_000,
        until_ms: 600_000,
        without_topology: vec!["s".to_owned()],
        settings,
    }
}

fn frame(number: u64) -> Frame {
    let partition = |name: u64| PartitionStep {
        partition: PartitionId::new(SystemId::new("s").unwrap(), format!("p{name}")).unwrap(),
        reads: Some(number),
        served: Vec::new(),
        entropy: over_nodes(&[40, number]),
        offset_h: Some(1.0 / number as f64),
        peer_h: None,
    };
    let minute = Step {
        end: Timestamp::from_ms(number * 60_000),
        length: StepLength::Minute,
        nodes: Vec::new(),
        partitions: (0..5).map(partition).collect(),
    };
    let cluster = Cluster::default();
    Frame { gaps: 0, incidents: Vec::new(), longer: Vec::new(), minute, cluster, purpose: Purpose::Decide }
}

fn written(dir: &Path, frames: u64) -> PathBuf {
    let path = dir.join("incident.isorec");
    let mut writer = Writer::create(&path, &about()).unwrap();
    (1..=frames).for_each(|number| writer.add(&frame(number)).unwrap());
    assert_eq!(writer.finish().unwrap(), fs::metadata(&path).unwrap().len());
    path
}

fn read(path: &Path) -> Result<(About, Vec<Frame>)> {
    let recording = Recording::open(path)?;
    let frames = recording.play()?.collect::<Result<_>>()?;
    Ok((recording.about, frames))
}

#[test]
fn what_was_written_is_read_back_to_the_bit_and_nothing_is_left_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    for frames in [0, 1, 40] {
        let path = written(dir.path(), frames);
        assert_eq!(read(&path).unwrap(), (about(), (1..=frames).map(frame).collect()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

#[test]
fn one_that_is_not_finished_leaves_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path(), 3);
    let before = fs::read(&path).unwrap();
    let mut writer = Writer::create(&path, &about()).unwrap();
    writer.add(&frame(9)).unwrap();
    drop(writer);
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn it_says_who_wrote_what_it_does_not_understand() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("later");
    let text = "isotherm = \"9.9.9\"\nmoon_phase = 3\n";
    let mut file = MAGIC.to_vec();
    block::write(&mut file, Kind::About, 0, text.as_bytes()).unwrap();
    fs::write(&path, &file).unwrap();
    let error = format!("{:#}", Recording::open(&path).unwrap_err());
    assert!(error.contains("later") && error.contains("9.9.9") && error.contains("moon_phase"), "{error}");
    fs::write(&path, b"isorec-9").unwrap();
    assert!(format!("{:#}", Recording::open(&path).unwrap_err()).contains("another version's layout"));
    fs::write(&path, b"date,read").unwrap();
    assert!(format!("{:#}", Recording::open(&path).unwrap_err()).contains("no recording"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn damage_at_any_byte_is_refused_with_the_files_name(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let dir = tempfile::tempdir().unwrap();
        let path = written(dir.path(), 12);
        let whole = fs::read(&path).unwrap();
        let at = at.index(whole.len());
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << bit;
        let mut longer = whole.clone();
        longer.extend_from_slice(&whole[8..][..at % 40 + 1]);
        for damaged in [flipped, whole[..at].to_vec(), longer] {
            fs::write(&path, &damaged).unwrap();
            let error = format!("{:#}", Recording::open(&path).expect_err("it is damaged"));
            prop_assert!(error.contains("incident.isorec"), "{}", error);
        }
    }

    #[test]
    fn a_block_that_is_missing_is_missed(left_out in 1..3_u32) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let mut file = MAGIC.to_vec();
        let text = toml::to_string(&about()).unwrap();
        for (number, (kind, plain)) in (0..).zip([
            (Kind::About, text.into_bytes()),
            (Kind::Frames, vec![1]),
            (Kind::Frames, vec![2]),
            (Kind::End, postcard::to_stdvec(&End { frames: 2 }).unwrap()),
        ]) {
            if number != left_out {
                block::write(&mut file, kind, number, &plain).unwrap();
            }
        }
        fs::write(&path, &file).unwrap();
        let error = format!("{:#}", Recording::open(&path).expect_err("a block is missing"));
        let missing = format!("block {left_out} is missing");
        prop_assert!(error.contains(&missing), "{}", error);
    }
}
