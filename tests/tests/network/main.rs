//! The network layer is what the generators of sockets did: operations, bytes, connections, peer by peer.

#![allow(clippy::unwrap_used, reason = "the whole file is a test")]

mod before;
mod lab;
mod limits;
mod peers;
mod truth;
