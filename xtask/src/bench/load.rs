//! A process that reads 4 KiB pages of a cached file, and says what CPU time one read took.

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};
use std::io::{Write, stdin, stdout};
use std::os::unix::fs::FileExt;

const PAGE: usize = 4096;
const PAGES: u64 = 4096;

/// Prints `ready`, waits for a line, reads, prints the nanoseconds of CPU time per read.
pub(super) fn run(calls: u64) -> Result<()> {
    let mut file = tempfile()?;
    file.write_all(&vec![7; PAGE * PAGES as usize]).context("fill the file")?;
    println!("ready");
    stdin().read_line(&mut String::new())?;
    let mut page = [0; PAGE];
    let before = cpu_ns()?;
    for call in 0..calls {
        file.read_exact_at(&mut page, call % PAGES * PAGE as u64)?;
    }
    println!("{}", (cpu_ns()? - before) as f64 / calls as f64);
    stdout().flush()?;
    // Stays, so that nobody who watches it sees it end.
    stdin().read_line(&mut String::new())?;
    Ok(())
}

/// A file without a name, on a disk.
fn tempfile() -> Result<std::fs::File> {
    let path = std::env::temp_dir().join(format!("isotherm-bench-{}", std::process::id()));
    let file = std::fs::File::options()
        .create_new(true)
        .read(true)
        .write(true)
        .open(&path)
        .with_context(|| format!("create {}", path.display()))?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

fn cpu_ns() -> Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?;
    Ok(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}
