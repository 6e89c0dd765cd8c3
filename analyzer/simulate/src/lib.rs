//! Made-up clusters under made-up loads, whose failures are never made from entropy, and policies compared on them; and
//! predictions judged, on those clusters and on what was recorded of real ones.
//!
//! Pure: a seed, or a recording, decides everything.

mod act;
mod analyst;
pub mod cluster;
pub mod compare;
pub mod evaluate;
pub mod observe;
pub mod policy;
pub mod predict;
pub mod recorded;
pub mod run;
pub mod world;

#[cfg(test)]
mod tests;
