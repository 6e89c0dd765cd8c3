//! Loading the object into a kernel, as far as the kernel has what it needs.

use super::btf::Btf;
use super::cast::Cast;
use super::part::{PROGRAMS, resolve, without};
use super::processes::Processes;
use super::reading::Readers;
use super::{Capacity, Probe, ProbeError, selftest, sockettest};
use aya::maps::{MapError, RingBuf};
use aya::programs::BtfTracePoint;
use aya::{Ebpf, EbpfLoader};
use isotherm_agent_ebpf::{MAX_TARGETS, Part, SLOT_TYPE};
use tracing::{debug, warn};

/// The kernel object, built by `cargo xtask ebpf build` and committed.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/isotherm.bpf.o");

/// Room for what finds none, beside the entries that are asked for: one for each target and operation.
const OVERFLOW_ENTRIES: u32 = MAX_TARGETS * 4;

/// How the programs read kernel memory behind an address that has no type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// They give it a type where the kernel has a function for that, and load directly.
    Typed,
    /// By a helper call for each piece, as every kernel lets them.
    Helper,
}

pub(super) fn attach(capacity: Capacity, access: Access) -> Result<Probe, ProbeError> {
    if !cfg!(target_arch = "x86_64") {
        return Err(ProbeError::Architecture { arch: std::env::consts::ARCH });
    }
    let kallsyms = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let btf = Btf::of_running_kernel()?;
    let resolved = resolve(&btf, &kallsyms)?;
    let cast = if access == Access::Typed { Cast::of(&btf)? } else { None };
    debug!(?resolved, ?cast, "kernel");
    if let Some((_, what)) = resolved.missing.iter().find(|(part, _)| *part == Part::Calls) {
        return Err(ProbeError::Unsupported { what: what.clone() });
    }
    let mut degraded: Vec<String> =
        resolved.missing.iter().map(|(part, what)| format!("{what}: {}", without(*part))).collect();
    if !resolved.unknown_symbols.is_empty() && resolved.has(Part::Block) {
        degraded.push(format!(
            "the addresses of {} are not shown (CAP_SYSLOG): the device layer cannot tell direct I/O and journals \
             by them",
            resolved.unknown_symbols.join(", ")
        ));
    }
    let mut loader = EbpfLoader::new();
    for (name, value) in &resolved.values {
        loader.override_global(name, value, true);
    }
    let patched = cast.as_ref().map(|cast| cast.patched(OBJECT));
    if let Some(cast) = &cast {
        loader.override_global(SLOT_TYPE.0, &cast.slot_type, true);
    }
    let mut object = loader
        .map_max_entries("FILES", capacity.files + OVERFLOW_ENTRIES)
        .map_max_entries("BLOCKS", capacity.blocks + OVERFLOW_ENTRIES)
        .map_max_entries("PEERS", capacity.peers + OVERFLOW_ENTRIES)
        .load(patched.as_ref().map_or(OBJECT, |patched| patched.bytes()))
        .map_err(|error| ProbeError::Load(Box::new(error)))?;
    let names = take_map(&mut object, "NAMES", RingBuf::try_from)?;
    let processes = object.map("PROCESSES").expect("the object has this map");
    let processes =
        Processes::map(processes).map_err(|source| ProbeError::Read { map: "PROCESSES", source })?;
    let cpus =
        aya::util::nr_cpus().map_err(|(_, source)| ProbeError::Read { map: "per-CPU maps", source })?;
    let mut probe = Probe {
        object,
        names,
        processes,
        readers: Readers::new(cpus),
        naming_epoch: 0,
        capacity,
        parts: Part::ALL.into_iter().filter(|part| resolved.has(*part)).collect(),
        degraded,
    };
    probe.renew_names()?;
    // Before anything else can take the room: what other processes do on devices is counted from here on.
    (0..MAX_TARGETS).try_for_each(|target| probe.add_overflow(target))?;
    probe.attach_programs()?;
    selftest::run(&mut probe)?;
    if probe.has(Part::Socket)
        && let Some(what) = sockettest::run(&mut probe)?
    {
        warn!("{what}");
        probe.degraded.push(format!("{what}: {}", without(Part::Socket)));
        probe.parts.retain(|part| *part != Part::Socket);
    }
    Ok(probe)
}

impl Probe {
    /// A program that the kernel refuses is fatal only if nothing can be counted without it.
    fn attach_programs(&mut self) -> Result<(), ProbeError> {
        let btf = aya::Btf::from_sys_fs().map_err(|error| ProbeError::Load(Box::new(error.into())))?;
        for program in PROGRAMS {
            if !self.parts.contains(&program.part) {
                continue;
            }
            let (name, tracepoint) = (program.name, program.tracepoint);
            let failed = |source| ProbeError::Program { program: name, tracepoint, source: Box::new(source) };
            let loaded: &mut BtfTracePoint = self
                .object
                .program_mut(name)
                .expect("the object and this list of programs are built together")
                .try_into()
                .map_err(failed)?;
            let attached = loaded.load(tracepoint, &btf).and_then(|()| loaded.attach());
            match attached {
                Ok(_) => {}
                Err(source) if program.part == Part::Calls => return Err(failed(source)),
                Err(source) => {
                    let what = failed(source);
                    warn!(
                        "{what}: {}",
                        std::error::Error::source(&what).map_or(String::new(), ToString::to_string)
                    );
                    self.degraded.push(format!("{what}: {}", without(program.part)));
                    self.parts.retain(|part| *part != program.part);
                }
            }
        }
        Ok(())
    }
}

fn take_map<T>(
    object: &mut Ebpf,
    name: &'static str,
    open: impl FnOnce(aya::maps::Map) -> Result<T, MapError>,
) -> Result<T, ProbeError> {
    let map = object.take_map(name).expect("the object and this name are built together");
    open(map).map_err(|source| ProbeError::Map { map: name, source: Box::new(source) })
}
