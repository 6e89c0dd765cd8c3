//! Follows the messages of a stream: puts parts together, and hands on what is known after each whole message.
//!
//! What cannot be believed changes nothing: what was known stays, the counting and the stream go on, and nothing more
//! of this stream is believed, because the two sides have lost each other. The next stream begins anew.

use super::known::{Known, TooMuch};
use isotherm_model::NodeId;
use isotherm_proto::telemetry::v1 as wire;
use isotherm_proto::{Locators, Malformed, Watching, locators_from_wire};
use prost::Message;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::watch;
use tracing::{error, info};

/// Bytes of one message, all its parts together.
const MAX_MESSAGE_BYTES: usize = 32 << 20;

/// Why a message was not believed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It cannot be understood.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// More than is remembered.
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
    /// Parts of one message have different revisions.
    #[error("parts of one message have the revisions {first} and {then}")]
    PartsDiffer {
        /// Of the first part.
        first: u64,
        /// Of another.
        then: u64,
    },
    /// Something is in two parts of one message.
    #[error("{what} is in two parts of one message")]
    Repeated {
        /// What.
        what: String,
    },
    /// The parts of one message are too large together.
    #[error("a message has more than {MAX_MESSAGE_BYTES} bytes")]
    TooLarge,
    /// A revision that was passed already.
    #[error("revision {sent} came after {seen}")]
    Back {
        /// As sent.
        sent: u64,
        /// The one before.
        seen: u64,
    },
    /// A change of a node of which nothing was said before.
    #[error("something of {node} changed, but nothing was said of it before")]
    NotWhole {
        /// The node.
        node: NodeId,
    },
}

/// The two ends by which locators go from the connection to the targets, and back what became of them.
pub struct Ways {
    /// For the connection.
    pub follower: Follower,
    /// What is known, the newest only.
    pub known: watch::Receiver<Arc<Known>>,
    /// Takes what is watched, and by which locators.
    pub watching: watch::Sender<Watching>,
}

/// Makes them, for what is known and watched at the start.
#[must_use]
pub fn ways(known: Known, watching: Watching) -> Ways {
    let known = Arc::new(known);
    let (publish, newest) = watch::channel(Arc::clone(&known));
    let (tell, told) = watch::channel(watching);
    let asked = told.borrow().targets.clone();
    let follower = Follower { known, publish, watching: told, asked, stream: Stream::default() };
    Ways { follower, known: newest, watching: tell }
}

/// Follows the messages of one stream after the other.
#[derive(Debug)]
pub struct Follower {
    known: Arc<Known>,
    publish: watch::Sender<Arc<Known>>,
    watching: watch::Receiver<Watching>,
    /// The nodes that the analyzer was last told: what it says of others is not for here any more.
    asked: BTreeSet<NodeId>,
    stream: Stream,
}

/// How far a stream has come.
#[derive(Debug, Default)]
struct Stream {
    /// Parts of a message that is not whole yet, and their bytes.
    parts: Option<(Locators, usize)>,
    revision: u64,
    /// Nodes of which everything was said.
    said: BTreeSet<NodeId>,
    /// Why nothing more is believed.
    problem: Option<String>,
}

impl Follower {
    /// A new stream has begun.
    pub fn begin(&mut self) {
        self.stream = Stream::default();
    }

    /// Waits until something else is watched, or by other locators.
    pub async fn changed(&mut self) {
        if self.watching.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// What the analyzer is to be told.
    pub fn watching(&mut self) -> Watching {
        let watching = self.watching.borrow_and_update().clone();
        self.asked.clone_from(&watching.targets);
        Watching { problem: self.stream.problem.clone().unwrap_or_default(), ..watching }
    }

    /// Takes a message. Returns whether it is believed; one of a stream that has lost its thread is not, without a
    /// further word.
    pub fn take(&mut self, raw: wire::Locators) -> bool {
        if self.stream.problem.is_some() {
            return false;
        }
        let taken = self.stream.whole(raw).and_then(|message| {
            let Some(message) = message else { return Ok(None) };
            Ok(Some(self.known.with(message, &self.asked)?))
        });
        match taken {
            Ok(None) => true,
            Ok(Some(known)) => {
                info!("locators of revision {} have come", known.revision());
                self.known = Arc::new(known);
                self.publish.send_replace(Arc::clone(&self.known));
                true
            }
            Err(refused) => {
                error!("the analyzer's locators are not taken, and those known stay: {refused}");
                self.stream.problem = Some(refused.to_string());
                false
            }
        }
    }
}

impl Stream {
    /// A message if this part is its last.
    fn whole(&mut self, raw: wire::Locators) -> Result<Option<Locators>, Refused> {
        let size = raw.encoded_len();
        let part = locators_from_wire(raw)?;
        let (message, bytes) = match self.parts.take() {
            None => (part, size),
            Some((parts, bytes)) => (joined(parts, part)?, bytes + size),
        };
        if bytes > MAX_MESSAGE_BYTES {
            return Err(Refused::TooLarge);
        }
        if message.more {
            self.parts = Some((message, bytes));
            return Ok(None);
        }
        if message.revision < self.revision {
            return Err(Refused::Back { sent: message.revision, seen: self.revision });
        }
        self.said.extend(message.whole.iter().cloned());
        let mut places = message.located.keys().chain(&message.removed);
        if let Some(place) = places.find(|place| !self.said.contains(&place.node)) {
            return Err(Refused::NotWhole { node: place.node.clone() });
        }
        self.revision = message.revision;
        Ok(Some(message))
    }
}

fn joined(mut parts: Locators, part: Locators) -> Result<Locators, Refused> {
    if parts.revision != part.revision {
        return Err(Refused::PartsDiffer { first: parts.revision, then: part.revision });
    }
    parts.whole.extend(part.whole);
    for (place, at) in part.located {
        let what = format!("partition {} on {}", place.partition, place.node);
        if parts.removed.contains(&place) || parts.located.insert(place, at).is_some() {
            return Err(Refused::Repeated { what });
        }
    }
    for place in part.removed {
        let what = format!("partition {} on {}", place.partition, place.node);
        if parts.located.contains_key(&place) || !parts.removed.insert(place) {
            return Err(Refused::Repeated { what });
        }
    }
    parts.more = part.more;
    Ok(parts)
}

#[cfg(test)]
mod tests;
