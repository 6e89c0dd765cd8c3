//! The numbers as OpenMetrics text.

use super::{Class, Counted, Telemetry};
use crate::locator::Kind;
use isotherm_model::{Layer, LostReason, OtherReason, Timestamp, UnattributedReason};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Before the name of every metric of the agent's.
const PREFIX: &str = "isotherm_agent";

/// All metrics at wall-clock `now`, in the text format of OpenMetrics 1.0.
pub fn text(telemetry: &Arc<Telemetry>, now: Timestamp) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { telemetry: Arc::clone(telemetry), now }));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Scrape {
    telemetry: Arc<Telemetry>,
    now: Timestamp,
}

/// One value with its labels.
type Sample<'a> = (Vec<(&'static str, &'a str)>, Value);

#[derive(Clone, Copy)]
enum Value {
    Whole(u64),
    Seconds(f64),
}

/// Name without prefix and unit, unit, help.
struct Family(&'static str, Option<Unit>, &'static str);

struct Output<'a>(DescriptorEncoder<'a>);

impl Output<'_> {
    fn family(&mut self, kind: MetricType, family: &Family, samples: Vec<Sample<'_>>) -> fmt::Result {
        if samples.is_empty() {
            return Ok(());
        }
        let Family(name, unit, help) = family;
        let name =
            if *name == "process_resident_memory" { (*name).to_owned() } else { format!("{PREFIX}_{name}") };
        let mut encoder = self.0.encode_descriptor(&name, help, unit.as_ref(), kind)?;
        for (labels, value) in samples {
            if labels.is_empty() {
                one(&mut encoder, kind, value)?;
            } else {
                one(&mut encoder.encode_family(&labels)?, kind, value)?;
            }
        }
        Ok(())
    }

    fn counters(&mut self, family: &Family, samples: Vec<Sample<'_>>) -> fmt::Result {
        self.family(MetricType::Counter, family, samples)
    }

    fn gauges(&mut self, family: &Family, samples: Vec<Sample<'_>>) -> fmt::Result {
        self.family(MetricType::Gauge, family, samples)
    }
}

fn one(encoder: &mut MetricEncoder<'_>, kind: MetricType, value: Value) -> fmt::Result {
    let counter = matches!(kind, MetricType::Counter);
    match value {
        Value::Whole(value) if counter => encoder.encode_counter::<NoLabelSet, u64, u64>(&value, None),
        Value::Seconds(value) if counter => encoder.encode_counter::<NoLabelSet, f64, u64>(&value, None),
        Value::Whole(value) => encoder.encode_gauge(&value),
        Value::Seconds(value) => encoder.encode_gauge(&value),
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counted = self.telemetry.counted().clone();
        let mut out = Output(encoder);
        let version =
            prometheus_client::metrics::info::Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        let name = format!("{PREFIX}_build");
        let encoder = out.0.encode_descriptor(&name, "Version of the agent", None, MetricType::Info)?;
        version.encode(encoder)?;
        windows(&mut out, &counted)?;
        accesses(&mut out, &counted)?;
        probe(&mut out, &counted)?;
        rules(&mut out, &counted)?;
        self.delivery(&mut out)?;
        self.agent(&mut out)
    }
}

fn windows(out: &mut Output<'_>, counted: &Counted) -> fmt::Result {
    let windows =
        counted.windows.iter().map(|(word, count)| (vec![("completeness", *word)], Value::Whole(*count)));
    out.counters(&Family("windows", None, "Windows cut"), windows.collect())?;
    let end = counted.last_end.map(|end| (Vec::new(), Value::Seconds(seconds(end.as_ms()))));
    out.gauges(
        &Family("last_window_end_timestamp", Some(Unit::Seconds), "End of the last window cut, since 1970"),
        end.into_iter().collect(),
    )?;
    let processes = counted.processes.iter().map(|(node, count)| {
        (vec![("system", node.system().as_str()), ("node", node.name())], Value::Whole((*count).into()))
    });
    out.gauges(
        &Family("target_processes", None, "Processes of each target at the end of the last window"),
        processes.collect(),
    )
}

/// Where the rules of targets come from, and what of locators is no rule.
fn rules(out: &mut Output<'_>, counted: &Counted) -> fmt::Result {
    let samples = counted.rules.iter().flat_map(|(node, counts)| {
        ["config", "locators"].into_iter().zip(counts).map(|(source, count)| {
            let labels = vec![("system", node.system().as_str()), ("node", node.name()), ("source", source)];
            (labels, Value::Whole(*count as u64))
        })
    });
    out.gauges(
        &Family(
            "target_rules",
            None,
            "Rules of each target: of the configuration, and partitions by locators",
        ),
        samples.collect(),
    )?;
    let located = counted.located.as_ref();
    let revision = located.map(|found| (Vec::new(), Value::Whole(found.revision)));
    out.gauges(
        &Family("locators_revision", None, "Revision of the locators in force"),
        revision.into_iter().collect(),
    )?;
    let places = located.into_iter().flat_map(|found| {
        let unused = Kind::ALL
            .into_iter()
            .map(|kind| (kind.as_str(), found.unused.get(&kind).copied().unwrap_or_default()));
        unused.chain([("overruled", found.overruled.count), ("disputed", found.disputed.count)])
    });
    let places = places.map(|(reason, count)| (vec![("reason", reason)], Value::Whole(count as u64)));
    out.gauges(
        &Family(
            "locators_unused",
            None,
            "Places of locators that are no rule: of a kind that the agent cannot use, overruled, or disputed",
        ),
        places.collect(),
    )
}

fn accesses(out: &mut Output<'_>, counted: &Counted) -> fmt::Result {
    let mut ops = Vec::new();
    let mut bytes = Vec::new();
    for (layer, operation) in &counted.watched {
        for class in classes().filter(|class| concerns(*class, *layer)) {
            let (word, reason) = match class {
                Class::Partition => ("partition", ""),
                Class::Other(reason) => ("other", reason.as_str()),
                Class::Unattributed(reason) => ("unattributed", reason.as_str()),
            };
            let labels = vec![
                ("layer", layer.as_str()),
                ("operation", operation.as_str()),
                ("class", word),
                ("reason", reason),
            ];
            let counts = counted.accesses.get(&(*layer, *operation, class)).copied().unwrap_or_default();
            ops.push((labels.clone(), Value::Whole(counts.ops)));
            bytes.push((labels, Value::Whole(counts.bytes)));
        }
    }
    out.counters(
        &Family(
            "accesses",
            None,
            "Accesses counted, by what they belong to; all classes together are the total",
        ),
        ops,
    )?;
    out.counters(
        &Family("accessed", Some(Unit::Bytes), "Bytes that the accesses counted really moved"),
        bytes,
    )?;
    let lost = |reason: &LostReason| {
        let events = counted.lost.get(reason).copied().unwrap_or_default();
        (vec![("reason", reason.as_str())], Value::Whole(events))
    };
    let lost =
        if counted.watched.is_empty() { Vec::new() } else { LostReason::ALL.iter().map(lost).collect() };
    out.counters(&Family("lost_events", None, "Events that were missed, and are in no count"), lost)
}

fn classes() -> impl Iterator<Item = Class> {
    let other = OtherReason::ALL.iter().map(|reason| Class::Other(*reason));
    let unattributed = UnattributedReason::ALL.iter().map(|reason| Class::Unattributed(*reason));
    std::iter::once(Class::Partition).chain(other).chain(unattributed)
}

/// Whether a class can occur in a layer.
fn concerns(class: Class, layer: Layer) -> bool {
    match class {
        Class::Other(OtherReason::Metadata | OtherReason::Journal | OtherReason::NoTarget)
        | Class::Unattributed(UnattributedReason::NoFile | UnattributedReason::SeveralTargets) => {
            layer == Layer::Device
        }
        Class::Unattributed(UnattributedReason::PeersFull) => layer == Layer::Network,
        Class::Partition
        | Class::Other(OtherReason::NoRule | OtherReason::PartitionLimit)
        | Class::Unattributed(
            UnattributedReason::NoPath | UnattributedReason::FilesFull | UnattributedReason::RulesDisagree,
        ) => true,
    }
}

fn probe(out: &mut Output<'_>, counted: &Counted) -> fmt::Result {
    let (mut runs, mut time, mut missed) = (Vec::new(), Vec::new(), Vec::new());
    for program in &counted.programs {
        let label = vec![("program", program.name.as_str())];
        if let Some((count, duration)) = program.runs {
            runs.push((label.clone(), Value::Whole(count)));
            time.push((label.clone(), Value::Seconds(duration.as_secs_f64())));
        }
        missed.extend(program.missed_runs.map(|count| (label, Value::Whole(count))));
    }
    out.counters(
        &Family("probe_runs", None, "Runs of each kernel program, while the kernel's bpf_stats are on"),
        runs,
    )?;
    out.counters(
        &Family("probe_run", Some(Unit::Seconds), "Time that the counted runs of each kernel program took"),
        time,
    )?;
    out.counters(
        &Family(
            "probe_missed_runs",
            None,
            "Runs of each kernel program that the kernel skipped, as it was running already",
        ),
        missed,
    )?;
    let (mut entries, mut capacity, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    for map in &counted.maps {
        let label = vec![("map", map.name.as_str())];
        entries.extend(map.entries.map(|count| (label.clone(), Value::Whole(count))));
        capacity.push((label.clone(), Value::Whole(map.capacity)));
        memory.extend(map.memory_bytes.map(|bytes| (label, Value::Whole(bytes))));
    }
    out.gauges(
        &Family("map_entries", None, "Entries in use of each kernel map whose entries are counted"),
        entries,
    )?;
    out.gauges(
        &Family("map_capacity_entries", None, "Entries that each kernel map has room for; bytes for a ring"),
        capacity,
    )?;
    out.gauges(
        &Family("map_memory", Some(Unit::Bytes), "Kernel memory of each map, copies per CPU included"),
        memory,
    )
}

impl Scrape {
    fn delivery(&self, out: &mut Output<'_>) -> fmt::Result {
        let telemetry = &self.telemetry;
        let whole =
            |value: Option<u64>| value.map(|value| (Vec::new(), Value::Whole(value))).into_iter().collect();
        let age = |since: Option<u64>| -> Vec<Sample<'_>> {
            let age = since.map(|since| seconds(self.now.as_ms().saturating_sub(since)));
            age.map(|age| (Vec::new(), Value::Seconds(age))).into_iter().collect()
        };
        out.gauges(
            &Family("spool", Some(Unit::Bytes), "Bytes that wait for the analyzer"),
            whole(telemetry.spool_bytes.get()),
        )?;
        out.gauges(
            &Family("spool_batches", None, "Batches that wait for the analyzer"),
            whole(telemetry.spool_batches.get()),
        )?;
        out.gauges(
            &Family(
                "spool_oldest_age",
                Some(Unit::Seconds),
                "Age of the oldest window that waits for the analyzer",
            ),
            age(telemetry.spool_oldest_ms.get()),
        )?;
        out.gauges(
            &Family("uplink_connected", None, "1 while the analyzer takes batches, 0 otherwise"),
            whole(telemetry.connected.get()),
        )?;
        out.counters(
            &Family("uplink_acknowledged_batches", None, "Batches that the analyzer has for good"),
            whole(telemetry.acknowledged_batches.get()),
        )?;
        out.gauges(
            &Family(
                "uplink_lag",
                Some(Unit::Seconds),
                "Time since the end of the last window that the analyzer has",
            ),
            age(telemetry.acknowledged_end_ms.get()),
        )?;
        out.counters(
            &Family("uplink_given_up_batches", None, "Batches that the analyzer will never have"),
            whole(telemetry.given_up_batches.get()),
        )
    }

    fn agent(&self, out: &mut Output<'_>) -> fmt::Result {
        let failures = self.telemetry.conservation_failures.load(Relaxed);
        out.counters(
            &Family("conservation_failures", None, "Sums that did not agree with the kernel's own totals"),
            vec![(Vec::new(), Value::Whole(failures))],
        )?;
        let [refused, taken] = &self.telemetry.reloads;
        out.counters(
            &Family("reloads", None, "Changed configurations, by whether they were taken"),
            vec![
                (vec![("result", "taken")], Value::Whole(taken.load(Relaxed))),
                (vec![("result", "refused")], Value::Whole(refused.load(Relaxed))),
            ],
        )?;
        let refused = self.telemetry.refused_locators.load(Relaxed);
        out.counters(
            &Family("locators_refused", None, "Messages with locators that could not be believed"),
            vec![(Vec::new(), Value::Whole(refused))],
        )?;
        let memory = resident_bytes().map(|bytes| (Vec::new(), Value::Whole(bytes)));
        out.gauges(
            &Family("process_resident_memory", Some(Unit::Bytes), "Resident memory of the agent's process"),
            memory.into_iter().collect(),
        )
    }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// From /proc/self/statm, whose second number is in pages.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * procfs::page_size())
}

#[cfg(test)]
mod tests;
