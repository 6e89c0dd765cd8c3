//! What this kernel and these rights can do, layer by layer, without watching anything.
//!
//! Asked of the kernel's own type information and by trying, never of its version: distributions carry
//! features back. That the programs count right only a self-test shows, so one is made if the rights allow.

mod bpf;

use crate::probe::btf::{Btf, BtfError};
use crate::probe::part::{self, PROGRAMS, Program};
use crate::probe::{Capacity, Probe};
use crate::rights;
use isotherm_agent_ebpf::{FIELDS, NUMBERS, Part};
use isotherm_model::Layer;
use serde::Serialize;
use std::fmt;

/// What the self-test makes room for.
const SELF_TEST: Capacity = Capacity { files: 64, blocks: 64, peers: 64 };

/// Everything found out.
#[derive(Debug, Serialize)]
pub struct Support {
    /// As `uname -r`.
    pub kernel: String,
    /// As `uname -m`.
    pub architecture: &'static str,
    /// Why the kernel's type information cannot be used; `None` if it can.
    pub btf_error: Option<String>,
    /// The kernel's lockdown mode; `None` if it cannot be read.
    pub lockdown: Option<String>,
    /// Whether the kernel counts the runs of eBPF programs, for everyone.
    pub bpf_stats: Option<bool>,
    /// How the kernel accounts the memory of maps.
    pub map_memory: Option<MapMemory>,
    /// Operations on maps that the agent uses: what the kernel said to a try, `None` if it worked.
    pub map_operations: Vec<Tried>,
    /// Each program.
    pub programs: Vec<ProgramSupport>,
    /// Each capability.
    pub rights: Vec<RightSupport>,
    /// Whether the programs were attached and counted known accesses right.
    pub self_test: SelfTest,
    /// What comes of it.
    pub layers: Vec<LayerSupport>,
}

/// Who pays for maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MapMemory {
    /// The control group of the agent.
    ControlGroup,
    /// The limit of locked memory (RLIMIT_MEMLOCK), which must have room for them.
    LockedMemoryLimit {
        /// The limit in bytes; `None` if there is none.
        bytes: Option<u64>,
    },
}

/// A feature that was tried.
#[derive(Debug, Serialize)]
pub struct Tried {
    /// What.
    pub name: &'static str,
    /// Why it did not work.
    pub error: Option<String>,
}

/// A program, as far as this kernel has what it needs.
#[derive(Debug, Serialize)]
pub struct ProgramSupport {
    /// Its name.
    pub program: &'static str,
    /// The layers that need it.
    pub layers: Vec<&'static str>,
    /// Where it would hang.
    pub tracepoint: &'static str,
    /// Whether this kernel has the tracepoint; `None` if that cannot be known.
    pub tracepoint_found: Option<bool>,
    /// Kernel fields that it reads and this kernel does not have.
    pub missing_fields: Vec<String>,
    /// Kernel fields that it reads and this kernel has.
    pub found_fields: Vec<&'static str>,
    /// What is lost without it; `None` if the layers do not work without it.
    pub lost_without: Option<&'static str>,
}

/// A capability.
#[derive(Debug, Serialize)]
pub struct RightSupport {
    /// Its name.
    pub capability: String,
    /// What for.
    pub purpose: &'static str,
    /// Whether this process has it.
    pub held: bool,
    /// What is lost without it; `None` if nothing works without it.
    pub lost_without: Option<&'static str>,
}

/// How the self-test went.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "result", content = "why")]
pub enum SelfTest {
    /// Attached, and the counts were right.
    Passed,
    /// Why they were not, or why the programs could not be attached.
    Failed(String),
    /// Why it was not tried.
    NotTried(String),
}

/// What a layer can do here.
#[derive(Debug, Serialize)]
pub struct LayerSupport {
    /// Which.
    pub layer: &'static str,
    /// How well.
    pub state: State,
    /// Why not better.
    pub reasons: Vec<String>,
}

/// How well a layer works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// All of it.
    Available,
    /// It works, and lacks something.
    Degraded,
    /// It does not.
    NotAvailable,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Available => "available",
            Self::Degraded => "degraded",
            Self::NotAvailable => "not available",
        })
    }
}

impl Support {
    /// Finds out. Attaches the programs for a moment, if the rights are there.
    pub fn find() -> Result<Self, rights::RightsError> {
        let btf = Btf::of_running_kernel();
        let (read, btf_error) = match &btf {
            Ok(btf) => (Some(btf), None),
            Err(error) => (None, Some(with_cause(error))),
        };
        let programs: Vec<ProgramSupport> = PROGRAMS.iter().map(|of| program(of, read)).collect();
        let rights: Vec<RightSupport> = rights::held()?
            .into_iter()
            .map(|(right, held)| RightSupport {
                capability: right.capability.to_string(),
                purpose: right.purpose,
                held,
                lost_without: right.lost,
            })
            .collect();
        let self_test = self_test(&rights);
        let mut support = Self {
            kernel: read_word("/proc/sys/kernel/osrelease").unwrap_or_default(),
            architecture: std::env::consts::ARCH,
            btf_error,
            lockdown: read_word("/sys/kernel/security/lockdown").and_then(|text| chosen(&text)),
            bpf_stats: read_word("/proc/sys/kernel/bpf_stats_enabled").map(|text| text == "1"),
            map_memory: read.and_then(map_memory),
            map_operations: bpf::try_maps(),
            programs,
            rights,
            self_test,
            layers: Vec::new(),
        };
        support.layers = Layer::ALL.iter().map(|layer| support.layer(*layer)).collect();
        Ok(support)
    }

    /// Whether the layer of system calls works, in part at least.
    #[must_use]
    pub fn logical_works(&self) -> bool {
        let logical = self.layers.iter().find(|layer| layer.layer == Layer::Logical.as_str());
        logical.is_some_and(|layer| layer.state != State::NotAvailable)
    }

    fn layer(&self, layer: Layer) -> LayerSupport {
        let mut missing: Vec<String> = Vec::new();
        let mut lost: Vec<String> = Vec::new();
        let mine = || self.programs.iter().filter(|program| program.layers.contains(&layer.as_str()));
        if mine().next().is_none() {
            missing.push("this version of the agent has no programs for it".to_owned());
        }
        missing.extend(self.btf_error.clone());
        for program in mine() {
            for why in program.missing() {
                match program.lost_without {
                    None => missing.push(why),
                    Some(what) => lost.push(format!("{why}: {what}")),
                }
            }
        }
        for right in self.rights.iter().filter(|right| !right.held) {
            let why = format!("missing {} (to {})", right.capability, right.purpose);
            match right.lost_without {
                None => missing.push(why),
                Some(what) if layer == Layer::Device => lost.push(format!("{why}: {what}")),
                Some(_) => {}
            }
        }
        let refused = |tried: &Tried| Some(format!("{}: {}", tried.name, tried.error.as_ref()?));
        missing.extend(self.map_operations.iter().filter_map(refused));
        if let SelfTest::Failed(why) = &self.self_test {
            missing.push(format!("self-test: {why}"));
        }
        let state = match (missing.is_empty(), lost.is_empty()) {
            (false, _) => State::NotAvailable,
            (true, false) => State::Degraded,
            (true, true) => State::Available,
        };
        missing.extend(lost);
        LayerSupport { layer: layer.as_str(), state, reasons: missing }
    }
}

impl ProgramSupport {
    /// What this kernel lacks for it.
    fn missing(&self) -> Vec<String> {
        let tracepoint = (self.tracepoint_found == Some(false))
            .then(|| format!("no tracepoint `{}` for program {}", self.tracepoint, self.program));
        let fields = self.missing_fields.iter().map(|field| format!("{field} (program {})", self.program));
        tracepoint.into_iter().chain(fields).collect()
    }
}

fn program(of: &Program, btf: Option<&Btf>) -> ProgramSupport {
    let mut missing_fields = Vec::new();
    let mut found_fields = Vec::new();
    if let Some(btf) = btf {
        // Every program of a part counts on all that the part needs.
        for field in FIELDS.iter().filter(|field| field.part == of.part) {
            match btf.offset(field.path, of.part.as_str()) {
                Ok(_) => found_fields.push(field.path),
                Err(BtfError::NoField { path, .. }) => missing_fields.push(format!("no field `{path}`")),
                Err(error) => missing_fields.push(format!("field `{}`: {error}", field.path)),
            }
        }
        for (_, name, _) in NUMBERS.iter().filter(|(_, _, part)| *part == of.part) {
            if !btf.enumerator(name).is_ok_and(|value| value.is_some()) {
                missing_fields.push(format!("no `{name}`"));
            }
        }
    }
    // A layer is not there without the part that counts; without the others it lacks something.
    let counts = matches!(of.part, Part::Calls | Part::Block | Part::Socket);
    ProgramSupport {
        program: of.name,
        layers: vec![part::layer(of.part).as_str()],
        tracepoint: of.tracepoint,
        tracepoint_found: btf.map(|btf| btf.has_tracepoint(of.tracepoint)),
        missing_fields,
        found_fields,
        lost_without: (!counts).then(|| part::without(of.part)),
    }
}

fn self_test(rights: &[RightSupport]) -> SelfTest {
    if let Some(right) = rights.iter().find(|right| !right.held && right.lost_without.is_none()) {
        return SelfTest::NotTried(format!("missing {}", right.capability));
    }
    match Probe::attach(SELF_TEST) {
        Ok(_) => SelfTest::Passed,
        Err(error) => SelfTest::Failed(with_cause(&error)),
    }
}

/// Kernels that account maps to control groups have a pointer to the group in each map (Linux 5.11).
fn map_memory(btf: &Btf) -> Option<MapMemory> {
    match btf.offset("bpf_map.objcg", "logical").or_else(|_| btf.offset("bpf_map.memcg", "logical")) {
        Ok(_) => Some(MapMemory::ControlGroup),
        Err(BtfError::NoField { .. }) => {
            bpf::locked_memory_limit().map(|bytes| MapMemory::LockedMemoryLimit { bytes })
        }
        Err(BtfError::Absent { .. } | BtfError::Damaged { .. }) => None,
    }
}

fn read_word(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The word in brackets of `none [integrity] confidentiality`.
fn chosen(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(word, _)| word.to_owned())
}

fn with_cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// For people.
impl fmt::Display for Support {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = || "unknown".to_owned();
        writeln!(f, "kernel         {} {}", self.kernel, self.architecture)?;
        writeln!(f, "BTF            {}", self.btf_error.as_deref().unwrap_or("readable"))?;
        writeln!(f, "lockdown       {}", self.lockdown.clone().unwrap_or_else(unknown))?;
        let stats = self.bpf_stats.map_or_else(unknown, |on| if on { "on" } else { "off" }.to_owned());
        writeln!(f, "bpf_stats      {stats}")?;
        let memory = match self.map_memory {
            None => unknown(),
            Some(MapMemory::ControlGroup) => "of the agent's control group".to_owned(),
            Some(MapMemory::LockedMemoryLimit { bytes: None }) => "locked, without a limit".to_owned(),
            Some(MapMemory::LockedMemoryLimit { bytes: Some(bytes) }) => {
                format!("locked, at most {bytes} bytes")
            }
        };
        writeln!(f, "map memory     {memory}")?;
        for tried in &self.map_operations {
            writeln!(f, "maps           {}: {}", tried.name, tried.error.as_deref().unwrap_or("works"))?;
        }
        for program in &self.programs {
            let missing = program.missing();
            let state = match (program.tracepoint_found, missing.is_empty()) {
                (None, _) => unknown(),
                (Some(_), true) => format!("found, with {} fields", program.found_fields.len()),
                (Some(_), false) => missing.join(", "),
            };
            writeln!(f, "program        {} on {}: {state}", program.program, program.tracepoint)?;
        }
        for right in &self.rights {
            let state = if right.held { "held" } else { "missing" };
            let optional = right.lost_without.map(|lost| format!("; optional: without it {lost}"));
            let (name, purpose) = (&right.capability, right.purpose);
            writeln!(f, "right          {name}: {state} (to {purpose}{})", optional.unwrap_or_default())?;
        }
        match &self.self_test {
            SelfTest::Passed => writeln!(f, "self-test      passed")?,
            SelfTest::Failed(why) => writeln!(f, "self-test      failed: {why}")?,
            SelfTest::NotTried(why) => writeln!(f, "self-test      not tried: {why}")?,
        }
        for layer in &self.layers {
            writeln!(f, "layer          {}: {}", layer.layer, layer.state)?;
            for reason in &layer.reasons {
                writeln!(f, "                 {reason}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
