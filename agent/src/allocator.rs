//! How the C library's allocator gives memory back.
//!
//! A window of ten thousand partitions takes tens of MiB for a moment. By default glibc learns from the first such
//! block to keep those that follow, and opens further arenas for threads that free what another one took: the
//! agent would hold several times what it needs.

/// Larger blocks are mapped by themselves, and returned when they are freed.
#[cfg(target_env = "gnu")]
const MAPPED_FROM_BYTES: libc::c_int = 256 << 10;

/// Sets it for the process; call it before threads are started. Does nothing where the C library is another.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt changes numbers of the allocator, and no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM_BYTES);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
