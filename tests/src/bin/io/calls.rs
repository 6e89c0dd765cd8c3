//! Plain system calls.

use crate::engine::{Call, Carrier, parts, result};
use anyhow::{Result, bail};
use isotherm_tests::io::{Ask, Engine};

/// One of the engines that do one call after the other.
pub(crate) struct CallEngine(pub(crate) Engine);

impl Carrier for CallEngine {
    fn carry(&mut self, calls: &[Call]) -> Result<Vec<i64>> {
        calls.iter().map(|call| self.one(call)).collect()
    }
}

impl CallEngine {
    fn one(&self, call: &Call) -> Result<i64> {
        let fd = call.descriptor.number();
        let read = match call.ask {
            Ask::Read => true,
            Ask::Write => false,
            // SAFETY: a plain call, whatever the descriptor is.
            Ask::Sync => return Ok(result(unsafe { libc::fsync(fd) } as isize)),
            // SAFETY: as above.
            Ask::DataSync => return Ok(result(unsafe { libc::fdatasync(fd) } as isize)),
        };
        let Call { offset, buffer, len, flags, .. } = *call;
        let data = buffer.cast::<libc::c_void>();
        let (vectors, count) = parts(buffer, len);
        let (vector, count) = (vectors.as_ptr(), count as i32);
        let moves = matches!(self.0, Engine::Plain | Engine::Vectored);
        // SAFETY: a plain call, whatever the descriptor is.
        if moves && offset != -1 && unsafe { libc::lseek(fd, offset, libc::SEEK_SET) } < 0 {
            return Ok(result(-1));
        }
        if flags != 0 && self.0 != Engine::PositionedVectored2 {
            bail!("{:?} takes no flags such as RWF_APPEND", self.0);
        }
        if !moves && offset == -1 && self.0 != Engine::PositionedVectored2 {
            bail!("{:?} always has a position of its own", self.0);
        }
        // SAFETY: the buffer is as long as said, or so bad that the kernel refuses it.
        let returned = unsafe {
            match (self.0, read) {
                (Engine::Plain, true) => libc::read(fd, data, len),
                (Engine::Plain, false) => libc::write(fd, data, len),
                (Engine::Positioned, true) => libc::pread(fd, data, len, offset),
                (Engine::Positioned, false) => libc::pwrite(fd, data, len, offset),
                (Engine::Vectored, true) => libc::readv(fd, vector, count),
                (Engine::Vectored, false) => libc::writev(fd, vector, count),
                (Engine::PositionedVectored, true) => libc::preadv(fd, vector, count, offset),
                (Engine::PositionedVectored, false) => libc::pwritev(fd, vector, count, offset),
                (Engine::PositionedVectored2, true) => libc::preadv2(fd, vector, count, offset, flags),
                (Engine::PositionedVectored2, false) => libc::pwritev2(fd, vector, count, offset, flags),
                (Engine::Aio(_) | Engine::Uring(_) | Engine::Mapped, _) => {
                    bail!("{:?} is not made of plain calls", self.0)
                }
            }
        };
        Ok(result(returned))
    }
}
