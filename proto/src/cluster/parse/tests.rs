use super::*;

fn system() -> SystemId {
    SystemId::new("s").unwrap()
}

fn raw_node(name: &str) -> wire::Node {
    wire::Node {
        node: name.to_owned(),
        addresses: vec!["10.0.0.1:80".to_owned(), "[fd00::1]:80".to_owned()],
        domains: vec!["dc1".to_owned(), "rackA".to_owned()],
        capacity_bytes: Some(1 << 40),
        load_capacity_ops_per_s: Some(5_000),
        class: "hdd-2019".to_owned(),
        health: wire::Health::Up.into(),
    }
}

fn raw_locator() -> wire::Locator {
    wire::Locator {
        node: "a".to_owned(),
        files: vec!["/data/1.dat".to_owned()],
        devices: vec![wire::DeviceRange { device: "/dev/sdb".to_owned(), first_sector: 8, sectors: 16 }],
        ports: vec![8_080],
        key_ranges: vec![wire::KeyRange { first: b"a".to_vec(), end: Vec::new() }],
        relations: vec![wire::Relation {
            database: "d".to_owned(),
            schema: "public".to_owned(),
            name: "t".to_owned(),
        }],
        slots: vec![wire::SlotRange { first: 0, last: 16_383 }],
    }
}

fn raw_partition() -> wire::Partition {
    wire::Partition {
        partition: "1".to_owned(),
        size_bytes: Some(7),
        nodes: vec!["b".to_owned(), "a".to_owned()],
        epoch: 3,
        locators: vec![raw_locator()],
    }
}

fn raw_snapshot() -> wire::Snapshot {
    wire::Snapshot {
        incarnation: "i".to_owned(),
        nodes: vec![raw_node("a"), raw_node("b")],
        partitions: vec![raw_partition()],
        more: false,
    }
}

fn parsed(snapshot: wire::Snapshot) -> Result<TopologyMessage> {
    let message = Some(wire::watch_topology_response::Message::Snapshot(snapshot));
    topology_from_wire(&system(), wire::WatchTopologyResponse { revision: 9, message })
}

fn refused(change: impl FnOnce(&mut wire::Snapshot)) -> String {
    let mut snapshot = raw_snapshot();
    change(&mut snapshot);
    let error = parsed(snapshot).unwrap_err();
    match &error {
        Malformed::Name { source, .. } => format!("{error}: {source}"),
        Malformed::TooLarge { .. }
        | Malformed::TooManyRows
        | Malformed::Frame { .. }
        | Malformed::Encoding(_)
        | Malformed::Value { .. }
        | Malformed::TooMany { .. }
        | Malformed::Repeated { .. }
        | Malformed::NotConserved { .. } => error.to_string(),
    }
}

#[test]
fn a_full_snapshot_is_understood() {
    let TopologyMessage::Part(part) = parsed(raw_snapshot()).unwrap() else { panic!("a snapshot") };
    let node = |name: &str| NodeId::new(system(), name).unwrap();
    assert_eq!((part.revision, part.incarnation.as_str(), part.more), (9, "i", false));
    assert_eq!(part.nodes[&node("a")].addresses[1].to_string(), "[fd00::1]:80");
    assert_eq!(part.nodes[&node("a")].health, Health::Up);
    let partition = &part.partitions[&PartitionId::new(system(), "1").unwrap()];
    assert_eq!(partition.nodes, [node("b"), node("a")], "the leader stays first");
    assert_eq!(partition.locators[0].node, Some(node("a")));
    assert_eq!(partition.locators[0].key_ranges[0].end, None);
    assert_eq!(partition.locators[0].slots, [SlotRange { first: 0, last: 16_383 }]);
}

#[test]
fn what_cannot_be_is_refused_by_field() {
    type Change = fn(&mut wire::Snapshot);
    let cases: [(Change, &str); 22] = [
        (|s| s.incarnation.clear(), "snapshot.incarnation is \"\", expected a name of 1 to 256 bytes"),
        (|s| s.nodes[1].node.clear(), "snapshot.nodes[1].node: node is empty"),
        (|s| s.nodes[1].node = "a".into(), "snapshot.nodes[1].node occurs twice"),
        (|s| s.nodes[0].health = 0, "snapshot.nodes[0].health is unspecified, expected a value of its enum"),
        (|s| s.nodes[0].health = 9, "snapshot.nodes[0].health is 9, expected a value of its enum"),
        (
            |s| s.nodes[0].addresses[0] = "host:80".into(),
            "snapshot.nodes[0].addresses[0] is \"host:80\", expected an address and port",
        ),
        (|s| s.nodes[0].addresses[1] = "10.0.0.1:80".into(), "snapshot.nodes[0].addresses[1] occurs twice"),
        (
            |s| s.nodes[0].domains = vec!["d".into(); 9],
            "snapshot.nodes[0].domains has 9 entries, more than the 8 accepted",
        ),
        (
            |s| s.nodes[0].domains[1] = "a\nb".into(),
            "snapshot.nodes[0].domains[1] is \"a\\nb\", expected a name of 1 to 256 bytes",
        ),
        (
            |s| s.nodes[0].load_capacity_ops_per_s = Some(0),
            "snapshot.nodes[0].load_capacity_ops_per_s is 0, expected a rate above 0, or nothing",
        ),
        (
            |s| s.nodes[0].capacity_bytes = Some(u64::MAX),
            "snapshot.nodes[0].capacity_bytes is 18446744073709551615, expected at most 2^62",
        ),
        (
            |s| s.partitions[0].nodes.clear(),
            "snapshot.partitions[0].nodes is empty, expected at least one node",
        ),
        (|s| s.partitions[0].nodes[1] = "b".into(), "snapshot.partitions[0].nodes[1] occurs twice"),
        (|s| s.partitions.push(raw_partition()), "snapshot.partitions[1].partition occurs twice"),
        (
            |s| s.partitions[0].locators[0].node = "c".into(),
            "snapshot.partitions[0].locators[0].node is \"c\", expected a node of the partition",
        ),
        (
            |s| s.partitions[0].locators[0].files[0] = "1.dat".into(),
            "snapshot.partitions[0].locators[0].files[0] is \"1.dat\", expected an absolute path",
        ),
        (
            |s| s.partitions[0].locators[0].devices[0].sectors = 0,
            "snapshot.partitions[0].locators[0].devices[0].sectors is 0, expected at least one sector",
        ),
        (
            |s| s.partitions[0].locators[0].ports[0] = 65_536,
            "snapshot.partitions[0].locators[0].ports[0] is 65536, expected a port of 1 to 65535",
        ),
        (
            |s| s.partitions[0].locators[0].key_ranges[0].end = b"a".to_vec(),
            "snapshot.partitions[0].locators[0].key_ranges[0].end is not after first, expected a key after \
             first, or nothing",
        ),
        (
            |s| s.partitions[0].locators[0].relations[0].schema.clear(),
            "snapshot.partitions[0].locators[0].relations[0].schema is \"\", expected a name of 1 to 256 bytes",
        ),
        (
            |s| s.partitions[0].locators[0].slots[0].last = 16_384,
            "snapshot.partitions[0].locators[0].slots[0].last is 16384, expected a slot below 16384",
        ),
        (
            |s| s.partitions[0].locators[0].slots[0] = wire::SlotRange { first: 2, last: 1 },
            "snapshot.partitions[0].locators[0].slots[0].first is 2, expected a slot not after the last",
        ),
    ];
    for (change, want) in cases {
        assert_eq!(refused(change), want);
    }
}

#[test]
fn nothing_is_removed_and_set_at_once() {
    let parsed = |changes| {
        let message = Some(wire::watch_topology_response::Message::Changes(changes));
        topology_from_wire(&system(), wire::WatchTopologyResponse { revision: 9, message })
    };
    let changes =
        wire::Changes { nodes: vec![raw_node("a")], removed_nodes: vec!["a".into()], ..Default::default() };
    assert_eq!(parsed(changes).unwrap_err().to_string(), "changes.removed_nodes[0] occurs twice");
    let TopologyMessage::Changes(empty) = parsed(wire::Changes::default()).unwrap() else { panic!() };
    assert!(empty.is_empty());
    let nothing = wire::WatchTopologyResponse { revision: 1, message: None };
    let error = topology_from_wire(&system(), nothing).unwrap_err().to_string();
    assert_eq!(error, "message is absent, expected a snapshot or changes");
}

#[test]
fn an_adapter_says_what_it_can_do() {
    let raw = wire::GetCapabilitiesResponse {
        system: "s".into(),
        adapter: "test 1".into(),
        switch: wire::Switch::Gated.into(),
        fence: wire::Fence::AtSwitch.into(),
        shift_reads: wire::ShiftReads::LeaderSwitch.into(),
        verify: vec![wire::VerifyMethod::Count.into()],
        max_concurrent: 2,
        ..Default::default()
    };
    let capabilities = capabilities_from_wire(raw.clone()).unwrap();
    assert_eq!((capabilities.switch, capabilities.fence), (Switch::Gated, Some(Fence::AtSwitch)));
    let without = wire::GetCapabilitiesResponse { fence: 0, ..raw.clone() };
    let error = capabilities_from_wire(without.clone()).unwrap_err().to_string();
    assert_eq!(error, "capabilities.fence is unspecified, expected a value of its enum");
    let immovable = wire::GetCapabilitiesResponse { switch: wire::Switch::None.into(), ..without };
    assert_eq!(capabilities_from_wire(immovable).unwrap().fence, None, "what is never moved is never fenced");
    let twice = wire::GetCapabilitiesResponse { verify: vec![1, 1], ..raw };
    let error = capabilities_from_wire(twice).unwrap_err().to_string();
    assert_eq!(error, "capabilities.verify[1] occurs twice");
}
