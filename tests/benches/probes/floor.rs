//! Empty programs: what it costs that the kernel runs any program at a hook.

use anyhow::{Context, Result, bail};
use isotherm_agent::probe::btf::Btf;
use isotherm_agent::probe::part::PROGRAMS;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `enum bpf_cmd`, `bpf_prog_type` and `bpf_attach_type` of linux/bpf.h.
const PROG_LOAD: libc::c_long = 5;
const RAW_TRACEPOINT_OPEN: libc::c_long = 17;
const TYPE_TRACING: u32 = 26;
const TRACE_RAW_TP: u32 = 23;

/// `r0 = 0; exit`.
const EMPTY: [u64; 2] = [0xb7, 0x95];

/// The part of `union bpf_attr` that loads a program.
#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
}

/// The part that attaches it.
#[repr(C)]
struct OpenAttr {
    name: u64,
    prog_fd: u32,
    padding: u32,
}

/// An empty program beside each of the agent's. Detaches when dropped.
pub(crate) struct Floors {
    by_program: BTreeMap<&'static str, (OwnedFd, OwnedFd)>,
}

impl Floors {
    pub(crate) fn attach() -> Result<Self> {
        let btf = Btf::of_running_kernel()?;
        let mut by_program = BTreeMap::new();
        for program in PROGRAMS {
            let Some(id) = btf.tracepoint(program.tracepoint) else { continue };
            let loaded = load(id).with_context(|| format!("an empty program on {}", program.tracepoint))?;
            let link = open(&loaded).with_context(|| format!("attach it to {}", program.tracepoint))?;
            by_program.insert(program.name, (loaded, link));
        }
        Ok(Self { by_program })
    }

    /// Nanoseconds and runs of the floor of one of the agent's programs.
    pub(crate) fn cost_of(&self, program: &str) -> Result<(u64, u64)> {
        let Some((loaded, _)) = self.by_program.get(program) else { return Ok((0, 0)) };
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", loaded.as_raw_fd()))?;
        let number = |key: &str| {
            let text = info.lines().find_map(|line| line.strip_prefix(key)).context("no such line")?;
            text.trim().parse::<u64>().context("no number")
        };
        Ok((number("run_time_ns:")?, number("run_cnt:")?))
    }
}

fn load(attach_btf_id: u32) -> Result<OwnedFd> {
    let mut prog_name = [0; 16];
    prog_name[..5].copy_from_slice(b"floor");
    let mut attr = LoadAttr {
        prog_type: TYPE_TRACING,
        insn_cnt: EMPTY.len() as u32,
        insns: EMPTY.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name,
        prog_ifindex: 0,
        expected_attach_type: TRACE_RAW_TP,
        prog_btf_fd: 0,
        func_info_rec_size: 0,
        func_info: 0,
        func_info_cnt: 0,
        line_info_rec_size: 0,
        line_info: 0,
        line_info_cnt: 0,
        attach_btf_id,
    };
    bpf(PROG_LOAD, &mut attr)
}

fn open(program: &OwnedFd) -> Result<OwnedFd> {
    let mut attr = OpenAttr { name: 0, prog_fd: program.as_raw_fd() as u32, padding: 0 };
    bpf(RAW_TRACEPOINT_OPEN, &mut attr)
}

/// A call that makes a descriptor.
fn bpf<T>(command: libc::c_long, attr: &mut T) -> Result<OwnedFd> {
    // SAFETY: the attribute is laid out as the kernel has it, and what it points to outlives the call; the
    // descriptor is ours alone.
    unsafe {
        let fd = libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>());
        if fd < 0 {
            bail!(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}
