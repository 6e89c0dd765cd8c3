//! Names of one system by number, in the order of the names.
//!
//! Frames have names in their rows; everything after them has numbers. Looking up is by hash, order is by sorting:
//! no hash can reach an answer.

use crate::error::QueryError;
use isotherm_model::{InvalidName, SystemId};
use std::collections::HashMap;

/// Different names, sorted.
#[derive(Debug)]
pub(super) struct Names<'a> {
    sorted: Vec<&'a str>,
    numbers: HashMap<&'a str, u32>,
}

impl<'a> Names<'a> {
    /// Each name once.
    pub(super) fn of(names: impl Iterator<Item = &'a str>) -> Self {
        let mut numbers = HashMap::new();
        let mut sorted: Vec<&str> = Vec::new();
        for name in names {
            // The last one again is the usual case, and cheaper than looking it up.
            if sorted.last() != Some(&name) && numbers.insert(name, 0).is_none() {
                sorted.push(name);
            }
        }
        sorted.sort_unstable();
        for (number, name) in (0..).zip(&sorted) {
            numbers.insert(name, number);
        }
        Self { sorted, numbers }
    }

    /// The number of a name that is among them.
    pub(super) fn number(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// The ids, in order.
    pub(super) fn ids<T>(
        &self,
        system: &SystemId,
        make: impl Fn(SystemId, String) -> Result<T, InvalidName>,
    ) -> Result<Vec<T>, QueryError> {
        self.sorted.iter().map(|name| Ok(make(system.clone(), (*name).to_owned())?)).collect()
    }
}
