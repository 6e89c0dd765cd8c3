//! What rows ask of a storage system, whichever it is.

mod postgres;
mod seaweedfs;
mod valkey;

use super::row::{Fault, Kind};
use anyhow::Result;
use isotherm_tests::network::Network;
use std::path::PathBuf;
use std::time::Duration;

/// Machines by their numbers in the network: servers that hold partitions come first, 0, 1 and so on.
pub(crate) const MACHINES: usize = 6;

/// Analyzer, command line, clients, and what clients ask first: SeaweedFS's master, PostgreSQL's router.
pub(crate) const HUB: usize = 4;

/// The adapter's machine.
pub(crate) const ADAPTER: usize = 5;

/// Bytes of each server's disk.
const DISK_BYTES: u64 = 640 << 20;

/// How a client gets to its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// As the system tells clients to.
    Told,
    /// Straight to a server, as somebody would who does not know of the move.
    Straight(usize),
}

/// A client of one partition. Keys hold numbers, as in `isotherm_tests::history`.
pub(crate) trait Session {
    /// Writes a value; an error may mean that it was written all the same.
    fn write(&mut self, key: u64, value: u64) -> Result<()>;

    /// The value of a key, 0 if it has none.
    fn read(&mut self, key: u64) -> Result<u64>;

    /// The value of a key on each server that clients are led to.
    fn read_everywhere(&mut self, key: u64) -> Result<Vec<u64>> {
        Ok(vec![self.read(key)?])
    }
}

/// Makes sessions, on the thread that uses them.
pub(crate) type Sessions = std::sync::Arc<dyn Fn(Way) -> Box<dyn Session> + Send + Sync>;

/// A read that found what had been replaced.
#[derive(Debug)]
pub(crate) struct Late<'a> {
    /// What had struck the migration.
    pub(crate) fault: Fault,
    /// The phases that it was in meanwhile.
    pub(crate) phases: &'a [&'a str],
    /// The phase that it ended in.
    pub(crate) ended: &'a str,
    /// For how long the newer value had been acknowledged.
    pub(crate) by: Duration,
    /// How long before that what had failed was mended; zero if it was later.
    pub(crate) after_mending: Duration,
    /// It found nothing at all.
    pub(crate) is_nothing: bool,
}

/// A running storage system with a partition that is moved to and fro. Servers are named by their machines.
pub(crate) trait Store: Send {
    /// The adapter's table `[store]`.
    fn table(&self) -> String;

    /// The partition's name.
    fn partition(&self) -> String;

    /// A server's name.
    fn node(&self, server: usize) -> String;

    /// The server that a move leaves, and one that it can go to.
    fn way(&self) -> Result<(usize, usize)>;

    /// Ends a server with SIGKILL, or as near to it as its own recovery allows.
    fn kill(&mut self, server: usize) -> Result<()>;

    /// Starts a server unless it runs, and waits until it answers.
    fn start(&mut self, server: usize) -> Result<()>;

    /// Starts what has ended by itself, too.
    fn start_all(&mut self) -> Result<()>;

    /// The folder that fills a server's disk.
    fn disk(&self, server: usize) -> PathBuf;

    fn sessions(&self) -> Sessions;

    /// Makes copying from a server slow, or as quick as it is, where `rate` cannot.
    fn slow(&self, server: usize, slow: bool) -> Result<()>;

    /// The rate that lets a copy take a second or two, where the adapter knows one.
    fn rate(&self) -> Option<u64>;

    /// Whether the target has all that a copy brings.
    fn copied(&self, target: usize) -> Result<bool>;

    /// Changes what the target's copy has.
    fn corrupt(&self, target: usize) -> Result<()>;

    /// Makes good for what was changed, where it was not thrown away.
    fn recover(&self) -> Result<()>;

    /// Puts something in the way on the target, or takes it away. Taking away fails if it is not as it was put.
    fn occupy(&mut self, target: usize, occupy: bool) -> Result<()>;

    /// Takes the partition's key away, or gives it back.
    fn keyless(&mut self, keyless: bool) -> Result<()>;

    /// One sentence for each thing that is not as it is when `serving` has the partition, `empty` has not, and nobody
    /// moves anything.
    fn odd(&self, serving: usize, empty: usize) -> Result<Vec<String>>;

    /// Whether a read may find what had been replaced. No, where nobody is ever led to a copy that is out of date.
    fn may_be_late(&self, _: &Late<'_>) -> bool {
        false
    }

    /// Words by which an adapter says that a migration was given up for a reason of the store's own, and may be begun
    /// anew.
    fn begins_anew(&self) -> Option<&'static str> {
        None
    }

    /// Servers that clients would be led to.
    fn serving(&self) -> Result<Vec<usize>>;
}

/// Starts a system on the first machines of a network. To be called on the hub.
pub(crate) fn start(kind: Kind, network: &Network) -> Result<Box<dyn Store>> {
    Ok(match kind {
        Kind::SeaweedFs => Box::new(seaweedfs::start(network)?),
        Kind::Postgres => Box::new(postgres::start(network)?),
        Kind::Valkey => Box::new(valkey::start(network)?),
    })
}
