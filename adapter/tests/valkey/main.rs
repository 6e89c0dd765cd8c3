//! Valkey itself: buckets are moved between real servers while clients write, and whatever dies on the way.

#![allow(clippy::unwrap_used, reason = "a lab that cannot be made fails the test")]

mod checked;
mod clients;
mod failures;
mod looks;
mod moves;
#[path = "../support/running.rs"]
mod running;
mod steps;
