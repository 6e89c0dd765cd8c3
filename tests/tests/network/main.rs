//! The network layer is what the generators of sockets did: operations, bytes, connections, peer by peer.

#![allow(clippy::unwrap_used, reason = "the whole file is a test")]

mod lab;
mod peers;
mod truth;
