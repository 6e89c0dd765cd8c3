//! What a process takes of the machine, as the kernel counts it.

use anyhow::{Context, Result};
use nix::unistd::{SysconfVar, sysconf};
use std::fs;

/// A line of /proc/PID/status in KiB, such as `VmRSS`, or `VmHWM`, the most it ever was.
pub fn memory_kib(pid: u32, key: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let value =
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')?.split_whitespace().next());
    value.with_context(|| format!("{path} has no {key}"))?.parse().with_context(|| format!("{path}: {key}"))
}

/// User and system time so far, in seconds: fields 14 and 15 of /proc/PID/stat (proc(5)), in ticks.
pub fn cpu_s(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let (_, after_name) = text.rsplit_once(')').with_context(|| format!("{path}: the name's end"))?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = sysconf(SysconfVar::CLK_TCK)?.context("ticks per second")? as f64;
    let time = |at: usize| -> Result<f64> { Ok(fields.get(at).context("a time")?.parse()?) };
    Ok((time(11)? + time(12)?) / ticks)
}
