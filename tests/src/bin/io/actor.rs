//! One thread of work on one file: makes calls of requests, and records what they returned.

use crate::engine::{Call, Carrier, Descriptor, carrier, depth};
use crate::mapped::Mapping;
use crate::memory::Slots;
use crate::record::{Record, Records};
use anyhow::{Context, Result, bail, ensure};
use isotherm_tests::io::{Append, Ask, At, Caching, Engine, Fault, Job, Request};
use isotherm_tests::pattern::{self, Mark};
use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const RWF_APPEND: i32 = 0x10;

/// An address that no process has.
const BAD_ADDRESS: usize = 8;

/// A job's file, opened, and the means to work on it.
pub(crate) struct Actor<'a> {
    job: &'a Job,
    number: u32,
    file: File,
    slots: Slots,
    depth: usize,
    carrier: Option<Box<dyn Carrier>>,
}

// SAFETY: an actor is handed to its thread before it has a carrier, and carriers are not handed on.
unsafe impl Send for Actor<'_> {}

/// A request with its place in the file.
#[derive(Clone, Copy)]
struct Placed {
    request: Request,
    /// Of its own, if it has one.
    offset: u64,
}

impl<'a> Actor<'a> {
    /// Opens the file of a job, for the actor of this number.
    pub(crate) fn open(folder: &Path, job: &'a Job, number: u32) -> Result<Self> {
        let mut flags = 0;
        if job.caching == Caching::Direct {
            flags |= libc::O_DIRECT;
        }
        if job.append == Append::Opened {
            flags |= libc::O_APPEND;
        }
        let path = folder.join(&job.file);
        let file = File::options().read(true).write(true).custom_flags(flags).open(&path);
        let file = file.with_context(|| format!("open {}", path.display()))?;
        let longest = job.requests.iter().map(|request| request.bytes as usize).max().unwrap_or(0);
        let depth = depth(job.engine)?;
        let slots = Slots::new(job.memory, depth, longest)?;
        Ok(Self { job, number, file, slots, depth, carrier: None })
    }

    /// The file's name.
    pub(crate) fn file(&self) -> &'a str {
        &self.job.file
    }

    /// Makes the queue, if the engine has one.
    pub(crate) fn queue(&mut self) -> Result<()> {
        if self.carrier.is_none() && self.job.engine != Engine::Mapped {
            self.carrier = Some(carrier(self.job.engine, self.file.as_raw_fd(), &self.slots)?);
        }
        Ok(())
    }

    /// Does all requests.
    pub(crate) fn work(&mut self) -> Result<Records> {
        self.queue()?;
        let mut records = Records::default();
        if self.job.engine == Engine::Mapped {
            self.map(&mut records).with_context(|| format!("{} (mapped)", self.job.file))?;
            return Ok(records);
        }
        let placed: Vec<Placed> = self.placed().collect();
        let job = self.job;
        for batch in placed.chunk_by(|one, next| together(job, one, next)) {
            for batch in batch.chunks(self.depth) {
                let context = || format!("{} ({:?})", job.file, job.engine);
                self.batch(batch, &mut records).with_context(context)?;
            }
        }
        Ok(records)
    }

    fn placed(&self) -> impl Iterator<Item = Placed> + 'a {
        let shift = u64::from(self.number) * self.job.actor_stride_bytes;
        self.job.requests.iter().flat_map(move |request| {
            let start = match request.at {
                At::Offset(offset) => offset + shift,
                At::Here => 0,
            };
            let offset = move |time| start + u64::from(time) * request.stride_bytes;
            (0..request.times).map(move |time| Placed { request: *request, offset: offset(time) })
        })
    }

    /// Makes one call of each request, all at once, and records what they returned.
    fn batch(&mut self, batch: &[Placed], records: &mut Records) -> Result<()> {
        let offsets = self.offsets(batch)?;
        let calls: Vec<Call> = batch
            .iter()
            .zip(&offsets)
            .enumerate()
            .map(|(slot, (placed, offset))| self.call(slot, placed, *offset))
            .collect();
        let carrier = self.carrier.as_mut().context("the queue is not made")?;
        let results = carrier.carry(&calls)?;
        // A request that fails or moves less than it was asked to ends its chain.
        let mut broken = false;
        for (slot, ((placed, offset), result)) in batch.iter().zip(offsets).zip(results).enumerate() {
            match u64::try_from(result) {
                Ok(bytes) => {
                    broken |= bytes < u64::from(placed.request.bytes);
                    records.completed.push(self.completed(slot, placed, offset, bytes)?);
                }
                Err(_) => {
                    let errno = i32::try_from(-result).context("an errno")?;
                    let error = std::io::Error::from_raw_os_error(errno);
                    let cancelled = errno == libc::ECANCELED && linked(self.job) && broken;
                    broken = true;
                    if placed.request.fault.is_none() && !cancelled {
                        bail!(
                            "{:?} of {} bytes at {offset}: {error}",
                            placed.request.ask,
                            placed.request.bytes
                        );
                    }
                    *records.failed.entry(errno).or_default() += 1;
                }
            }
        }
        Ok(())
    }

    /// Where in the file each request will be, if those before it move all that they ask for.
    fn offsets(&self, batch: &[Placed]) -> Result<Vec<u64>> {
        let (mut end, mut position) = (self.size_bytes()?, position(self.file.as_raw_fd())?);
        let mut offsets = Vec::with_capacity(batch.len());
        for placed in batch {
            let bytes = u64::from(placed.request.bytes);
            let moves = matches!(placed.request.ask, Ask::Read | Ask::Write);
            let offset = match placed.request.at {
                _ if appends(self.job, placed) => end,
                At::Here if moves => position,
                At::Here => 0,
                At::Offset(_) => placed.offset,
            };
            if appends(self.job, placed) {
                end += bytes;
            }
            if placed.request.at == At::Here && moves {
                position = offset + bytes;
            }
            offsets.push(offset);
        }
        Ok(offsets)
    }

    /// The call for a request, its data filled in.
    fn call(&mut self, slot: usize, placed: &Placed, offset: u64) -> Call {
        let Request { ask, at, bytes, fault, .. } = placed.request;
        let len = bytes as usize;
        match ask {
            Ask::Write => pattern::fill(self.slots.slot(slot, len), offset, Mark::Set),
            // So that what is there afterwards was read.
            Ask::Read => self.slots.slot(slot, len).fill(0xff),
            Ask::Sync | Ask::DataSync => {}
        }
        let asked = if at == At::Here { -1 } else { placed.offset as i64 };
        let mut call = Call {
            ask,
            descriptor: Descriptor::Valid(self.file.as_raw_fd()),
            offset: asked,
            buffer: self.slots.address(slot),
            len,
            slot,
            flags: if self.job.append == Append::Flagged && ask == Ask::Write { RWF_APPEND } else { 0 },
        };
        match fault {
            None => {}
            Some(Fault::BadDescriptor) => call.descriptor = Descriptor::Bad,
            Some(Fault::BadAddress) => call.buffer = std::ptr::without_provenance_mut(BAD_ADDRESS),
            Some(Fault::Misaligned) => call.offset += 1,
            Some(Fault::NegativeOffset) => call.offset = -5,
        }
        call
    }

    /// A request that was carried out, after checking its data where that is possible.
    fn completed(&mut self, slot: usize, placed: &Placed, offset: u64, bytes: u64) -> Result<Record> {
        let Request { ask, bytes: asked, fault, .. } = placed.request;
        ensure!(bytes <= u64::from(asked), "{ask:?} of {asked} bytes at {offset} returned {bytes}");
        if appends(self.job, placed) || placed.request.at == At::Here && ask == Ask::Write {
            ensure!(bytes == u64::from(asked), "a write of {asked} bytes to {offset} wrote {bytes}");
        }
        let offset = if fault == Some(Fault::Misaligned) { offset + 1 } else { offset };
        match ask {
            Ask::Read if bytes == 0 => {
                let last = self.size_bytes()?.saturating_sub(1);
                return Ok(Record { ask, offset: offset.min(last), bytes });
            }
            Ask::Read => pattern::check(self.slots.slot(slot, bytes as usize), offset)?,
            // It wrote what belongs one byte further on.
            Ask::Write => ensure!(fault != Some(Fault::Misaligned), "a misaligned write was carried out"),
            Ask::Sync | Ask::DataSync => return Ok(Record { ask, offset: 0, bytes: 0 }),
        }
        Ok(Record { ask, offset, bytes })
    }

    fn map(&mut self, records: &mut Records) -> Result<()> {
        let mut mapping = Mapping::new(&self.file)?;
        for Placed { request, offset } in self.placed() {
            let len = request.bytes as usize;
            ensure!(
                request.at != At::Here && request.fault.is_none(),
                "a mapping has neither position nor faults"
            );
            match request.ask {
                Ask::Read => {
                    mapping.read(offset, len)?;
                    records.mapped_read_bytes += u64::from(request.bytes);
                }
                Ask::Write => {
                    mapping.write(offset, len)?;
                    records.mapped_write_bytes += u64::from(request.bytes);
                }
                Ask::Sync | Ask::DataSync => bail!("a mapping is synced by a job of another engine"),
            }
        }
        Ok(())
    }

    fn size_bytes(&self) -> Result<u64> {
        Ok(self.file.metadata().context("look at the file")?.len())
    }
}

fn position(fd: RawFd) -> Result<u64> {
    // SAFETY: a plain call on an open descriptor.
    let position = unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) };
    u64::try_from(position).map_err(|_| std::io::Error::last_os_error()).context("lseek")
}

/// Whether two requests may be under way at once. Where the place of the second follows from the first, they
/// may only if the kernel keeps their order.
fn together(job: &Job, one: &Placed, next: &Placed) -> bool {
    let follows = |placed: &Placed| placed.request.at == At::Here || appends(job, placed);
    linked(job) && follows(one) == follows(next) || !follows(one) && !follows(next)
}

fn linked(job: &Job) -> bool {
    matches!(job.engine, Engine::Uring(uring) if uring.linked)
}

fn appends(job: &Job, placed: &Placed) -> bool {
    job.append != Append::Never && placed.request.ask == Ask::Write
}
