//! What the programs need to know of the running kernel: fields, flags and functions.

/// What a kernel field is needed for. Without a field of an optional part, that part is not loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// System calls on files, and which processes are watched. Not optional.
    Calls,
    /// Asynchronous accesses of libaio.
    Aio,
    /// Accesses through io_uring.
    Uring,
    /// Operations of block devices.
    Block,
    /// Their latency.
    BlockLatency,
    /// Sockets.
    Socket,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 6] =
        [Self::Calls, Self::Aio, Self::Uring, Self::Block, Self::BlockLatency, Self::Socket];

    /// The name used in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Calls => "system call",
            Self::Aio => "libaio",
            Self::Uring => "io_uring",
            Self::Block => "block device",
            Self::BlockLatency => "block latency",
            Self::Socket => "socket",
        }
    }
}

/// The offset of a kernel field, which the agent writes into the object before it is loaded.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The static that takes it.
    pub name: &'static str,
    /// Where the kernel's own type information has it.
    pub path: &'static str,
    /// What cannot work without it.
    pub part: Part,
}

const fn field(part: Part, name: &'static str, path: &'static str) -> Field {
    Field { name, path, part }
}

/// All fields.
pub const FIELDS: &[Field] = &[
    field(Part::Calls, "TASK_FILES", "task_struct.files"),
    field(Part::Calls, "TASK_TGID", "task_struct.tgid"),
    field(Part::Calls, "TASK_SIGNAL", "task_struct.signal"),
    field(Part::Calls, "TASK_STATUS", "task_struct.thread_info.status"),
    field(Part::Calls, "SIGNAL_LIVE", "signal_struct.live.counter"),
    field(Part::Calls, "FILES_FDT", "files_struct.fdt"),
    field(Part::Calls, "FDT_FD", "fdtable.fd"),
    field(Part::Calls, "FDT_MAX_FDS", "fdtable.max_fds"),
    field(Part::Calls, "FILE_INODE", "file.f_inode"),
    field(Part::Calls, "FILE_POS", "file.f_pos"),
    field(Part::Calls, "FILE_FLAGS", "file.f_flags"),
    field(Part::Calls, "FILE_DENTRY", "file.f_path.dentry"),
    field(Part::Calls, "INODE_INO", "inode.i_ino"),
    field(Part::Calls, "INODE_SB", "inode.i_sb"),
    field(Part::Calls, "INODE_MODE", "inode.i_mode"),
    field(Part::Calls, "INODE_GENERATION", "inode.i_generation"),
    field(Part::Calls, "INODE_SIZE", "inode.i_size"),
    field(Part::Calls, "SB_DEV", "super_block.s_dev"),
    field(Part::Calls, "DENTRY_PARENT", "dentry.d_parent"),
    field(Part::Calls, "DENTRY_NAME", "dentry.d_name.name"),
    field(Part::Calls, "REGS_NR", "pt_regs.orig_ax"),
    field(Part::Calls, "REGS_FD", "pt_regs.di"),
    field(Part::Calls, "REGS_POS", "pt_regs.r10"),
    field(Part::Calls, "REGS_FLAGS", "pt_regs.r9"),
    field(Part::Uring, "REQ_FILE", "io_kiocb.file"),
    field(Part::Uring, "REQ_OPCODE", "io_kiocb.opcode"),
    field(Part::Uring, "REQ_CMD", "io_kiocb.cmd"),
    field(Part::Uring, "REQ_TCTX", "io_kiocb.tctx"),
    field(Part::Uring, "TCTX_TASK", "io_uring_task.task"),
    field(Part::Uring, "RW_POS", "io_rw.kiocb.ki_pos"),
    field(Part::Uring, "CQE_RES", "io_uring_cqe.res"),
    field(Part::Block, "BIO_BDEV", "bio.bi_bdev"),
    field(Part::Block, "BIO_OPF", "bio.bi_opf"),
    field(Part::Block, "BIO_FLAGS", "bio.bi_flags"),
    field(Part::Block, "BIO_SIZE", "bio.bi_iter.bi_size"),
    field(Part::Block, "BIO_SECTOR", "bio.bi_iter.bi_sector"),
    field(Part::Block, "BIO_END", "bio.bi_end_io"),
    field(Part::Block, "BIO_PRIVATE", "bio.bi_private"),
    field(Part::Block, "BIO_VEC", "bio.bi_io_vec"),
    field(Part::Block, "BVEC_PAGE", "bio_vec.bv_page"),
    field(Part::Block, "BVEC_OFFSET", "bio_vec.bv_offset"),
    field(Part::Block, "BDEV_DEV", "block_device.bd_dev"),
    field(Part::Block, "BDEV_START", "block_device.bd_start_sect"),
    field(Part::Block, "PAGE_HEAD", "page.compound_head"),
    field(Part::Block, "FOLIO_MAPPING", "folio.mapping"),
    field(Part::Block, "FOLIO_INDEX", "folio.index"),
    field(Part::Block, "MAPPING_HOST", "address_space.host"),
    field(Part::Block, "INODE_MAPPING", "inode.i_mapping"),
    field(Part::Block, "INODE_ALIAS", "inode.i_dentry.first"),
    field(Part::Block, "DENTRY_ALIAS", "dentry.d_u.d_alias"),
    field(Part::Block, "DENTRY_HASHED", "dentry.d_hash.pprev"),
    field(Part::Block, "DIO_IOCB", "iomap_dio.iocb"),
    field(Part::Block, "DIO_SIZE", "iomap_dio.size"),
    field(Part::Block, "KIOCB_FILE", "kiocb.ki_filp"),
    field(Part::Block, "KIOCB_POS", "kiocb.ki_pos"),
    field(Part::Block, "SB_BDEV", "super_block.s_bdev"),
    field(Part::Block, "BH_END", "buffer_head.b_end_io"),
    field(Part::BlockLatency, "RQ_BIO", "request.bio"),
    field(Part::BlockLatency, "RQ_LEN", "request.__data_len"),
    field(Part::BlockLatency, "RQ_START", "request.start_time_ns"),
    field(Part::Socket, "FILE_PRIVATE", "file.private_data"),
    field(Part::Socket, "SOCKET_SK", "socket.sk"),
    field(Part::Socket, "SK_FAMILY", "sock_common.skc_family"),
    field(Part::Socket, "SK_PORT", "sock_common.skc_num"),
    field(Part::Socket, "SK_PEER_PORT", "sock_common.skc_dport"),
    field(Part::Socket, "SK_IP4", "sock_common.skc_rcv_saddr"),
    field(Part::Socket, "SK_PEER_IP4", "sock_common.skc_daddr"),
    field(Part::Socket, "SK_IP6", "sock_common.skc_v6_rcv_saddr"),
    field(Part::Socket, "SK_PEER_IP6", "sock_common.skc_v6_daddr"),
    field(Part::Socket, "SK_PROTOCOL", "sock.sk_protocol"),
    field(Part::Socket, "SK_NET", "sock_common.skc_net.net"),
    field(Part::Socket, "NET_INUM", "net.ns.inum"),
    field(Part::Socket, "INET_PORT", "inet_sock.inet_sport"),
];

/// Numbers that the kernel gives: the static, the enumerator that has it, and what needs it.
pub const NUMBERS: &[(&str, &str, Part)] = &[
    ("META_BIT", "__REQ_META", Part::Block),
    ("CLONED_BIT", "BIO_CLONED", Part::Block),
    ("LOOP_HELPER", "BPF_FUNC_loop", Part::Aio),
];

/// A kernel function by whose address operations of block devices are told apart.
#[derive(Debug, Clone, Copy)]
pub struct Symbol {
    /// The static that takes the address.
    pub name: &'static str,
    /// The function.
    pub function: &'static str,
    /// Whether it may be a module's, which has no address while it is not loaded.
    pub in_module: bool,
}

const fn symbol(name: &'static str, function: &'static str) -> Symbol {
    Symbol { name, function, in_module: false }
}

const fn module_symbol(name: &'static str, function: &'static str) -> Symbol {
    Symbol { name, function, in_module: true }
}

/// All functions. One whose address is not known stays 0: then direct I/O of ext4 and xfs, or the journal, is
/// counted as what it looks like. So it is with a file system whose module is loaded after the agent started.
pub const SYMBOLS: &[Symbol] = &[
    symbol("CHAIN_END", "bio_chain_endio"),
    symbol("DIRECT_END", "iomap_dio_bio_end_io"),
    symbol("RAW_END", "blkdev_bio_end_io"),
    symbol("RAW_ASYNC_END", "blkdev_bio_end_io_async"),
    symbol("WAIT_END", "submit_bio_wait_endio"),
    symbol("BUFFER_END", "end_bio_bh_io_sync"),
    module_symbol("JBD2_END", "journal_end_buffer_io_sync"),
    module_symbol("XLOG_END", "xlog_bio_end_io"),
    module_symbol("MIRROR_END", "btrfs_clone_write_end_io"),
];

/// A call of no helper, which the agent turns into one of the kernel function [`CAST`] where there is one.
pub const CAST_CALL: u32 = 0x4953_4f43;

/// Gives an address a type, so that what lies there is loaded directly instead of by a helper (Linux 6.2).
pub const CAST: &str = "bpf_rdonly_cast";

/// The static that takes the id of a type whose first member is a `struct file *`, as an entry of a table of
/// descriptors is, and that type. 0 where it or [`CAST`] is missing.
pub const SLOT_TYPE: (&str, &str) = ("SLOT_TYPE", "epoll_filefd");

/// The member of [`SLOT_TYPE`] that has to be the first.
pub const SLOT_FILE: &str = "epoll_filefd.file";
