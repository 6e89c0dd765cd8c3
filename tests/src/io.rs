//! File accesses whose truth is known, by every way that Linux has for them.
//!
//! A plan is a list of jobs: one file, one way, some requests. The program `io` prepares the files, says that
//! it is ready, does the jobs when it is told to, and says what they came to by what the calls returned. What
//! a read returned is checked against where it should have come from, and a call that fails without having
//! been asked to ends the program, so a truth is never less than it seems.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use isotherm_model::Operation;
//! use isotherm_tests::io::{Engine, IoPlan, Job, Request, Uring};
//! # let folder = std::path::Path::new("/tmp");
//! let engine = Engine::Uring(Uring { depth: 8, fixed_buffers: true, ..Uring::default() });
//! let job = Job::new("data", 1 << 20, engine)
//!     .direct()
//!     .request(Request::read(0, 4096).times(100, 8192))
//!     .request(Request::write(0, 4096).times(10, 4096))
//!     .request(Request::sync());
//! let mut generator = IoPlan::new(folder).job(job).spawn()?; // its files are open
//! // ... attach to generator.pid() ...
//! let truth = generator.run()?; // its files are still open
//! assert_eq!(truth.counts(Operation::Read).ops, 100);
//! // ... compare truth.file("data")?.read.offsets() ...
//! generator.leave()?; // or .kill()?, or drop it
//! # Ok(())
//! # }
//! ```

mod truth;

pub use truth::{FileTruth, IoTruth, OperationTruth};

use crate::generator::{Generator, program};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What the program `io` is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IoPlan {
    /// Where its files are.
    pub folder: PathBuf,
    /// Done in this order by the main thread; those of children and threads at the same time.
    pub jobs: Vec<Job>,
}

/// Requests to one file in one way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The file's name in the plan's folder.
    pub file: String,
    /// It is laid out with so many bytes before the program is ready, if it has another length.
    pub size_bytes: u64,
    /// By which calls.
    pub engine: Engine,
    /// Through the page cache or past it.
    pub caching: Caching,
    /// Where the data is in memory.
    pub memory: Memory,
    /// Whether writes go to the end of the file.
    pub append: Append,
    /// Who does it.
    pub actors: Actors,
    /// How much further in the file each next actor works.
    pub actor_stride_bytes: u64,
    /// In order; an engine with a depth has that many under way at once.
    pub requests: Vec<Request>,
}

/// The calls that carry requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// lseek, then read or write.
    Plain,
    /// pread64, pwrite64.
    Positioned,
    /// lseek, then readv or writev, of up to three parts.
    Vectored,
    /// preadv, pwritev.
    PositionedVectored,
    /// preadv2, pwritev2; position -1 for requests at the file's own.
    PositionedVectored2,
    /// libaio's system calls, io_submit and io_getevents.
    Aio(Aio),
    /// io_uring.
    Uring(Uring),
    /// Memory mapped from the file. Reads and writes only, which are no calls: they are in no `OperationTruth`
    /// but in [`FileTruth::mapped_read_bytes`] and [`FileTruth::mapped_write_bytes`].
    Mapped,
}

/// How libaio's calls are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aio {
    /// Requests per io_submit, 1 to 64.
    pub depth: u32,
    /// PREADV and PWRITEV instead of PREAD and PWRITE.
    pub vectored: bool,
    /// io_pgetevents instead of io_getevents.
    pub pgetevents: bool,
}

impl Default for Aio {
    fn default() -> Self {
        Self { depth: 1, vectored: false, pgetevents: false }
    }
}

/// How io_uring is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uring {
    /// Requests per submission, 1 to 64.
    pub depth: u32,
    /// READV and WRITEV instead of READ and WRITE.
    pub vectored: bool,
    /// READ_FIXED and WRITE_FIXED on registered buffers. Not with `vectored`.
    pub fixed_buffers: bool,
    /// By an index into registered files instead of a descriptor.
    pub registered_files: bool,
    /// A kernel thread takes the submissions (SQPOLL).
    pub kernel_polls: bool,
    /// Every request of a submission waits for the one before it (IOSQE_IO_LINK).
    pub linked: bool,
    /// Always by a worker thread of the kernel (IOSQE_ASYNC).
    pub workers: bool,
}

impl Default for Uring {
    fn default() -> Self {
        Self {
            depth: 1,
            vectored: false,
            fixed_buffers: false,
            registered_files: false,
            kernel_polls: false,
            linked: false,
            workers: false,
        }
    }
}

/// Through the page cache or past it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Caching {
    /// Through it.
    Buffered,
    /// O_DIRECT: offsets and lengths have to be multiples of 4096.
    Direct,
}

/// Where the data of requests is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Memory {
    /// The process's own.
    Private,
    /// MAP_SHARED and MAP_ANONYMOUS: pages of a file in memory, as PostgreSQL's shared buffers are.
    Shared,
    /// Mapped from a memfd.
    Memfd,
}

/// Whether writes go to the end of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Append {
    /// No.
    Never,
    /// O_APPEND.
    Opened,
    /// RWF_APPEND, with each write.
    Flagged,
}

/// Who does a job. Each has a descriptor and, with `Aio` and `Uring`, a queue of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actors {
    /// The main thread. Its queue is there before the program is ready.
    Main,
    /// So many threads, which start when it is told to go.
    Threads(u32),
    /// So many children, which start then, and end when they are done.
    Children(u32),
}

/// What is asked of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Bytes from it.
    Read,
    /// Bytes to it.
    Write,
    /// fsync.
    Sync,
    /// fdatasync.
    DataSync,
}

/// Where in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum At {
    /// At this offset.
    Offset(u64),
    /// At the descriptor's position, wherever that is.
    Here,
}

/// What makes a request fail. What does not fail for all that is counted as what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// EBADF.
    BadDescriptor,
    /// EFAULT.
    BadAddress,
    /// EINVAL for direct I/O, but not on every file system.
    Misaligned,
    /// EINVAL.
    NegativeOffset,
}

/// A request, or several at regular distances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// What is asked.
    pub ask: Ask,
    /// Where the first one is.
    pub at: At,
    /// How much each asks for; 0 for syncs.
    pub bytes: u32,
    /// How many.
    pub times: u32,
    /// How much further each next one is.
    pub stride_bytes: u64,
    /// What makes them fail.
    pub fault: Option<Fault>,
}

impl Request {
    /// One read.
    #[must_use]
    pub fn read(offset: u64, bytes: u32) -> Self {
        Self::one(Ask::Read, offset, bytes)
    }

    /// One write.
    #[must_use]
    pub fn write(offset: u64, bytes: u32) -> Self {
        Self::one(Ask::Write, offset, bytes)
    }

    /// One fsync.
    #[must_use]
    pub fn sync() -> Self {
        Self::one(Ask::Sync, 0, 0)
    }

    /// One fdatasync.
    #[must_use]
    pub fn data_sync() -> Self {
        Self::one(Ask::DataSync, 0, 0)
    }

    fn one(ask: Ask, offset: u64, bytes: u32) -> Self {
        Self { ask, at: At::Offset(offset), bytes, times: 1, stride_bytes: 0, fault: None }
    }

    /// So many, each so much further in the file.
    #[must_use]
    pub fn times(self, times: u32, stride_bytes: u64) -> Self {
        Self { times, stride_bytes, ..self }
    }

    /// At the descriptor's position.
    #[must_use]
    pub fn here(self) -> Self {
        Self { at: At::Here, ..self }
    }

    /// Made to fail.
    #[must_use]
    pub fn faulty(self, fault: Fault) -> Self {
        Self { fault: Some(fault), ..self }
    }
}

impl Job {
    /// By the main thread, through the page cache, from private memory, without requests yet.
    #[must_use]
    pub fn new(file: &str, size_bytes: u64, engine: Engine) -> Self {
        Self {
            file: file.to_owned(),
            size_bytes,
            engine,
            caching: Caching::Buffered,
            memory: Memory::Private,
            append: Append::Never,
            actors: Actors::Main,
            actor_stride_bytes: 0,
            requests: Vec::new(),
        }
    }

    /// One more request.
    #[must_use]
    pub fn request(mut self, request: Request) -> Self {
        self.requests.push(request);
        self
    }

    /// By direct I/O.
    #[must_use]
    pub fn direct(self) -> Self {
        Self { caching: Caching::Direct, ..self }
    }

    /// With the data in such memory.
    #[must_use]
    pub fn memory(self, memory: Memory) -> Self {
        Self { memory, ..self }
    }

    /// With writes to the end.
    #[must_use]
    pub fn append(self, append: Append) -> Self {
        Self { append, ..self }
    }

    /// By these actors, each of which works so much further in the file than the one before.
    #[must_use]
    pub fn actors(self, actors: Actors, actor_stride_bytes: u64) -> Self {
        Self { actors, actor_stride_bytes, ..self }
    }
}

impl IoPlan {
    /// Without jobs yet.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf(), jobs: Vec::new() }
    }

    /// One more job.
    #[must_use]
    pub fn job(mut self, job: Job) -> Self {
        self.jobs.push(job);
        self
    }

    /// Starts the program with this plan and waits until its files are laid out and open. Call it from a
    /// thread that outlives it.
    pub fn spawn(&self) -> Result<Generator<IoTruth>> {
        let plan = serde_json::to_string(self).context("write the plan")?;
        Generator::spawn(&mut program("io")?, Some(&plan))
    }
}
