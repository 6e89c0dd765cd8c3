//! What all engines have in common: they carry out some calls and return their results.

use crate::aio::AioEngine;
use crate::calls::CallEngine;
use crate::memory::{PAGE_BYTES, Slots};
use crate::uring::UringEngine;
use anyhow::{Result, bail, ensure};
use isotherm_tests::io::{Ask, Engine};
use std::os::fd::RawFd;

/// The deepest queue.
const MAX_DEPTH: u32 = 64;

/// One call, ready to be made.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) ask: Ask,
    pub(crate) descriptor: Descriptor,
    /// -1: the descriptor's position.
    pub(crate) offset: i64,
    pub(crate) buffer: *mut u8,
    pub(crate) len: usize,
    /// The buffer's slot.
    pub(crate) slot: usize,
    /// RWF_*.
    pub(crate) flags: i32,
}

/// The file, or one that is none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Descriptor {
    Valid(RawFd),
    Bad,
}

impl Descriptor {
    pub(crate) fn number(self) -> RawFd {
        match self {
            Self::Valid(fd) => fd,
            Self::Bad => -1,
        }
    }
}

/// A way to make calls.
pub(crate) trait Carrier {
    /// Makes the calls, at most the depth of them, and returns for each what it returned, or -errno.
    fn carry(&mut self, calls: &[Call]) -> Result<Vec<i64>>;
}

/// How many calls an engine makes at once.
pub(crate) fn depth(engine: Engine) -> Result<usize> {
    let depth = match engine {
        Engine::Aio(aio) => aio.depth,
        Engine::Uring(uring) => uring.depth,
        Engine::Plain
        | Engine::Positioned
        | Engine::Vectored
        | Engine::PositionedVectored
        | Engine::PositionedVectored2
        | Engine::Mapped => 1,
    };
    ensure!((1..=MAX_DEPTH).contains(&depth), "engine.depth: 1 to {MAX_DEPTH}, not {depth}");
    Ok(depth as usize)
}

/// The engine for calls on one file; none for a mapping, which needs no calls.
pub(crate) fn carrier(engine: Engine, fd: RawFd, slots: &Slots) -> Result<Box<dyn Carrier>> {
    let depth = depth(engine)?;
    Ok(match engine {
        Engine::Plain
        | Engine::Positioned
        | Engine::Vectored
        | Engine::PositionedVectored
        | Engine::PositionedVectored2 => Box::new(CallEngine(engine)),
        Engine::Aio(aio) => Box::new(AioEngine::new(aio, depth)?),
        Engine::Uring(uring) => Box::new(UringEngine::new(uring, depth, fd, slots)?),
        Engine::Mapped => bail!("a mapping makes no calls"),
    })
}

/// Up to three parts of a buffer, each of whole pages but the last.
pub(crate) fn parts(buffer: *mut u8, len: usize) -> ([libc::iovec; 3], usize) {
    let part = len / 3 / PAGE_BYTES * PAGE_BYTES;
    let vector = |from: usize, len| libc::iovec { iov_base: buffer.wrapping_add(from).cast(), iov_len: len };
    if part > 0 {
        ([vector(0, part), vector(part, part), vector(2 * part, len - 2 * part)], 3)
    } else {
        ([vector(0, len), vector(0, 0), vector(0, 0)], 1)
    }
}

/// What a system call returned, or -errno.
pub(crate) fn result(returned: isize) -> i64 {
    if returned >= 0 {
        return returned as i64;
    }
    let errno = std::io::Error::last_os_error().raw_os_error();
    -i64::from(errno.unwrap_or(libc::EIO))
}
