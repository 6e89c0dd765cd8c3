//! Who serves: forward, back, and what is cleared away after either.
//!
//! The instant of the switch is the one in which the target begins to take writes: the flag is on its disk, so it is
//! the same after any crash. Before it the source, which takes none, stops to serve reads, so that nothing stale is
//! read behind it. On the way back it is the source's flag. A note says the same afterwards, when flags may have other
//! reasons.

use super::job::{Job, Note};
use super::server::{End, Lasts, Presence, Server};
use crate::contract::Refusal;
use isotherm_migration::{Fenced, Reason, Side};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::timeout;

/// A master hears of what is mounted within some milliseconds.
const HEARD: Duration = Duration::from_secs(20);

/// So often a copy that is brought back may be written to before it is marked.
const MOST_SLIPS: u32 = 3;

/// Of notes that are there or not.
const YES: &str = "yes";

impl Job<'_> {
    /// Lets the target serve.
    pub(super) async fn commit(&self) -> Result<(), Refusal> {
        if self.has(Note::Switched)? {
            return Ok(());
        }
        let target = self.target()?;
        let copy = target.status(self.volume).await?;
        let fenced = self.writable()?.ok_or_else(|| self.conflict("has no fence of this migration"))?;
        if !self.has(Note::Switching)? {
            if !fenced.is_empty() && self.fenced().await? == Fenced::No {
                return Err(self.conflict("takes writes somewhere: the copy may lack some of them"));
            }
            self.set(Note::Switching, &copy.end.to_string())?;
        }
        let mut replicas = fenced.clone();
        let gives_up = match self.source()? {
            Some(source) => {
                self.stand_down(&source).await?;
                replicas.remove(source.name())
            }
            None => fenced.get(self.origin().await?.name()).copied(),
        };
        replicas.extend(gives_up.map(|idx_bytes| (target.name().to_owned(), idx_bytes)));
        self.let_write(&replicas).await?;
        self.set(Note::Switched, &self.note(Note::Switching)?.unwrap_or_default())
    }

    /// Stops a server from serving the volume. One that is gone serves nothing.
    async fn stand_down(&self, server: &Server) -> Result<(), Refusal> {
        self.store.stand_down(self.volume, server.name(), true);
        let unmounted = server.unmount(self.volume).await;
        if unmounted.is_err() && self.listed().await?.contains(server.name()) {
            return unmounted;
        }
        self.until_listed(server.name(), false, HEARD).await
    }

    /// Lets a server serve what lies on its disk.
    async fn stand_up(&self, server: &Server) -> Result<(), Refusal> {
        self.store.stand_down(self.volume, server.name(), false);
        if server.mounted(self.volume).await?.is_none() {
            server.mount(self.volume).await?;
        }
        self.until_listed(server.name(), true, HEARD).await
    }

    /// Lets the source take writes again. A copy that is whole goes: it is out of date from now on.
    pub(super) async fn unfence(&self) -> Result<(), Refusal> {
        self.give_up().await?;
        self.set(Note::Writable, "")
    }

    /// Restores the start: writes first, since they are waited for, then the target's disk.
    pub(super) async fn abort(&self) -> Result<(), Refusal> {
        self.give_up().await?;
        if self.has(Note::Copy)? {
            self.remove_copy().await?;
        }
        self.store.stand_down(self.volume, self.task.migration.target.name(), false);
        self.set(Note::Writable, "")
    }

    /// Lets the source serve, and take writes if it did before. A copy that is what its origin is goes first, so that
    /// nobody reads it when it is out of date. One that was written to goes afterwards: its writes are given to the
    /// source before. One out of reach is not waited for.
    async fn give_up(&self) -> Result<(), Refusal> {
        self.not_switched().await?;
        let copy = self.held_copy().await?;
        if self.has(Note::Switching)?
            && !self.has(Note::Switched)?
            && let Some(source) = self.source()?
        {
            self.stand_up(&source).await?;
        }
        let Some(copy) = copy else { return self.restore().await };
        if self.is_its_origin(&copy).await? {
            let removed = timeout(HEARD, self.remove_copy()).await;
            self.restore().await?;
            return removed.unwrap_or_else(|_| Err(self.conflict("is being removed from the target still")));
        }
        self.restore().await?;
        self.rescue(&copy).await?;
        self.remove_copy().await
    }

    /// Whether a copy that takes no writes ends where its origin does, which takes none either. No, if the copy's server
    /// does not say: writes are not to wait for that.
    async fn is_its_origin(&self, copy: &Server) -> Result<bool, Refusal> {
        let Ok(there) = self.settled(copy).await else { return Ok(false) };
        let here = self.origin().await?.mounted(self.volume).await?;
        Ok(here.is_some_and(|here| here.read_only && here.end == there))
    }

    /// The copy, which takes no writes, if it is served. One out of reach is served as long as the master tells of it: the
    /// source then must not serve anything newer.
    async fn held_copy(&self) -> Result<Option<Server>, Refusal> {
        let target = self.target()?;
        if !self.has(Note::Copy)? {
            return Ok(None);
        }
        match target.mounted(self.volume).await {
            Ok(None) => Ok(None),
            Ok(Some(_)) => {
                target.mark_read_only(self.volume, Lasts::PastRestarts).await?;
                Ok(Some(target))
            }
            Err(_) if !self.listed().await?.contains(target.name()) => Ok(None),
            Err(refusal) => Err(Refusal::not_now(format!(
                "{} cannot be reached and serves its copy of volume {}, to which writes therefore stay stopped elsewhere: \
                    mend the link, or stop that server ({})",
                target.name(),
                self.volume,
                refusal.message
            ))),
        }
    }

    async fn not_switched(&self) -> Result<(), Refusal> {
        match self.serves().await? {
            Side::Source => Ok(()),
            Side::Target | Side::Neither => {
                Err(self.conflict("is served by the target: reverse the switch first"))
            }
        }
    }

    /// The source, which serves, takes writes if it did before.
    async fn restore(&self) -> Result<(), Refusal> {
        if let Some(writable) = self.writable()? {
            self.let_write(&writable).await?;
        }
        if self.has(Note::Switched)? { Ok(()) } else { self.set(Note::Switching, "") }
    }

    /// Lets the source serve again. If the target took no write since the switch, what lies on the source's disk is
    /// whole; otherwise the target's volume is copied back, behind a fence.
    pub(super) async fn reverse(&self) -> Result<(), Refusal> {
        if self.has(Note::Reversed)? {
            return Ok(());
        }
        let source = self.source()?.ok_or_else(|| Refusal::unsupported("a repair has no way back"))?;
        if !self.has(Note::Switched)? {
            return Err(self.conflict("was not switched by this migration"));
        }
        let target = self.target()?;
        let mut slips = 0;
        loop {
            self.return_what_slipped(&source, &target).await?;
            let end = self.stop_writes_of_target(&source, &target).await?;
            // What is brought back is mounted, and nobody may unmount it as an old copy meanwhile.
            self.store.stand_down(self.volume, source.name(), false);
            match self.bring_back(&source, &target, end).await {
                Ok(()) => break,
                Err(refusal) if refusal.reason == Reason::Conflict && slips < MOST_SLIPS => slips += 1,
                Err(refusal) => return Err(refusal),
            }
        }
        self.stand_up(&source).await?;
        self.stand_down(&target).await?;
        self.let_write(&self.writable()?.unwrap_or_default()).await?;
        self.set(Note::Reversed, YES)?;
        self.set(Note::Writable, "")
    }

    /// Gives those that serve what was written to the copy that an attempt before this one brought back. They take writes
    /// for that moment.
    async fn return_what_slipped(&self, source: &Server, target: &Server) -> Result<(), Refusal> {
        if !self.has(Note::Reversing)? {
            return Ok(());
        }
        let fenced = self.writable()?.unwrap_or_default();
        let Some(idx_bytes) = fenced.get(source.name()).copied() else { return Ok(()) };
        let longer = source.mounted(self.volume).await?.is_some_and(|there| there.end.idx_bytes > idx_bytes);
        if !longer || target.mounted(self.volume).await?.is_none() {
            return Ok(());
        }
        source.mark_read_only(self.volume, Lasts::PastRestarts).await?;
        let serving =
            |name: &String| if name == source.name() { target.name().to_owned() } else { name.clone() };
        let replicas = fenced.iter().map(|(name, idx_bytes)| (serving(name), *idx_bytes)).collect();
        self.let_write(&replicas).await?;
        self.give(&replicas, source, idx_bytes).await
    }

    async fn stop_writes_of_target(&self, source: &Server, target: &Server) -> Result<End, Refusal> {
        if !self.has(Note::Reversing)? {
            let mut replicas = BTreeMap::new();
            for name in self.writable()?.unwrap_or_default().into_keys() {
                let holder = if name == source.name() { target.clone() } else { self.store.server(&name)? };
                replicas.insert(name, holder.status(self.volume).await?.end.idx_bytes);
            }
            self.set_writable(&replicas)?;
            self.set(Note::Reversing, YES)?;
        }
        for name in self.writable()?.unwrap_or_default().into_keys().filter(|name| name != source.name()) {
            self.store.server(&name)?.mark_read_only(self.volume, Lasts::UntilRestart).await?;
        }
        if target.mounted(self.volume).await?.is_none() {
            // An attempt before this one had come to the end.
            return source.status(self.volume).await.map(|status| status.end);
        }
        target.mark_read_only(self.volume, Lasts::UntilRestart).await?;
        self.settled(target).await
    }

    /// Makes the source's copy what the target's is.
    async fn bring_back(&self, source: &Server, target: &Server, end: End) -> Result<(), Refusal> {
        if self.rested(source, &self.collection()?).await? == Presence::Unmounted {
            let unchanged = self.note(Note::Switched)?.is_some_and(|switched| switched == end.to_string());
            if !unchanged {
                // What is out of date is not mounted, as it would be read: the copy replaces it.
                return self.copy_over(target, source, None).await;
            }
            source.mount(self.volume).await?;
        }
        if source.mounted(self.volume).await?.is_some_and(|there| there.end == end) {
            return Ok(());
        }
        self.copy(target, source, None).await
    }

    /// Removes what the source has. The target must serve.
    pub(super) async fn retire(&self) -> Result<(), Refusal> {
        if !self.has(Note::Switched)? || self.has(Note::Reversing)? {
            return Err(self.conflict("is not served by the target for good"));
        }
        self.target()?.status(self.volume).await?;
        let (old, collection) = match self.source()? {
            Some(source) => (source, self.collection()?),
            None => {
                let dead = self.store.server(self.task.migration.origin.node().name())?;
                let collection = self.collection()?;
                if dead.presence(self.volume, &collection).await.is_err() {
                    return Ok(());
                }
                (dead, collection)
            }
        };
        // It is mounted to be deleted, and nobody may unmount it meanwhile.
        self.store.stand_down(self.volume, old.name(), false);
        self.store.set_drained(self.volume, old.name(), false);
        if let Err(refusal) = old.delete(self.volume, &collection).await {
            self.store.stand_down(self.volume, old.name(), true);
            return Err(refusal);
        }
        self.until_listed(old.name(), false, HEARD).await
    }

    /// Which copy serves.
    pub(super) async fn serves(&self) -> Result<Side, Refusal> {
        if self.has(Note::Reversed)? {
            return Ok(Side::Source);
        }
        let (deciding, if_it_does, if_not) = if self.has(Note::Switched)? {
            match self.source()? {
                Some(source) if self.has(Note::Reversing)? => (source, Side::Source, Side::Target),
                Some(source) => {
                    // Told again to an adapter that started since.
                    self.store.stand_down(self.volume, source.name(), true);
                    return Ok(Side::Target);
                }
                None => return Ok(Side::Target),
            }
        } else if self.has(Note::Switching)? {
            (self.target()?, Side::Target, Side::Source)
        } else {
            return Ok(Side::Source);
        };
        let takes_writes = deciding.mounted(self.volume).await?.is_some_and(|mounted| !mounted.read_only);
        Ok(if takes_writes { if_it_does } else { if_not })
    }

    /// What there is because of the migration.
    pub(super) async fn objects(&self) -> Result<Vec<String>, Refusal> {
        let (volume, target, collection) = (self.volume, self.target()?, self.collection()?);
        let mut objects = Vec::new();
        let switched = self.has(Note::Switched)? && !self.has(Note::Reversed)?;
        if self.has(Note::Copy)? && !switched {
            let what = match target.presence(volume, &collection).await {
                Ok(Presence::Nothing) => None,
                Ok(Presence::Copying) => Some("unfinished copy"),
                Ok(Presence::Unmounted | Presence::Mounted(_)) => Some("copy"),
                Err(_) => Some("perhaps, as it is out of reach, a copy"),
            };
            objects.extend(what.map(|what| format!("{what} of volume {volume} on {}", target.name())));
        }
        if switched && let Some(source) = self.source()? {
            objects.push(format!("old copy of volume {volume} on {}", source.name()));
        }
        if self.fenced().await.is_ok_and(|fenced| fenced == Fenced::Yes) {
            let names = self.writable()?.unwrap_or_default().into_keys();
            objects.extend(names.map(|name| format!("read-only flag of volume {volume} on {name}")));
        }
        Ok(objects)
    }

    fn conflict(&self, what: &str) -> Refusal {
        Refusal::conflict(format!("volume {} {what}", self.volume))
    }
}
