//! What the tests of the analyzer share: the real program as a child, and an agent that speaks the real
//! protocol and sends what a test makes up.

#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod adapter;
pub(crate) mod analyzer;
pub(crate) mod command;
pub(crate) mod fleet;
pub(crate) mod proxy;
pub(crate) mod recorder;
pub(crate) mod sample;
pub(crate) mod scene;
pub(crate) mod telemetry;
