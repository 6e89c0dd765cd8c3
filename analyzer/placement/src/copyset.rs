//! Copysets: the distinct sets of nodes that hold partitions together.
//!
//! Data is lost when a whole copyset is, so what several failures at once can destroy grows with how many copysets
//! there are, and how fast a node is made again grows with how many others it shares one with (its scatter width).
//! docs/placement.md has the definitions and their sources.
//!
//! The copysets in use are found by [`Copysets::in_use`]. Nothing here decides moves of an existing assignment:
//! that is the planner's.

mod build;
mod deal;
mod fit;
mod index;
mod measure;
mod share;
mod spread;
mod tokens;

pub use build::{Layout, LayoutError, build};
pub use index::{Copyset, Copysets, Groups};
pub use measure::{Blast, Chance, Report, Scatter, before_and_after, measure};
pub use spread::{Spread, SpreadError, SpreadInputs, SpreadTerm, recommend};
