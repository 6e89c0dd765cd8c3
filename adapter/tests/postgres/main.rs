//! The adapter of PostgreSQL against real servers: a router and two nodes on loopback ports.

#[cfg(test)]
mod clients;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod failures;
#[cfg(test)]
#[allow(dead_code, reason = "each test program uses a part")]
#[path = "../../../tests/tests/support/postgres_lab.rs"]
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
