//! What a block device did, by the kernel's own count.

use anyhow::{Context, Result};
use std::fs;

/// Bytes of a sector in `/sys/block/*/stat`, whatever the device's own are.
const SECTOR_BYTES: u64 = 512;

/// Completed requests and their bytes since the device exists. The kernel merges neighbouring operations
/// into one request; bytes are exact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeviceStat {
    /// Read requests.
    pub reads: u64,
    /// Operations that became a part of another's read request.
    pub reads_merged: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Write requests.
    pub writes: u64,
    /// Operations that became a part of another's write request.
    pub writes_merged: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Requests to forget bytes.
    pub discards: u64,
    /// Bytes to be forgotten.
    pub discard_bytes: u64,
    /// Flushes of the device's cache.
    pub flushes: u64,
}

impl DeviceStat {
    /// Reads `/sys/block/NAME/stat`. Fails on kernels before 5.5, which do not count flushes.
    pub(super) fn read(name: &str) -> Result<Self> {
        let path = format!("/sys/block/{name}/stat");
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        Self::parse(&text).with_context(|| format!("{path}: {text:?}"))
    }

    /// By Documentation/block/stat.rst.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<u64> = text.split_whitespace().map_while(|field| field.parse().ok()).collect();
        let at = |index: usize| fields.get(index).copied();
        let bytes = |index: usize| at(index)?.checked_mul(SECTOR_BYTES);
        Some(Self {
            reads: at(0)?,
            reads_merged: at(1)?,
            read_bytes: bytes(2)?,
            writes: at(4)?,
            writes_merged: at(5)?,
            write_bytes: bytes(6)?,
            discards: at(11)?,
            discard_bytes: bytes(13)?,
            flushes: at(15)?,
        })
    }

    /// What was done since an earlier look at the same device.
    ///
    /// # Panics
    ///
    /// If the earlier look is the later one, or one at another device.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let less = |later: u64, earlier: u64| {
            later
                .checked_sub(earlier)
                .expect("counts of a device only grow from an earlier look to a later one")
        };
        Self {
            reads: less(self.reads, earlier.reads),
            reads_merged: less(self.reads_merged, earlier.reads_merged),
            read_bytes: less(self.read_bytes, earlier.read_bytes),
            writes: less(self.writes, earlier.writes),
            writes_merged: less(self.writes_merged, earlier.writes_merged),
            write_bytes: less(self.write_bytes, earlier.write_bytes),
            discards: less(self.discards, earlier.discards),
            discard_bytes: less(self.discard_bytes, earlier.discard_bytes),
            flushes: less(self.flushes, earlier.flushes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DeviceStat;

    #[test]
    fn fields_are_where_the_kernel_documents_them() {
        let text = "  1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n";
        let stat = DeviceStat::parse(text).unwrap();
        assert_eq!((stat.reads, stat.reads_merged, stat.read_bytes), (1, 2, 3 * 512));
        assert_eq!((stat.writes, stat.writes_merged, stat.write_bytes), (5, 6, 7 * 512));
        assert_eq!((stat.discards, stat.discard_bytes, stat.flushes), (12, 14 * 512, 16));
        assert_eq!(DeviceStat::parse("1 2 3 4 5 6 7 8 9 10 11"), None, "before flushes were counted");
    }
}
