//! The folder of one run of an agent: its introduction, its batches in segments, and its gaps.
//!
//! ```text
//! 00000012-BOOT/hello           who the run was, with its targets and window length
//!               00000001.seg    batches; only ever appended to
//!               gaps            what was given up; replaced as a whole
//! ```

use super::record::{self, HEADER_BYTES, Header, Kind, RunTag};
use crate::outbox::{Item, Outbox};
use isotherm_model::{Interval, Seq, Timestamp};
use isotherm_proto::telemetry::v1 as wire;
use isotherm_proto::{Gap, Hello, hello_from_wire, hello_to_wire};
use prost::Message;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tracing::warn;

pub(super) const HELLO: &str = "hello";
pub(super) const GAPS: &str = "gaps";
pub(super) const SEGMENT: &str = "seg";

/// Where the payload of a batch is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Not written yet.
    Memory(Vec<u8>),
    /// In a segment; `len` bytes of record from `offset` on.
    Disk { segment: u32, offset: u32, len: u32 },
}

/// The segment that is appended to.
#[derive(Debug)]
struct Active {
    segment: u32,
    file: File,
}

/// One run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) hello: Hello,
    pub(super) outbox: Outbox<Place>,
    /// The analyzer would not hear of it: it waits for the next start.
    pub(super) deferred: bool,
    pub(super) dir: PathBuf,
    tag: RunTag,
    started: Timestamp,
    /// Whether the folder is there.
    created: bool,
    /// Bytes of each segment.
    segments: BTreeMap<u32, u64>,
    active: Option<Active>,
    next_segment: u32,
    reading: Option<(u32, File)>,
    /// What the file of gaps says.
    saved_gaps: Vec<Gap>,
}

impl Run {
    /// A run that begins. Its folder is made when there is something to put into it.
    pub(super) fn begin(dir: PathBuf, hello: Hello, started: Timestamp) -> Self {
        let tag = RunTag::of(hello.boot.as_str());
        Self::new(dir, hello, started, tag)
    }

    fn new(dir: PathBuf, hello: Hello, started: Timestamp, tag: RunTag) -> Self {
        Self {
            hello,
            outbox: Outbox::default(),
            deferred: false,
            dir,
            tag,
            started,
            created: false,
            segments: BTreeMap::new(),
            active: None,
            next_segment: 1,
            reading: None,
            saved_gaps: Vec::new(),
        }
    }

    /// A run that an earlier process left. The inner error says why it cannot be told whose it was.
    pub(super) fn found(dir: &Path, boot: &str) -> io::Result<Result<Self, String>> {
        let path = dir.join(HELLO);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Err(format!("{} is not there", path.display())));
            }
            result => result?,
        };
        let tag = RunTag::of(boot);
        let (hello, started) = match introduction(tag, boot, &bytes) {
            Ok(introduction) => introduction,
            Err(why) => return Ok(Err(format!("{} {why}", path.display()))),
        };
        let mut run = Self::new(dir.to_owned(), hello, started, tag);
        run.created = true;
        super::recover::contents(&mut run)?;
        Ok(Ok(run))
    }

    pub(super) fn tag(&self) -> RunTag {
        self.tag
    }

    /// The moment the run began, as an interval.
    pub(super) fn beginning(&self) -> Interval {
        Interval::new(self.started, self.started.plus_ms(1)).expect("a millisecond is a length")
    }

    /// Takes what was found in the folder.
    pub(super) fn restore(
        &mut self,
        outbox: Outbox<Place>,
        segments: BTreeMap<u32, u64>,
        saved_gaps: Vec<Gap>,
    ) {
        self.next_segment = segments.last_key_value().map_or(1, |(last, _)| last + 1);
        (self.outbox, self.segments, self.saved_gaps) = (outbox, segments, saved_gaps);
    }

    /// Bytes of its segments.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.values().sum()
    }

    /// Makes the folder whole at once, so that none is found without its introduction.
    fn create(&mut self) -> io::Result<()> {
        if self.created {
            return Ok(());
        }
        let parent = self.dir.parent().unwrap_or(Path::new("."));
        if self.dir.join(HELLO).exists() {
            // Made by an attempt that failed at its very end.
            sync_folder(parent)?;
            self.created = true;
            return Ok(());
        }
        let unfinished = parent.join(super::UNFINISHED);
        remove_folder(&unfinished)?;
        fs::create_dir(&unfinished)?;
        let payload = hello_to_wire(&self.hello).encode_to_vec();
        let header = Header {
            kind: Kind::Hello,
            first: Seq::FIRST,
            last: Seq::FIRST,
            time: self.beginning(),
            len: u32::try_from(payload.len()).map_err(io::Error::other)?,
        };
        let path = unfinished.join(HELLO);
        fs::write(&path, record::encode(self.tag, &header, &payload))?;
        File::open(&path)?.sync_all()?;
        sync_folder(&unfinished)?;
        fs::rename(&unfinished, &self.dir)?;
        sync_folder(parent)?;
        self.created = true;
        Ok(())
    }

    /// Writes a batch and waits until it is on the disk. After a failure nothing of it is there.
    pub(super) fn append(&mut self, seq: Seq, segment_bytes: u64) -> io::Result<()> {
        let time = self.outbox.items().rev().find(|item| item.first() == seq).map(Item::time);
        let (Some(time), Some(Place::Memory(payload))) = (time, self.outbox.place_mut(seq)) else {
            return Ok(());
        };
        let header = Header::batch(seq, time, u32::try_from(payload.len()).map_err(io::Error::other)?);
        let bytes = record::encode(self.tag, &header, payload);
        self.create()?;
        let (segment, offset) = self.writable(segment_bytes)?;
        fail::fail_point!("spool::append", |_| die());
        let Some(active) = &self.active else { return Err(io::Error::other("no segment")) };
        let written = active.file.write_all_at(&bytes, offset).and_then(|()| {
            fail::fail_point!("spool::appended", |_| die());
            active.file.sync_data()
        });
        if let Err(error) = written {
            // Whether a failed sync wrote anything is not known, so the bytes go, and the file is left if they
            // do not.
            if active.file.set_len(offset).and_then(|()| active.file.sync_data()).is_err() {
                self.active = None;
            }
            return Err(error);
        }
        fail::fail_point!("spool::synced", |_| die());
        self.segments.insert(segment, offset + bytes.len() as u64);
        // A segment ends soon after 4 MiB.
        let (offset, len) = (offset as u32, bytes.len() as u32);
        if let Some(place) = self.outbox.place_mut(seq) {
            *place = Place::Disk { segment, offset, len };
        }
        Ok(())
    }

    /// The segment to append to, and where it ends.
    fn writable(&mut self, segment_bytes: u64) -> io::Result<(u32, u64)> {
        if let Some(Active { segment, .. }) = self.active {
            let len = self.segments.get(&segment).copied().unwrap_or(0);
            if len < segment_bytes {
                return Ok((segment, len));
            }
        }
        let segment = self.next_segment;
        let path = self.segment_path(segment);
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
        sync_folder(&self.dir)?;
        self.next_segment += 1;
        self.segments.insert(segment, 0);
        self.active = Some(Active { segment, file });
        Ok((segment, 0))
    }

    /// The payload of a batch on the disk, checked again.
    pub(super) fn read(&mut self, seq: Seq, segment: u32, offset: u32, len: u32) -> io::Result<Vec<u8>> {
        let file = match &self.reading {
            Some((open, file)) if *open == segment => file,
            Some(_) | None => {
                let file = File::open(self.segment_path(segment))?;
                &self.reading.insert((segment, file)).1
            }
        };
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, u64::from(offset))?;
        let header = record::header(self.tag, &bytes).filter(|header| header.first == seq);
        let good = header.is_some_and(|header| record::payload(&header, &bytes).is_some());
        if !good {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the record is damaged"));
        }
        bytes.truncate(bytes.len() - 4);
        bytes.drain(..HEADER_BYTES);
        Ok(bytes)
    }

    /// Its oldest segment, and the batches in it that wait.
    pub(super) fn oldest_segment(&self) -> Option<(u32, Vec<Seq>)> {
        let (oldest, _) = self.segments.first_key_value()?;
        let held = |item: &Item<Place>| match item {
            Item::Batch { seq, place: Place::Disk { segment, .. }, .. } if segment == oldest => Some(*seq),
            Item::Batch { .. } | Item::Gap(_) => None,
        };
        Some((*oldest, self.outbox.items().filter_map(held).collect()))
    }

    /// Removes a segment, whatever is in it.
    pub(super) fn remove_segment(&mut self, segment: u32) {
        if self.active.as_ref().is_some_and(|active| active.segment == segment) {
            self.active = None;
        }
        if self.reading.as_ref().is_some_and(|(open, _)| *open == segment) {
            self.reading = None;
        }
        let path = self.segment_path(segment);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            warn!("cannot remove {}: {error}", path.display());
        }
        self.segments.remove(&segment);
    }

    /// Removes the segments before the first batch that waits. The one that is appended to stays.
    pub(super) fn remove_acknowledged(&mut self) {
        let needed = self.outbox.items().find_map(|item| match item {
            Item::Batch { place: Place::Disk { segment, .. }, .. } => Some(*segment),
            Item::Batch { place: Place::Memory(_), .. } | Item::Gap(_) => None,
        });
        let active = self.active.as_ref().map(|active| active.segment);
        let stays = |segment: u32| Some(segment) == active || needed.is_some_and(|needed| segment >= needed);
        let done: Vec<u32> = self.segments.keys().copied().filter(|segment| !stays(*segment)).collect();
        fail::fail_point!("spool::acknowledged", |_| die());
        done.into_iter().for_each(|segment| self.remove_segment(segment));
    }

    /// Makes the file of gaps say what is given up. Nothing is written if it says so.
    pub(super) fn save_gaps(&mut self) -> io::Result<()> {
        let gaps: Vec<Gap> = self.outbox.items().filter_map(gap_of).collect();
        if gaps == self.saved_gaps || (gaps.is_empty() && !self.created) {
            return Ok(());
        }
        self.create()?;
        let (path, unfinished) = (self.dir.join(GAPS), self.dir.join("gaps.new"));
        let bytes: Vec<u8> = gaps.iter().flat_map(|gap| record::gap_record(self.tag, gap)).collect();
        fs::write(&unfinished, bytes)?;
        File::open(&unfinished)?.sync_all()?;
        fs::rename(&unfinished, &path)?;
        sync_folder(&self.dir)?;
        self.saved_gaps = gaps;
        Ok(())
    }

    /// Removes the folder.
    pub(super) fn remove(&mut self) -> io::Result<()> {
        (self.active, self.reading) = (None, None);
        self.segments.clear();
        remove_folder(&self.dir)
    }

    pub(super) fn segment_path(&self, segment: u32) -> PathBuf {
        self.dir.join(format!("{segment:08}.{SEGMENT}"))
    }
}

/// Who a run was, and when it began; or what is wrong with its introduction.
fn introduction(tag: RunTag, boot: &str, bytes: &[u8]) -> Result<(Hello, Timestamp), String> {
    let header = record::header(tag, bytes).filter(|header| header.kind == Kind::Hello);
    let payload = header.and_then(|header| Some((header, record::payload(&header, bytes)?)));
    let (header, payload) = payload.ok_or("is damaged")?;
    let raw = wire::Hello::decode(payload).map_err(|error| format!("is damaged: {error}"))?;
    let hello = hello_from_wire(raw).map_err(|error| format!("makes no sense: {error}"))?;
    if hello.boot.as_str() != boot {
        return Err(format!("is of run {}", hello.boot));
    }
    Ok((hello, header.time.start()))
}

fn gap_of(item: &Item<Place>) -> Option<Gap> {
    match item {
        Item::Gap(gap) => Some(*gap),
        Item::Batch { .. } => None,
    }
}

fn remove_folder(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Makes the entries of a folder durable.
pub(super) fn sync_folder(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Ends the process as a crash would.
#[allow(dead_code, reason = "only failpoints call it, and most builds have none")]
fn die() -> ! {
    std::process::abort()
}
