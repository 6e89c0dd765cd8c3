//! What a partition's accesses say about its future, and what its nodes' failures would cost.
//!
//! In the order of the data: a value of an entropy gets a [`class`], is held against the partition's own [`habit`],
//! and may be a [`surge`]; nodes that answer badly are [`gray`]; failures that happened become [`hazard`]s; a
//! partition that leans on its nodes by its [`shares`] has an [`exposure`] to them, and would lose something
//! ([`loss`]) if they failed, more where the survivors have no headroom ([`field`]); the [`gate`] says whether
//! anything should be done about it.
//!
//! Definitions are those of docs/risk.md. No clock, no file, no chance: everything is an argument. What is unknown is
//! `None` or a value of its own, never 0, and nothing finite becomes a number that is none.

pub mod class;
pub mod gray;
pub mod habit;
pub mod surge;
