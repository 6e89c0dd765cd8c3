//! What can go wrong with the kernel.

use super::btf::BtfError;
use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;
use isotherm_agent_ebpf::HOST_TARGET;
use std::io;

/// Why the kernel cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The programs read registers of x86-64.
    #[error("the probes read system call arguments of x86-64; this machine is {arch}")]
    Architecture {
        /// What it is.
        arch: &'static str,
    },
    /// The kernel's type information does not serve.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// The kernel lacks what nothing can be counted without.
    #[error("{what}")]
    Unsupported {
        /// What it lacks.
        what: String,
    },
    /// The object was not accepted.
    #[error("the kernel does not load the probe object")]
    Load(#[source] Box<EbpfError>),
    /// A program was not accepted, or its tracepoint is not there.
    #[error("the kernel does not accept program {program} on tracepoint {tracepoint}")]
    Program {
        /// Which program.
        program: &'static str,
        /// Where it was to be attached.
        tracepoint: &'static str,
        /// What the kernel said.
        #[source]
        source: Box<ProgramError>,
    },
    /// A map could not be read or written.
    #[error("map {map}")]
    Map {
        /// Which map.
        map: &'static str,
        /// What the kernel said.
        #[source]
        source: Box<MapError>,
    },
    /// A map of counters could not be read.
    #[error("cannot read the counters {map}")]
    Read {
        /// Which map.
        map: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A target index that is out of range.
    #[error("an agent watches {HOST_TARGET} targets at most")]
    TooManyTargets,
    /// The programs were attached, and count something else than what happened.
    #[error("the probes do not count right on this kernel: {what}")]
    SelfTest {
        /// Expected and counted.
        what: String,
    },
}

/// Index of a target, as the kernel knows it: below [`HOST_TARGET`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetIndex(u32);

impl TargetIndex {
    /// `None` from [`HOST_TARGET`] on.
    #[must_use]
    pub fn new(index: usize) -> Option<Self> {
        u32::try_from(index).ok().filter(|index| *index < HOST_TARGET).map(Self)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> usize {
        self.0 as usize
    }
}
