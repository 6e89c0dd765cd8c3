//! What is known, on the disk: an agent that starts without an analyzer watches as it did before.
//!
//! One file in the spool's folder, replaced whole. It is no truth: without it the analyzer says everything again.

use super::known::Known;
use isotherm_model::NodeId;
use isotherm_proto::telemetry::v1 as wire;
use isotherm_proto::{locators_from_wire, place_to_wire};
use prost::Message;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// What the file begins with.
const MAGIC: &[u8; 8] = b"isoloc1\n";

/// Bytes of the checksum behind it.
const CHECKSUM_BYTES: usize = 4;

/// The largest file that is read: what is remembered at most, with room.
const MAX_FILE_BYTES: u64 = 128 << 20;

/// The file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    path: PathBuf,
}

/// Why it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// The disk.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Not what was written.
    #[error("{} is damaged: {what}; it is written anew with the next locators", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How.
        what: String,
    },
}

impl Kept {
    /// The one in a spool's folder.
    #[must_use]
    pub fn beside(spool: &Path) -> Self {
        Self { path: spool.join("locators") }
    }

    /// What is known of these nodes; nothing if there is no file.
    pub fn read(&self, targets: &BTreeSet<NodeId>) -> Result<Known, KeptError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Known::default()),
            Err(source) => return Err(self.io(source)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(|source| self.io(source))?;
        let damaged = |what: String| KeptError::Damaged { path: self.path.clone(), what };
        let body = body(&bytes).ok_or_else(|| damaged("its checksum is wrong".to_owned()))?;
        let raw = wire::Locators::decode(body).map_err(|error| damaged(error.to_string()))?;
        let message = locators_from_wire(raw).map_err(|error| damaged(error.to_string()))?;
        Known::default().with(message, targets).map_err(|error| damaged(error.to_string()))
    }

    /// Replaces the file, durably. Where nothing is known there is none.
    pub fn write(&self, known: &Known) -> Result<(), KeptError> {
        if known.all().next().is_none() {
            return match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.io(error)),
                Ok(()) | Err(_) => Ok(()),
            };
        }
        let locators = known.all().map(|(node, partition, at)| place_to_wire(node, partition, at));
        let message = wire::Locators {
            revision: known.revision(),
            locators: locators.collect(),
            ..wire::Locators::default()
        };
        self.replace(&message.encode_to_vec()).map_err(|source| self.io(source))
    }

    fn replace(&self, body: &[u8]) -> io::Result<()> {
        let unfinished = self.path.with_extension("unfinished");
        let mut file = File::create(&unfinished)?;
        file.write_all(MAGIC)?;
        file.write_all(&crc32fast::hash(body).to_le_bytes())?;
        file.write_all(body)?;
        file.sync_all()?;
        fs::rename(&unfinished, &self.path)?;
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        File::open(folder)?.sync_all()
    }

    fn io(&self, source: io::Error) -> KeptError {
        KeptError::Io { path: self.path.clone(), source }
    }
}

fn body(bytes: &[u8]) -> Option<&[u8]> {
    let (checksum, body) = bytes.strip_prefix(MAGIC)?.split_at_checked(CHECKSUM_BYTES)?;
    (crc32fast::hash(body).to_le_bytes() == checksum).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::super::located::tests::{known, node};
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::beside(folder.path());
        let targets = BTreeSet::from([node("n")]);
        assert_eq!(kept.read(&targets).unwrap(), Known::default());
        let known = known(&[("n", "1", "/d/1.dat"), ("n", "2", "/d/2.dat")]);
        kept.write(&known).unwrap();
        assert_eq!(kept.read(&targets).unwrap(), known);
        // Only what is a target.
        assert_eq!(kept.read(&BTreeSet::from([node("m")])).unwrap().all().count(), 0);
        let path = folder.path().join("locators");
        kept.write(&Known::default()).unwrap();
        assert!(!path.exists());
        kept.write(&known).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(matches!(kept.read(&targets), Err(KeptError::Damaged { .. })));
        fs::write(&path, &bytes[..5]).unwrap();
        assert!(matches!(kept.read(&targets), Err(KeptError::Damaged { .. })));
    }
}
