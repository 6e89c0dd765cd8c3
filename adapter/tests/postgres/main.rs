//! The adapter of PostgreSQL against real servers: a router and two nodes on loopback ports.

mod clients;
mod contract;
mod failures;
mod lab;
mod looks;
mod moves;
mod steps;
