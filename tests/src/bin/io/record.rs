//! What calls returned, kept until the length of the file in the end is known.

use isotherm_tests::io::{Ask, FileTruth, OperationTruth};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// One completed request.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) ask: Ask,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// Everything that one actor did to its file, or all actors.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Records {
    pub(crate) completed: Vec<Record>,
    pub(crate) failed: BTreeMap<i32, u64>,
    pub(crate) mapped_read_bytes: u64,
    pub(crate) mapped_write_bytes: u64,
}

impl Records {
    pub(crate) fn append(&mut self, mut other: Self) {
        self.completed.append(&mut other.completed);
        for (errno, count) in other.failed {
            *self.failed.entry(errno).or_default() += count;
        }
        self.mapped_read_bytes += other.mapped_read_bytes;
        self.mapped_write_bytes += other.mapped_write_bytes;
    }

    pub(crate) fn sum(&self, file: &Metadata) -> FileTruth {
        let empty = || OperationTruth::for_size(file.len());
        let mut truth = FileTruth {
            device: file.dev(),
            inode: file.ino(),
            size_bytes: file.len(),
            read: empty(),
            write: empty(),
            sync: empty(),
            failed: self.failed.clone(),
            mapped_read_bytes: self.mapped_read_bytes,
            mapped_write_bytes: self.mapped_write_bytes,
        };
        for Record { ask, offset, bytes } in &self.completed {
            match ask {
                Ask::Read => truth.read.add(*offset, *bytes),
                Ask::Write => truth.write.add(*offset, *bytes),
                Ask::Sync | Ask::DataSync => truth.sync.add_sync(),
            }
        }
        truth
    }
}
