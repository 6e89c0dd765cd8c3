//! Writes are stopped on every replica, and let again.
//!
//! While a volume is copied the flag must not be on the source's disk: SeaweedFS would mount the copy as a read-only
//! volume at once, count its removed objects by an estimate, and throw the copy away where that is wrong (seen on 4.48
//! with volumes of 10 and 20 objects). So it is first only in the memory of the servers, and on their disks once the
//! copy is made. A server that starts again before that takes writes; the copy is then refused.
//!
//! A volume server that does not hold a volume passes a write on to those that take writes, however few (measured on
//! 4.48; those that hold it refuse when replicas lack). So while not all replicas have the same flag, a write can end
//! on some of them. It must not miss the source when the fence is made, which therefore comes last; and when the fence
//! is lifted, replicas that differ get what the others have.

use super::index::{self, Needle};
use super::job::{Job, Note};
use super::server::{End, Lasts, Server};
use crate::contract::Refusal;
use isotherm_migration::{Fenced, Position};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A write that was let in before the flag is appended within this time: it waits for a lock and a disk.
const SETTLED: Duration = Duration::from_millis(200);

/// A write has come to all replicas within this time, or failed.
const UNDER_WAY: Duration = Duration::from_secs(1);

impl Job<'_> {
    /// Stops writes to the source, which must have taken them.
    pub(super) async fn fence(&self) -> Result<Position, Refusal> {
        let origin = self.origin().await?;
        let begun = self.writable()?.is_some();
        if !begun && origin.status(self.volume).await?.read_only {
            let words = format!(
                "volume {} is read-only on {} by somebody's order: it is theirs to lift",
                self.volume,
                origin.name()
            );
            return Err(Refusal::conflict(words));
        }
        Ok(Position(self.stop_writes(&origin).await?.to_string()))
    }

    /// Stops writes on all replicas of the volume, `last` at the end. Returns where its log ends then.
    pub(super) async fn stop_writes(&self, last: &Server) -> Result<End, Refusal> {
        let noted = match self.writable()? {
            Some(noted) => noted,
            None => self.note_writable(last).await?,
        };
        for name in noted.keys().filter(|name| *name != last.name()) {
            self.store.server(name)?.mark_read_only(self.volume, Lasts::UntilRestart).await?;
        }
        if noted.contains_key(last.name()) {
            last.mark_read_only(self.volume, Lasts::UntilRestart).await?;
        }
        self.settled(last).await
    }

    /// Notes which replicas take writes, and how long their indexes are.
    pub(super) async fn note_writable(&self, last: &Server) -> Result<BTreeMap<String, u64>, Refusal> {
        self.set_collection(&last.status(self.volume).await?.collection)?;
        let mut writable = BTreeMap::new();
        for name in self.listed().await? {
            if name == self.task.migration.target.name() {
                continue;
            }
            let status = self.store.server(&name)?.status(self.volume).await?;
            if !status.read_only {
                writable.insert(name, status.end.idx_bytes);
            }
        }
        self.set_writable(&writable)?;
        Ok(writable)
    }

    /// Where the log of a replica ends that takes no writes.
    pub(super) async fn settled(&self, server: &Server) -> Result<End, Refusal> {
        let mut before = server.status(self.volume).await?;
        loop {
            self.pause(SETTLED).await?;
            let now = server.status(self.volume).await?;
            if !now.read_only {
                let words = format!("somebody made volume {} writable on {}", self.volume, server.name());
                return Err(Refusal::conflict(words));
            }
            if now.end == before.end {
                return Ok(now.end);
            }
            before = now;
        }
    }

    /// Whether a fence of this migration stops writes.
    pub(super) async fn fenced(&self) -> Result<Fenced, Refusal> {
        let noted = self.writable()?.unwrap_or_default();
        let over = self.has(Note::Switched)? && !self.has(Note::Reversing)?;
        if noted.is_empty() || over {
            return Ok(Fenced::No);
        }
        for name in noted.keys() {
            // One that is not mounted takes no writes either.
            let mounted = self.store.server(name)?.mounted(self.volume).await?;
            if mounted.is_some_and(|mounted| !mounted.read_only) {
                return Ok(Fenced::No);
            }
        }
        Ok(Fenced::Yes)
    }

    /// Keeps the fence past restarts of the servers.
    pub(super) async fn keep_fence(&self) -> Result<(), Refusal> {
        for name in self.writable()?.unwrap_or_default().keys() {
            self.store.server(name)?.mark_read_only(self.volume, Lasts::PastRestarts).await?;
        }
        Ok(())
    }

    /// Lets these replicas take writes, all at once, and sees to it that they have the same. With each goes how long
    /// its index was when writes were stopped, or less.
    pub(super) async fn let_write(&self, replicas: &BTreeMap<String, u64>) -> Result<(), Refusal> {
        let mut servers = Vec::new();
        let mut marks = tokio::task::JoinSet::new();
        for (name, idx_bytes) in replicas {
            let (server, volume) = (self.store.server(name)?, self.volume);
            servers.push((server.clone(), *idx_bytes));
            marks.spawn(async move { server.mark_writable(volume).await });
        }
        for marked in marks.join_all().await {
            marked?;
        }
        for (server, _) in &servers {
            if server.status(self.volume).await?.read_only {
                let words = format!(
                    "volume {} stays read-only on {}, whose disk may be almost full: make room there",
                    self.volume,
                    server.name()
                );
                return Err(Refusal::not_now(words));
            }
        }
        self.reconcile(&servers, servers.len()).await
    }

    /// Gives replicas what was written to a copy of theirs that is to be removed: it takes writes for the moment between
    /// its mounting and its mark, and after its server started again. They must take writes, and it none.
    pub(super) async fn rescue(&self, copy: &Server) -> Result<(), Refusal> {
        let lengths = match self.writable()? {
            Some(lengths) => Some(lengths),
            // The fence is lifted, and may be for long.
            None => self.stopped()?,
        };
        let Some(replicas) = lengths.filter(|replicas| !replicas.is_empty()) else { return Ok(()) };
        let origin = self.origin().await?;
        let idx_bytes = replicas.get(origin.name()).copied().unwrap_or(0);
        self.give(&replicas, copy, idx_bytes).await
    }

    /// Gives replicas, each with how long its index was then, what was written to a copy of theirs since its own was of
    /// `idx_bytes`. They must take writes, and it none.
    pub(super) async fn give(
        &self,
        replicas: &BTreeMap<String, u64>,
        copy: &Server,
        idx_bytes: u64,
    ) -> Result<(), Refusal> {
        let mut servers = Vec::new();
        for (name, idx_bytes) in replicas {
            servers.push((self.store.server(name)?, *idx_bytes));
        }
        servers.push((copy.clone(), idx_bytes));
        self.reconcile(&servers, replicas.len()).await
    }

    /// Gives the first `to` replicas what only others of all were given, unless they were given something newer. What lacks
    /// at one look may be under way; what lacks at two does lack.
    async fn reconcile(&self, servers: &[(Server, u64)], to: usize) -> Result<(), Refusal> {
        if servers.len() < 2 {
            return Ok(());
        }
        let first = self.lacking(servers, to).await?;
        if first.is_empty() {
            return Ok(());
        }
        self.pause(UNDER_WAY).await?;
        let second = self.lacking(servers, to).await?;
        let mut newest: BTreeMap<(usize, u64), (u64, Needle, Vec<u8>)> = BTreeMap::new();
        for (to, from, needle) in second.iter().filter(|lack| first.contains(lack)) {
            let blob = servers[*from].0.needle(self.volume, *needle).await?;
            let appended_ns = index::appended_ns(&blob, needle.size);
            let known = newest.get(&(*to, needle.key));
            if known.is_none_or(|(known_ns, ..)| *known_ns < appended_ns) {
                newest.insert((*to, needle.key), (appended_ns, *needle, blob));
            }
        }
        for ((to, _), (appended_ns, needle, blob)) in newest {
            let (to, _) = &servers[to];
            if self.has_newer(to, needle.key, appended_ns).await? {
                continue;
            }
            to.put_needle(self.volume, needle, blob).await?;
        }
        Ok(())
    }

    /// Whether a replica was given an object after that moment. The clocks of two servers are compared.
    async fn has_newer(&self, server: &Server, key: u64, appended_ns: u64) -> Result<bool, Refusal> {
        let status = server.status(self.volume).await?;
        let index = server.index(self.volume, status.end.idx_bytes).await?;
        let live = index::live(&index, status.place_bytes)?;
        let Some(there) = live.into_iter().find(|needle| needle.key == key) else { return Ok(false) };
        let blob = server.needle(self.volume, there).await?;
        Ok(index::appended_ns(&blob, there.size) > appended_ns)
    }

    /// Who lacks which object, and who has it: by their places in `servers`.
    async fn lacking(
        &self,
        servers: &[(Server, u64)],
        to: usize,
    ) -> Result<Vec<(usize, usize, Needle)>, Refusal> {
        let (mut whole, mut new) = (Vec::new(), Vec::new());
        for (server, idx_bytes) in servers {
            let status = server.status(self.volume).await?;
            let index = server.index(self.volume, status.end.idx_bytes).await?;
            let from = usize::try_from(*idx_bytes).unwrap_or(usize::MAX).min(index.len());
            let live = index::live(&index, status.place_bytes)?;
            whole.push(live.into_iter().map(|needle| (needle.key, needle.size)).collect::<BTreeSet<_>>());
            new.push(index::live(&index[from..], status.place_bytes)?);
        }
        let mut lacking = Vec::new();
        for (to, has) in whole.iter().enumerate().take(to) {
            for (from, needles) in new.iter().enumerate() {
                let lacks = needles.iter().filter(|needle| !has.contains(&(needle.key, needle.size)));
                lacking.extend(lacks.map(|needle| (to, from, *needle)));
            }
        }
        Ok(lacking)
    }
}
