//! Identities. Each id is a type of its own, and a name is checked once, where it is made.
//!
//! Copies of an id share its names: a node is named by every partition that it holds, and a system by all of both.

use std::fmt;
use std::sync::Arc;

/// The longest name of a system, node, partition or agent, in bytes.
///
/// Generous for `host:port` and for the ids of every store Isotherm knows, and small enough that a
/// hundred thousand partitions stay cheap.
pub const MAX_NAME_LEN: usize = 256;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing was given.
    #[error("{what} is empty")]
    Empty {
        /// Which id was being made.
        what: &'static str,
    },
    /// More than [`MAX_NAME_LEN`] bytes.
    #[error("{what} has {len} bytes, more than the {MAX_NAME_LEN} allowed")]
    TooLong {
        /// Which id was being made.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
    },
    /// A control character, which would break tables and logs.
    #[error("{what} {name:?} contains a control character")]
    Control {
        /// Which id was being made.
        what: &'static str,
        /// The text as given.
        name: String,
    },
}

fn checked(what: &'static str, name: String) -> Result<Arc<str>, InvalidName> {
    if name.is_empty() {
        Err(InvalidName::Empty { what })
    } else if name.len() > MAX_NAME_LEN {
        Err(InvalidName::TooLong { what, len: name.len() })
    } else if name.chars().any(char::is_control) {
        Err(InvalidName::Control { what, name })
    } else {
        Ok(name.into())
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks a name: not empty, at most [`MAX_NAME_LEN`] bytes, no control characters.
            pub fn new(name: impl Into<String>) -> Result<Self, InvalidName> {
                checked($what, name.into()).map(Self)
            }

            /// The name as given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// A storage system: one cluster of one kind of store, such as `seaweedfs` or `orders-pg`.
    SystemId,
    "system"
);
name_type!(
    /// One agent: normally the name of the host it runs on.
    AgentId,
    "agent id"
);
name_type!(
    /// One run of an agent. Sequence numbers start again with each.
    BootId,
    "boot id"
);

macro_rules! member_type {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name {
            system: SystemId,
            name: Arc<str>,
        }

        impl $name {
            /// Checks the name as [`SystemId::new`] does.
            pub fn new(system: SystemId, name: impl Into<String>) -> Result<Self, InvalidName> {
                Ok(Self { system, name: checked($what, name.into())? })
            }

            /// The system it belongs to.
            #[must_use]
            pub fn system(&self) -> &SystemId {
                &self.system
            }

            /// The store's own name for it, unique within the system.
            #[must_use]
            pub fn name(&self) -> &str {
                &self.name
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.system, self.name)
            }
        }
    };
}

member_type!(
    /// A storage process (or group of them) that serves partitions, by the store's own address or id.
    NodeId,
    "node"
);
member_type!(
    /// A partition, by the store's own id: a SeaweedFS volume, a table partition, a slot bucket.
    PartitionId,
    "partition"
);

/// The system whose nodes are hosts and their block devices: what happens there and is no target's.
pub const HOST_SYSTEM: &str = "host";

impl NodeId {
    /// The host that an agent watches, as a node of [`HOST_SYSTEM`].
    #[must_use]
    pub fn of_host(agent: &AgentId) -> Self {
        Self { system: SystemId(HOST_SYSTEM.into()), name: Arc::clone(&agent.0) }
    }

    /// A block device of the host that an agent watches, as `AGENT:DEVICE`. The host itself if that is too long.
    #[must_use]
    pub fn of_device(agent: &AgentId, device: &str) -> Self {
        let name = checked("node", format!("{agent}:{device}"));
        name.map_or_else(|_| Self::of_host(agent), |name| Self { system: SystemId(HOST_SYSTEM.into()), name })
    }

    /// Whether it is a host or a device of one, not a node of a storage system.
    #[must_use]
    pub fn is_host(&self) -> bool {
        self.system.as_str() == HOST_SYSTEM
    }
}

/// Position of a batch in one run of an agent: 1, 2, 3, ...
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(u64);

impl Seq {
    /// Zero is reserved for "none yet" and is refused.
    #[must_use]
    pub fn new(value: u64) -> Option<Self> {
        (value > 0).then_some(Self(value))
    }

    /// The first batch of a run.
    pub const FIRST: Self = Self(1);

    /// The number itself.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }

    /// The batch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_where_they_are_made() {
        assert_eq!(SystemId::new(""), Err(InvalidName::Empty { what: "system" }));
        assert_eq!(AgentId::new("x".repeat(257)), Err(InvalidName::TooLong { what: "agent id", len: 257 }));
        let system = SystemId::new("seaweedfs").unwrap();
        let error = NodeId::new(system.clone(), "a\nb").unwrap_err();
        assert_eq!(error.to_string(), r#"node "a\nb" contains a control character"#);
        assert_eq!(PartitionId::new(system, "7").unwrap().to_string(), "seaweedfs/7");
    }

    #[test]
    fn zero_is_no_sequence_number() {
        assert_eq!(Seq::new(0), None);
        assert_eq!(Seq::new(1), Some(Seq::FIRST));
        assert_eq!(Seq::FIRST.next().get(), 2);
    }
}
