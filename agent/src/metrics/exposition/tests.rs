use super::*;
use crate::probe::{MapStats, ProgramStats};
use isotherm_model::{
    Completeness, Counts, NodeId, NodeWindow, OffsetHistogram, Operation, PartitionId, Row, Subject,
    SystemId, Window,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Samples by name and labels, from text that is checked against the grammar of OpenMetrics 1.0, part by part.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut families = BTreeSet::new();
    let mut family: Option<(String, String)> = None;
    let lines: Vec<&str> = text.strip_suffix("# EOF\n").expect("ends with EOF").lines().collect();
    for line in lines {
        if let Some(rest) = line.strip_prefix("# ") {
            let (keyword, rest) = rest.split_once(' ').unwrap();
            let (name, value) = rest.split_once(' ').unwrap();
            assert!(is_name(name), "{line}");
            match keyword {
                "HELP" => {
                    assert!(families.insert(name.to_owned()), "a family is in one piece: {line}");
                    assert!(value.len() > 10 && !value.contains('\n'), "{line}");
                    family = Some((name.to_owned(), String::new()));
                }
                "TYPE" => {
                    assert!(["counter", "gauge", "info"].contains(&value), "{line}");
                    let family = family.as_mut().filter(|(family, _)| family == name).expect(line);
                    family.1 = value.to_owned();
                }
                "UNIT" => assert!(name.ends_with(&format!("_{value}")), "{line}"),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (name, value) = line.rsplit_once(' ').expect(line);
        let (base, labels) = name
            .split_once('{')
            .map_or((name, ""), |(base, labels)| (base, labels.strip_suffix('}').expect(line)));
        let (family, kind) = family.as_ref().expect(line);
        let suffix = match kind.as_str() {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        assert_eq!(base, format!("{family}{suffix}"), "{line}");
        let mut keys = BTreeSet::new();
        let mut rest = labels;
        while !rest.is_empty() {
            let (key, tail) = rest.split_once("=\"").expect(line);
            assert!(is_name(key) && keys.insert(key), "{line}");
            let end = tail.find('"').expect(line);
            assert!(!tail[..end].contains('\\'), "no label of these needs an escape: {line}");
            rest = tail[end + 1..].strip_prefix(',').unwrap_or(&tail[end + 1..]);
        }
        let value: f64 = value.parse().expect(line);
        assert!(value >= 0.0, "{line}");
        assert!(samples.insert(name.to_owned(), value).is_none(), "twice: {line}");
    }
    samples
}

fn is_name(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && name.starts_with(|c: char| c.is_ascii_lowercase())
}

fn window() -> Window {
    let system = SystemId::new("seaweedfs").unwrap();
    let counts = Counts { ops: 3, bytes: 30 };
    let row = |subject| Row {
        subject,
        layer: Layer::Logical,
        operation: Operation::Read,
        counts,
        offsets: OffsetHistogram::EMPTY,
        latency: None,
    };
    let partitions =
        (0..50).map(|n| Subject::Partition(PartitionId::new(system.clone(), n.to_string()).unwrap()));
    let rows = partitions.chain([Subject::Unattributed(UnattributedReason::NoPath)]).map(row).collect();
    let node = NodeWindow {
        node: NodeId::new(system.clone(), "10.77.0.1:8080").unwrap(),
        processes: 2,
        listening: Vec::new(),
        totals: BTreeMap::from([((Layer::Logical, Operation::Read), Counts { ops: 153, bytes: 1530 })]),
        rows,
        peers: Vec::new(),
        lost: BTreeMap::from([(LostReason::Compat, 4)]),
    };
    Window {
        start: Timestamp::from_ms(10_000),
        length_ms: 10_000,
        completeness: Completeness::Complete,
        nodes: vec![node],
    }
}

fn scrape(telemetry: &Arc<Telemetry>) -> BTreeMap<String, f64> {
    parse(&text(telemetry, Timestamp::from_ms(26_000)).unwrap())
}

#[test]
fn what_nobody_has_set_is_absent() {
    let samples = scrape(&Arc::default());
    let names: Vec<&str> = samples.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            &format!("isotherm_agent_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")),
            "isotherm_agent_conservation_failures_total",
            "isotherm_agent_locators_refused_total",
            "isotherm_agent_reloads_total{result=\"refused\"}",
            "isotherm_agent_reloads_total{result=\"taken\"}",
            "process_resident_memory_bytes",
        ]
    );
    assert!(samples["process_resident_memory_bytes"] > 1e6);
}

#[test]
fn classes_sum_to_the_total_and_no_series_is_a_partition() {
    let telemetry = Arc::new(Telemetry::default());
    telemetry.window_cut(&window());
    telemetry.window_cut(&window());
    let samples = scrape(&telemetry);
    let of = |prefix: &str| -> Vec<f64> {
        samples.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, value)| *value).collect()
    };
    // Partition, two reasons of `other` and three of `unattributed`.
    assert_eq!(of("isotherm_agent_accesses_total{").len(), 6);
    assert_eq!(of("isotherm_agent_accesses_total{").iter().sum::<f64>(), 306.0);
    assert_eq!(of("isotherm_agent_accessed_bytes_total{").iter().sum::<f64>(), 3060.0);
    let partition =
        "isotherm_agent_accesses_total{layer=\"logical\",operation=\"read\",class=\"partition\",reason=\"\"}";
    assert_eq!(samples[partition], 300.0);
    assert_eq!(samples["isotherm_agent_lost_events_total{reason=\"compat\"}"], 8.0);
    assert_eq!(samples["isotherm_agent_windows_total{completeness=\"complete\"}"], 2.0);
    assert_eq!(samples["isotherm_agent_last_window_end_timestamp_seconds"], 20.0);
    let node = "isotherm_agent_target_processes{system=\"seaweedfs\",node=\"10.77.0.1:8080\"}";
    assert_eq!(samples[node], 2.0);
}

#[test]
fn programs_tell_their_runs_only_while_the_kernel_counts_them() {
    let telemetry = Arc::new(Telemetry::default());
    let program = |name: &str, runs| ProgramStats { name: name.to_owned(), runs, missed_runs: Some(1) };
    let map = MapStats { name: "FILES".to_owned(), capacity: 9, memory_bytes: Some(4096), entries: Some(2) };
    let ring = MapStats { name: "NAMES".to_owned(), capacity: 8, memory_bytes: None, entries: None };
    telemetry.probe_read(
        vec![program("a", Some((7, Duration::from_millis(1500)))), program("b", None)],
        vec![map, ring],
    );
    let samples = scrape(&telemetry);
    assert_eq!(samples["isotherm_agent_probe_runs_total{program=\"a\"}"], 7.0);
    assert_eq!(samples["isotherm_agent_probe_run_seconds_total{program=\"a\"}"], 1.5);
    assert!(!samples.contains_key("isotherm_agent_probe_runs_total{program=\"b\"}"));
    assert_eq!(samples["isotherm_agent_probe_missed_runs_total{program=\"b\"}"], 1.0);
    assert_eq!(samples["isotherm_agent_map_memory_bytes{map=\"FILES\"}"], 4096.0);
    assert_eq!(samples.keys().filter(|name| name.contains("NAMES")).count(), 1);
}

#[test]
fn delivery_tells_ages_at_the_moment_of_the_scrape() {
    let telemetry = Arc::new(Telemetry::default());
    telemetry.spooled(1000, 2, Some(Timestamp::from_ms(20_000)));
    telemetry.acknowledged(3, Some(Timestamp::from_ms(20_500)));
    telemetry.acknowledged(2, Some(Timestamp::from_ms(21_000)));
    telemetry.connected(true);
    let samples = scrape(&telemetry);
    assert_eq!(samples["isotherm_agent_spool_bytes"], 1000.0);
    assert_eq!(samples["isotherm_agent_spool_oldest_age_seconds"], 6.0);
    assert_eq!(samples["isotherm_agent_uplink_lag_seconds"], 5.0);
    assert_eq!(samples["isotherm_agent_uplink_acknowledged_batches_total"], 5.0);
    assert_eq!(samples["isotherm_agent_uplink_connected"], 1.0);
    telemetry.spooled(0, 0, None);
    assert!(!scrape(&telemetry).contains_key("isotherm_agent_spool_oldest_age_seconds"));
}
