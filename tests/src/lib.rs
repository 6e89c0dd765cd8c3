//! The lab: real stores in a network namespace of their own, and loads whose truth is known.
//!
//! Tests and `cargo xtask demo` share it. It starts processes that cannot outlive their starter, and it
//! never reads what Isotherm counted: a truth that knew the answer would be no truth.

pub mod client;
pub mod clients;
pub mod disk;
pub mod fio;
pub mod forward;
pub mod generator;
pub mod history;
pub mod host;
pub mod io;
pub mod kernel;
pub mod load;
pub mod netns;
pub mod network;
pub mod notify;
pub mod pattern;
pub mod process;
pub mod seaweed;
pub mod skip;
pub mod sockets;
pub mod stores;
pub mod tools;
pub mod truth;
pub mod usage;
pub mod volume;
pub mod workspace;
