//! What can be done to sockets besides asking and answering, one scenario per run.
//!
//! `odd_sockets SCENARIO [ADDRESS..]` speaks as `isotherm_tests::generator` says: it is ready with the
//! addresses that it listens on, does the scenario when it is told to go, and says what its calls returned.

mod calls;
mod scenarios;

use anyhow::{Context, Result, bail};
use isotherm_tests::generator::{finish, ready};
use std::net::SocketAddr;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().context("the first argument is the scenario")?;
    let addresses = arguments
        .map(|text| text.parse::<SocketAddr>().with_context(|| format!("{text} is no address")))
        .collect::<Result<Vec<_>>>()?;
    let scenario = scenarios::prepare(&name, &addresses)?;
    match ready(&scenario.listening)?.as_deref() {
        Some("go") => finish(&(scenario.act)()?),
        Some(other) => bail!("{other:?} is not go"),
        None => Ok(()),
    }
}
