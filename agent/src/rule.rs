//! From a path, a port or a place on a device to a partition: the rules of a target.

mod device;
mod path;
mod port;

pub use device::DeviceRule;
pub use path::PathRule;
pub use port::PortRule;

use crate::config::Target;
use crate::locator::Located;
use isotherm_agent_ebpf::{MIN_STRIPE_SHIFT, Stripes};
use isotherm_model::{NodeId, OtherReason, PartitionId, Subject, UnattributedReason};
use std::collections::BTreeMap;
use std::path::Path;

/// Says what belongs to which partition.
#[derive(Debug, Clone)]
pub enum Rule {
    /// Files, by path.
    Path(PathRule),
    /// Connections, by the port that they came to.
    Port(PortRule),
    /// Parts of a block device.
    Device(DeviceRule),
}

impl Rule {
    /// See [`PathRule::new`].
    pub fn path(path: &str, partition: &str) -> Result<Self, RuleError> {
        PathRule::new(path, partition).map(Self::Path)
    }

    /// See [`PortRule::new`].
    pub fn port(ports: &str, partition: &str) -> Result<Self, RuleError> {
        PortRule::new(ports, partition).map(Self::Port)
    }

    /// Whether it is written the same way, and so claims the same for the same partitions.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        let same_template = |one: &PathRule, other: &PathRule| one.template() == other.template();
        self.claims_as(other)
            && match (self, other) {
                (Self::Path(one), Self::Path(other)) => same_template(one, other),
                (Self::Port(one), Self::Port(other)) => one == other,
                (Self::Path(_) | Self::Port(_) | Self::Device(_), _) => true,
            }
    }

    /// Whether it claims just what another claims.
    #[must_use]
    pub fn claims_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Path(one), Self::Path(other)) => one.pattern() == other.pattern(),
            (Self::Port(one), Self::Port(other)) => one.ports() == other.ports(),
            (Self::Device(one), Self::Device(other)) => one == other,
            (Self::Path(_) | Self::Port(_) | Self::Device(_), _) => false,
        }
    }
}

/// A rule that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// Not a regular expression; its own text shows where.
    #[error(transparent)]
    Path(regex::Error),
    /// The partition refers to a group that the expression does not have.
    #[error("${name} is no group of the path, nor ${{port}} of a port or ${{stripe}} of a device")]
    UnknownCapture {
        /// The group.
        name: String,
    },
    /// A range of ports that is none.
    #[error("{text:?} is no port or range of ports such as 6379 or \"7000-7010\"")]
    Ports {
        /// As given.
        text: String,
    },
    /// A part of a device that does not fit stripes.
    #[error(
        "{bytes} bytes: parts of a device begin, end and are divided at multiples of {} KiB",
        (1u64 << MIN_STRIPE_SHIFT) >> 10
    )]
    Alignment {
        /// The number that does not fit.
        bytes: u64,
    },
    /// A stripe's size that is no power of two.
    #[error("{bytes} bytes are no power of two")]
    Stripe {
        /// As given.
        bytes: u64,
    },
    /// A part of a device that ends where it begins, or before.
    #[error("ends at byte {to}, but begins at {from}")]
    Empty {
        /// Begin.
        from: u64,
        /// End.
        to: u64,
    },
    /// The partition refers to no group at all.
    #[error("names no group of the path, so that all files would be one partition")]
    Constant,
}

/// All rules of a target.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    paths: Vec<PathRule>,
    ports: Vec<PortRule>,
    devices: Vec<DeviceRule>,
    /// Rules by locators, which have what the others leave.
    located: Located,
    /// log2 of the stripes that the kernel counts, by device, and the rules that name it, those by locators last.
    stripes: BTreeMap<u32, (u8, Vec<usize>)>,
}

impl Rules {
    /// Sorted by kind. Devices are looked up by [`find_devices`](Self::find_devices).
    #[must_use]
    pub fn new(rules: &[Rule]) -> Self {
        let mut sorted = Self::default();
        for rule in rules {
            match rule {
                Rule::Path(rule) => sorted.paths.push(rule.clone()),
                Rule::Port(rule) => sorted.ports.push(rule.clone()),
                Rule::Device(rule) => sorted.devices.push(rule.clone()),
            }
        }
        sorted
    }

    /// Those of a target, by its configuration and by locators.
    #[must_use]
    pub fn of(target: &Target) -> Self {
        Self { located: target.located.clone(), ..Self::new(&target.rules) }
    }

    /// Learns the numbers of the devices that rules name, by a look-up that gives one in kernel form. Returns how
    /// each is to be counted for a target, and the paths that are no device. Locators' are left out.
    pub fn find_devices(
        &mut self,
        target: u32,
        number_of: impl Fn(&Path) -> Option<u32>,
    ) -> (Vec<(u32, Stripes)>, Vec<&Path>) {
        self.find_devices_where(target, number_of, &|_| false)
    }

    /// The same with the devices that locators name, where `may_locate` holds for their number.
    pub fn find_devices_where(
        &mut self,
        target: u32,
        number_of: impl Fn(&Path) -> Option<u32>,
        may_locate: &dyn Fn(u32) -> bool,
    ) -> (Vec<(u32, Stripes)>, Vec<&Path>) {
        self.stripes.clear();
        let mut missing = Vec::new();
        for (index, rule) in self.devices.iter().chain(self.located.devices()).enumerate() {
            let is_located = index >= self.devices.len();
            match number_of(rule.device()) {
                Some(dev) if is_located && !may_locate(dev) => {}
                Some(dev) => {
                    let (shift, rules) = self.stripes.entry(dev).or_insert((rule.granularity(), Vec::new()));
                    *shift = (*shift).min(rule.granularity()).max(MIN_STRIPE_SHIFT);
                    rules.push(index);
                }
                None => missing.push(rule.device()),
            }
        }
        let stripes = self.stripes.iter();
        let stripes = stripes.map(|(dev, (shift, _))| (*dev, Stripes { target, shift: u32::from(*shift) }));
        (stripes.collect(), missing)
    }

    /// Whom a file belongs to. Two rules that claim it for different partitions disagree, and nobody gets it; the
    /// log says which.
    #[must_use]
    pub fn claim_path(&self, node: &NodeId, path: &str) -> Subject {
        let mut claims = self.paths.iter().filter_map(|rule| Some((rule, rule.claim(path)?)));
        let Some((first, id)) = claims.next() else { return self.located.claim_path(path) };
        if let Some((second, other)) = claims.find(|(_, other)| *other != id) {
            tracing::warn!(
                %node, path,
                "two rules claim one file: {:?} for partition {id}, {:?} for partition {other}",
                first.pattern(), second.pattern(),
            );
            return Subject::Unattributed(UnattributedReason::RulesDisagree);
        }
        named(node, id, &|| format!("rule {:?} claims {path}", first.pattern()))
    }

    /// Whom a connection belongs to that came to a port; 0 for one that the node opened.
    #[must_use]
    pub fn claim_port(&self, node: &NodeId, port: u16) -> Subject {
        let claims = self.ports.iter().filter(|_| port != 0).filter_map(|rule| rule.claim(port));
        match only(node, claims, &|| format!("a rule claims port {port}")) {
            Subject::Other(OtherReason::NoRule) => self.located.claim_port(port),
            claimed @ (Subject::Partition(_) | Subject::Other(_) | Subject::Unattributed(_)) => claimed,
        }
    }

    /// Whom a stripe of a device belongs to.
    #[must_use]
    pub fn claim_stripe(&self, node: &NodeId, dev: u32, stripe: u64) -> Subject {
        let Some((shift, rules)) = self.stripes.get(&dev) else { return Subject::Other(OtherReason::NoRule) };
        let address = stripe << shift;
        let all = || self.devices.iter().chain(self.located.devices());
        let claims = rules.iter().filter_map(|index| all().nth(*index)?.claim(address));
        only(node, claims, &|| format!("a rule claims byte {address} of a device"))
    }

    /// A rule of the configuration over a part of a device that another rule names, too.
    #[must_use]
    pub fn overlapping(&self, rule: &DeviceRule) -> Option<&DeviceRule> {
        self.devices.iter().find(|own| own.overlaps(rule))
    }

    /// Devices that rules of the configuration name.
    pub fn devices(&self) -> impl Iterator<Item = &Path> {
        self.devices.iter().map(DeviceRule::device)
    }

    /// Whether locators name devices.
    #[must_use]
    pub fn locates_devices(&self) -> bool {
        !self.located.devices().is_empty()
    }
}

fn only(node: &NodeId, mut claims: impl Iterator<Item = String>, what: &dyn Fn() -> String) -> Subject {
    let Some(id) = claims.next() else { return Subject::Other(OtherReason::NoRule) };
    if let Some(other) = claims.find(|other| *other != id) {
        tracing::warn!(%node, "{} for partition {id}, and another one for {other}", what());
        return Subject::Unattributed(UnattributedReason::RulesDisagree);
    }
    named(node, id, what)
}

fn named(node: &NodeId, id: String, what: &dyn Fn() -> String) -> Subject {
    match PartitionId::new(node.system().clone(), id) {
        Ok(partition) => Subject::Partition(partition),
        Err(error) => {
            tracing::warn!("{}, but {error}", what());
            Subject::Other(OtherReason::NoRule)
        }
    }
}

/// A template may refer to one name only.
fn check_references(template: &str, known: &str) -> Result<(), RuleError> {
    match path::references(template).into_iter().find(|name| name != known) {
        Some(name) => Err(RuleError::UnknownCapture { name }),
        None => Ok(()),
    }
}

/// A template with its one name replaced.
fn expand(template: &str, name: &str, value: &str) -> String {
    let marker = "\u{0}";
    let text = template.replace("$$", marker);
    text.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value).replace(marker, "$")
}

#[cfg(test)]
mod tests;
