//! What a cached read costs without a probe, with the agent's, and with bpftrace's answer to the same question:
//! how many reads of which process and inode, how many bytes, at which offsets.

use crate::load::{Kind, Load, folder};
use anyhow::{Context, Result};
use isotherm_agent::probe::{Probe, TargetIndex};
use isotherm_tests::process::{Child, spawn, wait_for};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Some tenths of a second, long against the clock's grain.
const CALLS: u64 = 300_000;

/// How long bpftrace may take to attach.
const LIMIT: Duration = Duration::from_secs(60);

/// CPU nanoseconds per read.
pub(crate) fn without_probe() -> Result<f64> {
    Load::start(Kind::Reads, CALLS)?.measure()
}

/// The same with the agent's programs attached.
pub(crate) fn with_probe(probe: &mut Probe, watched: bool) -> Result<f64> {
    let mut load = Load::start(Kind::Reads, CALLS)?;
    if watched {
        probe.watch(load.pid(), TargetIndex::new(0).context("the first target")?)?;
    }
    let ns = load.measure()?;
    probe.forget(load.pid())?;
    Ok(ns)
}

/// The same with bpftrace's. `None` where it is not installed.
pub(crate) fn with_bpftrace() -> Result<Option<f64>> {
    if Command::new("bpftrace").arg("--version").output().is_err() {
        return Ok(None);
    }
    let mut load = Load::start(Kind::Reads, CALLS)?;
    let _bpftrace = bpftrace(load.pid(), &folder()?.join("bpftrace.log"))?;
    load.measure().map(Some)
}

fn bpftrace(pid: u32, log: &Path) -> Result<Child> {
    let script = format!(
        "BEGIN {{ printf(\"attached\\n\"); }} \
         tracepoint:syscalls:sys_enter_pread64 /pid == {pid}/ {{ \
           $table = (uint64)((struct task_struct *)curtask)->files->fdt->fd; \
           $file = (struct file *)*(uint64 *)($table + args->fd * 8); \
           $ino = $file->f_inode->i_ino; \
           @ops[pid, $ino] = count(); @bytes[pid, $ino] = sum(args->count); \
           @offsets[pid, $ino] = hist(args->pos); }}"
    );
    // The tracing file systems are mounted for it alone.
    let mount = "mount -t debugfs none /sys/kernel/debug 2>/dev/null; \
                 mount -t tracefs none /sys/kernel/debug/tracing 2>/dev/null; exec bpftrace -B line -e \"$0\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", mount, &script]);
    let mut child = spawn("bpftrace", &mut command, log)?;
    wait_for("bpftrace to be attached", LIMIT, || {
        child.ensure_alive()?;
        Ok(fs::read_to_string(log)?.contains("attached").then_some(()))
    })?;
    Ok(child)
}
