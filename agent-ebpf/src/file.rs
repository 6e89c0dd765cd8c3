//! From a descriptor to the file, its inode, and its name.

use crate::field::{self, Head, cast, current_task, load_u16, load_u32, load_u64, probe};
use crate::map::{NAMES, Scratch};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use core::slice;
use isotherm_agent_ebpf::{FILE_NAME_HEADER, FileName, MAX_DEPTH, NAME_LEN};

/// S_IFMT, S_IFREG and S_IFBLK.
const FORMAT: u16 = 0o170_000;
const REGULAR: u16 = 0o100_000;
const BLOCK_DEVICE: u16 = 0o060_000;

/// What a descriptor of the current process leads to.
pub(crate) enum Opened {
    /// Nothing.
    Closed,
    /// A socket, a pipe, a device or a directory.
    Other,
    /// A file.
    Regular(File, Inode),
}

/// `struct file *` of a descriptor of the current process; 0 if there is none.
///
/// Another thread may have closed the descriptor, or opened another file as the same number, since the call
/// was made. The first gives 0. The second is counted for the wrong file; it takes a program that closes
/// descriptors it is still using.
#[inline(always)]
pub(crate) fn current(fd: u32) -> u64 {
    match slot(current_task(), fd) {
        0 => 0,
        slot => probe::<u64>(slot, 0),
    }
}

/// As [`current`], of the current `task`, with what is needed of the file. Loaded directly where the kernel lets an address have a
/// type; which of the two it is has been decided when the program is loaded.
#[inline(always)]
pub(crate) fn opened(task: u64, fd: u32, needs: Needs) -> Opened {
    let slot_type = field::slot_type();
    let (file, inode) = if slot_type == 0 {
        let at = current(fd);
        if at == 0 {
            return Opened::Closed;
        }
        let file = File::of(at);
        let inode = Inode::regular(file.inode);
        (file, inode)
    } else {
        let slot = slot(task, fd);
        if slot == 0 {
            return Opened::Closed;
        }
        let at = load_u64(cast(slot, slot_type), 0);
        if at == 0 {
            return Opened::Closed;
        }
        let file = File::typed(at, needs);
        let inode = Inode::typed(file.inode);
        (file, inode)
    };
    match inode {
        Some(inode) => Opened::Regular(file, inode),
        None => Opened::Other,
    }
}

/// Where the table of descriptors has one; 0 if it has not so many.
#[inline(always)]
fn slot(task: u64, fd: u32) -> u64 {
    let files = load_u64(task, field::task_files());
    if files == 0 {
        return 0;
    }
    let table = load_u64(files, field::files_fdt());
    if table == 0 || fd >= load_u32(table, field::fdt_max_fds()) {
        return 0;
    }
    load_u64(table, field::fdt_fd()) + u64::from(fd) * 8
}

/// What else is asked of an open file than its inode. Each load that the kernel checks counts.
#[derive(Clone, Copy)]
pub(crate) struct Needs {
    pub(crate) position: bool,
    pub(crate) flags: bool,
}

/// What is needed of an open file.
pub(crate) struct File {
    at: u64,
    /// Address of its inode.
    pub(crate) inode: u64,
    pub(crate) position: u64,
    pub(crate) flags: u32,
}

impl File {
    #[inline(always)]
    pub(crate) fn of(at: u64) -> Self {
        let mut head = Head::<16>::new();
        head.read(at);
        Self {
            at,
            inode: head.get(field::file_inode()),
            position: head.get(field::file_pos()),
            flags: head.get(field::file_flags()),
        }
    }

    /// As [`of`](Self::of), through a pointer whose type the verifier knows.
    #[inline(always)]
    pub(crate) fn typed(at: u64, needs: Needs) -> Self {
        Self {
            at,
            inode: load_u64(at, field::file_inode()),
            position: if needs.position { load_u64(at, field::file_pos()) } else { 0 },
            flags: if needs.flags { load_u32(at, field::file_flags()) } else { 0 },
        }
    }

    #[inline(always)]
    pub(crate) fn dentry(&self) -> u64 {
        probe(self.at, field::file_dentry())
    }
}

/// What tells a file from all others, and its size.
pub(crate) struct Inode {
    at: u64,
    format: u16,
    pub(crate) ino: u64,
    pub(crate) superblock: u64,
    pub(crate) dev: u32,
    pub(crate) generation: u32,
    pub(crate) size: u64,
}

impl Inode {
    /// Without the device. `None` for an address of 0.
    #[inline(always)]
    pub(crate) fn of(at: u64) -> Option<Self> {
        if at == 0 {
            return None;
        }
        let mut head = Head::<16>::new();
        head.read(at);
        Some(Self {
            at,
            format: head.get::<u16>(field::inode_mode()) & FORMAT,
            ino: head.get(field::inode_ino()),
            superblock: head.get(field::inode_sb()),
            dev: 0,
            generation: head.get(field::inode_generation()),
            size: head.get(field::inode_size()),
        })
    }

    /// `None` for sockets, pipes, devices and directories.
    #[inline(always)]
    pub(crate) fn regular(at: u64) -> Option<Self> {
        let mut inode = Self::of(at)?;
        if !inode.is_regular() {
            return None;
        }
        inode.dev = probe(inode.superblock, field::sb_dev());
        Some(inode)
    }

    /// As [`regular`](Self::regular), through a pointer whose type the verifier knows.
    #[inline(always)]
    pub(crate) fn typed(at: u64) -> Option<Self> {
        if at == 0 {
            return None;
        }
        let format = load_u16(at, field::inode_mode()) & FORMAT;
        if format != REGULAR {
            return None;
        }
        let superblock = load_u64(at, field::inode_sb());
        Some(Self {
            at,
            format,
            ino: load_u64(at, field::inode_ino()),
            superblock,
            dev: load_u32(superblock, field::sb_dev()),
            generation: load_u32(at, field::inode_generation()),
            size: load_u64(at, field::inode_size()),
        })
    }

    #[inline(always)]
    pub(crate) fn is_regular(&self) -> bool {
        self.format == REGULAR
    }

    #[inline(always)]
    pub(crate) fn is_block_device(&self) -> bool {
        self.format == BLOCK_DEVICE
    }

    #[inline(always)]
    pub(crate) fn mapping(&self) -> u64 {
        probe(self.at, field::inode_mapping())
    }

    /// A directory entry that leads to the inode; 0 if there is none.
    #[inline(always)]
    pub(crate) fn alias(&self) -> u64 {
        match probe::<u64>(self.at, field::inode_alias()) {
            0 => 0,
            link => link - field::dentry_alias(),
        }
    }
}

/// Sends the names of a file and of the directories above it. `false` if there is no room now.
#[inline(never)]
pub(crate) fn send_name(ino: u64, dev_and_generation: u64, mut dentry: u64, scratch: Scratch) -> bool {
    let Some(record) = scratch.get() else { return false };
    // SAFETY: a value of this CPU's copy of the array, which no other run of the program uses meanwhile.
    unsafe {
        (*record).ino = ino;
        (*record).dev = (dev_and_generation >> 32) as u32;
        (*record).generation = dev_and_generation as u32;
        (*record).tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
        (*record).complete = 0;
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
