//! From a descriptor to the file, its inode, and its name.

use crate::field::{self, load_u32, load_u64, probe};
use crate::{NAME_SCRATCH, NAMES};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_probe_read_kernel_str};
use core::slice;
use isotherm_agent_ebpf::{FILE_NAME_HEADER, FileName, MAX_DEPTH, NAME_LEN};

/// S_IFMT and S_IFREG.
const FORMAT: u16 = 0o170_000;
const REGULAR: u16 = 0o100_000;

/// `struct file *` of a descriptor of the current process; 0 if there is none.
///
/// Another thread may have closed the descriptor, or opened another file as the same number, since the call
/// was made. The first gives 0. The second is counted for the wrong file; it takes a program that closes
/// descriptors it is still using.
#[inline(always)]
pub(crate) fn current(fd: u32) -> u64 {
    // SAFETY: always the current task.
    let task = unsafe { bpf_get_current_task_btf() } as u64;
    let files = load_u64(task, field::task_files());
    if files == 0 {
        return 0;
    }
    let table = load_u64(files, field::files_fdt());
    if table == 0 || fd >= load_u32(table, field::fdt_max_fds()) {
        return 0;
    }
    let array = load_u64(table, field::fdt_fd());
    probe::<u64>(array, u64::from(fd) * 8)
}

/// The first bytes of an inode, fetched at once: a helper call per field is most of what a walk costs.
struct Head {
    inode: u64,
    bytes: [u64; HEAD_LEN / 8],
}

/// Holds all fields that are read on Linux 6.18. Older kernels have the generation further behind.
const HEAD_LEN: usize = 128;

impl Head {
    #[inline(always)]
    fn of(inode: u64) -> Self {
        let bytes = probe(inode, 0);
        Self { inode, bytes }
    }

    /// The branch is decided when the program is loaded, as the offset is a constant by then.
    #[inline(always)]
    fn get<T: Copy + Default>(&self, offset: u64) -> T {
        if offset + size_of::<T>() as u64 <= HEAD_LEN as u64 {
            let start = (&raw const self.bytes).cast::<u8>();
            // SAFETY: in bounds by the check above; the kernel aligns its fields, and the copy is aligned to 8.
            unsafe { start.add(offset as usize).cast::<T>().read() }
        } else {
            probe(self.inode, offset)
        }
    }
}

/// What tells a file from all others, and its size.
pub(crate) struct Inode {
    pub(crate) ino: u64,
    pub(crate) dev: u32,
    pub(crate) generation: u32,
    pub(crate) size: u64,
}

impl Inode {
    /// `None` for sockets, pipes, devices and directories.
    #[inline(always)]
    pub(crate) fn regular(file: u64) -> Option<Self> {
        let inode = probe::<u64>(file, field::file_inode());
        if inode == 0 {
            return None;
        }
        let head = Head::of(inode);
        if head.get::<u16>(field::inode_mode()) & FORMAT != REGULAR {
            return None;
        }
        Some(Self {
            ino: head.get(field::inode_ino()),
            dev: probe(head.get(field::inode_sb()), field::sb_dev()),
            generation: head.get(field::inode_generation()),
            size: head.get(field::inode_size()),
        })
    }

    /// Sends the names of the file and of the directories above it. `false` if there is no room now.
    #[inline(never)]
    pub(crate) fn send_name(&self, file: u64) -> bool {
        let Some(record) = NAME_SCRATCH.get_ptr_mut(0) else { return false };
        // SAFETY: a value of this CPU's copy of the array, which no other run uses while this one lasts.
        unsafe {
            (*record).ino = self.ino;
            (*record).dev = self.dev;
            (*record).generation = self.generation;
            (*record).tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
            (*record).complete = 0;
            let mut dentry = probe::<u64>(file, field::file_dentry());
            let mut depth = 0usize;
            for level in 0..MAX_DEPTH {
                let name = probe::<u64>(dentry, field::dentry_name());
                let component = (&raw mut (*record).components[level]).cast();
                bpf_probe_read_kernel_str(component, NAME_LEN as u32, name as *const _);
                depth = level + 1;
                let parent = probe::<u64>(dentry, field::dentry_parent());
                if parent == dentry || parent == 0 {
                    (*record).complete = 1;
                    break;
                }
                dentry = parent;
            }
            (*record).depth = depth as u32;
            // Only the components that are there travel. The mask is for the verifier: depth is 16 at most.
            let len = FILE_NAME_HEADER + (depth & 31) * NAME_LEN;
            let len = if len > size_of::<FileName>() { size_of::<FileName>() } else { len };
            NAMES.output::<[u8]>(slice::from_raw_parts(record.cast::<u8>(), len), 0).is_ok()
        }
    }
}
