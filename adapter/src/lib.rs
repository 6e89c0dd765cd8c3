//! Adapters: what moves partitions of storage systems, step by step, when the analyzer says so.
//!
//! [`contract`] has the messages of `isotherm.adapter.v1` about migrations as values of the machine
//! ([`isotherm_migration`]), in both directions. A storage system is a [`store::Store`]: what its steps do, each so that
//! it may be done twice. All that is the same for every system (terms, epochs, requests and their answers, kept
//! durably; work that goes on without its caller; progress) is done once, around it.

pub mod contract;
pub mod store;
pub mod stores;
