//! Sends and receives by a plan, and says what the calls returned. `isotherm_tests::sockets` has the plan,
//! the truth, and how to talk to this program.

mod client;
mod server;
mod wire;

use anyhow::{Context, Result};
use isotherm_tests::generator::{finish, next_line};
use isotherm_tests::sockets::Plan;

fn main() -> Result<()> {
    let plan = next_line()?.context("the first line is to be the plan")?;
    // What is open stays open until the program is let go.
    let (truth, _open) = match serde_json::from_str(&plan).context("the plan")? {
        Plan::Server(plan) => server::run(&plan)?,
        Plan::Client(plan) => client::run(&plan)?,
    };
    finish(&truth)
}
