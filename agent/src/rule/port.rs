//! Rules over the ports that a node listens on.

use super::RuleError;
use std::ops::RangeInclusive;

/// A range of ports, each of which is a partition; or all of them one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRule {
    ports: RangeInclusive<u16>,
    partition: String,
}

impl PortRule {
    /// `ports` as `6379` or `7000-7010`. `partition` may refer to the port as `$port` or `${port}`.
    pub fn new(ports: &str, partition: &str) -> Result<Self, RuleError> {
        let wrong = || RuleError::Ports { text: ports.to_owned() };
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let first: u16 = first.trim().parse().map_err(|_| wrong())?;
        let last: u16 = last.trim().parse().map_err(|_| wrong())?;
        if first == 0 || last < first {
            return Err(wrong());
        }
        super::check_references(partition, "port")?;
        Ok(Self { ports: first..=last, partition: partition.to_owned() })
    }

    /// The ports.
    #[must_use]
    pub fn ports(&self) -> &RangeInclusive<u16> {
        &self.ports
    }

    /// The partition's id, if the rule claims the port.
    #[must_use]
    pub fn claim(&self, port: u16) -> Option<String> {
        self.ports.contains(&port).then(|| super::expand(&self.partition, "port", &port.to_string()))
    }
}
