//! The copy on the target: made, looked at, and removed.
//!
//! The target copies by itself, from server to server, and serves the copy once that is whole. For a moment, until it is
//! marked, it takes writes: such a write makes the copy unusable, and is given to the source before the copy is removed.
//! A caller that goes away ends the copy, but only after some seconds, in which a second one would write to the same
//! file. So whoever copies or removes first waits until no copy is being made.

use super::job::{Job, Note, stopped_by_caller};
use super::server::{End, Lasts, Mounted, Presence, Server};
use crate::contract::Refusal;
use isotherm_migration::{Origin, Position};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, interval, sleep};

/// The target's copy is looked after so often while it is made.
const LOOK: Duration = Duration::from_secs(2);

/// A copy is marked so often while it may be mounted any moment: when no more than this is left, of which SeaweedFS tells
/// the 128 MB.
const MARK: Duration = Duration::from_millis(3);
const NEAR_BYTES: u64 = 160 << 20;

/// Looks in a row without an answer after which a target counts as gone.
const LOOKS_LOST: u32 = 3;

/// A copy that nobody wants any more was gone after 12 s on an idle machine.
const COPY_ENDS: Duration = Duration::from_secs(30);

/// Files without a copy that is made or served are seen for a moment between the two.
const BETWEEN: Duration = Duration::from_secs(5);

impl Job<'_> {
    /// Nothing has to be made; nothing must be there either.
    pub(super) async fn prepare(&self) -> Result<(), Refusal> {
        if self.has(Note::Copy)? {
            return Ok(());
        }
        let origin = self.origin().await?;
        let collection = origin.status(self.volume).await?.collection;
        let target = self.target()?;
        match target.presence(self.volume, &collection).await? {
            Presence::Nothing => self.set_collection(&collection),
            there @ (Presence::Copying | Presence::Unmounted | Presence::Mounted(_)) => {
                Err(Refusal::conflict(occupied(self.volume.0, target.name(), &there)))
            }
        }
    }

    /// Who is copied from: the source, or in a repair the largest replica that is left, noted at the first look.
    pub(super) async fn origin(&self) -> Result<Server, Refusal> {
        if let Some(source) = self.source()? {
            return Ok(source);
        }
        if let Some(name) = self.note(Note::Origin)? {
            return self.store.server(&name);
        }
        let mut largest: Option<(u64, Server)> = None;
        for name in self.listed().await? {
            if name == self.task.migration.target.name() {
                continue;
            }
            let server = self.store.server(&name)?;
            if let Some(Mounted { end, .. }) = server.mounted(self.volume).await?
                && largest.as_ref().is_none_or(|(bytes, _)| end.dat_bytes > *bytes)
            {
                largest = Some((end.dat_bytes, server));
            }
        }
        let (_, server) = largest.ok_or_else(|| {
            let words = format!("no server has volume {} mounted: bring one back that has it", self.volume);
            Refusal::new(isotherm_migration::Reason::NoLiveCopy, words)
        })?;
        self.set(Note::Origin, server.name())?;
        Ok(server)
    }

    /// Copies. In a repair, writes to what is left are stopped first, and are let again by the switch.
    pub(super) async fn replicate(&self, bytes_per_s: Option<u64>) -> Result<(), Refusal> {
        let origin = self.origin().await?;
        if let Origin::Repair { .. } = self.task.migration.origin {
            self.stop_writes(&origin).await?;
        }
        let target = self.target()?;
        let collection = self.collection()?;
        if self.has(Note::Copy)? && self.rested(&target, &collection).await.is_err() {
            // What a server that was killed left; the copy goes over it.
            return self.copy_over(&origin, &target, bytes_per_s).await;
        }
        match self.rested(&target, &collection).await? {
            Presence::Nothing => {}
            there if !self.has(Note::Copy)? => {
                return Err(Refusal::conflict(occupied(self.volume.0, target.name(), &there)));
            }
            Presence::Unmounted => target.delete(self.volume, &collection).await?,
            // Whatever differs from its origin may have taken a write.
            Presence::Mounted(_) => return self.hold(&origin, &target).await,
            Presence::Copying => {}
        }
        self.copy(&origin, &target, bytes_per_s).await
    }

    /// Copies from one server to another, unless that has been done.
    pub(super) async fn copy(&self, from: &Server, to: &Server, rate: Option<u64>) -> Result<(), Refusal> {
        let origin = self.fenced_status(from).await?;
        let total = origin.end.dat_bytes + origin.end.idx_bytes;
        if let Presence::Mounted(there) = self.rested(to, &origin.collection).await?
            && there.end == origin.end
        {
            self.tell(total, total, "bytes", None);
            return self.hold(from, to).await;
        }
        self.copy_over(from, to, rate).await
    }

    /// Copies, whatever there is.
    pub(super) async fn copy_over(
        &self,
        from: &Server,
        to: &Server,
        rate: Option<u64>,
    ) -> Result<(), Refusal> {
        let origin = self.fenced_status(from).await?;
        let total = origin.end.dat_bytes + origin.end.idx_bytes;
        self.set(Note::Copy, to.name())?;
        let throttled_by = rate.map(|rate| format!("{rate} bytes per second, as asked for"));
        self.tell(0, total, "bytes", throttled_by.clone());
        let copy = self.watched_copy(from, to, &origin, rate, |done| {
            self.tell(done.min(total), total, "bytes", throttled_by.clone());
        });
        copy.await?;
        self.tell(total, total, "bytes", throttled_by);
        self.hold(from, to).await
    }

    async fn fenced_status(&self, from: &Server) -> Result<Mounted, Refusal> {
        let status = from.status(self.volume).await?;
        if status.read_only {
            return Ok(status);
        }
        let words = format!("volume {} takes writes on {}: fence it first", self.volume, from.name());
        Err(Refusal::conflict(words))
    }

    /// Sees to it that neither a copy nor its origin takes writes, also after a restart, and that none has.
    async fn hold(&self, from: &Server, to: &Server) -> Result<(), Refusal> {
        self.fenced_status(from).await?;
        to.mark_read_only(self.volume, Lasts::PastRestarts).await?;
        self.keep_fence().await?;
        from.mark_read_only(self.volume, Lasts::PastRestarts).await?;
        let (here, there) = (self.settled(from).await?, self.settled(to).await?);
        if here == there {
            return Ok(());
        }
        let words =
            format!("{} ends at {here}, its copy on {} at {there}: begin anew", from.name(), to.name());
        Err(Refusal::conflict(words))
    }

    /// Copies until it is done, not wanted any more, or the server that copies is lost.
    async fn watched_copy(
        &self,
        from: &Server,
        to: &Server,
        origin: &Mounted,
        rate: Option<u64>,
        told: impl Fn(u64),
    ) -> Result<(), Refusal> {
        let total = origin.end.dat_bytes + origin.end.idx_bytes;
        let left_bytes = AtomicU64::new(total);
        let copy = async {
            let mut stream = to.copy(self.volume, &origin.collection, &from.address, rate).await?;
            while let Some(part) = to.next_of_copy(&mut stream).await? {
                let done = u64::try_from(part.processed_bytes).unwrap_or(0);
                left_bytes.store(total.saturating_sub(done), Ordering::Relaxed);
                told(done);
            }
            Ok(())
        };
        tokio::select! {
            done = copy => done,
            () = self.task.stop.cancelled() => Err(stopped_by_caller()),
            lost = self.lost(to, &origin.collection) => Err(lost),
            refusal = self.mark_as_it_comes(to, &left_bytes) => Err(refusal),
        }
    }

    /// Marks a copy in the moment in which it is mounted: the end of the copy is told later, and a master tells clients of
    /// it meanwhile. Never ends.
    async fn mark_as_it_comes(&self, to: &Server, left_bytes: &AtomicU64) -> Refusal {
        loop {
            sleep(MARK).await;
            if left_bytes.load(Ordering::Relaxed) <= NEAR_BYTES {
                // What is not mounted yet cannot be marked; whoever holds the copy in the end finds out.
                let _ = to.mark_read_only(self.volume, Lasts::PastRestarts).await;
            }
        }
    }

    /// Ends when a server has not answered for a while.
    async fn lost(&self, server: &Server, collection: &str) -> Refusal {
        let (mut looks, mut silent) = (interval(LOOK), 0);
        loop {
            looks.tick().await;
            match server.presence(self.volume, collection).await {
                Ok(_) => silent = 0,
                Err(refusal) if silent + 1 >= LOOKS_LOST => return refusal,
                Err(_) => silent += 1,
            }
        }
    }

    /// What there is on a server once no copy is being made there.
    pub(super) async fn rested(&self, server: &Server, collection: &str) -> Result<Presence, Refusal> {
        let start = Instant::now();
        loop {
            let there = server.presence(self.volume, collection).await?;
            let limit = match there {
                Presence::Nothing | Presence::Mounted(_) => return Ok(there),
                Presence::Unmounted => BETWEEN,
                Presence::Copying => COPY_ENDS,
            };
            if start.elapsed() >= limit {
                if there == Presence::Unmounted {
                    return Ok(there);
                }
                let words =
                    format!("a copy of volume {} is still being made on {}", self.volume, server.name());
                return Err(Refusal::not_now(words));
            }
            self.pause(Duration::from_millis(200)).await?;
        }
    }

    /// The bytes that the target's log lacks. Nothing is appended behind a fence, so there is nothing to wait for.
    pub(super) async fn catch_up(
        &self,
        position: Option<&Position>,
        max_lag_bytes: u64,
    ) -> Result<u64, Refusal> {
        let (origin, target) = (self.origin().await?, self.target()?);
        let wanted = match position {
            Some(position) => position.0.parse()?,
            None => origin.status(self.volume).await?.end,
        };
        let reached = target.status(self.volume).await?.end;
        let lag = lag_bytes(wanted, reached).ok_or_else(|| {
            let words =
                format!("volume {} was compacted meanwhile: the copy has to be made anew", self.volume);
            Refusal::conflict(words)
        })?;
        if lag > max_lag_bytes || (position.is_some() && lag > 0) {
            let words =
                format!("the copy lacks {lag} bytes, which came after it began: it has to be made anew");
            return Err(Refusal::conflict(words));
        }
        Ok(lag)
    }

    /// Removes the copy, whole or not. It must not take writes.
    pub(super) async fn remove_copy(&self) -> Result<(), Refusal> {
        let (target, collection) = (self.target()?, self.collection()?);
        if self.rested(&target, &collection).await.is_err()
            && target.presence(self.volume, &collection).await? == Presence::Copying
        {
            self.sweep(&target, &collection).await?;
        }
        match self.rested(&target, &collection).await? {
            Presence::Nothing => return Ok(()),
            Presence::Mounted(copy) if !copy.read_only => {
                let words = format!("volume {} takes writes on {}, and stays", self.volume, target.name());
                return Err(Refusal::conflict(words));
            }
            Presence::Mounted(_) | Presence::Unmounted | Presence::Copying => {}
        }
        // It is mounted to be deleted, and nobody may unmount it meanwhile.
        self.store.stand_down(self.volume, target.name(), false);
        target.delete(self.volume, &collection).await?;
        self.until_listed(target.name(), false, COPY_ENDS).await
    }
}

impl Job<'_> {
    /// Clears what a server keeps that was killed while it copied: nothing but another copy, whole or failed, does. One
    /// that is whole takes writes for a moment. To tell them from what was copied, writes to its origin are stopped.
    async fn sweep(&self, target: &Server, collection: &str) -> Result<(), Refusal> {
        let origin = self.origin().await?;
        let writable = self.note_writable(&origin).await?;
        self.stop_writes(&origin).await?;
        let again = async {
            let mut stream = target.copy(self.volume, collection, &origin.address, None).await?;
            while target.next_of_copy(&mut stream).await?.is_some() {}
            Ok::<(), Refusal>(())
        };
        // It may fail, and clears as well.
        let _ = again.await;
        let whole = matches!(target.mounted(self.volume).await, Ok(Some(_)));
        if whole {
            target.mark_read_only(self.volume, Lasts::PastRestarts).await?;
        }
        self.let_write(&writable).await?;
        if whole { self.rescue(target).await } else { Ok(()) }
    }
}

/// What stands where a copy should be made.
pub(super) fn occupied(volume: u32, server: &str, there: &Presence) -> String {
    let what = match there {
        Presence::Nothing => "nothing",
        Presence::Copying => "an unfinished copy",
        Presence::Unmounted => "files that are not mounted",
        Presence::Mounted(_) => "a replica",
    };
    format!("{server} has {what} of volume {volume}: remove it, or choose another target")
}

/// What a log lacks; `None` where the two cannot be compared.
fn lag_bytes(wanted: End, reached: End) -> Option<u64> {
    let lacks = |wanted: u64, reached: u64| wanted.saturating_sub(reached);
    (wanted.revision == reached.revision)
        .then(|| lacks(wanted.dat_bytes, reached.dat_bytes) + lacks(wanted.idx_bytes, reached.idx_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lag_counts_both_files_and_not_across_a_compaction() {
        let end = |text: &str| text.parse::<End>().unwrap();
        assert_eq!(lag_bytes(end("0:100:34"), end("0:80:17")), Some(37));
        assert_eq!(lag_bytes(end("0:100:34"), end("0:120:51")), Some(0));
        assert_eq!(lag_bytes(end("0:100:34"), end("1:100:34")), None);
        assert_eq!(end("3:100:34").to_string(), "3:100:34");
        assert!(
            "".parse::<End>().is_err() && "1:2".parse::<End>().is_err() && "1:2:3:4".parse::<End>().is_err()
        );
    }
}
