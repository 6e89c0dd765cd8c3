//! The adapter of PostgreSQL against real servers: a router and two nodes on loopback ports.

#[cfg(test)]
mod clients;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod lab;
#[cfg(test)]
mod looks;
#[cfg(test)]
mod moves;
#[cfg(test)]
#[path = "../support/running.rs"]
mod running;
#[cfg(test)]
mod steps;
