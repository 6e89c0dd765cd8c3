//! Valkey itself: buckets are moved between real servers while clients write, and whatever dies on the way.

mod clients;
mod failures;
mod lab;
mod looks;
mod moves;
mod steps;
