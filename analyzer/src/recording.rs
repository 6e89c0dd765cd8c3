//! An incident as a file: what cycles were made from, minute by minute, with the settings they ran under.
//!
//! Frames are packed ([`isotherm_cycle::recording`]) and written as [blocks](block), each with its checksum and its
//! number, the last of which says how many frames there are: a file that is damaged or cut off anywhere is refused, with
//! the place. It is written beside and renamed, so that there is never half of one. The settings are text, so that a
//! version that does not know a field can say which.

mod block;

use anyhow::{Context, Result, bail, ensure};
use block::{Block, Blocks, Kind};
use isotherm_cycle::Settings;
use isotherm_cycle::frame::Frame;
use isotherm_cycle::recording::{Packed, Packer, Unpacker};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// What the file begins with. The digit is the layout's version: whoever changes the frames' types counts it up.
pub(crate) const MAGIC: [u8; 8] = *b"isorec-4";

/// Plain bytes after which a block is written: enough for compression, little to hold.
const BLOCK_BYTES: usize = 4 << 20;

/// What a recording says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct About {
    /// The version that wrote it.
    pub(crate) isotherm: String,
    /// When it was made, milliseconds since the epoch, as all moments here.
    pub(crate) made_ms: u64,
    /// What it was made from.
    pub(crate) source: String,
    /// The first moment that is decided on.
    pub(crate) since_ms: u64,
    /// The first moment after the last.
    pub(crate) until_ms: u64,
    /// Systems whose topology an adapter told, so that it is not in here.
    pub(crate) without_topology: Vec<String>,
    /// The settings that the cycles ran under.
    pub(crate) settings: Settings,
}

/// The last block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    frames: u64,
}

/// Writes a recording. What is not finished is removed.
pub(crate) struct Writer {
    path: PathBuf,
    beside: PathBuf,
    file: BufWriter<File>,
    blocks: u32,
    packer: Packer,
    plain: Vec<u8>,
    frames: u64,
    finished: bool,
}

impl Writer {
    /// Begins a file, beside the one that is to be there in the end.
    pub(crate) fn create(path: &Path, about: &About) -> Result<Self> {
        let mut name = path.file_name().map(OsString::from).context("it has no name")?;
        name.push(".new");
        let beside = path.with_file_name(name);
        let file = File::create(&beside).with_context(|| format!("cannot create {}", beside.display()))?;
        let mut writer = Self {
            path: path.to_owned(),
            beside,
            file: BufWriter::new(file),
            blocks: 0,
            packer: Packer::default(),
            plain: Vec::new(),
            frames: 0,
            finished: false,
        };
        let about = toml::to_string(about).context("cannot write down the settings")?;
        writer.plain.extend_from_slice(about.as_bytes());
        writer.file.write_all(&MAGIC).with_context(|| format!("cannot write {}", writer.beside.display()))?;
        writer.flush(Kind::About)?;
        Ok(writer)
    }

    /// Adds the frame that follows the last.
    pub(crate) fn add(&mut self, frame: &Frame) -> Result<()> {
        let packed = self.packer.pack(frame);
        let plain = std::mem::take(&mut self.plain);
        self.plain = postcard::to_extend(&packed, plain).context("cannot encode a frame")?;
        self.frames += 1;
        if self.plain.len() >= BLOCK_BYTES { self.flush(Kind::Frames) } else { Ok(()) }
    }

    /// Ends the file and puts it in its place. Returns its bytes.
    pub(crate) fn finish(mut self) -> Result<u64> {
        self.flush(Kind::Frames)?;
        self.plain = postcard::to_stdvec(&End { frames: self.frames }).context("cannot encode the end")?;
        self.flush(Kind::End)?;
        let mut publish = || -> Result<u64> {
            self.file.flush()?;
            self.file.get_ref().sync_all()?;
            let bytes = self.file.get_ref().metadata()?.len();
            fs::rename(&self.beside, &self.path)?;
            let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
            Ok(bytes)
        };
        let bytes = publish().with_context(|| format!("cannot write {}", self.path.display()))?;
        self.finished = true;
        Ok(bytes)
    }

    fn flush(&mut self, kind: Kind) -> Result<()> {
        if self.plain.is_empty() {
            return Ok(());
        }
        block::write(&mut self.file, kind, self.blocks, &self.plain)
            .with_context(|| format!("cannot write {}", self.beside.display()))?;
        self.blocks += 1;
        self.plain.clear();
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.finished {
            // Whoever cannot remove it has been told what went wrong before.
            let _ = fs::remove_file(&self.beside);
        }
    }
}

/// A recording whose blocks are all there and whole.
#[derive(Debug)]
pub(crate) struct Recording {
    path: PathBuf,
    pub(crate) about: About,
    /// How many there are.
    pub(crate) frames: u64,
}

impl Recording {
    /// Reads all of it once, and says what it is, or where it is damaged.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Self::checked(path).with_context(|| format!("cannot use {}", path.display()))
    }

    fn checked(path: &Path) -> Result<Self> {
        let mut blocks = Blocks::open(path, MAGIC)?;
        let first = blocks.next().context("it is cut off after its first 8 bytes")??;
        ensure!(first.kind == Kind::About, "its first block is not what it says of itself");
        let about = about(&first.plain()?)?;
        let mut end = None;
        for block in blocks {
            let block = block?;
            ensure!(end.is_none(), "something follows after its end, at byte {}", block.at);
            match block.kind {
                Kind::Frames => {}
                Kind::End => end = Some(postcard::from_bytes::<End>(&block.plain()?).context("its end")?),
                Kind::About => bail!("at byte {}: it says twice what it is", block.at),
            }
        }
        let end = end.context("it is cut off: its last block is missing")?;
        Ok(Self { path: path.to_owned(), about, frames: end.frames })
    }

    /// Its frames, in the order of time. Ends after the first error.
    pub(crate) fn play(&self) -> Result<Playing<'_>> {
        let mut blocks = Blocks::open(&self.path, MAGIC)?;
        blocks.next().context("it was changed meanwhile")??;
        Ok(Playing { of: self, blocks, plain: Vec::new(), at: 0, unpacker: Unpacker::default(), frames: 0 })
    }
}

fn about(plain: &[u8]) -> Result<About> {
    let text = std::str::from_utf8(plain).context("what it says of itself is no text")?;
    toml::from_str(text).map_err(|error| {
        let by = toml::from_str::<toml::Table>(text).ok();
        let by =
            by.as_ref().and_then(|table| table.get("isotherm")?.as_str()).unwrap_or("of an unknown version");
        anyhow::anyhow!(
            "it was written by isotherm {by}, whose settings isotherm {} does not understand: {}",
            env!("CARGO_PKG_VERSION"),
            error.message()
        )
    })
}

/// Frames as they are read.
pub(crate) struct Playing<'a> {
    of: &'a Recording,
    blocks: Blocks,
    plain: Vec<u8>,
    /// Where the next frame begins in `plain`.
    at: usize,
    unpacker: Unpacker,
    frames: u64,
}

impl Iterator for Playing<'_> {
    type Item = Result<Frame>;

    fn next(&mut self) -> Option<Result<Frame>> {
        let next = self.read().with_context(|| {
            format!("cannot use {}: frame {} of {}", self.of.path.display(), self.frames + 1, self.of.frames)
        });
        next.transpose()
    }
}

impl Playing<'_> {
    fn read(&mut self) -> Result<Option<Frame>> {
        while self.at >= self.plain.len() {
            let Some(block) = self.blocks.next() else { return Ok(None) };
            let block: Block = block?;
            if block.kind == Kind::End {
                ensure!(self.frames == self.of.frames, "its end says that there are {}", self.of.frames);
                return Ok(None);
            }
            (self.plain, self.at) = (block.plain()?, 0);
        }
        let rest = &self.plain[self.at..];
        let (packed, left): (Packed, &[u8]) =
            postcard::take_from_bytes(rest).context("it holds something else than frames")?;
        self.at = self.plain.len() - left.len();
        let frame = self.unpacker.unpack(packed, self.of.about.settings.step_ms)?;
        self.frames += 1;
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests;
