//! An agent's inner parts in the hands of a test.

use isotherm_agent::attribution::Attribution;
use isotherm_agent::config::Target;
use isotherm_agent::discovery::Selector;
use isotherm_agent::locator::Located;
use isotherm_agent::mounts::device_name;
use isotherm_agent::probe::{Capacity, Probe, Reading, TargetIndex};
use isotherm_agent::rights;
use isotherm_agent::rule::Rule;
use isotherm_agent::upkeep::Upkeep;
use isotherm_agent::window::{Cutter, Host, Span, Told, Watching};
use isotherm_agent_ebpf::Part;
use isotherm_model::{
    AgentId, Completeness, Layer, NodeId, NodeWindow, Operation, Row, Subject, SystemId, Timestamp,
    UnattributedReason, Window,
};
use isotherm_tests::skip::skipped;
use std::path::Path;

/// Room for all that a test touches.
pub(crate) const ROOM: Capacity = Capacity { files: 4_096, blocks: 4_096, peers: 64 };

/// No file is idle for so many readings.
pub(crate) const FOREVER: u64 = 1_000_000;

/// Probe, attribution and cutter, as the watcher has them.
pub(crate) struct Agent {
    pub(crate) probe: Probe,
    pub(crate) attribution: Attribution,
    cutter: Cutter,
    upkeep: Upkeep,
    watching: Watching,
    pids: Vec<u32>,
    nodes: Vec<Told>,
    host: Host,
}

/// So many targets with the same rules. None of them selects a process by itself.
pub(crate) fn targets(count: usize, rules: &[Rule]) -> Vec<Target> {
    let system = SystemId::new("truth").unwrap();
    let node = |index| NodeId::new(system.clone(), format!("node-{index}")).unwrap();
    let target = |index| Target {
        node: node(index),
        select: Selector::default(),
        rules: rules.to_vec(),
        located: Located::default(),
    };
    (0..count).map(target).collect()
}

/// Every file of a folder is a partition of its own.
pub(crate) fn files_of(folder: &Path) -> Rule {
    let folder = folder.canonicalize().unwrap();
    Rule::path(&format!("^{}/([^/]+)$", escaped(&folder.to_string_lossy())), "$1").unwrap()
}

pub(crate) fn escaped(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_alphanumeric() || c == '/' { vec![c] } else { vec!['\\', c] }).collect()
}

impl Agent {
    /// `None`, told as skipped, where the rights are missing.
    pub(crate) fn start(test: &str, targets: &[Target], capacity: Capacity) -> Option<Self> {
        Self::with_limit(test, targets, capacity, 10_000)
    }

    /// With so many partitions at most.
    pub(crate) fn with_limit(
        test: &str,
        targets: &[Target],
        capacity: Capacity,
        max_partitions: usize,
    ) -> Option<Self> {
        if let Err(missing) = rights::check() {
            skipped(test, &missing.to_string());
            return None;
        }
        let mut probe = Probe::attach(capacity).unwrap();
        let nodes = targets.iter().enumerate().map(|(index, target)| {
            probe.add_target(TargetIndex::new(index).unwrap()).unwrap();
            Told { target: index as u32, node: target.node.clone(), processes: 1, listening: Vec::new() }
        });
        let nodes = nodes.collect();
        Some(Self {
            watching: Watching { layers: probe.layers(), latency: probe.has(Part::BlockLatency) },
            probe,
            attribution: Attribution::new(targets, max_partitions),
            cutter: Cutter::default(),
            upkeep: Upkeep::default(),
            pids: Vec::new(),
            nodes,
            host: Host { agent: AgentId::new("agent").unwrap(), device_name },
        })
    }

    pub(crate) fn watch(&mut self, pid: u32, target: usize) {
        self.probe.watch(pid, TargetIndex::new(target).unwrap()).unwrap();
        self.pids.push(pid);
        self.attribution.set_viewers(self.pids.iter().copied());
    }

    pub(crate) fn learn(&mut self) {
        self.attribution.learn(self.probe.take_names());
    }

    pub(crate) fn upkeep(&mut self, idle_readings: u64) {
        let Self { probe, attribution, cutter, upkeep, .. } = self;
        upkeep.run(probe, cutter, attribution, idle_readings, |_| None).unwrap();
    }

    /// Everything since the last cut. The kernel's totals and the entries have to agree, while others are at
    /// work, too.
    pub(crate) fn cut(&mut self) -> Window {
        self.learn();
        let mut round = self.cutter.round(&mut self.attribution, &self.watching);
        let totals = self.probe.visit(&mut round).unwrap();
        round.attribute().learn(self.probe.take_names());
        let span =
            Span { start: Timestamp::from_ms(0), length_ms: 1_000, completeness: Completeness::Complete };
        let (window, unbalanced) = round.finish(&totals, span, &self.nodes, &self.host, &self.watching);
        assert_eq!(unbalanced, []);
        for node in &window.nodes {
            node.check_conserved().unwrap();
        }
        window
    }

    pub(crate) fn read(&mut self) -> Reading {
        self.probe.read().unwrap()
    }
}

/// The row of a partition.
pub(crate) fn row<'a>(
    node: &'a NodeWindow,
    layer: Layer,
    operation: Operation,
    partition: &str,
) -> Option<&'a Row> {
    node.rows.iter().find(|row| {
        (row.layer, row.operation) == (layer, operation)
            && matches!(&row.subject, Subject::Partition(id) if id.name() == partition)
    })
}

/// Operations of a layer that are nobody's, by reason.
/// The host and its devices as one node: what was nobody's.
pub(crate) fn host(window: &Window) -> NodeWindow {
    let mut hosts = window.nodes.iter().filter(|node| node.node.is_host()).cloned();
    let mut all = hosts.next().unwrap();
    all.rows.extend(hosts.flat_map(|node| node.rows));
    all
}

pub(crate) fn unattributed(window: &Window, layer: Layer) -> Vec<(UnattributedReason, u64)> {
    let rows = window.nodes.iter().flat_map(|node| &node.rows).filter(|row| row.layer == layer);
    rows.filter_map(|row| match row.subject {
        Subject::Unattributed(reason) => Some((reason, row.counts.ops)),
        Subject::Partition(_) | Subject::Other(_) => None,
    })
    .collect()
}
