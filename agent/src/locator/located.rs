//! The rules of one target that locators make: exact paths, ports and parts of devices.
//!
//! A look takes the same time however many partitions there are: a node may hold ten thousand.

use super::findings::{Findings, Kind};
use crate::rule::{DeviceRule, Rules};
use isotherm_model::{NodeId, OtherReason, PartitionId, Subject, UnattributedReason};
use isotherm_proto::{DeviceRange, Locator};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::path::Path;
use std::sync::Arc;

/// Bytes of a sector.
const SECTOR_BYTES: u64 = 512;

/// The rules of one target that locators make. Cheap to clone, and to compare with what it was cloned from.
#[derive(Debug, Clone, Default)]
pub struct Located(Arc<Places>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Places {
    files: HashMap<String, Claim>,
    ports: HashMap<u16, Claim>,
    devices: Vec<DeviceRule>,
    partitions: usize,
}

/// Whose a place is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Claim {
    Partition(PartitionId),
    /// Two partitions are said to lie there.
    Disputed,
}

impl PartialEq for Located {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for Located {}

impl Located {
    /// Rules for a node from where its partitions lie. `rules` are those of the configuration: what they claim is
    /// left out. What cannot be used is added to the findings.
    pub(super) fn new<'a>(
        node: &NodeId,
        rules: &Rules,
        known: impl Iterator<Item = (&'a PartitionId, &'a [Locator])>,
        findings: &mut Findings,
    ) -> Self {
        let mut places = Places::default();
        for (partition, locators) in known {
            let mut made = 0;
            for locator in locators {
                made += places.add(&Claimant { node, rules, partition }, locator, findings);
                findings.unused(Kind::KeyRange, locator.key_ranges.len());
                findings.unused(Kind::Relation, locator.relations.len());
                findings.unused(Kind::Slot, locator.slots.len());
            }
            // What the configuration claims alike is told apart, too, but not by its locators.
            places.partitions += usize::from(made > 0);
        }
        findings.partitions += places.partitions;
        Self(Arc::new(places))
    }

    /// Whom a file belongs to.
    pub(crate) fn claim_path(&self, path: &str) -> Subject {
        self.0.files.get(path).map_or(Subject::Other(OtherReason::NoRule), Claim::subject)
    }

    /// Whom a connection belongs to that came to a port.
    pub(crate) fn claim_port(&self, port: u16) -> Subject {
        self.0.ports.get(&port).map_or(Subject::Other(OtherReason::NoRule), Claim::subject)
    }

    /// Parts of devices.
    pub(crate) fn devices(&self) -> &[DeviceRule] {
        &self.0.devices
    }

    /// Partitions that have a rule.
    #[must_use]
    pub fn partitions(&self) -> usize {
        self.0.partitions
    }
}

/// A partition on a node, and the rules of the configuration, which win.
struct Claimant<'a> {
    node: &'a NodeId,
    rules: &'a Rules,
    partition: &'a PartitionId,
}

impl Claimant<'_> {
    /// Whether rules of the configuration leave a place to locators. Where they claim it for somebody else, that is
    /// a finding.
    fn may_have(&self, claimed: &Subject, findings: &mut Findings, place: impl FnOnce() -> String) -> bool {
        let others = match claimed {
            Subject::Other(OtherReason::NoRule) => return true,
            Subject::Partition(id) if id == self.partition => return false,
            Subject::Partition(id) => format!("partition {}", id.name()),
            Subject::Other(reason) => reason.to_string(),
            Subject::Unattributed(reason) => reason.to_string(),
        };
        let (node, partition) = (self.node, self.partition.name());
        findings.overruled.add(|| {
            format!("{} of {node}, which is {others} by rule and partition {partition} by locator", place())
        });
        false
    }
}

impl Places {
    /// Adds what a locator names; says how many rules that made.
    fn add(&mut self, of: &Claimant<'_>, locator: &Locator, findings: &mut Findings) -> usize {
        let Claimant { node, rules, partition } = of;
        let mut made = 0;
        for file in &locator.files {
            let shown = || format!("file {file}");
            if of.may_have(&rules.claim_path(node, file), findings, shown) {
                made += put(&mut self.files, file.clone(), partition, findings, shown);
            }
        }
        for port in &locator.ports {
            let shown = || format!("port {port}");
            if of.may_have(&rules.claim_port(node, *port), findings, shown) {
                made += put(&mut self.ports, *port, partition, findings, shown);
            }
        }
        for range in &locator.devices {
            made += usize::from(self.add_device(of, range, findings));
        }
        made
    }

    fn add_device(&mut self, of: &Claimant<'_>, range: &DeviceRange, findings: &mut Findings) -> bool {
        let Some(rule) = device_rule(range, of.partition) else {
            findings.unused(Kind::UnalignedDevice, 1);
            return false;
        };
        let shown = || format!("{} from sector {} on", range.device, range.first_sector);
        if let Some(other) = of.rules.overlapping(&rule) {
            let partition = of.partition.name();
            findings.overruled.add(|| {
                let theirs = other.summary();
                format!("{}, of which a rule has {theirs} and a locator this for {partition}", shown())
            });
            return false;
        }
        // Rules that disagree over a stripe give it to nobody, so both stay.
        if self.devices.iter().any(|other| other.overlaps(&rule)) {
            findings.disputed.add(shown);
        }
        self.devices.push(rule);
        true
    }
}

fn put<K: Eq + Hash>(
    places: &mut HashMap<K, Claim>,
    place: K,
    partition: &PartitionId,
    findings: &mut Findings,
    shown: impl FnOnce() -> String,
) -> usize {
    match places.entry(place) {
        Entry::Vacant(free) => {
            free.insert(Claim::Partition(partition.clone()));
            1
        }
        Entry::Occupied(taken) if matches!(taken.get(), Claim::Partition(id) if id == partition) => 0,
        Entry::Occupied(mut taken) => {
            taken.insert(Claim::Disputed);
            findings.disputed.add(shown);
            0
        }
    }
}

/// `None` where the range does not fit the stripes by which devices are counted.
fn device_rule(range: &DeviceRange, partition: &PartitionId) -> Option<DeviceRule> {
    let from = range.first_sector.checked_mul(SECTOR_BYTES)?;
    let to = from.checked_add(range.sectors.checked_mul(SECTOR_BYTES)?)?;
    // A dollar sign of the id is no reference.
    let template = partition.name().replace('$', "$$");
    DeviceRule::new(Path::new(&range.device), from, Some(to), None, &template).ok()
}

impl Claim {
    fn subject(&self) -> Subject {
        match self {
            Self::Partition(id) => Subject::Partition(id.clone()),
            Self::Disputed => Subject::Unattributed(UnattributedReason::RulesDisagree),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
