//! Accesses through io_uring, when they complete.

use crate::access::{Seen, count};
use crate::field::{self, probe};
use crate::file::{File, Inode};
use crate::map::{Scratch, target_of};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use isotherm_agent_ebpf::{READ, SYNC, Slot, WRITE};

/// Counts one finished access. Also with fixed buffers, registered files and a submission thread; a request
/// that asks for no completion (IOSQE_CQE_SKIP_SUCCESS) is not seen.
#[btf_tracepoint(function = "io_uring_complete")]
pub fn iso_uring(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the arguments are (struct io_ring_ctx *, struct io_kiocb *, struct io_uring_cqe *) where the agent
    // loads this program.
    let (request, completion): (u64, u64) = (ctx.arg(1), ctx.arg(2));
    if request == 0 || completion == 0 {
        return 0;
    }
    let operation = match probe::<u8>(request, field::req_opcode()) {
        1 | 4 | 22 | 60 => READ,  // READV, READ_FIXED, READ, READV_FIXED
        2 | 5 | 23 | 61 => WRITE, // WRITEV, WRITE_FIXED, WRITE, WRITEV_FIXED
        3 => SYNC,                // FSYNC
        _ => return 0,
    };
    let result = probe::<u32>(completion, field::cqe_res()) as i32;
    if result < 0 {
        return 0;
    }
    let context = probe::<u64>(request, field::req_tctx());
    if context == 0 {
        return 0;
    }
    let task = probe::<u64>(context, field::tctx_task());
    if task == 0 {
        return 0;
    }
    let Some(target) = target_of(probe::<u32>(task, field::task_tgid())) else { return 0 };
    let at = probe::<u64>(request, field::req_file());
    if at == 0 {
        return 0;
    }
    let file = File::of(at);
    let Some(inode) = Inode::regular(file.inode) else { return 0 };
    let bytes = if operation == SYNC { 0 } else { result as u64 };
    // The kernel has moved the request's position on by what it did.
    let position = probe::<u64>(request, field::req_cmd() + field::rw_pos());
    let seen = Seen { target, slot: Slot::Uring, scratch: Scratch::Uring };
    count(seen, operation, &file, &inode, position.wrapping_sub(bytes), bytes);
    0
}
