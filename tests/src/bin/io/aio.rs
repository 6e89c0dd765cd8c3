//! libaio's system calls, without the library.

use crate::engine::{Call, Carrier, parts, result};
use anyhow::{Context, Result, ensure};
use isotherm_tests::io::{Aio, Ask};
use std::io;

// include/uapi/linux/aio_abi.h
const PREAD: u16 = 0;
const PWRITE: u16 = 1;
const FSYNC: u16 = 2;
const FDSYNC: u16 = 3;
const PREADV: u16 = 7;
const PWRITEV: u16 = 8;

/// The system call's number on x86-64, which libc lacks.
const IO_PGETEVENTS: libc::c_long = 333;

/// `struct io_event`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Event {
    data: u64,
    request: u64,
    result: i64,
    second_result: i64,
}

/// A queue.
pub(crate) struct AioEngine {
    aio: Aio,
    context: libc::c_ulong,
    requests: Vec<libc::iocb>,
    vectors: Vec<[libc::iovec; 3]>,
}

impl AioEngine {
    pub(crate) fn new(aio: Aio, depth: usize) -> Result<Self> {
        let mut context: libc::c_ulong = 0;
        // SAFETY: the context outlives the call, which sets it.
        let returned = unsafe { libc::syscall(libc::SYS_io_setup, depth, &raw mut context) };
        ensure!(returned == 0, "io_setup: {}", io::Error::last_os_error());
        Ok(Self { aio, context, requests: Vec::new(), vectors: Vec::new() })
    }

    /// The kernel's form of the calls. They point into `self.vectors`.
    fn prepare(&mut self, calls: &[Call]) {
        let all = calls.iter().map(|call| parts(call.buffer, call.len));
        let (vectors, counts): (Vec<_>, Vec<_>) = all.unzip();
        self.vectors = vectors;
        let numbered = calls.iter().enumerate().zip(self.vectors.iter().zip(counts));
        self.requests = numbered
            .map(|((number, call), (vectors, count))| {
                // SAFETY: the structure is made of integers, for which zeros are values.
                let mut request: libc::iocb = unsafe { std::mem::zeroed() };
                request.aio_data = number as u64;
                request.aio_fildes = call.descriptor.number().cast_unsigned();
                request.aio_rw_flags = call.flags;
                request.aio_lio_opcode = match (call.ask, self.aio.vectored) {
                    (Ask::Read, false) => PREAD,
                    (Ask::Read, true) => PREADV,
                    (Ask::Write, false) => PWRITE,
                    (Ask::Write, true) => PWRITEV,
                    (Ask::Sync, _) => FSYNC,
                    (Ask::DataSync, _) => FDSYNC,
                };
                if matches!(call.ask, Ask::Read | Ask::Write) {
                    request.aio_offset = call.offset;
                    let vectored = (vectors.as_ptr() as u64, count as u64);
                    let plain = (call.buffer as u64, call.len as u64);
                    (request.aio_buf, request.aio_nbytes) = if self.aio.vectored { vectored } else { plain };
                }
                request
            })
            .collect();
    }

    /// Waits for so many, and puts their results where they belong.
    fn reap(&self, mut count: usize, results: &mut [i64]) -> Result<()> {
        let mut events = vec![Event::default(); count];
        while count > 0 {
            let (context, into) = (self.context, events.as_mut_ptr());
            let none = std::ptr::null::<libc::c_void>();
            // SAFETY: there is room for as many events as are asked for; no timeout and no signals.
            let returned = unsafe {
                if self.aio.pgetevents {
                    libc::syscall(IO_PGETEVENTS, context, 1i64, count, into, none, none)
                } else {
                    libc::syscall(libc::SYS_io_getevents, context, 1i64, count, into, none)
                }
            };
            let got =
                usize::try_from(returned).map_err(|_| io::Error::last_os_error()).context("io_getevents")?;
            for event in &events[..got] {
                let index = usize::try_from(event.data).ok().filter(|index| *index < results.len());
                results[index.context("io_getevents returned what was not submitted")?] = event.result;
            }
            count = count.checked_sub(got).context("io_getevents returned more than was submitted")?;
        }
        Ok(())
    }
}

impl Carrier for AioEngine {
    fn carry(&mut self, calls: &[Call]) -> Result<Vec<i64>> {
        ensure!(calls.iter().all(|call| call.offset != -1), "libaio always has a position of its own");
        self.prepare(calls);
        let mut pointers: Vec<*mut libc::iocb> = self.requests.iter_mut().map(std::ptr::from_mut).collect();
        let (mut results, mut next, mut under_way) = (vec![0; calls.len()], 0, 0);
        while next < calls.len() {
            let waiting = &mut pointers[next..];
            // SAFETY: the requests, and the buffers they name, outlive their completion, which is waited for.
            let returned = unsafe {
                libc::syscall(libc::SYS_io_submit, self.context, waiting.len(), waiting.as_mut_ptr())
            };
            match result(returned as isize) {
                // The first of those that were left is refused, the others are not looked at.
                errno @ ..0 => {
                    results[next] = errno;
                    next += 1;
                }
                taken => {
                    next += taken as usize;
                    under_way += taken as usize;
                }
            }
        }
        self.reap(under_way, &mut results)?;
        Ok(results)
    }
}
