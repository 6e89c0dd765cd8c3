//! Offsets of kernel fields, which differ between kernels, and loads at them.
//!
//! Rust emits no relocations for them, so the agent reads the running kernel's type information and writes
//! the offsets into these statics before it loads the object. They lie in .rodata, which is frozen: to the
//! verifier they are constants, so that it can follow typed pointers through them.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use core::ptr::read_volatile;

macro_rules! fields {
    ($($name:ident $get:ident $path:literal),+ $(,)?) => {
        $(
            #[unsafe(no_mangle)]
            static $name: u64 = 0;

            #[doc = $path]
            #[inline(always)]
            pub(crate) fn $get() -> u64 {
                // SAFETY: a static of this object; volatile, because the loader replaces its value.
                unsafe { read_volatile(&raw const $name) }
            }
        )+
    };
}

fields! {
    TASK_FILES task_files "`task_struct.files`",
    TASK_TGID task_tgid "`task_struct.tgid`",
    TASK_SIGNAL task_signal "`task_struct.signal`",
    TASK_STATUS task_status "`task_struct.thread_info.status`",
    SIGNAL_LIVE signal_live "`signal_struct.live.counter`",
    FILES_FDT files_fdt "`files_struct.fdt`",
    FDT_FD fdt_fd "`fdtable.fd`",
    FDT_MAX_FDS fdt_max_fds "`fdtable.max_fds`",
    FILE_INODE file_inode "`file.f_inode`",
    FILE_POS file_pos "`file.f_pos`",
    FILE_FLAGS file_flags "`file.f_flags`",
    FILE_DENTRY file_dentry "`file.f_path.dentry`",
    INODE_INO inode_ino "`inode.i_ino`",
    INODE_SB inode_sb "`inode.i_sb`",
    INODE_MODE inode_mode "`inode.i_mode`",
    INODE_GENERATION inode_generation "`inode.i_generation`",
    INODE_SIZE inode_size "`inode.i_size`",
    SB_DEV sb_dev "`super_block.s_dev`",
    DENTRY_PARENT dentry_parent "`dentry.d_parent`",
    DENTRY_NAME dentry_name "`dentry.d_name.name`",
    REGS_NR regs_nr "`pt_regs.orig_ax`",
    REGS_FD regs_fd "`pt_regs.di`",
    REGS_POS regs_pos "`pt_regs.r10`",
    REGS_FLAGS regs_flags "`pt_regs.r9`",
}

/// Reads 8 bytes through a pointer whose type the verifier knows; an exception table makes a bad one read 0.
#[inline(always)]
pub(crate) fn load_u64(base: u64, offset: u64) -> u64 {
    // SAFETY: the verifier admits only pointers it can type, at offsets inside the type.
    unsafe { read_volatile((base + offset) as *const u64) }
}

/// As [`load_u64`], 4 bytes.
#[inline(always)]
pub(crate) fn load_u32(base: u64, offset: u64) -> u32 {
    // SAFETY: as in `load_u64`.
    unsafe { read_volatile((base + offset) as *const u32) }
}

/// Reads through an address that the verifier cannot type. 0 when it is not readable, which ends every walk.
#[inline(always)]
pub(crate) fn probe<T: Copy + Default>(base: u64, offset: u64) -> T {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel((base + offset) as *const T) }.unwrap_or_default()
}
