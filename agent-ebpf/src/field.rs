//! Offsets of kernel fields, which differ between kernels, and loads at them.
//!
//! Rust emits no relocations for them, so the agent reads the running kernel's type information and writes
//! the offsets into these statics before it loads the object. They lie in .rodata, which is frozen: to the
//! verifier they are constants, so that it can follow typed pointers through them.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::{
    bpf_get_current_task_btf, bpf_probe_read_kernel as bpf_probe_read_kernel_raw,
};
use core::mem::{MaybeUninit, transmute};
use core::ptr::read_volatile;
use isotherm_agent_ebpf::CAST_CALL;

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
    REQ_FILE req_file "`io_kiocb.file`",
    REQ_OPCODE req_opcode "`io_kiocb.opcode`",
    REQ_CMD req_cmd "`io_kiocb.cmd`",
    REQ_TCTX req_tctx "`io_kiocb.tctx`",
    TCTX_TASK tctx_task "`io_uring_task.task`",
    RW_POS rw_pos "`io_rw.kiocb.ki_pos`",
    CQE_RES cqe_res "`io_uring_cqe.res`",
    BIO_BDEV bio_bdev "`bio.bi_bdev`",
    BIO_OPF bio_opf "`bio.bi_opf`",
    BIO_FLAGS bio_flags "`bio.bi_flags`",
    BIO_SIZE bio_size "`bio.bi_iter.bi_size`",
    BIO_SECTOR bio_sector "`bio.bi_iter.bi_sector`",
    BIO_END bio_end "`bio.bi_end_io`",
    BIO_PRIVATE bio_private "`bio.bi_private`",
    BIO_VEC bio_vec "`bio.bi_io_vec`",
    BVEC_PAGE bvec_page "`bio_vec.bv_page`",
    BVEC_OFFSET bvec_offset "`bio_vec.bv_offset`",
    BDEV_DEV bdev_dev "`block_device.bd_dev`",
    BDEV_START bdev_start "`block_device.bd_start_sect`",
    PAGE_HEAD page_head "`page.compound_head`",
    FOLIO_MAPPING folio_mapping "`folio.mapping`",
    FOLIO_INDEX folio_index "`folio.index`",
    MAPPING_HOST mapping_host "`address_space.host`",
    INODE_MAPPING inode_mapping "`inode.i_mapping`",
    INODE_ALIAS inode_alias "`inode.i_dentry.first`",
    DENTRY_ALIAS dentry_alias "`dentry.d_u.d_alias`",
    DENTRY_HASHED dentry_hashed "`dentry.d_hash.pprev`",
    DIO_IOCB dio_iocb "`iomap_dio.iocb`",
    DIO_SIZE dio_size "`iomap_dio.size`",
    KIOCB_FILE kiocb_file "`kiocb.ki_filp`",
    KIOCB_POS kiocb_pos "`kiocb.ki_pos`",
    SB_BDEV sb_bdev "`super_block.s_bdev`",
    BH_END bh_end "`buffer_head.b_end_io`",
    RQ_BIO rq_bio "`request.bio`",
    RQ_LEN rq_len "`request.__data_len`",
    RQ_START rq_start "`request.start_time_ns`",
    FILE_PRIVATE file_private "`file.private_data`",
    SOCKET_SK socket_sk "`socket.sk`",
    SK_FAMILY sk_family "`sock_common.skc_family`",
    SK_PORT sk_port "`sock_common.skc_num`",
    SK_PEER_PORT sk_peer_port "`sock_common.skc_dport`",
    SK_IP4 sk_ip4 "`sock_common.skc_rcv_saddr`",
    SK_PEER_IP4 sk_peer_ip4 "`sock_common.skc_daddr`",
    SK_IP6 sk_ip6 "`sock_common.skc_v6_rcv_saddr`",
    SK_PEER_IP6 sk_peer_ip6 "`sock_common.skc_v6_daddr`",
    SK_PROTOCOL sk_protocol "`sock.sk_protocol`",
    SK_NET sk_net "`sock_common.skc_net.net`",
    NET_INUM net_inum "`net.ns.inum`",
    INET_PORT inet_port "`inet_sock.inet_sport`",
    META_BIT meta_bit "`__REQ_META`",
    CLONED_BIT cloned_bit "`BIO_CLONED`",
    LOOP_HELPER loop_helper "`BPF_FUNC_loop`",
    CHAIN_END chain_end "`bio_chain_endio`",
    DIRECT_END direct_end "`iomap_dio_bio_end_io`",
    RAW_END raw_end "`blkdev_bio_end_io`",
    RAW_ASYNC_END raw_async_end "`blkdev_bio_end_io_async`",
    WAIT_END wait_end "`submit_bio_wait_endio`",
    BUFFER_END buffer_end "`end_bio_bh_io_sync`",
    JBD2_END jbd2_end "`journal_end_buffer_io_sync`",
    XLOG_END xlog_end "`xlog_bio_end_io`",
    MIRROR_END mirror_end "`btrfs_clone_write_end_io`",
    SLOT_TYPE slot_type "A type that begins with a `struct file *`",
}

/// Gives an address the type `id`, to the verifier; it costs nothing at run time. Only where [`slot_type`] is
/// not 0: the call is none of a helper before the agent has changed it.
#[inline(always)]
pub(crate) fn cast(address: u64, id: u64) -> u64 {
    // SAFETY: the number of a helper is its address to the compiler, as in the helpers' own bindings.
    let call: unsafe extern "C" fn(u64, u64) -> u64 = unsafe { transmute(CAST_CALL as usize) };
    // SAFETY: it reads nothing.
    unsafe { call(address, id) }
}

/// The current task. Ask once: a call of a helper is a good part of what a program takes.
#[inline(always)]
pub(crate) fn current_task() -> u64 {
    // SAFETY: there is always one.
    unsafe { bpf_get_current_task_btf() as u64 }
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

/// As [`load_u64`], 2 bytes.
#[inline(always)]
pub(crate) fn load_u16(base: u64, offset: u64) -> u16 {
    // SAFETY: as in `load_u64`.
    unsafe { read_volatile((base + offset) as *const u16) }
}

/// Reads through an address that the verifier cannot type. 0 when it is not readable, which ends every walk.
#[inline(always)]
pub(crate) fn probe<T: Copy + Default>(base: u64, offset: u64) -> T {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel((base + offset) as *const T) }.unwrap_or_default()
}

/// The first bytes of a kernel object, fetched at once: a helper call per field is most of what a walk costs.
/// Take out what is needed and let go of it: the stack has 512 bytes.
pub(crate) struct Head<const WORDS: usize> {
    at: u64,
    words: MaybeUninit<[u64; WORDS]>,
}

impl<const WORDS: usize> Head<WORDS> {
    /// To be filled, in place, by [`read`](Self::read).
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self { at: 0, words: MaybeUninit::uninit() }
    }

    /// All zero if the address is not readable.
    #[inline(always)]
    pub(crate) fn read(&mut self, at: u64) {
        self.at = at;
        // SAFETY: the helper checks the address, and fills all of the words whatever happens.
        unsafe {
            bpf_probe_read_kernel_raw(
                self.words.as_mut_ptr().cast(),
                size_of::<[u64; WORDS]>() as u32,
                at as *const _,
            );
        }
    }

    /// The branch is decided when the program is loaded, as the offset is a constant by then.
    #[inline(always)]
    pub(crate) fn get<T: Copy + Default>(&self, offset: u64) -> T {
        if offset + size_of::<T>() as u64 <= size_of::<[u64; WORDS]>() as u64 {
            let start = self.words.as_ptr().cast::<u8>();
            // SAFETY: filled, and in bounds by the check above; the kernel aligns its fields, and the copy is
            // aligned to 8.
            unsafe { start.add(offset as usize).cast::<T>().read() }
        } else {
            probe(self.at, offset)
        }
    }
}
