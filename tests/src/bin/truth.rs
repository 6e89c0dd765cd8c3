//! Does file accesses whose truth it knows, for the kernel tests.
//!
//! `truth FOLDER [SCENARIO]` prepares its files, prints `ready`, waits for a line on stdin, does the
//! accesses, prints what it did as one line of JSON, and waits for the end of stdin. It records what it asked
//! for and got; it knows nothing of Isotherm.

use anyhow::{Context, Result, bail};
use isotherm_tests::truth::{Access, Truth};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{Write, stdin, stdout};
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::{Path, PathBuf};
use std::thread;

const SIZE: u64 = 1 << 20;
const CALLS: u64 = 40;
const BURST: u64 = 300;
const PAGE: usize = 4096;
const RWF_APPEND: libc::c_int = 0x10;
const RWF_NOAPPEND: libc::c_int = 0x20;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().context("give a folder")?);
    let scenario = arguments.next().unwrap_or_else(|| "all".to_owned());
    if scenario == "child" {
        return executed_child(&folder);
    }
    let mut calls = Calls { folder, truth: Truth::default(), open: BTreeMap::new() };
    calls.prepare()?;
    println!("ready");
    stdin().read_line(&mut String::new())?;
    match scenario.as_str() {
        "all" => {
            // Forking comes before threads.
            calls.forked()?;
            calls.every_call()?;
            calls.appending()?;
            calls.direct()?;
            calls.not_counted()?;
            calls.compat()?;
            calls.deleted()?;
            calls.burst()?;
            calls.threads()?;
        }
        "burst" => calls.burst()?,
        "shared" => calls.positioned_reads("shared", CALLS)?,
        "steady" => calls.steady()?,
        other => bail!("no scenario {other:?}"),
    }
    println!("{}", serde_json::to_string(&calls.truth)?);
    stdout().flush()?;
    stdin().read_line(&mut String::new())?;
    Ok(())
}

/// Reads a file after an exec, as the command a storage process runs would.
fn executed_child(path: &Path) -> Result<()> {
    let file = File::open(path)?;
    for call in 0..CALLS {
        pread(&file, 100, call * 1000)?;
    }
    Ok(())
}

struct Calls {
    folder: PathBuf,
    truth: Truth,
    open: BTreeMap<String, File>,
}

impl Calls {
    /// Makes the files, and opens one that is then open before anybody watches.
    fn prepare(&mut self) -> Result<()> {
        const NAMES: [&str; 17] = [
            "read", "write", "pread64", "pwrite64", "readv", "writev", "preadv", "pwritev", "preadv2",
            "pwritev2", "early", "forked", "executed", "threads", "shared", "compat", "deleted",
        ];
        for name in NAMES {
            let path = self.folder.join(name);
            if !path.exists() {
                std::fs::write(&path, vec![7; SIZE as usize])?;
            }
        }
        let early = File::options().read(true).write(true).open(self.folder.join("early"))?;
        self.open.insert("early".to_owned(), early);
        Ok(())
    }

    fn file(&self, name: &str) -> Result<File> {
        File::options().read(true).write(true).open(self.folder.join(name)).with_context(|| name.to_owned())
    }

    fn did(&mut self, name: &str, access: Access) {
        self.truth.files.entry(name.to_owned()).or_default().push(access);
    }

    /// Each call on a file of its own, at offsets that fill different buckets, with different lengths.
    fn every_call(&mut self) -> Result<()> {
        for call in 0..CALLS {
            let (offset, len) = (call * 25_000, 1_000 + call as usize);
            let half = len / 2;
            for name in ["read", "readv"] {
                let file = self.file(name)?;
                seek(&file, offset)?;
                let mut buffer = vec![0; len];
                let (low, high) = buffer.split_at_mut(half);
                let vectors = [vector(low.as_mut_ptr(), half), vector(high.as_mut_ptr(), len - half)];
                // SAFETY: the buffers are live and as long as said.
                let bytes = got(name, unsafe {
                    match name {
                        "read" => libc::read(file.as_raw_fd(), buffer.as_mut_ptr().cast(), len),
                        _ => libc::readv(file.as_raw_fd(), vectors.as_ptr(), 2),
                    }
                })?;
                self.did(name, Access::read(offset, bytes));
            }
            for name in ["write", "writev"] {
                let file = self.file(name)?;
                seek(&file, offset)?;
                let mut buffer = vec![1; len];
                let vectors =
                    [vector(buffer.as_mut_ptr(), half), vector(buffer[half..].as_mut_ptr(), len - half)];
                // SAFETY: as above.
                let bytes = got(name, unsafe {
                    match name {
                        "write" => libc::write(file.as_raw_fd(), buffer.as_ptr().cast(), len),
                        _ => libc::writev(file.as_raw_fd(), vectors.as_ptr(), 2),
                    }
                })?;
                self.did(name, Access::write(offset, bytes));
            }
            self.positioned(offset, len)?;
        }
        Ok(())
    }

    fn positioned(&mut self, offset: u64, len: usize) -> Result<()> {
        let at = offset as libc::off_t;
        let mut buffer = vec![3u8; len];
        let one = [vector(buffer.as_mut_ptr(), len)];
        for name in ["pread64", "early", "preadv", "preadv2"] {
            let opened;
            let file = match self.open.get(name) {
                Some(file) => file,
                None => {
                    opened = self.file(name)?;
                    &opened
                }
            };
            let fd = file.as_raw_fd();
            // SAFETY: the buffer is live and as long as said.
            let bytes = got(name, unsafe {
                match name {
                    "preadv" => libc::preadv(fd, one.as_ptr(), 1, at),
                    "preadv2" => libc::preadv2(fd, one.as_ptr(), 1, at, 0),
                    _ => libc::pread(fd, buffer.as_mut_ptr().cast(), len, at),
                }
            })?;
            self.did(name, Access::read(offset, bytes));
        }
        for name in ["pwrite64", "pwritev", "pwritev2"] {
            let file = self.file(name)?;
            let fd = file.as_raw_fd();
            // SAFETY: as above.
            let bytes = got(name, unsafe {
                match name {
                    "pwritev" => libc::pwritev(fd, one.as_ptr(), 1, at),
                    "pwritev2" => libc::pwritev2(fd, one.as_ptr(), 1, at, 0),
                    _ => libc::pwrite(fd, buffer.as_ptr().cast(), len, at),
                }
            })?;
            self.did(name, Access::write(offset, bytes));
        }
        // A position of -1 means the file's own.
        let file = self.file("preadv2")?;
        seek(&file, offset)?;
        // SAFETY: as above.
        let bytes = got("preadv2", unsafe { libc::preadv2(file.as_raw_fd(), one.as_ptr(), 1, -1, 0) })?;
        self.did("preadv2", Access::read(offset, bytes));
        Ok(())
    }

    /// Writes that go to the end, whatever their position says.
    fn appending(&mut self) -> Result<()> {
        let path = self.folder.join("appended");
        let file = File::options().create(true).append(true).read(true).open(&path)?;
        let plain = File::options().write(true).open(&path)?;
        let buffer = vec![5u8; 3_000];
        let one = [vector(buffer.as_ptr().cast_mut(), buffer.len())];
        for _ in 0..CALLS {
            let pwrite = |fd: &File, flags: libc::c_int| {
                // SAFETY: the buffer is live and as long as said; the kernel only reads it.
                unsafe { libc::pwritev2(fd.as_raw_fd(), one.as_ptr(), 1, 0, flags) }
            };
            let end = file.metadata()?.len();
            // SAFETY: as above.
            let bytes =
                got("write", unsafe { libc::write(file.as_raw_fd(), buffer.as_ptr().cast(), buffer.len()) })?;
            self.did("appended", Access::write(end, bytes));
            let end = file.metadata()?.len();
            // SAFETY: as above.
            let bytes = got("pwrite", unsafe {
                libc::pwrite(file.as_raw_fd(), buffer.as_ptr().cast(), buffer.len(), 0)
            })?;
            self.did("appended", Access::write(end, bytes));
            let end = file.metadata()?.len();
            let bytes = got("pwritev2 append", pwrite(&plain, RWF_APPEND))?;
            self.did("appended", Access::write(end, bytes));
            // Linux 6.9; older kernels refuse the flag, and then nothing is written.
            if let Ok(bytes) = got("pwritev2 noappend", pwrite(&file, RWF_NOAPPEND)) {
                self.did("appended", Access::write(0, bytes));
            }
        }
        Ok(())
    }

    /// Past the page cache.
    fn direct(&mut self) -> Result<()> {
        let path = self.folder.join("direct");
        std::fs::write(&path, vec![7; SIZE as usize])?;
        // The preparation is an access, too.
        self.did("direct", Access::write(0, SIZE));
        let name = CString::new(path.as_os_str().as_encoded_bytes())?;
        // SAFETY: a valid path; the descriptor is ours.
        let file = unsafe {
            let fd = libc::open(name.as_ptr(), libc::O_RDWR | libc::O_DIRECT);
            if fd < 0 {
                return Err(std::io::Error::last_os_error()).context("O_DIRECT is not possible here");
            }
            File::from_raw_fd(fd)
        };
        let mut space = vec![0u8; 3 * PAGE];
        let start = space.as_ptr().align_offset(PAGE);
        let buffer = &mut space[start..start + PAGE];
        for call in 0..CALLS {
            let offset = call * 6 * PAGE as u64;
            // SAFETY: the buffer is live, aligned and a page long.
            let (read, written) = unsafe {
                let at = offset as libc::off_t;
                (
                    libc::pread(file.as_raw_fd(), buffer.as_mut_ptr().cast(), PAGE, at),
                    libc::pwrite(file.as_raw_fd(), buffer.as_ptr().cast(), PAGE, at),
                )
            };
            self.did("direct", Access::read(offset, got("direct read", read)?));
            self.did("direct", Access::write(offset, got("direct write", written)?));
        }
        Ok(())
    }

    /// Failed calls, pipes and sockets are no accesses; an end of file is one of no bytes.
    fn not_counted(&mut self) -> Result<()> {
        let file = self.file("pread64")?;
        let mut buffer = [0u8; 64];
        let (reader, mut writer) = std::io::pipe()?;
        let (mut left, right) = std::os::unix::net::UnixStream::pair()?;
        for _ in 0..CALLS {
            // SAFETY: the calls fail before they touch the buffer, or have room for what they read.
            unsafe {
                let fd = file.as_raw_fd();
                assert_eq!(libc::pread(-1, buffer.as_mut_ptr().cast(), 64, 0), -1);
                assert_eq!(libc::pread(fd, buffer.as_mut_ptr().cast(), 64, -5), -1);
                assert_eq!(libc::pread(fd, std::ptr::without_provenance_mut(8), 64, 0), -1);
                writer.write_all(&buffer)?;
                assert_eq!(libc::read(reader.as_raw_fd(), buffer.as_mut_ptr().cast(), 64), 64);
                left.write_all(&buffer)?;
                assert_eq!(libc::read(right.as_raw_fd(), buffer.as_mut_ptr().cast(), 64), 64);
            }
            let nothing = pread(&file, 64, 5 * SIZE)?;
            // Counted at the last byte of the file.
            self.did("pread64", Access::read(SIZE - 1, nothing));
        }
        Ok(())
    }

    /// 32-bit system calls: not counted, and told as lost.
    fn compat(&mut self) -> Result<()> {
        let file = self.file("compat")?;
        // SAFETY: an anonymous mapping below 4 GiB, which 32-bit calls can address; never unmapped.
        let buffer = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
            libc::mmap(std::ptr::null_mut(), PAGE, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        if buffer == libc::MAP_FAILED {
            bail!("no memory below 4 GiB");
        }
        for _ in 0..CALLS {
            let result: i64;
            // SAFETY: write(2) by its 32-bit number; rbx belongs to the compiler, so it is put back.
            unsafe {
                std::arch::asm!(
                    "xchg {fd}, rbx", "int 0x80", "xchg {fd}, rbx",
                    fd = inout(reg) i64::from(file.as_raw_fd()) => _,
                    inlateout("rax") 4i64 => result,
                    in("rcx") buffer, in("rdx") 10,
                    out("r8") _, out("r9") _, out("r10") _, out("r11") _,
                );
            }
            if result == 10 {
                self.truth.compat_calls += 1;
            }
        }
        Ok(())
    }

    /// A file that has no name any more.
    fn deleted(&mut self) -> Result<()> {
        let file = self.file("deleted")?;
        std::fs::remove_file(self.folder.join("deleted"))?;
        for call in 0..CALLS {
            let bytes = pread(&file, 500, call * 1_000)?;
            self.did("deleted", Access::read(call * 1_000, bytes));
        }
        Ok(())
    }

    /// Many new files, each touched once or twice and closed.
    fn burst(&mut self) -> Result<()> {
        for index in 0..BURST {
            let name = format!("burst-{index}");
            let path = self.folder.join(&name);
            let mut file = File::options().create(true).truncate(true).read(true).write(true).open(&path)?;
            file.write_all(&[1; 10])?;
            self.did(&name, Access::write(0, 10));
            let bytes = pread(&file, 5, 0)?;
            self.did(&name, Access::read(0, bytes));
        }
        Ok(())
    }

    /// A child, its own child, and a child that runs another program.
    fn forked(&mut self) -> Result<()> {
        let file = self.file("forked")?;
        // SAFETY: there is one thread so far; the child only makes system calls, and leaves by _exit.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                let grandchild = libc::fork();
                let offset = if grandchild == 0 { 500_000 } else { 0 };
                let mut ok = (0..CALLS).all(|call| pread(&file, 100, offset + call * 1_000).is_ok());
                if grandchild > 0 {
                    let mut status = 0;
                    ok &= libc::waitpid(grandchild, &raw mut status, 0) == grandchild && status == 0;
                }
                libc::_exit(i32::from(!ok));
            }
            let mut status = 0;
            if libc::waitpid(child, &raw mut status, 0) != child || status != 0 {
                bail!("the forked child failed");
            }
        }
        for offset in [0, 500_000] {
            for call in 0..CALLS {
                self.did("forked", Access::read(offset + call * 1_000, 100));
            }
        }
        let executed = self.folder.join("executed");
        let status =
            std::process::Command::new(std::env::current_exe()?).arg(&executed).arg("child").status()?;
        if !status.success() {
            bail!("the executed child failed");
        }
        for call in 0..CALLS {
            self.did("executed", Access::read(call * 1_000, 100));
        }
        Ok(())
    }

    /// Several threads on one file.
    fn threads(&mut self) -> Result<()> {
        const THREADS: u64 = 4;
        const EACH: u64 = 2_000;
        let file = self.file("threads")?;
        thread::scope(|scope| -> Result<()> {
            let workers: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let file = &file;
                    scope.spawn(move || {
                        (0..EACH)
                            .try_for_each(|call| pread(file, 200, (thread * EACH + call) * 100).map(drop))
                    })
                })
                .collect();
            for worker in workers {
                worker.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
            }
            Ok(())
        })?;
        for call in 0..THREADS * EACH {
            self.did("threads", Access::read(call * 100, 200));
        }
        Ok(())
    }

    fn positioned_reads(&mut self, name: &str, calls: u64) -> Result<()> {
        let file = self.file(name)?;
        for call in 0..calls {
            let bytes = pread(&file, 100, call * 1_000)?;
            self.did(name, Access::read(call * 1_000, bytes));
        }
        Ok(())
    }

    /// A load that lasts until a line comes, at about 1,000 reads a second.
    fn steady(&mut self) -> Result<()> {
        let file = self.file("shared")?;
        let (line, came) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let read = stdin().read_line(&mut String::new());
            line.send(read.is_ok())
        });
        let mut call = 0;
        while came.recv_timeout(std::time::Duration::from_millis(1)).is_err() {
            let offset = call % 1_000 * 1_000;
            let bytes = pread(&file, 100, offset)?;
            self.did("shared", Access::read(offset, bytes));
            call += 1;
        }
        Ok(())
    }
}

fn vector(base: *mut u8, len: usize) -> libc::iovec {
    libc::iovec { iov_base: base.cast(), iov_len: len }
}

fn seek(file: &File, offset: u64) -> Result<()> {
    // SAFETY: a plain call on an open descriptor.
    let at = unsafe { libc::lseek(file.as_raw_fd(), offset as libc::off_t, libc::SEEK_SET) };
    if at < 0 { Err(std::io::Error::last_os_error()).context("lseek") } else { Ok(()) }
}

fn pread(file: &File, len: usize, offset: u64) -> Result<u64> {
    let mut buffer = vec![0u8; len];
    // SAFETY: the buffer is live and as long as said.
    let result =
        unsafe { libc::pread(file.as_raw_fd(), buffer.as_mut_ptr().cast(), len, offset as libc::off_t) };
    got("pread", result)
}

fn got(call: &str, result: isize) -> Result<u64> {
    u64::try_from(result).map_err(|_| std::io::Error::last_os_error()).with_context(|| call.to_owned())
}
