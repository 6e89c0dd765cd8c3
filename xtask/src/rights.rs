//! The capabilities that the agent and the lab use, and whether this process has them.

use caps::{CapSet, Capability};

/// A capability and what it is for.
pub(crate) struct Right {
    /// The capability.
    pub(crate) capability: Capability,
    /// Its use here.
    pub(crate) needed_for: &'static str,
}

/// All of them.
pub(crate) const RIGHTS: [Right; 6] = [
    Right { capability: Capability::CAP_BPF, needed_for: "loading the agent's kernel programs" },
    Right { capability: Capability::CAP_PERFMON, needed_for: "attaching them to tracepoints" },
    Right { capability: Capability::CAP_SYS_PTRACE, needed_for: "reading the open files of other processes" },
    Right {
        capability: Capability::CAP_DAC_READ_SEARCH,
        needed_for: "reading /proc of other users' processes",
    },
    Right { capability: Capability::CAP_SYS_ADMIN, needed_for: "a network namespace for the lab" },
    Right { capability: Capability::CAP_NET_ADMIN, needed_for: "addresses in that namespace" },
];

impl Right {
    /// Whether this process has it in effect. One that cannot be asked for counts as missing.
    pub(crate) fn held(&self) -> bool {
        caps::has_cap(None, CapSet::Effective, self.capability).unwrap_or(false)
    }
}

/// Those that this process lacks.
pub(crate) fn missing() -> Vec<&'static Right> {
    RIGHTS.iter().filter(|right| !right.held()).collect()
}
