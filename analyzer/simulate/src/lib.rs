//! Made-up clusters under made-up loads, whose failures are never made from entropy, and policies compared on them.
//!
//! Pure: a seed decides everything.

mod act;
mod analyst;
pub mod cluster;
pub mod compare;
pub mod evaluate;
pub mod observe;
pub mod policy;
pub mod predict;
pub mod run;
pub mod world;

#[cfg(test)]
mod tests;
