//! The capabilities that watching needs: asked for by name, and all others given up.

use caps::{CapSet, Capability, CapsHashSet};

/// What the agent needs, and for what.
const NEEDED: [(Capability, &str); 4] = [
    (Capability::CAP_BPF, "load eBPF programs and read their maps"),
    (Capability::CAP_PERFMON, "attach them to tracepoints and read kernel fields"),
    (Capability::CAP_SYS_PTRACE, "see which processes have which files and sockets open"),
    (Capability::CAP_DAC_READ_SEARCH, "see the same for processes of other users"),
];

/// A right that is missing.
#[derive(Debug, thiserror::Error)]
pub enum RightsError {
    /// These capabilities are not in the effective set.
    #[error(
        "missing {missing}\nrun as root, or give them to the binary: \
         setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search+ep isotherm-agent"
    )]
    Missing {
        /// Their names, each with what it is for.
        missing: String,
    },
    /// The system does not say, or does not let go.
    #[error("cannot read or reduce the capabilities of this process")]
    System(#[source] caps::errors::CapsError),
}

/// Checks that everything needed is there; the error names what is not.
pub fn check() -> Result<(), RightsError> {
    let effective = caps::read(None, CapSet::Effective).map_err(RightsError::System)?;
    let missing: Vec<String> = NEEDED
        .iter()
        .filter(|(capability, _)| !effective.contains(capability))
        .map(|(capability, purpose)| format!("{capability} (to {purpose})"))
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(RightsError::Missing { missing: missing.join(", ") }) }
}

/// Gives up every capability of the calling thread, and of threads it starts later, but the needed ones.
pub fn reduce() -> Result<(), RightsError> {
    let needed: CapsHashSet = NEEDED.iter().map(|(capability, _)| *capability).collect();
    caps::set(None, CapSet::Effective, &needed).map_err(RightsError::System)?;
    caps::set(None, CapSet::Permitted, &needed).map_err(RightsError::System)
}
