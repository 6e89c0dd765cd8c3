//! Processes that do one thing a given number of times, and say what CPU time one took.

use anyhow::{Context, Result, bail, ensure};
use io_uring::{IoUring, opcode, types::Fd};
use isotherm_tests::process::die_with;
use isotherm_tests::workspace::target_dir;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::getpid;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write, stdin, stdout};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

const PAGE: usize = 4096;
const PAGES: u64 = 4096;

/// How often all files of [`Kind::Partitions`] are read and written.
const PACE: Duration = Duration::from_secs(5);

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// Cached reads of 4 KiB.
    Reads,
    /// Calls that are no accesses.
    OtherCalls,
    /// Processes that end at once.
    Processes,
    /// A message to and fro on the loopback; a connection for every hundred.
    Messages,
    /// Writes of 4 KiB past the page cache.
    DirectWrites,
    /// Cached reads of 4 KiB through io_uring.
    Uring,
    /// Reads and writes one file after the other, without end.
    Partitions,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Reads,
        Self::OtherCalls,
        Self::Processes,
        Self::Messages,
        Self::DirectWrites,
        Self::Uring,
        Self::Partitions,
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| format!("{kind:?}") == name)
    }
}

/// Such a process.
pub(crate) struct Load {
    inner: Child,
    answers: BufReader<ChildStdout>,
}

impl Load {
    pub(crate) fn start(kind: Kind, times: u64) -> Result<Self> {
        let parent = getpid();
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["load", &format!("{kind:?}"), &times.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // SAFETY: the closure runs between fork and exec, and makes nothing but two system calls.
        unsafe { command.pre_exec(move || die_with(parent)) };
        let mut inner = command.spawn().context("start the load")?;
        let answers = BufReader::new(inner.stdout.take().context("its stdout")?);
        let mut load = Self { inner, answers };
        load.line()?;
        Ok(load)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.inner.id()
    }

    /// Lets it begin.
    pub(crate) fn go(&mut self) -> Result<()> {
        writeln!(self.inner.stdin.as_mut().context("its stdin")?, "go").context("tell the load to go")
    }

    /// CPU nanoseconds for each of what it does.
    pub(crate) fn measure(&mut self) -> Result<f64> {
        self.go()?;
        self.line()?.trim().parse().context("nanoseconds")
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).context("what the load says")?;
        if line.is_empty() { bail!("the load ended") } else { Ok(line) }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.inner.kill();
        let _ = self.inner.wait();
    }
}

/// The process itself: prints `ready`, waits for a line, works, prints the time.
pub(crate) fn run(kind: &str, times: u64) -> Result<()> {
    let kind = Kind::named(kind).with_context(|| format!("no load {kind}"))?;
    let mut work = prepare(kind, times)?;
    println!("ready");
    stdin().read_line(&mut String::new())?;
    let before = cpu_ns()?;
    work()?;
    println!("{}", (cpu_ns()? - before) as f64 / times as f64);
    stdout().flush()?;
    // Stays, so that nobody who watches it sees it end.
    stdin().read_line(&mut String::new())?;
    Ok(())
}

type Work = Box<dyn FnMut() -> Result<()>>;

fn prepare(kind: Kind, times: u64) -> Result<Work> {
    let mut page = vec![7; PAGE];
    Ok(match kind {
        Kind::Reads => {
            let file = cached(&folder()?)?;
            Box::new(move || {
                for call in 0..times {
                    file.read_exact_at(&mut page, call % PAGES * PAGE as u64)?;
                }
                Ok(())
            })
        }
        Kind::OtherCalls => Box::new(move || {
            for _ in 0..times {
                // SAFETY: a system call without arguments.
                unsafe { libc::syscall(libc::SYS_getppid) };
            }
            Ok(())
        }),
        Kind::Processes => Box::new(move || {
            for _ in 0..times {
                ensure!(Command::new("true").status()?.success(), "true failed");
            }
            Ok(())
        }),
        Kind::Messages => Box::new(move || messages(times)),
        Kind::DirectWrites => Box::new(move || direct(times)),
        Kind::Uring => {
            let (file, mut ring) = (cached(&folder()?)?, IoUring::new(8)?);
            Box::new(move || {
                for call in 0..times {
                    let read = opcode::Read::new(Fd(file.as_raw_fd()), page.as_mut_ptr(), PAGE as u32);
                    let entry = read.offset(call % PAGES * PAGE as u64).build();
                    // SAFETY: file and buffer outlive the request, which is waited for.
                    unsafe { ring.submission().push(&entry)? };
                    ring.submit_and_wait(1)?;
                    let result = ring.completion().next().context("no completion")?.result();
                    ensure!(result == PAGE as i32, "a read of {result}");
                }
                Ok(())
            })
        }
        Kind::Partitions => {
            let folder = folder()?.join("partitions");
            std::fs::create_dir_all(&folder)?;
            let files = (0..times).map(|number| opened(&folder.join(format!("{number}.dat"))));
            let files: Vec<File> = files.collect::<Result<_>>()?;
            Box::new(move || partitions(&files))
        }
    })
}

fn messages(times: u64) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut message = [1; 64];
    let mut done = 0;
    while done < times {
        let mut client = TcpStream::connect(listener.local_addr()?)?;
        let (mut server, _) = listener.accept()?;
        for _ in 0..100 {
            client.write_all(&message)?;
            server.read_exact(&mut message)?;
            server.write_all(&message)?;
            client.read_exact(&mut message)?;
        }
        done += 100;
    }
    Ok(())
}

fn direct(times: u64) -> Result<()> {
    let path = folder()?.join(format!("direct-{}", std::process::id()));
    let options = &mut File::options();
    let file = options.create_new(true).read(true).write(true).custom_flags(libc::O_DIRECT).open(&path)?;
    std::fs::remove_file(&path)?;
    let buffer = vec![7u8; 2 * PAGE];
    let page = &buffer[buffer.as_ptr().align_offset(PAGE)..][..PAGE];
    for call in 0..times {
        file.write_all_at(page, call % 64 * PAGE as u64)?;
    }
    Ok(())
}

/// Until it is ended. A little at a time, as a store would.
fn partitions(files: &[File]) -> Result<()> {
    let mut page = [7; PAGE];
    let started = Instant::now();
    for done in 0u64.. {
        let file = &files[done as usize % files.len()];
        file.write_all_at(&page, 0)?;
        file.read_exact_at(&mut page, 0)?;
        let due = PACE.mul_f64((done + 1) as f64 / files.len() as f64);
        if done % 100 == 0 {
            std::thread::sleep(due.saturating_sub(started.elapsed()));
        }
    }
    Ok(())
}

fn opened(path: &Path) -> Result<File> {
    let options = &mut File::options();
    let file = options.create(true).truncate(false).read(true).write(true).open(path);
    file.with_context(|| format!("open {}", path.display()))
}

/// A file without a name, on a disk, in the page cache.
fn cached(folder: &Path) -> Result<File> {
    let path = folder.join(format!("cached-{}", std::process::id()));
    let mut file = opened(&path)?;
    std::fs::remove_file(&path)?;
    file.write_all(&vec![7; PAGE * PAGES as usize]).context("fill the file")?;
    Ok(file)
}

/// On a disk, in the build's folder.
pub(crate) fn folder() -> Result<PathBuf> {
    let folder = target_dir().join("bench");
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    Ok(folder)
}

/// CPU time of this process.
pub(crate) fn cpu_ns() -> Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?;
    Ok(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}
