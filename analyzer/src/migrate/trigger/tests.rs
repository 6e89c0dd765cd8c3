use super::*;
use isotherm_cycle::record::{At, Judged as Entropy, Status, Surging, Verdict};
use isotherm_proto::PartitionFacts;

/// A record whose verdict is to move a partition, or to drain a node of it.
fn record(name: &str, how: How, benefit_lower: f64, standing: Standing) -> Record {
    let nothing = Entropy { h: None, habitual: None, z: None };
    Record {
        at: At(0),
        revision: 0,
        system: "s".to_owned(),
        partition: name.to_owned(),
        status: Status::Unseen,
        node: nothing,
        bits: None,
        effective_nodes: None,
        class: None,
        offset: None,
        peer: None,
        surge: Surging::Unknown,
        forecast: None,
        order: None,
        forecast_surge: None,
        reads_per_s: None,
        holders: Vec::new(),
        domains: Vec::new(),
        exposure: None,
        calibrated: None,
        loss: None,
        verdict: Verdict::Move,
        reason: String::new(),
        action: Some(Box::new(Action {
            how,
            benefit: 2.0 * benefit_lower,
            benefit_lower,
            lasting_h: 1.0,
            loss_after_per_hour: None,
            cost: 1.0,
            gray: false,
            standing,
        })),
        shift: None,
    }
}

#[test]
fn what_saves_the_most_for_each_byte_comes_first_and_what_has_no_size_last() {
    let mut topology = Topology::default();
    for (name, size_bytes) in [("large", Some(1_000)), ("small", Some(10)), ("unsized", None)] {
        let system = SystemId::new("s").unwrap();
        let nodes = vec![NodeId::new(system.clone(), "a").unwrap()];
        let partition = PartitionId::new(system, name).unwrap();
        let facts = PartitionFacts { size_bytes, nodes, epoch: 0, locators: Vec::new() };
        topology.set_partition(partition, facts);
    }
    let to = || How::Move { from: "a".to_owned(), to: "b".to_owned() };
    let records = [
        record("unsized", to(), 1e6, Standing::Carried),
        record("large", to(), 50.0, Standing::Carried),
        record("small", to(), 1.0, Standing::Carried),
        record("told", to(), 9.0, Standing::Recorded),
        record("reads", How::Drain { from: "a".to_owned() }, 9.0, Standing::Carried),
    ];
    let order: Vec<String> =
        wanted(&records, &topology).iter().map(|one| one.partition.name().to_owned()).collect();
    assert_eq!(order, ["small", "large", "unsized"]);
}
