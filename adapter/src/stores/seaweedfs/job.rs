//! A migration that is under way, and what was noted of it.

use super::SeaweedFs;
use super::server::{Server, Volume};
use crate::contract::Refusal;
use crate::store::{Task, Told};
use isotherm_migration::{Origin, Progress};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::sleep;

/// Between two looks at a condition.
const POLL: Duration = Duration::from_millis(50);

/// A migration that is under way.
pub(super) struct Job<'a> {
    pub(super) store: &'a SeaweedFs,
    pub(super) task: &'a Task,
    pub(super) volume: Volume,
}

/// What is noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Note {
    /// Servers whose replica took writes before the fence, with the length of their indexes, as JSON. Written before the
    /// first mark.
    Writable,
    /// The same, which outlives the fence: what a copy was given since then is told by it.
    Stopped,
    /// The server that is copied from.
    Origin,
    /// The volume's collection. Written before anything is made.
    Collection,
    /// Present once there may be something on the target.
    Copy,
    /// Present once the switch has begun: where the copy ended.
    Switching,
    /// Present once the target serves: where its log ended when it began to.
    Switched,
    /// Present once the way back has begun.
    Reversing,
    /// Present once the source serves again.
    Reversed,
}

impl Note {
    fn key(self) -> &'static str {
        match self {
            Self::Writable => "writable",
            Self::Stopped => "stopped",
            Self::Origin => "origin",
            Self::Collection => "collection",
            Self::Copy => "copy",
            Self::Switching => "switching",
            Self::Switched => "switched",
            Self::Reversing => "reversing",
            Self::Reversed => "reversed",
        }
    }
}

impl<'a> Job<'a> {
    pub(super) fn new(store: &'a SeaweedFs, task: &'a Task) -> Result<Self, Refusal> {
        Ok(Self { store, task, volume: super::volume(&task.migration.partition)? })
    }

    /// A note; the empty one is none.
    pub(super) fn note(&self, note: Note) -> Result<Option<String>, Refusal> {
        Ok(self.task.notes.get(note.key())?.filter(|text| !text.is_empty()))
    }

    pub(super) fn has(&self, note: Note) -> Result<bool, Refusal> {
        Ok(self.note(note)?.is_some())
    }

    pub(super) fn set(&self, note: Note, text: &str) -> Result<(), Refusal> {
        self.task.notes.set(note.key(), text)
    }

    pub(super) fn target(&self) -> Result<Server, Refusal> {
        self.store.server(self.task.migration.target.name())
    }

    /// The node that gives the replica up; `None` in a repair.
    pub(super) fn source(&self) -> Result<Option<Server>, Refusal> {
        match &self.task.migration.origin {
            Origin::Move { source } => self.store.server(source.name()).map(Some),
            Origin::Repair { .. } => Ok(None),
        }
    }

    /// The collection, which is noted with the first effect.
    pub(super) fn collection(&self) -> Result<String, Refusal> {
        // Noted with a sign before it, as the usual collection's name is empty.
        Ok(self.note(Note::Collection)?.map(|text| text[1..].to_owned()).unwrap_or_default())
    }

    pub(super) fn set_collection(&self, collection: &str) -> Result<(), Refusal> {
        self.set(Note::Collection, &format!("/{collection}"))
    }

    /// Servers whose replica took writes before the fence, with the length of their indexes; `None` if there is none.
    pub(super) fn writable(&self) -> Result<Option<BTreeMap<String, u64>>, Refusal> {
        self.lengths(Note::Writable)
    }

    /// The same of the last fence there was.
    pub(super) fn stopped(&self) -> Result<Option<BTreeMap<String, u64>>, Refusal> {
        self.lengths(Note::Stopped)
    }

    fn lengths(&self, note: Note) -> Result<Option<BTreeMap<String, u64>>, Refusal> {
        let Some(text) = self.note(note)? else { return Ok(None) };
        let parsed = serde_json::from_str(&text);
        parsed
            .map(Some)
            .map_err(|error| Refusal::conflict(format!("the note of the fence is damaged: {error}")))
    }

    pub(super) fn set_writable(&self, servers: &BTreeMap<String, u64>) -> Result<(), Refusal> {
        let text = serde_json::to_string(servers).map_err(|error| Refusal::conflict(error.to_string()))?;
        self.set(Note::Stopped, &text)?;
        self.set(Note::Writable, &text)
    }

    /// Servers that have the volume mounted, as the master knows.
    pub(super) async fn listed(&self) -> Result<BTreeSet<String>, Refusal> {
        let listing = self.store.list(&[self.volume]).await?;
        Ok(listing.holders(self.volume).into_keys().map(str::to_owned).collect())
    }

    /// Tells how far the step is.
    pub(super) fn tell(&self, done: u64, total: u64, unit: &'static str, throttled_by: Option<String>) {
        let progress = Progress {
            done,
            total: Some(total),
            lag_bytes: None,
            throttled_by,
            resume: None,
            handing_over: false,
        };
        self.task.progress.tell(Told { progress, unit, estimated: false, position: None });
    }

    /// Waits, unless the step is not wanted any more.
    pub(super) async fn pause(&self, time: Duration) -> Result<(), Refusal> {
        let stopped = self.task.stop.run_until_cancelled(sleep(time)).await.is_none();
        if stopped { Err(stopped_by_caller()) } else { Ok(()) }
    }

    /// Waits until the master lists a server as one that holds the volume, or does not.
    pub(super) async fn until_listed(
        &self,
        server: &str,
        wanted: bool,
        limit: Duration,
    ) -> Result<(), Refusal> {
        let deadline = tokio::time::Instant::now() + limit;
        while self.listed().await?.contains(server) != wanted {
            if tokio::time::Instant::now() >= deadline {
                let how = if wanted { "does not list" } else { "still lists" };
                return Err(Refusal::not_now(format!("the master {how} volume {} on {server}", self.volume)));
            }
            self.pause(POLL).await?;
        }
        Ok(())
    }
}

/// Nobody reads it.
pub(super) fn stopped_by_caller() -> Refusal {
    Refusal::not_now("the step was stopped")
}
