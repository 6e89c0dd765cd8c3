//! What tests of stores share.

pub(crate) mod history;
pub(crate) mod task;
pub(crate) mod weed;
