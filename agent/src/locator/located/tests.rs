use super::super::known::Known;
use super::*;
use crate::config::Target;
use crate::discovery::Selector;
use crate::rule::Rule;
use isotherm_model::SystemId;
use isotherm_proto::{KeyRange, Locators, Place, Relation};
use std::collections::BTreeMap;

pub(crate) fn node(name: &str) -> NodeId {
    NodeId::new(SystemId::new("s").unwrap(), name).unwrap()
}

pub(crate) fn partition(name: &str) -> PartitionId {
    PartitionId::new(SystemId::new("s").unwrap(), name).unwrap()
}

pub(crate) fn at(files: &[&str]) -> Locator {
    Locator {
        node: None,
        files: files.iter().map(ToString::to_string).collect(),
        devices: Vec::new(),
        ports: Vec::new(),
        key_ranges: Vec::new(),
        relations: Vec::new(),
        slots: Vec::new(),
    }
}

/// Node, partition and file of each.
pub(crate) fn known(places: &[(&str, &str, &str)]) -> Known {
    let located = places
        .iter()
        .map(|(on, id, file)| (Place { node: node(on), partition: partition(id) }, vec![at(&[file])]));
    let targets = places.iter().map(|(on, _, _)| node(on)).collect();
    let message = Locators { revision: 5, located: located.collect(), ..Locators::default() };
    Known::default().with(message, &targets).unwrap()
}

fn target(rules: Vec<Rule>) -> Target {
    Target { node: node("n"), select: Selector::default(), rules, located: Located::default() }
}

fn of(rules: Vec<Rule>, places: &[(&str, Locator)]) -> (Rules, Findings) {
    let located =
        places.iter().map(|(id, at)| (Place { node: node("n"), partition: partition(id) }, vec![at.clone()]));
    let message = Locators { revision: 5, located: located.collect(), ..Locators::default() };
    let known = Known::default().with(message, &[node("n")].into()).unwrap();
    let (targets, findings) = super::super::locate(&[target(rules)], &known);
    (Rules::of(&targets[0]), findings)
}

fn word(subject: Subject) -> String {
    match subject {
        Subject::Partition(id) => id.name().to_owned(),
        Subject::Other(reason) => reason.to_string(),
        Subject::Unattributed(reason) => reason.to_string(),
    }
}

#[test]
fn a_located_file_is_its_partitions_and_nothing_near_it_is() {
    let (rules, findings) = of(Vec::new(), &[("1", at(&["/d/1.dat"])), ("$2", at(&["/d/2.dat"]))]);
    let claim = |path| word(rules.claim_path(&node("n"), path));
    assert_eq!([claim("/d/1.dat"), claim("/d/2.dat")], ["1", "$2"]);
    assert_eq!([claim("/d/11.dat"), claim("/x/d/1.dat"), claim("/d/1.dat.x")], ["no_rule"; 3]);
    assert_eq!((findings.revision, findings.partitions), (5, 2));
}

#[test]
fn rules_of_the_configuration_win_and_the_conflict_is_told() {
    let rule = Rule::path(r"/(\d)\.dat$", "v$1").unwrap();
    let same = Rule::path(r"/x(\d)\.dat$", "$1").unwrap();
    let (rules, findings) =
        of(vec![rule, same], &[("1", at(&["/d/1.dat", "/d/1.idx"])), ("2", at(&["/d/x2.dat"]))]);
    let claim = |path| word(rules.claim_path(&node("n"), path));
    assert_eq!([claim("/d/1.dat"), claim("/d/1.idx"), claim("/d/x2.dat")], ["v1", "1", "2"]);
    assert_eq!(findings.overruled.count, 1);
    assert_eq!(
        findings.overruled.first.as_deref(),
        Some("file /d/1.dat of s/n, which is partition v1 by rule and partition 1 by locator")
    );
}

#[test]
fn what_two_partitions_claim_is_nobodys() {
    let (rules, findings) = of(Vec::new(), &[("1", at(&["/d/1.dat"])), ("2", at(&["/d/1.dat"]))]);
    assert_eq!(word(rules.claim_path(&node("n"), "/d/1.dat")), "rules_disagree");
    assert_eq!(findings.disputed.count, 1);
}

#[test]
fn ports_are_partitions_and_what_cannot_be_used_is_counted_by_kind() {
    let odd = Locator {
        ports: vec![7000],
        key_ranges: vec![KeyRange { first: vec![1], end: None }],
        relations: vec![Relation { database: "d".into(), schema: "s".into(), name: "t".into() }; 2],
        devices: vec![DeviceRange { device: "/dev/x".into(), first_sector: 1, sectors: 1 }],
        ..at(&[])
    };
    let (rules, findings) = of(vec![Rule::port("7001", "web").unwrap()], &[("1", odd)]);
    let claim = |port| word(rules.claim_port(&node("n"), port));
    assert_eq!([claim(7000), claim(7001), claim(7002)], ["1", "web", "no_rule"]);
    let unused = [(Kind::KeyRange, 1), (Kind::Relation, 2), (Kind::UnalignedDevice, 1)];
    assert_eq!(findings.unused, BTreeMap::from(unused));
}

#[test]
fn a_device_counts_only_where_a_process_of_the_target_has_it_open() {
    const MIB: u64 = 2_048;
    let range = |first, sectors| Locator {
        devices: vec![DeviceRange { device: "/dev/x".into(), first_sector: first, sectors }],
        ..at(&[])
    };
    let (mut rules, _) = of(Vec::new(), &[("a", range(0, MIB)), ("b", range(MIB, MIB))]);
    let number = |path: &Path| (path == Path::new("/dev/x")).then_some(7);
    assert!(rules.find_devices_where(0, number, &|_| false).0.is_empty());
    assert_eq!(word(rules.claim_stripe(&node("n"), 7, 0)), "no_rule");
    let (stripes, _) = rules.find_devices_where(0, number, &|dev| dev == 7);
    assert_eq!((stripes.len(), stripes[0].1.shift), (1, 20));
    assert_eq!(
        [0, 1, 2].map(|stripe| word(rules.claim_stripe(&node("n"), 7, stripe))),
        ["a", "b", "no_rule"]
    );
    let whole = DeviceRule::new(Path::new("/dev/x"), 0, None, None, "all").unwrap();
    let (_, findings) = of(vec![Rule::Device(whole)], &[("a", range(0, MIB))]);
    assert_eq!((findings.overruled.count, findings.partitions), (1, 0));
}
