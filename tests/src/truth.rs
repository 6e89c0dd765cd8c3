//! What the truth generator did, and how a test drives it.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// One completed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Whether data went to the file.
    pub write: bool,
    /// Where in the file.
    pub offset: u64,
    /// How much really moved.
    pub bytes: u64,
}

impl Access {
    /// Data came from the file.
    #[must_use]
    pub fn read(offset: u64, bytes: u64) -> Self {
        Self { write: false, offset, bytes }
    }

    /// Data went to the file.
    #[must_use]
    pub fn write(offset: u64, bytes: u64) -> Self {
        Self { write: true, offset, bytes }
    }
}

/// Everything that was done, by the name of the file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Truth {
    /// In order.
    pub files: BTreeMap<String, Vec<Access>>,
    /// 32-bit calls, which cannot be counted by file.
    pub compat_calls: u64,
}

impl Truth {
    /// Number and bytes of a file's accesses in one direction.
    #[must_use]
    pub fn counts(&self, file: &str, write: bool) -> (u64, u64) {
        let accesses = self.files.get(file).into_iter().flatten().filter(|access| access.write == write);
        accesses.fold((0, 0), |(ops, bytes), access| (ops + 1, bytes + access.bytes))
    }
}

/// The generator of the program `truth`.
pub type Generator = crate::generator::Generator<Truth>;

impl Generator {
    /// Starts the program and waits until its files are prepared. Call it from a thread that outlives it.
    pub fn start(program: &Path, folder: &Path, scenario: &str) -> Result<Self> {
        Self::spawn(Command::new(program).arg(folder).arg(scenario), None)
    }
}
