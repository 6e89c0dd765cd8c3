//! The capabilities that watching needs: asked for by name, and each given up when its work is done.
//!
//! After the programs are attached, what stays are the two that /proc asks for. CAP_BPF goes too where the
//! kernel lets the holder of a map's descriptor use it (Linux 5.19, or `kernel.unprivileged_bpf_disabled` 0),
//! which is tried, not looked up.

use caps::{CapSet, Capability, CapsHashSet};
use tracing::{debug, warn};

/// How long a capability is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Term {
    /// Until the programs are attached.
    Start,
    /// Until the programs are attached, or, on kernels that ask for it at each use of a map, always.
    Maps,
    /// As long as the agent runs.
    Always,
}

/// A capability that the agent has work for.
#[derive(Debug, Clone, Copy)]
pub struct Right {
    /// Which.
    pub capability: Capability,
    /// What for.
    pub purpose: &'static str,
    /// How long.
    pub term: Term,
    /// What is lost without it; `None` if nothing works without it.
    pub lost: Option<&'static str>,
}

/// All that the agent has work for.
pub const RIGHTS: [Right; 5] = [
    Right {
        capability: Capability::CAP_BPF,
        purpose: "load eBPF programs and read their maps",
        term: Term::Maps,
        lost: None,
    },
    Right {
        capability: Capability::CAP_PERFMON,
        purpose: "attach them to tracepoints and read kernel fields",
        term: Term::Start,
        lost: None,
    },
    Right {
        capability: Capability::CAP_SYS_PTRACE,
        purpose: "see which processes have which files and sockets open",
        term: Term::Always,
        lost: None,
    },
    Right {
        capability: Capability::CAP_DAC_READ_SEARCH,
        purpose: "see the same for processes of other users",
        term: Term::Always,
        lost: None,
    },
    Right {
        capability: Capability::CAP_SYSLOG,
        purpose: "read the addresses of kernel functions",
        term: Term::Start,
        lost: Some("direct I/O is not told from other I/O at the devices, so some of it has no file"),
    },
];

/// A right that is missing.
#[derive(Debug, thiserror::Error)]
pub enum RightsError {
    /// These capabilities are not in the effective set.
    #[error(
        "missing {missing}\nrun as root, or give them to the binary: \
         setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search,cap_syslog+ep isotherm-agent"
    )]
    Missing {
        /// Their names, each with what it is for.
        missing: String,
    },
    /// The system does not say, or does not let go.
    #[error("cannot read or reduce the capabilities of this process")]
    System(#[source] caps::errors::CapsError),
    /// The system does not let this process forgo new rights.
    #[error("cannot forgo rights that a program could give (PR_SET_NO_NEW_PRIVS)")]
    NoNewPrivileges(#[source] std::io::Error),
}

/// Each right, and whether this process holds it.
pub fn held() -> Result<Vec<(Right, bool)>, RightsError> {
    let effective = caps::read(None, CapSet::Effective).map_err(RightsError::System)?;
    Ok(RIGHTS.iter().map(|right| (*right, effective.contains(&right.capability))).collect())
}

/// Checks that everything needed is there; the error names what is not. What is missing and not needed is
/// told as a warning.
pub fn check() -> Result<(), RightsError> {
    let mut missing = Vec::new();
    for (right, _) in held()?.into_iter().filter(|(_, held)| !held) {
        match right.lost {
            None => missing.push(format!("{} (to {})", right.capability, right.purpose)),
            Some(lost) => warn!("without {} (to {}) {lost}", right.capability, right.purpose),
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(RightsError::Missing { missing: missing.join(", ") }) }
}

/// Gives up what is not needed any more once the programs are attached: for the calling thread, and the
/// threads that it starts later; call it before there are others. `works` tries a map and says whether that
/// was allowed. From then on nothing that this process starts can have more rights either.
pub fn reduce(mut works: impl FnMut() -> bool) -> Result<(), RightsError> {
    let staying = |terms: &[Term]| -> CapsHashSet {
        let mine = caps::read(None, CapSet::Permitted).unwrap_or_default();
        let staying = RIGHTS.iter().filter(|right| terms.contains(&right.term)).map(|right| right.capability);
        staying.filter(|capability| mine.contains(capability)).collect()
    };
    forgo_new()?;
    // What cannot be held again cannot be had from a program either; without CAP_SETPCAP the set stays as
    // large as it is, and `forgo_new` has to do.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).map_err(RightsError::System)? {
        caps::clear(None, CapSet::Bounding).map_err(RightsError::System)?;
    }
    let with_maps = staying(&[Term::Maps, Term::Always]);
    let always = staying(&[Term::Always]);
    caps::set(None, CapSet::Effective, &with_maps).map_err(RightsError::System)?;
    caps::set(None, CapSet::Permitted, &with_maps).map_err(RightsError::System)?;
    caps::clear(None, CapSet::Inheritable).map_err(RightsError::System)?;
    caps::set(None, CapSet::Effective, &always).map_err(RightsError::System)?;
    if works() {
        return caps::set(None, CapSet::Permitted, &always).map_err(RightsError::System);
    }
    debug!("this kernel asks for CAP_BPF at each use of a map; it is kept");
    caps::set(None, CapSet::Effective, &with_maps).map_err(RightsError::System)
}

fn forgo_new() -> Result<(), RightsError> {
    // SAFETY: a plain system call with numbers.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if result == 0 { Ok(()) } else { Err(RightsError::NoNewPrivileges(std::io::Error::last_os_error())) }
}
