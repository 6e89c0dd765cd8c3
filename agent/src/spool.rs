//! What is not delivered yet, on the disk: bounded, checksummed, and there after a crash.
//!
//! A batch is written and synced before it is sent. What earlier runs left is delivered first, under their own
//! (agent, boot). When the bound is reached, the oldest batches are dropped, a segment at a time, and a gap
//! takes their place. While the disk cannot be written, batches wait in memory, which is bounded, too.
//! Memory holds where each batch is, about 64 bytes; payloads are on the disk.
//!
//! Absent here: the network, and what is in a batch.

mod record;
mod recover;
mod run;

use crate::outbox::Item;
use isotherm_model::{Interval, Seq, Timestamp};
use isotherm_proto::{Gap, GapReason, Hello};
use record::FRAME_BYTES;
use run::{Place, Run};
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tracing::{error, info, warn};

/// Where a segment ends; less in a small spool, so that dropping one drops a sixteenth of it at most.
const SEGMENT_BYTES: u64 = 4 << 20;

/// What may wait in memory while the disk cannot be written: bytes, and batches.
const MEMORY_BYTES: usize = 16 << 20;
const MEMORY_BATCHES: usize = 4_096;

/// The folder in which the folder of a run is made.
const UNFINISHED: &str = "unfinished";

/// A folder whose run is not known gets this before its name.
const SET_ASIDE: &str = "damaged-";

/// Where the spool is, and what it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// The folder. One agent at a time.
    pub dir: PathBuf,
    /// Bytes of all segments together.
    pub max_bytes: u64,
    /// Batches, whatever their size: what the index in memory may hold.
    pub max_batches: usize,
}

/// Why a spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Another agent has it.
    #[error(
        "the spool folder {} is in use by another isotherm-agent ({holder}); give each agent a folder of its \
         own: dir in [spool]",
        dir.display()
    )]
    InUse {
        /// The folder.
        dir: PathBuf,
        /// Who has it.
        holder: String,
    },
    /// The folder cannot be made, read or locked.
    #[error("cannot use the spool folder {} (dir in [spool])", dir.display())]
    Io {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// One run in the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunNumber(u32);

/// Something to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sending {
    /// A batch, compressed.
    Batch {
        /// Its number.
        seq: Seq,
        /// One zstd frame.
        payload: Vec<u8>,
    },
    /// What was given up.
    Gap(Gap),
}

/// The spool of this process. There is at most one per folder, over all processes.
#[derive(Debug)]
pub struct Spool {
    bounds: Bounds,
    /// Held, never read: the lock ends with the file.
    _lock: File,
    /// Oldest first; the last is this process's own. Never empty.
    runs: VecDeque<(u32, Run)>,
    /// Batches of this run that are not written yet, in order, with their bytes.
    unwritten: VecDeque<(Seq, usize)>,
    /// What the disk last said, so that each change is told once.
    trouble: Option<String>,
    /// A batch could not be read, for a reason that may pass.
    unreadable: bool,
    /// Whether batches were dropped since the last acknowledgement.
    dropping: bool,
    /// Batches acknowledged by the analyzer, and given up, since the start.
    counted: [u64; 2],
}

/// How full a spool is, and what became of what was in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Bytes on disk and in memory.
    pub bytes: u64,
    /// Batches that wait for an acknowledgement.
    pub batches: u64,
    /// Start of the oldest window that waits.
    pub oldest: Option<Timestamp>,
    /// Batches acknowledged since the start.
    pub acknowledged: u64,
    /// End of the last window of this run that was acknowledged.
    pub acknowledged_end: Option<Timestamp>,
    /// Batches given up since the start.
    pub given_up: u64,
}

impl Spool {
    /// Opens the folder, making it if needed, for a run that begins at `now`.
    pub fn open(bounds: Bounds, hello: Hello, now: Timestamp) -> Result<Self, SpoolError> {
        let dir = bounds.dir.clone();
        let io_error = |source| SpoolError::Io { dir: dir.clone(), source };
        fs::create_dir_all(&dir).map_err(io_error)?;
        let lock = lock(&dir)?;
        let (mut runs, newest) = runs_in(&dir).map_err(io_error)?;
        let left: usize = runs.iter().map(|(_, run)| run.outbox.batches()).sum();
        if left > 0 {
            info!("{left} batches of {} earlier runs are in the spool; they are delivered first", runs.len());
        }
        let number = newest + 1;
        let own = dir.join(format!("{number:08}-{}", hello.boot));
        runs.push_back((number, Run::begin(own, hello, now)));
        let unwritten = VecDeque::new();
        Ok(Self {
            bounds,
            _lock: lock,
            runs,
            unwritten,
            trouble: None,
            unreadable: false,
            dropping: false,
            counted: [0; 2],
        })
    }

    /// Takes a compressed payload and writes it. If that cannot be done now, it waits in memory for
    /// [`flush`](Self::flush).
    pub fn push(&mut self, payload: Vec<u8>, time: Interval) {
        let bytes = payload.len() + FRAME_BYTES;
        let seq = self.own().outbox.push(Place::Memory(payload), time);
        self.unwritten.push_back((seq, bytes));
        self.flush();
        while self.unwritten.len() > MEMORY_BATCHES || self.unwritten_bytes() > MEMORY_BYTES {
            if let Some((seq, _)) = self.unwritten.pop_front() {
                self.own().outbox.give_up(seq.get(), GapReason::QueueFull);
                self.counted[1] += 1;
                self.told_of_dropping("1 batch that could not be written");
            }
        }
        while self.batches() > self.bounds.max_batches {
            self.drop_oldest_batch();
        }
    }

    /// Writes what waits in memory. Tells of trouble, and of its end, once.
    pub fn flush(&mut self) {
        self.unreadable = false;
        let trouble = self.try_flush().err().map(|error| error.to_string());
        if trouble == self.trouble {
            return;
        }
        let dir = self.bounds.dir.display();
        match &trouble {
            Some(trouble) => error!("cannot write to the spool {dir}: {trouble}; batches wait in memory"),
            None => info!("the spool {dir} can be written again"),
        }
        self.trouble = trouble;
    }

    fn try_flush(&mut self) -> io::Result<()> {
        let segment_bytes = self.segment_bytes();
        while let Some((seq, bytes)) = self.unwritten.front().copied() {
            if self.make_room(bytes as u64) {
                self.own().append(seq, segment_bytes)?;
            } else {
                self.own().outbox.give_up(seq.get(), GapReason::QueueFull);
                self.counted[1] += 1;
                self.told_of_dropping("a batch larger than the spool");
            }
            self.unwritten.pop_front();
        }
        self.runs.iter_mut().try_for_each(|(_, run)| run.save_gaps())
    }

    /// Whether [`flush`](Self::flush) has something to try again.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.trouble.is_some() || self.unreadable
    }

    /// The run to deliver from: the oldest that has something, else this process's own.
    #[must_use]
    pub fn turn(&self) -> RunNumber {
        let ready = |(_, run): &&(u32, Run)| !run.deferred && !run.outbox.is_empty();
        RunNumber(self.runs.iter().find(ready).map_or(self.own_number(), |(number, _)| *number))
    }

    /// Whether a run is this process's own.
    #[must_use]
    pub fn is_own(&self, run: RunNumber) -> bool {
        run.0 == self.own_number()
    }

    /// How a run introduces itself; `None` if it is delivered.
    #[must_use]
    pub fn hello(&self, run: RunNumber) -> Option<&Hello> {
        self.runs.iter().find(|(number, _)| *number == run.0).map(|(_, run)| &run.hello)
    }

    /// Whether all of a run is acknowledged. An earlier run that is, and is not kept, is forgotten.
    #[must_use]
    pub fn is_delivered(&self, run: RunNumber) -> bool {
        self.run(run).is_none_or(|run| run.outbox.is_empty())
    }

    /// Batches of all runs that wait for an acknowledgement.
    #[must_use]
    pub fn batches(&self) -> usize {
        self.runs.iter().map(|(_, run)| run.outbox.batches()).sum()
    }

    /// How full it is, and what became of what was in it.
    #[must_use]
    pub fn status(&self) -> Status {
        let oldest = self.runs.iter().filter_map(|(_, run)| run.outbox.items().next());
        Status {
            bytes: self.runs.iter().map(|(_, run)| run.bytes()).sum::<u64>() + self.unwritten_bytes() as u64,
            batches: self.batches() as u64,
            oldest: oldest.map(|item| item.time().start()).min(),
            acknowledged: self.counted[0],
            acknowledged_end: self.runs.back().and_then(|(_, run)| run.outbox.acknowledged_end()),
            given_up: self.counted[1],
        }
    }

    /// The analyzer has the run's batches up to `committed_seq`. Returns how many it no longer has, for which
    /// a gap was made.
    pub fn welcome(&mut self, run: RunNumber, committed_seq: u64) -> u64 {
        let before = self.batches();
        let lost = self.run_mut(run).map_or(0, |run| run.outbox.welcome(committed_seq));
        self.counted[0] += before.saturating_sub(self.batches()) as u64;
        self.clean(run);
        lost
    }

    /// The run's batches up to `seq` are committed.
    pub fn acknowledge(&mut self, run: RunNumber, seq: u64) {
        let before = self.batches();
        if let Some(run) = self.run_mut(run) {
            run.outbox.acknowledge(seq);
        }
        self.counted[0] += before.saturating_sub(self.batches()) as u64;
        self.dropping = false;
        self.clean(run);
    }

    /// The analyzer will never take the batch: a gap takes its place. `false` if it is none.
    pub fn refuse(&mut self, run: RunNumber, seq: u64) -> bool {
        let Some(found) = self.run_mut(run) else { return false };
        let given_up = found.outbox.give_up(seq, GapReason::Refused);
        if given_up {
            found.outbox.resend();
            self.counted[1] += 1;
            self.unwritten.retain(|(unwritten, _)| unwritten.get() != seq);
            self.flush();
        }
        given_up
    }

    /// All of the run that is not acknowledged has to be sent again.
    pub fn resend(&mut self, run: RunNumber) {
        if let Some(run) = self.run_mut(run) {
            run.outbox.resend();
        }
    }

    /// Leaves a run for the next process.
    pub fn defer(&mut self, run: RunNumber) {
        if let Some(run) = self.run_mut(run) {
            run.deferred = true;
        }
    }

    /// Whether [`take_unsent`](Self::take_unsent) has something: the next item is a gap, or on the disk.
    #[must_use]
    pub fn has_unsent(&self, run: RunNumber) -> bool {
        if self.unreadable {
            return false;
        }
        match self.run(run).and_then(|run| run.outbox.unsent()) {
            Some(Item::Batch { place: Place::Disk { .. }, .. } | Item::Gap(_)) => true,
            Some(Item::Batch { place: Place::Memory(_), .. }) | None => false,
        }
    }

    /// The next item to send on this connection, which is then taken as sent. A batch that cannot be read any
    /// more becomes a gap.
    pub fn take_unsent(&mut self, run: RunNumber) -> Option<Sending> {
        let found = self.run_mut(run)?;
        let (seq, place) = match found.outbox.unsent()? {
            Item::Gap(gap) => {
                let gap = *gap;
                found.outbox.mark_sent();
                return Some(Sending::Gap(gap));
            }
            Item::Batch { place: Place::Memory(_), .. } => return None,
            Item::Batch { seq, place: Place::Disk { segment, offset, len }, .. } => {
                (*seq, (*segment, *offset, *len))
            }
        };
        match found.read(seq, place.0, place.1, place.2) {
            Ok(payload) => {
                found.outbox.mark_sent();
                Some(Sending::Batch { seq, payload })
            }
            Err(error) if is_damage(&error) => {
                let path = found.segment_path(place.0);
                error!("{}: batch {seq} cannot be read ({error}); a gap takes its place", path.display());
                found.outbox.give_up(seq.get(), GapReason::Damaged);
                self.counted[1] += 1;
                self.flush();
                None
            }
            Err(error) => {
                let path = found.segment_path(place.0);
                error!("{}: batch {seq} cannot be read now ({error}); it is tried again", path.display());
                self.unreadable = true;
                None
            }
        }
    }

    /// Removes what a run does not need any more: segments, or, of an earlier run, everything.
    fn clean(&mut self, run: RunNumber) {
        let is_own = self.is_own(run);
        let Some(found) = self.run_mut(run) else { return };
        found.remove_acknowledged();
        // What is acknowledged is no gap to tell again; the next writing repeats it if it fails now.
        if let Err(error) = found.save_gaps() {
            warn!("{}: cannot note what is acknowledged: {error}", found.dir.display());
        }
        if found.outbox.is_empty() && !is_own {
            info!("all that run {} of {} had left is delivered", found.hello.boot, found.hello.agent);
            remove_run(found);
            self.runs.retain(|(number, _)| *number != run.0);
        }
    }

    /// The process ends. Its folder is removed if nothing in it waits; returns how many batches stay for the
    /// next one, and how many could not be written and are lost.
    pub fn close(mut self) -> (usize, usize) {
        self.flush();
        let lost = self.unwritten.len();
        let stay = self.batches() - lost;
        let own = self.own();
        if own.outbox.is_empty() {
            remove_run(own);
        }
        (stay, lost)
    }

    /// Drops segments until there is room for so many bytes. `false` if there never will be.
    fn make_room(&mut self, bytes: u64) -> bool {
        if bytes > self.bounds.max_bytes {
            return false;
        }
        while self.runs.iter().map(|(_, run)| run.bytes()).sum::<u64>() + bytes > self.bounds.max_bytes {
            let oldest =
                self.runs.iter_mut().find_map(|(_, run)| run.oldest_segment().map(|held| (run, held)));
            let Some((run, (segment, held))) = oldest else { return true };
            for seq in &held {
                run.outbox.give_up(seq.get(), GapReason::QueueFull);
            }
            // First the gap, so that a crash in between loses nothing without a word; a disk that is full has
            // room for it when the segment is gone.
            let saved = run.save_gaps();
            run.remove_segment(segment);
            if saved.is_err()
                && let Err(error) = run.save_gaps()
            {
                warn!("{}: cannot note what was dropped: {error}", run.dir.display());
            }
            self.counted[1] += held.len() as u64;
            if !held.is_empty() {
                self.told_of_dropping(&format!("the {} oldest batches (max_bytes in [spool])", held.len()));
            }
        }
        true
    }

    /// Drops one batch, for the bound of the index.
    fn drop_oldest_batch(&mut self) {
        let own = self.own_number();
        let Some((number, run)) = self.runs.iter_mut().find(|(_, run)| run.outbox.batches() > 0) else {
            return;
        };
        let oldest = run.outbox.items().find(|item| matches!(item, Item::Batch { .. })).map(Item::first);
        let Some(seq) = oldest else { return };
        run.outbox.give_up(seq.get(), GapReason::QueueFull);
        // First the gap, so that a crash in between loses nothing without a word.
        if let Err(error) = run.save_gaps() {
            warn!("{}: cannot note what was dropped: {error}", run.dir.display());
        }
        run.remove_acknowledged();
        if *number == own {
            self.unwritten.retain(|(unwritten, _)| *unwritten != seq);
        }
        self.counted[1] += 1;
        self.told_of_dropping("the oldest batch (unacked_batches in [limits])");
        self.flush();
    }

    fn told_of_dropping(&mut self, what: &str) {
        if !self.dropping {
            error!(
                "dropped {what}; a gap takes its place, and further ones are not told until the analyzer takes something"
            );
        }
        self.dropping = true;
    }

    fn segment_bytes(&self) -> u64 {
        SEGMENT_BYTES.min(self.bounds.max_bytes / 16)
    }

    fn unwritten_bytes(&self) -> usize {
        self.unwritten.iter().map(|(_, bytes)| bytes).sum()
    }

    fn own_number(&self) -> u32 {
        self.runs.back().map_or(0, |(number, _)| *number)
    }

    fn own(&mut self) -> &mut Run {
        &mut self.runs.back_mut().expect("the last run is this process's own, and stays").1
    }

    fn run(&self, run: RunNumber) -> Option<&Run> {
        self.runs.iter().find(|(number, _)| *number == run.0).map(|(_, run)| run)
    }

    fn run_mut(&mut self, run: RunNumber) -> Option<&mut Run> {
        self.runs.iter_mut().find(|(number, _)| *number == run.0).map(|(_, run)| run)
    }
}

fn remove_run(run: &mut Run) {
    let dir = run.dir.clone();
    if let Err(error) = run.remove() {
        warn!("cannot remove {}: {error}", dir.display());
    }
}

/// Takes the folder for this process. The lock is the kernel's, so it ends with the process however that ends;
/// the text in the file is for people.
fn lock(dir: &Path) -> Result<File, SpoolError> {
    let path = dir.join("lock");
    let io_error = |source| SpoolError::Io { dir: dir.to_owned(), source };
    let options = || OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
    let mut file = options().map_err(io_error)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = fs::read_to_string(&path).unwrap_or_default();
            let holder = if holder.is_empty() { "unknown process".to_owned() } else { holder };
            return Err(SpoolError::InUse { dir: dir.to_owned(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(io_error(source)),
    }
    // A full disk must not keep the agent from starting for that.
    if let Err(error) = file.set_len(0).and_then(|()| write!(file, "process {}", std::process::id())) {
        tracing::debug!("{}: cannot note who has it: {error}", path.display());
    }
    Ok(file)
}

/// The runs that earlier processes left, oldest first, and the highest number of a run.
/// Whether reading again would bring the same: not so with a lack of memory or descriptors.
fn is_damage(error: &io::Error) -> bool {
    let kind = error.kind();
    [io::ErrorKind::InvalidData, io::ErrorKind::UnexpectedEof, io::ErrorKind::NotFound].contains(&kind)
}

fn runs_in(dir: &Path) -> io::Result<(VecDeque<(u32, Run)>, u32)> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == UNFINISHED {
            fs::remove_dir_all(entry.path())?;
        } else if name.starts_with(SET_ASIDE) {
            warn!("{} holds batches of an unknown run; look at it, and remove it", entry.path().display());
        } else if let Some((number, boot)) = name.split_once('-')
            && let Ok(number) = number.parse::<u32>()
        {
            names.push((number, boot.to_owned(), entry.path()));
        }
    }
    names.sort();
    let newest = names.last().map_or(0, |(number, _, _)| *number);
    let mut runs = VecDeque::new();
    for (number, boot, path) in names {
        let found = match Run::found(&path, &boot) {
            Ok(found) => found,
            Err(error) => {
                error!("{} cannot be read now ({error}); it stays for the next start", path.display());
                continue;
            }
        };
        match found {
            Ok(mut run) if run.outbox.is_empty() => remove_run(&mut run),
            Ok(run) => runs.push_back((number, run)),
            Err(why) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let aside = dir.join(format!("{SET_ASIDE}{name}"));
                error!(
                    "{why}; nobody knows whose batches these are, so they are set aside: {}",
                    aside.display()
                );
                if let Err(error) = fs::rename(&path, &aside) {
                    error!("{} cannot be set aside: {error}", path.display());
                }
            }
        }
    }
    Ok((runs, newest))
}

#[cfg(test)]
mod tests;
