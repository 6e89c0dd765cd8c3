//! Lists that are sorted by system and name, side by side.

use crate::cluster::PartitionFacts;
use crate::input::PartitionStep;
use crate::state::Name;
use std::iter::Peekable;

/// What has a place in such a list.
pub(crate) trait Named {
    /// System and name.
    fn name(&self) -> (&str, &str);
}

/// A list that is walked once, beside another one in the same order.
pub(crate) struct ByName<I: Iterator>(Peekable<I>);

impl<I> ByName<I>
where
    I: Iterator<Item: Named>,
{
    pub(crate) fn new(all: impl IntoIterator<IntoIter = I, Item = I::Item>) -> Self {
        Self(all.into_iter().peekable())
    }

    /// The entry of that name, if there is one; those before it are passed. Names are asked for in their order.
    pub(crate) fn find(&mut self, name: (&str, &str)) -> Option<I::Item> {
        while self.0.next_if(|one| one.name() < name).is_some() {}
        self.0.next_if(|one| one.name() == name)
    }
}

impl<T: Named> Named for &T {
    fn name(&self) -> (&str, &str) {
        (*self).name()
    }
}

impl Named for Name {
    fn name(&self) -> (&str, &str) {
        (&self.0, &self.1)
    }
}

impl Named for PartitionStep {
    fn name(&self) -> (&str, &str) {
        (self.partition.system().as_str(), self.partition.name())
    }
}

impl Named for PartitionFacts {
    fn name(&self) -> (&str, &str) {
        (&self.system, &self.name)
    }
}
