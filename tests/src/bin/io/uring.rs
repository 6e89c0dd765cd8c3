//! io_uring.

use crate::engine::{Call, Carrier, Descriptor, parts};
use crate::memory::Slots;
use anyhow::{Context, Result, ensure};
use io_uring::squeue::{Entry, Flags};
use io_uring::types::{Fd, Fixed, FsyncFlags};
use io_uring::{IoUring, opcode};
use isotherm_tests::io::{Ask, Uring};
use std::os::fd::RawFd;

/// How long the kernel's thread looks for submissions before it sleeps.
const IDLE_MS: u32 = 50;

/// The index that the file is registered at, and one at which there is none.
const REGISTERED: u32 = 0;
const UNREGISTERED: u32 = 7;

/// A ring with one file.
pub(crate) struct UringEngine {
    uring: Uring,
    ring: IoUring,
    vectors: Vec<[libc::iovec; 3]>,
}

/// Builds an entry with the file as a descriptor or as an index, which are different types.
macro_rules! with_file {
    ($self:expr, $descriptor:expr, |$file:ident| $entry:expr) => {
        if $self.uring.registered_files {
            let $file = Fixed(if $descriptor == Descriptor::Bad { UNREGISTERED } else { REGISTERED });
            $entry.build()
        } else {
            let $file = Fd($descriptor.number());
            $entry.build()
        }
    };
}

impl UringEngine {
    pub(crate) fn new(uring: Uring, depth: usize, fd: RawFd, slots: &Slots) -> Result<Self> {
        ensure!(!(uring.vectored && uring.fixed_buffers), "engine: vectored requests take no fixed buffers");
        let mut builder = IoUring::builder();
        if uring.kernel_polls {
            builder.setup_sqpoll(IDLE_MS);
        }
        let entries = u32::try_from(depth).context("the depth")?;
        let ring = builder.build(entries.next_power_of_two()).context("io_uring_setup")?;
        if uring.registered_files {
            ring.submitter().register_files(&[fd]).context("register the file with io_uring")?;
        }
        if uring.fixed_buffers {
            // SAFETY: the mapping lasts as long as the process.
            unsafe { ring.submitter().register_buffers(&slots.vectors()) }
                .context("register buffers with io_uring")?;
        }
        Ok(Self { uring, ring, vectors: Vec::new() })
    }

    fn entry(&self, call: &Call, vectors: &[libc::iovec; 3], count: usize) -> Entry {
        let Call { descriptor, buffer, flags, .. } = *call;
        let (offset, len, count) = (call.offset.cast_unsigned(), call.len as u32, count as u32);
        let (vector, slot) = (vectors.as_ptr(), call.slot as u16);
        match call.ask {
            Ask::Read if self.uring.vectored => with_file!(self, descriptor, |file| {
                opcode::Readv::new(file, vector, count).offset(offset).rw_flags(flags)
            }),
            Ask::Read if self.uring.fixed_buffers => with_file!(self, descriptor, |file| {
                opcode::ReadFixed::new(file, buffer, len, slot).offset(offset).rw_flags(flags)
            }),
            Ask::Read => with_file!(self, descriptor, |file| {
                opcode::Read::new(file, buffer, len).offset(offset).rw_flags(flags)
            }),
            Ask::Write if self.uring.vectored => with_file!(self, descriptor, |file| {
                opcode::Writev::new(file, vector, count).offset(offset).rw_flags(flags)
            }),
            Ask::Write if self.uring.fixed_buffers => with_file!(self, descriptor, |file| {
                opcode::WriteFixed::new(file, buffer, len, slot).offset(offset).rw_flags(flags)
            }),
            Ask::Write => with_file!(self, descriptor, |file| {
                opcode::Write::new(file, buffer, len).offset(offset).rw_flags(flags)
            }),
            Ask::Sync => with_file!(self, descriptor, |file| opcode::Fsync::new(file)),
            Ask::DataSync => {
                with_file!(self, descriptor, |file| { opcode::Fsync::new(file).flags(FsyncFlags::DATASYNC) })
            }
        }
    }
}

impl Carrier for UringEngine {
    fn carry(&mut self, calls: &[Call]) -> Result<Vec<i64>> {
        let all = calls.iter().map(|call| parts(call.buffer, call.len));
        let (vectors, counts): (Vec<_>, Vec<_>) = all.unzip();
        self.vectors = vectors;
        for (number, call) in calls.iter().enumerate() {
            let mut flags = Flags::empty();
            if self.uring.linked && number + 1 < calls.len() {
                flags |= Flags::IO_LINK;
            }
            if self.uring.workers {
                flags |= Flags::ASYNC;
            }
            let entry = self.entry(call, &self.vectors[number], counts[number]);
            let entry = entry.flags(flags).user_data(number as u64);
            // SAFETY: buffers and vectors outlive their completion, which is waited for.
            unsafe { self.ring.submission().push(&entry) }.context("the submission queue is full")?;
        }
        let mut results = vec![None; calls.len()];
        while results.contains(&None) {
            self.ring.submit_and_wait(1).context("io_uring_enter")?;
            for completion in self.ring.completion() {
                let index = usize::try_from(completion.user_data()).ok();
                let result = index.and_then(|index| results.get_mut(index));
                let result = result.context("io_uring completed what was not submitted")?;
                ensure!(result.is_none(), "io_uring completed a request twice");
                *result = Some(i64::from(completion.result()));
            }
        }
        Ok(results.into_iter().flatten().collect())
    }
}
