use super::*;
use isotherm_model::SystemId;

fn subject(rules: &[(&str, &str)], path: &str) -> String {
    let node = NodeId::new(SystemId::new("s").unwrap(), "n").unwrap();
    let rules: Vec<Rule> = rules.iter().map(|(path, id)| Rule::path(path, id).unwrap()).collect();
    word(Rules::new(&rules).claim_path(&node, path))
}

fn word(subject: Subject) -> String {
    match subject {
        Subject::Partition(id) => id.name().to_owned(),
        Subject::Other(reason) => reason.to_string(),
        Subject::Unattributed(reason) => reason.to_string(),
    }
}

#[test]
fn groups_make_the_id() {
    let volume = (r"/(?:(?P<collection>[^/]+)_)?(?P<volume>[0-9]+)\.dat$", "$volume");
    assert_eq!(subject(&[volume], "/data/7.dat"), "7");
    assert_eq!(subject(&[volume], "/data/photos_12.dat"), "12");
    assert_eq!(subject(&[volume], "/data/7.idx"), "no_rule");
    assert_eq!(subject(&[(r"/base/(\d+)/(\d+)", "${1}-$2")], "/pg/base/5/1249"), "5-1249");
}

#[test]
fn rules_that_disagree_give_the_file_to_nobody() {
    let rules = [(r"/(\d+)\.dat$", "$1"), (r"/(\w+)\.dat$", "v$1")];
    assert_eq!(subject(&rules, "/7.dat"), "rules_disagree");
    assert_eq!(subject(&rules, "/x.dat"), "vx");
    assert_eq!(subject(&[(r"(\d+)", "$1"), (r"/(\d+)\.", "$1")], "/7.dat"), "7");
}

#[test]
fn an_empty_id_is_no_partition() {
    assert_eq!(subject(&[(r"/(\d*)\.dat$", "$1")], "/.dat"), "no_rule");
}

#[test]
fn a_dollar_sign_is_no_reference() {
    assert!(matches!(Rule::path("(a)", "$$1"), Err(RuleError::Constant)));
    assert!(matches!(Rule::path("(a)", "${b}"), Err(RuleError::UnknownCapture { .. })));
}

#[test]
fn ports_are_partitions() {
    let node = NodeId::new(SystemId::new("s").unwrap(), "n").unwrap();
    let rules = Rules::new(&[Rule::port("7000-7002", "p$port").unwrap(), Rule::port("80", "web").unwrap()]);
    let claim = |port| word(rules.claim_port(&node, port));
    assert_eq!([claim(7001), claim(80), claim(81), claim(0)], ["p7001", "web", "no_rule", "no_rule"]);
    for ports in ["", "0", "9-8", "x", "70000"] {
        assert!(matches!(Rule::port(ports, "p"), Err(RuleError::Ports { .. })), "{ports}");
    }
    assert!(matches!(Rule::port("80", "$stripe"), Err(RuleError::UnknownCapture { .. })));
}

#[test]
fn parts_of_devices_are_partitions() {
    const MIB: u64 = 1 << 20;
    let node = NodeId::new(SystemId::new("s").unwrap(), "n").unwrap();
    let device = Path::new("/dev/sdx");
    let rule = |from, to, stripe, id| DeviceRule::new(device, from, to, stripe, id);
    let mut rules = Rules::new(&[
        Rule::Device(rule(0, Some(64 * MIB), None, "log").unwrap()),
        Rule::Device(rule(64 * MIB, None, Some(16 * MIB), "data-$stripe").unwrap()),
    ]);
    let (stripes, missing) = rules.find_devices(3, |path| (path == device).then_some(7));
    assert!(missing.is_empty());
    assert_eq!(stripes, [(7, Stripes { target: 3, shift: 24 })]);
    let claim = |stripe| word(rules.claim_stripe(&node, 7, stripe));
    assert_eq!([claim(0), claim(3), claim(4), claim(6)], ["log", "log", "data-0", "data-2"]);
    assert_eq!(word(rules.claim_stripe(&node, 8, 0)), "no_rule");
    assert_eq!(rules.find_devices(3, |_| None).1.len(), 2);
    assert!(matches!(rule(1, None, None, "x"), Err(RuleError::Alignment { bytes: 1 })));
    assert!(matches!(rule(0, None, Some(3 * MIB), "x"), Err(RuleError::Stripe { .. })));
    assert!(matches!(rule(MIB, Some(MIB), None, "x"), Err(RuleError::Empty { .. })));
    assert!(matches!(rule(0, None, None, "$stripe"), Err(RuleError::UnknownCapture { .. })));
}
