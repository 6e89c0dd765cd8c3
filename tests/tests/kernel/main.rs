//! What the kernel programs count is what the generators did: operations, bytes and offsets.

#![allow(clippy::unwrap_used, reason = "the whole file is a test")]

mod agent;
mod calls;
mod copying;
mod device;
mod files;
mod place;
mod room;
mod stripes;
mod writeback;
