//! The state of the cycles on the disk, so that a restart goes on with warm series.
//!
//! One file, replaced whole: written beside, synced, renamed. A checkpoint is no truth, as the store's segments are:
//! one that is missing, damaged or of another version costs the warmth and nothing else, and says so.

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The file within the data folder.
pub(crate) const FILE: &str = "cycle.state";

/// What the file begins with. The digit is the layout's version: whoever changes the state's types counts it up.
const MAGIC: [u8; 8] = *b"isocyc-3";

/// A checkpoint larger than this is none of ours: a hundred times what a hundred thousand partitions take.
const MOST_BYTES: u64 = 32 << 30;

/// Fast, and half the size.
const LEVEL: i32 = 1;

/// Writes a state. Returns the bytes it took.
pub(crate) fn write<S: Serialize>(dir: &Path, state: &S) -> Result<u64> {
    let path = dir.join(FILE);
    let beside = dir.join(format!("{FILE}.new"));
    let write = || -> Result<u64> {
        let plain = postcard::to_stdvec(state).context("cannot encode the state of the cycles")?;
        let packed = zstd::bulk::compress(&plain, LEVEL)?;
        let mut file = File::create(&beside)?;
        file.write_all(&MAGIC)?;
        file.write_all(&(plain.len() as u64).to_le_bytes())?;
        file.write_all(&crc32fast::hash(&packed).to_le_bytes())?;
        file.write_all(&packed)?;
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        File::open(dir)?.sync_all()?;
        Ok(packed.len() as u64)
    };
    let written = write().with_context(|| format!("cannot write {}", path.display()));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Reads a state back. `None` if there never was one.
pub(crate) fn read<S: DeserializeOwned>(dir: &Path) -> Result<Option<S>> {
    let path: PathBuf = dir.join(FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    decode(&bytes).with_context(|| format!("cannot use {}", path.display())).map(Some)
}

fn decode<S: DeserializeOwned>(bytes: &[u8]) -> Result<S> {
    let Some((magic, rest)) = bytes.split_first_chunk::<8>() else { bail!("it is cut off") };
    if *magic != MAGIC {
        bail!("it was written by another version of isotherm, or by something else");
    }
    let (Some((plain, rest)), true) = (rest.split_first_chunk::<8>(), rest.len() > 12) else {
        bail!("it is cut off");
    };
    let Some((sum, packed)) = rest.split_first_chunk::<4>() else { bail!("it is cut off") };
    if crc32fast::hash(packed) != u32::from_le_bytes(*sum) {
        bail!("its checksum is wrong");
    }
    let plain = u64::from_le_bytes(*plain);
    if plain > MOST_BYTES {
        bail!("it says to hold {plain} bytes");
    }
    let plain = zstd::bulk::decompress(packed, usize::try_from(plain)?)?;
    postcard::from_bytes(&plain).context("it holds something else than a state of the cycles")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back_and_replaced() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(read::<Vec<f64>>(dir.path()).expect("nothing is wrong"), None);
        for state in [vec![1.0, f64::NAN, 3.5], vec![7.0; 10_000]] {
            let bytes = write(dir.path(), &state).expect("it is written");
            assert!(bytes > 0);
            let back: Vec<f64> = read(dir.path()).expect("it is read").expect("it is there");
            assert_eq!(
                back.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
                state.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
            );
        }
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1, "nothing is left beside it");
    }

    #[test]
    fn whatever_is_damaged_is_refused_with_its_name() {
        let dir = tempfile::tempdir().expect("a folder");
        write(dir.path(), &vec![1.0; 100]).expect("it is written");
        let whole = fs::read(dir.path().join(FILE)).expect("it is there");
        let mut cases =
            vec![Vec::new(), whole[..5].to_vec(), whole[..15].to_vec(), whole[..whole.len() - 1].to_vec()];
        let mut flipped = whole.clone();
        flipped[25] ^= 1;
        cases.push(flipped);
        let mut foreign = whole.clone();
        foreign[7] = b'0';
        cases.push(foreign);
        let mut huge = whole;
        huge[15] = 0xff;
        cases.push(huge);
        for case in cases {
            fs::write(dir.path().join(FILE), &case).expect("a file");
            let error = format!("{:#}", read::<Vec<f64>>(dir.path()).expect_err("it is damaged"));
            assert!(error.contains("cycle.state"), "{error}");
        }
    }
}
