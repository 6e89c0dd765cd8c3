//! Blocks of a recording: compressed bytes with a kind, a number, lengths, and a checksum over all of that.

use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Write};
use std::path::Path;

/// Kind, number, bytes compressed, bytes plain, checksum.
const HEAD: usize = 1 + 4 + 4 + 4 + 4;

/// A block larger than this is none of ours: a frame of ten million partitions, many times over.
const MOST_BYTES: u32 = 2 << 30;

/// Fast, and a quarter of the size.
const LEVEL: i32 = 3;

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// What the recording says of itself.
    About = 1,
    /// Whole frames.
    Frames = 2,
    /// How many there were.
    End = 3,
}

/// Writes a block.
pub(super) fn write(file: &mut impl Write, kind: Kind, number: u32, plain: &[u8]) -> Result<()> {
    let bytes = u32::try_from(plain.len()).ok().filter(|bytes| *bytes <= MOST_BYTES);
    let bytes = bytes.context("a frame is larger than a block may be")?;
    let packed = zstd::bulk::compress(plain, LEVEL)?;
    let packed_bytes = u32::try_from(packed.len()).context("a block cannot be compressed")?;
    let mut head = [0; HEAD];
    head[0] = kind as u8;
    head[1..5].copy_from_slice(&number.to_le_bytes());
    head[5..9].copy_from_slice(&packed_bytes.to_le_bytes());
    head[9..13].copy_from_slice(&bytes.to_le_bytes());
    let sum = checksum(&head, &packed);
    head[13..].copy_from_slice(&sum.to_le_bytes());
    file.write_all(&head)?;
    Ok(file.write_all(&packed)?)
}

fn checksum(head: &[u8; HEAD], packed: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&head[..HEAD - 4]);
    sum.update(packed);
    sum.finalize()
}

/// A block whose checksum is right.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) kind: Kind,
    /// The byte of the file that it begins at.
    pub(super) at: u64,
    packed: Vec<u8>,
    plain_bytes: usize,
}

impl Block {
    /// What it holds.
    pub(super) fn plain(&self) -> Result<Vec<u8>> {
        let plain = zstd::bulk::decompress(&self.packed, self.plain_bytes);
        let plain = plain.with_context(|| format!("the block at byte {} cannot be decompressed", self.at))?;
        ensure!(plain.len() == self.plain_bytes, "the block at byte {} is shorter than it says", self.at);
        Ok(plain)
    }
}

/// The blocks of a file, in their order. Ends after the first error.
#[derive(Debug)]
pub(super) struct Blocks {
    file: BufReader<File>,
    at: u64,
    number: u32,
    failed: bool,
}

impl Blocks {
    /// Opens a file that begins with `magic`.
    pub(super) fn open(path: &Path, magic: [u8; 8]) -> Result<Self> {
        let mut file = BufReader::new(File::open(path)?);
        let mut found = [0; 8];
        match file.read_exact(&mut found) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                bail!("it is no recording: it is too short")
            }
            read => read?,
        }
        ensure!(found[..7] == magic[..7], "it is no recording of isotherm's");
        ensure!(
            found == magic,
            "it is a recording of another version's layout; this one reads {}",
            text(magic)
        );
        Ok(Self { file, at: 8, number: 0, failed: false })
    }

    fn read(&mut self) -> Result<Option<Block>> {
        let at = self.at;
        let mut head = [0; HEAD];
        // Nothing may follow the end, not even part of a block.
        match self.file.read(&mut head[..1])? {
            0 => return Ok(None),
            _ => self.exactly(&mut head, 1)?,
        }
        let number = |from: usize| {
            u32::from_le_bytes(head[from..from + 4].try_into().expect("a slice of four bytes is one"))
        };
        let (packed_bytes, plain_bytes) = (number(5), number(9));
        let broken = || format!("it is damaged in the block at byte {at}: its checksum is wrong");
        ensure!(packed_bytes <= MOST_BYTES && plain_bytes <= MOST_BYTES, broken());
        let mut packed = Vec::new();
        self.file.by_ref().take(u64::from(packed_bytes)).read_to_end(&mut packed)?;
        if packed.len() < packed_bytes as usize {
            return Err(cut_off(at));
        }
        ensure!(checksum(&head, &packed) == number(13), broken());
        ensure!(number(1) == self.number, "block {} is missing, at byte {at}", self.number);
        let kind = match head[0] {
            1 => Kind::About,
            2 => Kind::Frames,
            3 => Kind::End,
            other => bail!("the block at byte {at} is of an unknown kind, {other}"),
        };
        self.number += 1;
        self.at += HEAD as u64 + u64::from(packed_bytes);
        Ok(Some(Block { kind, at, packed, plain_bytes: plain_bytes as usize }))
    }

    fn exactly(&mut self, head: &mut [u8; HEAD], from: usize) -> Result<()> {
        match self.file.read_exact(&mut head[from..]) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(cut_off(self.at)),
            read => Ok(read?),
        }
    }
}

fn cut_off(at: u64) -> anyhow::Error {
    anyhow::anyhow!("it is damaged or cut off in the block at byte {at}")
}

fn text(magic: [u8; 8]) -> String {
    String::from_utf8_lossy(&magic).into_owned()
}

impl Iterator for Blocks {
    type Item = Result<Block>;

    fn next(&mut self) -> Option<Result<Block>> {
        if self.failed {
            return None;
        }
        let next = self.read();
        self.failed = next.is_err();
        next.transpose()
    }
}
