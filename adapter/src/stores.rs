//! Storage systems: each a [`Store`](crate::store::Store), with a configuration of its own.

pub mod valkey;
