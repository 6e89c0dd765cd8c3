//! Watches storage processes from the kernel and counts accesses per partition.
//!
//! The way of the data: [`probe`] (kernel counters) -> [`attribution`] (whose they are, by [`rule`]s) ->
//! [`window`] (differences per window) -> [`spool`] (on the disk, in the order of an [`outbox`]) -> [`uplink`]
//! (gRPC to the analyzer), from where [`locator`]s come back as rules. [`discovery`] says which processes are watched; [`watch`] is the thread that drives it
//! all; [`top`] shows it on a terminal.
//!
//! Absent here: what is in a file or a socket, entropy over nodes, and any decision about partitions.

pub mod allocator;
pub mod attribution;
pub mod config;
pub mod discovery;
pub mod explain;
pub mod locator;
pub mod memory;
pub mod metrics;
pub mod mounts;
pub mod outbox;
pub mod probe;
pub mod rights;
pub mod rule;
pub mod service;
pub mod slot;
pub mod spool;
pub mod store;
pub mod support;
pub mod top;
pub mod upkeep;
pub mod uplink;
pub mod watch;
pub mod watched;
pub mod window;
