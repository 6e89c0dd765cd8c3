//! What tests of stores share.

pub mod history;
pub mod task;
pub mod weed;
